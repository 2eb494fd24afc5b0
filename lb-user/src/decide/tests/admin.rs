//! Nodes and clusters that the operator takes out of service and puts back.

use std::{sync::Arc, time::Duration};

use lb_common::NodeId;

use super::fixture::{checked, cluster, config, percent, service, started};
use crate::{
    config::{BackupMode, Config},
    decide::{Admin, Effect, Event, Intent, MissReason, NodeState, Notice, Outcome, State},
};

const MISS: Outcome = Outcome::Miss(MissReason::Timeout);

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn two() -> Config {
    let all = percent(100);
    let mut config = config(vec![cluster("A", 1, all, &[1, 1, 1]), cluster("B", 1, all, &[1, 1])]);
    config.clusters[0].drain = at(60);
    config.services = vec![service(&config, "web", BackupMode::MultiMaster, "A B", "")];
    config
}

/// Five nodes that live.
fn running() -> State {
    let mut state = started(Arc::new(two()), at(0));
    let hits: Vec<Event> = every(&state, Outcome::Hit);
    state.step(at(1), &hits);
    state
}

fn every(state: &State, outcome: Outcome) -> Vec<Event> {
    (0..state.model.nodes.len()).flat_map(|n| checked(&state.model, n, outcome)).collect()
}

fn plan(state: &State) -> Arc<Intent> {
    Arc::clone(state.view().published.expect("a plan"))
}

/// Slots of the service by cluster, then nobody's.
fn shares(state: &State) -> [usize; 3] {
    let plan = plan(state);
    let of = |id| plan.services[0].slots.iter().filter(|slot| slot.member() == id).count();
    [of(Some(0)), of(Some(1)), of(None)]
}

/// Of all slots, by id.
fn owners(plan: &Intent) -> Vec<Option<u16>> {
    let tables = plan.services.iter().chain(&plan.clusters);
    tables.flat_map(|table| table.slots.iter()).map(|slot| slot.member()).collect()
}

fn ups(state: &State) -> Vec<u8> {
    plan(state).nodes.iter().map(|node| node.up).collect()
}

fn fails(state: &mut State, node: usize) {
    let model = Arc::clone(&state.model);
    (0..3).for_each(|_| drop(state.step(at(5), &checked(&model, node, MISS))));
}

fn drain_all(admin: Admin) -> Event {
    Event::AdministerCluster { cluster: 0, admin }
}

fn of_node(admin: Admin) -> Event {
    Event::Administer { node: NodeId::new(1).expect("an id"), admin }
}

#[test]
fn a_plan_has_an_order_only_from_its_commit_on() {
    let mut state = running();
    let before = plan(&state);
    assert!(state.view().wishes_are_in(&before));
    state.step(at(5), &[of_node(Admin::Drained)]);
    assert!(!state.view().wishes_are_in(&before) && state.view().wishes_are_in(&plan(&state)));
    // Under another file nothing is published before what is new has spoken.
    let (mut more, drained) = (two(), plan(&state));
    let mut node = more.clusters[0].nodes[2].clone();
    (node.name, node.address) = ("a04".into(), [10, 9, 9, 9].into());
    more.clusters[0].nodes.push(node);
    let mut next = state.succeed(&more, at(10)).expect("ids");
    assert!(next.view().wishes_are_in(&drained));
    assert_eq!(next.step(at(11), &[of_node(Admin::Maintenance)]).len(), 1, "a notice only");
    assert!(!next.view().wishes_are_in(&drained));
}

