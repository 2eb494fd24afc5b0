//! Decides when each target is checked, and which outcomes count. Pure.
//!
//! No clock and no socket: time comes in as a [`Duration`] on any monotonic scale, with every call.
//! Whoever calls promises to call [`Schedule::poll`] at [`Schedule::wake_at`]; how much later than
//! that any call comes is the *lag* of this process, and negatives of checks that lived through a
//! lag say nothing of the nodes. Nor do negatives while this host's own way to a node is down.

mod doubt;
mod figures;
mod job;
mod lag;
#[cfg(test)]
mod tests;
mod ways;

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap, HashMap},
    net::IpAddr,
    time::Duration,
};

use crate::{
    config::Target,
    decide::{MissReason, NodeMonitor, NodeState, Outcome, TargetId},
};
use doubt::{Doubts, Freed};
pub use figures::Figures;
pub use job::{Ask, JobId, Start};
use job::{Flight, Job, Kind, jobs};
use lag::Lags;
use ways::Ways;

/// When each target is checked, and which outcomes count.
#[derive(Debug)]
pub struct Schedule {
    jobs: Vec<Job>,
    /// Jobs by when they are due; an entry whose time is not its job's any more is void.
    queue: BinaryHeap<Reverse<(Duration, JobId)>>,
    /// By target: its address, its job, and its state.
    targets: Vec<(IpAddr, JobId, NodeMonitor)>,
    /// Jobs whose last check this host could not make.
    unmade: BTreeSet<JobId>,
    /// Whether a target announced last that it works, and when.
    said: HashMap<TargetId, (bool, Duration)>,
    /// Targets that are not to be asked.
    resting: BTreeSet<TargetId>,
    ways: Ways,
    doubts: Doubts,
    /// What waited for a gateway's word and counts now.
    released: Vec<(TargetId, Outcome)>,
    lags: Lags,
    /// The schedule wants to be called so often, that pauses show.
    tick: Duration,
    /// Time of the last call.
    seen: Duration,
    /// When the next call was expected, at the latest.
    expected: Duration,
    figures: Figures,
}

impl Schedule {
    /// All of `targets` are checked from now on; [`TargetId`]s are their positions. Of the first of
    /// them this is `known` already; it paces checks as long as `decide` knows the same. A way that is
    /// down is an excuse without end while nothing else is reachable, and for `patience` otherwise.
    pub fn new(
        targets: &[Target],
        known: &[NodeMonitor],
        patience: Duration,
        now: Duration,
    ) -> Self {
        let jobs = jobs(targets, now);
        let mut places = vec![JobId(0); targets.len()];
        for (id, job) in (0..).map(JobId).zip(&jobs) {
            job.members.iter().for_each(|member| places[member.index()] = id);
        }
        let known = known.iter().copied().chain(std::iter::repeat(NodeMonitor::new()));
        let of = |((target, job), known): ((&Target, JobId), _)| (target.at.ip(), job, known);
        let limits = jobs.iter().map(Job::lag_limit);
        let floor = limits.min().unwrap_or(Duration::from_secs(1));
        let memory = jobs.iter().map(|job| job.health.interval * 4).max().unwrap_or_default();
        let queue = (0..).map(JobId).zip(&jobs).map(|(id, job)| Reverse((job.due, id)));
        let mut schedule = Self {
            queue: queue.collect(),
            jobs,
            targets: targets.iter().zip(places).zip(known).map(of).collect(),
            unmade: BTreeSet::new(),
            said: HashMap::new(),
            resting: BTreeSet::new(),
            ways: Ways::new(patience),
            doubts: Doubts::default(),
            released: Vec::new(),
            lags: Lags::new(floor, memory, now),
            tick: floor / 2,
            seen: now,
            expected: now,
            figures: Figures { targets: targets.len(), ..Figures::default() },
        };
        schedule.leave();
        schedule
    }

    /// When to call [`Self::poll`] next, unless another call comes before.
    pub fn wake_at(&self) -> Duration {
        let tick = self.seen + self.tick;
        self.queue.peek().map_or(tick, |Reverse((due, _))| tick.min(*due))
    }

    /// What is to be started now.
    pub fn poll(&mut self, now: Duration) -> Vec<Start> {
        // A call for another reason that comes before is not one in time.
        let lag = now.checked_sub(self.expected);
        lag.into_iter().for_each(|lag| self.lags.count(lag));
        let now = self.arrive(now);
        let over = self.doubts.over(now);
        self.release(over);
        let mut starts = Vec::new();
        while let Some(&Reverse((due, id))) = self.queue.peek()
            && due <= now
        {
            self.queue.pop();
            let job = &mut self.jobs[id.0 as usize];
            if job.flight.is_some() || job.due != due {
                continue;
            }
            let rests = job.members.iter().all(|member| self.resting.contains(member));
            if rests || !job.urgent && now - due > job.health.interval / 2 {
                // A pause made it miss its time. What was missed is not made up for in a burst.
                job.due = job.on_grid(now);
                self.queue.push(Reverse((job.due, id)));
                continue;
            }
            let whole = job.again.is_empty();
            let asked = job.start(now);
            self.figures.checks += 1;
            self.figures.in_flight += 1;
            let ask = match job.kind {
                Kind::Probe => Ask::Probe(asked[0]),
                Kind::Group if whole => Ask::Group(asked),
                Kind::Agent | Kind::Group => Ask::Agents(asked),
            };
            starts.push(Start { job: id, ask });
        }
        self.leave();
        starts
    }

