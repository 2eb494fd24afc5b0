//! How long connections stay, how slowly what returns is trusted, and what of that is without effect.

use std::time::Duration;

use lb_user::config::{Config, Udp};

use crate::good::accept;

/// Two clusters A and B of two nodes, and a service over both by UDP.
fn text(lb: &str, a: &str, service: &str) -> String {
    format!(
        r#"[lb]
secret = "00112233445566778899aabbccddeeff"
{lb}
[[cluster]]
name = "A"
{a}
nodes = [{{ name = "a1", address = "10.0.1.1" }}, {{ name = "a2", address = "10.0.1.2" }}]
[[cluster]]
name = "B"
health = {{ kind = "icmp" }}
nodes = [{{ name = "b1", address = "10.0.2.1" }}, {{ name = "b2", address = "10.0.2.2" }}]
[[service]]
name = "web"
address = "192.0.2.10:443"
protocol = "udp"
health = {{ kind = "icmp" }}
backup = "multi-master"
masters = ["A", "B"]
{service}
"#
    )
}

fn config(lb: &str, a: &str, service: &str) -> Config {
    accept(&text(lb, a, service)).config
}

/// Drain limit, how long pins may be silent, ramp and slow start of A, in seconds.
fn times(config: &Config) -> [u64; 4] {
    let a = &config.clusters[0];
    [a.drain, a.pin_idle, a.ramp, a.slow_start].map(|time| time.as_secs())
}

#[test]
fn values_and_what_follows_from_them() {
    let cases = [
        ("", "", [300, 300, 0, 0]),
        ("drain = \"10m\"", "", [600, 600, 0, 0]),
        ("drain = \"10m\"", "drain = \"2h\"", [7200, 7200, 0, 0]),
        ("drain = \"0s\"", "", [0, 300, 0, 0]),
        ("", "drain = \"1m\"\npin_idle = \"1h\"", [60, 3600, 0, 0]),
        ("", "ramp = \"1m\"\nslow_start = \"30s\"", [300, 300, 60, 30]),
        ("", "drain = \"30days\"", [2_592_000, 2_592_000, 0, 0]),
    ];
    for (lb, a, expected) in cases {
        assert_eq!(times(&config(lb, a, "")), expected, "{lb} {a}");
    }
    assert_eq!(config("drain = \"1m\"", "", "").clusters[1].drain, Duration::from_secs(60));
    assert!(config("", "drain_hard = true", "").clusters[0].drain_hard);
    assert!(!config("", "", "").clusters[0].drain_hard);
    let pins = [("", 131_072), ("pins = 1024", 1024), ("pins = 1025", 2048)];
    for (lb, pins) in pins.into_iter().chain([("pins = 16_777_216", 16_777_216)]) {
        assert_eq!(config(lb, "", "").lb.pins, pins, "{lb}");
    }
    let udp = [("", Udp::Rehash), ("rehash", Udp::Rehash), ("sticky", Udp::Sticky)];
    for (word, udp) in udp.into_iter().chain([("quic", Udp::Quic)]) {
        let line = if word.is_empty() { String::new() } else { format!("udp = \"{word}\"") };
        assert_eq!(config("", "", &line).services[0].udp, udp);
    }
    let config = config("", "", "");
    let nodes = config.clusters.iter().flat_map(|cluster| &cluster.nodes);
    assert!(nodes.into_iter().all(|node| !node.leaving), "what is in the file stays");
}

#[test]
fn what_is_without_effect() {
    let none = |text: String, line: usize, message: &str| {
        let warnings = accept(&text).warnings;
        let all: Vec<_> = warnings.iter().map(|w| (w.line(), w.message())).collect();
        assert!(all.len() == 1 && all[0].0 == line && all[0].1.contains(message), "{all:?}");
        assert!(warnings[0].help().is_some(), "{message}");
    };
    assert!(
        accept(&text("drain = \"1m\"", "ramp = \"1m\"\nslow_start = \"1m\"", ""))
            .warnings
            .is_empty()
    );
    let own = text("drain = \"1m\"", "drain = \"2m\"", "");
    let own = own.replace("name = \"B\"", "name = \"B\"\ndrain = \"2m\"");
    none(own, 3, "drain: without effect, since every cluster has its own");
    none(
        text("drain = \"0s\"\npins = 2048", "", ""),
        4,
        "pins: without effect, since every cluster",
    );
    none(text("", "drain = \"0s\"\ndrain_hard = true", ""), 7, "drain_hard: without effect, since");
    assert!(accept(&text("", "drain = \"0s\"\ndrain_hard = false", "")).warnings.is_empty());
    none(
        text("drain = \"0s\"", "", "udp = \"quic\""),
        19,
        "udp: without effect, since every cluster",
    );
    assert!(
        accept(&text("drain = \"0s\"", "drain = \"1s\"", "udp = \"quic\"")).warnings.is_empty()
    );
    assert!(accept(&text("drain = \"0s\"", "", "udp = \"rehash\"")).warnings.is_empty());
    let lonely =
        text("", "slow_start = \"1m\"", "").replace("\"10.0.1.2\"", "\"10.0.1.2\", weight = 0");
    none(lonely, 6, "slow_start: without effect, since no other node of the cluster serves");
    let alone = text("", "ramp = \"1m\"", "").replace("\"B\"]", "{ cluster = \"B\", weight = 0 }]");
    none(alone, 6, "ramp: without effect, since no other cluster serves where this one does");
    let at_once =
        text("", "ramp = \"0s\"", "").replace("\"B\"]", "{ cluster = \"B\", weight = 0 }]");
    assert!(accept(&at_once).warnings.is_empty());
}
