//! Each kind of violation is found when an intent is broken on purpose, and none in a sound one.

use std::{sync::Arc, time::Duration};

use lb_common::{Forward, NodeId, NodeRecord, PlanRecord, ServiceId};

use super::*;
use crate::{
    config::{BackupMode, Config, Panic},
    decide::{
        Attached, Event, Host, Model, NextHop, Outcome, State, TargetId, View,
        check::Checker,
        tests::fixture::{cluster, config, percent, service},
    },
};

// Services by name: all = 0, nat = 1, one = 2, other = 3, range = 4.
const ALL: usize = 0;
const RANGE: usize = 4;
// Pools: g = 0, l = 1, n for `nat` = 2, n for `other` = 3; then the latter's without health.
const PORTED: [usize; 2] = [3, 4];

/// Every kind of ports, every way of forwarding but `ipip`.
fn mixed() -> Config {
    let clusters = ["G", "L", "N"].map(|name| cluster(name, 1, percent(50), &[1, 1]));
    let mut config = config(clusters.to_vec());
    for (cluster, way) in config.clusters.iter_mut().zip([Forward::Gue, Forward::L2, Forward::Nat])
    {
        cluster.forward = way;
    }
    config.clusters[2].nodes[1].port = Some(7000);
    for (name, master, ports) in [
        ("all", "G", Ports::All),
        ("nat", "N", Ports::One(80)),
        ("one", "L", Ports::One(5)),
        ("other", "N", Ports::One(81)),
        ("range", "G", Ports::Range { first: 10, last: 20 }),
    ] {
        let mut service = service(&config, name, BackupMode::None, master, "");
        service.ports = ports;
        config.services.push(service);
    }
    config.services[3].masters[0].port = Some(9000);
    config.services[3].panic = Panic::All;
    config.services[RANGE].affinity = Affinity::Source;
    config
}

fn state() -> State {
    let model = Arc::new(Model::new(Arc::new(mixed())));
    let mut state = State::with_model(Arc::clone(&model), Duration::ZERO);
    let hop = NextHop {
        ifindex: 3,
        src_mac: [2; 6],
        dst_mac: [4; 6],
        mtu: 1500,
        tags: [NodeRecord::TAG | 7, 0],
        source: Some([10, 9, 9, 9].into()),
    };
    let ids = (0..model.nodes.len()).filter_map(NodeId::new);
    let hops = ids.map(|node| Event::Resolved { node, hop: Some(hop) });
    let targets = (0..).map(TargetId).take(model.pools.targets.len());
    let hits = targets.map(|target| Event::Checked { target, outcome: Outcome::Hit });
    // One of its addresses is the VIP.
    let addresses = vec![[10, 9, 9, 9].into(), [192, 0, 2, 1].into()];
    let interfaces = [3, 4].map(|ifindex| Attached { ifindex, mac: [ifindex as u8; 6] });
    let host = Event::Host(Host { interfaces: interfaces.to_vec(), addresses, fragments: true });
    state.step(Duration::ZERO, &hits.chain(hops).chain([host]).collect::<Vec<_>>());
    state
}

fn found(state: &State, damage: impl Fn(&mut Intent)) -> Vec<Violation> {
    let View { model, hops, host, decision, published, .. } = state.view();
    let decision = decision.expect("a decision");
    let mut intent = Intent::clone(published.expect("a sound plan"));
    damage(&mut intent);
    let facts = Facts { model, hops, host, decision };
    Checker::default().check(&facts, &intent)
}

fn id(service: usize) -> ServiceId {
    ServiceId::new(service).expect("an id")
}

#[test]
fn a_sound_plan_is_sound() {
    let state = state();
    assert_eq!(found(&state, |_| ()), []);
    let plan = state.view().published.expect("a plan");
    assert_eq!((plan.replies.len(), plan.own.len(), plan.plan.flags), (4, 1, 3));
}

#[test]
fn destinations() {
    let state = state();
    let vip = |entry| Violation::Vip { entry };
    let damaged = |damage: &dyn Fn(&mut Intent)| found(&state, damage);
    assert_eq!(damaged(&|i| i.vips[ALL].service = id(RANGE)), [vip(ALL)]);
    assert_eq!(damaged(&|i| i.vips[ALL].ports = Ports::One(9)), [vip(ALL)]);
    assert_eq!(damaged(&|i| i.vips[ALL].protocol = 17), [vip(ALL)]);
    assert_eq!(damaged(&|i| i.vips[ALL].address[0] = 1), [vip(ALL)]);
    assert_eq!(damaged(&|i| i.vips[1] = i.vips[ALL]), [vip(1)], "the same twice");
    // A range beats all ports; two ranges that share one port do not go together.
    let overlap = |i: &mut Intent| i.vips[ALL].ports = Ports::Range { first: 20, last: 30 };
    assert_eq!(damaged(&overlap), [vip(ALL)]);
    let behind = |i: &mut Intent| i.vips[ALL].ports = Ports::Range { first: 2, last: 10 };
    assert_eq!(damaged(&behind), [vip(ALL), vip(RANGE)]);
}

