//! Where flows of all kinds go, in words.

use std::{sync::Arc, time::Duration};

use lb_common::{
    Chunk, Directory, NodeId, PinBucket, Reason, ServiceRecord, Slot, SlotState,
    layout::{CHUNK_SHIFT, CHUNK_SLOTS, MAX_CHUNKS, MAX_SERVICES, generation_index},
};
use lb_ebpf::Verdict;

use super::{Answer, Asked, Flow, Source, answer, stopped};
use crate::{
    config,
    dataplane::{memory::Memory, writer::Writer},
    decide::{Event, Host, Model, NextHop, Outcome, State, TargetId, tests::fixture::HOP},
    secret,
};

/// Each way of forwarding, each kind of ports, both IP versions.
const CONFIG: &str = r#"
    [[cluster]]
    name = "app"
    forward = "nat"
    nodes = [{ name = "own", address = "10.0.1.1", port = 8443 }]
    [[cluster]]
    name = "plain"
    forward = "nat"
    nodes = [{ name = "same", address = "10.0.2.1" }]
    [[cluster]]
    name = "far"
    forward = "ipip"
    health = { port = 7 }
    nodes = [{ name = "f", address = "10.0.3.1" }]

    [[service]]
    name = "web"
    address = "192.0.2.1:443"
    masters = ["app"]
    [[service]]
    name = "admin"
    address = "192.0.2.2:443"
    masters = [{ cluster = "app", port = 9000 }]
    [[service]]
    name = "kept"
    address = "192.0.2.3:25"
    masters = ["plain"]
    [[service]]
    name = "games"
    address = "[2001:db8::1]:8000-8010"
    affinity = "source"
    masters = ["far"]
    [[service]]
    name = "rest"
    address = "[2001:db8::1]:*"
    masters = ["far"]
"#;

/// A daemon all of whose nodes live; `source`: where tunnels come from.
fn state(source: Option<&str>) -> State {
    let config = config::parse(CONFIG, "lb.toml").expect("a good configuration").config;
    let mut state = State::with_model(Arc::new(Model::new(Arc::new(config))), Duration::ZERO);
    all_live(&mut state, source);
    state
}

/// The same under a file in which everything else stands behind other things.
fn shifted(state: &State) -> State {
    const MORE: &str = r#"
        [[cluster]]
        name = "a"
        nodes = [{ name = "a", address = "10.0.9.1" }, { name = "b", address = "10.0.9.2" }]
        [[service]]
        name = "a"
        address = "192.0.2.9:80"
        masters = ["a"]
    "#;
    let file = config::parse(&format!("{CONFIG}{MORE}"), "lb.toml").expect("a good one").config;
    let mut next = state.succeed(&file, Duration::ZERO).expect("ids");
    all_live(&mut next, Some("10.0.0.2"));
    next
}

fn all_live(state: &mut State, source: Option<&str>) {
    let model = Arc::clone(state.model());
    let source = source.map(|source| source.parse().expect("an address"));
    let hop = NextHop { ifindex: 2, source, ..HOP };
    let ids = (0..model.nodes.len()).filter_map(|node| model.ids.node(node));
    let hops = ids.map(|node| Event::Resolved { node, hop: Some(hop) });
    let targets = (0..).map(TargetId).take(model.pools.targets.len());
    let hits = targets.map(|target| Event::Checked { target, outcome: Outcome::Hit });
    let host = std::iter::once(Event::Host(Host::default()));
    let now = state.deadline().expect("an end of waiting");
    state.step(now, &hits.chain(hops).chain(host).collect::<Vec<_>>());
}

fn explain(state: &State, flow: &str) -> Answer {
    asked(state, &tables(state), flow, Asked::Opener)
}

fn asked(state: &State, memory: &Memory, flow: &str, asked: Asked) -> Answer {
    answer(&state.view(), memory, Source::Config, &flow.parse().expect("a flow"), asked)
}

