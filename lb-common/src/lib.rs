//! What crosses the boundary between the kernel program and user space, and nothing else:
//! ids, byte-order types, map values with their layout asserted, the one table that describes
//! the maps, counters and reasons, the flow hash and the slot arithmetic.
//!
//! No allocation, no I/O, no policy. Both sides compile this very code.
#![no_std]

pub mod feed;
pub mod hash;
pub mod ids;
pub mod layout;
pub mod maps;
pub mod pin;
pub mod pod;
pub mod reason;
pub mod vip;
pub mod wire;

pub use hash::{FlowHash, FlowKey, HashAlgorithm, HashKey};
pub use ids::{ClusterId, NodeId, ServiceId, Slot, SlotState};
pub use layout::{
    Chunk, ClusterInfo, Control, Directory, Forward, FragmentBucket, Generation, GenerationHead,
    LAYOUT_VERSION, Limit, NodeInfo, NodeRecord, PlanRecord, ServiceInfo, ServiceRecord, Udp,
};
pub use pin::{Pin, PinBucket, PinEntry, PinState};
pub use pod::Pod;
pub use reason::{Counters, Reason};
pub use vip::{PortRange, VipEntry, VipKey, VipKind};
pub use wire::{Framed, Ipv6Words, Macs};
