//! Why each member of a service serves what it serves, as a value; and the one place where such
//! values become sentences.

use super::{
    group::needed,
    model::{Model, Role},
    plan::{Decision, Regime},
};
use crate::config::Panic;

/// A cluster's position in one service at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Eligible, and has slots: its own, others', or both.
    Serves {
        /// It serves all the flows whose home it is, and has some.
        own: bool,
        /// How many other members' flows it carries.
        carries: u32,
    },
    /// A standby whose service is without need of it.
    Idle,
    /// Eligible, but a better tier has somebody.
    LowerTier,
    /// Its weight is 0 in this service.
    WeightZero,
    /// It has no node that counts.
    Empty,
    /// Too few of its nodes live.
    Unhealthy {
        /// Living nodes.
        alive: u32,
        /// Least number.
        needed: u32,
    },
    /// It recovered, and waits until it may take back what it lent.
    Held,
    /// No cluster is healthy, and the policy is to drop.
    Dropped,
}

/// The standing of one seat of a service, by position in [`Model::seats`].
pub fn standing(model: &Model, decision: &Decision, service: usize, seat: usize) -> Standing {
    let plan = &decision.services[service];
    let place = model.seats(service)[seat];
    let group = decision.groups[place.cluster];
    let owned = plan.deal.owned(seat);
    if owned > 0 {
        let rows = plan.deal.flows.iter().enumerate();
        let carries = rows.filter(|(home, row)| *home != seat && row[seat] > 0).count() as u32;
        let home = plan.deal.home(seat);
        return Standing::Serves { own: home > 0 && plan.deal.flows[seat][seat] == home, carries };
    }
    if place.weight == 0 {
        return Standing::WeightZero;
    }
    if group.empty() {
        return Standing::Empty;
    }
    if plan.regime == Regime::Panic(Panic::Drop) {
        return Standing::Dropped;
    }
    if plan.eligible.contains(seat as u16) {
        let loaded = |(i, other): (usize, &super::model::Seat)| {
            other.role == place.role && plan.deal.owned(i) > 0
        };
        let tier = model.seats(service).iter().enumerate().any(loaded);
        return if tier { Standing::LowerTier } else { Standing::Idle };
    }
    if group.healthy && group.held {
        return Standing::Held;
    }
    let threshold = model.config.clusters[place.cluster].threshold;
    Standing::Unhealthy { alive: group.count.alive, needed: needed(threshold, group.count.total) }
}

/// The standing of one seat as a sentence.
pub fn explain_seat(model: &Model, decision: &Decision, service: usize, seat: usize) -> String {
    let plan = &decision.services[service];
    let place = model.seats(service)[seat];
    let group = decision.groups[place.cluster];
    let count = group.count;
    let name =
        |seat: usize| -> &str { &model.config.clusters[model.seats(service)[seat].cluster].name };
    let threshold = model.config.clusters[place.cluster].threshold;
    let state = match (group.healthy, group.empty()) {
        (_, true) => "empty".to_string(),
        (true, _) => format!("healthy, {} of {} alive", count.alive, count.total),
        (false, _) => {
            let needed = needed(threshold, count.total);
            format!("unhealthy, {} of {} alive, needs {needed}", count.alive, count.total)
        }
    };
    let regime = match plan.regime {
        Regime::Normal => "",
        Regime::LastResort => " as last resort",
        Regime::Panic(_) => " in panic",
    };
    let list = |seats: Vec<usize>| seats.into_iter().map(name).collect::<Vec<_>>().join(", ");
    let flows = &plan.deal.flows;
    let others = (0..flows.len()).filter(|&i| i != seat);
    let to: Vec<usize> = others.clone().filter(|&i| flows[seat][i] > 0).collect();
    let lent = match (to.is_empty(), place.role) {
        (true, Role::Master) if plan.deal.home(seat) > 0 && flows[seat][seat] == 0 => {
            "; nobody may carry its flows".to_string()
        }
        (true, _) => String::new(),
        (false, _) => format!("; its flows go to {}", list(to)),
    };
    let does = match standing(model, decision, service, seat) {
        Standing::Serves { own, carries } => {
            let from = list(others.filter(|&i| flows[i][seat] > 0).collect());
            match (own, carries) {
                (true, 0) => format!("serves its own flows{regime}"),
                (true, _) => format!("serves its own flows and those of {from}{regime}"),
                (false, 0) => format!("serves part of its own flows{regime}"),
                (false, _) => format!("carries the flows of {from}{regime}"),
            }
        }
        Standing::Idle => "stands by".into(),
        Standing::LowerTier => "waits behind a tier of higher priority".into(),
        Standing::WeightZero => "has weight 0".into(),
        Standing::Empty => "has no node that counts".into(),
        Standing::Unhealthy { .. } => "may not serve".into(),
        Standing::Held => "recovered, held back until released".into(),
        Standing::Dropped => "drops in panic".into(),
    };
    format!("{state}: {does}{lent}")
}
