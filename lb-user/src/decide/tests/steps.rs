//! Events in, effects out.

use std::{sync::Arc, time::Duration};

use lb_common::NodeId;

use super::fixture::{cluster, config, percent, service};
use crate::{
    config::{BackupMode, Config},
    decide::{Effect, Event, Intent, MissReason, NextHop, Notice, Outcome, State},
};

const MISS: Outcome = Outcome::Miss(MissReason::Timeout);

/// The lab: masters A and B, standby S, three nodes each (ids 0..3, 3..6, 6..9), ratio 0.6.
fn lab() -> Config {
    let clusters = ["A", "B", "S"].map(|name| cluster(name, 1, percent(60), &[1, 1, 1]));
    let mut config = config(clusters.to_vec());
    config.services.push(service(&config, "web", BackupMode::OneStandby, "A B", "S"));
    config
}

fn checked(nodes: impl IntoIterator<Item = usize>, outcome: Outcome) -> Vec<Event> {
    let node = |node| NodeId::new(node).expect("an id");
    nodes.into_iter().map(|n| Event::Checked { node: node(n), outcome }).collect()
}

fn at(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn published(effects: &[Effect]) -> Option<Arc<Intent>> {
    let plans: Vec<_> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Publish(intent) => Some(Arc::clone(intent)),
            Effect::Refused(violations) => panic!("{violations:?}"),
            Effect::Notice(_) => None,
        })
        .collect();
    assert!(plans.len() <= 1, "one plan a batch");
    plans.into_iter().next()
}

fn owned(intent: &Intent, cluster: u16) -> usize {
    intent.services[0].slots.iter().filter(|slot| slot.member() == Some(cluster)).count()
}

#[test]
fn failover_and_back() {
    let mut state = State::new(Arc::new(lab()), at(0));
    let steady = published(&state.step(at(1), &checked(0..9, Outcome::Hit))).expect("a plan");
    assert_eq!([0, 1, 2].map(|c| owned(&steady, c)), [1024, 1024, 0]);
    for now in 0..2 {
        assert_eq!(state.step(at(1000 + now), &checked(0..2, MISS)), [], "fall is 3");
    }
    let effects = state.step(at(1100), &checked(0..1, MISS));
    let one_down = published(&effects).expect("a plan");
    assert_eq!(one_down.services, steady.services, "2 of 3 are enough");
    assert!(one_down.clusters[0].slots.iter().all(|slot| slot.member() != Some(0)));
    let failed = published(&state.step(at(1101), &checked(1..2, MISS))).expect("a plan");
    assert_eq!([0, 1, 2].map(|c| owned(&failed, c)), [0, 1024, 1024]);
    assert!(!failed.clusters[0].healthy && failed.clusters[1].healthy);
    assert_eq!(published(&state.step(at(2000), &checked(0..2, Outcome::Hit))), None, "rise is 2");
    let back = published(&state.step(at(2001), &checked(0..2, Outcome::Hit))).expect("a plan");
    assert_eq!(back, steady);
}

#[test]
fn nothing_is_published_before_all_nodes_or_the_grace_have_spoken() {
    let mut state = State::new(Arc::new(lab()), at(100));
    assert_eq!(state.deadline(), Some(at(1600)));
    assert_eq!(published(&state.step(at(200), &checked(0..8, Outcome::Hit))), None);
    assert!(published(&state.step(at(300), &checked(8..9, Outcome::Hit))).is_some());
    assert_eq!(state.deadline(), None);

    let mut state = State::new(Arc::new(lab()), at(100));
    assert_eq!(published(&state.step(at(1599), &checked(0..8, Outcome::Hit))), None);
    assert!(published(&state.step(at(1600), &[])).is_some());
    assert_eq!(state.step(at(1601), &[]), []);
}

#[test]
fn a_next_hop_is_published() {
    let mut state = State::new(Arc::new(lab()), at(0));
    let node = NodeId::new(4).expect("an id");
    let hop = NextHop { ifindex: 7, src_mac: [2; 6], dst_mac: [4; 6], mtu: 1500 };
    let early = [Event::Resolved { node, hop: Some(hop) }];
    assert_eq!(published(&state.step(at(1), &early)), None);
    let plan = published(&state.step(at(2), &checked(0..9, Outcome::Hit))).expect("a plan");
    assert_eq!(
        (plan.nodes[4].ifindex, plan.nodes[4].dst_mac, plan.nodes[5].ifindex),
        (7, [4; 6], 0)
    );
    assert_eq!(state.step(at(3), &early), [], "nothing new");
    let lost = published(&state.step(at(4), &[Event::Resolved { node, hop: None }]));
    assert_eq!(lost.expect("a plan").nodes[4].ifindex, 0);
}

#[test]
fn notices_say_what_happened() {
    let mut state = State::new(Arc::new(lab()), at(0));
    state.step(at(1), &checked(0..9, Outcome::Hit));
    let mut notices = Vec::new();
    for now in 0..3 {
        for effect in state.step(at(1000 + now), &checked(0..2, MISS)) {
            if let Effect::Notice(notice) = effect {
                notices.push(notice);
            }
        }
    }
    assert!(matches!(notices[0], Notice::Node { node, .. } if node.index() == 0), "{notices:?}");
    assert!(matches!(notices[2], Notice::ClusterUnhealthy { cluster, .. } if cluster.index() == 0));
    let Notice::Carried { master, by, .. } = &notices[3] else { panic!("{notices:?}") };
    let by: Vec<_> = by.iter().map(|(cluster, slots)| (cluster.index(), *slots)).collect();
    assert_eq!((master.index(), by), (0, vec![(2, 1024)]));
    assert_eq!(notices.len(), 4);
}