    /// A check ended with these outcomes; returns them as they count.
    pub fn ended(
        &mut self,
        id: JobId,
        now: Duration,
        outcomes: &[(TargetId, Outcome)],
    ) -> Vec<(TargetId, Outcome)> {
        let now = self.arrive(now);
        let Some(flight) = self.jobs.get_mut(id.0 as usize).and_then(|job| job.flight.take())
        else {
            return Vec::new();
        };
        self.figures.in_flight -= 1;
        let starved = self.lags.since(flight.start) > self.jobs[id.0 as usize].lag_limit();
        if outcomes.iter().any(|(_, outcome)| *outcome == Outcome::Miss(MissReason::Local)) {
            self.unmade.insert(id);
        } else {
            self.unmade.remove(&id);
        }
        let mut counted = Vec::with_capacity(outcomes.len());
        let (mut lost, mut missing) = (Vec::new(), Vec::new());
        for &(target, outcome) in outcomes {
            let Some(outcome) = self.judge(target, outcome, flight, starved, now) else { continue };
            if self.doubt(target, outcome, now) {
                lost.push(target);
                continue;
            }
            // They are older.
            counted.append(&mut self.released);
            let before = self.observe(target, outcome);
            match outcome {
                Outcome::Hit => self.ways.hit(self.targets[target.index()].0, flight.start),
                Outcome::NotWorking | Outcome::Miss(MissReason::Local) => {}
                Outcome::Miss(MissReason::Starved) if starved => {
                    self.figures.starved += 1;
                    lost.push(target);
                }
                Outcome::Miss(MissReason::Starved) => self.figures.path_down += 1,
                Outcome::Miss(_) if is_down(&before) => {}
                Outcome::Miss(_) => missing.push(target),
            }
            counted.push((target, outcome));
        }
        self.plan(id, flight, now, lost, missing);
        self.leave();
        counted
    }

    /// A target said of itself, unasked, whether it works. Counts at once, as what is returned.
    pub fn announced(&mut self, target: TargetId, survival: bool, now: Duration) -> Outcome {
        let now = self.arrive(now);
        let outcome = if survival { Outcome::Hit } else { Outcome::NotWorking };
        let freed = self.doubts.heard(self.targets[target.index()].0, now);
        self.release(freed);
        self.said.insert(target, (survival, now));
        self.observe(target, outcome);
        let (_, id, known) = self.targets[target.index()];
        let job = &mut self.jobs[id.0 as usize];
        // The hits that it still lacks are not waited for until its regular time.
        if known.is_undecided() && job.flight.is_none() && now + job.health.fast_interval < job.due
        {
            job.due = now + job.health.fast_interval;
            job.urgent = true;
            self.queue.push(Reverse((job.due, id)));
        }
        self.leave();
        outcome
    }

    /// The own way to an address is up or down from now on.
    pub fn path(&mut self, address: IpAddr, up: bool, now: Duration) {
        let now = self.arrive(now);
        self.ways.set(address, up, now);
        if !up {
            let freed = self.doubts.down(address);
            self.release(freed);
        }
        self.leave();
    }

    /// These targets are not to be asked from now on, and all others are. What is known of those that
    /// rested is forgotten.
    pub fn rest(&mut self, resting: BTreeSet<TargetId>) {
        for target in self.resting.difference(&resting) {
            self.targets[target.index()].2 = NodeMonitor::new();
        }
        self.resting = resting;
    }

    /// An address is behind a gateway from now on; `None`: it is on link.
    pub fn gateway(&mut self, address: IpAddr, gateway: Option<IpAddr>) {
        self.doubts.set(address, gateway);
    }

    /// A gateway of [`Self::doubted`] answered.
    pub fn gateway_answers(&mut self, gateway: IpAddr, now: Duration) {
        let freed = self.doubts.answers(gateway, now);
        self.release(freed);
    }

    /// Gateways to be asked whether they live: misses wait for that, for some seconds at most.
    pub fn doubted(&mut self) -> Vec<IpAddr> {
        self.doubts.asked()
    }

    /// Misses that waited for a gateway's word and count now, oldest first.
    pub fn released(&mut self) -> Vec<(TargetId, Outcome)> {
        std::mem::take(&mut self.released)
    }

