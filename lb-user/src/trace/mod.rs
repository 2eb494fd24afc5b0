//! What becomes of single frames: through the stages of the XDP program, over the tables that a
//! configuration gives. What one frame leaves behind (fragments, the rate of answers) the next one
//! finds.

pub mod headers;
pub mod hex;
pub mod kernel;
pub mod ways;
pub mod words;

use std::{cell::RefCell, collections::BTreeMap, sync::Arc};

use lb_common::{ClusterId, Counters, Limit, NodeId, Reason, ServiceId};
use lb_ebpf::{Action, Routed, Tables};
use serde::Serialize;

use crate::{
    dataplane::{
        memory::Memory,
        watched::{Question, Watched},
    },
    decide::Model,
    packet::Packet,
};

/// What became of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What is done with it.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// The frame afterwards.
    pub packet: Vec<u8>,
    /// What it counted.
    pub counters: Counters,
}

/// Whose packet it is, by name, as far as the program looked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whose {
    /// The service. A later fragment does not say.
    pub service: Option<String>,
    /// The cluster that serves it.
    pub cluster: Option<String>,
    /// The node that it is for.
    pub node: Option<String>,
}

/// What `trace --format json` prints for a frame. What there is not is null.
#[derive(Serialize)]
pub struct Line<'a> {
    verdict: &'static str,
    reason: &'static str,
    service: Option<&'a str>,
    cluster: Option<&'a str>,
    node: Option<&'a str>,
    packet: String,
    counters: BTreeMap<&'static str, u64>,
}

impl<'a> Line<'a> {
    /// Of an outcome.
    #[must_use]
    pub fn new(outcome: &Outcome, whose: &'a Whose) -> Self {
        let counted = outcome.counters.iter().filter(|(_, count)| *count > 0);
        Self {
            verdict: words::action(outcome.action),
            reason: outcome.reason.name(),
            service: whose.service.as_deref(),
            cluster: whose.cluster.as_deref(),
            node: whose.node.as_deref(),
            packet: hex::print(&outcome.packet),
            counters: counted.map(|(reason, count)| (reason.name(), count)).collect(),
        }
    }
}

/// Runs frames through the stages in memory.
pub struct Tracer {
    model: Arc<Model>,
    memory: Memory,
    reply: Routed,
}

/// The ids that were asked for last.
#[derive(Clone, Copy, Default)]
struct Asked {
    service: Option<ServiceId>,
    cluster: Option<ClusterId>,
    node: Option<NodeId>,
}

impl Tracer {
    /// Over these tables of the model's; replies go by `reply`.
    #[must_use]
    pub fn new(model: Arc<Model>, memory: Memory, reply: Routed) -> Self {
        Self { model, memory, reply }
    }

    /// Runs one frame, from its Ethernet header on.
    #[must_use]
    pub fn run(&self, frame: &[u8]) -> (Outcome, Whose) {
        let asked = RefCell::new(Asked::default());
        let watch = |question| {
            let mut asked = asked.borrow_mut();
            match question {
                Question::Service(id) => asked.service = Some(id),
                Question::Cluster(id) => asked.cluster = Some(id),
                Question::Node(id) => asked.node = Some(id),
                Question::Epoch | Question::Other => {}
            }
        };
        let ingress = ways::INTERFACE;
        let mut packet = Packet { bytes: frame.to_vec(), ingress, routed: self.reply };
        // By all stages, which ask for the service that they found.
        let verdict = lb_ebpf::staged(&mut packet, &Watched::new(&self.memory, watch));
        let mut counters = self.memory.noted();
        counters.count(verdict.reason());
        let outcome = Outcome {
            action: verdict.action(),
            reason: verdict.reason(),
            packet: packet.bytes,
            counters,
        };
        (outcome, self.named(asked.into_inner()))
    }

    /// The answers within a second, as the next frame finds them.
    #[must_use]
    pub fn limit(&self) -> Limit {
        Tables::limit(&self.memory).unwrap_or_default()
    }

    /// Overwrites them.
    pub fn set_limit(&self, limit: Limit) {
        Tables::set_limit(&self.memory, limit.second, limit.sent);
    }

    fn named(&self, asked: Asked) -> Whose {
        let config = &self.model.config;
        let ids = &self.model.ids;
        let service = asked.service.and_then(|id| ids.service_at(id));
        let service = service.map(|service| &config.services[service]);
        let node = asked.node.and_then(|id| ids.node_at(id));
        let cluster = match node {
            Some(node) => Some(self.model.nodes[node].cluster),
            None => {
                let table = asked.cluster.and_then(|id| ids.table_at(id));
                table.and_then(|table| self.model.cluster_of(table))
            }
        };
        Whose {
            service: service.map(|service| service.name.clone()),
            cluster: cluster.map(|cluster| config.clusters[cluster].name.clone()),
            node: node.map(|node| self.model.node(node).name.clone()),
        }
    }
}
