//! What stays known when the configuration is another one, and who keeps which id.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{
    Ids, Model, Named, OutOfIds, Pools, State, TargetId, Variant, host,
    ids::Kept,
    leaving::{effective, identity},
};
use crate::config::{Config, Target};

impl State {
    /// The state under another file: what is known of targets, nodes and pools that are still there is
    /// kept, and nothing is published before the new ones have spoken. What the file has no more stays
    /// as leaving, until [`State::dismiss`].
    ///
    /// # Errors
    /// New things would need ids that are still in use. Nothing has changed then.
    pub fn succeed(&self, file: &Config, now: Duration) -> Result<Self, OutOfIds> {
        self.under(effective(&self.model.config, file), now)
    }

    /// The state without those leaving things that nothing names any more; `None`: all stay. `pins`:
    /// what a sweep of all pins found, which began a grace period after the last commit.
    pub fn dismiss(&self, pins: &Named, now: Duration) -> Option<Self> {
        // Nothing new is in it, so no id can be lacking.
        self.under(self.without_gone(pins)?, now).ok()
    }

    /// Takes into account what pins name, as [`State::dismiss`] does: other ids are free.
    pub fn named(&mut self, pins: &Named) {
        self.named.retain(pins);
    }

    fn under(&self, config: Config, now: Duration) -> Result<Self, OutOfIds> {
        let old = &self.model;
        let pools = Pools::of(&config);
        let taken = old.ids.with(&self.named);
        let kept = kept(old, &config, &pools);
        let ids = Ids::next(&kept, &taken)?;
        let new = Arc::new(Model::with(Arc::new(config), pools, ids));
        let mut next = Self::with_model(Arc::clone(&new), now);
        next.named = new.ids.without(&taken);
        self.keep_targets(&mut next);
        next.tracks = self.tracks.renamed(&old.heirs(&new));
        if self.host_spoke || host::needs_no_more(&new, old) {
            next.host.clone_from(&self.host);
            next.host_spoke = self.host_spoke;
        }
        next.admins = self.admins.succeed(old, &new, |node| self.is_down(node));
        for node in 0..new.nodes.len() {
            let id = new.ids.node(node);
            if let Some(was) = id.and_then(|id| old.ids.node_at(id)) {
                // A MAC of the configuration is a next hop to be found anew.
                let same = old.node(was).mac == new.node(node).mac;
                next.hops[node] = self.hops[was].filter(|_| same);
            }
        }
        let group = |pool: usize| {
            let was = predecessor(old, Outline::of(&new), pool)?;
            // Before its first plan it knows what it inherited itself.
            match &self.running {
                Some(running) => Some(running.groups[was]),
                None => self.inherited[was],
            }
        };
        let was = |pool: usize| predecessor(old, Outline::of(&new), pool);
        next.ramps = self.ramps.succeed(old, &new, was);
        next.before = self.before();
        next.inherited = (0..new.pools.pools.len()).map(group).collect();
        Ok(next)
    }

    fn keep_targets(&self, next: &mut Self) {
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
        next.freezer = self.freezer.succeed(&kept);
        let undecided = (0..).map(TargetId).zip(&next.targets);
        let undecided = undecided.filter(|(_, monitor)| monitor.is_undecided());
        next.undecided = undecided.map(|(id, _)| id).collect();
    }
}

impl Model {
    /// What a pool of a later model is here.
    pub(super) fn predecessor(&self, later: &Self, pool: usize) -> Option<usize> {
        predecessor(self, Outline::of(later), pool)
    }

    /// For the ids of node tables that a later model has not: which of its tables stands for them
    /// there, one of the same cluster, with the same port if there is one. What named them has to name
    /// that.
    pub fn heirs(&self, later: &Self) -> BTreeMap<u16, u16> {
        let heir = |table: usize| {
            let id = self.ids.table(table)?;
            let name = &self.config.clusters[self.cluster_of(table)?].name;
            let cluster = later.config.clusters.iter().position(|c| c.name == *name)?;
            let mut heirs = later.pools_of(cluster);
            let port = self.table_of(table)?.port;
            let same = heirs.clone().find(|&heir| later.pool(heir).port == port);
            let heir = later.ids.table(same.or_else(|| heirs.next())?)?;
            later.ids.table_at(id).is_none().then_some((id.raw(), heir.raw()))
        };
        (0..self.tables()).filter_map(heir).collect()
    }
}

