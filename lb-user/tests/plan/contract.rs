//! Exit codes, and what goes to standard output and what to standard error.

use std::fs;

use crate::{SIX, examples, plan, understudy, warnings};

/// Arguments, exit code, what standard error says; where that is not 0 nothing is printed.
const CASES: &[(&[&str], i32, &[&str])] = &[
    (&["plan", SIX], 0, &[]),
    (&["plan", SIX, "--down-cluster", "A", "--down", "B/b1"], 0, &[]),
    (&["plan", SIX, "--format", "json"], 0, &[]),
    (&["plan", SIX, "--down", "A/a9"], 2, &["no node \"a9\"", "a1, a2, a3, a4", "plan"]),
    (&["plan", SIX, "--down", "Q/a1"], 2, &["no cluster \"Q\"", "A, B, C, X, Y, Z"]),
    (&["plan", SIX, "--down", "a1"], 2, &["\"a1\" is not CLUSTER/NODE"]),
    (&["plan", SIX, "--down-cluster", "Q"], 2, &["no cluster \"Q\"", "A, B, C, X, Y, Z"]),
    (&["plan", SIX, "--down-cluster", "a"], 2, &["no cluster \"a\""]),
    (&["plan", SIX, "--before-down", "A/"], 2, &["no node \"\""]),
    (&["plan", SIX, "--before-down-cluster", "Q"], 2, &["no cluster \"Q\""]),
    (&["plan", SIX, "--format", "xml"], 2, &["xml"]),
    (&["plan"], 2, &["FILE"]),
    (&["plan", "no/such.toml"], 1, &["no/such.toml"]),
    (&["plan", "Cargo.toml"], 1, &["Cargo.toml", "nothing was changed"]),
    (&["explain", "--config", SIX, "tcp", "10.0.0.1:1", "192.0.2.10:443"], 0, &[]),
    (&["explain", "--config", SIX, "tcp", "10.0.0.1:1"], 2, &["DST:PORT"]),
    (&["explain", "--config", SIX], 2, &["PROTO"]),
    (&["explain", "--config", SIX, "icmp", "10.0.0.1:1", "192.0.2.10:443"], 2, &["\"icmp\""]),
    (&["explain", "--config", SIX, "tcp", "10.0.0.1", "192.0.2.10:443"], 2, &["\"10.0.0.1\""]),
    (
        &["explain", "--config", SIX, "--down", "A/q", "tcp", "10.0.0.1:1", "192.0.2.10:443"],
        2,
        &["no node \"q\"", "explain"],
    ),
    (&["explain", "--down", "A/a1", "tcp", "10.0.0.1:1", "192.0.2.10:443"], 2, &["--config"]),
    (
        &["explain", "--socket", "no/such.sock", "tcp", "10.0.0.1:1", "192.0.2.10:443"],
        1,
        &["no/such.sock"],
    ),
    (&["explain", "--config", SIX, "--flows", "no/such.flows"], 1, &["no/such.flows"]),
    (&["explain", "--config", SIX, "--flows", "-"], 0, &[]),
    (&["check", SIX], 0, &[]),
    (&["check", "Cargo.toml"], 1, &["nothing was changed"]),
];

#[test]
fn exit_codes_and_streams() {
    let warnings = warnings();
    for &(args, code, says) in CASES {
        let output = understudy(args, "");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(says.iter().all(|words| said.contains(words)), "{args:?}: {said}");
        if code == 0 {
            assert_eq!(said, warnings, "{args:?}");
        } else {
            assert!(output.stdout.is_empty(), "{args:?}");
        }
    }
}

#[test]
fn warnings_go_to_standard_error_and_change_nothing() {
    for file in examples() {
        let file = file.to_str().expect("a path in UTF-8");
        let all = plan(file, "", "");
        assert!(!all.services.is_empty(), "{file}");
        for service in &all.services {
            assert_eq!((service.moved, service.moved_extra), (0.0, 0.0), "{file}");
            assert_eq!((service.panic, service.dropped), (false, 0.0), "{file}");
        }
        let flow = [
            "explain",
            "--config",
            file,
            "--format",
            "json",
            "tcp",
            "10.9.9.9:1",
            "192.0.2.10:443",
        ];
        let output = understudy(&flow, "");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{file}: {said}");
        // None of them has a secret.
        assert!(said.contains("a fixed one is used"), "{file}: {said}");
        assert_eq!(output.stdout.iter().filter(|byte| **byte == b'\n').count(), 1, "{file}");
    }
}

#[test]
fn a_plan_that_drops_or_panics_is_a_plan() {
    for (service, down) in [("standby-drop", "A X Y Z"), ("panic-drop", "A B C X Y Z")] {
        assert!(plan(SIX, "", down).service(service).dropped > 0.4, "{service}");
    }
}

#[test]
fn a_refused_configuration_prints_no_plan() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("bad.toml");
    let text = fs::read_to_string(SIX).expect("six.toml");
    fs::write(&file, text.replace("\"one-standby\"\nmasters", "\"none\"\nmasters"))
        .expect("a file");
    let args = ["plan", file.to_str().expect("a path in UTF-8"), "--format", "json"];
    let output = understudy(&args, "");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{said}");
    assert!(said.contains("bad.toml") && said.contains("one-standby"), "{said}");
}

#[test]
fn the_text_says_what_the_document_says() {
    let args = ["plan", SIX, "--down-cluster", "A", "--before-down", "B/b1"];
    same(&args, "B/b1", "A", [["A", "a1", "up", "→", "down"], ["B", "b1", "down", "→", "up"]]);
    let args = ["plan", SIX, "--down", "B/b1", "--before-down-cluster", "A"];
    same(&args, "A", "B/b1", [["A", "a1", "down", "→", "up"], ["B", "b1", "up", "→", "down"]]);
}

/// Compares the text with the document; `turns` are nodes whose state changes.
fn same(args: &[&str], before: &str, down: &str, turns: [[&str; 5]; 2]) {
    let output = understudy(args, "");
    let text = String::from_utf8(output.stdout).expect("text");
    for service in plan(SIX, before, down).services {
        let begin = text.find(&format!("service {} ", service.name)).expect("its part");
        let part = &text[begin..];
        let part = &part[..part.find("\nservice ").unwrap_or(part.len())];
        let row = |words: &[&str]| {
            let has = |line: &str| {
                let mut cells = line.split_whitespace();
                words.iter().all(|word| cells.any(|cell| cell == *word))
            };
            assert!(part.lines().any(has), "{}: {words:?} in\n{part}", service.name);
        };
        let percent = |share: f64| format!("{:.2}%", 100.0 * share);
        for cluster in &service.clusters {
            row(&[&cluster.name, &cluster.role, &percent(cluster.home), &percent(cluster.share)]);
            assert!(part.contains(&cluster.reason), "{}", cluster.reason);
        }
        for node in &service.nodes {
            row(&[&node.cluster, &node.name, &node.state, &percent(node.share)]);
        }
        turns.iter().for_each(|turn| row(turn));
        row(&["slots", "A", "2048,"]);
        assert!(part.contains(&format!("moved    {}, ", percent(service.moved))), "{part}");
        let ways = part.lines().filter(|l| l.contains(" from ") || l.contains(" within "));
        let parts = ways.filter_map(|l| l.trim().split_once('%')?.0.parse::<f64>().ok());
        let sum = parts.sum::<f64>();
        assert!((sum - 100.0 * service.moved).abs() < 0.05, "{sum} {}\n{part}", service.moved);
    }
}
