//! What the daemon says of itself: a lenient mirror of its status, and how it is asked.

use std::{
    collections::BTreeMap,
    fmt,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::{
    clock::Moment,
    topology::{NODES, NodeIndex},
};

/// The answer to a status request.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The epoch in force.
    pub epoch: u64,
    /// When it was said, by `CLOCK_MONOTONIC`.
    pub monotonic_ns: u64,
    /// Figures of the checks, as they are.
    pub watched: serde_json::Value,
    /// Packets by reason, since the maps were made.
    pub counters: BTreeMap<String, u64>,
    /// Services, with the share of each cluster.
    pub services: Vec<Service>,
    /// Clusters, with their nodes.
    pub clusters: Vec<Cluster>,
    /// The latest events, oldest first.
    pub events: Vec<Event>,
}

/// A service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// The clusters that serve it.
    pub clusters: Vec<Share>,
}

/// A cluster's part of a service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Share {
    /// The cluster's name.
    pub name: String,
    /// Its part of the slots.
    pub share: f64,
}

/// A cluster.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// The services that see it so.
    pub services: Vec<String>,
    /// Whether enough of its nodes live.
    pub healthy: bool,
    /// Nodes that live.
    pub alive: u32,
    /// Nodes that must.
    pub needed: u32,
    /// Nodes that count.
    pub total: u32,
    /// If it is to serve no longer.
    pub going: Option<Going>,
    /// Its nodes.
    pub nodes: Vec<Node>,
}

/// A node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// `up`, `down` or `unknown`.
    pub state: String,
    /// Its part of its cluster's slots.
    pub share: f64,
    /// If it is to serve no longer.
    pub going: Option<Going>,
}

/// What is left on who is to serve no longer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Going {
    /// Why: an operator's order, or it is no longer in the file.
    pub state: String,
    /// Flows that were seen since; absent: nobody has looked yet.
    pub flows: Option<u64>,
    /// Whether nobody is on it any more.
    pub done: bool,
}

/// Something that happened.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Event {
    /// When, by `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// The epoch then.
    pub epoch: u64,
    /// What kind of thing.
    pub kind: String,
    /// To whom: `A` or `A/a1`.
    pub subject: String,
    /// In words.
    pub text: String,
}

impl Event {
    /// When it happened.
    #[must_use]
    pub const fn at(&self) -> Moment {
        Moment::from_nanos(self.at_ns)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {}  ", self.epoch)?;
        // The text names whom it is about.
        f.write_str(if self.text.is_empty() { &self.kind } else { &self.text })
    }
}

impl Status {
    /// Asks the daemon behind a control socket.
    ///
    /// # Errors
    /// If nobody answers within a second, or not like this.
    pub fn ask(socket: &Path) -> Result<Self> {
        let patience = Some(Duration::from_secs(1));
        let mut stream = UnixStream::connect(socket).context("connecting to the daemon")?;
        stream.set_read_timeout(patience)?;
        stream.set_write_timeout(patience)?;
        stream.write_all(b"{\"request\":\"status\"}\n").context("asking the daemon")?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).context("reading the daemon's answer")?;
        let status: Self = serde_json::from_str(&line).context("the daemon's answer")?;
        ensure!(!status.clusters.is_empty(), "the daemon answers {:?}", line.trim_end());
        Ok(status)
    }

    /// When it was said.
    #[must_use]
    pub const fn said_at(&self) -> Moment {
        Moment::from_nanos(self.monotonic_ns)
    }

    /// The cluster of this name, as the first service sees it.
    #[must_use]
    pub fn cluster(&self, name: &str) -> Option<&Cluster> {
        self.pool(name, &self.services.first()?.name)
    }

    /// A cluster as a service sees it.
    #[must_use]
    pub fn pool(&self, cluster: &str, service: &str) -> Option<&Cluster> {
        let sees = |pool: &&Cluster| pool.services.iter().any(|name| name == service);
        // Behind the name stands what is a pool's own, if the cluster has several.
        let named = |pool: &&Cluster| pool.name.split(':').next() == Some(cluster);
        self.clusters.iter().filter(sees).find(named)
    }

    /// A node, as the first service sees it.
    #[must_use]
    pub fn node(&self, node: NodeIndex) -> Option<&Node> {
        let node = node.node();
        self.cluster(node.cluster)?.nodes.iter().find(|n| n.name == node.name)
    }

    /// The state of a node: `up`, `down` or `unknown`.
    #[must_use]
    pub fn state(&self, node: NodeIndex) -> &str {
        self.node(node).map_or("unknown", |n| &n.state)
    }
}

/// Who is to get how much of the lab's one service.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// The part of each node, by [`NodeIndex`].
    pub nodes: [f64; NODES.len()],
}

impl Plan {
    /// What the daemon's tables say.
    #[must_use]
    pub fn of(status: &Status) -> Self {
        let shares = status.services.first().map_or(&[][..], |service| &service.clusters);
        let mut nodes = [0.0; NODES.len()];
        for share in shares {
            let inside = status.cluster(&share.name).map_or(&[][..], |cluster| &cluster.nodes);
            let whole: f64 = inside.iter().map(|node| node.share).sum();
            for node in inside.iter().filter(|_| whole > 0.0) {
                if let Some(index) = NodeIndex::named(&node.name) {
                    nodes[index.index()] = share.share * node.share / whole;
                }
            }
        }
        Self { nodes }
    }

    /// The part of a cluster.
    #[must_use]
    pub fn cluster(&self, name: &str) -> f64 {
        NodeIndex::of_cluster(name).map(|node| self.nodes[node.index()]).sum()
    }

    /// Whether a node is to get anything.
    #[must_use]
    pub fn allows(&self, node: NodeIndex) -> bool {
        self.nodes[node.index()] > 0.0
    }
}