/// The tables that a daemon has in force.
fn tables(state: &State) -> Memory {
    let memory = Memory::anonymous().expect("memory");
    memory.secret.set(0, secret::expand(&[1; 16], state.view().model.config.lb.hash));
    let intent = state.view().published.expect("a plan");
    Writer::adopt(&memory).commit(&memory, intent).expect("a commit");
    memory
}

#[test]
fn services_of_all_kinds() {
    let state = state(Some("10.0.0.2"));
    let cases = [
        ("tcp 198.51.100.7:1 192.0.2.1:443", "web", "web, slot ", "own: up, at 10.0.1.1 port 8443"),
        (
            "tcp 198.51.100.7:1 192.0.2.2:443",
            "admin",
            "admin, slot ",
            "own: up, at 10.0.1.1 port 9000",
        ),
        ("tcp 198.51.100.7:1 192.0.2.3:25", "kept", "kept, slot ", "same: up, at 10.0.2.1 port 25"),
        (
            "tcp [2001:db8:9::7]:1 [2001:db8::1]:8005",
            "games",
            "games on ports 8000-8010, slot ",
            "f: up, at 10.0.3.1",
        ),
        (
            "tcp [2001:db8:9::7]:1 [2001:db8::1]:7999",
            "rest",
            "rest on all ports, slot ",
            "f: up, at 10.0.3.1",
        ),
    ];
    for (flow, service, first, node) in cases {
        let Answer { explained, steps } = explain(&state, flow);
        assert_eq!(explained.service.as_deref(), Some(service), "{flow}: {explained:?}");
        assert!(steps[0].text.starts_with(first), "{flow}: {steps:?}");
        let said = steps.iter().find(|step| step.what == "node").map(|step| &*step.text);
        assert_eq!(said, Some(node), "{flow}");
        let port = node.split_once(" port ").map(|(_, port)| format!("serves it on port {port}"));
        let ends = port.as_deref().unwrap_or("serves it");
        assert!(explained.reason.ends_with(ends), "{flow}: {}", explained.reason);
        let by_source = explained.reason.contains("flows of one source address have one node");
        assert_eq!(by_source, service == "games", "{}", explained.reason);
    }
}

#[test]
fn flows_of_one_source_have_one_slot() {
    let state = state(Some("10.0.0.2"));
    let slot = |source: u32, port: u32, to: u32| {
        let flow = format!("tcp [2001:db8:9::{source}]:{port} [2001:db8::1]:{to}");
        explain(&state, &flow).explained.slot
    };
    assert_eq!(slot(7, 1, 8000), slot(7, 2, 8010));
    assert!((8..20).any(|source| slot(source, 1, 8000) != slot(7, 1, 8000)));
    assert!((2..20).any(|port| slot(7, port, 9000) != slot(7, 1, 9000)), "by flow elsewhere");
}

#[test]
fn a_tunnel_that_can_come_from_nowhere_gets_nobody() {
    let state = state(None);
    let there = explain(&state, "tcp [2001:db8:9::7]:1 [2001:db8::1]:80").explained;
    assert!(there.reason.ends_with("dropped: no cluster may serve this slot"), "{}", there.reason);
    assert_eq!(there.node, None);
    // Of the other IP version it is no use either.
    let state = self::state(Some("2001:db8::9"));
    assert_eq!(explain(&state, "tcp [2001:db8:9::7]:1 [2001:db8::1]:80").explained.node, None);
}

#[test]
fn every_end_before_a_node_is_said_in_words() {
    let ends = [
        Reason::PassNotIp,
        Reason::PassMalformed,
        Reason::PassNotVip,
        Reason::PassNoService,
        Reason::PassNotOurs,
        Reason::DropMartian,
        Reason::DropNoCluster,
        Reason::DropNoNode,
        Reason::DropBadTable,
    ];
    for reason in ends {
        let said = stopped(Verdict::drop(reason));
        assert!(said.contains(": ") && !said.contains(reason.name()), "{said}");
    }
}

