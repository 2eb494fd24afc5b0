//! The packet's way: parse → classify → select → forward, each stage one module.
//!
//! No `unsafe`, no allocation, and generic over where packets and tables are: the XDP program
//! runs these stages over the kernel's packet and maps, tests and `understudy explain` over plain
//! memory. What one side says is what the other does.
#![no_std]
#![forbid(unsafe_code)]

pub mod classify;
pub mod forward;
pub mod parse;
pub mod select;
pub mod verdict;

use lb_common::{
    ClusterId, Directory, FlowKey, HashKey, NodeId, NodeRecord, Pod, ServiceId, Slot, VipEntry,
};

pub use verdict::{Action, Verdict};

/// A packet: bounded reads and writes, offsets in bytes from the Ethernet header.
pub trait Frame {
    /// Index of the interface it came in by.
    fn ingress(&self) -> u32;
    /// The value at an offset, or `None` if the frame ends before its end.
    fn read<T: Pod>(&self, offset: usize) -> Option<T>;
    /// Overwrites the bytes at an offset; `None`, and nothing written, if the frame is too short.
    fn write<T: Pod>(&mut self, offset: usize, value: T) -> Option<()>;
}

/// Every question that the packet's way may ask of the tables.
///
/// All but the first are asked for the generation of the epoch that the first one gave: a packet
/// sees one plan. `None` means that a map has no such element.
pub trait Tables {
    /// The epoch in force. Read once per packet.
    fn epoch(&self) -> Option<u64>;
    /// The key of the flow hash.
    fn hash_key(&self) -> Option<HashKey>;
    /// A word of the VIP bitmap.
    fn vip_bits(&self, epoch: u64, word: u32) -> Option<u64>;
    /// A place of the VIP table.
    fn vip(&self, epoch: u64, place: u32) -> Option<VipEntry>;
    /// Where a service's slots are.
    fn service(&self, epoch: u64, id: ServiceId) -> Option<Directory>;
    /// Where a cluster's slots are.
    fn cluster(&self, epoch: u64, id: ClusterId) -> Option<Directory>;
    /// A node's record.
    fn node(&self, epoch: u64, id: NodeId) -> Option<NodeRecord>;
    /// A slot of a chunk (`offset` < `CHUNK_SLOTS`).
    fn slot(&self, chunk: u32, offset: u32) -> Option<Slot>;
}

/// One packet, from its first byte to its verdict. Only the order of the stages.
#[inline(always)]
pub fn process<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Verdict {
    match stages(frame, tables) {
        Ok(verdict) | Err(verdict) => verdict,
    }
}

#[inline(always)]
fn stages<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Result<Verdict, Verdict> {
    let found = find(frame, tables)?;
    forward::forward(frame, tables, found.epoch, found.choice?.node)
}

/// What the stages before forwarding find out about a packet of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The epoch in force.
    pub epoch: u64,
    /// Whose packet it is.
    pub service: ServiceId,
    /// What was hashed.
    pub flow: FlowKey,
    /// The node, or why there is none.
    pub choice: Result<select::Choice, Verdict>,
}

/// All stages but the last: whose packet it is, and who gets it. `explain` asks this very code.
///
/// # Errors
/// The verdict of a packet that is for no service.
#[inline(always)]
pub fn find<F: Frame, T: Tables>(frame: &F, tables: &T) -> Result<Found, Verdict> {
    let network = parse::network(frame)?;
    let epoch = classify::address(tables, &network)?;
    let transport = parse::transport(frame, &network)?;
    let service = classify::service(tables, epoch, &network.vip_key(transport))?;
    let flow = network.flow(transport);
    let choice = select::select(tables, epoch, service, &flow);
    Ok(Found { epoch, service, flow, choice })
}