#[test]
fn a_drained_cluster_gets_nothing_and_keeps_what_it_has() {
    let mut state = running();
    let before = shares(&state);
    let effects = state.step(at(5), &[drain_all(Admin::Drained)]);
    let notice = Notice::ClusterAdministered { cluster: 0, admin: Admin::Drained };
    assert!(effects.contains(&Effect::Notice(notice)), "{effects:?}");
    assert_eq!((shares(&state), ups(&state)), ([0, 1024, 0], vec![1; 5]));
    let wish = state.view().admins.node(&state.model, 2);
    assert_eq!((wish.admin, wish.since), (Admin::Drained, at(5)));
    assert_eq!(state.step(at(6), &[drain_all(Admin::Drained)]), [], "it is already");
    // One of its nodes in service does not bring it back; a reload changes nothing of it.
    state.step(at(7), &[of_node(Admin::Maintenance), of_node(Admin::InService)]);
    assert_eq!(shares(&state)[0], 0);
    let mut more = two();
    let mut node = more.clusters[0].nodes[2].clone();
    (node.name, node.address) = ("a04".into(), [10, 9, 9, 9].into());
    more.clusters[0].nodes.push(node);
    let mut next = state.succeed(&more, at(10)).expect("ids");
    next.step(at(11), &[]);
    let new = next.model.nodes_of(0).end - 1;
    assert_eq!(next.view().admins.effective()[new], Admin::Drained, "as its cluster");
    assert_eq!(next.view().admins.node(&next.model, 2).since, at(5));
    assert_eq!(shares(&next)[0], 0);
    state.step(at(12), &[drain_all(Admin::InService)]);
    assert_eq!(shares(&state), before);
}

#[test]
fn both_wishes_count_and_one_ends_all() {
    let mut state = running();
    state.step(at(2), &[of_node(Admin::Drained), drain_all(Admin::Maintenance)]);
    let admin = |state: &State| state.view().admins.effective()[..3].to_vec();
    assert_eq!(admin(&state), [Admin::Maintenance; 3]);
    state.step(at(3), &[drain_all(Admin::Drained)]);
    assert_eq!(admin(&state), [Admin::Drained; 3]);
    state.step(at(4), &[drain_all(Admin::InService)]);
    assert_eq!(admin(&state), [Admin::InService; 3]);
    state.step(at(5), &[of_node(Admin::Drained)]);
    assert_eq!(admin(&state)[1], Admin::Drained);
    let effects = state.step(at(6), &[drain_all(Admin::InService)]);
    assert!(!effects.is_empty() && admin(&state)[1] == Admin::InService);
}

#[test]
fn maintenance_is_not_checked_and_ends_connections_at_the_limit() {
    let mut state = running();
    let before = plan(&state);
    state.step(at(10), &[of_node(Admin::Maintenance)]);
    let resting = state.view().admins.resting(&state.model);
    assert_eq!(resting.len(), 1);
    assert_eq!(state.view().admins.cut_at(&state.model, 1), Some(at(70)));
    assert_eq!((state.deadline(), ups(&state)), (Some(at(70)), vec![1; 5]));
    // Checks that were under way say nothing.
    (0..3).for_each(|n| drop(state.step(at(11 + n), &checked(&state.model.clone(), 1, MISS))));
    assert_eq!((state.view().state(0, 1), ups(&state)), (NodeState::Up, vec![1; 5]));
    state.step(at(69), &[]);
    assert_eq!(ups(&state)[1], 1);
    state.step(at(70), &[]);
    assert_eq!((ups(&state), state.deadline()), (vec![1, 0, 1, 1, 1], None));
    // A reload does not give it a new time.
    let mut next = state.succeed(&two(), at(80)).expect("ids");
    next.step(at(80), &[]);
    assert_eq!((ups(&next)[1], next.deadline()), (0, None));
    // Back in service it counts when it has spoken, so that it does not make its cluster fail.
    state.step(at(90), &[of_node(Admin::InService)]);
    assert_eq!((state.view().state(0, 1), shares(&state)[2]), (NodeState::Unknown, 0));
    let info = plan(&state).cluster_info[0];
    assert_eq!((info.alive, info.total, info.healthy), (2, 2, 1));
    state.step(at(91), &checked(&state.model.clone(), 1, Outcome::Hit));
    assert_eq!(owners(&plan(&state)), owners(&before));
    assert_eq!(
        (&plan(&state).nodes, &plan(&state).cluster_info),
        (&before.nodes, &before.cluster_info)
    );
}

