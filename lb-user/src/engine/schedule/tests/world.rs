//! Virtual time around a schedule: checks take as long as the test says.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use crate::{
    config::{Exchange, Health, Probe, Server, Survey, SurveySend, Target, Via},
    decide::{MissReason, Outcome, TargetId},
    engine::schedule::{Ask, JobId, Schedule},
};

pub const MISS: Outcome = Outcome::Miss(MissReason::Timeout);
pub const STARVED: Outcome = Outcome::Miss(MissReason::Starved);
pub const PATIENCE: Duration = Duration::from_secs(10);

pub const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Interval, fast interval and timeout in milliseconds; fall 3, rise 2.
pub fn health(probe: Probe, [interval, fast, timeout]: [u64; 3]) -> Arc<Health> {
    Arc::new(Health {
        probe,
        port: None,
        interval: ms(interval),
        fast_interval: ms(fast),
        timeout: ms(timeout),
        fall: 3,
        rise: 2,
        source: None,
        via: Via::Direct,
    })
}

pub fn address(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number))
}

/// As many TCP targets, each at an address of its own.
pub fn tcp(count: u32, times: [u64; 3]) -> Vec<Target> {
    let health = health(Probe::Tcp(Exchange::default()), times);
    let target = |number| Target {
        health: Arc::clone(&health),
        at: SocketAddr::new(address(number), 80),
        server: None,
        vip: None,
    };
    (0..count).map(target).collect()
}

/// As many nodes with two servers each, surveyed.
pub fn surveyed(nodes: u32, send: SurveySend, times: [u64; 3]) -> Vec<Target> {
    let health = health(Probe::Survey(Survey { send }), times);
    let servers = (0..nodes).flat_map(|number| [80, 443].map(|port| Server { number, port }));
    let target = |server: Server| Target {
        health: Arc::clone(&health),
        at: SocketAddr::new(address(server.number), 7411),
        server: Some(server),
        vip: None,
    };
    servers.map(target).collect()
}

/// What happened, with its time.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    Started(Ask),
    Counted(TargetId, Outcome),
}

/// A check from start to end.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    pub start: Duration,
    /// `None`: under way still.
    pub end: Option<Duration>,
    /// How many of its misses counted.
    pub misses: usize,
}

/// How a check goes: how long it takes, and what each target that it asks says.
pub type Fate = dyn FnMut(Duration, &Ask) -> (Duration, Vec<(TargetId, Outcome)>);

type Ends = BTreeMap<(Duration, u64), (JobId, Vec<(TargetId, Outcome)>)>;

pub struct World {
    pub schedule: Schedule,
    pub now: Duration,
    pub seen: Vec<(Duration, Seen)>,
    pub lives: BTreeMap<JobId, Vec<Life>>,
    fate: Box<Fate>,
    ends: Ends,
    started: u64,
}

impl World {
    pub fn new(
        targets: &[Target],
        fate: impl FnMut(Duration, &Ask) -> (Duration, Vec<(TargetId, Outcome)>) + 'static,
    ) -> Self {
        // A clock that began somewhere.
        let now = ms(77_777);
        let schedule = Schedule::new(targets, &[], PATIENCE, now);
        let fate = Box::new(fate);
        let (ends, lives) = (BTreeMap::new(), BTreeMap::new());
        Self { schedule, now, seen: Vec::new(), lives, fate, ends, started: 0 }
    }

    /// Every check ends after as long, and every target says the same.
    pub fn steady(targets: &[Target], takes: Duration, says: Outcome) -> Self {
        Self::new(targets, move |_, ask| {
            (takes, asked(ask).iter().map(|&target| (target, says)).collect())
        })
    }

    /// Goes on for so long, and does everything at its time.
    pub fn run(&mut self, span: Duration) {
        let until = self.now + span;
        loop {
            let end = self.ends.first_key_value().map(|(&(at, _), _)| at);
            let wake = self.schedule.wake_at();
            let next = end.map_or(wake, |end| end.min(wake)).max(self.now);
            if next > until {
                break;
            }
            self.now = next;
            self.io();
            self.timers();
        }
        self.now = until;
    }

    /// Stands still for so long and does nothing. Every check under way is a miss after that.
    pub fn stop(&mut self, span: Duration) {
        self.now += span;
        for (_, outcomes) in self.ends.values_mut() {
            outcomes.iter_mut().for_each(|(_, outcome)| *outcome = MISS);
        }
    }

    /// Takes the ends of checks whose time has come.
    pub fn io(&mut self) {
        while let Some(entry) = self.ends.first_entry()
            && entry.key().0 <= self.now
        {
            let (job, outcomes) = entry.remove();
            let counted = self.schedule.ended(job, self.now, &outcomes);
            if let Some(life) = self.lives.get_mut(&job).and_then(|lives| lives.last_mut()) {
                life.end = Some(self.now);
                life.misses = counted.iter().filter(|(_, outcome)| *outcome == MISS).count();
            }
            let counted = counted.into_iter().map(|(t, o)| (self.now, Seen::Counted(t, o)));
            self.seen.extend(counted);
        }
    }

    /// Starts the checks whose time has come.
    pub fn timers(&mut self) {
        for start in self.schedule.poll(self.now) {
            let (takes, outcomes) = (self.fate)(self.now, &start.ask);
            self.ends.insert((self.now + takes, self.started), (start.job, outcomes));
            self.started += 1;
            let life = Life { start: self.now, end: None, misses: 0 };
            self.lives.entry(start.job).or_default().push(life);
            self.seen.push((self.now, Seen::Started(start.ask)));
        }
        let released = self.schedule.released().into_iter();
        self.seen.extend(released.map(|(t, o)| (self.now, Seen::Counted(t, o))));
    }

    /// Times of the starts, by job.
    pub fn starts(&self) -> BTreeMap<JobId, Vec<Duration>> {
        let starts = |lives: &Vec<Life>| lives.iter().map(|life| life.start).collect();
        self.lives.iter().map(|(&job, lives)| (job, starts(lives))).collect()
    }

    /// The one job that has a check under way.
    pub fn only_flight(&self) -> JobId {
        assert_eq!(self.ends.len(), 1);
        self.ends.values().map(|(job, _)| *job).next().expect("one")
    }

    /// Outcomes as they counted.
    pub fn counted(&self, target: TargetId) -> Vec<Outcome> {
        let of = |(_, seen): &(Duration, Seen)| match seen {
            Seen::Counted(of, outcome) if *of == target => Some(*outcome),
            _ => None,
        };
        self.seen.iter().filter_map(of).collect()
    }

    /// What was asked, in order.
    pub fn asks(&self) -> Vec<(Duration, Ask)> {
        let of = |(at, seen): &(Duration, Seen)| match seen {
            Seen::Started(ask) => Some((*at, ask.clone())),
            Seen::Counted(..) => None,
        };
        self.seen.iter().filter_map(of).collect()
    }
}

pub fn asked(ask: &Ask) -> Vec<TargetId> {
    match ask {
        Ask::Probe(target) => vec![*target],
        Ask::Agents(targets) | Ask::Group(targets) => targets.clone(),
    }
}

/// Times from one start to the next.
pub fn gaps(starts: &[Duration]) -> Vec<Duration> {
    starts.windows(2).map(|pair| pair[1] - pair[0]).collect()
}
