//! What is no longer in the file and not gone: since when.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use crate::decide::Model;

/// A node that is leaving, or a whole cluster: name of the cluster; name, address and port of the node.
type Key = (String, Option<(String, IpAddr, Option<u16>)>);

/// When what is leaving was taken out of the file.
#[derive(Debug, Default)]
pub(super) struct Left(BTreeMap<Key, Duration>);

impl Left {
    /// Takes in another configuration; returns the names of what was leaving and is gone or back.
    pub(super) fn update(&mut self, model: &Model, now: Duration) -> Vec<String> {
        let clusters = model.config.clusters.iter().enumerate();
        let nodes = (0..model.nodes.len()).filter(|&node| model.node(node).leaving);
        let leaving = nodes.map(|node| node_key(model, node));
        let leaving =
            leaving.chain(clusters.filter(|(_, c)| c.leaving).map(|(_, c)| (c.name.clone(), None)));
        let since = |key: &Key| self.0.get(key).copied().unwrap_or(now);
        let next = leaving
            .map(|key| {
                let at = since(&key);
                (key, at)
            })
            .collect();
        let was = std::mem::replace(&mut self.0, next);
        let gone = was.into_keys().filter(|key| !self.0.contains_key(key));
        gone.map(|(cluster, node)| match node {
            Some((node, ..)) => format!("{cluster}/{node}"),
            None => cluster,
        })
        .collect()
    }

    /// Since when a node is leaving.
    pub(super) fn node(&self, model: &Model, node: usize) -> Option<Duration> {
        self.0.get(&node_key(model, node)).copied()
    }

    /// Since when a cluster is leaving.
    pub(super) fn cluster(&self, name: &str) -> Option<Duration> {
        self.0.get(&(name.to_owned(), None)).copied()
    }
}

fn node_key(model: &Model, node: usize) -> Key {
    let (cluster, node) = (&model.config.clusters[model.nodes[node].cluster], model.node(node));
    (cluster.name.clone(), Some((node.name.clone(), node.address, node.port)))
}
