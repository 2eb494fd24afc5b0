//! Why each member of a service serves what it serves, as a value; and the one place where what
//! was decided becomes sentences.

use lb_common::{ClusterId, NodeId, ServiceId};

use super::{
    check::{TableId, Violation},
    freeze,
    group::{Count, Hold, Services},
    health::{Admin, MissReason, NodeHealth, NodeState, Outcome, Way},
    intent::MOST_OWN,
    model::{Model, Role},
    notice::{Notice, ReleasedBy, lacking},
    plan::{Decision, Regime},
    tables::{CLASSES, Withheld},
};
use crate::config::{Cluster, Panic};

/// A cluster's position in one service at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has slots: its own, others', or both.
    Serves {
        /// It serves all the flows whose home it is, and has some.
        own: bool,
        /// How many other members' flows it carries.
        carries: u32,
    },
    /// Eligible, and nobody needs it.
    Idle,
    /// Eligible, but a better tier has somebody.
    LowerTier,
    /// It is no longer in the file, and keeps what connections it has.
    Leaving,
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
    /// Too few of the services that its cluster carries are healthy on it.
    FewServices(Services),
    /// It recovered, and waits until it may take back what it lent.
    Held,
    /// No cluster is healthy, and the policy is to drop.
    Dropped,
}

/// The standing of one seat of a service, by position in [`Model::seats`].
pub fn standing(model: &Model, decision: &Decision, service: usize, seat: usize) -> Standing {
    let plan = &decision.services[service];
    let (seats, deal) = (model.seats(service), &plan.deal);
    let place = seats[seat];
    let group = decision.groups[place.pool];
    if deal.owned(seat) > 0 {
        let carries = carried(decision, service, seat).len() as u32;
        let home = deal.home(seat);
        return Standing::Serves { own: home > 0 && deal.flows[seat][seat] == home, carries };
    }
    if place.leaving {
        return Standing::Leaving;
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
        let busy = |i: usize| deal.owned(i) > 0 && seats[i].role == place.role;
        let behind = (0..seats.len()).any(|i| busy(i) && seats[i].priority > place.priority);
        return if behind { Standing::LowerTier } else { Standing::Idle };
    }
    if group.healthy && group.held {
        return Standing::Held;
    }
    if let Some(services) = lacking(model, &decision.groups, place.pool) {
        return Standing::FewServices(services);
    }
    let threshold = model.config.clusters[place.cluster].threshold;
    Standing::Unhealthy { alive: group.count.alive, needed: threshold.needed(group.count.total) }
}

/// Seats whose flows a seat carries.
fn carried(decision: &Decision, service: usize, seat: usize) -> Vec<usize> {
    let flows = &decision.services[service].deal.flows;
    (0..flows.len()).filter(|&home| home != seat && flows[home][seat] > 0).collect()
}

