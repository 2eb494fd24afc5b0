//! Detection in time, a few trials of each way. The bounds are for a machine that is busy with
//! other things; the distributions are in `docs/health.md`.

use anyhow::{Result, ensure};

use crate::{
    detection::{Way, measure},
    runner::{self, Case},
};

/// The cases.
pub(super) const CASES: &[Case] = &[
    Case::network("detection/announced", || bounded(Way::Announced, 500.0)),
    Case::network("detection/survey", || bounded(Way::Survey, 2500.0)),
    Case::network("detection/tcp", || bounded(Way::Tcp, 2000.0)),
];

/// The median of three; one trial may meet a moment in which nothing on the machine runs.
fn bounded(way: Way, limit_ms: f64) -> Result<()> {
    let times = measure(runner::stop()?, way, 3, 500)?;
    ensure!(times.quantile(0.5) < limit_ms, "{:?} ms, more than {limit_ms}", times.ms);
    Ok(())
}
