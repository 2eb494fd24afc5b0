//! `understudy plan` and `understudy explain`, run as users run them, and what both rest on.

mod acceptance;
mod agree;
#[path = "../shared/command.rs"]
mod command;
mod contract;
mod explain;
mod moved;

use std::path::{Path, PathBuf};

use command::understudy;
use serde::Deserialize;

/// Six clusters and a service for each mode and policy.
const SIX: &str = "tests/plan/six.toml";

/// What `plan --format json` prints; a field more or less is an error.
#[derive(Deserialize, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
struct Plan {
    services: Vec<Service>,
}

#[derive(Deserialize, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
struct Service {
    name: String,
    mode: String,
    panic: bool,
    dropped: f64,
    clusters: Vec<Cluster>,
    nodes: Vec<Node>,
    moved: f64,
    moved_extra: f64,
}

#[derive(Deserialize, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
struct Cluster {
    name: String,
    role: String,
    health: String,
    alive: u32,
    total: u32,
    needed: u32,
    home: f64,
    share: f64,
    reason: String,
}

#[derive(Deserialize, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
struct Node {
    cluster: String,
    name: String,
    state: String,
    share: f64,
}

impl Plan {
    fn service(&self, name: &str) -> &Service {
        self.services.iter().find(|s| s.name == name).unwrap_or_else(|| panic!("service {name}"))
    }
}

impl Service {
    fn cluster(&self, name: &str) -> &Cluster {
        self.clusters.iter().find(|c| c.name == name).unwrap_or_else(|| panic!("cluster {name}"))
    }

    /// Percent of the flows that a cluster or a node gets; "-" is nobody.
    fn percent(&self, name: &str) -> f64 {
        let cluster = || self.clusters.iter().find(|c| c.name == name).map(|c| c.share);
        let node = || self.nodes.iter().find(|n| n.name == name).map(|n| n.share);
        let nobody = (name == "-").then_some(self.dropped);
        100.0 * nobody.or_else(cluster).or_else(node).unwrap_or_else(|| panic!("no {name}"))
    }
}

/// The example configurations.
fn examples() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .expect("examples")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    assert!(files.len() >= 5, "{files:?}");
    files
}

/// What every command says of the configuration of [`SIX`].
fn warnings() -> String {
    let output = understudy(&["check", SIX], "");
    String::from_utf8(output.stderr).expect("text")
}

/// The plan for a file while these are down, nodes or clusters, and those were before.
fn plan(file: &str, before: &str, down: &str) -> Plan {
    let mut args = vec!["plan", file, "--format", "json"];
    for name in down.split_whitespace() {
        args.extend([if name.contains('/') { "--down" } else { "--down-cluster" }, name]);
    }
    for name in before.split_whitespace() {
        let option = if name.contains('/') { "--before-down" } else { "--before-down-cluster" };
        args.extend([option, name]);
    }
    let output = understudy(&args, "");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {said}");
    let text = String::from_utf8(output.stdout).expect("text");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?}: {error}: {text}"))
}