/// The standing of one seat as a sentence.
pub fn explain_seat(model: &Model, decision: &Decision, service: usize, seat: usize) -> String {
    let plan = &decision.services[service];
    let seats = model.seats(service);
    let group = decision.groups[seats[seat].pool];
    let names = |of: Vec<usize>| {
        let name = |i: usize| model.config.clusters[seats[i].cluster].name.as_str();
        of.into_iter().map(name).collect::<Vec<_>>().join(", ")
    };
    let Count { alive, total } = group.count;
    let health = match (group.empty(), group.healthy) {
        (true, _) => "empty".to_string(),
        (false, true) => format!("healthy, {alive} of {total} alive"),
        (false, false) => {
            let cluster = &model.config.clusters[seats[seat].cluster];
            let services = lacking(model, &decision.groups, seats[seat].pool);
            format!("unhealthy, {}", too_few(cluster, group.count, services))
        }
    };
    let does = match standing(model, decision, service, seat) {
        Standing::Serves { own, carries } => {
            let from = names(carried(decision, service, seat));
            match (own, carries) {
                (true, 0) => "serves its own flows".to_string(),
                (true, _) => format!("serves its own flows and those of {from}"),
                (false, 0) => "serves part of its own flows".to_string(),
                (false, _) => format!("carries the flows of {from}"),
            }
        }
        Standing::Idle if seats[seat].role == Role::Standby => "stands by".into(),
        Standing::Idle => "has no flows of its own".into(),
        Standing::LowerTier => "waits behind a higher priority".into(),
        Standing::Leaving => "is leaving".into(),
        Standing::WeightZero => "has weight 0".into(),
        Standing::Empty => "has no node that counts".into(),
        Standing::Unhealthy { .. } | Standing::FewServices(_) => "may not serve".into(),
        Standing::Held => "recovered, held back".into(),
        Standing::Dropped => "drops".into(),
    };
    let regime = match plan.regime {
        Regime::LastResort if seats[seat].role == Role::Standby => ", as last resort",
        Regime::Panic(_) => ", in panic",
        Regime::Normal | Regime::LastResort => "",
    };
    let parts = |left: u8| format!(", has {} of {CLASSES} parts back", CLASSES - left);
    let ramp =
        plan.withheld.get(seat).filter(|left| left.0 > 0 && plan.eligible.contains(seat as u16));
    let ramp = ramp.map_or(String::new(), |left| parts(left.0));
    let row = &plan.deal.flows[seat];
    let to = (0..seats.len()).filter(|&i| i != seat && row[i] > 0).collect::<Vec<_>>();
    let lent = match (to.is_empty(), row[seats.len()] > 0) {
        (false, _) => format!("; its flows go to {}", names(to)),
        (true, true) => "; its flows are dropped".to_string(),
        (true, false) => String::new(),
    };
    format!("{health}: {does}{regime}{ramp}{lent}")
}

/// Why a cluster is unhealthy that is not empty.
fn too_few(cluster: &Cluster, count: Count, services: Option<Services>) -> String {
    let Count { alive, total } = count;
    match services {
        None => format!("{alive} of {total} alive, needs {}", cluster.threshold.needed(total)),
        Some(Services { healthy, total: all, needed }) => format!(
            "{alive} of {total} alive, but only {healthy} of its {all} services are healthy on it, \
             needs {needed}"
        ),
    }
}

/// A notice as a sentence.
pub fn explain_notice(model: &Model, notice: &Notice) -> String {
    let cluster = |id: ClusterId| model.name_of_pool(id);
    let service = |id: ServiceId| model.name_of_service(id);
    let node = |id: NodeId, target| model.name_of_node(id, target);
    let counted = |id: ClusterId, count: &Count| {
        let pool = model.ids.table_at(id);
        let needed = pool.map_or(0, |pool| model.cluster(pool).threshold.needed(count.total));
        format!("{} of {} alive, needs {needed}", count.alive, count.total)
    };
    match notice {
        Notice::Node { node: id, target, state } => {
            format!("node {} is {}", node(*id, Some(*target)), node_state(*state))
        }
        Notice::Seen { node: id, target, outcome, way } => {
            format!("node {} {}", node(*id, Some(*target)), seen(*outcome, *way))
        }
        Notice::Freeze(turn) => explain_freeze(model, turn),
        Notice::Administered { node: id, admin } => {
            format!("node {} is {}", node(*id, None), explain_admin(*admin))
        }
        Notice::ClusterAdministered { cluster, admin } => {
            let name = model.config.clusters.get(*cluster).map_or("?", |cluster| &cluster.name);
            format!("cluster {name} is {}", explain_admin(*admin))
        }
        Notice::ClusterHealthy { cluster: id, count, hold } => {
            let hold = match hold {
                None => "",
                Some(Hold::Until(_)) => "; held back for a time",
                Some(Hold::UntilReleased) => "; held back until released",
            };
            format!("cluster {} is healthy: {}{hold}", cluster(*id), counted(*id, count))
        }
        Notice::ClusterUnhealthy { cluster: id, count, .. } if count.total == 0 => {
            let pool = model.ids.table_at(*id);
            let leaves = pool.is_some_and(|pool| model.cluster(pool).leaving);
            format!("cluster {} is {}", cluster(*id), if leaves { "leaving" } else { "empty" })
        }
        Notice::ClusterUnhealthy { cluster: id, count, services } => {
            let pool = model.ids.table_at(*id);
            let why = pool.map(|pool| too_few(model.cluster(pool), *count, *services));
            format!("cluster {} is unhealthy: {}", cluster(*id), why.unwrap_or_default())
        }
        Notice::Released { cluster: id, by } => {
            let why = match by {
                ReleasedBy::Operator => "released",
                ReleasedBy::Time => "it stayed recovered",
                ReleasedBy::NothingLent => "nothing of it is lent",
            };
            format!("cluster {} is no longer held back: {why}", cluster(*id))
        }
        Notice::Carried { service: id, master, by, dropped } => {
            let master = cluster(*master);
            let names: Vec<&str> = by.iter().map(|(id, _)| cluster(*id)).collect();
            let does = match (&names[..], dropped) {
                ([], _) => format!("nobody serves the flows of {master}"),
                ([one], 0) if *one == master => format!("{master} serves its own flows"),
                (_, 0) => format!("{} serve the flows of {master}", names.join(", ")),
                (_, _) => format!("{} serve part of the flows of {master}", names.join(", ")),
            };
            format!("service {}: {does}", service(*id))
        }
        Notice::Regime { service: id, regime } => {
            format!("service {}: {}", service(*id), explain_regime(*regime))
        }
    }
}

