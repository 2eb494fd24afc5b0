//! A cluster as those services see it that check it in one way: its nodes, and their group.

use std::time::Duration;

use crate::{
    config::{Cluster, Config, Failback, Health, Threshold},
    decide::{Admin, Outcome},
};

/// A node as one view sees it.
#[derive(Clone, Debug)]
pub(in crate::decide::tests) struct NodeModel {
    /// Its id.
    pub(in crate::decide::tests) id: usize,
    pub(in crate::decide::tests) weight: u32,
    pub(in crate::decide::tests) priority: u32,
    pub(super) known: bool,
    reachable: bool,
    working: bool,
    hits: u32,
    misses: u32,
    /// What counts of the two wishes below.
    pub(super) admin: Admin,
    /// What is wanted of the node and of its cluster, and since when.
    own: (Admin, Duration),
    whole: (Admin, Duration),
    /// Its maintenance is longer than its connections may last, or it was down before; and it was not
    /// reached since.
    cut: bool,
    /// It came out of maintenance.
    returned: bool,
}

impl NodeModel {
    pub(in crate::decide::tests) fn counts(&self) -> bool {
        let silent = self.returned && !self.known;
        self.weight > 0 && self.admin == Admin::InService && !silent
    }

    pub(in crate::decide::tests) fn alive(&self) -> bool {
        self.counts() && self.known && self.reachable && self.working
    }

    pub(in crate::decide::tests) fn up(&self) -> bool {
        !self.down() && !self.cut
    }

    /// It is known that it is not reached.
    pub(super) fn down(&self) -> bool {
        self.known && !self.reachable
    }

    /// It is known that it is reached.
    pub(super) fn reached(&self) -> bool {
        self.known && self.reachable
    }

    /// One of those that ask it reached it, so that it may have connections again.
    pub(super) fn answered(&mut self) {
        self.cut &= self.admin == Admin::Maintenance;
    }

    /// Another wish for it, or for its cluster. `down`: for all who ask it.
    pub(super) fn want(&mut self, whole: bool, admin: Admin, down: bool, now: Duration) {
        let wish = if whole { &mut self.whole } else { &mut self.own };
        if wish.0 != admin {
            *wish = (admin, now);
        }
        if whole && admin == Admin::InService {
            self.own = (admin, now);
        }
        let is = self.own.0.max(self.whole.0);
        if self.admin == Admin::Maintenance && is != Admin::Maintenance {
            (self.known, self.reachable, self.working) = (false, false, false);
            (self.hits, self.misses, self.returned) = (0, 0, true);
            self.cut |= down;
        }
        self.admin = is;
    }

    /// What time alone does to it.
    pub(super) fn age(&mut self, drain: Duration, now: Duration) {
        let since = [self.own, self.whole].into_iter().filter(|wish| wish.0 == Admin::Maintenance);
        self.cut |= since.map(|wish| wish.1).min().is_some_and(|at| now >= at + drain);
    }

    pub(super) fn see(&mut self, outcome: Outcome, fall: u32, rise: u32) {
        if self.admin == Admin::Maintenance {
            return;
        }
        let first = !self.known;
        self.known = true;
        match outcome {
            Outcome::Hit => {
                (self.hits, self.misses) = (self.hits + 1, 0);
                if first || self.hits >= rise {
                    (self.reachable, self.working) = (true, true);
                }
            }
            Outcome::NotWorking => {
                (self.hits, self.misses) = (0, 0);
                if first {
                    self.reachable = true;
                }
                self.working = false;
            }
            Outcome::Miss(_) => {
                (self.hits, self.misses) = (0, self.misses + 1);
                if first || self.misses >= fall {
                    self.reachable = false;
                }
            }
        }
    }
}

