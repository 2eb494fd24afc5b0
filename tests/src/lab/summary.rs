//! The summary of a run: as JSON for machines, as text for people.

use std::{
    fmt::{self, Write as _},
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// What a run of the lab found.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Summary {
    /// Whether everything that must hold held.
    pub held: bool,
    /// Planned and seen shares of each cluster in each phase.
    pub shares: Vec<SharePair>,
    /// From the fault that fails a cluster to the daemon's verdict.
    pub detect_ms: f64,
    /// From the verdict to the commit.
    pub commit_ms: f64,
    /// From the fault to the start of the last request that failed or was answered by a node
    /// that the new plan gives nothing.
    pub last_misdirected_ms: f64,
    /// Failed requests that no dead node excuses.
    pub failed_outside_windows: usize,
    /// Long-lived connections that broke although their node lived.
    pub long_lived_broken: usize,
    /// Long-lived connections that ended with their node.
    pub long_lived_ended_with_node: usize,
    /// Audited flows that changed their node although nothing done explains it.
    pub flows_moved_unasked: usize,
    /// Flows that were audited.
    pub flows_audited: usize,
    /// New requests in all.
    pub requests: usize,
    /// New requests a second.
    pub requests_per_second: f64,
    /// Long-lived connections that were open at the end.
    pub long_lived_open: usize,
    /// What was done, and what it cost.
    pub changes: Vec<ChangeSeen>,
    /// What did not hold, each a sentence.
    pub problems: Vec<String>,
}

/// A cluster's part in a phase.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SharePair {
    /// The phase.
    pub phase: String,
    /// The cluster.
    pub cluster: String,
    /// By the daemon's tables.
    pub planned: f64,
    /// By the answers that the client got.
    pub seen: f64,
    /// How many those were.
    pub requests: usize,
}

/// What a change cost.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ChangeSeen {
    /// What was done.
    pub change: String,
    /// From there to the daemon's last verdict about it.
    pub detect_ms: f64,
    /// From the verdict to the commit.
    pub commit_ms: f64,
    /// From the change to the start of the last request that went wrong.
    pub last_misdirected_ms: f64,
    /// Requests that failed because of it.
    pub failed: usize,
}

/// A time in milliseconds.
#[must_use]
pub fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<20} {:>8} {:>9} {:>9} {:>9}",
            "phase", "cluster", "planned", "seen", "answers"
        )?;
        let mut phase = "";
        for share in &self.shares {
            let name = if share.phase == phase { "" } else { &share.phase };
            phase = &share.phase;
            let (planned, seen) = (share.planned * 100.0, share.seen * 100.0);
            let (cluster, count) = (&share.cluster, share.requests);
            writeln!(f, "{name:<20} {cluster:>8} {planned:>7.1} % {seen:>7.1} % {count:>9}")?;
        }
        let mut table = String::new();
        for change in &self.changes {
            writeln!(
                table,
                "{:<32} {:>8.0} ms {:>9.1} ms {:>12.0} ms {:>8}",
                change.change,
                change.detect_ms,
                change.commit_ms,
                change.last_misdirected_ms,
                change.failed
            )?;
        }
        writeln!(
            f,
            "\n{:<32} {:>11} {:>12} {:>15} {:>8}\n{table}",
            "change", "detected", "committed", "last misled", "failed"
        )?;
        writeln!(
            f,
            "{} new requests, {:.0} a second; {} failed outside the time from a death to its commit",
            self.requests, self.requests_per_second, self.failed_outside_windows
        )?;
        writeln!(
            f,
            "{} flows audited, {} changed their node unasked",
            self.flows_audited, self.flows_moved_unasked
        )?;
        writeln!(
            f,
            "{} long-lived connections open, {} broken (not on a dead node), {} ended with their node\n",
            self.long_lived_open, self.long_lived_broken, self.long_lived_ended_with_node
        )?;
        if self.held {
            return writeln!(f, "Everything held.");
        }
        writeln!(f, "It did not hold:")?;
        self.problems.iter().try_for_each(|problem| writeln!(f, "  {problem}"))
    }
}
