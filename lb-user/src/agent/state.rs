//! What the agent says of its servers, and why. No clock.
//!
//! A server survives if its latest check succeeded, that is not too long ago, and nothing holds it:
//! no drain, no end of the agent. Until a check has succeeded it does not.

use std::{fmt, time::Duration};

use tokio::time::Instant;

use crate::{config::Server, survey::wire::Record};

/// What a check found: success, or why not.
pub(super) type Verdict = Result<(), String>;

/// What makes every server non-survival, whatever its checks say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// The agent ends.
    Ending,
    /// It was told to drain.
    Order,
    /// The drain file is there.
    File,
}

/// Why a server does not survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Obstacle<'a> {
    Held(Hold),
    Unchecked,
    /// The latest check failed, and why.
    Failed(&'a str),
    /// The latest check succeeded, but began so long ago.
    Old(Duration),
}

impl fmt::Display for Obstacle<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held(Hold::Ending) => f.write_str("the agent ends"),
            Self::Held(Hold::Order) => f.write_str("drained by a signal"),
            Self::Held(Hold::File) => f.write_str("the drain file is there"),
            Self::Unchecked => f.write_str("not checked yet"),
            Self::Failed(reason) => f.write_str(reason),
            Self::Old(age) => write!(f, "its latest check began {} ms ago", age.as_millis()),
        }
    }
}

/// All servers of this host.
pub(super) struct State {
    servers: Vec<Entry>,
    holds: Vec<Hold>,
}

struct Entry {
    server: Server,
    /// How long a check's success counts, from the check's beginning.
    fresh: Duration,
    latest: Option<(Instant, Verdict)>,
    /// What was told last.
    told: bool,
}

impl State {
    /// Servers, and how long a success of their checks counts from its beginning.
    pub(super) fn new(servers: impl IntoIterator<Item = (Server, Duration)>) -> Self {
        let entry = |(server, fresh)| Entry { server, fresh, latest: None, told: false };
        Self { servers: servers.into_iter().map(entry).collect(), holds: Vec::new() }
    }

    /// Takes in what a check of a server found that began at a time.
    pub(super) fn checked(&mut self, server: usize, at: Instant, verdict: Verdict) {
        self.servers[server].latest = Some((at, verdict));
    }

    /// Sets or ends a hold.
    pub(super) fn hold(&mut self, hold: Hold, is_on: bool) {
        self.holds.retain(|other| *other != hold);
        if is_on {
            self.holds.push(hold);
        }
    }

    /// What there is to say of all servers.
    pub(super) fn records(&self, now: Instant) -> Vec<Record> {
        (0..self.servers.len()).map(|server| self.record(server, now)).collect()
    }

    /// What there is to say of one.
    pub(super) fn record(&self, server: usize, now: Instant) -> Record {
        let survival = self.obstacle(server, now).is_none();
        Record { server: self.servers[server].server, survival }
    }

    /// Why a server does not survive; `None`: it does.
    pub(super) fn obstacle(&self, server: usize, now: Instant) -> Option<Obstacle<'_>> {
        let Entry { fresh, latest, .. } = &self.servers[server];
        if let Some(&hold) = self.holds.first() {
            return Some(Obstacle::Held(hold));
        }
        match latest {
            None => Some(Obstacle::Unchecked),
            Some((_, Err(reason))) => Some(Obstacle::Failed(reason)),
            Some((at, Ok(()))) if *at + *fresh < now => Some(Obstacle::Old(now - *at)),
            Some((_, Ok(()))) => None,
        }
    }

    /// The servers of which there is something else to say than the last time.
    pub(super) fn changes(&mut self, now: Instant) -> Vec<usize> {
        let survival: Vec<_> = self.records(now).iter().map(|record| record.survival).collect();
        let mut changed = Vec::new();
        for (server, (entry, survival)) in self.servers.iter_mut().zip(survival).enumerate() {
            if std::mem::replace(&mut entry.told, survival) != survival {
                changed.push(server);
            }
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH: Duration = Duration::from_millis(700);

    fn state() -> (State, Instant) {
        let server = |port| (Server { number: 7, port }, FRESH);
        (State::new([server(443), server(80)]), Instant::now())
    }

    fn survival(state: &State, now: Instant) -> Vec<bool> {
        state.records(now).iter().map(|record| record.survival).collect()
    }

    #[test]
    fn survival_is_the_latest_check() {
        let (mut state, now) = state();
        assert_eq!(survival(&state, now), [false, false], "nothing was checked yet");
        assert_eq!(state.changes(now), [] as [usize; 0]);
        state.checked(1, now, Ok(()));
        assert_eq!(survival(&state, now), [false, true]);
        assert_eq!(state.changes(now), [1]);
        assert_eq!(state.changes(now), [] as [usize; 0]);
        state.checked(1, now, Err("no".to_owned()));
        assert_eq!(state.changes(now), [1]);
        assert_eq!(survival(&state, now), [false, false]);
    }

    #[test]
    fn a_success_counts_only_so_long() {
        let (mut state, now) = state();
        state.checked(0, now, Ok(()));
        assert_eq!(state.changes(now), [0]);
        assert_eq!(state.changes(now + FRESH), [] as [usize; 0]);
        assert_eq!(state.changes(now + FRESH + Duration::from_millis(1)), [0]);
    }

    #[test]
    fn every_hold_holds_by_itself() {
        let (mut state, now) = state();
        state.checked(0, now, Ok(()));
        for hold in [Hold::Order, Hold::File, Hold::Ending] {
            state.hold(hold, true);
            state.hold(hold, true);
        }
        for hold in [Hold::Ending, Hold::Order, Hold::File] {
            assert_eq!(survival(&state, now), [false, false]);
            state.hold(hold, false);
        }
        assert_eq!(survival(&state, now), [true, false]);
    }
}
