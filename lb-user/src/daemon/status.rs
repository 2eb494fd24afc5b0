//! The state of everything as one document, for the control socket.

use std::time::Duration;

use comfy_table::{Table, presets::UTF8_HORIZONTAL_ONLY};
use lb_common::Slot;
use serde::{Deserialize, Serialize};

use super::{
    events::{Event, Events},
    watch::Watched,
};
use crate::{
    config::Protocol,
    dataplane::{Dataplane, monotonic_ns},
    decide::{NodeState, Role, State, reason, share},
};

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
    counters: serde_json::Map<String, serde_json::Value>,
    events: Vec<Event>,
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
    /// It is no longer in the file, and stays until its connections have ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    leaving: bool,
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
    /// As its cluster's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    leaving: bool,
}

/// One line of JSON; `now` is the time of the state's last step or later.
pub fn render(
    state: &State,
    now: Duration,
    dataplane: &Dataplane,
    events: &Events,
    watched: Option<Watched>,
    adopted: bool,
) -> String {
    let view = state.view();
    let counters = dataplane.counters().unwrap_or_default();
    let status = Status {
        epoch: dataplane.epoch(),
        monotonic_ns: monotonic_ns(),
        adopted,
        freeze: view.freezer.until().map(|until| freeze(state, until.saturating_sub(now))),
        watched,
        services: (0..view.model.config.services.len()).map(|i| service(state, now, i)).collect(),
        clusters: (0..view.model.pools.pools.len()).map(|i| cluster(state, i)).collect(),
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

fn cluster(state: &State, pool: usize) -> Cluster {
    let view = state.view();
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
            leaving: node.leaving,
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
        leaving: config.leaving,
        nodes: nodes.collect(),
    }
}

/// The document for people.
#[must_use]
pub fn text(status: &Status) -> String {
    let mut text = format!("epoch {}", status.epoch);
    if status.adopted {
        text.push_str(", adopted from an earlier daemon");
    }
    text.push('\n');
    if let Some(Freeze { left_s, nodes }) = &status.freeze {
        text.push_str(&format!(
            "ALARM: the plan is frozen for {left_s:.1} s more: not believed that these vanished: {}\n",
            nodes.join(", ")
        ));
    }
    status.services.iter().for_each(|service| text.push_str(&service_text(service)));
    text.push_str(&format!("\n{}\n", cluster_table(&status.clusters)));
    if let Some(watched) = &status.watched {
        text.push_str(&format!("{watched}\n"));
    }
    text.push_str(&packets_text(&status.counters));
    for event in status.events.iter().rev().take(10).rev() {
        let ago = status.monotonic_ns.saturating_sub(event.at_ns) as f64 / 1e9;
        text.push_str(&format!("{ago:>8.1} s ago  {}\n", event.text));
    }
    text
}

/// What became of packets so far: what happened, the most frequent first, four a line.
fn packets_text(counters: &serde_json::Map<String, serde_json::Value>) -> String {
    let counted = counters.iter().filter_map(|(name, count)| Some((name, count.as_u64()?)));
    let mut counted: Vec<(&String, u64)> = counted.filter(|(_, count)| *count > 0).collect();
    counted.sort_by_key(|&(name, count)| (std::cmp::Reverse(count), name));
    let line = |some: &[(&String, u64)]| {
        let words: Vec<String> =
            some.iter().map(|(name, count)| format!("{name} {count}")).collect();
        format!("packets {}\n", words.join(", "))
    };
    counted.chunks(4).map(line).collect()
}

/// A service with its clusters.
fn service_text(service: &Service) -> String {
    let mut text = format!("\nservice {} {}/{}", service.name, service.address, service.protocol);
    if service.dropped > 0.0 {
        text.push_str(&format!(", {} DROPPED", percent(service.dropped)));
    }
    let mut table = rows(&["cluster", "role", "home", "share", "since", "why"]);
    for member in &service.clusters {
        let since = humantime::format_duration(Duration::from_secs(member.since_s as u64));
        table.add_row([
            &member.name,
            &member.role,
            &percent(member.home),
            &percent(member.share),
            &since.to_string(),
            &member.reason,
        ]);
    }
    text.push_str(&format!("\n{table}\n"));
    text
}

/// All clusters with their nodes.
fn cluster_table(clusters: &[Cluster]) -> Table {
    let mut table = rows(&[
        "cluster",
        "check",
        "health",
        "alive/needed/total",
        "node",
        "number",
        "address",
        "state",
        "share",
    ]);
    for cluster in clusters {
        let health = match (cluster.leaving, cluster.healthy) {
            (true, _) => "leaving",
            (false, true) => "healthy",
            (false, false) => "UNHEALTHY",
        };
        let counts = format!("{}/{}/{}", cluster.alive, cluster.needed, cluster.total);
        let mut first = [cluster.name.as_str(), &cluster.check, health, &counts];
        for node in &cluster.nodes {
            let mut state = node.state.clone();
            if let Some(reason) = &node.reason {
                state += &format!(": {reason}");
            }
            if let Some(why) = &node.unreachable {
                state += &format!(", gets nobody: {why}");
            }
            if node.leaving {
                state += ", leaving";
            }
            let number = node.number.to_string();
            let share = percent(node.share);
            let rest = [node.name.as_str(), &number, &node.address, &state, &share];
            table.add_row(first.iter().copied().chain(rest));
            first = [""; 4];
        }
    }
    table
}

fn rows(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY).set_header(header);
    table
}

fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

#[cfg(test)]
mod tests {
    use lb_common::{Counters, Reason};

    use super::*;

    #[test]
    fn packets_are_told_the_most_frequent_first_and_only_what_there_was() {
        let text = |counters: &Counters| {
            let all = counters.iter().map(|(r, n)| (r.name().to_owned(), n.into()));
            packets_text(&all.collect())
        };
        assert_eq!(text(&Counters::default()), "");
        let mut counters = Counters::default();
        let counted =
            [Reason::PassNotIp, Reason::DropTooBig, Reason::AnswerEcho, Reason::ReplySent];
        counted.iter().for_each(|reason| counters.count(*reason));
        (0..7).for_each(|_| counters.count(Reason::DropUnresolved));
        let lines = "packets drop_unresolved 7, answer_echo 1, drop_too_big 1, pass_not_ip 1\n\
                     packets reply_sent 1\n";
        assert_eq!(text(&counters), lines);
    }
}
