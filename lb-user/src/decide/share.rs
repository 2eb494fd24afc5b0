//! Counts, slot by slot over both levels, who gets which part of a service's flows, and which
//! part moves from one decision to another.

use lb_common::Slot;

use super::{
    health::NodeHealth,
    model::{Model, NodePlace, Seat},
    plan::{Decision, ServicePlan},
    tables::NOBODY,
};

/// An exact part of a service's flows: so many of so many slots, over both levels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Slots.
    pub of: u64,
    /// Of so many; 0 only where nothing was counted.
    pub all: u64,
}

impl Part {
    /// As a fraction, to show.
    pub fn fraction(self) -> f64 {
        if self.all == 0 { 0.0 } else { self.of as f64 / self.all as f64 }
    }
}

/// Parts of one service's flows.
#[derive(Clone, Debug, PartialEq)]
pub struct Shares {
    /// By seat: what is at home there.
    pub home: Vec<Part>,
    /// By seat: what it serves.
    pub seats: Vec<Part>,
    /// The nodes of the seats, by position.
    pub nodes: Vec<(usize, Part)>,
    /// What nobody serves, at either level.
    pub dropped: f64,
}

/// The parts of a service's flows at a decision.
pub fn shares(model: &Model, decision: &Decision, service: usize) -> Shares {
    let plan = &decision.services[service];
    let all = plan.deal.slots.len() as u64;
    let seats = model.seats(service);
    let part = |of: u32| Part { of: u64::from(of), all };
    let owned: Vec<Part> = (0..seats.len()).map(|seat| part(plan.deal.owned(seat))).collect();
    let mut dropped = part(plan.deal.dropped()).fraction();
    let mut nodes = Vec::new();
    for (seat, place) in seats.iter().enumerate() {
        let table = &decision.clusters[table_id(model, plan, place)].slots;
        let ids = model.nodes_of(place.cluster);
        let mut counts = vec![0u64; ids.len() + 1];
        for slot in table.iter() {
            let node = slot.member().and_then(|id| model.ids.node_of(id));
            counts[node.map_or(ids.len(), |node| node - ids.start)] += 1;
        }
        let part = |count| Part { of: owned[seat].of * count, all: all * table.len() as u64 };
        dropped += part(counts[ids.len()]).fraction();
        nodes.extend(ids.clone().zip(counts).map(|(node, count)| (node, part(count))));
    }
    let home = (0..seats.len()).map(|seat| part(plan.deal.home(seat))).collect();
    Shares { home, seats: owned, nodes, dropped }
}

/// The position of the node table that a service uses for a seat.
pub fn table_id(model: &Model, plan: &ServicePlan, seat: &Seat) -> usize {
    let ignores = plan.regime == super::Regime::Panic(crate::config::Panic::All);
    ignores.then(|| model.variant_of(seat.pool)).flatten().unwrap_or(seat.pool)
}

/// The health of a node as a service sees it; of one that is not in it: none of it.
pub fn health_of(model: &Model, decision: &Decision, service: usize, node: usize) -> NodeHealth {
    let NodePlace { cluster, index } = model.nodes[node];
    let seats = model.seats(service).iter().filter(|seat| seat.cluster == cluster);
    seats
        .min_by_key(|seat| seat.leaving)
        .map_or(NodeHealth::default(), |seat| decision.nodes[seat.pool][index])
}

/// How much of a service's flows a change moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Flows whose node is another one.
    pub moved: Part,
    /// The part of them that moved in vain: the old owner may still serve them, and the new one
    /// might have before.
    pub extra: Part,
}

