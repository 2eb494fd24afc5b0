//! What a restart must not change, whatever is silent after it.

use std::{sync::Arc, time::Duration};

use lb_common::{Forward, NodeId, PlanRecord, Slot};

use super::{
    fixture::{HOP, checked, cluster, config, percent, service},
    leaving::all_well,
    resume::{maps, next, two},
};
use crate::{
    config::{BackupMode, Config, Health, Ratio, Threshold},
    decide::{
        Admin, Attached, Event, Host, Intent, MissReason, NextHop, NodeState, Outcome, State, Unfit,
    },
};

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn plan(state: &State) -> Option<&Arc<Intent>> {
    state.view().published
}

/// A service over two clusters that packets are brought to in these ways.
fn forwarded(ways: [Forward; 2]) -> Config {
    let half = percent(50);
    let mut config = config(vec![cluster("A", 1, half, &[1, 1]), cluster("B", 1, half, &[1, 1])]);
    for (cluster, way) in config.clusters.iter_mut().zip(ways) {
        cluster.forward = way;
    }
    config.services = vec![service(&config, "web", BackupMode::MultiMaster, "A B", "")];
    config
}

fn host() -> Host {
    let addresses = ["10.1.0.9", "192.0.2.1", "2001:db8::9"];
    Host {
        interfaces: vec![
            Attached { ifindex: 3, mac: [3; 6] },
            Attached { ifindex: 5, mac: [0; 6] },
        ],
        addresses: addresses.map(|text| text.parse().expect("an address")).to_vec(),
        fragments: true,
    }
}

fn hop() -> NextHop {
    NextHop { mtu: 1400, source: Some([10, 1, 0, 9].into()), ..HOP }
}

/// All nodes live, and way and host are known.
fn running(file: &Config) -> State {
    let mut state = State::new(Arc::new(file.clone()), at(0));
    let node = |node| Event::Resolved { node, hop: Some(hop()) };
    all_well(&mut state);
    let mut events: Vec<Event> = (0..4).filter_map(NodeId::new).map(node).collect();
    events.push(Event::Host(host()));
    state.step(at(8), &events);
    state
}

#[test]
fn without_a_word_of_ways_and_host_the_plan_stays() {
    let all = Forward::ALL;
    for ways in all.into_iter().flat_map(|a| all.map(|b| [a, b])) {
        let file = forwarded(ways);
        let state = running(&file);
        let before = plan(&state).expect("a plan");
        assert!(before.nodes.iter().all(|node| node.ifindex == 3), "{ways:?}");
        let mut again = next(&state, &file, at(0));
        again.step(at(100), &[]);
        assert_eq!(plan(&again), Some(before), "{ways:?}");
        // What is heard then counts.
        let lost = Event::Resolved { node: NodeId::new(1).expect("an id"), hop: None };
        let other = Host { fragments: false, interfaces: Vec::new(), ..host() };
        again.step(at(101), &[lost, Event::Host(other)]);
        let after = plan(&again).expect("a plan");
        assert_eq!((after.nodes[1].ifindex, after.plan.interfaces[0]), (0, 0), "{ways:?}");
        assert_eq!(after.plan.flags & PlanRecord::HOST_FRAGMENTS, 0, "{ways:?}");
    }
}

#[test]
fn what_the_plan_did_not_have_to_know_of_the_host_is_waited_for() {
    let state = running(&forwarded([Forward::Ipip, Forward::L2]));
    let file = forwarded([Forward::Ipip, Forward::Nat]);
    let mut again = next(&state, &file, at(0));
    assert_eq!(again.view().host, None, "its addresses are not known");
    again.step(at(1), &[]);
    assert_eq!(plan(&again), None);
    again.step(at(1), &[Event::Host(host())]);
    let after = plan(&again).expect("a plan");
    assert_eq!(after.plan.flags, PlanRecord::NAT | PlanRecord::HOST_FRAGMENTS);
    assert_eq!(after.own.len(), 2, "all but the VIP");
}

/// A and B, whose connections stay for a minute, all well.
fn draining() -> (Config, State) {
    let mut file = two();
    file.clusters.iter_mut().for_each(|cluster| cluster.drain = at(60));
    let mut state = State::new(Arc::new(file.clone()), at(0));
    all_well(&mut state);
    (file, state)
}

fn order(node: usize, admin: Admin) -> Event {
    Event::Administer { node: NodeId::new(node).expect("an id"), admin }
}

#[test]
fn wishes_for_all_nodes_one_by_one_are_none_for_their_cluster() {
    let (file, mut state) = draining();
    state.step(at(10), &[0, 1, 2].map(|node| order(node, Admin::Drained)));
    state.step(at(11), &[Event::AdministerCluster { cluster: 1, admin: Admin::Maintenance }]);
    state.step(at(12), &[order(3, Admin::Drained)]);
    let mut again = next(&state, &file, at(0));
    let wishes = |state: &State| {
        let admins = state.view().admins;
        let (own, whole) = ((0..5).map(|node| admins.own(node).admin), [0, 1]);
        (own.collect::<Vec<_>>(), whole.map(|cluster| admins.cluster(cluster).admin))
    };
    let drained = Admin::Drained;
    let expected = [drained, drained, drained, drained, Admin::InService];
    assert_eq!(wishes(&again), (expected.to_vec(), [Admin::InService, Admin::Maintenance]));
    assert_eq!(wishes(&again), wishes(&state));
    again.step(at(1), &[order(0, Admin::InService)]);
    assert_eq!(again.view().admins.effective()[..2], [Admin::InService, drained]);
}

