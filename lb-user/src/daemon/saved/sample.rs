//! `format-1.json` stays as it is: a daemon wrote it, and each later one has to go on from it.

use serde_json::{Value, json};

use super::*;
use crate::{config, decide::Remembered};

const SAMPLE: &str = include_str!("format-1.json");

/// What it was written of.
const FILE: &str = r#"
[lb]
drain = "90s"
[[interface]]
name = "eth0"
mac = "02:00:00:00:00:01"
[[cluster]]
name = "A"
min_survivors = 1
recover_at = 0.75
failback = "30s"
failback_max = "10m"
health = { kind = "http", path = "/up", status = 200 }
nodes = [
    { name = "a1", address = "10.0.0.1" },
    { name = "a2", address = "10.0.0.2", mac = "02:00:00:00:00:02", weight = 3 },
]
[[cluster]]
name = "B"
forward = "gue"
drain = "0s"
slow_start = "1m"
nodes = [{ name = "b1", address = "2001:db8::1" }]
[[service]]
name = "dns"
address = "192.0.2.53:5000-5009"
protocol = "udp"
udp = "sticky"
masters = ["B"]
panic = "all"
health = { kind = "dns", port = 53, query = "www.example.com" }
[[service]]
name = "web"
address = "192.0.2.10:80"
masters = ["A"]
standbys = ["B"]
backup = "one-standby"
health = { kind = "tcp", send = "?", expect = "!" }
"#;

fn file() -> Arc<Config> {
    let checked = config::parse(FILE, "test").unwrap_or_else(|errors| panic!("{errors}"));
    Arc::new(checked.config)
}

/// Reads what stands in a file.
fn read(text: &str) -> Result<Saved, Lost> {
    let directory = tempfile::tempdir().expect("a directory");
    let plans = Plans::beside(&directory.path().join("control.sock"));
    fs::write(plans.path(1), text).expect("a file");
    plans.read(1)
}

#[test]
fn a_daemon_goes_on_from_it() {
    let saved = read(SAMPLE).expect("a plan");
    assert_eq!(saved, State::new(file(), Duration::ZERO).saved());
    let before = State::resume(saved, &Remembered::default(), Duration::ZERO).expect("it fits");
    let state = before.succeed(&file(), Duration::ZERO).expect("ids");
    assert_eq!(state.saved(), before.saved(), "nothing is new and nothing leaves");
}

#[test]
fn more_than_is_known_is_passed_over_but_another_format_is_not() {
    let mut later: Value = serde_json::from_str(SAMPLE).expect("JSON");
    later["more"] = json!({ "of": ["anything"] });
    later["config"]["clusters"][0]["more"] = json!(7);
    assert_eq!(read(&later.to_string()).expect("a plan"), read(SAMPLE).expect("a plan"));
    let other = json!({ "format": Saved::FORMAT + 1, "config": "elsewhere" });
    let lost = read(&other.to_string()).expect_err("another format");
    assert!(matches!(lost, Lost::Format { format: 2, .. }), "{lost}");
    assert!(lost.to_string().contains("format 2"), "{lost}");
    later.as_object_mut().and_then(|file| file.remove("format"));
    assert!(matches!(read(&later.to_string()), Err(Lost::Damaged { .. })));
}
