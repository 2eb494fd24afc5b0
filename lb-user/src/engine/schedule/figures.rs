//! What a schedule counts.

use std::time::Duration;

/// What became of the checks so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    pub worst_lag: Duration,
    /// A thousandth of all lags was as long as this or longer, to a factor of two.
    pub lag_999: Duration,
    /// Half of all lags were shorter than this, to a factor of two.
    pub lag_median: Duration,
}
