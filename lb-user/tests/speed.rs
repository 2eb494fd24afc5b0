//! From a verdict to the commit, measured and not judged:
//! `cargo test --release -p lb-user --test speed -- --ignored --nocapture`.

use std::{
    fmt::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use lb_common::{
    ClusterId, NodeId, ServiceId,
    pin::{DEFAULT_PINS, FREE, PIN_WAYS, Pin, PinState, Tick},
};
use lb_ebpf::Tables;
use lb_user::{
    config,
    dataplane::{memory::Memory, writer::Writer},
    decide::{Effect, Event, Intent, MissReason, NextHop, Outcome, State, TargetId},
};
use nix::time::{ClockId, clock_gettime};

/// So many services of 4 masters and 2 standbys each, out of so many clusters of 20 nodes; so many of
/// them have tables that differ.
fn text(services: usize, clusters: usize, tables: usize) -> String {
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
        let members: Vec<String> = (0..6)
            .map(|k| format!("\"C{:03}\"", (s % tables * 7 + k * k * 3) % clusters))
            .collect();
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

/// Of this thread: other processes do not count.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock").into()
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

/// A state, and the maps that what it publishes is committed to.
struct Bench {
    state: State,
    memory: Memory,
    writer: Writer,
    now: Duration,
}

impl Bench {
    fn of(services: usize, clusters: usize, tables: usize) -> Self {
        println!("{services} services of {tables} tables, {clusters} clusters of 20 nodes");
        let text = text(services, clusters, tables);
        let config = config::parse(&text, "speed").expect("it is fine").config;
        let begin = Instant::now();
        let state = State::new(Arc::new(config), Duration::ZERO);
        println!("  orders: {:?}", begin.elapsed());
        let memory = Memory::anonymous().expect("memory");
        let writer = Writer::adopt(&memory);
        Self { state, memory, writer, now: Duration::from_secs(1) }
    }

    fn step(&mut self, what: &str, events: &[Event]) {
        let begin = Instant::now();
        let intent = published(self.state.step(self.now, events));
        let decided = begin.elapsed();
        let published = intent.is_some();
        if let Some(intent) = intent {
            self.writer.commit(&self.memory, &intent).expect("room");
        }
        let total = begin.elapsed();
        self.writer.graced(self.writer.epoch());
        let visible = if published { format!("visible {total:>12.1?}") } else { "no news".into() };
        println!("  {what:<30} decided {decided:>12.1?}, {visible}");
    }

    /// Takes all the places of pins: of all services, to nodes of the first cluster that live.
    fn fill(&self, services: usize) {
        let mut number = 0u64;
        for (bucket, way) in self.places() {
            number += 1;
            let tag = lb_common::hash::mix(number) | 2;
            let pin = Pin {
                node: NodeId::new(11 + tag as usize % 9).expect("an id"),
                service: ServiceId::new(number as usize % services).expect("an id"),
                cluster: ClusterId::new(0).expect("an id"),
                state: PinState::Live,
                last: Tick::at(0),
            };
            assert!(self.memory.claim_pin(bucket, way, FREE, tag), "a place is taken");
            assert!(self.memory.renew_pin(bucket, way, 0, pin.raw()), "it is written");
        }
        assert_eq!(number, u64::from(DEFAULT_PINS));
    }

    fn places(&self) -> impl Iterator<Item = (u32, usize)> + use<> {
        let buckets = self.memory.pins.len();
        (0..buckets).flat_map(|bucket| (0..PIN_WAYS).map(move |way| (bucket, way)))
    }

    /// What the daemon does about once a second: a thread looks, then the loop takes in what it found.
    fn sweep(&mut self, what: &str) {
        let (begin, worked) = (Instant::now(), cpu_time());
        let sweep = self.state.sweep().expect("a plan");
        let asked = begin.elapsed();
        let read = |at: (u32, usize)| Some((at, self.memory.pin(at.0, at.1)?));
        let (swept, ended) = sweep.judge(self.places().filter_map(read), Tick::at(1 << 30));
        let looked = cpu_time() - worked;
        let begin = Instant::now();
        let named = swept.named();
        self.state.named(&named);
        assert!(self.state.dismiss(&named, self.now).is_none(), "nothing is leaving");
        let taken = asked + begin.elapsed();
        let ended = ended.len();
        println!(
            "  {what:<30} looked {looked:.1?} of CPU time, {ended} end; in the loop {taken:?}, and:"
        );
        self.step("  its outcome", &[Event::Swept(Arc::new(swept))]);
    }
}

#[test]
#[ignore = "a measurement"]
fn from_a_verdict_to_the_commit() {
    const MISS: Outcome = Outcome::Miss(MissReason::Timeout);
    for (services, clusters, tables) in [(10, 10, 10), (500, 200, 500), (500, 200, 1)] {
        let mut bench = Bench::of(services, clusters, tables);
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
        bench.step("first plan", &events);
        for round in 0..5 {
            bench.step(&format!("a node dies ({round})"), &[event(round, MISS)]);
        }
        bench.fill(services);
        let rest: Vec<Event> = (5..11).map(|node| event(node, MISS)).collect();
        bench.step("its cluster fails", &rest);
        bench.sweep("a sweep in the windows");
        bench.now += Duration::from_secs(300);
        bench.step("the windows close", &[]);
        bench.sweep("a sweep behind them");
        bench.sweep("another one");
        let back: Vec<Event> = (0..11).flat_map(|n| vec![event(n, Outcome::Hit); 2]).collect();
        bench.step("all are back", &back);
        let chunks = bench.writer.chunks_in_use();
        println!("  slot memory in use: {chunks} KiB (chunks of 1 KiB)");
        println!("  anonymous memory of the process: {} KiB", resident_kib());
    }
}
