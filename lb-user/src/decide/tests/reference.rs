//! The method once more, written from its text and nothing else: no tables, no slots, exact
//! fractions. What the core decides is compared with it.

use std::time::Duration;

use crate::{
    config::{
        BackupMode, Balance, Cluster, Config, Failback, Fallback, Member, Panic, Service, Threshold,
    },
    decide::{Admin, Event, Outcome},
};

/// An exact fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fraction(pub(super) u128, pub(super) u128);

impl Fraction {
    pub(super) const ZERO: Self = Self(0, 1);

    pub(super) fn new(n: u64, d: u64) -> Self {
        Self(n.into(), d.into()).reduced()
    }

    fn reduced(self) -> Self {
        let (mut a, mut b) = (self.0, self.1);
        while b > 0 {
            (a, b) = (b, a % b);
        }
        Self(self.0 / a, self.1 / a)
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self(self.0 * other.1 + other.0 * self.1, self.1 * other.1).reduced()
    }

    pub(super) fn times(self, other: Self) -> Self {
        Self(self.0 * other.0, self.1 * other.1).reduced()
    }

    /// Whether it is within 0.5 points of `count` of `size`, and 0 only if that is.
    pub(super) fn is_near(self, count: u64, size: u64) -> bool {
        let (is, should) = (u128::from(count) * self.1, self.0 * u128::from(size));
        is.abs_diff(should) * 200 <= u128::from(size) * self.1 && (should > 0 || is == 0)
    }
}

/// A node as the reference sees it.
#[derive(Clone, Debug)]
pub(super) struct NodeModel {
    pub(super) cluster: usize,
    pub(super) weight: u32,
    pub(super) priority: u32,
    known: bool,
    reachable: bool,
    working: bool,
    hits: u32,
    misses: u32,
    admin: Admin,
}

impl NodeModel {
    pub(super) fn counts(&self) -> bool {
        self.weight > 0 && self.admin == Admin::InService
    }

    pub(super) fn alive(&self) -> bool {
        self.counts() && self.known && self.reachable && self.working
    }

    fn see(&mut self, outcome: Outcome, fall: u32, rise: u32) {
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

/// A cluster as the reference sees it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ClusterModel {
    pub(super) healthy: bool,
    pub(super) alive: u32,
    pub(super) total: u32,
    /// Held back until then; `Duration::MAX` is until released.
    pub(super) held: Option<Duration>,
    came_back: Option<Duration>,
    flaps: u32,
}

/// Who may serve and is not held back.
pub(super) struct Eligible {
    /// By service and cluster.
    pub(super) clusters: Vec<Vec<bool>>,
    /// By node.
    pub(super) nodes: Vec<bool>,
}

/// All of it.
pub(super) struct World<'a> {
    config: &'a Config,
    pub(super) nodes: Vec<NodeModel>,
    pub(super) clusters: Vec<ClusterModel>,
    pub(super) started: bool,
    start_by: Duration,
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

impl<'a> World<'a> {
    pub(super) fn new(config: &'a Config, now: Duration) -> Self {
        let node = |cluster| {
            move |node: &crate::config::Node| NodeModel {
                cluster,
                weight: node.weight,
                priority: node.priority,
                known: false,
                reachable: false,
                working: false,
                hits: 0,
                misses: 0,
                admin: Admin::InService,
            }
        };
        let clusters = config.clusters.iter().enumerate();
        let grace = config.clusters.iter().map(|c| c.health.interval + c.health.timeout).max();
        let unknown = ClusterModel {
            healthy: false,
            alive: 0,
            total: 0,
            held: None,
            came_back: None,
            flaps: 0,
        };
        Self {
            config,
            nodes: clusters.flat_map(|(i, cluster)| cluster.nodes.iter().map(node(i))).collect(),
            clusters: vec![unknown; config.clusters.len()],
            started: false,
            start_by: now + grace.unwrap_or_default(),
        }
    }

