//! What the ways of forwarding need of this host and of the ways to the nodes.

use std::{sync::Arc, time::Duration};

use lb_common::{Forward, NodeId, NodeRecord, PlanRecord};

use super::fixture::{cluster, config, percent, service};
use crate::{
    config::{BackupMode, Config, Panic, Ports, Source},
    decide::{
        Attached, Effect, Event, Host, Intent, Model, NextHop, NoWay, Outcome, State, TargetId,
        Variant, intent::MOST_OWN,
    },
};

fn checked(nodes: std::ops::Range<u32>, outcome: Outcome) -> Vec<Event> {
    nodes.map(|n| Event::Checked { target: TargetId(n), outcome }).collect()
}

fn at(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn published(effects: &[Effect]) -> Option<Arc<Intent>> {
    effects.iter().find_map(|effect| match effect {
        Effect::Publish(intent) => Some(Arc::clone(intent)),
        Effect::Refused(violations) => panic!("{violations:?}"),
        Effect::Notice(_) => None,
    })
}

/// A cluster for each of two services, of this way of forwarding.
fn forwarded(forward: Forward) -> Config {
    let clusters = ["A", "B"].map(|name| cluster(name, 1, percent(60), &[1, 1]));
    let mut config = config(clusters.to_vec());
    config.clusters.iter_mut().for_each(|cluster| cluster.forward = forward);
    config.services.push(service(&config, "web", BackupMode::None, "A", ""));
    config.services.push(service(&config, "mail", BackupMode::None, "B", ""));
    config.services.sort_by(|a, b| a.name.cmp(&b.name));
    config
}

fn host(addresses: &[&str], fragments: bool) -> Event {
    let addresses = addresses.iter().map(|text| text.parse().expect("an address")).collect();
    let interfaces = [3, 5].map(|ifindex| Attached { ifindex, mac: [ifindex as u8; 6] });
    Event::Host(Host { interfaces: interfaces.to_vec(), addresses, fragments })
}

/// The way to each node; with this source, if any.
fn hops(source: Option<&str>) -> Vec<Event> {
    let source = source.map(|source| source.parse().expect("an address"));
    let (src_mac, dst_mac, tags) = ([2; 6], [4; 6], [NodeRecord::TAG | 9, 0]);
    let hop = NextHop { ifindex: 3, src_mac, dst_mac, mtu: 1400, tags, source };
    let nodes = (0..4).filter_map(NodeId::new);
    nodes.map(|node| Event::Resolved { node, hop: Some(hop) }).collect()
}

#[test]
fn a_plan_waits_for_this_host_only_if_packets_need_to_know_it() {
    for forward in Forward::ALL {
        let mut state = State::new(Arc::new(forwarded(forward)), at(0));
        let plan = published(&state.step(at(1), &hops(Some("10.9.9.9"))));
        assert_eq!(plan, None, "nothing was checked");
        let plan = published(&state.step(at(2), &checked(0..4, Outcome::Hit)));
        assert_eq!(plan.is_some(), forward == Forward::L2, "{forward:?}");
        let here = host(&["10.9.9.9", "192.0.2.1", "2001:db8::7"], true);
        // Where its frames come in matters to all.
        assert!(published(&state.step(at(3), std::slice::from_ref(&here))).is_some());
        assert_eq!(published(&state.step(at(4), &[here])), None, "nothing new");
        let plan = state.view().published.expect("a plan").clone();
        let (nat, fragments) = (PlanRecord::NAT, PlanRecord::HOST_FRAGMENTS);
        let (flags, own) = match forward {
            Forward::L2 => (0, 0),
            Forward::Ipip | Forward::Gue => (fragments, 0),
            // 192.0.2.1 is a VIP.
            Forward::Nat => (nat | fragments, 2),
        };
        assert_eq!((plan.plan.flags, plan.own.len()), (flags, own));
        assert_eq!(plan.plan.interfaces[..3], [3, 5, 0]);
        assert_eq!(plan.plan.macs[..3], [[3; 6], [5; 6], [0; 6]]);
        assert_eq!(plan.replies.len(), if forward == Forward::Nat { 4 } else { 0 });
        // It is another one.
        let other = published(&state.step(at(5), &[host(&["10.9.9.9"], false)]));
        assert_eq!(other.is_some(), forward != Forward::L2, "{forward:?}");
        if let Some(other) = other {
            assert_eq!((other.plan.flags & fragments, other.own.len()), (0, own.min(1)));
        }
    }
}

#[test]
fn the_grace_ends_also_if_this_host_is_not_known_and_then_no_reply_is_looked_for() {
    let mut state = State::new(Arc::new(forwarded(Forward::Nat)), at(0));
    state.step(at(1), &hops(None));
    assert_eq!(published(&state.step(at(1499), &checked(0..4, Outcome::Hit))), None);
    let plan = published(&state.step(at(1500), &[])).expect("a plan");
    assert_eq!(plan.plan, PlanRecord::default());
    let plan = published(&state.step(at(1501), &[host(&[], false)])).expect("a plan");
    assert_eq!(plan.plan.flags, PlanRecord::NAT);
    // Another configuration knows it, too.
    let next = state.succeed(&forwarded(Forward::Ipip), at(1502)).expect("ids");
    assert_eq!(next.view().host, state.view().host);
}

#[test]
fn a_tunnel_needs_a_source_and_its_record_says_it() {
    for (forward, port) in [(Forward::Ipip, 0), (Forward::Gue, 6080)] {
        let mut state = State::new(Arc::new(forwarded(forward)), at(0));
        let mut all = checked(0..4, Outcome::Hit);
        all.extend(hops(None));
        all.push(host(&[], false));
        assert_eq!(published(&state.step(at(1), &all)), None, "nobody can be reached");
        assert_eq!(state.view().way(0), Err(NoWay::Source));
        assert_eq!(published(&state.step(at(2), &hops(Some("2001:db8::9")))), None, "of IPv6");
        let plan = published(&state.step(at(3), &hops(Some("10.1.2.3")))).expect("a plan");
        // 0a01 + 0203 + 0a00 + 0001: the node is 10.0.0.1.
        let record = plan.nodes[1];
        assert_eq!((record.checksum_seed, record.port_be), (0x1605, u16::to_be_bytes(port)));
        assert_eq!(record.source[10..], [0xff, 0xff, 10, 1, 2, 3]);
        assert_eq!((record.mtu, record.tags, record.ifindex), (1400, [0x8009, 0], 3));
        let lost = published(&state.step(at(4), &hops(None)[1..2])).expect("a plan");
        assert_eq!(lost.nodes[1].ifindex, 0);
        assert!(lost.clusters[0].slots.iter().all(|slot| slot.member() == Some(0)));
    }
}

#[test]
fn of_too_many_own_addresses_those_are_told_that_nodes_answer_to() {
    let text = |number: usize| format!("10.8.{}.{}", number / 256, number % 256);
    let many: Vec<String> = (0..MOST_OWN + 76).map(text).collect();
    let mut addresses: Vec<&str> = many.iter().map(String::as_str).collect();
    // As the kernel's are told: in order. The last ones are those of a route, and of checks.
    addresses.extend(["10.9.9.9", "10.9.9.10"]);
    let mut config = forwarded(Forward::Nat);
    config.clusters[0].health.source = "10.9.9.10".parse().ok().map(Source::Address);
    let mut state = State::new(Arc::new(config), at(0));
    let mut all = checked(0..4, Outcome::Hit);
    all.extend(hops(Some("10.9.9.9")));
    let told = host(&addresses, false);
    all.push(told.clone());
    let plan = published(&state.step(at(1), &all)).expect("a plan");
    let Event::Host(told) = told else { panic!("it is a host") };
    assert_eq!(crate::decide::intent::left_out(state.view().model, &told), 78);
    assert_eq!(plan.own.len(), MOST_OWN);
    let ipv4 = |a: u32, b: u32| [0, 0, 0xffff, 0x0a00_0000 | a << 16 | b];
    assert_eq!(plan.own[..3], [ipv4(9, 0x0909), ipv4(9, 0x090a), ipv4(8, 0)]);
    // With l2 none is.
    let l2 = Model::new(Arc::new(forwarded(Forward::L2)));
    assert_eq!(crate::decide::intent::left_out(&l2, &told), 0);
}

/// Services of one `nat` cluster, all of which ask its nodes on port 80.
fn ports() -> Config {
    let mut config = config(vec![cluster("A", 1, percent(50), &[1, 1])]);
    config.clusters[0].forward = Forward::Nat;
    config.clusters[0].nodes[1].port = Some(7000);
    for (name, port) in
        [("own", None), ("one", Some(8001)), ("two", Some(8002)), ("too", Some(8002))]
    {
        let mut service = service(&config, name, BackupMode::None, "A", "");
        service.masters[0].port = port;
        service.panic = if name == "own" { Panic::Alive } else { Panic::All };
        config.services.push(service);
    }
    // Or the replies of "two" and "too" were the same.
    config.services[3].protocol = crate::config::Protocol::Udp;
    config.services[3].ports = Ports::Range { first: 5000, last: 5001 };
    config.services[3].masters[0].port = None;
    config.services[3].panic = Panic::Alive;
    config.services.sort_by(|a, b| a.name.cmp(&b.name));
    config
}

#[test]
fn what_goes_to_another_port_of_a_nat_node_has_a_table_of_its_own() {
    let model = Model::new(Arc::new(ports()));
    let names: Vec<_> = (0..model.pools.pools.len()).map(|pool| model.pool_name(pool)).collect();
    assert_eq!(names, ["A:own", "A:one", "A:two"]);
    let of: Vec<u16> = model.pools.pools.iter().map(|pool| pool.port).collect();
    assert_eq!((of, model.pools.targets.len()), (vec![0, 8001, 8002], 2));
    let variant = |port| Variant { cluster: 0, port };
    assert_eq!(model.pools.variants, [variant(8001), variant(8002)]);
    assert_eq!([0, 1, 2].map(|pool| model.variant_of(pool)), [None, Some(3), Some(4)]);
    assert_eq!((model.tables(), model.variants_of(0)), (5, 3..5));
    // Elsewhere the port changes nothing.
    let mut plain = ports();
    plain.clusters[0].forward = Forward::L2;
    let model = Model::new(Arc::new(plain));
    assert_eq!((model.pools.pools.len(), model.pools.variants.len()), (1, 1));
}

#[test]
fn records_and_replies_have_the_ports_that_packets_get() {
    let mut state = State::new(Arc::new(ports()), at(0));
    let mut all = checked(0..2, Outcome::Hit);
    all.extend(hops(None)[..2].to_vec());
    all.push(host(&["10.9.9.9"], false));
    let plan = published(&state.step(at(1), &all)).expect("a plan");
    let of: Vec<u16> = plan.clusters.iter().map(|table| table.port).collect();
    assert_eq!(of, [0, 8001, 8002, 8001, 8002]);
    let slots = &plan.clusters[0].slots;
    assert!(plan.clusters.iter().all(|table| Arc::ptr_eq(&table.slots, slots)), "one table");
    let services: Vec<u16> = plan.services.iter().map(|table| table.port).collect();
    assert_eq!(services, [1001, 1000, 0, 1002]);
    let records: Vec<u16> =
        plan.nodes.iter().map(|node| u16::from_be_bytes(node.port_be)).collect();
    assert_eq!(
        (records, plan.nodes[0].source, plan.nodes[0].checksum_seed),
        (vec![0, 7000], [0; 16], 0)
    );
    let is = |reply: &crate::decide::Vip| {
        (reply.address[3] & 1, reply.protocol, reply.ports, reply.service.index())
    };
    let replies: Vec<_> = plan.replies.iter().map(is).collect();
    let range = Ports::Range { first: 5000, last: 5001 };
    let [one, own, too, two] = [0, 1, 2, 3];
    assert_eq!(
        replies,
        [
            (0, 6, Ports::One(1000), own),
            (0, 6, Ports::One(8001), one),
            (0, 6, Ports::One(8002), two),
            (0, 17, range, too),
            (1, 6, Ports::One(7000), own),
            (1, 6, Ports::One(8001), one),
            (1, 6, Ports::One(8002), two),
            (1, 17, Ports::One(7000), too),
        ]
    );
}
