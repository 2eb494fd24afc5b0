//! A supposed health: these nodes are down, all others up, and nothing was before.
//!
//! The daemon's own state takes one outcome for each node, and the writer commits what comes of
//! it: what is shown is what a daemon would put in force, or refuse.

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

use anyhow::bail;

use super::Usage;
use crate::{
    config::Config,
    dataplane::{memory::Memory, writer::Writer},
    decide::{Effect, Event, Host, MissReason, Model, NextHop, Outcome, State, TargetId, reason},
    secret,
};

/// The secret where the configuration has none.
const FIXED_SECRET: [u8; 16] = *b"understudy plans";

/// How many names a message lists.
const LISTED: usize = 20;

/// What is down; all other nodes are up.
#[derive(clap::Args)]
pub(super) struct Down {
    /// Suppose that this node is down. May be repeated.
    #[arg(long, value_name = "CLUSTER/NODE")]
    down: Vec<String>,
    /// Suppose that all nodes of this cluster are down. May be repeated.
    #[arg(long, value_name = "CLUSTER")]
    down_cluster: Vec<String>,
}

/// What was down before; all other nodes were up.
#[derive(clap::Args)]
pub(super) struct BeforeDown {
    /// Compare with a state in which this node is down. May be repeated.
    #[arg(long, value_name = "CLUSTER/NODE")]
    before_down: Vec<String>,
    /// Compare with a state in which all nodes of this cluster are down. May be repeated.
    #[arg(long, value_name = "CLUSTER")]
    before_down_cluster: Vec<String>,
}

impl Down {
    /// Nothing is said to be down.
    pub(super) fn is_empty(&self) -> bool {
        self.down.is_empty() && self.down_cluster.is_empty()
    }

    /// Ids of the nodes that are down.
    pub(super) fn nodes(&self, model: &Model) -> Result<BTreeSet<usize>, Usage> {
        resolve(model, &self.down, &self.down_cluster)
    }
}

impl BeforeDown {
    /// Ids of the nodes that were down.
    pub(super) fn nodes(&self, model: &Model) -> Result<BTreeSet<usize>, Usage> {
        resolve(model, &self.before_down, &self.before_down_cluster)
    }
}

/// What a daemon knows and decides when its first outcomes are these. This host, and the way to every
/// node, are taken as found.
pub(super) fn suppose(model: &Arc<Model>, down: &BTreeSet<usize>) -> anyhow::Result<State> {
    // These values stand for it and are not shown.
    let hop = |node: usize| NextHop {
        ifindex: 1,
        src_mac: [0; 6],
        dst_mac: [0; 6],
        mtu: 1500,
        tags: [0; 2],
        source: Some(model.node(node).address),
    };
    suppose_over(model, down, Host::default(), hop)
}

/// As [`suppose`], with this host, and these ways to the nodes.
pub(super) fn suppose_over(
    model: &Arc<Model>,
    down: &BTreeSet<usize>,
    host: Host,
    hop: impl Fn(usize) -> NextHop,
) -> anyhow::Result<State> {
    // A target is down if a node is that it is asked for.
    let targets = (0..).map(TargetId).take(model.pools.targets.len());
    let checked = targets.map(|target| {
        let is_down = model.nodes_at(target).iter().any(|node| down.contains(node));
        let miss = Outcome::Miss(MissReason::Timeout);
        Event::Checked { target, outcome: if is_down { miss } else { Outcome::Hit } }
    });
    let mut events: Vec<Event> = checked.chain([Event::Host(host)]).collect();
    let way = |at| Some(Event::Resolved { node: model.ids.node(at)?, hop: Some(hop(at)) });
    events.extend((0..model.nodes.len()).filter_map(way));
    let mut state = State::with_model(Arc::clone(model), Duration::ZERO);
    for effect in state.step(Duration::ZERO, &events) {
        if let Effect::Refused(violations) = effect {
            let all = violations.iter().map(|v| reason::explain_violation(model, v));
            let all = all.collect::<Vec<_>>().join("\n  ");
            bail!("this plan would be refused, which is a defect of understudy:\n  {all}");
        }
    }
    Ok(state)
}

/// The secret of a configuration; where it has none, a fixed one, which is said.
pub(super) fn secret(file: &Path, config: &Config) -> [u8; 16] {
    config.lb.secret.unwrap_or_else(|| {
        eprintln!("no secret in {}: a fixed one is used here", file.display());
        FIXED_SECRET
    })
}

/// The memory of a data plane in which the state's plan is in force.
pub(super) fn commit(state: &State, secret: &[u8; 16]) -> anyhow::Result<Memory> {
    let view = state.view();
    let memory = Memory::anonymous()?;
    memory.secret.set(0, secret::expand(secret, view.model.config.lb.hash));
    if let Some(intent) = view.published {
        Writer::adopt(&memory).commit(&memory, intent)?;
    }
    Ok(memory)
}

fn resolve(model: &Model, nodes: &[String], clusters: &[String]) -> Result<BTreeSet<usize>, Usage> {
    let mut ids = BTreeSet::new();
    for name in clusters {
        ids.extend(model.nodes_of(cluster(model, name)?));
    }
    for given in nodes {
        let Some((name, node)) = given.split_once('/') else {
            return Err(Usage(format!("\"{given}\" is not CLUSTER/NODE")));
        };
        let cluster = cluster(model, name)?;
        let all = &model.config.clusters[cluster].nodes;
        let Some(index) = all.iter().position(|n| n.name == node) else {
            let there = list(all.iter().map(|n| n.name.as_str()));
            return Err(Usage(format!("cluster {name} has no node \"{node}\"; it has {there}")));
        };
        ids.insert(model.nodes_of(cluster).start + index);
    }
    Ok(ids)
}

fn cluster(model: &Model, name: &str) -> Result<usize, Usage> {
    let all = &model.config.clusters;
    all.iter().position(|cluster| cluster.name == name).ok_or_else(|| {
        let there = list(all.iter().map(|cluster| cluster.name.as_str()));
        Usage(format!("there is no cluster \"{name}\"; there are {there}"))
    })
}

fn list<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = names.len().saturating_sub(LISTED);
    let mut text = names.take(LISTED).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}
