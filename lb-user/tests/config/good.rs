//! What is accepted, what becomes of it, and what is legal and unwise.

use std::{path::Path, time::Duration};

use lb_common::{Forward, HashAlgorithm};
use lb_user::{
    config::{self, *},
    decide::Pools,
};

/// The example files, by name.
pub(crate) const EXAMPLES: [(&str, &str); 8] = [
    ("minimal", include_str!("../../../examples/minimal.toml")),
    ("none", include_str!("../../../examples/none.toml")),
    ("one-standby", include_str!("../../../examples/one-standby.toml")),
    ("multi-standby", include_str!("../../../examples/multi-standby.toml")),
    ("multi-master", include_str!("../../../examples/multi-master.toml")),
    ("health", include_str!("../../../examples/health.toml")),
    ("tunnel", include_str!("../../../examples/tunnel.toml")),
    ("nat", include_str!("../../../examples/nat.toml")),
];

pub(crate) fn accept(text: &str) -> Checked {
    match config::parse(text, "lb.toml") {
        Ok(checked) => checked,
        Err(errors) => panic!("{}", errors.render(false)),
    }
}

const fn member(cluster: usize, weight: u32, priority: u32) -> Member {
    Member { cluster, weight, priority, port: None, leaving: false }
}

/// The ports that the first node of a cluster is checked on.
fn asked(config: &Config, cluster: usize) -> Vec<u16> {
    let Pools { pools, targets, .. } = Pools::of(config);
    let pools = pools.iter().filter(|pool| pool.cluster == cluster);
    pools.map(|pool| targets[pool.targets[0].index()].at.port()).collect()
}

