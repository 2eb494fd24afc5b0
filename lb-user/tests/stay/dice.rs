//! Numbers by chance, the same in every run.

use std::time::Duration;

/// A sequence (SplitMix64).
#[derive(Clone)]
pub struct Dice(pub u64);

impl Dice {
    /// A number below `end`.
    pub fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        ((lb_common::hash::mix(self.0) >> 32) % u64::from(end)) as u32
    }

    /// True in one of so many cases.
    pub fn one_in(&mut self, n: u32) -> bool {
        self.below(n) == 0
    }

    /// A time from `least` to just below `end`.
    pub fn milliseconds(&mut self, least: u32, end: u32) -> Duration {
        Duration::from_millis(u64::from(least + self.below(end - least)))
    }
}
