//! The state of everything as one document, for the control socket.

mod going;
mod text;

use std::time::Duration;

use lb_common::{Slot, pin::PIN_WAYS};
use serde::{Deserialize, Serialize};

use super::{
    events::{Event, Events},
    left::Left,
    sweeps::Found,
    watch::Watched,
};
use crate::{
    config::Protocol,
    dataplane::{Dataplane, monotonic_ns},
    decide::{NodeState, Role, State, reason, share},
};
use going::Going;
pub use text::text;

/// How many of the latest events are in it.
const SHOWN: usize = 256;

/// Where traffic goes, and why.
#[derive(Serialize, Deserialize)]
pub struct Status {
    epoch: u64,
    monotonic_ns: u64,
    /// Whether the plan in force is still an earlier daemon's.
    adopted: bool,
    /// There while most nodes of several clusters vanished and that is not believed.
    freeze: Option<Freeze>,
    /// What the checks did and saw.
    watched: Option<Watched>,
    services: Vec<Service>,
    /// One for each way of checking a cluster.
    clusters: Vec<Cluster>,
    pins: Pins,
    counters: serde_json::Map<String, serde_json::Value>,
    events: Vec<Event>,
}

/// Connections that changes made ambiguous.
#[derive(Serialize, Deserialize)]
struct Pins {
    /// How many there is room for.
    room: u64,
    /// How many there were when they were looked at last; absent: nobody has looked yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    used: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct Freeze {
    /// How long it lasts yet, in seconds.
    left_s: f64,
    /// Nodes that count as if they were up.
    nodes: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Service {
    name: String,
    address: String,
    protocol: String,
    dropped: f64,
    clusters: Vec<Member>,
}

#[derive(Serialize, Deserialize)]
struct Member {
    name: String,
    role: String,
    /// Part of the service's flows that are at home here.
    home: f64,
    share: f64,
    /// The file names it no more for the service; it stays until its connections have ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    leaving: bool,
    /// For how long its flows have been carried as they are, in seconds.
    since_s: f64,
    reason: String,
}

#[derive(Serialize, Deserialize)]
struct Cluster {
    /// As the configuration calls it; with several ways of checking it, with what is its own.
    name: String,
    /// What its nodes are asked for, like `tcp 443`.
    check: String,
    /// The services that see it so.
    services: Vec<String>,
    healthy: bool,
    alive: u32,
    needed: u32,
    total: u32,
    /// There unless it is in service as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    going: Option<Going>,
    nodes: Vec<Node>,
}

#[derive(Serialize, Deserialize)]
struct Node {
    name: String,
    number: u32,
    address: String,
    state: String,
    /// Why it is down, in words; absent if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    resolved: bool,
    /// Why nothing can be sent to it, in words; absent if it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unreachable: Option<String>,
    /// Its part of what its cluster carries.
    share: f64,
    /// There unless it is in service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    going: Option<Going>,
}

/// What the document is made from.
pub(super) struct Known<'a> {
    pub(super) state: &'a State,
    /// The time of the state's last step or later.
    pub(super) now: Duration,
    pub(super) dataplane: &'a Dataplane,
    pub(super) events: &'a Events,
    pub(super) watched: Option<Watched>,
    pub(super) adopted: bool,
    /// What was found when the pins were looked at last.
    pub(super) found: Option<&'a Found>,
    /// Whether that was by the tables in force, and they are what was decided last.
    pub(super) is_current: bool,
    pub(super) left: &'a Left,
}

/// One line of JSON.
pub(super) fn render(known: Known<'_>) -> String {
    let Known { state, now, dataplane, events, .. } = known;
    let view = state.view();
    let counters = dataplane.counters().unwrap_or_default();
    let status = Status {
        epoch: dataplane.epoch(),
        monotonic_ns: monotonic_ns(),
        adopted: known.adopted,
        freeze: view.freezer.until().map(|until| freeze(state, until.saturating_sub(now))),
        services: (0..view.model.config.services.len()).map(|i| service(state, now, i)).collect(),
        clusters: (0..view.model.pools.pools.len()).map(|i| cluster(&known, i)).collect(),
        watched: known.watched,
        pins: Pins {
            room: u64::from(dataplane.memory().pins.len()) * PIN_WAYS as u64,
            used: known.found.map(|found| found.pins),
        },
        counters: counters.iter().map(|(r, n)| (r.name().to_owned(), n.into())).collect(),
        events: events.iter().skip(events.iter().len().saturating_sub(SHOWN)).cloned().collect(),
    };
    // Strings, numbers and lists: nothing in it can fail to be JSON.
    serde_json::to_string(&status).unwrap_or_default()
}

