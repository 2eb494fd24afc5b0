//! The method once more, written from its text and nothing else: no tables, no slots, exact
//! fractions. What the core decides is compared with it. A cluster is a *view* here for each way in
//! which some service checks it.

mod view;

use std::{collections::BTreeSet, time::Duration};

use crate::{
    config::{BackupMode, Balance, Config, Fallback, Health, Member, Panic, Service},
    decide::{Admin, Event, Model},
};
use view::{NodeModel, View};

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

/// Who may serve and is not held back.
pub(super) struct Eligible {
    /// By service and cluster.
    pub(super) clusters: Vec<Vec<bool>>,
    /// By pool and node id.
    pub(super) nodes: Vec<Vec<bool>>,
}

/// All of it.
pub(super) struct World<'a> {
    config: &'a Config,
    pub(super) views: Vec<View>,
    pub(super) started: bool,
    start_by: Duration,
}

/// How a service checks a cluster.
fn way(config: &Config, service: &Service, cluster: usize) -> (Health, u16) {
    let health = service.health.as_ref().unwrap_or(&config.clusters[cluster].health);
    (health.clone(), health.port.unwrap_or(service.ports.first()))
}

impl<'a> World<'a> {
    pub(super) fn new(config: &'a Config, now: Duration) -> Self {
        let mut views: Vec<View> = Vec::new();
        for cluster in 0..config.clusters.len() {
            let uses = |s: &&Service| s.members().any(|member| member.cluster == cluster);
            let mut ways: Vec<_> = config
                .services
                .iter()
                .filter(uses)
                .map(|s| Some(way(config, s, cluster)))
                .collect();
            if ways.is_empty() {
                ways.push(None);
            }
            for way in ways {
                let same = |view: &&mut View| view.cluster == cluster && view.way == way;
                match views.iter_mut().find(same) {
                    Some(known) => known.services += 1,
                    None => views.push(View::new(config, cluster, way)),
                }
            }
        }
        let ways = views.iter().filter_map(|view| view.way.as_ref());
        let grace = ways.map(|(health, _)| health.interval + health.timeout).max();
        Self { config, views, started: false, start_by: now + grace.unwrap_or_default() }
    }

    /// One batch; the model only says what a target's id means.
    pub(super) fn step(&mut self, model: &Model, now: Duration, events: &[Event]) {
        for event in events {
            match *event {
                Event::Checked { target, outcome } => {
                    let target = &model.pools.targets[target.index()];
                    let way = Some(((*target.health).clone(), target.at.port()));
                    for view in self.views.iter_mut().filter(|view| view.way == way) {
                        let nodes = self.config.clusters[view.cluster].nodes.iter();
                        let asked = nodes.zip(&mut view.nodes);
                        for (_, node) in asked.filter(|(node, _)| node.address == target.at.ip()) {
                            node.see(outcome, target.health.fall, target.health.rise);
                        }
                    }
                    self.reach();
                }
                Event::Administer { node, admin } => {
                    self.want(false, |n| n.id == node.index(), admin, now);
                }
                Event::AdministerCluster { cluster, admin } => {
                    let views = self.views.iter().filter(|view| view.cluster == cluster);
                    let its: BTreeSet<usize> =
                        views.flat_map(|view| &view.nodes).map(|n| n.id).collect();
                    self.want(true, |n| its.contains(&n.id), admin, now);
                }
                Event::Release(pool) => {
                    let view = self.view_of(model, pool.index());
                    self.views[view].group.held = None;
                }
                Event::Resolved { .. } | Event::Host(_) | Event::Swept(_) | Event::CloseWindows => {
                }
            }
        }
        let first = !self.started;
        let clear = |view: &View| {
            let known = |n: &NodeModel| n.known || n.admin != Admin::InService;
            view.way.is_none() || view.nodes.iter().all(known)
        };
        self.started |= now >= self.start_by || self.views.iter().all(clear);
        if !self.started {
            return;
        }
        for view in &mut self.views {
            let drain = self.config.clusters[view.cluster].drain;
            view.nodes.iter_mut().for_each(|node| node.age(drain, now));
            view.count(&self.config.clusters[view.cluster], first);
        }
        for i in 0..self.views.len() {
            let carries = self.carries_enough(self.views[i].cluster);
            let view = &mut self.views[i];
            view.group.turn(&self.config.clusters[view.cluster], carries, now, first);
        }
        while self.end_idle_holds() {}
    }

    fn want(
        &mut self,
        whole: bool,
        is_it: impl Fn(&NodeModel) -> bool,
        admin: Admin,
        now: Duration,
    ) {
        let nodes = || self.views.iter().flat_map(|view| &view.nodes);
        let not_down: BTreeSet<usize> = nodes().filter(|n| !n.down()).map(|n| n.id).collect();
        let nodes = self.views.iter_mut().flat_map(|view| &mut view.nodes);
        for node in nodes.filter(|node| is_it(node)) {
            let down = !not_down.contains(&node.id);
            node.want(whole, admin, down, now);
        }
    }

