//! Which node: one slot of the service's table, one slot of the owning cluster's table.

use lb_common::{
    ClusterId, Directory, FlowHash, FlowKey, NodeId, Reason, ServiceId, Slot,
    layout::{CHUNK_SHIFT, CHUNK_SLOTS},
};

use crate::{Tables, Verdict};

/// The way from a flow to its node, as the live tables have it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, align(8))]
pub struct Choice {
    /// The hash of the flow.
    pub hash: FlowHash,
    /// The flow's slot in the service's table.
    pub service_slot: u32,
    /// The owner of that slot.
    pub cluster: ClusterId,
    /// The flow's slot in that cluster's table.
    pub node_slot: u32,
    /// The owner of that slot.
    pub node: NodeId,
    /// The port that `nat` gives the packet; 0: the node's own.
    pub port: u16,
}

/// Chooses cluster and node of a flow.
#[inline(always)]
pub fn select<T: Tables>(
    tables: &T,
    epoch: u64,
    directory: &Directory,
    flow: &FlowKey,
) -> Result<Choice, Verdict> {
    let hash = tables.hash_key().ok_or(Verdict::BAD_TABLE)?.hash(flow);

    let service_slot = hash.service_slot(u32::from(directory.log2));
    let cluster = slot(tables, directory, service_slot)?
        .member()
        .ok_or(Verdict::drop(Reason::DropNoCluster))?;
    let cluster = ClusterId::new(usize::from(cluster)).ok_or(Verdict::BAD_TABLE)?;

    let directory = tables.cluster(epoch, cluster).ok_or(Verdict::BAD_TABLE)?;
    let node_slot = hash.node_slot(u32::from(directory.log2));
    let node =
        slot(tables, &directory, node_slot)?.member().ok_or(Verdict::drop(Reason::DropNoNode))?;
    let node = NodeId::new(usize::from(node)).ok_or(Verdict::BAD_TABLE)?;

    Ok(Choice { hash, service_slot, cluster, node_slot, node, port: directory.port })
}

/// What is hashed where a service tells flows apart by their source alone: neither ports nor
/// protocol, so that its clients find the same node with both.
#[inline(always)]
pub fn affine(directory: &Directory, flow: FlowKey) -> FlowKey {
    if directory.by_source == 0 {
        return flow;
    }
    FlowKey { ports: 0, protocol: 0, ..flow }
}

/// Reads the service's record and flow, then chooses.
#[inline(always)]
pub fn of_service<T: Tables>(
    tables: &T,
    epoch: u64,
    service: ServiceId,
    flow: FlowKey,
) -> Result<(FlowKey, Result<Choice, Verdict>), Verdict> {
    let directory = tables.service(epoch, service).ok_or(Verdict::BAD_TABLE)?.table;
    let flow = affine(&directory, flow);
    Ok((flow, select(tables, epoch, &directory, &flow)))
}

#[inline(always)]
fn slot<T: Tables>(tables: &T, directory: &Directory, slot: u32) -> Result<Slot, Verdict> {
    let chunk = directory.first.wrapping_add(slot >> CHUNK_SHIFT);
    tables.slot(chunk, slot & (CHUNK_SLOTS - 1)).ok_or(Verdict::BAD_TABLE)
}