/// A cluster as those services see it that check it in one way.
#[derive(Clone, Debug)]
pub(in crate::decide::tests) struct View {
    pub(super) cluster: usize,
    /// The check, and the port that is asked; `None`: no service uses the cluster.
    pub(super) way: Option<(Health, u16)>,
    /// How many services see it so.
    pub(super) services: usize,
    pub(in crate::decide::tests) nodes: Vec<NodeModel>,
    pub(in crate::decide::tests) group: ClusterModel,
}

/// A view's group.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::decide::tests) struct ClusterModel {
    pub(in crate::decide::tests) healthy: bool,
    /// Enough of its nodes live, whatever the other services on its cluster say.
    pub(super) enough: bool,
    pub(in crate::decide::tests) alive: u32,
    pub(in crate::decide::tests) total: u32,
    /// Held back until then; `Duration::MAX` is until released.
    pub(in crate::decide::tests) held: Option<Duration>,
    came_back: Option<Duration>,
    flaps: u32,
}

fn least(threshold: Threshold, total: u32) -> u32 {
    let mut least = 1;
    while least < total
        && match threshold {
            Threshold::Survivors(n) => least < n,
            Threshold::Ratio(r) => {
                u128::from(least) * u128::from(r.denominator)
                    < u128::from(total) * u128::from(r.numerator)
            }
        }
    {
        least += 1;
    }
    least
}

impl View {
    pub(super) fn new(config: &Config, cluster: usize, way: Option<(Health, u16)>) -> Self {
        let first: usize = config.clusters[..cluster].iter().map(|c| c.nodes.len()).sum();
        let node = |(index, node): (usize, &crate::config::Node)| NodeModel {
            id: first + index,
            weight: node.weight,
            priority: node.priority,
            known: false,
            reachable: false,
            working: false,
            hits: 0,
            misses: 0,
            admin: Admin::InService,
            own: (Admin::InService, Duration::ZERO),
            whole: (Admin::InService, Duration::ZERO),
            cut: false,
            returned: false,
        };
        let group = ClusterModel {
            healthy: false,
            enough: false,
            alive: 0,
            total: 0,
            held: None,
            came_back: None,
            flaps: 0,
        };
        let services = usize::from(way.is_some());
        let nodes = config.clusters[cluster].nodes.iter().enumerate().map(node).collect();
        Self { cluster, way, services, nodes, group }
    }

    pub(super) fn count(&mut self, rules: &Cluster, first: bool) {
        let alive = self.nodes.iter().filter(|node| node.alive()).count() as u32;
        let total = self.nodes.iter().filter(|node| node.counts()).count() as u32;
        let group = &mut self.group;
        (group.alive, group.total) = (alive, total);
        let enough = alive >= least(rules.threshold, total);
        let recovered = enough && rules.recover_at.is_none_or(|t| alive >= least(t, total));
        group.enough = if first || group.enough { enough } else { recovered };
    }
}

impl ClusterModel {
    pub(super) fn turn(&mut self, rules: &Cluster, carries: bool, now: Duration, first: bool) {
        let healthy = self.enough && carries;
        if first {
            self.healthy = healthy;
        } else if self.healthy && !healthy {
            self.healthy = false;
            self.held = None;
            let flaps = self.flaps;
            let stable = hold(rules, flaps) * 2;
            let soon = self.came_back.is_some_and(|at| now - at < stable);
            self.flaps = if soon { flaps + 1 } else { 0 };
        } else if !self.healthy && healthy {
            self.healthy = true;
            self.came_back = Some(now);
            self.held = match rules.failback {
                Failback::Auto => None,
                Failback::Manual => Some(Duration::MAX),
                Failback::After { .. } => Some(now + hold(rules, self.flaps)),
            };
        }
        if self.held.is_some_and(|until| until <= now) {
            self.held = None;
        }
    }
}

fn hold(cluster: &Cluster, flaps: u32) -> Duration {
    match cluster.failback {
        Failback::After { wait, max } => (wait * 2u32.pow(flaps.min(20))).min(max),
        Failback::Auto | Failback::Manual => Duration::ZERO,
    }
}
