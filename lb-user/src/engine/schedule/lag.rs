//! When this process did not run although it should have.

use std::{collections::VecDeque, time::Duration};

use crate::engine::worst::Worst;

/// Lengths are told apart up to 2^(this - 1) µs.
const LENGTHS: usize = 32;

/// Lags of the last while.
#[derive(Debug)]
pub struct Lags {
    /// Shorter ones are of no consequence.
    floor: Duration,
    /// How long one is remembered.
    memory: Duration,
    /// When each ended, and how long it was: earlier ones that were shorter than a later one are
    /// left out, so lengths fall and ends rise.
    known: VecDeque<(Duration, Duration)>,
    worst: Worst,
    /// How many there were, by their length in microseconds: at the position of its bit length.
    lengths: [u64; LENGTHS],
}

impl Lags {
    /// None yet. Those up to `floor` are not remembered, others for `memory`.
    pub fn new(floor: Duration, memory: Duration, now: Duration) -> Self {
        Self {
            floor,
            memory,
            known: VecDeque::new(),
            worst: Worst::new(now),
            lengths: [0; LENGTHS],
        }
    }

    /// Counts the lag of a call whose time had come, for [`Self::quantile`].
    pub fn count(&mut self, lag: Duration) {
        let bits = u128::BITS - lag.as_micros().leading_zeros();
        self.lengths[(bits as usize).min(LENGTHS - 1)] += 1;
    }

    /// A lag that ends now.
    pub fn record(&mut self, now: Duration, lag: Duration) {
        self.worst.record(now, lag);
        while self.known.front().is_some_and(|&(end, _)| end + self.memory < now) {
            self.known.pop_front();
        }
        if lag > self.floor {
            while self.known.back().is_some_and(|&(_, shorter)| shorter <= lag) {
                self.known.pop_back();
            }
            self.known.push_back((now, lag));
        }
    }

    /// The longest lag that ended after a time.
    pub fn since(&self, start: Duration) -> Duration {
        let first = self.known.partition_point(|&(end, _)| end <= start);
        self.known.get(first).map_or(Duration::ZERO, |&(_, lag)| lag)
    }

    /// The longest of the last 10 to 20 seconds.
    pub fn worst(&self) -> Duration {
        self.worst.longest()
    }

    /// Of a thousand lags so many were shorter than this; a power of two of microseconds.
    pub fn quantile(&self, of_thousand: u64) -> Duration {
        let wanted = self.lengths.iter().sum::<u64>() * of_thousand / 1000;
        let mut seen = 0;
        let mut shorter = |count: &u64| {
            seen += count;
            seen < wanted
        };
        Duration::from_micros(
            1 << self.lengths.iter().take_while(|&n| shorter(n)).count().min(LENGTHS - 1),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_lag_since_a_time() {
        let ms = Duration::from_millis;
        let mut lags = Lags::new(ms(50), ms(5000), ms(0));
        for (end, lag) in [(100, 60), (300, 200), (400, 20), (500, 90), (900, 90), (1000, 70)] {
            lags.record(ms(end), ms(lag));
        }
        let table = [(0, 200), (299, 200), (300, 90), (899, 90), (900, 70), (999, 70), (1000, 0)];
        for (start, longest) in table {
            assert_eq!(lags.since(ms(start)), ms(longest), "since {start} ms");
        }
        lags.record(ms(6200), ms(0));
        assert_eq!(lags.since(ms(0)), ms(0), "forgotten");
    }

    #[test]
    fn quantiles_are_powers_of_two() {
        let us = Duration::from_micros;
        let mut lags = Lags::new(us(50), us(5000), us(0));
        for lag in (0..900).map(|_| 3).chain((0..90).map(|_| 100)).chain((0..10).map(|_| 5000)) {
            lags.count(us(lag));
        }
        let found = [500, 990, 999].map(|of_thousand| lags.quantile(of_thousand));
        assert_eq!(found, [us(4), us(128), us(8192)]);
    }
}
