//! What a daemon leaves for the next one, and what that makes of it.
//!
//! A file holds the configuration in effect with its ids; what was known of nodes and groups stands in
//! the maps themselves. Unknown is not down: what was up stays up until its checks fail.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use lb_common::{Directory, NodeRecord, PlanRecord, Slot};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    Admin, GroupMonitor, Host, Ids, MissReason, Model, Named, NextHop, NodeMonitor, NodeState,
    Pools, State, TargetId, Tracks,
};
use crate::config::{Cluster, Config, Health, Service, Threshold};

/// No time of a configuration is longer: ten years.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// What has to be known of a plan beside the maps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// [`Saved::FORMAT`] of who wrote it.
    pub format: u32,
    /// The configuration in effect, with what is leaving, without its secrets.
    pub config: Config,
    /// Its ids.
    pub ids: Ids,
    /// Ids that nobody has, and pins may name.
    pub named: Named,
}

impl Saved {
    /// Changes when a file of before can no longer be read. A field more is no change: it has a default
    /// ([`Config`]).
    pub const FORMAT: u32 = 1;
}

/// What the maps say of the plan in force.
#[derive(Clone, Debug, Default)]
pub struct Remembered {
    /// What holds for all of it.
    pub plan: PlanRecord,
    /// This host's own addresses, as [`super::Intent::own`] has them, in any order.
    pub own: Vec<[u32; 4]>,
    /// By node id.
    pub nodes: Vec<NodeRecord>,
    /// By service id.
    pub services: Vec<Live>,
    /// By cluster id.
    pub clusters: Vec<Live>,
}

/// A table in force.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// Its flags; `log2` is 0 if there is none.
    pub directory: Directory,
    /// Owners with their states.
    pub slots: Arc<[Slot]>,
    /// Whom old connections of slots in `DRAIN` go to.
    pub base: Option<Arc<[Slot]>>,
}

/// A saved configuration, its ids and the tables do not go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "its configuration makes no sense, or its ids are not those of its configuration, or not those \
     of the tables in force"
)]
pub struct Unfit;

impl State {
    /// What the plan is made by. Another one means that something else is to be saved.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// What the next daemon needs.
    pub fn saved(&self) -> Saved {
        let Model { config, ids, .. } = &*self.model;
        Saved {
            format: Saved::FORMAT,
            config: Config::clone(config),
            ids: ids.clone(),
            named: self.named.clone(),
        }
    }

    /// The state of the daemon before, as far as it is remembered, to be succeeded by one under the
    /// file ([`State::succeed`]). Times begin anew.
    ///
    /// # Errors
    /// What was saved contradicts itself.
    pub fn resume(saved: Saved, maps: &Remembered, now: Duration) -> Result<Self, Unfit> {
        let Saved { format: _, config, ids, named } = saved;
        if !is_sound(&config) {
            return Err(Unfit);
        }
        let pools = Pools::of(&config);
        let nodes = config.clusters.iter().map(|cluster| cluster.nodes.len()).sum();
        if !ids.are_for(config.services.len(), pools.tables(), nodes) {
            return Err(Unfit);
        }
        let model = Arc::new(Model::with(Arc::new(config), pools, ids));
        let mut state = Self::with_model(Arc::clone(&model), now);
        state.named = named;
        state.tracks = Tracks::resumed(&model, maps, now)?;
        state.resume_admins(maps, now);
        // Until they are heard, ways and host are what packets go by now.
        state.host = Host::written(&maps.plan, &maps.own);
        for node in 0..model.nodes.len() {
            let record = model.ids.node(node).and_then(|id| maps.nodes.get(id.index()));
            state.hops[node] = record.and_then(NextHop::written);
        }
        state.resume_targets(maps);
        for pool in 0..model.pools.pools.len() {
            let live = model.ids.table(pool).and_then(|id| maps.clusters.get(id.index()));
            // Without a table nothing was written for it yet.
            if let Some(live) = live.filter(|live| live.directory.log2 > 0) {
                let rules = model.cluster(pool);
                state.inherited[pool] = Some(GroupMonitor::resume(rules, &live.directory, now));
            }
        }
        Ok(state)
    }

