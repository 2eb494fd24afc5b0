//! One unit of asking, and the times at which it is due.
//!
//! A job's regular checks lie on a grid: multiples of its interval from a phase that follows from
//! its own value, plus a little jitter. So checks stay spread over the interval, whatever was late.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use lb_common::hash::mix;

use crate::{
    config::{Health, Probe, SurveySend, Target},
    decide::TargetId,
};

/// The first checks of all jobs are spread over so much time, or an interval if that is less.
pub(super) const FIRST_CHECKS: Duration = Duration::from_millis(100);
/// A regular check is late by less than this part of its interval.
pub(super) const JITTER: u32 = 16;

/// Position of a unit of asking in a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub(super) u32);

/// A check to be started now; its end is told by [`super::Schedule::ended`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Whose it is.
    pub job: JobId,
    /// What it is.
    pub ask: Ask,
}

/// What a check asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// One target, by its probe.
    Probe(TargetId),
    /// Agents, one datagram to each address, of these servers.
    Agents(Vec<TargetId>),
    /// The group of these servers' survey, by one datagram.
    Group(Vec<TargetId>),
}

/// How a job asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One target, by an ordinary probe.
    Probe,
    /// All servers of one agent, by one datagram.
    Agent,
    /// All servers of all agents of a group, by one datagram.
    Group,
}

/// A check under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    pub start: Duration,
    /// Everybody was asked, not only those of [`Job::again`].
    pub whole: bool,
}

/// One unit of asking.
#[derive(Debug)]
pub(super) struct Job {
    pub kind: Kind,
    pub health: Arc<Health>,
    pub members: Box<[TargetId]>,
    /// When it is to start next, if it is not in flight.
    pub due: Duration,
    pub flight: Option<Flight>,
    /// Who alone is asked next, by unicast; empty: everybody.
    pub again: Vec<TargetId>,
    /// Someone waits for the next outcome: a pause of this host does not postpone it.
    pub urgent: bool,
    /// A point of its grid.
    phase: Duration,
    hash: u64,
    starts: u32,
}

impl Job {
    pub fn new(
        kind: Kind,
        health: &Arc<Health>,
        members: Vec<TargetId>,
        value: impl Hash,
        now: Duration,
    ) -> Self {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        let hash = mix(hasher.finish());
        Self {
            kind,
            health: Arc::clone(health),
            members: members.into(),
            due: now + part(mix(hash), FIRST_CHECKS.min(health.interval)),
            flight: None,
            again: Vec::new(),
            urgent: true,
            phase: now + part(hash, health.interval),
            hash,
            starts: 0,
        }
    }

    /// Takes off; returns whom to ask.
    pub fn start(&mut self, now: Duration) -> Vec<TargetId> {
        let whole = self.again.is_empty();
        self.flight = Some(Flight { start: now, whole });
        self.urgent = false;
        self.starts = self.starts.wrapping_add(1);
        if whole { self.members.to_vec() } else { std::mem::take(&mut self.again) }
    }

    /// When the regular check after one that began at `start` is due. It keeps its distance from
    /// that one; and what a pause made later than that by half an interval and more is left out.
    pub fn regular(&self, start: Duration, now: Duration) -> Duration {
        let interval = self.health.interval;
        if now.saturating_sub(start) > interval + interval / 2 {
            return self.on_grid(now);
        }
        self.on_grid(start).max(start + self.least_gap())
    }

    /// Checks are at least so far apart, but for confirmations.
    pub fn least_gap(&self) -> Duration {
        self.health.fast_interval.min(self.health.interval / 2)
    }

    /// A lag of more than this is enough to make a check a miss, or too large a part of it.
    pub fn lag_limit(&self) -> Duration {
        (self.health.interval / 2).min(self.health.timeout)
    }

    /// The first point of its grid after a time, with jitter.
    pub fn on_grid(&self, after: Duration) -> Duration {
        let interval = self.health.interval;
        let jitter = part(mix(self.hash ^ u64::from(self.starts)), interval / JITTER);
        let point = match after.checked_sub(self.phase) {
            None => self.phase,
            Some(past) => {
                let into = past.as_nanos() % interval.as_nanos().max(1);
                // Less than an interval, and intervals are far below 2^64 ns.
                after + interval - Duration::from_nanos(into as u64)
            }
        };
        point + jitter
    }
}

/// The units of asking of these targets.
pub(super) fn jobs(targets: &[Target], now: Duration) -> Vec<Job> {
    let mut jobs = Vec::with_capacity(targets.len());
    let mut agents: BTreeMap<_, Vec<TargetId>> = BTreeMap::new();
    let mut groups: BTreeMap<&Arc<Health>, Vec<TargetId>> = BTreeMap::new();
    for (id, target) in (0..).map(TargetId).zip(targets) {
        let health = &target.health;
        match &health.probe {
            Probe::Survey(survey) => match survey.send {
                SurveySend::Unicast => agents.entry((target.at, health)).or_default().push(id),
                SurveySend::Broadcast(_) => groups.entry(health).or_default().push(id),
            },
            _ => jobs.push(Job::new(Kind::Probe, health, vec![id], target, now)),
        }
    }
    let agents = agents.into_iter();
    jobs.extend(
        agents.map(|((at, health), members)| {
            Job::new(Kind::Agent, health, members, (at, health), now)
        }),
    );
    let groups = groups.into_iter();
    jobs.extend(groups.map(|(health, members)| {
        let first = members.first().map(|first| &targets[first.index()]);
        Job::new(Kind::Group, health, members, (health, first.map(|first| first.at)), now)
    }));
    jobs
}

/// A part of a time that follows from a hash.
fn part(hash: u64, whole: Duration) -> Duration {
    Duration::from_nanos(hash % (whole.as_nanos() as u64).max(1))
}
