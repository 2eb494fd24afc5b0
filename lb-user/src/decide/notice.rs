//! What people want to know of a change, found by comparing what was with what is.

use std::time::Duration;

use lb_common::{ClusterId, NodeId, ServiceId};

use super::{
    freeze,
    group::{Count, Group, GroupMonitor, Hold, Services, Turn},
    health::{Admin, NodeState, Outcome, Way},
    model::Model,
    plan::{Decision, Regime},
    pool::TargetId,
};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// An outcome is about to change what is known of a node, or no longer.
    Seen {
        /// The node.
        node: NodeId,
        /// How it was asked.
        target: TargetId,
        /// What the check found.
        outcome: Outcome,
        /// What that means.
        way: Way,
    },
    /// It is not believed that most nodes of several clusters vanished, or no longer disbelieved.
    Freeze(freeze::Turn),
    /// What is known of a node changed.
    Node {
        /// The node.
        node: NodeId,
        /// How it was asked.
        target: TargetId,
        /// What it is now.
        state: NodeState,
    },
    /// The operator's wish for a node changed.
    Administered {
        /// The node.
        node: NodeId,
        /// What is wanted.
        admin: Admin,
    },
    /// The operator's wish for a cluster changed.
    ClusterAdministered {
        /// Position of the cluster.
        cluster: usize,
        /// What is wanted.
        admin: Admin,
    },
    /// A cluster came into the healthy group.
    ClusterHealthy {
        /// Its pool.
        cluster: ClusterId,
        /// Its nodes.
        count: Count,
        /// How long it is held back from what it lent.
        hold: Option<Hold>,
    },
    /// A cluster came into the unhealthy group.
    ClusterUnhealthy {
        /// Its pool.
        cluster: ClusterId,
        /// Its nodes.
        count: Count,
        /// Enough of them live, and too few of the services that it carries are healthy on it.
        services: Option<Services>,
    },
    /// A recovered cluster is no longer held back.
    Released {
        /// Its pool.
        cluster: ClusterId,
        /// Why.
        by: ReleasedBy,
    },
    /// Others carry a master's flows from now on, or it serves them itself again.
    Carried {
        /// The service.
        service: ServiceId,
        /// The master's pool.
        master: ClusterId,
        /// Which pools serve its flows, and how many slots each; itself alone if all is well.
        by: Vec<(ClusterId, u32)>,
        /// Slots of it that nobody serves.
        dropped: u32,
    },
    /// A service's regime changed.
    Regime {
        /// The service.
        service: ServiceId,
        /// The new one.
        regime: Regime,
    },
}

/// Why a hold ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleasedBy {
    /// The operator said so.
    Operator,
    /// It stayed recovered long enough.
    Time,
    /// There was nothing that it could have taken back.
    NothingLent,
}

/// What there is to say of an outcome: of each node that its target is asked for.
pub(super) fn seen(
    model: &Model,
    target: TargetId,
    outcome: Outcome,
    way: Way,
) -> impl Iterator<Item = Notice> {
    let nodes = model.nodes_at(target).iter().filter_map(|&node| model.ids.node(node));
    nodes.map(move |node| Notice::Seen { node, target, outcome, way })
}

/// What there is to say of a target's new state.
pub(super) fn verdict(
    model: &Model,
    target: TargetId,
    state: NodeState,
) -> impl Iterator<Item = Notice> {
    let nodes = model.nodes_at(target).iter().filter_map(|&node| model.ids.node(node));
    nodes.map(move |node| Notice::Node { node, target, state })
}

/// What there is to say of the first decision: whatever is not as it should be.
pub(super) fn first(model: &Model, decision: &Decision) -> Vec<Notice> {
    let mut notices = Vec::new();
    for (i, group) in decision.groups.iter().enumerate().filter(|(_, group)| !group.healthy) {
        let (count, services) = (group.count, lacking(model, &decision.groups, i));
        let unhealthy = |cluster| Notice::ClusterUnhealthy { cluster, count, services };
        notices.extend(model.ids.table(i).map(unhealthy));
    }
    for service in 0..decision.services.len() {
        notices.extend(
            regime(model, decision, service)
                .filter(|notice| !matches!(notice, Notice::Regime { regime: Regime::Normal, .. })),
        );
        for seat in 0..model.seats(service).len() {
            let row = &decision.services[service].deal.flows[seat];
            if row.iter().enumerate().any(|(owner, &slots)| owner != seat && slots > 0) {
                notices.extend(carried(model, decision, service, seat));
            }
        }
    }
    notices
}

