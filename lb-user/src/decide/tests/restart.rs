//! What a restart must not change, whatever is silent after it.

use std::{sync::Arc, time::Duration};

use lb_common::{Forward, NodeId, PlanRecord};

use super::{
    fixture::{HOP, cluster, config, percent, service},
    leaving::all_well,
    resume::next,
};
use crate::{
    config::{BackupMode, Config},
    decide::{Attached, Event, Host, Intent, NextHop, State},
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
