//! A daemon that comes after another one.

use std::{sync::Arc, time::Duration};

use lb_common::{Directory, NodeId, Slot, SlotState};

use super::{
    fixture::{checked, cluster, config, percent, service},
    leaving::all_well,
    traces::{Dice, random_config, random_events},
};
use crate::{
    config::{BackupMode, Config, Failback},
    decide::{
        Admin, Effect, Event, Intent, Live, MissReason, NodeState, Outcome, Remembered, Saved,
        State, Unfit, group::Hold,
    },
};

const MISS: Outcome = Outcome::Miss(MissReason::Timeout);

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What the maps hold of a plan.
pub(super) fn maps(intent: &Intent) -> Remembered {
    let directory = |table: &crate::decide::Table| Directory {
        log2: table.slots.len().max(1).ilog2() as u8,
        healthy: table.healthy.into(),
        held: table.held.into(),
        flaps: table.flaps,
        ..Directory::default()
    };
    let live = |table: &crate::decide::Table| Live {
        directory: directory(table),
        slots: Arc::clone(&table.slots),
        base: table.base.clone(),
    };
    Remembered {
        plan: intent.plan,
        own: intent.own.clone(),
        nodes: intent.nodes.clone(),
        services: intent.services.iter().map(live).collect(),
        clusters: intent.clusters.iter().map(live).collect(),
    }
}

/// The next daemon, with the file that it reads.
pub(super) fn next(state: &State, file: &Config, now: Duration) -> State {
    let json = serde_json::to_string(&state.saved()).expect("JSON");
    let saved: Saved = serde_json::from_str(&json).expect("what was saved");
    let maps = maps(state.view().published.expect("a plan"));
    let before = State::resume(saved, &maps, now).expect("it fits");
    before.succeed(file, now).expect("ids")
}

pub(super) fn two() -> Config {
    let mut config = config(vec![
        cluster("A", 1, percent(50), &[1, 1, 1]),
        cluster("B", 1, percent(50), &[1, 1]),
    ]);
    config.services = vec![service(&config, "web", BackupMode::MultiMaster, "A B", "")];
    config
}

/// Tells it the ways to all nodes, and nothing of their checks.
fn with_ways(state: &mut State, now: Duration) -> Option<Arc<Intent>> {
    let model = Arc::clone(&state.model);
    let hop = super::fixture::HOP;
    let events: Vec<Event> = (0..model.nodes.len())
        .map(|n| Event::Resolved { node: model.ids.node(n).expect("an id"), hop: Some(hop) })
        .collect();
    let effects = state.step(now, &events);
    assert!(!effects.iter().any(|e| matches!(e, Effect::Refused(_))), "{effects:?}");
    state.view().published.cloned()
}

#[test]
fn the_same_plan_again_without_a_single_check() {
    let mut file = two();
    file.clusters[0].failback = Failback::Manual;
    file.clusters[1].failback = Failback::After { wait: at(10), max: at(40) };
    let mut state = State::new(Arc::new(file.clone()), at(0));
    all_well(&mut state);
    let model = Arc::clone(&state.model);
    let all = |nodes: std::ops::Range<usize>, outcome| -> Vec<Event> {
        let one = |node| (0..3).flat_map(move |_| [node]);
        let model = Arc::clone(&model);
        nodes.flat_map(one).flat_map(move |node| checked(&model, node, outcome)).collect()
    };
    // A comes back and is held, B flaps; a node is drained, another one down.
    state.step(at(10), &all(0..3, MISS));
    state.step(at(20), &all(0..3, Outcome::Hit));
    state.step(at(30), &all(4..5, MISS));
    let drained = NodeId::new(2).expect("an id");
    state.step(at(40), &[Event::Administer { node: drained, admin: Admin::Drained }]);
    let mut again = next(&state, &file, at(0));
    assert_eq!(with_ways(&mut again, at(1)), state.view().published.cloned());
    assert_eq!(again.view().groups[0].hold(), Some(Hold::UntilReleased));
    assert_eq!(again.view().admins.effective(), state.view().admins.effective());
    // What was up stays up until its checks fail.
    again.step(at(2), &all(0..1, MISS)[..2]);
    assert_eq!(again.view().state(0, 0), NodeState::Up);
    again.step(at(3), &all(0..1, MISS)[..1]);
    assert!(matches!(again.view().state(0, 0), NodeState::Down(_)));
}

/// How many slots of all tables of a plan are in each state but `CLEAN`.
fn moved(plan: &Intent) -> [usize; 2] {
    let tables = plan.services.iter().chain(&plan.clusters);
    let slots: Vec<_> = tables.flat_map(|table| table.slots.iter()).collect();
    [SlotState::Drain, SlotState::Residue]
        .map(|state| slots.iter().filter(|slot| slot.state() == state).count())
}

#[test]
fn what_moved_is_known_and_windows_count_anew() {
    let mut file = two();
    file.clusters.iter_mut().for_each(|cluster| cluster.drain = at(60));
    let mut state = State::new(Arc::new(file.clone()), at(0));
    all_well(&mut state);
    let drain = |node| {
        let node = NodeId::new(node).expect("an id");
        Event::Administer { node, admin: Admin::Drained }
    };
    // The window of one has closed, that of the other is open.
    state.step(at(10), &[drain(0)]);
    state.step(at(50), &[drain(3)]);
    state.step(at(75), &[]);
    let plan = state.view().published.cloned().expect("a plan");
    assert!(moved(&plan).iter().all(|&slots| slots > 0), "{:?}", moved(&plan));
    let mut again = next(&state, &file, at(0));
    assert_eq!(with_ways(&mut again, at(1)).as_ref(), Some(&plan));
    again.step(at(59), &[]);
    assert_eq!(again.view().published, Some(&plan));
    again.step(at(60), &[]);
    let plan = again.view().published.expect("a plan");
    assert!(
        moved(plan)[0] == 0 && moved(plan)[1] > 0 && !again.tracks.is_clean(),
        "{:?}",
        moved(plan)
    );
}

