//! It is not believed for a time that most nodes of several clusters vanished at once.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use super::{
    fixture::{cluster, config, percent, service, started},
    traces::Dice,
};
use crate::{
    config::{BackupMode, Config, Failback},
    decide::{
        Admin, Effect, Event, Intent, MissReason, NodeState, Notice, Outcome, State, TargetId,
        freeze::Turn,
    },
};
use lb_common::NodeId;

const MISS: Outcome = Outcome::Miss(MissReason::Timeout);
use Outcome::{Hit, NotWorking};

/// Masters A and B, standby S: four nodes each, which are targets 0..4, 4..8, 8..12. A round is an
/// interval of 1 s and a timeout of 0.5 s; one miss is enough, and one hit.
fn three(freeze: u64) -> Config {
    let clusters = ["A", "B", "S"].map(|name| cluster(name, 1, percent(60), &[1; 4]));
    let mut config = config(clusters.to_vec());
    for cluster in &mut config.clusters {
        (cluster.health.fall, cluster.health.rise) = (1, 1);
    }
    config.lb.freeze = Duration::from_secs(freeze);
    config.services.push(service(&config, "web", BackupMode::OneStandby, "A B", "S"));
    config
}

fn at(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn checked(targets: &[u32], outcome: Outcome) -> Vec<Event> {
    targets.iter().map(|&n| Event::Checked { target: TargetId(n), outcome }).collect()
}

fn running(freeze: u64) -> State {
    let mut state = started(Arc::new(three(freeze)), at(0));
    state.step(at(1), &checked(&(0..12).collect::<Vec<_>>(), Hit));
    assert!(state.view().published.is_some());
    state
}

fn plan(state: &State) -> Intent {
    (**state.view().published.expect("a plan")).clone()
}

fn turns(effects: &[Effect]) -> Vec<Turn> {
    let turn = |effect: &Effect| match effect {
        Effect::Notice(Notice::Freeze(turn)) => Some(turn.clone()),
        Effect::Refused(violations) => panic!("{violations:?}"),
        _ => None,
    };
    effects.iter().filter_map(turn).collect()
}

/// Steps (milliseconds, targets, outcome), and whether the plan is frozen after each.
type Steps<'a> = &'a [(u64, &'a [u32], Outcome, bool)];

#[test]
fn what_freezes_and_what_does_not() {
    let cases: &[(&str, Steps<'_>)] = &[
        ("most of two clusters", &[(10_000, &[0, 1, 2, 4, 5, 6], MISS, true)]),
        ("one cluster", &[(10_000, &[0, 1, 2, 3], MISS, false)]),
        ("half of the second", &[(10_000, &[0, 1, 2, 4, 5], MISS, false)]),
        ("within a round", &[(10_000, &[0, 1, 2], MISS, false), (11_499, &[4, 5, 6], MISS, true)]),
        ("in two rounds", &[(10_000, &[0, 1, 2], MISS, false), (11_500, &[4, 5, 6], MISS, false)]),
        ("they say so themselves", &[(10_000, &[0, 1, 2, 4, 5, 6], NotWorking, false)]),
        (
            "they had said so themselves",
            &[(10_000, &[0, 1, 2], NotWorking, false), (10_001, &[0, 1, 2, 4, 5, 6], MISS, false)],
        ),
        (
            "most of those that lived",
            &[(10_000, &[0, 1], MISS, false), (20_000, &[2, 3, 4, 5, 6], MISS, true)],
        ),
        (
            "back in between",
            &[
                (10_000, &[0, 1, 2], MISS, false),
                (10_100, &[0, 1], Hit, false),
                (10_200, &[4, 5, 6], MISS, false),
            ],
        ),
        (
            "until its time is over, and not again at once",
            &[
                (10_000, &[0, 1, 2, 4, 5, 6], MISS, true),
                (19_999, &[7], MISS, true),
                (20_000, &[], Hit, false),
                (20_001, &[3], MISS, false),
            ],
        ),
        (
            "until one of them is back, and the others had their time",
            &[
                (10_000, &[0, 1, 2, 4, 5, 6], MISS, true),
                (11_000, &[4], Hit, true),
                (11_001, &[4], MISS, true),
                (12_600, &[5], Hit, true),
                (14_099, &[], Hit, true),
                (14_100, &[], Hit, false),
                (14_101, &[5], MISS, false),
            ],
        ),
    ];
    for (what, steps) in cases {
        let mut state = running(10);
        for &(ms, targets, outcome, frozen) in *steps {
            state.step(at(ms), &checked(targets, outcome));
            assert_eq!(state.view().freezer.until().is_some(), frozen, "{what}: at {ms}");
        }
        let mut never = running(0);
        for &(ms, targets, outcome, _) in *steps {
            assert_eq!(turns(&never.step(at(ms), &checked(targets, outcome))), [], "{what}");
        }
    }
}

#[test]
fn nothing_moves_where_the_others_are_on_their_way_down() {
    let state = |falling: &[u32]| {
        let mut config = three(10);
        config.clusters.iter_mut().for_each(|cluster| cluster.health.fall = 3);
        let mut state = started(Arc::new(config), at(0));
        state.step(at(1), &checked(&(0..12).collect::<Vec<_>>(), Hit));
        for ms in [10_000, 11_000] {
            state.step(at(ms), &checked(falling, MISS));
        }
        state
    };
    let steady = plan(&state(&[]));

    // The first of them goes down: the plan is frozen before anything has moved.
    let mut both = state(&[0, 1, 2, 4, 5, 6]);
    both.step(at(12_000), &checked(&[0], MISS));
    assert!(both.view().freezer.until().is_some());
    both.step(at(12_100), &checked(&[1, 2, 4, 5], MISS));
    assert_eq!(plan(&both), steady);
    // One of the second cluster answers: half of it is not most of it. The others have their time.
    assert_eq!(turns(&both.step(at(12_200), &checked(&[6], Hit))), []);
    assert_eq!(plan(&both), steady);
    assert_eq!(both.deadline(), Some(at(13_700)));
    assert_eq!(turns(&both.step(at(13_700), &[])), [Turn::Returned]);
    assert_ne!(plan(&both), steady);

    for falling in [&[0, 1, 2, 3][..], &[0, 1, 2, 4, 5]] {
        let mut one = state(falling);
        one.step(at(12_000), &checked(&[0], MISS));
        assert!(one.view().freezer.until().is_none(), "{falling:?}");
        assert_ne!(plan(&one), steady);
    }
}

#[test]
fn the_plan_stays_and_then_follows() {
    let (mut state, mut without) = (running(10), running(0));
    let steady = plan(&state);
    // The first ones are believed, until it turns out that they are not alone.
    state.step(at(10_000), &checked(&[0, 1, 2], MISS));
    assert_ne!(plan(&state), steady);
    let effects = state.step(at(10_500), &checked(&[4, 5, 6], MISS));
    let frozen = Turn::Frozen { until: at(20_500), clusters: vec![0, 1] };
    assert_eq!((turns(&effects), state.deadline()), (vec![frozen], Some(at(20_500))));
    assert_eq!(plan(&state), steady);
    assert!(state.is_undecided());
    let disbelieved: Vec<u32> = state.view().freezer.disbelieved().map(|t| t.0).collect();
    assert_eq!(disbelieved, [0, 1, 2, 4, 5, 6]);

    // Whoever vanishes now is not believed either; what nodes say, and the operator, counts.
    state.step(at(11_000), &checked(&[3, 8, 9, 10], MISS));
    assert_eq!(plan(&state), steady);
    state.step(at(11_001), &checked(&[11], NotWorking));
    let node = NodeId::new(7).expect("an id");
    state.step(at(11_002), &[Event::Administer { node, admin: Admin::Drained }]);
    let meanwhile = plan(&state);
    let counts = |cluster: usize| {
        let info = meanwhile.cluster_info[cluster];
        (info.alive, info.total)
    };
    assert_eq!([0, 1, 2].map(counts), [(4, 4), (3, 3), (3, 4)]);

    assert_eq!(turns(&state.step(at(20_499), &[])), []);
    assert_eq!(turns(&state.step(at(20_500), &[])), [Turn::Believed]);
    without.step(at(10_000), &checked(&[0, 1, 2, 4, 5, 6, 3, 8, 9, 10], MISS));
    without.step(at(10_001), &checked(&[11], NotWorking));
    without.step(at(10_002), &[Event::Administer { node, admin: Admin::Drained }]);
    assert_eq!(plan(&state), plan(&without));
    assert_eq!((state.deadline(), state.is_undecided()), (None, false));
}

#[test]
fn it_ends_early_when_nodes_come_back() {
    let mut state = running(10);
    state.step(at(10_000), &checked(&[0, 1, 2, 4, 5, 6], MISS));
    assert_eq!(turns(&state.step(at(12_000), &checked(&[4, 5], Hit))), []);
    assert_eq!(turns(&state.step(at(13_500), &[])), [Turn::Returned]);
    let mut without = running(0);
    without.step(at(10_000), &checked(&[0, 1, 2, 6], MISS));
    assert_eq!(plan(&state), plan(&without));
}

#[test]
fn nothing_moves_when_all_come_back_one_after_the_other() {
    let mut config = three(10);
    config.clusters.iter_mut().for_each(|cluster| cluster.failback = Failback::Manual);
    let mut state = started(Arc::new(config), at(0));
    state.step(at(1), &checked(&(0..12).collect::<Vec<_>>(), Hit));
    let steady = plan(&state);
    // A is given up before B goes; what that did to its group is undone, its hold too.
    state.step(at(10_000), &checked(&[0, 1, 2, 3], MISS));
    assert_ne!(plan(&state), steady);
    state.step(at(10_500), &checked(&[4, 5, 6, 7], MISS));
    assert_eq!(plan(&state), steady);
    for (ms, target) in
        [(11_000, 0), (11_100, 4), (11_200, 1), (11_300, 5), (11_400, 6), (11_500, 7)]
    {
        state.step(at(ms), &checked(&[target], Hit));
        assert_eq!(plan(&state), steady, "{target} is back");
    }
    state.step(at(11_600), &checked(&[2], Hit));
    assert_eq!(turns(&state.step(at(11_700), &checked(&[3], Hit))), [Turn::Returned]);
    assert_eq!((plan(&state), state.deadline()), (steady, None));
}

#[test]
fn another_reason_to_be_down_changes_nothing() {
    let mut state = running(10);
    let steady = plan(&state);
    state.step(at(10_000), &checked(&[0, 1, 2, 4, 5, 6], MISS));
    let unreachable = Outcome::Miss(MissReason::Unreachable);
    let effects = state.step(at(11_000), &checked(&[0, 1, 2, 4, 5, 6], unreachable));
    assert_eq!((turns(&effects), plan(&state)), (vec![], steady));
    let down = NodeState::Down(MissReason::Timeout);
    assert_eq!(state.view().targets[0].state(), down, "as it was when it went down");
}

#[test]
fn one_host_in_two_clusters_is_one_host() {
    let mut config = three(10);
    for cluster in &mut config.clusters[..2] {
        cluster.nodes.truncate(1);
        cluster.nodes[0].address = Ipv4Addr::new(10, 9, 9, 9).into();
        cluster.health.port = Some(if cluster.name == "A" { 80 } else { 25 });
    }
    let mut state = started(Arc::new(config), at(0));
    state.step(at(1), &checked(&(0..6).collect::<Vec<_>>(), Hit));
    let ids: Vec<u32> = (0..6)
        .filter(|&id: &u32| {
            state.view().model.pools.targets[id as usize].at.ip() == Ipv4Addr::new(10, 9, 9, 9)
        })
        .collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(turns(&state.step(at(10_000), &checked(&ids, MISS))), []);
    assert_eq!(plan(&state).cluster_info[0].alive, 0);
}

#[test]
fn nodes_that_get_no_flows_anyway_do_not_vanish() {
    let mut state = running(10);
    let drained =
        |n| Event::Administer { node: NodeId::new(n).expect("an id"), admin: Admin::Drained };
    state.step(at(5_000), &[drained(4), drained(5), drained(6), drained(7)]);
    assert_eq!(turns(&state.step(at(10_000), &checked(&[0, 1, 2, 4, 5, 6, 7], MISS))), []);
}

#[test]
fn after_a_reload_there_is_still_something_to_keep() {
    let state = running(10);
    let mut next = state.succeed(&three(10), at(2_000)).expect("ids");
    // A new node is not known yet: no plan is made.
    let mut more = three(10);
    let mut new = more.clusters[2].nodes[0].clone();
    (new.name, new.address, new.number) = ("new".into(), Ipv4Addr::new(10, 9, 9, 9).into(), 99);
    more.clusters[2].nodes.push(new);
    let mut waits = state.succeed(&more, at(2_000)).expect("ids");
    for state in [&mut next, &mut waits] {
        let effects = state.step(at(2_001), &checked(&[0, 1, 2, 4, 5, 6], MISS));
        assert!(matches!(turns(&effects)[..], [Turn::Frozen { .. }]));
    }
    assert!(next.view().published.is_some() && waits.view().published.is_none());
}

#[test]
fn there_is_nothing_to_keep_before_the_first_plan() {
    let mut state = started(Arc::new(three(10)), at(0));
    let all: Vec<u32> = (0..12).collect();
    state.step(at(1), &checked(&all[..11], Hit));
    state.step(at(2), &checked(&[0, 1, 2, 4, 5, 6], MISS));
    assert_eq!(turns(&state.step(at(3), &checked(&[11], Hit))), []);
    assert_eq!(plan(&state).cluster_info[0].alive, 1);
}

#[test]
fn another_configuration_does_not_end_it() {
    let mut state = running(10);
    let steady = plan(&state);
    state.step(at(10_000), &checked(&[0, 1, 2, 4, 5, 6], MISS));
    let mut slower = three(10);
    slower.clusters[0].health.interval = Duration::from_secs(2);
    let mut next = state.succeed(&slower, at(12_000)).expect("ids");
    next.step(at(12_000), &[]);
    assert_eq!(plan(&next).services, steady.services);
    assert_eq!(next.view().freezer.until(), Some(at(20_000)));
    assert_eq!(turns(&next.step(at(20_000), &[])), [Turn::Believed]);
    assert_ne!(plan(&next).services, steady.services);
}

/// Whoever vanishes: a frozen plan is that from before the round, and once it is over, the plan is
/// that of one who never freezes.
#[test]
fn a_frozen_plan_is_the_one_before_and_then_the_true_one() {
    let mut dice = Dice(0x5eed);
    let mut frozen = 0;
    for _ in 0..300 {
        let (mut state, mut without) = (running(10), running(0));
        let some = |dice: &mut Dice, one_in: u32| -> Vec<u32> {
            (0..12).filter(|_| dice.one_in(one_in)).collect()
        };
        let dead = some(&mut dice, 6);
        for state in [&mut state, &mut without] {
            state.step(at(10_000), &checked(&dead, MISS));
        }
        // Those of another round do not count with the next.
        for state in [&mut state, &mut without] {
            state.step(at(30_000), &checked(&[], Hit));
        }
        let before = plan(&state);
        let mut now = 40_000;
        for _ in 0..4 {
            now += u64::from(dice.below(350));
            let vanish = some(&mut dice, 3);
            for state in [&mut state, &mut without] {
                state.step(at(now), &checked(&vanish, MISS));
            }
            if state.view().freezer.until().is_some() {
                assert_eq!(plan(&state), before);
                frozen += 1;
            } else {
                assert_eq!(plan(&state), plan(&without));
            }
        }
        state.step(at(now + 10_000), &[]);
        assert_eq!(plan(&state), plan(&without));
    }
    assert!(frozen > 100, "hardly anything was frozen: {frozen}");
}
