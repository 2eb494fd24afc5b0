//! Who gets which share, in percent, for every mode and policy.

use std::fs;

use crate::{Plan, SIX, plan};

/// DATAPATH's guarantee at these sizes, in points of the total.
const TOLERANCE: f64 = 0.5;

/// A service, what is down, and the percent that clusters and nodes get of its flows; "-": dropped.
type Case = (&'static str, &'static str, &'static [(&'static str, f64)]);

const CASES: &[Case] = &[
    ("multi-standby", "", &[("A", 50.0), ("B", 30.0), ("C", 20.0), ("X", 0.0), ("-", 0.0)]),
    ("multi-standby", "", &[("a1", 20.0), ("a2", 15.0), ("a3", 10.0), ("a4", 5.0), ("b1", 10.0)]),
    ("multi-standby", "A/a1", &[("a1", 0.0), ("a2", 25.0), ("a3", 16.67), ("a4", 8.33)]),
    ("multi-standby", "A/a1", &[("A", 50.0), ("B", 30.0), ("C", 20.0), ("b2", 10.0), ("c1", 10.0)]),
    ("multi-standby", "A/a1 A/a2", &[("a3", 33.33), ("a4", 16.67), ("A", 50.0), ("X", 0.0)]),
    ("multi-standby", "A/a1 A/a2 A/a3", &[("A", 0.0), ("a4", 0.0), ("B", 30.0), ("C", 20.0)]),
    ("multi-standby", "A/a1 A/a2 A/a3", &[("X", 37.5), ("Y", 12.5), ("Z", 0.0)]),
    ("multi-standby", "A/a1 A/a2 A/a3", &[("x1", 18.75), ("x2", 9.375), ("x3", 9.375)]),
    ("multi-standby", "A X", &[("Y", 50.0), ("Z", 0.0), ("B", 30.0), ("C", 20.0)]),
    ("multi-standby", "A X/x1 X/x2", &[("Y", 50.0), ("x3", 0.0)]),
    ("multi-standby", "A X Y", &[("Z", 50.0), ("B", 30.0), ("C", 20.0)]),
    ("multi-standby", "A X Y Z", &[("B", 60.0), ("C", 40.0), ("-", 0.0)]),
    ("multi-standby", "A B", &[("C", 20.0), ("X", 60.0), ("Y", 20.0), ("Z", 0.0)]),
    ("multi-standby", "A B C", &[("X", 75.0), ("Y", 25.0), ("Z", 0.0), ("-", 0.0)]),
    ("multi-standby", "B C X Y Z", &[("A", 100.0)]),
    ("multi-standby", "A B C X Y Z", &[("-", 100.0), ("A", 0.0)]),
    ("standby-drop", "A X Y Z", &[("B", 30.0), ("C", 20.0), ("-", 50.0)]),
    ("standby-drop", "A X Y", &[("Z", 50.0), ("-", 0.0)]),
    ("standby-equal", "A", &[("X", 25.0), ("Y", 25.0), ("B", 30.0), ("C", 20.0)]),
    ("standby-equal", "A X Y Z", &[("B", 60.0), ("C", 40.0)]),
    ("last-resort", "A X/x1 X/x2 Y Z", &[("X", 50.0), ("x3", 50.0), ("B", 30.0), ("C", 20.0)]),
    ("last-resort", "A X/x1 X/x2 Y", &[("X", 0.0), ("Z", 50.0)]),
    ("last-resort", "A X Y Z", &[("B", 60.0), ("C", 40.0)]),
    ("multi-master", "", &[("A", 50.0), ("B", 30.0), ("C", 20.0)]),
    ("multi-master", "A", &[("B", 60.0), ("C", 40.0)]),
    ("multi-master", "A B", &[("C", 100.0)]),
    ("multi-master", "C", &[("A", 62.5), ("B", 37.5)]),
    ("master-equal", "A", &[("B", 55.0), ("C", 45.0)]),
    ("master-equal", "A B", &[("C", 100.0)]),
    ("master-tiers", "", &[("A", 100.0), ("B", 0.0), ("C", 0.0)]),
    ("master-tiers", "A", &[("B", 100.0)]),
    ("master-tiers", "A B", &[("C", 100.0)]),
    ("one-standby", "A", &[("X", 50.0), ("B", 30.0), ("C", 20.0)]),
    ("one-standby", "A B", &[("X", 80.0), ("C", 20.0)]),
    ("one-standby", "A B C", &[("X", 100.0)]),
    ("one-standby", "A X", &[("B", 60.0), ("C", 40.0)]),
    ("none", "A", &[("B", 60.0), ("C", 40.0)]),
    ("none-drop", "A", &[("B", 30.0), ("C", 20.0), ("-", 50.0)]),
];

/// One node lives in A, B and X each, which is too few everywhere.
const PANIC: &str = "A/a1 A/a2 A/a3 B/b1 B/b2 C X/x1 X/x2 Y Z";

