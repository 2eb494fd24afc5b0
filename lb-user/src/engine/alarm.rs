//! When it is worth a word that this process was starved, or cannot make its checks: once when it
//! begins, once when it is over.

use std::time::Duration;

use super::schedule::Figures;

/// Over after so long without, at least.
const CALM: Duration = Duration::from_secs(10);
/// Checks that cannot be made are worth a word when that goes on for so long.
const GOES_ON: Duration = Duration::from_secs(3);

/// What the engine wants people to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// Misses do not count because this process did not run when it should have, for so long.
    Starved {
        /// The longest lag lately.
        lag: Duration,
    },
    /// It has run in time again for a while.
    StarvedOver {
        /// How many misses did not count.
        misses: u64,
    },
    /// This host cannot make checks: nothing is known of their targets.
    CannotCheck {
        /// How many so far.
        checks: u64,
    },
    /// It can again for a while.
    CannotCheckOver {
        /// How many it could not make.
        checks: u64,
    },
}

impl Alarm {
    /// Its kind, for machines.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Starved { .. } => "starved",
            Self::StarvedOver { .. } => "starved_over",
            Self::CannotCheck { .. } => "cannot_check",
            Self::CannotCheckOver { .. } => "cannot_check_over",
        }
    }
}

impl std::fmt::Display for Alarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Starved { lag } => write!(
                f,
                "this host gave the daemon no time for {lag:.0?}: misses of that time do not count"
            ),
            Self::StarvedOver { misses } => write!(
                f,
                "the daemon runs in time again; {misses} misses did not count, and were repeated"
            ),
            Self::CannotCheck { checks } => write!(
                f,
                "this host cannot make checks ({checks} so far): what they check keeps its state"
            ),
            Self::CannotCheckOver { checks } => {
                write!(f, "this host makes all checks again; it could not make {checks}")
            }
        }
    }
}

/// Watches the counts of outcomes that did not count.
#[derive(Debug)]
pub struct Watch {
    starved: Spells,
    local: Spells,
}

impl Watch {
    /// Of checks of which the rarest are so far apart.
    pub fn new(interval: Duration) -> Self {
        // Checks at that interval are of one spell.
        let calm = CALM.max(interval * 2);
        Self { starved: Spells::new(CALM, Duration::ZERO), local: Spells::new(calm, GOES_ON) }
    }

    /// Takes the counts of now; returns what is worth a word.
    pub fn look(
        &mut self,
        figures: &Figures,
        now: Duration,
    ) -> impl Iterator<Item = Alarm> + use<> {
        let lag = figures.worst_lag;
        let starved = self.starved.look(figures.starved, now).map(|edge| match edge {
            Edge::Begin(_) => Alarm::Starved { lag },
            Edge::End(misses) => Alarm::StarvedOver { misses },
        });
        let local = self.local.look(figures.local, now).map(|edge| match edge {
            Edge::Begin(checks) => Alarm::CannotCheck { checks },
            Edge::End(checks) => Alarm::CannotCheckOver { checks },
        });
        starved.into_iter().chain(local)
    }
}

/// A time in which a count grows again and again.
#[derive(Clone, Copy, Debug)]
struct Spell {
    /// The count before it.
    first: u64,
    begin: Duration,
    /// When the count was seen to grow last.
    last: Duration,
    told: bool,
}

/// Begin or end of a spell, and by how much the count grew in it.
enum Edge {
    Begin(u64),
    End(u64),
}

/// Finds spells of a count.
#[derive(Debug)]
struct Spells {
    /// A spell is over after so long without.
    calm: Duration,
    /// It is worth a word when it has gone on for so long.
    after: Duration,
    /// The last count.
    seen: u64,
    spell: Option<Spell>,
}

impl Spells {
    fn new(calm: Duration, after: Duration) -> Self {
        Self { calm, after, seen: 0, spell: None }
    }

    fn look(&mut self, count: u64, now: Duration) -> Option<Edge> {
        let before = std::mem::replace(&mut self.seen, count);
        if count > before {
            let fresh = Spell { first: before, begin: now, last: now, told: false };
            let spell = self.spell.get_or_insert(fresh);
            spell.last = now;
            let begins = !spell.told && now.saturating_sub(spell.begin) >= self.after;
            spell.told |= begins;
            return begins.then_some(Edge::Begin(count - spell.first));
        }
        let over = self.spell.take_if(|spell| now.saturating_sub(spell.last) >= self.calm)?;
        over.told.then_some(Edge::End(count - over.first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_word_when_it_begins_and_one_when_it_is_over() {
        let (s, lag) = (Duration::from_secs, Duration::from_secs(3));
        let mut watch = Watch::new(s(1));
        let table = [
            (0, 0, None),
            (1, 5, Some(Alarm::Starved { lag })),
            (2, 9, None),
            (11, 9, None),
            (12, 9, Some(Alarm::StarvedOver { misses: 9 })),
            (13, 9, None),
            (14, 10, Some(Alarm::Starved { lag })),
            (24, 10, Some(Alarm::StarvedOver { misses: 1 })),
        ];
        for (at, starved, said) in table {
            let figures = Figures { starved, worst_lag: lag, ..Figures::default() };
            assert_eq!(watch.look(&figures, s(at)).next(), said, "at {at} s");
        }
    }

    #[test]
    fn checks_that_cannot_be_made_are_told_of_when_that_goes_on() {
        let s = Duration::from_secs;
        let mut watch = Watch::new(s(8));
        let table = [
            (0, 0, None),
            // Some at a start are nothing.
            (1, 5, None),
            (2, 6, None),
            (18, 6, None),
            (20, 7, None),
            (28, 9, Some(Alarm::CannotCheck { checks: 3 })),
            (36, 10, None),
            (51, 10, None),
            (52, 10, Some(Alarm::CannotCheckOver { checks: 4 })),
            (99, 10, None),
        ];
        for (at, local, said) in table {
            let figures = Figures { local, ..Figures::default() };
            assert_eq!(watch.look(&figures, s(at)).next(), said, "at {at} s");
        }
    }
}
