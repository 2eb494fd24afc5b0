//! What stays known when the configuration is another one.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use super::{Model, State, TargetId};
use crate::config::{Config, Target};

impl State {
    /// The state under another configuration: what is known of targets, nodes and pools that are
    /// still there is kept, and nothing is published before the new ones have spoken.
    #[must_use]
    pub fn succeed(&self, config: Arc<Config>, now: Duration) -> Self {
        let mut next = Self::new(config, now);
        let (old, new) = (&self.model, Arc::clone(&next.model));
        let mut known = BTreeMap::new();
        for (id, target) in (0..).map(TargetId).zip(&old.pools.targets) {
            // Of those that differ only in how often they are asked, the first.
            known.entry(asked(target)).or_insert(id);
        }
        let kept = (0..).map(TargetId).zip(&new.pools.targets);
        let kept = kept.filter_map(|(id, target)| Some((*known.get(&asked(target))?, id)));
        let kept: Vec<(TargetId, TargetId)> = kept.collect();
        for &(was, id) in &kept {
            next.targets[id.index()] = self.targets[was.index()];
        }
        next.tracks.clone_from(&self.tracks);
        next.host.clone_from(&self.host);
        next.freezer = self.freezer.succeed(&kept);
        let undecided = (0..).map(TargetId).zip(&next.targets);
        let undecided = undecided.filter(|(_, monitor)| monitor.is_undecided());
        next.undecided = undecided.map(|(id, _)| id).collect();
        let known: BTreeMap<_, usize> = named(old).zip(0..).collect();
        for (id, node) in named(&new).enumerate() {
            if let Some(&was) = known.get(&node) {
                next.admins[id] = self.admins[was];
                // A MAC of the configuration is a next hop to be found anew.
                next.hops[id] = self.hops[was].filter(|_| old.node(was).mac == new.node(id).mac);
            }
        }
        let clusters = old.config.clusters.iter().map(|cluster| &cluster.name);
        let clusters: BTreeMap<&String, usize> = clusters.zip(0..).collect();
        let groups = |pool: usize| {
            let cluster = *clusters.get(&new.cluster(pool).name)?;
            let was = predecessor(old, cluster, &new, pool)?;
            // Before its first plan it knows what it inherited itself.
            match &self.running {
                Some(running) => Some(running.groups[was]),
                None => self.inherited[was],
            }
        };
        next.inherited = (0..new.pools.pools.len()).map(groups).collect();
        next
    }
}

/// What makes a target the same under another configuration: what is asked, and in which way. How
/// often, and what follows from how many outcomes, may differ.
fn asked(target: &Target) -> impl Ord {
    let Target { health, at, server, vip } = target;
    (at, server, vip, &health.probe, &health.source, health.via)
}

/// What makes a node the same: the names of its cluster and its own, and its address. By node id.
fn named(model: &Model) -> impl Iterator<Item = (&str, &str, IpAddr)> {
    model.nodes.iter().enumerate().map(|(id, place)| {
        let (cluster, node) = (&model.config.clusters[place.cluster], model.node(id));
        (cluster.name.as_str(), node.name.as_str(), node.address)
    })
}

/// The pool that a pool of a new configuration was before: of the old cluster of its name, the one
/// that serves a service of the same name, else the one that asks for the same, else the only one.
fn predecessor(old: &Model, cluster: usize, new: &Model, pool: usize) -> Option<usize> {
    let served: BTreeSet<&str> = serves(new, pool).collect();
    let mut known = old.pools_of(cluster);
    let only = known.clone().next().filter(|_| known.len() == 1);
    let by_service = known.clone().find(|&was| serves(old, was).any(|name| served.contains(name)));
    by_service.or_else(|| known.find(|&was| asks(old, was).eq(asks(new, pool)))).or(only)
}

/// Names of the services that see a pool.
fn serves(model: &Model, pool: usize) -> impl Iterator<Item = &str> {
    let services = model.pool(pool).services.iter();
    services.map(|&service| model.config.services[service].name.as_str())
}

/// What a pool asks for.
fn asks(model: &Model, pool: usize) -> impl Iterator<Item = impl Ord> {
    model.pool(pool).targets.iter().map(|target| asked(&model.pools.targets[target.index()]))
}
