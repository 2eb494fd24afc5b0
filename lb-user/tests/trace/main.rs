//! `understudy trace`, run as users run it.

#[path = "../shared/command.rs"]
mod command;
mod contract;
mod frames;
mod lasting;
mod told;
mod ways;

use std::{collections::BTreeMap, process::Output};

use command::understudy;
use serde::Deserialize;

/// Every way to forward; all next hops are overrides.
const WAYS: &str = "tests/trace/ways.toml";

/// What `trace --format json` prints for a frame; a field more or less is an error.
#[derive(Deserialize, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
struct Line {
    verdict: String,
    reason: String,
    service: Option<String>,
    cluster: Option<String>,
    node: Option<String>,
    packet: String,
    counters: BTreeMap<String, u64>,
}

impl Line {
    /// Verdict and reason, and that it was counted as that, once.
    fn end(&self) -> (&str, &str) {
        assert_eq!(self.counters, BTreeMap::from([(self.reason.clone(), 1)]));
        (&self.verdict, &self.reason)
    }

    /// Service, cluster and node; "-" is none.
    fn whose(&self) -> [&str; 3] {
        [&self.service, &self.cluster, &self.node].map(|name| name.as_deref().unwrap_or("-"))
    }

    fn bytes(&self) -> Vec<u8> {
        let digit = |at| u8::from_str_radix(&self.packet[at..at + 2], 16).expect("hex");
        (0..self.packet.len()).step_by(2).map(digit).collect()
    }
}

/// Frames as the command reads them.
fn text(frames: &[Vec<u8>]) -> String {
    let hex = |frame: &Vec<u8>| frame.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    frames.iter().map(|frame| hex(frame) + "\n").collect()
}

/// What it says of frames over [`WAYS`], and nothing else.
fn trace(args: &[&str], frames: &[Vec<u8>]) -> Vec<Line> {
    let output = understudy(&[&["trace", WAYS, "--format", "json"], args].concat(), &text(frames));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*said), (Some(0), ""));
    let lines = lines(&output);
    assert_eq!(lines.len(), frames.len());
    lines
}

fn lines(output: &Output) -> Vec<Line> {
    let text = std::str::from_utf8(&output.stdout).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}