    /// Whoever is reached in one way may have connections.
    fn reach(&mut self) {
        let nodes = self.views.iter().flat_map(|view| &view.nodes);
        let reached: BTreeSet<usize> = nodes.filter(|n| n.reached()).map(|n| n.id).collect();
        let nodes = self.views.iter_mut().flat_map(|view| &mut view.nodes);
        nodes.filter(|node| reached.contains(&node.id)).for_each(NodeModel::answered);
    }

    /// The view that a pool is.
    pub(super) fn view_of(&self, model: &Model, pool: usize) -> usize {
        let cluster = model.pool(pool).cluster;
        let service = model.pool(pool).services.first();
        let way = service.map(|&s| way(self.config, &self.config.services[s], cluster));
        let is_it = |view: &View| view.cluster == cluster && view.way == way;
        self.views.iter().position(is_it).expect("a view")
    }

    /// A cluster as a service sees it.
    fn seen(&self, service: &Service, cluster: usize) -> &View {
        let way = Some(way(self.config, service, cluster));
        let is_it = |view: &&View| view.cluster == cluster && view.way == way;
        self.views.iter().find(is_it).expect("a view")
    }

    /// Whether as many services are healthy on a cluster as it requires.
    fn carries_enough(&self, cluster: usize) -> bool {
        let views = || self.views.iter().filter(|view| view.cluster == cluster);
        let all: usize = views().map(|view| view.services).sum();
        let healthy: usize = views().filter(|v| v.group.enough).map(|v| v.services).sum();
        healthy >= all.min(self.config.clusters[cluster].min_services as usize)
    }

    pub(super) fn up(&self, node: usize) -> bool {
        self.views.iter().flat_map(|view| &view.nodes).any(|n| n.id == node && n.up())
    }

    /// A hold that holds nothing back ends: all of them together, else each.
    fn end_idle_holds(&mut self) -> bool {
        let held: Vec<usize> =
            (0..self.views.len()).filter(|&i| self.views[i].group.held.is_some()).collect();
        let mut sets = vec![held.clone()];
        sets.extend(held.iter().map(|&i| vec![i]));
        for set in sets {
            let (before, kept) = (self.all_shares(), self.views.clone());
            set.iter().for_each(|&i| self.views[i].group.held = None);
            if self.all_shares() != before {
                self.views = kept;
            }
        }
        self.views.iter().filter(|view| view.group.held.is_some()).count() < held.len()
    }

    fn all_shares(&self) -> Vec<(Vec<Fraction>, Fraction)> {
        self.config.services.iter().map(|service| self.cluster_shares(service)).collect()
    }

    pub(super) fn panics(&self, service: &Service) -> bool {
        let mut all = service.masters.iter().chain(&service.standbys);
        !all.any(|m| m.weight > 0 && self.seen(service, m.cluster).group.healthy)
    }

    /// Whether a member may serve, and whether it is held back.
    fn may_serve(&self, service: &Service, member: &Member, master: bool) -> (bool, bool) {
        let cluster = &self.seen(service, member.cluster).group;
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
            let cluster = &self.seen(service, m.cluster).group;
            m.weight > 0 && cluster.healthy && cluster.held.is_none()
        };
        let last_resort = service.fallback == Fallback::LastResort
            && !master
            && cluster.alive > 0
            && !service.standbys.iter().any(free);
        if last_resort { (true, false) } else { (cluster.healthy, held) }
    }

    pub(super) fn eligible(&self, model: &Model) -> Eligible {
        let of = |service: &Service| {
            let mut able = vec![false; self.config.clusters.len()];
            for (members, master) in [(&service.masters, true), (&service.standbys, false)] {
                for member in members {
                    let (may, held) = self.may_serve(service, member, master);
                    able[member.cluster] = may && !held;
                }
            }
            able
        };
        let nodes = self.config.clusters.iter().map(|c| c.nodes.len()).sum();
        let alive = |view: &View| {
            let mut alive = vec![false; nodes];
            view.nodes.iter().for_each(|node| alive[node.id] = node.alive());
            alive
        };
        let pools = 0..model.pools.pools.len();
        Eligible {
            clusters: self.config.services.iter().map(of).collect(),
            nodes: pools.map(|pool| alive(&self.views[self.view_of(model, pool)])).collect(),
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
        let mut shares = vec![Fraction::ZERO; self.config.clusters.len()];
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

    /// Parts of a view's flows by node, with nodes alive only or all that count.
    pub(super) fn node_shares(&self, view: usize, ignore_health: bool) -> Vec<(usize, Fraction)> {
        let nodes = &self.views[view].nodes;
        let able = |n: &&NodeModel| if ignore_health { n.counts() } else { n.alive() };
        let top = nodes.iter().filter(able).map(|n| n.priority).max();
        let serves = |n: &&NodeModel| able(n) && Some(n.priority) == top;
        let all: u64 = nodes.iter().filter(serves).map(|n| u64::from(n.weight)).sum();
        let part = |n: &NodeModel| match serves(&n) {
            true => Fraction::new(n.weight.into(), all),
            false => Fraction::ZERO,
        };
        nodes.iter().map(|n| (n.id, part(n))).collect()
    }
}