    /// Checks of an address that this host could not make can be made from now on: they are due.
    pub fn can_be_made(&mut self, address: IpAddr, now: Duration) {
        let now = self.arrive(now);
        let behind = |id: &JobId| {
            let mut members = self.jobs[id.0 as usize].members.iter();
            members.any(|member| self.targets[member.index()].0 == address)
        };
        let ready: Vec<JobId> = self.unmade.iter().filter(|id| behind(id)).copied().collect();
        for id in ready {
            self.unmade.remove(&id);
            let job = &mut self.jobs[id.0 as usize];
            if job.flight.is_none() {
                (job.due, job.urgent) = (now, true);
                self.queue.push(Reverse((now, id)));
            }
        }
        self.leave();
    }

    /// What became of the checks so far.
    pub fn figures(&self) -> Figures {
        Figures {
            ways_down: self.ways.down(),
            worst_lag: self.lags.worst(),
            lag_999: self.lags.quantile(999),
            lag_median: self.lags.quantile(500),
            ..self.figures
        }
    }

    /// What an outcome counts as; `None`: it was overtaken by what the target announced.
    fn judge(
        &self,
        target: TargetId,
        outcome: Outcome,
        flight: Flight,
        starved: bool,
        now: Duration,
    ) -> Option<Outcome> {
        let address = self.targets[target.index()].0;
        let said = self.said.get(&target);
        match outcome {
            Outcome::Hit | Outcome::NotWorking
                if said.is_some_and(|(yes, at)| {
                    *at > flight.start && *yes != (outcome == Outcome::Hit)
                }) =>
            {
                None
            }
            Outcome::Miss(MissReason::Local) => Some(outcome),
            Outcome::Miss(_) if starved || self.ways.excuse(address, flight.start, now) => {
                Some(Outcome::Miss(MissReason::Starved))
            }
            _ => Some(outcome),
        }
    }

    /// Whether an outcome waits for a word of the gateway. Ends the wait of others, if it is one.
    fn doubt(&mut self, target: TargetId, outcome: Outcome, now: Duration) -> bool {
        let (address, _, known) = self.targets[target.index()];
        match outcome {
            Outcome::Miss(MissReason::Local | MissReason::Starved) => false,
            // Nothing changes by another miss of one that is down, nor is a gateway asked for it
            // that is known to be down.
            Outcome::Miss(MissReason::Timeout | MissReason::Unreachable) => {
                !is_down(&known)
                    && self.ways.is_up(address)
                    && self.doubts.hold((target, address), outcome, now)
            }
            _ => {
                let freed = self.doubts.heard(address, now);
                self.release(freed);
                false
            }
        }
    }

    fn release(&mut self, freed: Freed) {
        self.figures.path_down += freed.void as u64;
        for (target, outcome) in freed.counts {
            self.observe(target, outcome);
            self.released.push((target, outcome));
        }
    }

    /// Takes what counts into account; returns what the target was before.
    fn observe(&mut self, target: TargetId, outcome: Outcome) -> NodeMonitor {
        let figure = match outcome {
            Outcome::Hit => Some(&mut self.figures.hits),
            Outcome::NotWorking => Some(&mut self.figures.not_working),
            Outcome::Miss(MissReason::Starved) => None,
            Outcome::Miss(MissReason::Local) => Some(&mut self.figures.local),
            Outcome::Miss(_) => Some(&mut self.figures.misses),
        };
        figure.into_iter().for_each(|figure| *figure += 1);
        let (_, job, known) = &mut self.targets[target.index()];
        let before = *known;
        known.observe(outcome, &self.jobs[job.0 as usize].health);
        before
    }

    /// When a job's next check is due after one that ended now, and whom it asks.
    fn plan(
        &mut self,
        id: JobId,
        flight: Flight,
        now: Duration,
        lost: Vec<TargetId>,
        missing: Vec<TargetId>,
    ) {
        let job = &mut self.jobs[id.0 as usize];
        let survey = job.kind != Kind::Probe;
        let unsettled = |member: &&TargetId| self.targets[member.index()].2.is_undecided();
        let unsettled: Vec<TargetId> = job.members.iter().filter(unsettled).copied().collect();
        let regular = job.regular(flight.start, now);
        let hurried = flight.start + job.health.fast_interval;
        job.urgent = !lost.is_empty() || !unsettled.is_empty();
        let again;
        (job.due, again) = if !lost.is_empty() {
            (flight.start + job.least_gap(), lost)
        } else if survey && flight.whole && !missing.is_empty() {
            self.figures.confirmations += 1;
            (now, missing)
        } else if !unsettled.is_empty() && hurried < regular {
            (hurried, unsettled)
        } else {
            (regular, Vec::new())
        };
        // One whose time came while the check before it was under way is not late.
        job.due = job.due.max(now);
        job.again = if survey { again } else { Vec::new() };
        self.queue.push(Reverse((job.due, id)));
    }

    /// Every call begins here: takes the time, and what this process missed.
    fn arrive(&mut self, now: Duration) -> Duration {
        let now = now.max(self.seen);
        self.lags.record(now, now.saturating_sub(self.expected));
        self.seen = now;
        now
    }

    /// Every call ends here.
    fn leave(&mut self) {
        self.expected = self.wake_at().max(self.seen);
    }
}

fn is_down(known: &NodeMonitor) -> bool {
    matches!(known.state(), NodeState::Down(_))
}
