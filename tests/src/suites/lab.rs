//! The lab from end to end: it holds, says so under the agreed names, and notices what is
//! broken.

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use super::program::Program;
use crate::{lab::summary::Summary, runner::Case, variant::Forward};

/// The cases.
pub(super) const CASES: &[Case] = &[
    Case::network("lab/holds", holds),
    Case::network("lab/notices-a-broken-node", notices),
    Case::network("lab/every-forward-4", || every_forward("4")),
    Case::network("lab/every-forward-6", || every_forward("6")),
];

/// Short and slow enough for four of them at once.
const ONE_OF_FOUR: [&str; 6] = ["--for", "12s", "--rate", "400", "--tolerance", "8"];

/// What other programs read; see the contract of the lab's summary.
const NAMES: [&str; 9] = [
    "held",
    "shares",
    "detect_ms",
    "commit_ms",
    "last_misdirected_ms",
    "failed_outside_windows",
    "long_lived_broken",
    "long_lived_ended_with_node",
    "flows_moved_unasked",
];

fn holds() -> Result<()> {
    let mut lab = Program::lab(&["--for", "20s"])?;
    let summary = lab.held()?;
    let (_, text) = lab.summary()?;
    let json: serde_json::Value = serde_json::from_str(&text)?;
    for name in NAMES {
        ensure!(json.get(name).is_some(), "the summary has no {name}");
    }
    for name in ["phase", "cluster", "planned", "seen"] {
        ensure!(json["shares"][0].get(name).is_some(), "a share has no {name}");
    }
    ensure!(summary.shares.len() == 12, "not every cluster in every phase: {text}");
    ensure!(summary.failed_outside_windows == 0 && summary.flows_moved_unasked == 0, "{text}");
    let (broken, ended) = (summary.long_lived_broken, summary.long_lived_ended_with_node);
    // A sixth of 150 on each of the two that died.
    ensure!(broken == 0 && ended > 20 && summary.long_lived_open > 100, "{text}");
    ensure!(summary.flows_audited > 100, "hardly a flow was audited: {text}");
    let moved = summary.shares.iter().find(|s| s.phase == "A is down" && s.cluster == "S");
    let moved = moved.context("no share of S while A is down")?;
    ensure!(moved.seen > 0.4, "S did not take over: {text}");
    // Two checks of 150 ms, 200 ms apart, miss; everything else is fast.
    ensure!((100.0..2000.0).contains(&summary.detect_ms), "detected in {} ms", summary.detect_ms);
    ensure!((0.0..500.0).contains(&summary.commit_ms), "committed in {} ms", summary.commit_ms);
    Ok(())
}

/// All ways to forward at once, each in a lab of its own.
fn every_forward(family: &str) -> Result<()> {
    let mut labs = Vec::new();
    for forward in Forward::value_variants() {
        let variant = ["--forward", forward.name(), "--family", family];
        labs.push((forward.name(), Program::lab(&[&variant[..], &ONE_OF_FOUR].concat())?));
    }
    let mut problems = Vec::new();
    for (forward, lab) in &mut labs {
        problems.extend(lab.held().err().map(|error| format!("{forward}: {error:#}")));
    }
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}

fn notices() -> Result<()> {
    let arguments = ["--for", "8s", "--rate", "800", "--tolerance", "5", "--sabotage", "node"];
    let mut lab = Program::lab(&arguments)?;
    let (status, text) = lab.summary()?;
    let summary: Summary = serde_json::from_str(&text).context("the summary")?;
    ensure!(status.code() == Some(1), "{status} although a node of B broke: {text}");
    ensure!(!summary.held, "it held although a node of B broke: {text}");
    ensure!(summary.flows_moved_unasked > 0, "no flow moved although a node of B broke: {text}");
    let sentence = |p: &String| p.contains("flows of B changed their node");
    ensure!(summary.problems.iter().any(sentence), "it does not say what broke: {text}");
    Ok(())
}
