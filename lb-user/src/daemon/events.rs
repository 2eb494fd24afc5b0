//! What happened lately, for `status`; and notices as sentences.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::{
    config::Config,
    dataplane::monotonic_ns,
    decide::{Admin, MissReason, NodeState, Notice, Regime, State, group::Hold},
};

/// How many events are kept.
const KEPT: usize = 256;

/// Something that happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// CLOCK_MONOTONIC, in nanoseconds.
    pub at_ns: u64,
    /// The epoch in force when it happened.
    pub epoch: u64,
    /// What kind of event, for machines.
    pub kind: String,
    /// What it happened to: `CLUSTER/NODE`, `CLUSTER`, a service, or nothing.
    pub subject: String,
    /// A sentence.
    pub text: String,
}

/// The last events, oldest first.
#[derive(Debug, Default)]
pub struct Events(VecDeque<Event>);

impl Events {
    /// Keeps an event that happens now.
    pub fn add(&mut self, epoch: u64, kind: &str, subject: &str, text: String) {
        let (kind, subject) = (kind.to_owned(), subject.to_owned());
        self.push(epoch, Event { at_ns: monotonic_ns(), epoch, kind, subject, text });
    }

    /// Keeps an event.
    pub fn push(&mut self, epoch: u64, event: Event) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(Event { epoch, ..event });
    }

    /// Those that are kept.
    pub fn iter(&self) -> impl Iterator<Item = &Event> {
        self.0.iter()
    }
}

/// A notice as an event that happens now.
pub fn render(config: &Config, state: &State, notice: &Notice) -> Event {
    let cluster = |id: lb_common::ClusterId| config.clusters[id.index()].name.clone();
    let node = |id: lb_common::NodeId| {
        let place = state.view().model.nodes[id.index()];
        let cluster = &config.clusters[place.cluster];
        format!("{}/{}", cluster.name, cluster.nodes[place.index].name)
    };
    let (kind, subject, text) = match notice {
        Notice::Node { node: id, state } => {
            let (kind, text) = node_state(*state);
            (kind, node(*id), text)
        }
        Notice::Administered { node: id, admin } => ("administered", node(*id), wish(*admin)),
        Notice::ClusterHealthy { cluster: id, count, hold } => {
            let held = match hold {
                None => "",
                Some(Hold::Until(_)) => ", held back for a while",
                Some(Hold::UntilReleased) => ", held back until released",
            };
            let text = format!("healthy again: {} of {} alive{held}", count.alive, count.total);
            ("cluster_healthy", cluster(*id), text)
        }
        Notice::ClusterUnhealthy { cluster: id, count } => {
            let text = format!("unhealthy: only {} of {} alive", count.alive, count.total);
            ("cluster_unhealthy", cluster(*id), text)
        }
        Notice::Released { cluster: id, .. } => {
            ("released", cluster(*id), "takes back what it lent".to_owned())
        }
        Notice::Carried { service, master, by, dropped } => {
            let subject = config.services[service.index()].name.clone();
            let total: u32 = by.iter().map(|(_, slots)| slots).sum::<u32>() + dropped;
            let part = |slots: u32| 100.0 * f64::from(slots) / f64::from(total.max(1));
            let mut who: Vec<String> = by
                .iter()
                .map(|&(c, slots)| format!("{} {:.1}%", cluster(c), part(slots)))
                .collect();
            if *dropped > 0 {
                who.push(format!("dropped {:.1}%", part(*dropped)));
            }
            let text = format!("flows of {} go to {}", cluster(*master), who.join(", "));
            ("carried", subject, text)
        }
        Notice::Regime { service, regime } => {
            let subject = config.services[service.index()].name.clone();
            let text = match regime {
                Regime::Normal => "no longer in panic or last resort".to_owned(),
                Regime::LastResort => "no standby is healthy: last resort".to_owned(),
                Regime::Panic(how) => format!("no cluster is healthy: panic, {how:?}"),
            };
            ("regime", subject, text)
        }
    };
    Event { at_ns: monotonic_ns(), epoch: 0, kind: kind.to_owned(), subject, text }
}

fn node_state(state: NodeState) -> (&'static str, String) {
    match state {
        NodeState::Unknown => ("node_unknown", "not checked yet".to_owned()),
        NodeState::Up => ("node_up", "up".to_owned()),
        NodeState::NotWorking => {
            ("node_down", "says that it is not working; its connections may finish".to_owned())
        }
        NodeState::Down(why) => ("node_down", format!("down: {}", miss(why))),
    }
}

/// Why a check failed, for people.
pub fn miss(why: MissReason) -> &'static str {
    match why {
        MissReason::Timeout => "no answer in time",
        MissReason::Refused => "connection refused",
        MissReason::Unreachable => "unreachable",
        MissReason::BadAnswer => "wrong answer",
        MissReason::Local => "the check could not be made on this host",
    }
}

fn wish(admin: Admin) -> String {
    match admin {
        Admin::InService => "in service",
        Admin::Drained => "drained: no new flows",
        Admin::Maintenance => "in maintenance",
    }
    .to_owned()
}
