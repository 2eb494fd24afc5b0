//! Judges what tables say of the past, slot by slot: owners are those that were decided, and whom old
//! connections go to is there.

use std::sync::Arc;

use lb_common::{Slot, SlotState};

use super::{Facts, TableId, Violation};
use crate::decide::intent::{Intent, Table};

/// Tables that were found sound, with what they were compared with, by position.
#[derive(Debug, Default)]
pub(super) struct Sound {
    services: Vec<Option<Seen>>,
    clusters: Vec<Option<Seen>>,
}

#[derive(Debug)]
struct Seen {
    slots: Arc<[Slot]>,
    base: Option<Arc<[Slot]>>,
    decided: Arc<[Slot]>,
}

impl Sound {
    pub(super) fn judge(&mut self, facts: &Facts<'_>, intent: &Intent, found: &mut Vec<Violation>) {
        let (model, ids) = (facts.model, &facts.model.ids);
        self.services.resize_with(facts.decision.services.len(), || None);
        let plans = facts.decision.services.iter().zip(&mut self.services);
        for (at, (plan, seen)) in plans.enumerate() {
            let Some(table) = ids.service(at).and_then(|id| intent.services.get(id.index())) else {
                continue;
            };
            let is_there = |member: u16| ids.table_of(member).is_some();
            judge(seen, TableId::Service(at), (table, &plan.deal.slots), is_there, found);
        }
        self.clusters.resize_with(facts.decision.clusters.len(), || None);
        let tables = facts.decision.clusters.iter().zip(&mut self.clusters);
        for (at, (decided, seen)) in tables.enumerate() {
            let Some(table) = ids.table(at).and_then(|id| intent.clusters.get(id.index())) else {
                continue;
            };
            let nodes = model.cluster_of(at).map(|cluster| model.nodes_of(cluster));
            let is_there = |member: u16| {
                let node = ids.node_of(member);
                node.is_some_and(|node| nodes.as_ref().is_some_and(|of| of.contains(&node)))
            };
            judge(seen, TableId::Cluster(at), (table, &decided.slots), is_there, found);
        }
    }
}

fn judge(
    seen: &mut Option<Seen>,
    name: TableId,
    (table, decided): (&Table, &Arc<[Slot]>),
    is_there: impl Fn(u16) -> bool,
    found: &mut Vec<Violation>,
) {
    if seen.as_ref().is_some_and(|seen| seen.is(table, decided)) {
        return;
    }
    *seen = None;
    let known = found.len();
    let others = others(&table.slots, decided);
    if others > 0 {
        found.push(Violation::Undecided { table: name, slots: others });
    }
    if !has_base(table, is_there) {
        found.push(Violation::Base { table: name });
    }
    if found.len() == known {
        let (slots, decided) = (Arc::clone(&table.slots), Arc::clone(decided));
        *seen = Some(Seen { slots, base: table.base.clone(), decided });
    }
}

/// Slots that are not the decided owner's. Of a table that moves, several may stand for a decided one.
fn others(slots: &[Slot], decided: &[Slot]) -> u32 {
    let each = (slots.len() / decided.len()).max(1);
    let owners = decided.iter().flat_map(|owner| std::iter::repeat_n(owner.member(), each));
    slots.iter().zip(owners).filter(|(slot, owner)| slot.member() != *owner).count() as u32
}

/// Whether each slot in `DRAIN`, and no other, has somebody who is there or was nobody, and is not the
/// owner.
fn has_base(table: &Table, is_there: impl Fn(u16) -> bool) -> bool {
    let drains = |slot: &Slot| slot.state() == SlotState::Drain;
    let Some(base) = &table.base else { return !table.slots.iter().any(drains) };
    let right = |(slot, base): (&Slot, &Slot)| match drains(slot) {
        true => {
            let known = base.member().is_none_or(&is_there);
            known && base.member() != slot.member() && base.state() == SlotState::Clean
        }
        false => *base == Slot::NONE,
    };
    base.len() == table.slots.len()
        && table.slots.iter().any(drains)
        && table.slots.iter().zip(base.iter()).all(right)
}

impl Seen {
    fn is(&self, table: &Table, decided: &Arc<[Slot]>) -> bool {
        let base = match (&self.base, &table.base) {
            (Some(seen), Some(base)) => Arc::ptr_eq(seen, base),
            (seen, base) => seen.is_none() && base.is_none(),
        };
        base && Arc::ptr_eq(&self.slots, &table.slots) && Arc::ptr_eq(&self.decided, decided)
    }
}