/// What is known of the nodes of A for a service.
fn known(state: &State, service: usize) -> Vec<NodeState> {
    let pool = state.model.pools.seen_by(service, 0, 0).expect("its pool");
    let nodes = 0..state.model.nodes_of(0).len();
    nodes.map(|node| state.view().state(pool, node)).collect()
}

/// Nodes of which the daemon before had not heard: the next one waits for them, and for nobody else.
#[test]
fn unknown_is_not_down() {
    let mut state = State::new(Arc::new(two()), at(0));
    let model = Arc::clone(&state.model);
    let of = |nodes: std::ops::Range<usize>, outcome| -> Vec<Event> {
        nodes.flat_map(|node| checked(&model, node, outcome)).collect()
    };
    with_ways(&mut state, at(0));
    state.step(at(1), &of(1..5, Outcome::Hit));
    state.step(at(2), &[]);
    assert_eq!(known(&state, 0), [NodeState::Unknown, NodeState::Up, NodeState::Up]);
    assert!(state.view().published.is_some(), "the grace has passed");

    let mut again = next(&state, &two(), at(10));
    assert_eq!(known(&again, 0), known(&state, 0));
    assert_eq!(with_ways(&mut again, at(10)), None, "it may be up");
    // The first outcome tells, though two make up who was down.
    again.step(at(11), &of(0..1, Outcome::Hit));
    assert_eq!(known(&again, 0), [NodeState::Up; 3]);
    let plan = again.view().published.expect("a plan");
    assert!(plan.clusters[0].slots.iter().any(|slot| slot.member() == Some(0)));
}

#[test]
fn holds_begin_anew_and_remember_how_often() {
    let mut file = two();
    file.clusters[1].failback = Failback::After { wait: at(10), max: at(40) };
    let mut state = State::new(Arc::new(file.clone()), at(0));
    all_well(&mut state);
    let model = Arc::clone(&state.model);
    let all_of_b = |outcome| -> Vec<Event> {
        [3, 3, 3, 4, 4, 4].into_iter().flat_map(|node| checked(&model, node, outcome)).collect()
    };
    state.step(at(10), &all_of_b(MISS));
    state.step(at(20), &all_of_b(Outcome::Hit));
    assert_eq!(state.view().groups[1].hold(), Some(Hold::Until(at(30))));
    // It fails again soon after.
    state.step(at(25), &all_of_b(MISS));
    state.step(at(40), &all_of_b(Outcome::Hit));
    assert_eq!(state.view().groups[1].hold(), Some(Hold::Until(at(60))));

    let mut again = next(&state, &file, at(5));
    assert_eq!(with_ways(&mut again, at(6)), state.view().published.cloned());
    assert_eq!(again.view().groups[1].hold(), Some(Hold::Until(at(25))));
    again.step(at(24), &[]);
    assert!(again.view().groups[1].group().held);
    again.step(at(25), &[]);
    assert!(!again.view().groups[1].group().held);
}

#[test]
fn tables_of_other_ids_are_refused() {
    let mut state = State::new(Arc::new(two()), at(0));
    all_well(&mut state);
    let mut maps = maps(state.view().published.expect("a plan"));
    let strange = |live: &mut Live| live.slots = vec![Slot::clean(9); live.slots.len()].into();
    assert!(State::resume(state.saved(), &maps, at(0)).is_ok());
    strange(&mut maps.clusters[0]);
    assert_eq!(State::resume(state.saved(), &maps, at(0)).err(), Some(Unfit));
}

#[test]
fn another_file_meanwhile() {
    let mut state = State::new(Arc::new(two()), at(0));
    all_well(&mut state);
    let mut file = two();
    file.clusters[0].nodes.remove(0);
    let mut again = next(&state, &file, at(0));
    assert!(again.model.config.clusters[0].nodes[0].leaving);
    let plan = with_ways(&mut again, at(1)).expect("a plan");
    assert_eq!(plan.nodes.len(), 5);
    assert!(plan.nodes.iter().all(|node| node.up == 1), "all keep their connections");
}

#[test]
fn what_does_not_fit_is_refused() {
    let state = State::new(Arc::new(two()), at(0));
    let mut saved = state.saved();
    saved.config.clusters[0].nodes.pop();
    assert!(State::resume(saved, &Remembered::default(), at(0)).is_err());
}

#[test]
fn random_states() {
    let mut dice = Dice(0x1234_5678_9abc_def1);
    for trace in 0..30 {
        let file = random_config(&mut dice);
        let mut state = State::new(Arc::new(file.clone()), at(0));
        all_well(&mut state);
        let model = Arc::clone(&state.model);
        for batch in 0..6 {
            let events = random_events(&mut dice, &model);
            state.step(at(10 + batch), &events);
        }
        let saved = state.saved();
        let json = serde_json::to_string(&saved).expect("JSON");
        assert_eq!(serde_json::from_str::<Saved>(&json).expect("the same"), saved);
        let again = next(&state, &file, at(0));
        assert_eq!(again.model.ids, state.model.ids, "trace {trace}");
        assert_eq!(again.view().admins.effective(), state.view().admins.effective());
    }
}
