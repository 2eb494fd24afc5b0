//! Which types may be read from and written to raw bytes: packet headers and map values.
#![allow(unsafe_code)]

use network_types::{
    eth::EthHdr,
    ip::{Ipv4Hdr, Ipv6Hdr},
    tcp::TcpHdr,
    udp::UdpHdr,
    vlan::VlanHdr,
};

use crate::{
    feed::Feed,
    hash::HashKey,
    layout::{
        Chunk, ClusterInfo, Control, Directory, FragmentBucket, GenerationHead, Limit, NodeInfo,
        NodeRecord, PlanRecord, ServiceInfo, ServiceRecord,
    },
    pin::{PinBucket, PinEntry},
    reason::Counters,
    vip::{PortRange, VipEntry},
    wire::{Framed, Ipv6Words, Macs},
};

/// Plain old data: any bytes are a valid value, and a value is just its bytes.
///
/// # Safety
/// The type has a fixed layout (`repr(C)`, `repr(transparent)` or a primitive), no padding, no
/// pointers, no invalid bit patterns and no interior mutability.
pub unsafe trait Pod: Copy + 'static {}

macro_rules! pod {
    ($($type:ty: $why:literal),+ $(,)?) => {$(
        // SAFETY: see the reason given beside the type.
        unsafe impl Pod for $type {}
    )+};
}

pod!(
    u8: "primitive", u16: "primitive", u32: "primitive", u64: "primitive",
    Control: "repr(C), integers only, size asserted without padding in layout.rs",
    Directory: "repr(C), integers only, size asserted without padding in layout.rs",
    NodeRecord: "repr(C), integers and byte arrays, size asserted without padding in layout.rs",
    ServiceRecord: "repr(C), of Pods, size asserted without padding in layout.rs",
    PlanRecord: "repr(C), integers only, size asserted without padding in layout.rs",
    GenerationHead: "repr(C), of Pods, size asserted without padding in layout.rs",
    Macs: "repr(C, packed), integers only",
    Ipv6Words: "repr(C, packed), integers only",
    FragmentBucket: "repr(C), one array of u64",
    PinEntry: "repr(C), two u64",
    PinBucket: "repr(C), an array of Pods",
    Limit: "repr(C), integers only, size asserted without padding in layout.rs",
    PortRange: "repr(C), integers only, size asserted without padding in vip.rs",
    Chunk: "repr(C), one array of u16",
    ServiceInfo: "repr(C), integers and byte arrays, size asserted without padding in layout.rs",
    ClusterInfo: "repr(C), integers and byte arrays, size asserted without padding in layout.rs",
    NodeInfo: "repr(C), integers and byte arrays, size asserted without padding in layout.rs",
    VipEntry: "repr(C), integers and byte arrays, size asserted without padding in vip.rs",
    HashKey: "repr(C), integers only, size asserted without padding in hash.rs",
    Counters: "repr(C), u64 fields only",
    Feed: "repr(C), integers and bytes, size asserted without padding in feed.rs",
    EthHdr: "repr(C), byte arrays and one u16 at an even offset; 14 bytes",
    Ipv4Hdr: "repr(C), bytes and byte arrays; 20 bytes",
    Ipv6Hdr: "repr(C), bytes and byte arrays; 40 bytes",
    VlanHdr: "repr(C), a bit field over one u16 and one u16; 4 bytes",
    TcpHdr: "repr(C), byte arrays and a bit field over one u16; 20 bytes",
    UdpHdr: "repr(C), byte arrays; 8 bytes",
);

// SAFETY: packed, of integers and plain old data.
unsafe impl<H: Pod> Pod for Framed<H> {}

// SAFETY: an array of plain old data has no padding between its elements.
unsafe impl<T: Pod, const N: usize> Pod for [T; N] {}

/// The bytes of a value.
pub fn bytes_of<T: Pod>(value: &T) -> &[u8] {
    // SAFETY: a Pod has no padding, so every one of its size_of bytes is initialised; the slice
    // borrows the value.
    unsafe { core::slice::from_raw_parts(core::ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// The value whose bytes these are, or `None` if the length differs.
pub fn from_bytes<T: Pod>(bytes: &[u8]) -> Option<T> {
    if bytes.len() != size_of::<T>() {
        return None;
    }
    // SAFETY: the length was checked, an unaligned read needs no alignment, and every bit
    // pattern is a valid T.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}