/// What the operator wants, in a word or two.
pub const fn explain_admin(admin: Admin) -> &'static str {
    match admin {
        Admin::InService => "in service",
        Admin::Drained => "drained",
        Admin::Maintenance => "in maintenance",
    }
}

/// What a check found, and where that leads.
fn seen(outcome: Outcome, way: Way) -> String {
    let found = match outcome {
        Outcome::Hit => "answers".to_owned(),
        Outcome::NotWorking => "says that it is not working".to_owned(),
        Outcome::Miss(reason) => format!("does not answer: {}", explain_miss(reason)),
    };
    match way {
        Way::Step { is, of } => format!("{found}, {is} of {of}"),
        Way::Back => format!("{found} again"),
    }
}

fn explain_freeze(model: &Model, turn: &freeze::Turn) -> String {
    match turn {
        freeze::Turn::Frozen { clusters, .. } => {
            let names = clusters.iter().map(|&c| model.config.clusters[c].name.as_str());
            format!(
                "most nodes of clusters {} vanished at once: not believed for {}, the plan stays",
                names.collect::<Vec<_>>().join(", "),
                humantime::format_duration(model.config.lb.freeze)
            )
        }
        freeze::Turn::Believed => "the plan is no longer frozen: what vanished is believed".into(),
        freeze::Turn::Returned => "the plan is no longer frozen: nodes came back".into(),
    }
}

fn node_state(state: NodeState) -> String {
    match state {
        NodeState::Unknown => "unknown".into(),
        NodeState::Up => "up".into(),
        NodeState::NotWorking => "reachable, but says that it is not working".into(),
        NodeState::Down(reason) => format!("down: {}", explain_miss(reason)),
    }
}

/// A node's bits in a word or two.
pub fn explain_node(health: NodeHealth) -> &'static str {
    match health {
        NodeHealth { in_service: false, .. } => "out of service",
        NodeHealth { eligible: true, withheld: Withheld(1..), .. } => "up, starts slowly",
        NodeHealth { eligible: true, .. } => "up",
        NodeHealth { up: true, .. } => "not working",
        NodeHealth { .. } => "down",
    }
}

/// A service's regime as a sentence.
pub fn explain_regime(regime: Regime) -> &'static str {
    match regime {
        Regime::Normal => "back to normal",
        Regime::LastResort => "no standby is healthy: their living nodes serve",
        Regime::Panic(Panic::Alive) => "panic: no cluster is healthy, whoever lives serves",
        Regime::Panic(Panic::All) => "panic: no cluster is healthy, all masters' nodes serve",
        Regime::Panic(Panic::Drop) => "panic: no cluster is healthy, packets are dropped",
    }
}