/// Who keeps which id: services of the same name; nodes whose clusters' and own names, addresses and
/// ports are the same; pools as their predecessors say, each of which has one heir; variants of
/// clusters of the same name.
fn kept(old: &Model, config: &Config, pools: &Pools) -> Kept {
    let services: BTreeMap<&str, usize> =
        old.config.services.iter().map(|service| service.name.as_str()).zip(0..).collect();
    let service = |name: &str| Some(old.ids.service(*services.get(name)?)?.raw());
    let of_old = old.nodes.iter().enumerate().map(|(position, place)| {
        let cluster = &old.config.clusters[place.cluster];
        ((cluster.name.as_str(), identity(old.node(position))), position)
    });
    let nodes: BTreeMap<_, usize> = of_old.collect();
    let node = |(cluster, node)| {
        let position = *nodes.get(&(cluster, identity(node)))?;
        Some(old.ids.node(position)?.raw())
    };
    let of_new = config.clusters.iter();
    let of_new = of_new.flat_map(|c| c.nodes.iter().map(move |node| (c.name.as_str(), node)));
    Kept {
        services: config.services.iter().map(|s| service(&s.name)).collect(),
        tables: kept_tables(old, config, pools),
        nodes: of_new.map(node).collect(),
    }
}

fn kept_tables(old: &Model, config: &Config, pools: &Pools) -> Vec<Option<u16>> {
    let new = Outline { config, pools };
    let mut claimed = BTreeSet::new();
    let mut of_pools = Vec::with_capacity(pools.pools.len());
    for pool in 0..pools.pools.len() {
        let was = predecessor(old, new, pool);
        let was = was.filter(|&was| old.pool(was).port == pools.pools[pool].port);
        of_pools.push(was.filter(|was| claimed.insert(*was)));
    }
    let variant = |variant: &Variant| {
        let name = &config.clusters[variant.cluster].name;
        let cluster = old.config.clusters.iter().position(|cluster| cluster.name == *name)?;
        let mut known = old.variants_of(cluster);
        known.find(|&table| old.table_of(table).is_some_and(|was| was.port == variant.port))
    };
    let all = of_pools.into_iter().chain(pools.variants.iter().map(variant));
    all.map(|was| Some(old.ids.table(was?)?.raw())).collect()
}

/// What makes a target the same under another configuration: what is asked, and in which way. How
/// often, and what follows from how many outcomes, may differ.
fn asked(target: &Target) -> impl Ord + '_ {
    let Target { health, at, server, vip } = target;
    (at, server, vip, &health.probe, &health.source, health.via)
}

/// A configuration with its pools.
#[derive(Clone, Copy)]
struct Outline<'a> {
    config: &'a Config,
    pools: &'a Pools,
}

impl<'a> Outline<'a> {
    fn of(model: &'a Model) -> Self {
        Self { config: &model.config, pools: &model.pools }
    }

    /// The name of a pool's cluster.
    fn cluster(self, pool: usize) -> &'a str {
        &self.config.clusters[self.pools.pools[pool].cluster].name
    }

    /// Names of the services that see a pool.
    fn serves(self, pool: usize) -> impl Iterator<Item = &'a str> {
        let services = self.pools.pools[pool].services.iter();
        services.map(move |&service| self.config.services[service].name.as_str())
    }

    /// What a pool asks for.
    fn asks(self, pool: usize) -> impl Iterator<Item = impl Ord + 'a> {
        let targets = self.pools.pools[pool].targets.iter();
        targets.map(move |target| asked(&self.pools.targets[target.index()]))
    }
}

/// The pool that a pool of a new configuration was before: of the old cluster of its name, the one
/// that serves a service of the same name, with the same port if there is one, else the one that asks
/// for the same, else the only one.
fn predecessor(old: &Model, new: Outline<'_>, pool: usize) -> Option<usize> {
    let name = new.cluster(pool);
    let cluster = old.config.clusters.iter().position(|cluster| cluster.name == name)?;
    let (mut known, was) = (old.pools_of(cluster), Outline::of(old));
    let served: BTreeSet<&str> = new.serves(pool).collect();
    let only = known.clone().next().filter(|_| known.len() == 1);
    let port = new.pools.pools[pool].port;
    let by_service = known.clone().filter(|&at| was.serves(at).any(|name| served.contains(name)));
    let by_service = by_service.min_by_key(|&at| old.pool(at).port != port);
    by_service.or_else(|| known.find(|&at| was.asks(at).eq(new.asks(pool)))).or(only)
}