/// Compares two decisions for one configuration, slot by slot over both levels.
pub fn moved(model: &Model, before: &Decision, after: &Decision, service: usize) -> Moved {
    let plans = [&before.services[service], &after.services[service]];
    let order = model.service_order(service);
    let seats = model.seats(service).len();
    let column = |owner: u16| usize::from(owner).min(seats);
    // Slots by old and new owner, and those of them that moved in vain; the last is nobody.
    let mut pairs = vec![(0u64, 0u64); (seats + 1) * (seats + 1)];
    for slot in 0..order.home().len() {
        let [old, new] = plans.map(|plan| plan.deal.owners[slot]);
        let in_vain =
            old != new && may_serve(plans[1], slot, old) && may_serve(plans[0], slot, new);
        let pair = &mut pairs[column(old) * (seats + 1) + column(new)];
        pair.0 += 1;
        pair.1 += u64::from(in_vain);
    }
    let owner = |column: usize| if column == seats { NOBODY } else { column as u16 };
    let table = |side: usize, seat: u16| {
        let seat = &model.seats(service)[usize::from(seat)];
        let decision = [before, after][side];
        &decision.clusters[table_id(model, plans[side], seat)]
    };
    let mut total = Moved::default();
    // Tables differ in size: every part becomes one of the largest.
    let scale = 1u64 << lb_common::layout::MAX_TABLE_LOG2;
    for (i, &(slots, in_vain)) in pairs.iter().enumerate().filter(|(_, pair)| pair.0 > 0) {
        let (old, new) = (owner(i / (seats + 1)), owner(i % (seats + 1)));
        let (moved, extra) = match (old, new) {
            (NOBODY, NOBODY) => (0, 0),
            (old, NOBODY) => {
                (slots * (scale - unserved(&table(0, old).slots, scale)), in_vain * scale)
            }
            (NOBODY, new) => {
                (slots * (scale - unserved(&table(1, new).slots, scale)), in_vain * scale)
            }
            (old, new) if old == new => {
                let first = model.nodes_of(model.seats(service)[usize::from(old)].cluster).start;
                let node = |id| Some((model.ids.node_of(id)? - first) as u16);
                let (moved, extra) = nodes_moved(table(0, old), table(1, new), node, scale);
                (slots * moved, slots * extra)
            }
            _ => (slots * scale, in_vain * scale),
        };
        total.moved.of += moved;
        total.extra.of += extra;
    }
    let all = order.home().len() as u64 * scale;
    Moved { moved: Part { all, ..total.moved }, extra: Part { all, ..total.extra } }
}

/// Whether a seat may serve a slot: those in reserve only if nobody else may.
fn may_serve(plan: &ServicePlan, slot: usize, seat: u16) -> bool {
    if seat == NOBODY {
        return true;
    }
    let owner = plan.deal.owners[slot];
    let nobody_else = owner == NOBODY || !plan.eligible.contains(owner);
    let withheld = plan.withheld.get(usize::from(seat)).copied().unwrap_or_default();
    let in_turn = withheld.allows(slot as u32) || owner == seat;
    plan.eligible.contains(seat) && in_turn || nobody_else && plan.reserve.contains(seat)
}

fn unserved(slots: &[Slot], scale: u64) -> u64 {
    let nobody = slots.iter().filter(|slot| slot.member().is_none()).count() as u64;
    nobody * (scale / slots.len() as u64)
}

/// Slots of a cluster's table whose node is another one, and those that moved in vain. `node`: the
/// position in the cluster of a node with an id.
fn nodes_moved(
    before: &super::plan::NodeTable,
    after: &super::plan::NodeTable,
    node: impl Fn(u16) -> Option<u16>,
    scale: u64,
) -> (u64, u64) {
    let may_serve = |table: &super::plan::NodeTable, at: u32, slot: &Slot| {
        let of = |node: u16| {
            let withheld = table.withheld.get(usize::from(node)).copied().unwrap_or_default();
            table.eligible.contains(node) && withheld.allows(at)
        };
        slot.member().is_none_or(|id| node(id).is_some_and(of))
    };
    let (mut moved, mut extra) = (0, 0);
    let slots = (0..).zip(before.slots.iter().zip(after.slots.iter()));
    for (at, (old, new)) in slots.filter(|(_, (old, new))| old != new) {
        moved += 1;
        extra += u64::from(may_serve(after, at, old) && may_serve(before, at, new));
    }
    let weight = scale / before.slots.len() as u64;
    (moved * weight, extra * weight)
}