#[test]
fn who_comes_back_keeps_connections_unless_it_had_lost_them() {
    /// In seconds, what is wanted of the node then; what a check finds; who is up then.
    type Turn = (u64, Option<Admin>, Option<Outcome>, u8);
    use Admin::{Drained, InService, Maintenance};
    const HIT: Option<Outcome> = Some(Outcome::Hit);
    const NOT: Option<Outcome> = Some(Outcome::NotWorking);
    let traces: &[&[Turn]] = &[
        // Before the limit: it never lost anything.
        &[(10, Some(Maintenance), None, 1), (69, Some(InService), None, 1), (80, None, HIT, 1)],
        &[(10, Some(Maintenance), None, 1), (69, Some(Drained), None, 1), (99, None, NOT, 1)],
        &[
            (10, Some(Maintenance), None, 1),
            (69, Some(InService), None, 1),
            (70, None, Some(MISS), 0),
        ],
        // Behind it: it has lost all, until it answers.
        &[(10, Some(Maintenance), None, 1), (70, Some(InService), None, 0), (71, None, HIT, 1)],
        &[(10, Some(Maintenance), None, 1), (70, Some(Drained), None, 0), (71, None, NOT, 1)],
        &[
            (10, Some(Maintenance), None, 1),
            (71, Some(InService), None, 0),
            (72, None, Some(MISS), 0),
        ],
        // It does not get a new time where it has nothing to lose, and does where it has.
        &[
            (10, Some(Maintenance), None, 1),
            (70, Some(InService), None, 0),
            (71, Some(Maintenance), None, 0),
            (72, Some(InService), None, 0),
            (73, None, HIT, 1),
            (74, Some(Maintenance), None, 1),
            (134, None, None, 0),
        ],
    ];
    for trace in traces {
        let mut state = running();
        for &(now, admin, outcome, up) in *trace {
            let admin = admin.map(of_node);
            let outcome = outcome.map(|outcome| checked(&state.model, 1, outcome));
            let events: Vec<Event> = outcome.into_iter().flatten().chain(admin).collect();
            // Its time ends first.
            state.step(at(now), &[]);
            state.step(at(now), &events);
            assert_eq!(ups(&state)[1], up, "at {now} of {trace:?}");
        }
    }
}

#[test]
fn who_was_down_before_maintenance_is_not_up_behind_it() {
    let mut state = running();
    fails(&mut state, 1);
    state.step(at(6), &[of_node(Admin::Maintenance)]);
    state.step(at(7), &[of_node(Admin::InService)]);
    assert_eq!((state.view().state(0, 1), ups(&state)[1]), (NodeState::Unknown, 0));
    state.step(at(8), &checked(&state.model.clone(), 1, Outcome::Hit));
    assert_eq!(ups(&state)[1], 1);
}

/// A reload that changes a check, and the grace passes before somebody speaks.
#[test]
fn who_is_asked_otherwise_keeps_connections_until_it_misses() {
    let mut state = running();
    fails(&mut state, 2);
    // It comes back, so that it is nothing new when it is unknown.
    state.step(at(6), &[of_node(Admin::Maintenance)]);
    state.step(at(7), &[of_node(Admin::InService)]);
    state.step(at(8), &checked(&state.model.clone(), 1, Outcome::Hit));
    let mut file = two();
    file.clusters[0].health.port = Some(81);
    let mut next = state.succeed(&file, at(10)).expect("ids");
    let grace = next.deadline().expect("a grace");
    next.step(grace, &[]);
    assert_eq!((next.view().state(0, 1), ups(&next)), (NodeState::Unknown, vec![1, 1, 0, 1, 1]));
    let info = plan(&next).cluster_info[0];
    assert_eq!((info.alive, info.total), (0, 3), "all count");
    next.step(grace, &checked(&next.model.clone(), 1, MISS));
    next.step(grace, &checked(&next.model.clone(), 2, Outcome::Hit));
    assert_eq!(ups(&next), [1, 0, 1, 1, 1]);
}