#[test]
fn replies_of_nat_nodes() {
    let state = state();
    let reply = |entry| Violation::Reply { entry };
    let none = |service| Violation::NoReply { service };
    let damaged = |damage: &dyn Fn(&mut Intent)| found(&state, damage);
    let [nat, other] = [1, 3];
    let first = state.view().published.expect("a plan").replies[0];
    assert_eq!((first.ports, first.service.index()), (Ports::One(80), nat));
    assert_eq!(damaged(&|i| i.replies = i.replies[1..].to_vec()), [none(nat)]);
    assert_eq!(damaged(&|i| i.replies.push(i.replies[0])), [reply(4)]);
    assert_eq!(damaged(&|i| i.replies[0].service = id(other)), [reply(0), none(nat)]);
    assert_eq!(damaged(&|i| i.replies[0].ports = Ports::All), [reply(0), reply(1), none(nat)]);
    assert_eq!(damaged(&|i| i.replies[0].address[3] += 9), [reply(0), none(nat)]);
    let l2 = |i: &mut Intent| {
        let at = words(mixed().clusters[1].nodes[0].address);
        i.replies.push(Vip { address: at, ports: Ports::One(5), protocol: 6, service: id(2) });
    };
    assert_eq!(damaged(&l2), [reply(4)], "it forwards otherwise");
}

#[test]
fn this_host() {
    let state = state();
    let damaged = |damage: &dyn Fn(&mut Intent)| found(&state, damage);
    for flag in [PlanRecord::NAT, PlanRecord::HOST_FRAGMENTS, 4] {
        assert_eq!(damaged(&|i| i.plan.flags ^= flag), [Violation::Plan]);
    }
    assert_eq!(damaged(&|i| i.plan.interfaces[1] = 0), [Violation::Plan]);
    assert_eq!(damaged(&|i| i.plan.interfaces[2] = 9), [Violation::Plan]);
    assert_eq!(damaged(&|i| i.plan.macs.swap(0, 1)), [Violation::Plan]);
    assert_eq!(damaged(&|i| i.plan.macs[1] = [0; 6]), [Violation::Plan]);
    assert_eq!(damaged(&|i| i.plan.macs[2] = [2; 6]), [Violation::Plan]);
    assert_eq!(damaged(&|i| i.own.clear()), [Violation::Own]);
    assert_eq!(damaged(&|i| i.own.push(i.vips[0].address)), [Violation::Own]);
    assert_eq!(damaged(&|i| i.own.push(i.own[0])), [Violation::Own]);
}

#[test]
fn what_stands_beside_the_tables() {
    let state = state();
    let damaged = |damage: &dyn Fn(&mut Intent)| found(&state, damage);
    let service = |service| Violation::Directory { table: TableId::Service(service) };
    let cluster = |cluster| Violation::Directory { table: TableId::Cluster(cluster) };
    assert_eq!(damaged(&|i| i.services[1].port = 0), [service(1)]);
    assert_eq!(damaged(&|i| i.services[ALL].port = 1), [service(ALL)]);
    assert_eq!(damaged(&|i| i.services[RANGE].by_source = false), [service(RANGE)]);
    assert_eq!(damaged(&|i| i.services[ALL].by_source = true), [service(ALL)]);
    assert_eq!(damaged(&|i| i.addresses[2][3] ^= 1), [service(2)]);
    for table in PORTED {
        assert_eq!(damaged(&|i| i.clusters[table].port = 0), [cluster(table)]);
    }
    assert_eq!(damaged(&|i| i.clusters[2].port = 9000), [cluster(2)]);
    assert_eq!(damaged(&|i| i.clusters[0].by_source = true), [cluster(0)]);
}

#[test]
fn records_of_nodes() {
    type Damage = fn(&mut NodeRecord);
    let state = state();
    let damages: &[Damage] = &[
        |r| r.up ^= 1,
        |r| r.address[15] ^= 1,
        |r| r.forward = 0,
        |r| r.v6 = 1,
        |r| r.port_be[1] ^= 1,
        |r| r.ifindex = 0,
        |r| r.src_mac[0] ^= 1,
        |r| r.dst_mac[5] ^= 1,
        |r| r.mtu += 1,
        |r| r.source[15] ^= 1,
        |r| r.checksum_seed ^= 1,
        |r| r.tags = [0, NodeRecord::TAG | 7],
        |r| r.tags[0] = 7,
        |r| r.tags[0] = NodeRecord::TAG | 0x0fff,
    ];
    // Of each way of forwarding; nodes are those of G, L, N.
    for node in [0, 2, 5] {
        for (position, damage) in damages.iter().enumerate() {
            let found = found(&state, |intent| damage(&mut intent.nodes[node]));
            assert_eq!(found, [Violation::NodeRecord { node }], "{position}");
        }
    }
    // Tags that would be wrong even if the way said so.
    for (tags, right) in [
        ([0, 0], true),
        ([NodeRecord::TAG | 1, 0], true),
        ([NodeRecord::TAG | NodeRecord::SERVICE_TAG | 1, NodeRecord::TAG | 2], true),
        ([0, NodeRecord::TAG | 1], false),
        ([NodeRecord::SERVICE_TAG | 1, 0], false),
        ([NodeRecord::TAG | 0x0fff, 0], false),
        ([NodeRecord::TAG | 0x2001, 0], false),
    ] {
        assert_eq!(tags_are_right(tags), right, "{tags:x?}");
    }
}

#[test]
fn sums_of_addresses() {
    let parse = |text: &str| -> IpAddr { text.parse().expect("an address") };
    let cases = [
        ("0.0.0.0", "0.0.0.0", 0),
        ("10.1.2.3", "10.0.0.1", 0x1605),
        ("255.255.0.0", "0.0.0.0", 0xffff),
        ("255.255.255.255", "0.1.0.0", 1),
        ("2001:db8::1", "2001:db8::ffff", 0x5b73),
    ];
    for (one, other, expected) in cases {
        assert_eq!(sum(parse(one), parse(other)), expected, "{one} {other}");
    }
}
