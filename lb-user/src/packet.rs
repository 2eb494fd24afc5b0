//! A packet in plain memory, for the stages where the kernel is not.

use lb_common::{Pod, pod};
use lb_ebpf::Frame;

/// A frame from its Ethernet header on. It came in by no interface, so no interface is that one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet(pub Vec<u8>);

impl Frame for Packet {
    fn ingress(&self) -> u32 {
        0
    }

    fn read<T: Pod>(&self, offset: usize) -> Option<T> {
        pod::from_bytes(self.0.get(offset..offset.checked_add(size_of::<T>())?)?)
    }

    fn write<T: Pod>(&mut self, offset: usize, value: T) -> Option<()> {
        let end = offset.checked_add(size_of::<T>())?;
        self.0.get_mut(offset..end)?.copy_from_slice(pod::bytes_of(&value));
        Some(())
    }
}
