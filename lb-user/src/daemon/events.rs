//! What happened lately, for `status` and whoever follows it.

use std::collections::VecDeque;

use lb_common::{ClusterId, NodeId, ServiceId};
use serde::{Deserialize, Serialize};

use crate::{
    dataplane::monotonic_ns,
    decide::{Model, NodeState, Notice, reason},
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
pub fn render(model: &Model, notice: &Notice) -> Event {
    let cluster = |id: ClusterId| model.pool_name(id.index()).to_owned();
    let service = |id: ServiceId| model.config.services[id.index()].name.clone();
    let node = |id: NodeId, target| model.node_name(id.index(), target);
    let (kind, subject) = match notice {
        Notice::Node { node: id, target, state } => {
            let kind = if *state == NodeState::Up { "node_up" } else { "node_down" };
            (kind, node(*id, Some(*target)))
        }
        Notice::Administered { node: id, .. } => ("administered", node(*id, None)),
        Notice::ClusterHealthy { cluster: id, .. } => ("cluster_healthy", cluster(*id)),
        Notice::ClusterUnhealthy { cluster: id, .. } => ("cluster_unhealthy", cluster(*id)),
        Notice::Released { cluster: id, .. } => ("released", cluster(*id)),
        Notice::Carried { service: id, .. } => ("carried", service(*id)),
        Notice::Regime { service: id, .. } => ("regime", service(*id)),
    };
    let text = reason::explain_notice(model, notice);
    Event { at_ns: monotonic_ns(), epoch: 0, kind: kind.to_owned(), subject, text }
}
