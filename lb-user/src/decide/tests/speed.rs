//! Measurements, printed and not judged:
//! `cargo test --release -p lb-user speed -- --ignored --nocapture --test-threads=1`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::fixture::{cluster, config, percent, service, started};
use crate::{
    config::{BackupMode, Config, Ports},
    decide::{Effect, Event, MissReason, Outcome, State, TargetId},
};

/// So many services of 4 masters and 2 standbys each, out of so many clusters of 20 nodes.
fn large(services: usize, clusters: usize) -> Config {
    let name = |i: usize| format!("C{i:03}");
    let cluster = |i| cluster(&name(i), 1 + (i % 3) as u32, percent(50), &[1; 20]);
    let mut config = config((0..clusters).map(cluster).collect());
    for i in 0..services {
        let members: Vec<String> = (0..6).map(|k| name((i * 7 + k * k * 3) % clusters)).collect();
        let (masters, standbys) = (members[..4].join(" "), members[4..].join(" "));
        let mode = BackupMode::MultiStandby;
        let mut service = service(&config, &format!("s{i:03}"), mode, &masters, &standbys);
        service.ports = Ports::One(i as u16);
        config.services.push(service);
    }
    config
}

fn step(state: &mut State, events: &[Event], what: &str) {
    let start = Instant::now();
    let effects = state.step(Duration::from_secs(1), events);
    let time = start.elapsed();
    let published = effects.iter().any(|effect| matches!(effect, Effect::Publish(_)));
    println!("  {what}: {time:?}, {} effects, published: {published}", effects.len());
}

#[test]
#[ignore = "a measurement"]
fn speed_of_a_step() {
    for (services, clusters) in [(10, 10), (500, 200)] {
        println!("{services} services, {clusters} clusters of 20 nodes");
        let config = Arc::new(large(services, clusters));
        let start = Instant::now();
        let mut state = started(config, Duration::ZERO);
        println!("  orders: {:?}", start.elapsed());
        let event = |node, outcome| Event::Checked { target: TargetId(node), outcome };
        let miss = Outcome::Miss(MissReason::Timeout);
        let all: Vec<Event> = (0..20 * clusters as u32).map(|n| event(n, Outcome::Hit)).collect();
        step(&mut state, &all, "first plan");
        step(&mut state, &[event(0, Outcome::Hit)], "a check without news");
        state.step(Duration::from_secs(1), &[event(0, miss), event(0, miss)]);
        step(&mut state, &[event(0, miss)], "a node dies");
        let most: Vec<Event> = (1..10).flat_map(|n| vec![event(n, miss); 3]).collect();
        step(&mut state, &most, "9 more nodes die, still healthy");
        step(&mut state, &vec![event(10, miss); 3], "one more: the cluster fails");
        let back: Vec<Event> = (0..11).flat_map(|n| vec![event(n, Outcome::Hit); 2]).collect();
        step(&mut state, &back, "all are back");
    }
}
