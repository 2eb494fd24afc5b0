//! Events in, effects out.

use std::{sync::Arc, time::Duration};

use lb_common::{ClusterId, NodeId};

use super::fixture::{self, HOP, cluster, config, percent, service, started};
use crate::{
    config::{BackupMode, Config, Failback},
    decide::{
        Admin, Effect, Event, Intent, MissReason, NextHop, Notice, Outcome, ReleasedBy, State,
        TargetId, reason::explain_notice,
    },
};

const MISS: Outcome = Outcome::Miss(MissReason::Timeout);

/// The lab: masters A and B, standby S, three nodes each (ids 0..3, 3..6, 6..9), ratio 0.6.
fn lab() -> Config {
    let clusters = ["A", "B", "S"].map(|name| cluster(name, 1, percent(60), &[1, 1, 1]));
    let mut config = config(clusters.to_vec());
    config.services.push(service(&config, "web", BackupMode::OneStandby, "A B", "S"));
    config
}

/// Outcomes for these nodes of the lab, each of which is one target of the same number.
fn checked(nodes: impl IntoIterator<Item = u32>, outcome: Outcome) -> Vec<Event> {
    nodes.into_iter().map(|n| Event::Checked { target: TargetId(n), outcome }).collect()
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
    let mut state = started(Arc::new(lab()), at(0));
    let steady = published(&state.step(at(1), &checked(0..9, Outcome::Hit))).expect("a plan");
    assert_eq!([0, 1, 2].map(|c| owned(&steady, c)), [1024, 1024, 0]);
    for now in 0..2 {
        let effects = state.step(at(1000 + now), &checked(0..2, MISS));
        let seen = |effect: &Effect| matches!(effect, Effect::Notice(Notice::Seen { .. }));
        assert!(effects.len() == 2 && effects.iter().all(seen), "fall is 3: {effects:?}");
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
    let mut state = started(Arc::new(lab()), at(100));
    assert_eq!(state.deadline(), Some(at(1600)));
    assert_eq!(published(&state.step(at(200), &checked(0..8, Outcome::Hit))), None);
    assert!(published(&state.step(at(300), &checked(8..9, Outcome::Hit))).is_some());
    assert_eq!(state.deadline(), None);

    let mut state = started(Arc::new(lab()), at(100));
    assert_eq!(published(&state.step(at(1599), &checked(0..8, Outcome::Hit))), None);
    assert!(published(&state.step(at(1600), &[])).is_some());
    assert_eq!(state.step(at(1601), &[]), []);
}

#[test]
fn a_next_hop_is_published() {
    let mut state = State::new(Arc::new(lab()), at(0));
    let found = |node, mac| {
        let hop = NextHop { ifindex: 7, dst_mac: [mac; 6], ..HOP };
        Event::Resolved { node: NodeId::new(node).expect("an id"), hop: Some(hop) }
    };
    let nothing = published(&state.step(at(1), &checked(0..9, Outcome::Hit)));
    assert_eq!(nothing, None, "all live, but the way to none of them is known");
    let most: Vec<Event> = (0..8).map(|node| found(node, 4)).collect();
    assert_eq!(published(&state.step(at(2), &most)), None);
    let plan = published(&state.step(at(3), &[found(8, 5)])).expect("a plan");
    let is = |node: usize| (plan.nodes[node].ifindex, plan.nodes[node].dst_mac);
    assert_eq!((is(4), is(8)), ((7, [4; 6]), (7, [5; 6])));
    assert_eq!(state.step(at(4), &[found(8, 5)]), [], "nothing new");
    let lost = Event::Resolved { node: NodeId::new(4).expect("an id"), hop: None };
    let lost = published(&state.step(at(5), &[lost])).expect("a plan");
    assert_eq!(lost.nodes[4].ifindex, 0);
    assert!(lost.clusters[1].slots.iter().all(|slot| slot.member() != Some(4)));
    assert_eq!(published(&state.step(at(6), &[found(4, 4)])).as_ref(), Some(&plan));
}

#[test]
fn the_grace_ends_also_for_a_node_without_a_next_hop() {
    let mut state = State::new(Arc::new(lab()), at(0));
    assert_eq!(published(&state.step(at(1499), &checked(0..9, Outcome::Hit))), None);
    assert!(published(&state.step(at(1500), &[])).is_some());
}

#[test]
fn another_configuration_keeps_what_is_known() {
    let mut state = started(Arc::new(lab()), at(0));
    let mut outcomes = checked(0..9, Outcome::Hit);
    outcomes.extend(checked(0..1, MISS));
    state.step(at(1), &outcomes);
    let before = published(&state.step(at(2), &checked(0..1, MISS)));
    assert_eq!(before, None, "two of three misses");

    // A weight changes, C is new and gets an id behind the others, and a node of S is leaving.
    let mut other = lab();
    other.clusters.push(cluster("C", 1, percent(60), &[1]));
    other.clusters.sort_by(|a, b| a.name.cmp(&b.name));
    other.clusters[0].nodes[1].weight = 5;
    other.clusters[3].nodes.pop();
    other.services.clear();
    let web = service(&other, "web", BackupMode::OneStandby, "A B", "S");
    other.services.push(web);
    let zone = service(&other, "zone", BackupMode::None, "C", "");
    other.services.push(zone);
    let mut next = state.succeed(&other, at(10)).expect("ids");
    let model = Arc::clone(&next.model);
    let miss = |node| fixture::checked(&model, node, MISS);
    assert_eq!(published(&next.step(at(11), &[])), None, "C has not spoken");
    // The third miss counts together with the two before.
    let effects = next.step(at(12), &miss(0));
    assert_eq!(published(&effects), None, "C still has not");
    let a1 = NodeId::new(0).expect("an id");
    let state = crate::decide::NodeState::Down(MissReason::Timeout);
    let target = model.pool(0).targets[0];
    let notice = Notice::Node { node: a1, target, state };
    assert!(effects.contains(&Effect::Notice(notice)), "{effects:?}");
    let plan = published(&next.step(at(13), &miss(6))).expect("a plan");
    assert_eq!(
        plan.nodes.iter().map(|node| node.ifindex).collect::<Vec<_>>(),
        [3, 3, 3, 3, 3, 3, 3, 3, 3, 0]
    );
    assert!(plan.clusters[0].slots.iter().all(|slot| slot.member() != Some(0)));
}

#[test]
fn a_reload_acts_at_once_and_keeps_holds_however_often_it_comes() {
    let mut config = lab();
    config.clusters[0].failback = Failback::Manual;
    config.clusters.iter_mut().for_each(|cluster| cluster.health.interval = at(3_600_000));
    let mut state = started(Arc::new(config.clone()), at(0));
    state.step(at(1), &checked(0..9, Outcome::Hit));
    (0..3).for_each(|_| drop(state.step(at(2), &checked(0..3, MISS))));
    (0..3).for_each(|_| drop(state.step(at(3), &checked(0..3, Outcome::Hit))));
    assert!(state.view().groups[0].hold().is_some());
    let plan = state.view().published.cloned();

    let twice =
        state.succeed(&config.clone(), at(4)).expect("ids").succeed(&config, at(5)).expect("ids");
    let mut next = twice;
    assert_eq!(published(&next.step(at(5), &[])), plan);
    assert!(next.view().groups[0].hold().is_some());
}

#[test]
fn notices_say_what_happened() {
    let mut state = started(Arc::new(lab()), at(0));
    state.step(at(1), &checked(0..9, Outcome::Hit));
    let mut notices = Vec::new();
    for now in 0..3 {
        for effect in state.step(at(1000 + now), &checked(0..2, MISS)) {
            if let Effect::Notice(notice) = effect
                && !matches!(notice, Notice::Seen { .. })
            {
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

/// Masters A and B, standby S, with a failback of A; returns the state when A's nodes have failed
/// at 10 s and recovered at 20 s, and what was published then.
fn recovered(failback: Failback) -> (State, Arc<Intent>) {
    let mut config = lab();
    config.clusters[0].failback = failback;
    let mut state = started(Arc::new(config), at(0));
    state.step(at(1), &checked(0..9, Outcome::Hit));
    for _ in 0..3 {
        state.step(at(10_000), &checked(0..3, MISS));
    }
    let mut back = None;
    for _ in 0..2 {
        back = published(&state.step(at(20_000), &checked(0..3, Outcome::Hit))).or(back);
    }
    (state, back.expect("a plan"))
}

fn shares(intent: &Intent) -> [usize; 3] {
    [0, 1, 2].map(|cluster| owned(intent, cluster))
}

#[test]
fn failback_auto_is_at_once() {
    let (state, plan) = recovered(Failback::Auto);
    assert_eq!((shares(&plan), plan.clusters[0].held), ([1024, 1024, 0], false));
    assert_eq!(state.deadline(), None);
}

#[test]
fn failback_after_a_time() {
    let wait = Duration::from_secs(60);
    let (mut state, plan) = recovered(Failback::After { wait, max: wait });
    assert_eq!((shares(&plan), plan.clusters[0].held), ([0, 1024, 1024], true));
    assert!(plan.clusters[0].healthy);
    assert_eq!(state.deadline(), Some(at(80_000)));
    assert_eq!(state.step(at(79_999), &[]), []);
    let released = state.step(at(80_000), &[]);
    assert_eq!(shares(&published(&released).expect("a plan")), [1024, 1024, 0]);
    let a = ClusterId::new(0).expect("an id");
    let notice = Notice::Released { cluster: a, by: ReleasedBy::Time };
    assert!(released.contains(&Effect::Notice(notice)));
    assert_eq!(state.deadline(), None);
}

#[test]
fn failback_by_hand() {
    let (mut state, plan) = recovered(Failback::Manual);
    assert_eq!((shares(&plan), plan.clusters[0].held), ([0, 1024, 1024], true));
    assert_eq!(state.deadline(), None);
    // The standby fails: B takes A's flows, and A its own only when B fails, too.
    let mut fail = |nodes: std::ops::Range<u32>| {
        let steps =
            [(); 3].map(|()| published(&state.step(at(30_000), &checked(nodes.clone(), MISS))));
        shares(steps.iter().flatten().last().expect("a plan"))
    };
    assert_eq!(fail(6..9), [0, 2048, 0]);
    assert_eq!(fail(3..6), [2048, 0, 0]);
    // It has all that it could take back: it is no longer held, and B's return takes nothing.
    assert_eq!(state.view().groups[0].hold(), None);
    let steps = [(); 2].map(|()| published(&state.step(at(40_000), &checked(3..6, Outcome::Hit))));
    assert_eq!(shares(steps.iter().flatten().last().expect("a plan")), [1024, 1024, 0]);

    let (mut state, _) = recovered(Failback::Manual);
    let release = || Event::Release(ClusterId::new(0).expect("an id"));
    let plan = published(&state.step(at(90_000), &[release()])).expect("a plan");
    assert_eq!((shares(&plan), plan.clusters[0].held), ([1024, 1024, 0], false));
    assert_eq!(state.step(at(90_001), &[release()]), [], "nothing to release");
}

#[test]
fn drain_and_maintenance_leave_the_counts() {
    let mut state = started(Arc::new(lab()), at(0));
    let node = |n| NodeId::new(n).expect("an id");
    state.step(at(1), &checked(0..9, Outcome::Hit));
    let drain = |n, admin| Event::Administer { node: node(n), admin };
    let plan =
        published(&state.step(at(2), &[drain(0, Admin::Drained), drain(1, Admin::Maintenance)]));
    let plan = plan.expect("a plan");
    let info = plan.cluster_info[0];
    assert_eq!((info.healthy, info.alive, info.needed, info.total), (1, 1, 1, 1));
    assert_eq!([0, 1, 2].map(|n| plan.nodes[n].up), [1, 0, 1], "within a limit of no time");
    assert!(plan.clusters[0].slots.iter().all(|slot| slot.member() == Some(2)));
    // The last one: an empty cluster, whose flows the standby carries.
    let empty = published(&state.step(at(3), &[drain(2, Admin::Drained)])).expect("a plan");
    assert_eq!(shares(&empty), [0, 1024, 1024]);
    assert!(!empty.clusters[0].healthy && state.view().groups[0].group().empty());
    let back = [0, 1, 2].map(|n| drain(n, Admin::InService));
    assert_eq!(shares(&published(&state.step(at(4), &back)).expect("a plan")), [1024, 1024, 0]);
}

#[test]
fn a_node_that_says_it_does_not_work_keeps_its_connections() {
    let mut state = started(Arc::new(lab()), at(0));
    state.step(at(1), &checked(0..9, Outcome::Hit));
    let plan = published(&state.step(at(2), &checked(0..1, Outcome::NotWorking))).expect("a plan");
    assert_eq!((plan.nodes[0].up, plan.cluster_info[0].alive), (1, 2));
    assert!(plan.clusters[0].slots.iter().all(|slot| slot.member() != Some(0)));
}

/// A defect of ours must not reach the data plane: here, a plan that was tampered with.
#[test]
fn a_wrong_plan_is_refused_and_the_last_one_stays() {
    let mut state = started(Arc::new(lab()), at(0));
    let good = published(&state.step(at(1), &checked(0..9, Outcome::Hit))).expect("a plan");
    let running = state.running.as_mut().expect("running");
    running.decision.groups[0].healthy = false;
    let hop = NextHop { ifindex: 7, ..HOP };
    let node = NodeId::new(4).expect("an id");
    let event = [Event::Resolved { node, hop: Some(hop) }];
    // The group's monitor still knows better: what is decided next is right again.
    let refused = state.publish(at(1));
    assert!(matches!(&refused[..], [Effect::Refused(v)] if !v.is_empty()), "{refused:?}");
    assert_eq!(state.view().published, Some(&good));
    assert_eq!(state.publish(at(1)), [], "said once");
    assert!(published(&state.step(at(2), &event)).is_some());
}

#[test]
fn the_view_says_since_when_others_carry() {
    let (state, _) = recovered(Failback::Manual);
    assert_eq!(state.view().since[0], [at(10_000), at(1), at(1)]);
    let (state, _) = recovered(Failback::Auto);
    assert_eq!(state.view().since[0], [at(20_000), at(1), at(1)]);
}

#[test]
fn what_is_seen_is_told_on_the_way_to_a_verdict_and_back() {
    let model = Arc::new(crate::decide::Model::new(Arc::new(lab())));
    let mut state = fixture::started_with(Arc::clone(&model), at(0));
    assert!(state.is_undecided(), "there is no plan yet");
    state.step(at(1), &checked(0..9, Outcome::Hit));
    let mut see = |outcome| -> (Vec<String>, bool) {
        let effects = state.step(at(2), &checked(0..1, outcome));
        let said = effects.iter().filter_map(|effect| match effect {
            Effect::Notice(notice) => Some(explain_notice(&model, notice)),
            Effect::Publish(_) | Effect::Refused(_) => None,
        });
        (said.collect(), state.is_undecided())
    };
    let (hit, not) = (Outcome::Hit, Outcome::NotWorking);
    let refused = Outcome::Miss(MissReason::Status(503));
    let starved = Outcome::Miss(MissReason::Starved);
    let cases: &[(Outcome, &[&str], bool)] = &[
        (hit, &[], false),
        (MISS, &["node A/a01 does not answer: no answer in time, 1 of 3"], true),
        (starved, &[], true),
        (refused, &["node A/a01 does not answer: status 503, 2 of 3"], true),
        (hit, &["node A/a01 answers again"], false),
        (hit, &[], false),
        (MISS, &["node A/a01 does not answer: no answer in time, 1 of 3"], true),
        (MISS, &["node A/a01 does not answer: no answer in time, 2 of 3"], true),
        (
            refused,
            &["node A/a01 does not answer: status 503, 3 of 3", "node A/a01 is down: status 503"],
            false,
        ),
        (MISS, &[], false),
        (hit, &["node A/a01 answers, 1 of 2"], true),
        (refused, &["node A/a01 does not answer: status 503 again"], false),
        (not, &[], false),
        (hit, &["node A/a01 answers, 1 of 2"], true),
        (hit, &["node A/a01 answers, 2 of 2", "node A/a01 is up"], false),
        (
            not,
            &[
                "node A/a01 says that it is not working, 1 of 1",
                "node A/a01 is reachable, but says that it is not working",
            ],
            false,
        ),
        (not, &[], false),
    ];
    for (i, (outcome, said, undecided)) in cases.iter().enumerate() {
        let said: Vec<String> = said.iter().map(|text| (*text).to_owned()).collect();
        assert_eq!(see(*outcome), (said, *undecided), "case {i}");
    }
}