#[test]
fn the_examples_are_good() {
    let modes = [
        BackupMode::None,
        BackupMode::None,
        BackupMode::OneStandby,
        BackupMode::MultiStandby,
        BackupMode::MultiMaster,
        BackupMode::None,
        BackupMode::None,
        BackupMode::None,
    ];
    for ((name, text), mode) in EXAMPLES.into_iter().zip(modes) {
        let checked = accept(text);
        assert!(checked.config.services.iter().all(|service| service.mode == mode), "{name}");
        let warnings: Vec<_> = checked.warnings.iter().map(Diagnostic::message).collect();
        assert_eq!(warnings, ["no secret: this load balancer makes one of its own"], "{name}");
        // The secret that the comment asks for is all that is left to do.
        let secret = "secret = \"00112233445566778899aabbccddeeff\"";
        let with = text.replace("# secret = \"32 hex digits\"", secret);
        assert_eq!(accept(&with).warnings.is_empty(), name != "minimal", "{name}");
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let files = std::fs::read_dir(folder).map(Iterator::count);
    assert_eq!(files.ok(), Some(EXAMPLES.len()), "each example is tested");
}

#[test]
fn what_is_written_is_read_but_for_secrets() {
    let cases = EXAMPLES.map(|(_, text)| text.to_owned());
    let more = format!("[lb]\nsurvey_key = \"{}\"\n", "5f".repeat(32));
    let more = more
        + &EXAMPLES[0].1.replace("name = \"A\"", "name = \"A\"\nhealth = { kind = \"survey\" }");
    for text in cases.into_iter().chain([more]) {
        let mut config = accept(&text).config;
        config.lb.secret = Some([7; 16]);
        config.clusters[0].nodes[0].leaving = true;
        let json = serde_json::to_string(&config).expect("JSON");
        assert!(!json.contains("[7,7") && !json.contains("95,95"), "{json}");
        let again: Config = serde_json::from_str(&json).expect("a configuration");
        (config.lb.secret, config.lb.survey_key) = (None, None);
        assert_eq!(again, config);
    }
}

#[test]
fn defaults() {
    let Config { lb, interfaces, clusters, services } = accept(EXAMPLES[0].1).config;
    assert_eq!(lb.bpffs, Path::new("/sys/fs/bpf/understudy"));
    assert_eq!(lb.socket, Path::new("/run/understudy/control.sock"));
    assert_eq!((lb.secret, lb.hash, interfaces), (None, HashAlgorithm::Multilinear, vec![]));
    let node = |name: &str, address: [u8; 4], number| Node {
        name: name.to_owned(),
        address: address.into(),
        port: None,
        number,
        weight: 1,
        priority: 1,
        mac: None,
        leaving: false,
    };
    let cluster = Cluster {
        name: "A".to_owned(),
        weight: 1,
        priority: 1,
        threshold: Threshold::Ratio(Ratio { numerator: 5, denominator: 10 }),
        recover_at: None,
        failback: Failback::Auto,
        min_services: 0,
        forward: Forward::L2,
        gue_port: 6080,
        drain: Duration::from_secs(300),
        drain_hard: false,
        pin_idle: Duration::from_secs(300),
        ramp: Duration::ZERO,
        slow_start: Duration::ZERO,
        health: Health {
            probe: Probe::Tcp(Exchange::default()),
            source: None,
            via: Via::Direct,
            port: None,
            interval: Duration::from_secs(1),
            fast_interval: Duration::from_secs(1),
            timeout: Duration::from_millis(500),
            fall: 3,
            rise: 2,
        },
        nodes: vec![node("a1", [10, 0, 1, 11], 1), node("a2", [10, 0, 1, 12], 2)],
        leaving: false,
    };
    assert_eq!(clusters, [cluster]);
    let service = Service {
        name: "web".to_owned(),
        address: [192, 0, 2, 10].into(),
        ports: Ports::One(443),
        protocol: Protocol::Tcp,
        affinity: Affinity::Flow,
        udp: Udp::Rehash,
        mode: BackupMode::None,
        masters: vec![member(0, 1, 1)],
        standbys: vec![],
        balance: Balance::Weight,
        fallback: Fallback::Masters,
        panic: Panic::Alive,
        health: None,
    };
    assert_eq!(services, [service]);
}

#[test]
fn values_as_written() {
    let config = accept(EXAMPLES[2].1).config;
    let b = &config.clusters[1];
    assert_eq!(b.threshold, Threshold::Ratio(Ratio { numerator: 6, denominator: 10 }));
    assert_eq!(b.recover_at, Some(Threshold::Ratio(Ratio { numerator: 10, denominator: 10 })));
    let (wait, max) = (Duration::from_secs(60), Duration::from_secs(1800));
    assert_eq!(b.failback, Failback::After { wait, max });
    assert_eq!(b.nodes[2].mac, Some([2, 0, 0, 0, 2, 13]));
    assert_eq!(config.clusters[2].threshold, Threshold::Survivors(2));
    let health = &config.clusters[0].health;
    assert_eq!((health.interval.as_millis(), health.timeout.as_millis()), (200, 150));
    assert_eq!(config.interfaces[0].name, "eth0");
    assert_eq!(config.services[0].fallback, Fallback::LastResort);
    assert_eq!(asked(&config, 0), [443]);

    let config = accept(EXAMPLES[4].1).config;
    let [api, web] = &config.services[..] else { panic!("two services") };
    assert_eq!((api.name.as_str(), web.name.as_str()), ("api", "web"));
    assert_eq!(api.masters[1], member(2, 1, 2));
    assert_eq!(web.masters[1], member(1, 3, 1));
    assert_eq!(asked(&config, 0), [8080]);
}

#[test]
fn a_secret_and_times_that_follow_from_others() {
    let text = EXAMPLES[0].1.replace(
        "name = \"A\"\n",
        "name = \"A\"\nfailback = \"2h\"\nhealth = { interval = \"100ms\" }\n",
    );
    let secret = "[lb]\nsecret = \"000102030405060708090A0b0c0d0e0f\"\nhash = \"siphash\"\n";
    let Checked { config, warnings } = accept(&(secret.to_owned() + &text));
    assert_eq!(config.lb.secret, Some([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]));
    assert_eq!(config.lb.hash, HashAlgorithm::SipHash);
    // The defaults give way: a timeout within its interval, a limit not below what it limits.
    assert_eq!(config.clusters[0].health.timeout, Duration::from_millis(100));
    let two_hours = Duration::from_secs(7200);
    assert_eq!(config.clusters[0].failback, Failback::After { wait: two_hours, max: two_hours });
    assert!(warnings.is_empty());
}

#[test]
fn thresholds_are_exact() {
    let ratio = |text: &str| Ratio::from_decimal(text).map(Threshold::Ratio);
    for (text, total, needed) in [
        ("0.28", 25, 7),
        ("0.55", 100, 55),
        ("0.5", 5, 3),
        ("0", 5, 1),
        ("1", 5, 5),
        ("0.5", 0, 1),
        ("0.999999999999999999", 4096, 4096),
    ] {
        let found = ratio(text).map(|threshold| threshold.needed(total));
        assert_eq!(found, Ok(needed), "{text} of {total}");
    }
    assert_eq!(Threshold::Survivors(3).needed(2), 2);
}

#[test]
fn numbers_follow_names_and_skip_what_is_taken() {
    let text = r#"
[[cluster]]
name = "B"
nodes = [{ name = "b", address = "10.0.2.1" }, { name = "a", address = "10.0.2.2", number = 2 }]
[[cluster]]
name = "A"
nodes = [{ name = "z", address = "10.0.1.1" }, { name = "y", address = "10.0.1.2" }]
[[service]]
name = "web"
address = "192.0.2.10:443"
backup = "multi-master"
masters = ["B", "A"]
"#;
    let config = accept(text).config;
    let nodes = config.clusters.iter().flat_map(|cluster| &cluster.nodes);
    let numbers: Vec<_> = nodes.map(|node| (node.name.as_str(), node.number)).collect();
    assert_eq!(numbers, [("y", 1), ("z", 3), ("a", 2), ("b", 4)]);
}

#[test]
fn the_order_of_the_file_does_not_matter() {
    for (name, text) in EXAMPLES {
        let mut parts: Vec<String> = Vec::new();
        for line in text.lines() {
            if line.starts_with('[') || parts.is_empty() {
                parts.push(String::new());
            }
            if let Some(part) = parts.last_mut() {
                part.push_str(line);
                part.push('\n');
            }
        }
        parts.reverse();
        let (mut there, here) = (accept(&parts.concat()).config, accept(text).config);
        there.interfaces.reverse();
        assert_eq!(there, here, "{name}");
    }
    let nodes = EXAMPLES[0].1.replace("a1", "tmp").replace("a2", "a1").replace("tmp", "a2");
    let nodes = nodes.replace(".11", ".tmp").replace(".12", ".11").replace(".tmp", ".12");
    assert_eq!(accept(&nodes).config, accept(EXAMPLES[0].1).config);
}

#[test]
fn clusters_may_be_written_as_tables() {
    let text = r#"
[cluster]
name = "A"
[[cluster.nodes]]
name = "a1"
address = "10.0.1.1"
[[service]]
name = "web"
address = "192.0.2.10:443"
masters = ["A"]
"#;
    assert_eq!(accept(&text.replace("[cluster]", "[[cluster]]")).config.clusters.len(), 1);
    let Err(errors) = config::parse(text, "lb.toml") else { panic!("accepted") };
    assert_eq!(errors.list(), [(2, 1, "cluster: expected a list, found a table")]);
    assert!(errors.diagnostics()[0].help().is_some_and(|help| help.contains("[[cluster]]")));
}

#[test]
fn what_is_legal_and_unwise() {
    let web = "address = \"192.0.2.10:443\"\n";
    let one = "name = \"web\"\nbackup = \"one-standby\"\nmasters = [\"A\"]\nstandbys = [\"S\"]\n";
    let other = "[[service]]\nname = \"api\"\naddress = \"192.0.2.10:80\"\nmasters = [\"A\"]\n";
    let cases = [
        // (lines of A, lines of the service, more, warnings)
        ("", "", "", vec![]),
        ("min_survivors = 3", "", "", vec![(4, "one dead node makes cluster \"A\" fail: 3 of 3")]),
        ("min_survival_ratio = 0.7", "", "", vec![(4, "one dead node makes")]),
        ("failback_max = \"5m\"", "", "", vec![(4, "failback_max: without effect")]),
        ("", "balance = \"equal\"", "", vec![(21, "balance: \"equal\" without effect")]),
        ("", "", other, vec![]),
        (
            "",
            "",
            "[[cluster]]\nname = \"U\"\nnodes = [{ name = \"u\", address = \"10.0.9.1\" }]\n",
            vec![(22, "no service uses cluster \"U\"")],
        ),
    ];
    let text = |a: &str, service: &str, more: &str| {
        format!(
            r#"[lb]
[[cluster]]
name = "A"
{a}
nodes = [{{ name = "a1", address = "10.0.1.1" }},
{{ name = "a2", address = "10.0.1.2" }},
{{ name = "a3", address = "10.0.1.3" }}]
[[cluster]]
name = "S"

nodes = [{{ name = "s1", address = "10.0.2.1" }},
{{ name = "s2", address = "10.0.2.2" }},
{{ name = "s3", address = "10.0.2.3" }}]

[[service]]
{one}{web}{service}
{more}"#
        )
    };
    let warnings = |text: &str| -> Vec<(usize, String)> {
        let warnings = accept(text).warnings;
        assert!(warnings.iter().all(|w| w.severity() == Severity::Warning && w.help().is_some()));
        let all = warnings.iter().map(|w| (w.line(), w.message().to_owned()));
        all.filter(|(_, message)| !message.starts_with("no secret")).collect()
    };
    for (a, service, more, expected) in cases {
        let found = warnings(&text(a, service, more));
        assert_eq!(found.len(), expected.len(), "{a} {service} {more}: {found:?}");
        for ((line, message), (at, part)) in found.iter().zip(&expected) {
            assert!(line == at && message.contains(part), "{line} {message:?}");
        }
    }
    let small = text("", "", "").replace(",\n{ name = \"s3\", address = \"10.0.2.3\" }", "");
    let [(_, message)] = &warnings(&small)[..] else { panic!("one warning") };
    assert!(message.ends_with("2 nodes against the 3 nodes of \"A\""), "{message}");
    // Nodes of weight 0 do not count, and a second tier is not there for the first failure.
    let idle = text("", "", "").replace("10.0.2.3\"", "10.0.2.3\", weight = 0");
    let [(_, message)] = &warnings(&idle)[..] else { panic!("one warning") };
    assert!(message.contains("2 nodes against the 3"), "{message}");
    let tiers = EXAMPLES[3].1.replace("10.0.4.11\"", "10.0.4.11\", weight = 0");
    assert_eq!(warnings(&tiers), []);
    let tiers = tiers.replace("weight = 1\npriority = 20", "weight = 1\npriority = 19");
    let [(_, message)] = &warnings(&tiers)[..] else { panic!("one warning") };
    assert!(message.contains("3 nodes against the 4 nodes of \"A\""), "{message}");
    let useless = text("", "", "").replace("[\"S\"]", "[{ cluster = \"S\", weight = 0 }]");
    let [(_, message)] = &warnings(&useless)[..] else { panic!("one warning") };
    assert!(message.contains("standby \"S\" has weight 0"), "{message}");
    let lonely = EXAMPLES[1].1.replace("\"masters\"", "\"last-resort\"");
    let [(_, message)] = &warnings(&lonely)[..] else { panic!("one warning") };
    assert!(message.contains("\"last-resort\" without a standby"), "{message}");
}

#[test]
fn a_service_gives_a_cluster_a_port() {
    let Checked { config, .. } = accept(
        "[[cluster]]\nname = \"A\"\nnodes = [{ name = \"a1\", address = \"10.0.1.1\", port = 8080 }]\n\
         [[service]]\nname = \"web\"\naddress = \"192.0.2.10:443\"\nprotocol = \"tcp\"\n\
         masters = [{ cluster = \"A\", port = 443 }]\n",
    );
    assert_eq!(config.services[0].masters[0].port, Some(443));
    // Its node's own port, 8080, is for others.
    assert_eq!(asked(&config, 0), [443]);
}