    /// One batch.
    pub(super) fn step(&mut self, now: Duration, events: &[Event]) {
        for event in events {
            match *event {
                Event::Checked { node, outcome } => {
                    let node = &mut self.nodes[node.index()];
                    let health = &self.config.clusters[node.cluster].health;
                    node.see(outcome, health.fall, health.rise);
                }
                Event::Administer { node, admin } => self.nodes[node.index()].admin = admin,
                Event::Release(cluster) => self.clusters[cluster.index()].held = None,
                Event::Resolved { .. } => {}
            }
        }
        let known = |n: &NodeModel| n.known || n.admin != Admin::InService;
        let first = !self.started;
        self.started |= now >= self.start_by || self.nodes.iter().all(known);
        if !self.started {
            return;
        }
        for i in 0..self.clusters.len() {
            self.update(i, now, first);
        }
        self.end_idle_holds();
    }

    fn update(&mut self, i: usize, now: Duration, first: bool) {
        let rules = &self.config.clusters[i];
        let mine = || self.nodes.iter().filter(|node| node.cluster == i);
        let alive = mine().filter(|node| node.alive()).count() as u32;
        let total = mine().filter(|node| node.counts()).count() as u32;
        let cluster = &mut self.clusters[i];
        (cluster.alive, cluster.total) = (alive, total);
        let enough = alive >= least(rules.threshold, total);
        let recovered = enough && rules.recover_at.is_none_or(|t| alive >= least(t, total));
        if first {
            cluster.healthy = enough;
        } else if cluster.healthy && !enough {
            cluster.healthy = false;
            cluster.held = None;
            let flaps = cluster.flaps;
            let stable = hold(rules, flaps) * 2;
            let soon = cluster.came_back.is_some_and(|at| now - at < stable);
            cluster.flaps = if soon { flaps + 1 } else { 0 };
        } else if !cluster.healthy && recovered {
            cluster.healthy = true;
            cluster.came_back = Some(now);
            cluster.held = match rules.failback {
                Failback::Auto => None,
                Failback::Manual => Some(Duration::MAX),
                Failback::After { .. } => Some(now + hold(rules, cluster.flaps)),
            };
        }
        if cluster.held.is_some_and(|until| until <= now) {
            cluster.held = None;
        }
    }

    /// A hold that holds nothing back ends: all of them together, else each.
    fn end_idle_holds(&mut self) {
        let held: Vec<usize> =
            (0..self.clusters.len()).filter(|&i| self.clusters[i].held.is_some()).collect();
        let mut sets = vec![held.clone()];
        sets.extend(held.iter().map(|&i| vec![i]));
        for set in sets {
            let (before, kept) = (self.all_shares(), self.clusters.clone());
            set.iter().for_each(|&i| self.clusters[i].held = None);
            if self.all_shares() != before {
                self.clusters = kept;
            }
        }
    }

    fn all_shares(&self) -> Vec<(Vec<Fraction>, Fraction)> {
        self.config.services.iter().map(|service| self.cluster_shares(service)).collect()
    }

    pub(super) fn panics(&self, service: &Service) -> bool {
        let mut all = service.masters.iter().chain(&service.standbys);
        !all.any(|m| m.weight > 0 && self.clusters[m.cluster].healthy)
    }

    /// Whether a member may serve, and whether it is held back.
    fn may_serve(&self, service: &Service, member: &Member, master: bool) -> (bool, bool) {
        let cluster = &self.clusters[member.cluster];
        let held = cluster.held.is_some();
        if member.weight == 0 {
            return (false, held);
        }
        if self.panics(service) {
            let able = match service.panic {
                Panic::Alive => cluster.alive > 0,
                Panic::Drop => false,
                Panic::All => master && cluster.total > 0,
            };
            return (able, held);
        }
        let free = |m: &Member| {
            let cluster = &self.clusters[m.cluster];
            m.weight > 0 && cluster.healthy && cluster.held.is_none()
        };
        let last_resort = service.fallback == Fallback::LastResort
            && !master
            && cluster.alive > 0
            && !service.standbys.iter().any(free);
        if last_resort { (true, false) } else { (cluster.healthy, held) }
    }

