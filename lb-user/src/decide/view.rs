//! What is known and decided, to be looked at.

use std::{sync::Arc, time::Duration};

use super::{
    Admins, Decision, Host, Intent, Model, NextHop, NoWay, NodeMonitor, NodeState,
    freeze::Freezer,
    group::GroupMonitor,
    host,
    moved::{Swept, Tracks},
    resume::admin_code,
};

/// What can be looked at from outside.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The configuration and its orders.
    pub model: &'a Model,
    /// By target.
    pub targets: &'a [NodeMonitor],
    /// Of what vanished, whether it is believed.
    pub freezer: &'a Freezer,
    /// What the operator wants.
    pub admins: &'a Admins,
    /// By position of the node.
    pub hops: &'a [Option<NextHop>],
    /// This host; `None`: not known yet.
    pub host: Option<&'a Host>,
    /// By pool; empty before the first plan.
    pub groups: &'a [GroupMonitor],
    /// Who serves what; `None` before the first plan.
    pub decision: Option<&'a Decision>,
    /// When the carriers of a service's seats last changed.
    pub since: &'a [Vec<Duration>],
    /// What was published last.
    pub published: Option<&'a Arc<Intent>>,
    /// Its tables over time.
    pub tracks: &'a Tracks,
    /// What the last sweep found.
    pub swept: Option<&'a Swept>,
}

impl View<'_> {
    /// The way to a node, with all that packets for it need.
    ///
    /// # Errors
    /// What is missing.
    pub fn way(&self, node: usize) -> Result<NextHop, NoWay> {
        host::usable(self.model, node, self.hops[node])
    }

    /// Whether an intent has what the operator wants of each node.
    pub fn wishes_are_in(&self, intent: &Intent) -> bool {
        (0..self.model.nodes.len()).all(|node| {
            let Some(id) = self.model.ids.node(node) else { return true };
            let record = intent.nodes.get(id.index()).copied().unwrap_or_default();
            record.admin == self.admin_code(node)
        })
    }

    /// What the operator wants of a node, as its record has it.
    pub(super) fn admin_code(&self, node: usize) -> u8 {
        let whole = self.admins.cluster(self.model.nodes[node].cluster);
        admin_code(self.admins.own(node).admin, whole.admin)
    }

    /// What has to end before a node that is drained, in maintenance or leaving has none of its old
    /// connections: so many slots of tables in force still name it.
    pub fn slots_of(&self, node: usize) -> usize {
        let Some(id) = self.model.ids.node(node) else { return 0 };
        let tables = self.published.into_iter().flat_map(|intent| &intent.clusters);
        tables.map(|table| table.slots_naming(id.raw())).sum()
    }

    /// The same for a pool, whose node table slots of services name.
    pub fn slots_of_pool(&self, pool: usize) -> usize {
        let Some(id) = self.model.ids.table(pool) else { return 0 };
        let tables = self.published.into_iter().flat_map(|intent| &intent.services);
        tables.map(|table| table.slots_naming(id.raw())).sum()
    }

    /// What is known of a node of a pool, by position in its cluster's nodes.
    pub fn state(&self, pool: usize, index: usize) -> NodeState {
        let target = self.model.pool(pool).targets.get(index);
        target.map_or(NodeState::Unknown, |target| self.targets[target.index()].state())
    }

    /// What a node of a pool is taken for: as what is known of it, but that a node is up which it is
    /// not believed of that it vanished.
    pub fn believed(&self, pool: usize, index: usize) -> NodeState {
        match self.model.pool(pool).targets.get(index) {
            Some(&target) if self.freezer.disbelieves(target) => NodeState::Up,
            _ => self.state(pool, index),
        }
    }
}
