//! When it is worth a word that this process was starved: once when it begins, once when it is
//! over.

use std::time::Duration;

/// Over after so long without.
const CALM: Duration = Duration::from_secs(10);

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
}

impl Alarm {
    /// Its kind, for machines.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Starved { .. } => "starved",
            Self::StarvedOver { .. } => "starved_over",
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
        }
    }
}

/// Watches the count of misses that did not count.
#[derive(Debug, Default)]
pub struct Watch {
    /// The last count.
    seen: u64,
    /// The count before this spell, and when it was seen to grow last.
    spell: Option<(u64, Duration)>,
}

impl Watch {
    /// Takes the count of now; returns what is worth a word.
    pub fn look(&mut self, starved: u64, lag: Duration, now: Duration) -> Option<Alarm> {
        let before = std::mem::replace(&mut self.seen, starved);
        match (starved > before, &mut self.spell) {
            (true, Some((_, last))) => {
                *last = now;
                None
            }
            (true, None) => {
                self.spell = Some((before, now));
                Some(Alarm::Starved { lag })
            }
            (false, Some((first, last))) if now.saturating_sub(*last) >= CALM => {
                let misses = starved - *first;
                self.spell = None;
                Some(Alarm::StarvedOver { misses })
            }
            (false, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_word_when_it_begins_and_one_when_it_is_over() {
        let (mut watch, s, lag) = (Watch::default(), Duration::from_secs, Duration::from_secs(3));
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
            assert_eq!(watch.look(starved, lag, s(at)), said, "at {at} s");
        }
    }
}
