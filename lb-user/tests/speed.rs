//! From a verdict to the commit, measured and not judged:
//! `cargo test --release -p lb-user --test speed -- --ignored --nocapture`.

use std::{
    fmt::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use lb_common::{
    ClusterId, NodeId, PinEntry, ServiceId,
    pin::{DEFAULT_PINS, Pin, PinState, Tick},
};
use lb_user::{
    config,
    dataplane::{memory::Memory, writer::Writer},
    decide::{Effect, Event, Intent, MissReason, NextHop, Outcome, State, TargetId},
};

/// So many services of 4 masters and 2 standbys each, out of so many clusters of 20 nodes.
fn text(services: usize, clusters: usize) -> String {
    let mut text = String::new();
    for c in 0..clusters {
        let (high, low) = (c / 200, c % 200);
        let node = |n| format!("{{ name = \"n{n:02}\", address = \"10.{high}.{low}.{}\" }}", n + 1);
        let nodes: Vec<String> = (0..20).map(node).collect();
        let weight = 1 + c % 3;
        let _ = writeln!(
            text,
            "[[cluster]]\nname = \"C{c:03}\"\nweight = {weight}\nhealth = {{ port = 80, fall = 1 }}\n\
             nodes = [{}]",
            nodes.join(", ")
        );
    }
    for s in 0..services {
        let members: Vec<String> =
            (0..6).map(|k| format!("\"C{:03}\"", (s * 7 + k * k * 3) % clusters)).collect();
        let _ = writeln!(
            text,
            "[[service]]\nname = \"s{s:03}\"\naddress = \"192.0.2.10:{}\"\nprotocol = \"tcp\"\n\
             backup = \"multi-standby\"\nmasters = [{}]\nstandbys = [{}]",
            s + 1,
            members[..4].join(", "),
            members[4..].join(", ")
        );
    }
    text
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon"));
    line.and_then(|l| l.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}

fn published(effects: Vec<Effect>) -> Option<Arc<Intent>> {
    effects.into_iter().find_map(|effect| match effect {
        Effect::Publish(intent) => Some(intent),
        Effect::Refused(violations) => panic!("{violations:?}"),
        Effect::Notice(_) => None,
    })
}

/// Every node is one target, by their addresses and so by their ids.
fn event(node: usize, outcome: Outcome) -> Event {
    Event::Checked { target: TargetId(node as u32), outcome }
}

/// As many pins as there are by default, of all services and clusters.
fn sweep(state: &State, services: usize) {
    let mut number = 0u64;
    let pins = std::iter::repeat_with(|| {
        number += 1;
        let tag = lb_common::hash::mix(number);
        let pin = Pin {
            node: NodeId::new(tag as usize % 11).expect("an id"),
            service: ServiceId::new(number as usize % services).expect("an id"),
            cluster: ClusterId::new(0).expect("an id"),
            state: PinState::Live,
            last: Tick::at(0),
        };
        (number, PinEntry { tag, value: pin.raw() })
    });
    let pins: Vec<(u64, PinEntry)> = pins.take(DEFAULT_PINS as usize).collect();
    let begin = Instant::now();
    let (_, ended) = state.sweep().expect("a plan").judge(pins, Tick::at(1 << 30));
    println!("  {DEFAULT_PINS} pins judged in {:?}, {} end", begin.elapsed(), ended.len());
}

#[test]
#[ignore = "a measurement"]
fn from_a_verdict_to_the_commit() {
    const MISS: Outcome = Outcome::Miss(MissReason::Timeout);
    for (services, clusters) in [(10, 10), (500, 200)] {
        println!("{services} services, {clusters} clusters of 20 nodes");
        let config = config::parse(&text(services, clusters), "speed").expect("it is fine").config;
        let begin = Instant::now();
        let mut state = State::new(Arc::new(config), Duration::ZERO);
        println!("  orders: {:?}", begin.elapsed());
        let memory = Memory::anonymous().expect("memory");
        let mut writer = Writer::adopt(&memory);
        let hop = Some(NextHop {
            ifindex: 3,
            src_mac: [2; 6],
            dst_mac: [4; 6],
            mtu: 1500,
            tags: [0; 2],
            source: None,
        });
        let nodes = (0..clusters * 20).filter_map(NodeId::new);
        let mut events: Vec<Event> = nodes.map(|node| Event::Resolved { node, hop }).collect();
        events.extend((0..clusters * 20).map(|node| event(node, Outcome::Hit)));
        let mut time = |state: &mut State, what: &str, events: &[Event]| {
            let begin = Instant::now();
            let intent = published(state.step(Duration::from_secs(1), events)).expect("a plan");
            let decided = begin.elapsed();
            writer.commit(&memory, &intent).expect("room");
            let total = begin.elapsed();
            writer.graced(writer.epoch());
            println!("  {what:<30} decided {decided:>12.1?}, visible {total:>12.1?}");
        };
        time(&mut state, "first plan", &events);
        for round in 0..5 {
            time(&mut state, &format!("a node dies ({round})"), &[event(round, MISS)]);
        }
        let rest: Vec<Event> = (5..11).map(|node| event(node, MISS)).collect();
        time(&mut state, "its cluster fails", &rest);
        sweep(&state, services);
        let back: Vec<Event> = (0..11).flat_map(|n| vec![event(n, Outcome::Hit); 2]).collect();
        time(&mut state, "all are back", &back);
        let chunks = writer.chunks_in_use();
        println!("  slot memory in use: {chunks} KiB (chunks of 1 KiB)");
        println!("  anonymous memory of the process: {} KiB", resident_kib());
    }
}
