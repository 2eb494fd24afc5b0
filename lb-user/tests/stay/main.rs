//! Connections stay where they are: a model in virtual time.
//!
//! Flows of TCP, QUIC and sticky UDP go through random histories of dying, returning, stopping and
//! drained nodes, of maintenance, of restarts and of configurations that change, with drain limits so
//! long that windows overlap. Tables come from the real `State`, packets are answered by the real
//! stages, pins end by the real sweep. No connection whose node stayed up, and that was not silent for a
//! whole window, may change its node; no new one may fail while somebody is there for it; all windows
//! end. If any one of the rules is left out, some connection must break.
//!
//! `STAY_TRACES=1000 cargo test --release -p lb-user --test stay` runs more of them.

mod changes;
mod dice;
mod flows;
mod shape;
mod without;
mod world;

use std::{env, time::Duration};

use lb_ebpf::select::Kind;
use lb_user::decide::{Admin, Event};

use changes::{Changes, administer};
use dice::Dice;
use flows::{Clients, Tally, client};
use shape::{Protocol, SERVICES, Shape};
use without::Without;
use world::World;

const TICK: Duration = Duration::from_millis(50);
/// Buckets of pins: more than enough for all clients.
const BUCKETS: u32 = 1024;
const CLIENTS: usize = 300;

/// A history of four minutes by these numbers.
fn trace(seed: u64, without: Without) -> Tally {
    let mut changes = Changes::new(Dice(seed));
    let mut world = World::new(changes.shape().config(), without, BUCKETS);
    world.step(Duration::ZERO, &changes.checks(&world));
    let mut clients = Clients::new(CLIENTS, &SERVICES, world.now, Dice(!seed));
    for _ in 0..240 * 20 {
        let events = changes.turn(&mut world, |server| clients.lost(server));
        world.step(TICK, &events);
        clients.send(&world, &changes);
    }
    // Longer than any window and any ramp.
    for _ in 0..60 {
        world.step(Duration::from_secs(1), &changes.checks(&world));
    }
    assert!(!world.drains(), "trace {seed}: a window that never ends");
    clients.tally
}

fn traces() -> u64 {
    env::var("STAY_TRACES").ok().and_then(|number| number.parse().ok()).unwrap_or(40)
}

#[test]
fn covered_connections_stay() {
    let mut all = Tally::default();
    for seed in 1..=traces() {
        let tally = trace(seed, Without::Nothing);
        assert_eq!((tally.broken, tally.failed), (0, 0), "trace {seed}: {tally:?}");
        all += tally;
    }
    println!("{all:?}");
    assert_eq!(all.refused, 0, "there is room for all");
    assert!(all.covered > 15_000 * traces(), "they hardly send anything: {all:?}");
    assert!(all.stayed > 500 * traces(), "hardly one has to stay: {all:?}");
    assert!(all.opened > 200 * traces() && all.reused > 100 * traces(), "{all:?}");
}

/// Each rule is needed: without it connections break.
#[test]
fn no_rule_can_be_left_out() {
    for without in [Without::Base, Without::States, Without::Closing, Without::Sweep] {
        let mut all = Tally::default();
        for seed in 1..=6 {
            all += trace(seed, without);
            if all.broken > 0 {
                break;
            }
        }
        println!("{without:?}: {all:?}");
        assert!(all.broken > 0, "{without:?} breaks nothing");
    }
}

/// A cluster is drained while clients from everywhere open connections that never go on, far more than
/// there is room for. All that were there before are pinned before the window closes, and stay.
fn flood(seed: u64, without: Without) -> Tally {
    const BUCKETS: u32 = 64;
    const OPENINGS: u32 = 400;
    let shape = Shape::default();
    let mut world = World::new(shape.config(), without, BUCKETS);
    let changes = Changes::new(Dice(seed));
    world.step(Duration::ZERO, &changes.checks(&world));
    let mut clients = Clients::new(60, &[(80, Protocol::Tcp)], world.now, Dice(!seed));
    let mut dice = Dice(seed);
    let mut run = |clients: &mut Clients, world: &mut World, seconds: u32, openings: u32| {
        for _ in 0..seconds * 20 {
            world.step(TICK, &[]);
            let service = world.service(80).expect("it is in force");
            for _ in 0..openings {
                let number = 1 << 31 | dice.below(1 << 31);
                // Nobody waits for an answer.
                let _ = world.packet(service, &client(number, Protocol::Tcp), Kind::Opens);
            }
            clients.send(world, &changes);
        }
    };
    run(&mut clients, &mut world, 10, 0);
    let drained = shape.servers().into_iter().filter(|server| server.cluster() == 0);
    let drained = drained.flat_map(|server| administer(&world, server, Admin::Drained));
    let drained: Vec<Event> = drained.collect();
    world.step(TICK, &drained);
    run(&mut clients, &mut world, 22, OPENINGS);
    run(&mut clients, &mut world, 10, 0);
    clients.tally
}

#[test]
fn a_flood_of_openings_leaves_room() {
    for seed in 1..=3 {
        let tally = flood(seed, Without::Nothing);
        assert_eq!(tally.broken, 0, "{tally:?}");
        assert!(tally.stayed > 100, "{tally:?}");
        let all = flood(seed, Without::Quota);
        println!("{tally:?}, without: {all:?}");
        assert!(all.broken > 0, "{all:?}");
    }
}
