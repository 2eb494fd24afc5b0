//! The longest of many times lately, without keeping them.

use std::time::Duration;

/// The longest is told of the last one or two of these.
const LATELY: Duration = Duration::from_secs(10);

/// The longest time lately.
#[derive(Clone, Copy, Debug)]
pub struct Worst {
    /// Of this while, and of the one before.
    longest: [Duration; 2],
    ends: Duration,
}

impl Worst {
    /// Nothing yet.
    pub fn new(now: Duration) -> Self {
        Self { longest: [Duration::ZERO; 2], ends: now + LATELY }
    }

    /// Takes in another one.
    pub fn record(&mut self, now: Duration, time: Duration) {
        if now >= self.ends {
            let before = if now >= self.ends + LATELY { Duration::ZERO } else { self.longest[0] };
            *self = Self { longest: [Duration::ZERO, before], ends: now + LATELY };
        }
        self.longest[0] = self.longest[0].max(time);
    }

    /// The longest of the last 10 to 20 seconds.
    pub fn longest(&self) -> Duration {
        self.longest[0].max(self.longest[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_ago_is_forgotten() {
        let ms = Duration::from_millis;
        let mut worst = Worst::new(ms(0));
        let table = [
            (100, 60, 60),
            (9_000, 200, 200),
            (9_999, 10, 200),
            (10_100, 3, 200),
            (20_050, 4, 200),
            (20_200, 2, 4),
            (60_000, 1, 1),
        ];
        for (at, time, longest) in table {
            worst.record(ms(at), ms(time));
            assert_eq!(worst.longest(), ms(longest), "at {at} ms");
        }
    }
}
