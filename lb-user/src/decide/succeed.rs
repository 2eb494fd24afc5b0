//! What stays known when the configuration is another one.

use std::{sync::Arc, time::Duration};

use super::{Model, State, TargetId};
use crate::config::{Config, Target};

impl State {
    /// The state under another configuration: what is known of targets, nodes and pools that are
    /// still there is kept, and nothing is published before the new ones have spoken.
    #[must_use]
    pub fn succeed(&self, config: Arc<Config>, now: Duration) -> Self {
        let mut next = Self::new(config, now);
        let (old, new) = (&self.model, Arc::clone(&next.model));
        let kept =
            |target: &Target| old.pools.targets.iter().position(|was| asks_alike(was, target));
        let kept: Vec<Option<usize>> = new.pools.targets.iter().map(kept).collect();
        for (id, was) in kept.iter().enumerate().filter_map(|(id, was)| Some((id, (*was)?))) {
            next.targets[id] = self.targets[was];
        }
        let ids = || (0..).map(TargetId).zip(&kept);
        next.freezer = self.freezer.succeed(|target| {
            ids().filter(|(_, was)| **was == Some(target.index())).map(|(id, _)| id).collect()
        });
        let undecided = |(id, _): &(TargetId, _)| next.targets[id.index()].is_undecided();
        next.undecided = ids().filter(undecided).map(|(id, _)| id).collect();
        for (id, place) in new.nodes.iter().enumerate() {
            let (cluster, node) = (&new.config.clusters[place.cluster].name, new.node(id));
            let same = |&was: &usize| {
                let known = old.node(was);
                old.config.clusters[old.nodes[was].cluster].name == *cluster
                    && (&known.name, known.address) == (&node.name, node.address)
            };
            if let Some(was) = (0..old.nodes.len()).find(same) {
                next.admins[id] = self.admins[was];
                // A MAC of the configuration is a next hop to be found anew.
                next.hops[id] = self.hops[was].filter(|_| old.node(was).mac == node.mac);
            }
        }
        let groups = |pool: usize| {
            let was = predecessor(old, &new, pool)?;
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

/// Whether two targets are one thing asked in one way; how often, and what follows from how many
/// outcomes, may differ.
fn asks_alike(a: &Target, b: &Target) -> bool {
    (a.at, a.server, a.vip, &a.health.probe) == (b.at, b.server, b.vip, &b.health.probe)
        && (&a.health.source, a.health.via) == (&b.health.source, b.health.via)
}

/// The pool that a pool of a new configuration was before: of the cluster of its name, the one that
/// serves a service of the same name, else the one that asks for the same, else the only one.
fn predecessor(old: &Model, new: &Model, pool: usize) -> Option<usize> {
    let name = &new.cluster(pool).name;
    let cluster = old.config.clusters.iter().position(|cluster| cluster.name == *name)?;
    let serves = |model: &Model, pool: usize| -> Vec<String> {
        let services = model.pool(pool).services.iter();
        services.map(|&service| model.config.services[service].name.clone()).collect()
    };
    let asks = |model: &Model, pool: usize| -> Vec<Target> {
        let targets = model.pool(pool).targets.iter();
        targets.map(|target| model.pools.targets[target.index()].clone()).collect()
    };
    let (served, asked) = (serves(new, pool), asks(new, pool));
    let alike = |was: usize| {
        let was = asks(old, was);
        was.len() == asked.len() && was.iter().zip(&asked).all(|(a, b)| asks_alike(a, b))
    };
    let known = old.pools_of(cluster);
    let by_service =
        known.clone().find(|&was| serves(old, was).iter().any(|name| served.contains(name)));
    by_service
        .or_else(|| known.clone().find(|&was| alike(was)))
        .or_else(|| known.clone().next().filter(|_| known.len() == 1))
}