#[test]
fn who_was_cut_off_stays_it() {
    let (file, mut state) = draining();
    state.step(at(10), &[order(1, Admin::Maintenance)]);
    state.step(at(65), &[order(4, Admin::Maintenance)]);
    state.step(at(70), &[]);
    let up = |state: &State| {
        let nodes = &plan(state).expect("a plan").nodes;
        nodes.iter().map(|node| node.up).collect::<Vec<_>>()
    };
    assert_eq!(up(&state), [1, 0, 1, 1, 1]);
    let mut again = next(&state, &file, at(0));
    again.step(at(1), &[]);
    assert_eq!(up(&again), [1, 0, 1, 1, 1]);
    let cut_at = |node| again.view().admins.cut_at(&again.model, node);
    assert_eq!([1, 4].map(cut_at), [None, Some(at(60))]);
}

#[test]
fn who_has_no_share_is_not_down() {
    let clusters = ["A", "B"].map(|name| cluster(name, 1, percent(50), &[1, 1_000_000]));
    let mut file = config(clusters.to_vec());
    file.clusters[0].threshold = Threshold::Survivors(2);
    file.services = vec![service(&file, "web", BackupMode::MultiMaster, "A B", "")];
    let mut state = State::new(Arc::new(file.clone()), at(0));
    let before = all_well(&mut state);
    let lightest = Some(0);
    assert!(before.clusters[0].slots.iter().all(|slot| slot.member() != lightest));
    let mut again = next(&state, &file, at(0));
    assert_eq!(again.view().state(0, 0), NodeState::Up);
    again.step(at(1), &[]);
    assert_eq!(plan(&again), Some(&before));
}

#[test]
fn checked_in_several_ways_who_serves_none_is_asked_first() {
    let mut file = config(vec![
        cluster("A", 1, Threshold::Survivors(3), &[1, 1_000_000, 1_000_000]),
        cluster("B", 1, percent(50), &[1, 1]),
    ]);
    for (name, port) in [("mail", 25), ("web", 80)] {
        let mut service = service(&file, name, BackupMode::MultiMaster, "A B", "");
        service.health = Some(Health { port: Some(port), ..file.clusters[0].health.clone() });
        file.services.push(service);
    }
    let mut state = State::new(Arc::new(file.clone()), at(0));
    all_well(&mut state);
    let model = Arc::clone(&state.model);
    let pools = model.pools_of(1);
    // The last node serves one of the two.
    let target = model.pool(pools.start).targets[1];
    let miss = Event::Checked { target, outcome: Outcome::Miss(MissReason::Timeout) };
    state.step(at(10), &[miss.clone(), miss.clone(), miss]);
    let before = plan(&state);
    assert!(matches!(state.view().state(pools.start, 1), NodeState::Down(_)));
    let mut again = next(&state, &file, at(0));
    again.step(at(1), &[]);
    assert_eq!(plan(&again), None, "the lightest is to speak");
    let states = |pool| (0..2).map(|i| again.view().state(pool, i)).collect::<Vec<_>>();
    assert_eq!(states(0), [NodeState::Unknown, NodeState::Up]);
    assert_eq!(states(pools.start), [NodeState::Up, NodeState::Unknown]);
    assert_eq!(states(pools.start + 1), [NodeState::Up, NodeState::Up]);
    again.step(at(1), &checked(&model, 0, Outcome::Hit));
    again.step(at(100), &[]);
    assert_eq!(plan(&again), before, "who says nothing serves no more than before");
}

/// A part of nothing.
const NOTHING: Threshold = Threshold::Ratio(Ratio { numerator: 1, denominator: 0 });

#[test]
fn what_makes_no_sense_is_refused() {
    let mut state = State::new(Arc::new(two()), at(0));
    all_well(&mut state);
    let wrongs: [fn(&mut Config); 5] = [
        |config| config.services[0].masters[1].cluster = 2,
        |config| config.clusters[0].threshold = NOTHING,
        |config| config.clusters[1].recover_at = Some(NOTHING),
        |config| config.clusters[0].health.timeout = Duration::MAX,
        |config| config.clusters[0].drain = Duration::MAX,
    ];
    let maps = maps(plan(&state).expect("a plan"));
    for (i, wrong) in wrongs.into_iter().enumerate() {
        let mut saved = state.saved();
        wrong(&mut saved.config);
        assert_eq!(State::resume(saved, &maps, at(1)).err(), Some(Unfit), "{i}");
    }
    for services in [true, false] {
        let mut maps = maps.clone();
        let tables = if services { &mut maps.services } else { &mut maps.clusters };
        tables[0].base = Some(vec![Slot::clean(9); tables[0].slots.len()].into());
        assert_eq!(State::resume(state.saved(), &maps, at(1)).err(), Some(Unfit), "{services}");
    }
}
