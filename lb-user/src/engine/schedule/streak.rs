//! How sure one target's state is: whether its next outcome is worth hurrying for.
//!
//! Follows the rule of `decide` for fall and rise from its own outcomes, and decides nothing else.

use crate::{
    config::Health,
    decide::{MissReason, Outcome},
};

/// Outcomes in a row that speak against what a target counts as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streak {
    /// `None` before the first outcome.
    up: Option<bool>,
    against: u32,
}

impl Streak {
    /// Takes an outcome into account.
    pub fn observe(&mut self, outcome: Outcome, rules: &Health) {
        let hit = match outcome {
            Outcome::Hit => true,
            // Out at once, and back by as many hits as one that was down.
            Outcome::NotWorking => {
                *self = Self { up: Some(false), against: 0 };
                return;
            }
            Outcome::Miss(MissReason::Local | MissReason::Starved) => return,
            Outcome::Miss(_) => false,
        };
        let up = *self.up.get_or_insert(hit);
        self.against = if up == hit { 0 } else { self.against.saturating_add(1) };
        if self.against >= if up { rules.fall } else { rules.rise } {
            *self = Self { up: Some(!up), against: 0 };
        }
    }

    /// Whether its last outcome speaks against what it counts as.
    pub fn unsettled(self) -> bool {
        self.against > 0
    }

    /// Whether it counts as down.
    pub fn down(self) -> bool {
        self.up == Some(false)
    }
}