const PANIC_CASES: &[(&str, &[(&str, f64)])] = &[
    ("multi-standby", &[("a4", 50.0), ("b3", 30.0), ("x3", 20.0), ("-", 0.0)]),
    ("panic-drop", &[("-", 100.0), ("a4", 0.0)]),
    ("panic-all", &[("a1", 20.0), ("a4", 5.0), ("b1", 10.0), ("c1", 10.0), ("X", 0.0), ("-", 0.0)]),
    ("one-standby", &[("a4", 50.0), ("b3", 30.0), ("x3", 20.0)]),
    ("none", &[("a4", 62.5), ("b3", 37.5)]),
];

fn check(plan: &Plan, down: &str, service: &str, shares: &[(&str, f64)]) {
    let service = plan.service(service);
    for &(name, percent) in shares {
        let is = service.percent(name);
        let close = (is - percent).abs() <= if percent == 0.0 { 0.0 } else { TOLERANCE };
        assert!(close, "{}, down: {down:?}: {name} has {is}, not {percent}", service.name);
    }
    let nodes: f64 = service.nodes.iter().map(|node| node.share).sum();
    assert!((nodes + service.dropped - 1.0).abs() < 1e-9, "{} at {down:?}", service.name);
    let homes: f64 = service.clusters.iter().map(|cluster| cluster.home).sum();
    assert!((homes - 1.0).abs() < 1e-9, "{} at {down:?}", service.name);
    assert_eq!(service.moved_extra, 0.0, "{} at {down:?}", service.name);
}

#[test]
fn shares() {
    for &(service, down, shares) in CASES {
        check(&plan(SIX, "", down), down, service, shares);
    }
}

#[test]
fn panic() {
    let all = plan(SIX, "", PANIC);
    for &(service, shares) in PANIC_CASES {
        assert!(all.service(service).panic, "{service}");
        check(&all, PANIC, service, shares);
    }
    let calm = plan(SIX, PANIC, "A B");
    assert!(calm.services.iter().all(|service| !service.panic));
}

#[test]
fn homes_never_move() {
    let up = plan(SIX, "", "");
    for down in ["A", "A B C", PANIC] {
        for (was, is) in up.services.iter().zip(&plan(SIX, "", down).services) {
            let homes = |s: &crate::Service| s.clusters.iter().map(|c| c.home).collect::<Vec<_>>();
            assert_eq!(homes(was), homes(is), "{} at {down}", is.name);
        }
    }
}

#[test]
fn words() {
    let down = "A/a1 A/a2 A/a3 C/c1";
    let all = plan(SIX, "", down);
    let service = all.service("multi-standby");
    assert_eq!((service.mode.as_str(), service.panic), ("multi-standby", false));
    let cases = [
        ("A", "master", "unhealthy", (1, 2, 4), &["1 of 4", "needs 2", "X, Y"][..]),
        ("B", "master", "healthy", (3, 2, 3), &["its own flows"]),
        ("C", "master", "healthy", (1, 1, 2), &["its own flows"]),
        ("X", "standby", "healthy", (3, 2, 3), &["carries", "A"]),
        ("Z", "standby", "healthy", (2, 1, 2), &["higher priority"]),
    ];
    for (name, role, health, counts, words) in cases {
        let cluster = service.cluster(name);
        assert_eq!((cluster.role.as_str(), cluster.health.as_str()), (role, health), "{name}");
        assert_eq!((cluster.alive, cluster.needed, cluster.total), counts, "{name}");
        assert!(words.iter().all(|w| cluster.reason.contains(w)), "{name}: {}", cluster.reason);
    }
    for node in &service.nodes {
        let dead = down.contains(&format!("{}/{}", node.cluster, node.name));
        assert_eq!(node.state, if dead { "down" } else { "up" }, "{}", node.name);
    }
}

#[test]
fn needed() {
    // Nodes, threshold, least number.
    let cases = [
        (25, "min_survival_ratio = 0.28", 7),
        (100, "min_survival_ratio = 0.55", 55),
        (5, "min_survival_ratio = 0.5", 3),
        (5, "min_survival_ratio = 0", 1),
        (4, "min_survivors = 4", 4),
        (4, "", 2),
    ];
    let directory = tempfile::tempdir().expect("a directory");
    for (nodes, threshold, needed) in cases {
        let node = |i| format!("{{ name = \"n{i}\", address = \"10.0.0.{i}\" }}");
        let list = (1..=nodes).map(node).collect::<Vec<_>>().join(", ");
        let text = format!(
            "[[cluster]]\nname = \"A\"\n{threshold}\nnodes = [{list}]\n\
             [[service]]\nname = \"web\"\naddress = \"192.0.2.1:80\"\nmasters = [\"A\"]\n"
        );
        let file = directory.path().join("needed.toml");
        fs::write(&file, text).expect("a file");
        let file = file.to_str().expect("a path in UTF-8");
        for (down, health) in [(nodes - needed, "healthy"), (nodes - needed + 1, "unhealthy")] {
            let down = (1..=down).map(|i| format!("A/n{i} ")).collect::<String>();
            let all = plan(file, "", &down);
            let cluster = all.service("web").cluster("A");
            let is = (cluster.needed, cluster.health.as_str());
            assert_eq!(is, (needed, health), "{nodes} nodes, {threshold:?}, down: {down}");
        }
    }
}
