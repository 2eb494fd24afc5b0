//! Decides whether a pool is healthy, and how long a recovered one is held back.

use std::time::Duration;

use lb_common::Directory;

use super::{model::Model, tables::Withheld};
use crate::config::{Cluster, Failback};

/// How many nodes of a pool count, and how many of them live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Count {
    /// Nodes in service with a weight that may get new flows.
    pub alive: u32,
    /// Nodes in service with a weight.
    pub total: u32,
}

/// A pool's group at one moment (M2 to M4), and its hold (M11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Group {
    /// In the healthy group; else in the unhealthy one.
    pub healthy: bool,
    /// As many of its nodes live as must, whatever its cluster's other pools say.
    pub enough: bool,
    /// Its nodes.
    pub count: Count,
    /// Recovered, and held back from what it lent.
    pub held: bool,
    /// While it gets its flows back in parts: what it does not get yet.
    pub withheld: Withheld,
}

impl Group {
    /// Nothing in it counts. It is in the unhealthy group, without alarm.
    pub fn empty(&self) -> bool {
        self.count.total == 0
    }
}

/// The services that a cluster carries: those in which it is a master or a standby.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Services {
    /// Those whose pool has enough living nodes.
    pub healthy: u32,
    /// All.
    pub total: u32,
    /// So many must be healthy for the cluster to be healthy for any (`min_services`); never more
    /// than there are.
    pub needed: u32,
}

impl Services {
    /// Those of a cluster; `enough` says it of a pool.
    pub fn of(model: &Model, cluster: usize, enough: impl Fn(usize) -> bool) -> Self {
        let carried = |pool: usize| model.carried(pool);
        let total = model.pools_of(cluster).map(carried).sum();
        let healthy = model.pools_of(cluster).filter(|&pool| enough(pool)).map(carried).sum();
        let needed = model.config.clusters[cluster].min_services.min(total);
        Self { healthy, total, needed }
    }

    /// Whether the cluster may be healthy.
    pub fn suffice(self) -> bool {
        self.healthy >= self.needed
    }
}

/// How many must live for a cluster to become healthy again.
pub fn needed_to_recover(cluster: &Cluster, total: u32) -> u32 {
    let least = cluster.threshold.needed(total);
    cluster.recover_at.map_or(least, |threshold| least.max(threshold.needed(total)))
}

/// How long a recovered cluster is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Until this time.
    Until(Duration),
    /// Until it is released.
    UntilReleased,
}

/// What an update did to a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It became healthy.
    Healthy,
    /// It became unhealthy.
    Unhealthy,
}

/// One pool's group over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupMonitor {
    healthy: bool,
    enough: bool,
    count: Count,
    hold: Option<Hold>,
    /// When it last became healthy again, until it has proved stable.
    recovered: Option<Duration>,
    /// Failures soon after a recovery, in a row.
    flaps: u32,
}

impl GroupMonitor {
    /// The group of a pool that has no history: by its cluster's threshold alone.
    pub fn new(cluster: &Cluster, count: Count) -> Self {
        let enough = count.alive >= cluster.threshold.needed(count.total);
        Self { healthy: enough, enough, count, hold: None, recovered: None, flaps: 0 }
    }

    /// As it was when the maps were written; a hold begins anew.
    pub(super) fn resume(cluster: &Cluster, written: &Directory, now: Duration) -> Self {
        let (healthy, flaps) = (written.healthy == 1, u32::from(written.flaps));
        let held = healthy && written.held == 1;
        let hold = held.then(|| begin_hold(cluster, flaps, now)).flatten();
        let recovered = hold.map(|_| now);
        Self { healthy, enough: healthy, count: Count::default(), hold, recovered, flaps }
    }

    /// As it is from the beginning on, its cluster's other pools being known.
    pub fn begin(&mut self, services: Services) {
        self.healthy = self.enough && services.suffice();
    }

    /// Takes new counts into account. [`GroupMonitor::turn`] follows when those of all pools of the
    /// cluster are.
    pub fn recount(&mut self, cluster: &Cluster, count: Count) {
        self.count = count;
        let bar = match self.enough {
            true => cluster.threshold.needed(count.total),
            false => needed_to_recover(cluster, count.total),
        };
        self.enough = count.alive >= bar;
    }

