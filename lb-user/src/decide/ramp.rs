//! How slowly what returns gets its flows back (T7): a pool over the `ramp` of its cluster, a node
//! over the `slow_start`, in 16 equal parts, the first at once and the last when the time is over.
//!
//! Slots are in 16 classes by a hash of their numbers; whose turn has not come for a slot's class is
//! passed over there, unless nobody else may serve it. A loss in a table ends all its ramps: what is
//! there is needed.

use std::time::Duration;

use super::{
    group::Group,
    health::NodeHealth,
    model::Model,
    tables::{CLASSES, Withheld},
};

/// Steps after the first one.
const STEPS: u32 = CLASSES as u32 - 1;

/// What returned and has not got everything yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Ramps {
    /// By pool.
    pools: Vec<Option<Ramp>>,
    /// By pool, then by position in its cluster's nodes.
    nodes: Vec<Vec<Option<Ramp>>>,
}

/// Of nodes, by pool and by position in its cluster's nodes; and of pools.
pub(super) type Healths<'a> = (&'a [Vec<NodeHealth>], &'a [Group]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ramp {
    since: Duration,
    /// More than zero.
    time: Duration,
    /// Steps made.
    done: u32,
}

impl Ramp {
    fn begin(time: Duration, now: Duration) -> Option<Self> {
        (!time.is_zero()).then_some(Self { since: now, time, done: 0 })
    }

    /// When the next step is due.
    fn due(&self) -> Duration {
        self.since.saturating_add(self.time.saturating_mul(self.done + 1) / STEPS)
    }

    /// With all steps that are due; `None`: the last one was.
    fn at(mut self, now: Duration) -> Option<Self> {
        while self.done < STEPS && self.due() <= now {
            self.done += 1;
        }
        (self.done < STEPS).then_some(self)
    }

    fn withheld(&self) -> u8 {
        (STEPS - self.done) as u8
    }
}

impl Ramps {
    pub(super) fn new(model: &Model) -> Self {
        let nodes = |pool| model.cluster(pool).nodes.len();
        let pools = model.pools.pools.len();
        Self {
            pools: vec![None; pools],
            nodes: (0..pools).map(|pool| vec![None; nodes(pool)]).collect(),
        }
    }

    /// When the next step is due.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let all = self.pools.iter().chain(self.nodes.iter().flatten());
        all.flatten().map(Ramp::due).min()
    }

    /// Makes the steps that are due.
    fn advance(&mut self, now: Duration) {
        let all = self.pools.iter_mut().chain(self.nodes.iter_mut().flatten());
        all.for_each(|ramp| *ramp = ramp.and_then(|ramp| ramp.at(now)));
    }

    /// Ends and begins ramps by what was lost and what returned.
    pub(super) fn turn(
        &mut self,
        model: &Model,
        (nodes_before, groups_before): Healths<'_>,
        (nodes, groups): Healths<'_>,
        now: Duration,
    ) {
        self.advance(now);
        self.turn_pools(model, groups_before, groups, now);
        for pool in 0..self.nodes.len() {
            let healthy = groups_before[pool].healthy && groups[pool].healthy;
            let (was, is) = (&nodes_before[pool], &nodes[pool]);
            let weighs = |i: usize| model.cluster(pool).nodes[i].weight > 0;
            let ramps = &mut self.nodes[pool];
            if (0..is.len()).any(|i| weighs(i) && was[i].eligible && !is[i].eligible) || !healthy {
                ramps.fill(None);
                continue;
            }
            for i in (0..is.len()).filter(|&i| weighs(i) && !was[i].eligible && is[i].eligible) {
                ramps[i] = Ramp::begin(model.cluster(pool).slow_start, now);
            }
        }
    }

    fn turn_pools(&mut self, model: &Model, before: &[Group], groups: &[Group], now: Duration) {
        let able = |group: &Group| group.healthy && !group.held;
        let beside = |pool: usize| {
            let services = model.pool(pool).services.iter();
            let seats = services.flat_map(|&service| model.seats(service));
            seats.filter(move |seat| seat.weight > 0 && seat.pool != pool).map(|seat| seat.pool)
        };
        let lost = |pool: usize| able(&before[pool]) && !able(&groups[pool]);
        for pool in (0..groups.len()).filter(|&pool| lost(pool)) {
            self.pools[pool] = None;
            beside(pool).for_each(|other| self.pools[other] = None);
        }
        for pool in 0..groups.len() {
            if able(&before[pool]) || !able(&groups[pool]) || beside(pool).any(lost) {
                continue;
            }
            // Where nobody has stayed there is nobody to be relieved slowly.
            let stayed = |other: usize| {
                able(&before[other]) && able(&groups[other]) && self.pools[other].is_none()
            };
            let begins = beside(pool).any(stayed);
            let ramp = Ramp::begin(model.cluster(pool).ramp, now);
            self.pools[pool] = ramp.filter(|_| begins);
        }
    }

    /// Says in nodes and groups what is withheld from them.
    pub(super) fn withhold(&self, nodes: &mut [Vec<NodeHealth>], groups: &mut [Group]) {
        let of = |ramp: &Option<Ramp>| Withheld(ramp.as_ref().map_or(0, Ramp::withheld));
        for (group, ramp) in groups.iter_mut().zip(&self.pools) {
            group.withheld = of(ramp);
        }
        for (node, ramp) in nodes.iter_mut().flatten().zip(self.nodes.iter().flatten()) {
            node.withheld = of(ramp);
        }
    }

    /// Those of pools and nodes that are still there. `pool`: what a pool was before.
    pub(super) fn succeed(
        &self,
        old: &Model,
        new: &Model,
        pool: impl Fn(usize) -> Option<usize>,
    ) -> Self {
        let mut next = Self::new(new);
        for at in 0..new.pools.pools.len() {
            let Some(was) = pool(at) else { continue };
            next.pools[at] = self.pools[was];
            let [now_at, before_at] = [(new, at), (old, was)]
                .map(|(model, pool)| model.nodes_of(model.pool(pool).cluster));
            for (i, node) in now_at.enumerate() {
                let known = new.ids.node(node).and_then(|id| old.ids.node_at(id));
                let known = known.filter(|known| before_at.contains(known));
                next.nodes[at][i] =
                    known.and_then(|known| self.nodes[was][known - before_at.start]);
            }
        }
        next
    }
}

#[cfg(test)]
#[path = "ramp_tests.rs"]
mod tests;
