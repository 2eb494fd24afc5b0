//! What a daemon leaves for the next one, and what that makes of it.
//!
//! A file holds the configuration in effect with its ids; what was known of nodes and groups stands in
//! the maps themselves. Unknown is not down: what was up stays up until its checks fail.

use std::{sync::Arc, time::Duration};

use lb_common::{Directory, NodeRecord, PlanRecord, Slot};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    Admin, GroupMonitor, Host, Ids, MissReason, Model, Named, NextHop, NodeMonitor, NodeState,
    Pools, State, Tracks,
};
use crate::config::Config;

/// What has to be known of a plan beside the maps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// The configuration in effect, with what is leaving, without its secrets.
    pub config: Config,
    /// Its ids.
    pub ids: Ids,
    /// Ids that nobody has, and pins may name.
    pub named: Named,
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
#[error("its ids are not those of its configuration, or not those of the tables in force")]
pub struct Unfit;

impl State {
    /// What the plan is made by. Another one means that something else is to be saved.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// What the next daemon needs.
    pub fn saved(&self) -> Saved {
        let Model { config, ids, .. } = &*self.model;
        Saved { config: Config::clone(config), ids: ids.clone(), named: self.named.clone() }
    }

    /// The state of the daemon before, as far as it is remembered, to be succeeded by one under the
    /// file ([`State::succeed`]). Times begin anew.
    ///
    /// # Errors
    /// What was saved contradicts itself.
    pub fn resume(saved: Saved, maps: &Remembered, now: Duration) -> Result<Self, Unfit> {
        let Saved { config, ids, named } = saved;
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
        for pool in 0..model.pools.pools.len() {
            let Some(id) = model.ids.table(pool) else { continue };
            let Some(live) = maps.clusters.get(id.index()) else { continue };
            state.resume_nodes(pool, &live.slots, maps);
            // Nothing was written for it yet.
            if live.directory.log2 > 0 {
                let rules = model.cluster(pool);
                state.inherited[pool] = Some(GroupMonitor::resume(rules, &live.directory, now));
            }
        }
        Ok(state)
    }

    /// Nodes of a pool: as their records say; but one that serves nothing here, where it should if it
    /// were up, is up for others only.
    fn resume_nodes(&mut self, pool: usize, slots: &[Slot], maps: &Remembered) {
        let model = Arc::clone(&self.model);
        let nodes = model.nodes_of(model.pool(pool).cluster);
        let mut serves = vec![false; nodes.len()];
        for node in slots.iter().filter_map(|slot| model.ids.node_of(slot.member()?)) {
            if nodes.contains(&node) {
                serves[node - nodes.start] = true;
            }
        }
        let configs = &model.cluster(pool).nodes;
        let named = serves.iter().zip(configs).filter(|(serves, _)| **serves);
        let lowest = named.map(|(_, node)| node.priority).min();
        for (i, node) in nodes.enumerate() {
            let Some(record) = model.ids.node(node).and_then(|id| maps.nodes.get(id.index()))
            else {
                continue;
            };
            let should = configs[i].weight > 0
                && self.admins.effective()[node] == Admin::InService
                && lowest.is_some_and(|lowest| configs[i].priority >= lowest);
            let state = match state_of(record.state) {
                NodeState::Up if should && !serves[i] => NodeState::Down(MissReason::Timeout),
                state => state,
            };
            let Some(target) = model.pool(pool).targets.get(i) else { continue };
            let known = &mut self.targets[target.index()];
            if known.state() != NodeState::Up {
                *known = NodeMonitor::in_state(state);
            }
        }
    }

    /// A wish for all nodes of a cluster is taken for one for the cluster.
    fn resume_admins(&mut self, maps: &Remembered, now: Duration) {
        let model = Arc::clone(&self.model);
        let admin = |node: usize| {
            let record = model.ids.node(node).and_then(|id| maps.nodes.get(id.index()));
            record.map_or(Admin::InService, |record| admin_of(record.admin))
        };
        for cluster in 0..model.config.clusters.len() {
            let all = model.nodes_of(cluster).map(admin).min().unwrap_or_default();
            self.admins.set_cluster(&model, cluster, all, now);
            for node in model.nodes_of(cluster).filter(|node| admin(*node) > all) {
                self.admins.set_node(&model, node, admin(node), now);
            }
        }
    }
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

/// As [`NodeRecord::admin`] has it.
pub(super) const fn admin_code(admin: Admin) -> u8 {
    match admin {
        Admin::InService => 0,
        Admin::Drained => 1,
        Admin::Maintenance => 2,
    }
}

const fn admin_of(code: u8) -> Admin {
    match code {
        1 => Admin::Drained,
        2 => Admin::Maintenance,
        _ => Admin::InService,
    }
}