/// Puts slots of a service that drain in the place of its own: those of one pool, that of another
/// before.
fn drain(memory: &Memory, service: u32, own: u16, base: u16) {
    let place = generation_index(memory.epoch(), MAX_SERVICES, service);
    let record = memory.services.get(place).expect("a service");
    let chunks = 1 << (u32::from(record.table.log2) - CHUNK_SHIFT);
    let mut behind = MAX_CHUNKS;
    let mut table = |slot: Slot| {
        behind -= chunks;
        let chunk = Chunk { slots: [slot.raw(); CHUNK_SLOTS as usize] };
        (behind..behind + chunks).for_each(|at| memory.slots.set(at, chunk));
        behind
    };
    let first = table(Slot::clean(own).in_state(SlotState::Drain));
    let base = table(Slot::clean(base));
    let table = Directory { first, base, ..record.table };
    memory.services.set(place, ServiceRecord { table, ..record });
}

#[test]
fn moved_slots_and_pins_are_told_and_stay() {
    let first = state(Some("10.0.0.2"));
    told_and_stay(&first);
    let next = shifted(&first);
    let ids = &next.model().ids;
    assert_ne!(ids.node(0).map(NodeId::index), Some(0), "ids are not positions");
    told_and_stay(&next);
}

fn told_and_stay(state: &State) {
    const FLOW: &str = "tcp 198.51.100.7:1 192.0.2.1:443";
    let memory = tables(state);
    let model = state.view().model;
    let pool = |name: &str| {
        let cluster = model.config.clusters.iter().position(|cluster| cluster.name == name);
        let pool = model.pools_of(cluster.expect("a cluster")).start;
        model.ids.table(pool).expect("an id").raw()
    };
    let first = asked(state, &memory, FLOW, Asked::Opener).explained;
    assert_eq!((first.state.as_deref(), first.base, first.pin), (Some("clean"), None, None));

    let web = model.config.services.iter().position(|service| service.name == "web");
    let web = web.and_then(|web| model.ids.service(web)).expect("an id");
    drain(&memory, web.raw().into(), pool("app"), pool("plain"));
    let told = |which| {
        let Answer { explained, steps } = asked(state, &memory, FLOW, which);
        assert_eq!(explained.state.as_deref(), Some("drain"));
        assert_eq!(explained.base.as_deref(), Some("plain/same"));
        assert!(steps.iter().any(|step| step.what == "state"), "{steps:?}");
        let to = (explained.carrier.expect("a cluster"), explained.node.expect("a node"));
        (format!("{}/{}", to.0, to.1), explained.pin, explained.reason)
    };
    let (opener, pin, reason) = told(Asked::Opener);
    assert_eq!((&*opener, pin), ("app/own", None));
    assert!(!reason.contains("moved"), "{reason}");
    let (established, pin, reason) = told(Asked::Established);
    assert_eq!((&*established, pin), ("plain/same", None));
    assert!(reason.ends_with("it stays where they were; to plain/same"), "{reason}");
    let untouched =
        (0..memory.pins.len()).all(|at| memory.pins.get(at) == Some(PinBucket::default()));
    assert!(untouched, "a question made a pin");

    // The connection really opens.
    let flow: Flow = FLOW.parse().expect("a flow");
    lb_ebpf::find(&flow.packet(Asked::Opener), &memory).expect("a service's").choice.expect("one");
    for which in [Asked::Opener, Asked::Established] {
        let (to, pin, reason) = told(which);
        assert_eq!((&*to, pin.as_deref()), ("app/own", Some("app/own")));
        assert!(reason.ends_with("it is pinned; to app/own"), "{reason}");
    }
    let noted = memory.noted();
    assert_eq!((noted.pin_looked_for, noted.pin_made), (1, 1), "by the packet alone");
}