    pub(super) fn eligible(&self) -> Eligible {
        let of = |service: &Service| {
            let mut able = vec![false; self.clusters.len()];
            for (members, master) in [(&service.masters, true), (&service.standbys, false)] {
                for member in members {
                    let (may, held) = self.may_serve(service, member, master);
                    able[member.cluster] = may && !held;
                }
            }
            able
        };
        Eligible {
            clusters: self.config.services.iter().map(of).collect(),
            nodes: self.nodes.iter().map(NodeModel::alive).collect(),
        }
    }

    /// Who serves the flows of a home, by weight; nobody if it is empty.
    pub(super) fn carriers(&self, service: &Service, home: &Member) -> Vec<(usize, u32)> {
        for with_held in [false, true] {
            let able = |member: &Member, master: bool| {
                let (able, held) = self.may_serve(service, member, master);
                able && (with_held || !held)
            };
            if able(home, true) {
                return vec![(home.cluster, 1)];
            }
            let masters =
                || service.masters.iter().filter(|m| m.cluster != home.cluster && able(m, true));
            let standbys = || service.standbys.iter().filter(|m| able(m, false));
            let carriers: Vec<&Member> = match service.mode {
                BackupMode::None => Vec::new(),
                BackupMode::OneStandby | BackupMode::MultiStandby => standbys().collect(),
                BackupMode::MultiMaster => masters().collect(),
            };
            let even = service.balance == Balance::Equal;
            let fallback = match service.fallback {
                Fallback::Drop => Vec::new(),
                Fallback::Masters | Fallback::LastResort => masters().collect(),
            };
            for (stage, even) in [(carriers, even), (fallback, false)] {
                let best = stage.iter().map(|m| m.priority).max();
                let best = stage.iter().filter(|m| Some(m.priority) == best);
                let shares: Vec<(usize, u32)> =
                    best.map(|m| (m.cluster, if even { 1 } else { m.weight })).collect();
                if !shares.is_empty() {
                    return shares;
                }
            }
        }
        Vec::new()
    }

    /// Parts of a service by cluster, and what is dropped.
    pub(super) fn cluster_shares(&self, service: &Service) -> (Vec<Fraction>, Fraction) {
        let mut shares = vec![Fraction::ZERO; self.clusters.len()];
        let mut dropped = Fraction::ZERO;
        let weighty = || service.masters.iter().filter(|m| m.weight > 0);
        let top = weighty().map(|m| m.priority).max();
        let homes: Vec<&Member> = weighty().filter(|m| Some(m.priority) == top).collect();
        let all: u64 = homes.iter().map(|m| u64::from(m.weight)).sum();
        for home in homes {
            let part = Fraction::new(home.weight.into(), all);
            let carriers = self.carriers(service, home);
            let sum: u64 = carriers.iter().map(|(_, weight)| u64::from(*weight)).sum();
            if carriers.is_empty() {
                dropped = dropped.plus(part);
            }
            for (cluster, weight) in carriers {
                let more = part.times(Fraction::new(weight.into(), sum));
                shares[cluster] = shares[cluster].plus(more);
            }
        }
        (shares, dropped)
    }

    /// Parts of a cluster's flows by node id, with nodes alive only or all that count.
    pub(super) fn node_shares(&self, cluster: usize, ignore_health: bool) -> Vec<Fraction> {
        let able = |n: &&NodeModel| {
            n.cluster == cluster && if ignore_health { n.counts() } else { n.alive() }
        };
        let top = self.nodes.iter().filter(able).map(|n| n.priority).max();
        let serves = |n: &&NodeModel| able(n) && Some(n.priority) == top;
        let all: u64 = self.nodes.iter().filter(serves).map(|n| u64::from(n.weight)).sum();
        let part = |n: &NodeModel| match serves(&n) {
            true => Fraction::new(n.weight.into(), all),
            false => Fraction::ZERO,
        };
        self.nodes.iter().map(part).collect()
    }
}

fn hold(cluster: &Cluster, flaps: u32) -> Duration {
    match cluster.failback {
        Failback::After { wait, max } => (wait * 2u32.pow(flaps.min(20))).min(max),
        Failback::Auto | Failback::Manual => Duration::ZERO,
    }
}