    /// Puts it into its group.
    pub fn turn(&mut self, cluster: &Cluster, services: Services, now: Duration) -> Option<Turn> {
        let healthy = self.enough && services.suffice();
        if healthy == self.healthy {
            return None;
        }
        self.healthy = healthy;
        if healthy {
            self.recovered = Some(now);
            self.hold = begin_hold(cluster, self.flaps, now);
            return Some(Turn::Healthy);
        }
        self.hold = None;
        if let Failback::After { wait, max } = cluster.failback {
            let stable = doubled(wait, max, self.flaps).saturating_mul(2);
            let soon = |at: Duration| now.saturating_sub(at) < stable;
            self.flaps = if self.recovered.is_some_and(soon) { self.flaps + 1 } else { 0 };
        }
        Some(Turn::Unhealthy)
    }

    /// Ends a hold whose time has passed; returns whether it did.
    pub fn expire(&mut self, now: Duration) -> bool {
        let over = matches!(self.hold, Some(Hold::Until(at)) if at <= now);
        over && self.release()
    }

    /// Ends a hold; returns whether there was one.
    pub fn release(&mut self) -> bool {
        self.hold.take().is_some()
    }

    /// Its hold.
    pub fn hold(&self) -> Option<Hold> {
        self.hold
    }

    /// Failures soon after a recovery, in a row.
    pub fn flaps(&self) -> u32 {
        self.flaps
    }

    /// Its group now.
    pub fn group(&self) -> Group {
        let Self { healthy, enough, count, hold, .. } = *self;
        Group { healthy, enough, count, held: hold.is_some(), withheld: Withheld::default() }
    }
}

/// Brings the groups of all pools up to date; returns their turns.
pub fn update(
    model: &Model,
    groups: &mut [GroupMonitor],
    counts: &[Count],
    now: Duration,
) -> Vec<Option<Turn>> {
    for (pool, (group, count)) in groups.iter_mut().zip(counts).enumerate() {
        group.recount(model.cluster(pool), *count);
    }
    let services = services(model, groups);
    let turn = |(pool, group): (usize, &mut GroupMonitor)| {
        group.turn(model.cluster(pool), services[model.pool(pool).cluster], now)
    };
    groups.iter_mut().enumerate().map(turn).collect()
}

/// The groups of pools that have no history.
pub fn begin(model: &Model, counts: &[Count]) -> Vec<GroupMonitor> {
    let new = |(pool, count): (usize, &Count)| GroupMonitor::new(model.cluster(pool), *count);
    let mut groups: Vec<GroupMonitor> = counts.iter().enumerate().map(new).collect();
    let services = services(model, &groups);
    for (pool, group) in groups.iter_mut().enumerate() {
        group.begin(services[model.pool(pool).cluster]);
    }
    groups
}

/// By cluster.
fn services(model: &Model, groups: &[GroupMonitor]) -> Vec<Services> {
    let clusters = 0..model.config.clusters.len();
    clusters.map(|cluster| Services::of(model, cluster, |pool| groups[pool].enough)).collect()
}

/// The hold of a cluster that recovers after so many flaps.
fn begin_hold(cluster: &Cluster, flaps: u32, now: Duration) -> Option<Hold> {
    match cluster.failback {
        Failback::Auto => None,
        Failback::Manual => Some(Hold::UntilReleased),
        Failback::After { wait, max } => {
            Some(Hold::Until(now.saturating_add(doubled(wait, max, flaps))))
        }
    }
}