/// Why a check was a miss, in a few words.
pub fn explain_miss(reason: MissReason) -> String {
    let text = match reason {
        MissReason::Timeout => "no answer in time",
        MissReason::Refused => "connection refused",
        MissReason::Closed => "connection closed before the answer",
        MissReason::Unreachable => "unreachable",
        MissReason::Tls => "TLS failed",
        MissReason::Status(status) => return format!("status {status}"),
        MissReason::BadAnswer => "wrong answer",
        MissReason::Local => "the check could not be made",
        MissReason::Starved => "this host did not get to make the check",
    };
    text.to_owned()
}

/// That so many of this host's own addresses are not told to the data path.
pub fn explain_left_out(addresses: usize) -> String {
    format!(
        "this host has {addresses} addresses more than the {MOST_OWN} that nat knows; it knows those \
         that are the source of checks and of routes to nodes, and what nodes send to one of the others from a \
         service's port is taken for a reply to a client"
    )
}

/// A violation as a sentence.
pub fn explain_violation(model: &Model, violation: &Violation) -> String {
    let cluster = |id: usize| {
        let name = |id: usize| model.config.clusters[id].name.clone();
        match id < model.pools.pools.len() {
            true => model.pool_name(id).to_owned(),
            false => model.cluster_of(id).map_or(format!("#{id}"), name),
        }
    };
    let service = |id: usize| model.config.services[id].name.as_str();
    let table = |table: TableId| match table {
        TableId::Service(id) => format!("table of service {}", service(id)),
        TableId::Cluster(id) => format!("table of cluster {}", cluster(id)),
    };
    let member = |table: TableId, id: usize| match table {
        TableId::Service(_) => cluster(id),
        TableId::Cluster(_) => model.node_name(id, None),
    };
    match *violation {
        Violation::Length { list, is, must_be } => format!("{list:?}: {is} entries, not {must_be}"),
        Violation::Stray { list, id } => format!("{list:?}: nobody has the id {id}"),
        Violation::Vip { entry } => {
            format!("VIP entry {entry} does not lead to its service, or is for another's packets")
        }
        Violation::Reply { entry } => {
            format!("reply entry {entry} is no node's of its service, or for another's packets")
        }
        Violation::NoReply { service: s } => {
            format!("service {}: replies of its nodes would not be known", service(s))
        }
        Violation::Own => "this host's own addresses are not those that are written".into(),
        Violation::Plan => "what is said of the plan as a whole is wrong".into(),
        Violation::Directory { table: t } => {
            format!("{}: port, affinity or address are wrong", table(t))
        }
        Violation::TableSize { table: t, slots } => format!("{}: {slots} slots", table(t)),
        Violation::Foreign { table: t, slots } => {
            format!("{}: {slots} slots name no member of it", table(t))
        }
        Violation::Base { table: t } => {
            format!("{}: it is not clear where old connections go", table(t))
        }
        Violation::Undecided { table: t, slots } => {
            format!("{}: {slots} slots have other owners than was decided", table(t))
        }
        Violation::MayNotServe { table: t, member: m, slots } => {
            format!("{}: {slots} slots go to {}, which may not serve", table(t), member(t, m))
        }
        Violation::LowerTier { table: t, member: m } => {
            format!("{}: {} serves before a higher priority", table(t), member(t, m))
        }
        Violation::Dropped { table: t, slots } => {
            format!("{}: {slots} slots are served by nobody", table(t))
        }
        Violation::StandbyLoaded { service: s, cluster: c } => {
            format!("service {}: standby {} is loaded without need", service(s), cluster(c))
        }
        Violation::LostHome { service: s, cluster: c, slots } => {
            format!("service {}: master {} lacks {slots} of its slots", service(s), cluster(c))
        }
        Violation::OutOfTurn { service: s, cluster: c } => {
            format!("service {}: {} carries before others who may", service(s), cluster(c))
        }
        Violation::WrongGroup { cluster: c } => {
            format!("cluster {} is not in the group of its nodes", cluster(c))
        }
        Violation::NodeRecord { node } => {
            format!("the record of node {} is wrong", model.node_name(node, None))
        }
    }
}
