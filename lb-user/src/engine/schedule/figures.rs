//! What a schedule counts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What became of the checks so far. Written down, times are in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// What is checked.
    pub targets: usize,
    /// Checks under way.
    pub in_flight: usize,
    /// Checks that were started.
    pub checks: u64,
    /// Of these, surveys of servers that a round got no answer of.
    pub confirmations: u64,
    /// Outcomes by what they said; announcements are among them.
    pub hits: u64,
    /// See `hits`.
    pub not_working: u64,
    /// Misses that count.
    pub misses: u64,
    /// Misses that did not count because this process did not run when it should have.
    pub starved: u64,
    /// Misses that did not count because the way to the node was down on this side.
    pub path_down: u64,
    /// Checks that this host could not make.
    pub local: u64,
    /// Nodes whose way is down on this side.
    pub ways_down: usize,
    /// The longest lag of this process in the last 10 to 20 s.
    #[serde(rename = "worst_lag_ms", with = "milliseconds")]
    pub worst_lag: Duration,
    /// A thousandth of all lags was as long as this or longer, to a factor of two.
    #[serde(rename = "lag_999_ms", with = "milliseconds")]
    pub lag_999: Duration,
    /// Half of all lags were shorter than this, to a factor of two.
    #[serde(rename = "lag_median_ms", with = "milliseconds")]
    pub lag_median: Duration,
}

mod milliseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(time.as_secs_f64() * 1000.0)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(from)? / 1000.0).map_err(D::Error::custom)
    }
}