/// A wait after so many flaps.
fn doubled(wait: Duration, max: Duration, flaps: u32) -> Duration {
    wait.saturating_mul(1u32.checked_shl(flaps).unwrap_or(u32::MAX)).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Ratio, Threshold},
        decide::tests::fixture::{cluster, percent},
    };

    fn ratio(numerator: u64, denominator: u64) -> Threshold {
        Threshold::Ratio(Ratio { numerator, denominator })
    }

    #[test]
    fn needed_is_exact() {
        let cases = [
            (25, percent(28), 7),
            (100, percent(55), 55),
            (5, percent(50), 3),
            (4, percent(50), 2),
            (9, percent(0), 1),
            (9, percent(100), 9),
            (3, percent(60), 2),
            (3, ratio(333_333_333_333_333_333, 1_000_000_000_000_000_000), 1),
            (3, ratio(333_333_333_333_333_334, 1_000_000_000_000_000_000), 2),
            (4096, ratio(9_999_999_999_999_999_999, 10_000_000_000_000_000_000), 4096),
            (0, percent(50), 1),
            (4, Threshold::Survivors(1), 1),
            (4, Threshold::Survivors(4), 4),
            (2, Threshold::Survivors(4), 2),
            (0, Threshold::Survivors(4), 1),
        ];
        for (total, threshold, least) in cases {
            assert_eq!(threshold.needed(total), least, "{total} nodes, {threshold:?}");
        }
    }

    const ALL: Services = Services { healthy: 1, total: 1, needed: 0 };

    impl GroupMonitor {
        fn update(&mut self, rules: &Cluster, count: Count, now: Duration) -> Option<Turn> {
            self.recount(rules, count);
            self.turn(rules, ALL, now)
        }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Living nodes of five, one after the other, and whether the cluster is healthy then.
    fn walk(rules: &Cluster, steps: &[(u32, bool)]) {
        let count = |alive| Count { alive, total: 5 };
        let mut group = GroupMonitor::new(rules, count(steps[0].0));
        for (i, &(alive, healthy)) in steps.iter().enumerate() {
            group.update(rules, count(alive), at(i as u64));
            assert_eq!(group.group().healthy, healthy, "step {i} of {steps:?}");
        }
    }

    #[test]
    fn equality_is_healthy_and_hysteresis_is_neutral_by_default() {
        let mut rules = cluster("A", 1, percent(60), &[1; 5]);
        walk(&rules, &[(5, true), (3, true), (2, false), (3, true), (0, false), (5, true)]);
        rules.recover_at = Some(percent(80));
        walk(&rules, &[(3, true), (2, false), (3, false), (4, true), (3, true), (2, false)]);
        rules.recover_at = Some(percent(20));
        walk(&rules, &[(2, false), (3, true)]);
    }

    #[test]
    fn a_cluster_with_nothing_to_count_is_empty_and_unhealthy() {
        let rules = cluster("A", 1, percent(0), &[1]);
        let group = GroupMonitor::new(&rules, Count { alive: 0, total: 0 }).group();
        assert!(group.empty() && !group.healthy);
    }

    #[test]
    fn holds() {
        let mut rules = cluster("A", 1, percent(100), &[1]);
        let (up, down) = (Count { alive: 1, total: 1 }, Count { alive: 0, total: 1 });
        let mut group = GroupMonitor::new(&rules, up);
        assert_eq!(group.hold(), None, "what was never down is not held");
        rules.failback = Failback::Manual;
        group.update(&rules, down, at(1));
        assert_eq!(group.update(&rules, up, at(2)), Some(Turn::Healthy));
        assert_eq!((group.hold(), group.expire(at(999))), (Some(Hold::UntilReleased), false));
        assert!(group.release() && !group.release());

        rules.failback = Failback::After { wait: at(10), max: at(30) };
        let mut group = GroupMonitor::new(&rules, up);
        // Down, up, and until when it is held.
        let flaps = [
            (100, 101, 111),
            // Before twice the wait has passed: a flap.
            (120, 121, 141),
            (150, 151, 181),
            (160, 161, 191),
            // It stayed for 2 * 30 seconds.
            (221, 222, 232),
        ];
        for (fails, recovers, until) in flaps {
            group.update(&rules, down, at(fails));
            assert_eq!(group.hold(), None);
            group.update(&rules, up, at(recovers));
            assert_eq!(group.hold(), Some(Hold::Until(at(until))), "fails at {fails}");
        }
        assert!(!group.expire(at(231)) && group.expire(at(232)) && !group.group().held);
    }
}