    /// What checks said of nodes. A record has the best of it: that is all if a node is checked in one
    /// way. If it is up and checked in several, it is up for the pools that it serves; whether it is
    /// for others that it could serve, its check has to say before there is a plan.
    fn resume_targets(&mut self, maps: &Remembered) {
        let model = Arc::clone(&self.model);
        let mut known: BTreeMap<TargetId, (bool, u8, NodeState)> = BTreeMap::new();
        for cluster in 0..model.config.clusters.len() {
            let targets = |pool: usize| &model.pool(pool).targets;
            let first = targets(model.pools_of(cluster).start);
            let one_way = |i: usize| {
                let mut pools = model.pools_of(cluster);
                pools.all(|pool| targets(pool).get(i) == first.get(i))
            };
            let nodes: Vec<usize> = model.nodes_of(cluster).collect();
            let one_way: Vec<bool> = (0..nodes.len()).map(one_way).collect();
            for pool in model.pools_of(cluster) {
                let serves = serving(&model, pool, maps);
                for (i, &target) in targets(pool).iter().enumerate() {
                    let Some(record) = model.ids.node(nodes[i]) else { continue };
                    let Some(record) = maps.nodes.get(record.index()) else { continue };
                    let could = model.node(nodes[i]).weight > 0
                        && self.admins.effective()[nodes[i]] == Admin::InService;
                    let sure = one_way[i] || serves[i];
                    let state = match state_of(record.state) {
                        NodeState::Up if could && !sure => NodeState::Unknown,
                        state => state,
                    };
                    // Another node may be asked by the same check.
                    let says = (sure, state.rank(), state);
                    let best = known.entry(target).or_insert(says);
                    if (best.0, best.1) < (says.0, says.1) {
                        *best = says;
                    }
                }
            }
        }
        for (target, (_, _, state)) in known {
            self.targets[target.index()] = NodeMonitor::in_state(state);
        }
    }

    fn resume_admins(&mut self, maps: &Remembered, now: Duration) {
        let model = Arc::clone(&self.model);
        for (node, place) in model.nodes.iter().enumerate() {
            let record = model.ids.node(node).and_then(|id| maps.nodes.get(id.index()));
            let Some(record) = record else { continue };
            let (own, whole) = admins_of(record.admin);
            if whole != Admin::InService {
                self.admins.set_cluster(&model, place.cluster, whole, now);
            }
            self.admins.set_node(&model, node, own, now);
            if record.up == 0 {
                self.admins.cut(node);
            }
        }
    }
}

/// By position in its cluster's nodes: whether slots of a pool's table go to a node.
fn serving(model: &Model, pool: usize, maps: &Remembered) -> Vec<bool> {
    let nodes = model.nodes_of(model.pool(pool).cluster);
    let mut serves = vec![false; nodes.len()];
    let live = model.ids.table(pool).and_then(|id| maps.clusters.get(id.index()));
    let slots = live.into_iter().flat_map(|live| live.slots.iter());
    for node in slots.filter_map(|slot| model.ids.node_of(slot.member()?)) {
        if nodes.contains(&node) {
            serves[node - nodes.start] = true;
        }
    }
    serves
}

/// Whether a configuration can be worked with at all, whoever wrote it.
fn is_sound(config: &Config) -> bool {
    let ratio = |threshold: &Threshold| match threshold {
        Threshold::Ratio(ratio) => ratio.denominator > 0,
        Threshold::Survivors(_) => true,
    };
    let times = |health: &Health| health.interval.max(health.timeout) <= LONGEST;
    let cluster = |cluster: &Cluster| {
        let thresholds = [Some(&cluster.threshold), cluster.recover_at.as_ref()];
        thresholds.into_iter().flatten().all(ratio)
            && cluster.drain <= LONGEST
            && times(&cluster.health)
    };
    let service = |service: &Service| {
        service.members().all(|member| member.cluster < config.clusters.len())
            && service.health.iter().all(times)
    };
    config.clusters.iter().all(cluster) && config.services.iter().all(service)
}

/// As [`NodeRecord::state`] has it.
pub(super) const fn state_code(state: NodeState) -> u8 {
    match state {
        NodeState::Unknown => 0,
        NodeState::Up => 1,
        NodeState::NotWorking => 2,
        NodeState::Down(_) => 3,
    }
}

const fn state_of(code: u8) -> NodeState {
    match code {
        1 => NodeState::Up,
        2 => NodeState::NotWorking,
        3 => NodeState::Down(MissReason::Timeout),
        _ => NodeState::Unknown,
    }
}

/// As [`NodeRecord::admin`] has it: what is wanted of the node itself, and of its cluster.
pub(super) const fn admin_code(own: Admin, whole: Admin) -> u8 {
    const fn code(admin: Admin) -> u8 {
        match admin {
            Admin::InService => 0,
            Admin::Drained => 1,
            Admin::Maintenance => 2,
        }
    }
    code(own) | code(whole) << 2
}

const fn admins_of(code: u8) -> (Admin, Admin) {
    const fn admin(code: u8) -> Admin {
        match code & 3 {
            1 => Admin::Drained,
            2 => Admin::Maintenance,
            _ => Admin::InService,
        }
    }
    (admin(code), admin(code >> 2))
}
