//! Load balancers that leave out one of the rules.

use std::sync::Arc;

use lb_common::{Slot, SlotState};
use lb_user::decide::{Intent, Table};

/// What is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    /// Nothing.
    Nothing,
    /// The base stays while the owner changes again: it is the owner of just before.
    Base,
    /// Slots have states: all look as if they never moved.
    States,
    /// A FIN or RST does not free a pin.
    Closing,
    /// A sweep comes before a slot is clean: it is when its window closes.
    Sweep,
    /// Of each bucket some ways are for connections that are more than half open.
    Quota,
}

/// What packets see of what is published.
pub struct Published {
    /// The rule that is left out.
    pub without: Without,
    /// Owners and bases, by table: services', then clusters'.
    last: Vec<(Arc<[Slot]>, Vec<Slot>)>,
}

impl Published {
    /// Nothing yet.
    pub fn new(without: Without) -> Self {
        Self { without, last: Vec::new() }
    }

    /// What is published instead.
    pub fn change(&mut self, intent: &Intent) -> Intent {
        let mut intent = intent.clone();
        match self.without {
            Without::Nothing | Without::Closing | Without::Quota => {}
            Without::States => {
                let clean = |table: &mut Table| {
                    *table = in_state(table, &[SlotState::Drain, SlotState::Residue]);
                    table.base = None;
                };
                tables(&mut intent).for_each(clean);
            }
            Without::Sweep => {
                tables(&mut intent).for_each(|t| *t = in_state(t, &[SlotState::Residue]));
            }
            Without::Base => {
                let known = intent.services.len() + intent.clusters.len();
                self.last.resize_with(known, || (Arc::new([]), Vec::new()));
                tables(&mut intent).zip(&mut self.last).for_each(|(t, last)| rebase(t, last));
            }
        }
        intent
    }
}

fn tables(intent: &mut Intent) -> impl Iterator<Item = &mut Table> {
    intent.services.iter_mut().chain(&mut intent.clusters)
}

/// The table with slots in these states clean.
fn in_state(table: &Table, states: &[SlotState]) -> Table {
    let clean = |slot: &Slot| match states.contains(&slot.state()) {
        true => slot.in_state(SlotState::Clean),
        false => *slot,
    };
    Table { slots: table.slots.iter().map(clean).collect(), ..table.clone() }
}

/// Takes the last owner before this one as base.
fn rebase(table: &mut Table, (owners, bases): &mut (Arc<[Slot]>, Vec<Slot>)) {
    let slots = Arc::clone(&table.slots);
    // The table may have grown or shrunk meanwhile.
    let at = |i: usize| i * owners.len() / slots.len();
    let base = |i: usize| match owners.get(at(i)) {
        Some(last) if last.member() == slots[i].member() => bases[at(i)],
        Some(last) => last.in_state(SlotState::Clean),
        None => Slot::NONE,
    };
    let new: Vec<Slot> = (0..slots.len()).map(base).collect();
    table.base = table.base.as_ref().map(|_| new.clone().into());
    (*owners, *bases) = (slots, new);
}
