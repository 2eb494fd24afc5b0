//! What the operator wants of nodes and clusters, and since when.
//!
//! What is wanted of a cluster is wanted of all its nodes, those to come included; of both wishes the
//! stronger one counts. A cluster none of whose nodes is in service has none that counts, and so is
//! not healthy. Nodes in maintenance are not checked, and lose their connections when the drain limit
//! of their cluster has passed.

use std::{collections::BTreeSet, time::Duration};

use super::{Model, TargetId, health::Admin};

/// What is wanted, and since when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// What is wanted.
    pub admin: Admin,
    /// Since when; without meaning for what is in service.
    pub since: Duration,
}

/// What the operator wants.
#[derive(Clone, Debug, Default)]
pub struct Admins {
    nodes: Vec<Wish>,
    clusters: Vec<Wish>,
    /// By position of the node: what counts.
    effective: Vec<Admin>,
    /// Nodes that may not even keep connections: in maintenance when their time to end them is over;
    /// and those that were down, or cut, when it was forgotten what is known of them, until they answer.
    cut: BTreeSet<usize>,
    /// Nodes that came out of maintenance: they count when they have spoken.
    returned: BTreeSet<usize>,
}

impl Admins {
    /// All are in service.
    pub(super) fn new(model: &Model) -> Self {
        Self {
            nodes: vec![Wish::default(); model.nodes.len()],
            clusters: vec![Wish::default(); model.config.clusters.len()],
            effective: vec![Admin::default(); model.nodes.len()],
            ..Self::default()
        }
    }

    /// By position of the node: what counts.
    pub fn effective(&self) -> &[Admin] {
        &self.effective
    }

    /// What counts for a node, and since when.
    pub fn node(&self, model: &Model, node: usize) -> Wish {
        let (own, whole) = (self.nodes[node], self.clusters[model.nodes[node].cluster]);
        match own.admin.cmp(&whole.admin) {
            std::cmp::Ordering::Less => whole,
            std::cmp::Ordering::Greater => own,
            std::cmp::Ordering::Equal => Wish { since: own.since.min(whole.since), ..own },
        }
    }

    /// What is wanted of a node, whatever is wanted of its cluster.
    pub fn own(&self, node: usize) -> Wish {
        self.nodes[node]
    }

    /// What is wanted of a cluster as a whole.
    pub fn cluster(&self, cluster: usize) -> Wish {
        self.clusters[cluster]
    }

    /// When a node in maintenance loses its connections, if it has not lost them.
    pub fn cut_at(&self, model: &Model, node: usize) -> Option<Duration> {
        let Wish { admin, since } = self.node(model, node);
        let drain = model.config.clusters[model.nodes[node].cluster].drain;
        let waits = admin == Admin::Maintenance && !self.cut.contains(&node);
        waits.then(|| since.saturating_add(drain))
    }

    /// Targets that are not to be asked: all their nodes are in maintenance.
    pub fn resting(&self, model: &Model) -> BTreeSet<TargetId> {
        let targets = (0..).map(TargetId).take(model.pools.targets.len());
        let rests = |node: &usize| self.effective[*node] == Admin::Maintenance;
        targets.filter(|target| model.nodes_at(*target).iter().all(rests)).collect()
    }

    /// Sets what is wanted of a node; whether that is news.
    pub(super) fn set_node(
        &mut self,
        model: &Model,
        at: usize,
        admin: Admin,
        now: Duration,
    ) -> bool {
        let Some(wish) = self.nodes.get_mut(at).filter(|wish| wish.admin != admin) else {
            return false;
        };
        *wish = Wish { admin, since: now };
        self.refresh(model);
        true
    }

    /// Sets what is wanted of a cluster; in service: of all its nodes. Whether that is news.
    pub(super) fn set_cluster(
        &mut self,
        model: &Model,
        at: usize,
        admin: Admin,
        now: Duration,
    ) -> bool {
        let Some(wish) = self.clusters.get_mut(at) else { return false };
        let mut news = wish.admin != admin;
        if news {
            *wish = Wish { admin, since: now };
        }
        if admin == Admin::InService {
            for node in model.nodes_of(at) {
                let own = &mut self.nodes[node];
                news |= std::mem::take(own).admin != Admin::InService;
            }
        }
        self.refresh(model);
        news
    }

    /// Cuts nodes off whose time is over; whether there were any.
    pub(super) fn expire(&mut self, model: &Model, now: Duration) -> bool {
        let over = |node: &usize| self.cut_at(model, *node).is_some_and(|at| at <= now);
        let over: Vec<usize> = (0..self.nodes.len()).filter(over).collect();
        self.cut.extend(&over);
        !over.is_empty()
    }

    /// Cuts a node off until it answers: it was, or was down, and what was known of it is forgotten.
    pub(super) fn cut(&mut self, node: usize) {
        self.cut.insert(node);
    }

    /// When to call [`Admins::expire`].
    pub(super) fn deadline(&self, model: &Model) -> Option<Duration> {
        (0..self.nodes.len()).filter_map(|node| self.cut_at(model, node)).min()
    }

    /// Whether a node may not even keep its connections any more.
    pub(super) fn is_cut(&self, node: usize) -> bool {
        self.cut.contains(&node)
    }

    /// Whether a node came out of maintenance and has not spoken.
    pub(super) fn has_returned(&self, node: usize) -> bool {
        self.returned.contains(&node)
    }

    /// Nodes that are not in maintenance and that something is to be heard of.
    pub(super) fn awaited(&self) -> impl Iterator<Item = usize> {
        let rests = |node: &usize| self.effective[*node] == Admin::Maintenance;
        self.cut.union(&self.returned).copied().filter(move |node| !rests(node))
    }

    /// A node was heard of: it reaches connections; for all services something is known of it.
    pub(super) fn heard(&mut self, node: usize, reaches: bool, known: bool) {
        if reaches {
            self.cut.remove(&node);
        }
        if known {
            self.returned.remove(&node);
        }
    }

    /// What is wanted of the same things under another configuration, under which less may be known of
    /// them. Nodes that are new are as their cluster.
    pub(super) fn succeed(
        &self,
        old: &Model,
        new: &Model,
        is_down: impl Fn(usize) -> bool,
    ) -> Self {
        let mut next = Self::new(new);
        for node in 0..new.nodes.len() {
            let was = new.ids.node(node).and_then(|id| old.ids.node_at(id));
            let Some(was) = was else { continue };
            next.nodes[node] = self.nodes[was];
            next.cut.extend((self.cut.contains(&was) || is_down(was)).then_some(node));
            next.returned.extend(self.returned.contains(&was).then_some(node));
        }
        for (at, cluster) in new.config.clusters.iter().enumerate() {
            let was = old.config.clusters.iter().position(|was| was.name == cluster.name);
            next.clusters[at] = was.map_or(Wish::default(), |was| self.clusters[was]);
        }
        next.refresh(new);
        next
    }

    fn refresh(&mut self, model: &Model) {
        for node in 0..self.nodes.len() {
            let is = self.node(model, node).admin;
            let was = std::mem::replace(&mut self.effective[node], is);
            match (was, is) {
                (_, Admin::Maintenance) => drop(self.returned.remove(&node)),
                (Admin::Maintenance, _) => drop(self.returned.insert(node)),
                _ => {}
            }
        }
    }
}
