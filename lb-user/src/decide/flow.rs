//! Follows one flow through both tables: who was asked, in which order, and why not the others.

use lb_common::FlowHash;

use super::{
    health::NodeHealth,
    model::Model,
    plan::Decision,
    reason::{Standing, standing},
    share::table_id,
    tables::{Bits, NOBODY, allowed},
};

/// The way of one flow of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowPath {
    /// Slot of the service's table.
    pub slot: u32,
    /// Seats that were asked before the carrier, home first, and why they do not serve it.
    pub passed: Vec<(usize, Standing)>,
    /// The seat that serves it; its home if nobody was asked before.
    pub carrier: Option<usize>,
    /// Slot of the carrier's table.
    pub node_slot: Option<u32>,
    /// Position of the node table: the carrier's pool's, or its cluster's that ignores health.
    pub table: Option<usize>,
    /// Nodes that were asked before the one that serves it, and their health.
    pub nodes_passed: Vec<(usize, NodeHealth)>,
    /// The node that serves it.
    pub node: Option<usize>,
}

/// The way of a flow of this hash.
pub fn follow(model: &Model, decision: &Decision, service: usize, hash: FlowHash) -> FlowPath {
    let plan = &decision.services[service];
    let order = model.service_order(service);
    let slot = hash.service_slot(order.log2());
    let owner = plan.deal.owners[slot as usize];
    let able = match owner {
        NOBODY => Bits::none(model.seats(service).len()),
        seat if plan.eligible.contains(seat) => {
            let able = allowed(&plan.eligible, &plan.withheld, slot);
            if able.contains(seat) { able } else { plan.eligible.clone() }
        }
        _ => plan.reserve.clone(),
    };
    let seats = order.path(slot, &able).into_iter().map(usize::from);
    let passed = seats.filter(|&seat| seat != usize::from(owner));
    let mut path = FlowPath {
        slot,
        passed: passed.map(|seat| (seat, standing(model, decision, service, seat))).collect(),
        carrier: (owner != NOBODY).then_some(owner.into()),
        node_slot: None,
        table: None,
        nodes_passed: Vec::new(),
        node: None,
    };
    if let Some(seat) = path.carrier {
        let seat = &model.seats(service)[seat];
        let first = model.nodes_of(seat.cluster).start;
        let order = model.cluster_order(seat.cluster);
        let id = table_id(model, plan, seat);
        let table = &decision.clusters[id];
        let slot = hash.node_slot(order.log2());
        path.node_slot = Some(slot);
        path.table = Some(id);
        let member = table.slots[slot as usize].member();
        path.node = member.and_then(|id| model.ids.node_of(id));
        let able = allowed(&table.eligible, &table.withheld, slot);
        let owner = path.node.map(|node| (node - first) as u16);
        let serves = owner.is_none_or(|owner| able.contains(owner));
        let asked = order.path(slot, if serves { &able } else { &table.eligible });
        let asked = asked.into_iter().map(|node| first + usize::from(node));
        let passed = asked.filter(|&node| Some(node) != path.node);
        let health = |node: usize| decision.nodes[seat.pool][node - first];
        path.nodes_passed = passed.map(|node| (node, health(node))).collect();
    }
    path
}
