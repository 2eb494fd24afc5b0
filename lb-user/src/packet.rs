//! A packet in plain memory, for the stages where the kernel is not.

use lb_common::{Pod, pod};
use lb_ebpf::{Frame, Route, Routed};

/// A frame from its Ethernet header on, and the host that it came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Index of the interface it came in by; 0: of none.
    pub ingress: u32,
    /// What the host would do with any packet that it is to forward.
    pub routed: Routed,
}

impl Packet {
    /// Room in front of a frame, as XDP has it (`XDP_PACKET_HEADROOM`).
    pub const HEADROOM: usize = 256;

    /// A frame that came in by no interface, to a host without routes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, ..Self::default() }
    }
}

impl Frame for Packet {
    fn ingress(&self) -> u32 {
        self.ingress
    }

    fn has(&self, length: usize) -> bool {
        self.bytes.len() >= length
    }

    fn read<T: Pod>(&self, offset: usize) -> Option<T> {
        pod::from_bytes(self.bytes.get(offset..offset.checked_add(size_of::<T>())?)?)
    }

    fn write<T: Pod>(&mut self, offset: usize, value: T) -> Option<()> {
        let end = offset.checked_add(size_of::<T>())?;
        self.bytes.get_mut(offset..end)?.copy_from_slice(pod::bytes_of(&value));
        Some(())
    }

    fn move_start(&mut self, by: i32) -> Option<()> {
        let room = by.unsigned_abs() as usize;
        if by < 0 {
            (room <= Self::HEADROOM).then(|| self.bytes.splice(..0, vec![0; room]).count())?;
        } else {
            // The kernel leaves an Ethernet header (`bpf_xdp_adjust_head`).
            (room + 14 <= self.bytes.len()).then(|| self.bytes.drain(..room).count())?;
        }
        Some(())
    }

    fn cut(&mut self, length: usize) -> Option<()> {
        // As little as an Ethernet header is refused (`bpf_xdp_adjust_tail`).
        let able = length >= 14 && length <= self.bytes.len();
        able.then(|| self.bytes.truncate(length))
    }

    fn sum(&self, offset: usize, length: usize) -> Option<u16> {
        let bytes = self.bytes.get(offset..offset.checked_add(length)?)?;
        let words = bytes.chunks(2).map(|pair| {
            u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or_default())
        });
        let mut sum: u64 = words.sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        Some(sum as u16)
    }

    fn route(&self, _packet: &Route) -> Routed {
        self.routed
    }
}
