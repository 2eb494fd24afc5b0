//! A frame in plain memory as the kernel's test runs have it: of several buffers only the first can
//! be read.

use lb_common::Pod;
use lb_ebpf::{Frame, Route, Routed};
use lb_user::packet::Packet;

use super::world::INGRESS;

/// Bytes of the first buffer in a test run: a page less the room in front of a frame and that for
/// what the kernel writes behind it (`bpf_prog_test_run_xdp`).
const FIRST_BUFFER: usize = 4096 - 256 - 320;

/// The frame.
pub(super) struct Wire {
    packet: Packet,
    /// How much of it can be read.
    first: usize,
    tight: bool,
}

impl Wire {
    /// A frame that came to a host that does this with all that it forwards; `tight`: there is no room
    /// in front.
    pub(super) fn new(frame: &[u8], routed: Routed, tight: bool) -> Self {
        let packet = Packet { ingress: INGRESS, routed, ..Packet::new(frame.to_vec()) };
        Self { packet, first: FIRST_BUFFER, tight }
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.packet.bytes
    }

    fn is_in_first<T>(&self, offset: usize) -> Option<()> {
        (offset.checked_add(size_of::<T>())? <= self.first).then_some(())
    }
}

impl Frame for Wire {
    fn ingress(&self) -> u32 {
        self.packet.ingress()
    }

    fn has(&self, length: usize) -> bool {
        self.packet.has(length)
    }

    fn read<T: Pod>(&self, offset: usize) -> Option<T> {
        self.is_in_first::<T>(offset)?;
        self.packet.read(offset)
    }

    fn write<T: Pod>(&mut self, offset: usize, value: T) -> Option<()> {
        self.is_in_first::<T>(offset)?;
        self.packet.write(offset, value)
    }

    fn move_start(&mut self, by: i32) -> Option<()> {
        if self.tight && by < 0 {
            return None;
        }
        self.packet.move_start(by)?;
        self.first = self.first.checked_add_signed(-by as isize)?;
        Some(())
    }

    fn cut(&mut self, length: usize) -> Option<()> {
        self.packet.cut(length)
    }

    fn sum(&self, offset: usize, length: usize) -> Option<u16> {
        self.packet.sum(offset, length)
    }

    fn route(&self, packet: &Route) -> Routed {
        self.packet.route(packet)
    }
}