fn freeze(state: &State, left: Duration) -> Freeze {
    let (model, freezer) = (state.view().model, state.view().freezer);
    let nodes = freezer.disbelieved().flat_map(|target| {
        model.nodes_at(target).iter().map(move |&node| model.node_name(node, Some(target)))
    });
    Freeze { left_s: left.as_secs_f64(), nodes: nodes.collect() }
}

fn service(state: &State, now: Duration, index: usize) -> Service {
    let view = state.view();
    let config = &view.model.config.services[index];
    let plan = view.decision.map(|decision| &decision.services[index]);
    let part = |slots: u32| {
        plan.map_or(0.0, |plan| f64::from(slots) / plan.deal.slots.len().max(1) as f64)
    };
    let since = |seat: usize| {
        let at = view.since.get(index).map(|seats| seats[seat]);
        at.map_or(0.0, |at| now.saturating_sub(at).as_secs_f64())
    };
    let clusters = view.model.seats(index).iter().enumerate().map(|(seat, place)| Member {
        name: view.model.config.clusters[place.cluster].name.clone(),
        role: match place.role {
            Role::Master => "master",
            Role::Standby => "standby",
        }
        .to_owned(),
        home: part(plan.map_or(0, |plan| plan.deal.home(seat))),
        share: part(plan.map_or(0, |plan| plan.deal.owned(seat))),
        leaving: place.leaving,
        since_s: since(seat),
        reason: view.decision.map_or_else(
            || "waits for the first outcome of every node".to_owned(),
            |decision| reason::explain_seat(view.model, decision, index, seat),
        ),
    });
    Service {
        name: config.name.clone(),
        address: config.destination().to_string(),
        protocol: match config.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
        .to_owned(),
        dropped: part(plan.map_or(0, |plan| plan.deal.dropped())),
        clusters: clusters.collect(),
    }
}

fn cluster(known: &Known<'_>, pool: usize) -> Cluster {
    let view = known.state.view();
    let (model, config) = (view.model, view.model.cluster(pool));
    let group = view.decision.map(|decision| decision.groups[pool]);
    let slots: &[Slot] = view.decision.map_or(&[], |decision| {
        // In panic a service may use a table of the cluster that ignores health: it stands behind
        // the pools'.
        let seats = model.pool(pool).services.iter().filter_map(|&service| {
            let seat = model.seats(service).iter().find(|seat| seat.pool == pool)?;
            Some(share::table_id(model, &decision.services[service], seat))
        });
        &decision.clusters[seats.max().unwrap_or(pool)].slots
    });
    let ids = model.nodes_of(model.pool(pool).cluster);
    let nodes = ids.zip(&config.nodes).enumerate().map(|(position, (id, node))| {
        let owned = model
            .ids
            .node(id)
            .map_or(0, |id| slots.iter().filter(|s| s.member() == Some(id.raw())).count());
        Node {
            name: node.name.clone(),
            number: node.number,
            address: node.address.to_string(),
            state: match view.state(pool, position) {
                NodeState::Unknown => "unknown",
                NodeState::Up => "up",
                NodeState::NotWorking => "not-working",
                NodeState::Down(_) => "down",
            }
            .to_owned(),
            reason: match view.state(pool, position) {
                NodeState::Down(reason) => Some(reason::explain_miss(reason)),
                _ => None,
            },
            resolved: view.way(id).is_ok(),
            unreachable: view.way(id).err().map(|why| why.explain().to_owned()),
            share: owned as f64 / slots.len().max(1) as f64,
            going: going::of_node(known, id),
        }
    });
    let count = group.map(|group| group.count).unwrap_or_default();
    let services = model.pool(pool).services.iter();
    Cluster {
        name: model.pool_name(pool).to_owned(),
        check: model.pools.check(pool),
        services: services.map(|&i| model.config.services[i].name.clone()).collect(),
        healthy: group.is_some_and(|group| group.healthy),
        alive: count.alive,
        needed: config.threshold.needed(count.total),
        total: count.total,
        going: going::of_cluster(known, pool),
        nodes: nodes.collect(),
    }
}
