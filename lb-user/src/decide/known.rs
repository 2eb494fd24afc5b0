//! What is known of nodes at this moment: of their health, and whether enough for a first plan.

use std::{sync::Arc, time::Duration};

use lb_common::Forward;

use super::{
    Admin, Admins, Model, NodeMonitor, NodeState, State, health::NodeHealth, model::NodePlace,
};

impl State {
    /// The health of the nodes of a pool.
    pub(super) fn health_in(&self, pool: usize) -> Vec<NodeHealth> {
        let view = self.view();
        let health = |(index, node): (usize, usize)| {
            let state = view.believed(pool, index);
            let admin = match self.admins.effective()[node] {
                Admin::InService
                    if state == NodeState::Unknown && self.admins.has_returned(node) =>
                {
                    Admin::Drained
                }
                admin => admin,
            };
            let health = NodeHealth::of(state, admin);
            let health = NodeHealth { up: health.up && !self.admins.is_cut(node), ..health };
            // Nobody is sent to a node that no packet can reach yet, although its checks succeed.
            NodeHealth { eligible: health.eligible && view.way(node).is_ok(), ..health }
        };
        self.model.nodes_of(self.model.pool(pool).cluster).enumerate().map(health).collect()
    }

    /// Before the first plan: whether some node still has no outcome, or lives and cannot be
    /// reached because the way to it is not found yet, or this host is not known and packets need to
    /// know it; and the grace has not ended.
    pub(super) fn waiting(&self, now: Duration) -> bool {
        let (view, model) = (self.view(), &self.model);
        let unclear = |pool: usize| {
            // Nodes of clusters that no service uses are not checked.
            let nodes = model.nodes_of(model.pool(pool).cluster).zip(&model.pool(pool).targets);
            nodes.enumerate().any(|(index, (node, _))| match view.state(pool, index) {
                NodeState::Unknown => self.admins.effective()[node] == Admin::InService,
                NodeState::Up => view.way(node).is_err(),
                NodeState::NotWorking | NodeState::Down(_) => false,
            })
        };
        let strange = self.host.is_none() && model.ways().any(|way| way != Forward::L2);
        let unclear = || strange || (0..model.pools.pools.len()).any(unclear);
        self.running.is_none() && now < self.grace_ends && unclear()
    }

    /// Changes what is wanted. What is known of nodes that come out of maintenance is old: they are
    /// asked anew.
    pub(super) fn administer(&mut self, change: impl FnOnce(&mut Admins, &Model) -> bool) -> bool {
        let model = Arc::clone(&self.model);
        let rested = self.admins.resting(&model);
        let changed = change(&mut self.admins, &model);
        let rests = self.admins.resting(&model);
        let nodes = rested.difference(&rests).flat_map(|target| model.nodes_at(*target));
        let down: Vec<usize> = nodes.copied().filter(|node| self.is_down(*node)).collect();
        down.into_iter().for_each(|node| self.admins.cut(node));
        for target in rested.difference(&rests) {
            self.targets[target.index()] = NodeMonitor::new();
        }
        for target in rested.union(&rests) {
            self.undecided.remove(target);
        }
        self.hear();
        changed
    }

    /// Whether a node keeps no connections, by what is known of it for all services.
    pub(super) fn is_down(&self, node: usize) -> bool {
        self.states(node).all(|state| matches!(state, NodeState::Down(_)))
    }

    /// Notes of whom something was heard.
    pub(super) fn hear(&mut self) {
        let awaited: Vec<usize> = self.admins.awaited().collect();
        for node in awaited {
            let reaches = |state| matches!(state, NodeState::Up | NodeState::NotWorking);
            let reaches = self.states(node).any(reaches);
            let known = self.states(node).all(|state| state != NodeState::Unknown);
            self.admins.heard(node, reaches, known);
        }
    }

    fn states(&self, node: usize) -> impl Iterator<Item = NodeState> {
        let (view, NodePlace { cluster, index }) = (self.view(), self.model.nodes[node]);
        self.model.pools_of(cluster).map(move |pool| view.believed(pool, index))
    }
}
