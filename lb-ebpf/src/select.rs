//! Which node: one slot of the service's table, one slot of the owning cluster's table.

use lb_common::{
    ClusterId, Directory, FlowKey, NodeId, Reason, ServiceId, Slot,
    layout::{CHUNK_SHIFT, CHUNK_SLOTS},
};

use crate::{Tables, Verdict};

const BAD_TABLE: Verdict = Verdict::drop(Reason::DropBadTable);

/// The way from a flow to its node, as the live tables have it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Choice {
    /// The flow's slot in the service's table.
    pub service_slot: u32,
    /// The owner of that slot.
    pub cluster: ClusterId,
    /// The flow's slot in that cluster's table.
    pub node_slot: u32,
    /// The owner of that slot.
    pub node: NodeId,
}

/// Chooses cluster and node of a flow.
#[inline(always)]
pub fn select<T: Tables>(
    tables: &T,
    epoch: u64,
    service: ServiceId,
    flow: &FlowKey,
) -> Result<Choice, Verdict> {
    let hash = tables.hash_key().ok_or(BAD_TABLE)?.hash(flow);

    let directory = tables.service(epoch, service).ok_or(BAD_TABLE)?;
    let service_slot = hash.service_slot(u32::from(directory.log2));
    let cluster = slot(tables, &directory, service_slot)?
        .member()
        .ok_or(Verdict::drop(Reason::DropNoCluster))?;
    let cluster = ClusterId::new(usize::from(cluster)).ok_or(BAD_TABLE)?;

    let directory = tables.cluster(epoch, cluster).ok_or(BAD_TABLE)?;
    let node_slot = hash.node_slot(u32::from(directory.log2));
    let node =
        slot(tables, &directory, node_slot)?.member().ok_or(Verdict::drop(Reason::DropNoNode))?;
    let node = NodeId::new(usize::from(node)).ok_or(BAD_TABLE)?;

    Ok(Choice { service_slot, cluster, node_slot, node })
}

#[inline(always)]
fn slot<T: Tables>(tables: &T, directory: &Directory, slot: u32) -> Result<Slot, Verdict> {
    let chunk = directory.first.wrapping_add(slot >> CHUNK_SHIFT);
    tables.slot(chunk, slot & (CHUNK_SLOTS - 1)).ok_or(BAD_TABLE)
}
