//! Decides whether a cluster is healthy, and how long a recovered one is held back.

use std::time::Duration;

use crate::config::{Cluster, Failback};

/// How many nodes of a cluster count, and how many of them live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Count {
    /// Nodes in service with a weight that may get new flows.
    pub alive: u32,
    /// Nodes in service with a weight.
    pub total: u32,
}

/// A cluster's group at one moment (M2 to M4), and its hold (M11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Group {
    /// In the healthy group; else in the unhealthy one.
    pub healthy: bool,
    /// Its nodes.
    pub count: Count,
    /// Recovered, and held back from what it lent.
    pub held: bool,
}

impl Group {
    /// Nothing in it counts. It is in the unhealthy group, without alarm.
    pub fn empty(&self) -> bool {
        self.count.total == 0
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

/// What an update did to a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It became healthy.
    Healthy,
    /// It became unhealthy.
    Unhealthy,
}

/// One cluster's group over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupMonitor {
    healthy: bool,
    count: Count,
    hold: Option<Hold>,
    /// When it last became healthy again, until it has proved stable.
    recovered: Option<Duration>,
    /// Failures soon after a recovery, in a row.
    flaps: u32,
}

impl GroupMonitor {
    /// The group of a cluster that has no history: by its threshold alone.
    pub fn new(cluster: &Cluster, count: Count) -> Self {
        let healthy = count.alive >= cluster.threshold.needed(count.total);
        Self { healthy, count, hold: None, recovered: None, flaps: 0 }
    }

    /// Takes new counts into account.
    pub fn update(&mut self, cluster: &Cluster, count: Count, now: Duration) -> Option<Turn> {
        self.count = count;
        let bar = match self.healthy {
            true => cluster.threshold.needed(count.total),
            false => needed_to_recover(cluster, count.total),
        };
        let healthy = count.alive >= bar;
        if healthy == self.healthy {
            return None;
        }
        self.healthy = healthy;
        if healthy {
            self.recovered = Some(now);
            self.hold = match cluster.failback {
                Failback::Auto => None,
                Failback::Manual => Some(Hold::UntilReleased),
                Failback::After { wait, max } => {
                    Some(Hold::Until(now.saturating_add(doubled(wait, max, self.flaps))))
                }
            };
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

    /// Its group now.
    pub fn group(&self) -> Group {
        Group { healthy: self.healthy, count: self.count, held: self.hold.is_some() }
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
