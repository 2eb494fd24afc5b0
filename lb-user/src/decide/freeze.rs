//! Decides whether it is believed that most nodes of several clusters vanished at once.
//!
//! That is more often a fault of who looks, or of what lies between, than of all of them. So they
//! count as they did before for a bounded time (`[lb] freeze`), and the plan stays as it was before
//! the first of them went. When the first one goes down, most others have missed checks as well:
//! they are on the way, and count as vanishing, so that nothing moves before it is noticed. What nodes say of themselves, and what the operator says, counts
//! meanwhile as always.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    health::{Admin, NodeMonitor, NodeState},
    model::Model,
    pool::TargetId,
};

/// Targets that vanished lately, and whether that is believed.
#[derive(Clone, Debug)]
pub struct Freezer {
    /// How long nothing is believed; 0: all is, at once.
    limit: Duration,
    /// Targets that went from up to down, and when: those of the last round; during a freeze all
    /// since.
    vanished: BTreeMap<TargetId, Duration>,
    until: Option<Duration>,
    /// During a freeze, while fewer than two clusters are concerned: when the rest is believed.
    settles: Option<Duration>,
}

/// What became of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is frozen.
    Frozen {
        /// Until this time, if not before.
        until: Duration,
        /// Positions of the clusters most of whose living nodes vanished or are about to.
        clusters: Vec<usize>,
    },
    /// Its time is over: what vanished is believed to have.
    Believed,
    /// All came back; or so many that the rest is believed, after the others had their time.
    Returned,
}

/// What is seen of all targets and nodes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight<'a> {
    pub(super) model: &'a Model,
    /// By target.
    pub(super) targets: &'a [NodeMonitor],
    /// By position of the node.
    pub(super) admins: &'a [Admin],
}

impl Freezer {
    /// Nothing vanished yet.
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, vanished: BTreeMap::new(), until: None, settles: None }
    }

    /// Until when the plan is frozen, if it is.
    pub fn until(&self) -> Option<Duration> {
        self.until.map(|until| self.settles.map_or(until, |settles| settles.min(until)))
    }

    /// Nothing vanished lately.
    pub(super) fn is_quiet(&self) -> bool {
        self.vanished.is_empty()
    }

    /// Whether a target that is down counts as if it were up.
    pub fn disbelieves(&self, target: TargetId) -> bool {
        self.until.is_some() && self.vanished.contains_key(&target)
    }

    /// The targets that count as if they were up.
    pub fn disbelieved(&self) -> impl Iterator<Item = TargetId> {
        self.vanished.keys().copied().filter(|_| self.until.is_some())
    }

    /// Takes a target's new state into account.
    pub(super) fn see(
        &mut self,
        target: TargetId,
        before: NodeState,
        after: NodeState,
        now: Duration,
    ) {
        match (before, after) {
            (NodeState::Up, NodeState::Down(_)) if !self.limit.is_zero() => {
                self.vanished.insert(target, now);
            }
            _ => {
                self.vanished.remove(&target);
            }
        }
    }

    /// Begins or ends a freeze.
    pub(super) fn judge(&mut self, sight: Sight<'_>, now: Duration) -> Option<Turn> {
        if self.vanished.is_empty() && self.until.is_none() {
            return None;
        }
        let Some(until) = self.until else {
            self.forget(sight.model, now);
            let clusters = self.concerned(sight);
            let until = now.saturating_add(self.limit);
            self.until = (clusters.len() > 1).then_some(until);
            return self.until.map(|until| Turn::Frozen { until, clusters });
        };
        let turn = match now >= until {
            true => Turn::Believed,
            false if self.has_settled(sight, now) => Turn::Returned,
            false => return None,
        };
        (self.until, self.settles) = (None, None);
        self.vanished.clear();
        Some(turn)
    }

    /// Whether a freeze is over before its time. Nodes come back one after the other: when fewer
    /// than two clusters are concerned, the last ones still have as long as it takes to come up.
    fn has_settled(&mut self, sight: Sight<'_>, now: Duration) -> bool {
        if self.concerned(sight).len() > 1 {
            self.settles = None;
            return false;
        }
        let comes_up = |target: &TargetId| {
            let health = &sight.model.pools.targets[target.index()].health;
            health.interval.saturating_mul(health.rise) + health.timeout
        };
        let longest = self.vanished.keys().map(comes_up).max();
        longest.is_none_or(|time| now >= *self.settles.get_or_insert(now.saturating_add(time)))
    }

    /// What is known under another configuration; `kept`: targets as they were, and what they are
    /// there.
    pub(super) fn succeed(&self, kept: &[(TargetId, TargetId)]) -> Self {
        let vanished = kept.iter().filter_map(|(was, id)| Some((*id, *self.vanished.get(was)?)));
        Self { vanished: vanished.collect(), ..*self }
    }

    /// Forgets what vanished in earlier rounds: a round is the longest time from one check to the
    /// end of the next among those that vanished.
    fn forget(&mut self, model: &Model, now: Duration) {
        let round = |target: &TargetId| {
            let health = &model.pools.targets[target.index()].health;
            health.interval + health.timeout
        };
        let longest = self.vanished.keys().map(round).max().unwrap_or_default();
        self.vanished.retain(|_, at| at.saturating_add(longest) > now);
    }

    /// Clusters more than half of whose living nodes vanished, or missed their last check, for
    /// whatever service. Nodes count that would get flows. None if it is one host that vanished,
    /// however many clusters it has nodes in.
    fn concerned(&self, Sight { model, targets, admins }: Sight<'_>) -> Vec<usize> {
        let mut hosts = BTreeSet::new();
        let mut most = |cluster: &usize| {
            let mut gone_here = Vec::new();
            let mut alive = 0;
            for (index, node) in model.nodes_of(*cluster).enumerate() {
                if model.node(node).weight == 0 || admins[node] != Admin::InService {
                    continue;
                }
                let asked = || {
                    model.pools_of(*cluster).filter_map(|pool| model.pool(pool).targets.get(index))
                };
                let goes = |target: &TargetId| {
                    self.vanished.contains_key(target) || targets[target.index()].is_falling()
                };
                let gone = asked().any(goes);
                let up = asked().any(|target| targets[target.index()].state() == NodeState::Up);
                alive += usize::from(gone || up);
                if gone {
                    gone_here.push(model.node(node).address);
                }
            }
            let most = 2 * gone_here.len() > alive;
            hosts.extend(gone_here.into_iter().filter(|_| most));
            most
        };
        let clusters: Vec<usize> = (0..model.config.clusters.len()).filter(&mut most).collect();
        if hosts.len() > 1 { clusters } else { Vec::new() }
    }
}
