//! Times of one thing done again and again.

use std::time::Duration;

use serde::Serialize;

use crate::bench::figures::Figures;

/// What is told of them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Times {
    /// How often it was done.
    pub runs: usize,
    /// The middle one, in microseconds.
    pub median_us: f64,
    /// Which 99 of 100 do not exceed; of fewer than 100 runs nearly the longest.
    pub p99_us: f64,
    /// The longest.
    pub max_us: f64,
}

impl Times {
    /// Those of some runs; no numbers if there are none.
    #[must_use]
    pub fn of(times: &[Duration]) -> Self {
        let figures: Figures = times.iter().map(|time| time.as_nanos() as f64 / 1e3).collect();
        let [median_us, p99_us, max_us] = [0.5, 0.99, 1.0].map(|part| figures.quantile(part));
        Self { runs: times.len(), median_us, p99_us, max_us }
    }

    /// `MEDIAN / P99`, in microseconds.
    #[must_use]
    pub fn cell(&self) -> String {
        [self.median_us, self.p99_us].map(digits).join(" / ")
    }
}

/// Three digits or more.
fn digits(us: f64) -> String {
    match us {
        ..9.995 => format!("{us:.2}"),
        ..99.95 => format!("{us:.1}"),
        _ => format!("{us:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_microseconds() {
        let times: Vec<Duration> = (0..=100).rev().map(Duration::from_micros).collect();
        let told = Times::of(&times);
        assert_eq!(told, Times { runs: 101, median_us: 50.0, p99_us: 99.0, max_us: 100.0 });
        assert_eq!(Times::of(&[Duration::from_nanos(1500)]).median_us, 1.5);
        assert!(Times::of(&[]).median_us.is_nan());
    }

    #[test]
    fn cells_have_three_digits() {
        let told = Times { runs: 1, median_us: 1.234, p99_us: 45.67, max_us: 50.0 };
        assert_eq!(told.cell(), "1.23 / 45.7");
        assert_eq!([9.999, 99.99, 8910.4].map(digits), ["10.0", "100", "8910"]);
    }
}