/// The end of a pool's hold.
pub(super) fn released(model: &Model, pool: usize, by: ReleasedBy) -> Option<Notice> {
    Some(Notice::Released { cluster: model.ids.table(pool)?, by })
}

/// What there is to say of a pool's turn.
pub(super) fn turn(
    model: &Model,
    groups: &[GroupMonitor],
    pool: usize,
    turn: Option<Turn>,
) -> Option<Notice> {
    let (cluster, monitor) = (model.ids.table(pool)?, &groups[pool]);
    let count = monitor.group().count;
    Some(match turn? {
        Turn::Healthy => Notice::ClusterHealthy { cluster, count, hold: monitor.hold() },
        Turn::Unhealthy => {
            let groups: Vec<Group> = groups.iter().map(GroupMonitor::group).collect();
            Notice::ClusterUnhealthy { cluster, count, services: lacking(model, &groups, pool) }
        }
    })
}

/// The services of an unhealthy pool's cluster, if it is unhealthy because of them.
pub(super) fn lacking(model: &Model, groups: &[Group], pool: usize) -> Option<Services> {
    let Group { healthy, enough, .. } = groups[pool];
    let services = Services::of(model, model.pool(pool).cluster, |pool| groups[pool].enough);
    (enough && !healthy).then_some(services)
}

/// What changed in who serves what.
pub(super) fn changes(model: &Model, before: &Decision, after: &Decision) -> Vec<Notice> {
    let mut notices = Vec::new();
    for service in 0..after.services.len() {
        if before.services[service].regime != after.services[service].regime {
            notices.extend(regime(model, after, service));
        }
        let step = is_step(before, after, service);
        let tells = |seat: &usize| match step {
            true => carriers(before, service, *seat) != carriers(after, service, *seat),
            false => moved(before, after, service, *seat),
        };
        for seat in (0..model.seats(service).len()).filter(tells) {
            notices.extend(carried(model, after, service, seat));
        }
    }
    notices
}

/// Whether all that changed is how much a ramp withholds: only who serves is worth a word then.
fn is_step(before: &Decision, after: &Decision, service: usize) -> bool {
    let (was, is) = (&before.services[service], &after.services[service]);
    was.withheld != is.withheld
        && (was.regime, &was.eligible, &was.reserve) == (is.regime, &is.eligible, &is.reserve)
}

/// The seats that serve flows of a seat.
fn carriers(decision: &Decision, service: usize, seat: usize) -> Vec<bool> {
    decision.services[service].deal.flows[seat].iter().map(|slots| *slots > 0).collect()
}

/// Sets the time of those seats of a service whose carriers changed.
pub(super) fn touch(
    before: &Decision,
    after: &Decision,
    service: usize,
    since: &mut [Duration],
    now: Duration,
) {
    for (seat, since) in since.iter_mut().enumerate() {
        if moved(before, after, service, seat) {
            *since = now;
        }
    }
}

fn moved(before: &Decision, after: &Decision, service: usize, seat: usize) -> bool {
    before.services[service].deal.flows[seat] != after.services[service].deal.flows[seat]
}

fn regime(model: &Model, decision: &Decision, service: usize) -> Option<Notice> {
    let regime = decision.services[service].regime;
    Some(Notice::Regime { service: model.ids.service(service)?, regime })
}

fn carried(model: &Model, decision: &Decision, service: usize, seat: usize) -> Option<Notice> {
    let seats = model.seats(service);
    let row = &decision.services[service].deal.flows[seat];
    let by = seats.iter().zip(row).filter(|(_, slots)| **slots > 0);
    Some(Notice::Carried {
        service: model.ids.service(service)?,
        master: model.ids.table(seats[seat].pool)?,
        by: by.filter_map(|(s, &slots)| Some((model.ids.table(s.pool)?, slots))).collect(),
        dropped: row[seats.len()],
    })
}
