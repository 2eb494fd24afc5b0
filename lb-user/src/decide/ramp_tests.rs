use std::{sync::Arc, time::Duration};

use crate::{
    config::{BackupMode, Config, Fallback},
    decide::{
        Decision, Effect, Event, MissReason, Outcome, Planner, State, TargetId,
        reason::explain_seat,
        share::moved,
        tables::{Bits, NOBODY, Order, Withheld},
        tests::{
            fixture::{checked, cluster, config, percent, service, started},
            traces::{Dice, random_config, random_events},
        },
    },
};

const MISS: Outcome = Outcome::Miss(MissReason::Timeout);

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Masters A, B and standby S of two nodes each, all of them with a ramp of 60 s and a slow start of
/// 30 s; `S` takes what A or B lends.
fn three() -> Config {
    let all = percent(100);
    let mut config = config(vec![
        cluster("A", 3, all, &[1, 1, 1]),
        cluster("B", 1, all, &[1, 1]),
        cluster("S", 1, percent(50), &[1, 3, 1]),
    ]);
    for cluster in &mut config.clusters {
        (cluster.ramp, cluster.slow_start) = (at(60), at(30));
        (cluster.health.fall, cluster.health.rise) = (1, 1);
    }
    config.services = vec![service(&config, "web", BackupMode::OneStandby, "A B", "S")];
    config
}

fn running(config: Config) -> State {
    let mut state = started(Arc::new(config), at(0));
    say(&mut state, 1, &["A", "B", "S"], Outcome::Hit);
    state
}

/// All nodes of clusters, or single nodes, are found so.
fn say(state: &mut State, now: u64, names: &[&str], outcome: Outcome) {
    let model = Arc::clone(&state.model);
    let is_it = |node: &usize| {
        let cluster = &model.config.clusters[model.nodes[*node].cluster].name;
        names.contains(&cluster.as_str()) || names.contains(&model.node(*node).name.as_str())
    };
    let nodes = (0..model.nodes.len()).filter(is_it);
    let events: Vec<Event> = nodes.flat_map(|node| checked(&model, node, outcome)).collect();
    for effect in state.step(at(now), &events) {
        assert!(!matches!(effect, Effect::Refused(_)), "{effect:?}");
    }
}

/// Owners of the service's slots: seats.
fn seats(state: &State) -> Vec<u16> {
    state.view().decision.expect("a decision").services[0].deal.owners.clone()
}

/// Owners of a pool's slots: ids of nodes.
fn nodes(state: &State, pool: usize) -> Vec<Option<u16>> {
    let table = &state.view().decision.expect("a decision").clusters[pool];
    table.slots.iter().map(|slot| slot.member()).collect()
}

/// Steps at each deadline; returns owners after each, with the time.
fn walk<T>(state: &mut State, owners: impl Fn(&State) -> T) -> Vec<(Duration, T)> {
    let mut steps = Vec::new();
    while let Some(due) = state.deadline() {
        assert!(steps.len() < 100, "it never ends");
        let effects = state.step(due, &[]);
        assert!(!effects.iter().any(|e| matches!(e, Effect::Refused(_))), "{effects:?}");
        steps.push((due, owners(state)));
    }
    steps
}

/// Slots move only to `to`, each once, in parts of nearly the same size, and in the end all is as it
/// was.
fn comes_back<T: PartialEq + Copy + std::fmt::Debug>(
    first: &[T],
    before: &[T],
    steps: &[(Duration, Vec<T>)],
    to: &[T],
) {
    let all = first.iter().zip(before).filter(|(is, was)| is != was).count();
    let mut last = before;
    for (due, owners) in steps {
        let moved: Vec<usize> = (0..owners.len()).filter(|&i| owners[i] != last[i]).collect();
        let part = moved.len() as f64 / all as f64;
        assert!((0.01..0.14).contains(&part), "{part} at {due:?}");
        assert!(moved.iter().all(|&i| to.contains(&owners[i])), "to others at {due:?}");
        assert!(moved.iter().all(|&i| owners[i] == first[i]), "not for good at {due:?}");
        last = owners;
    }
    assert_eq!(last, first);
}

#[test]
fn a_cluster_comes_home_in_sixteen_parts() {
    let mut state = running(three());
    let first = seats(&state);
    assert_eq!(state.deadline(), None, "the first plan does not ramp");
    say(&mut state, 5, &["A"], MISS);
    let failed = seats(&state);
    assert!(!failed.contains(&0));
    say(&mut state, 100, &["A"], Outcome::Hit);
    let began = seats(&state);
    let why = |state: &State| {
        let view = state.view();
        explain_seat(view.model, view.decision.expect("a decision"), 0, 0)
    };
    assert!(why(&state).contains("1 of 16"), "{}", why(&state));
    let steps = walk(&mut state, seats);
    assert_eq!((steps.len(), steps[0].0, steps[14].0), (15, at(104), at(160)));
    let all: Vec<_> = [(at(100), began)].into_iter().chain(steps).collect();
    comes_back(&first, &failed, &all, &[0]);
    assert!(!why(&state).contains("of 16"), "{}", why(&state));
}

/// A third one stayed for another service, so both come back in parts where they are alone.
#[test]
fn two_come_back_one_after_the_other() {
    let mut config = three();
    config.services.clear();
    let mut alone = service(&config, "alone", BackupMode::None, "A B", "");
    alone.fallback = Fallback::Masters;
    config.services.push(alone);
    config.services.push(service(&config, "web", BackupMode::MultiMaster, "A B S", ""));
    let mut state = running(config);
    let first = seats(&state);
    say(&mut state, 5, &["A", "B"], MISS);
    say(&mut state, 100, &["B"], Outcome::Hit);
    say(&mut state, 110, &["A"], Outcome::Hit);
    let withheld = |state: &State| {
        let groups = &state.view().decision.expect("one").groups;
        [0, 1].map(|pool| groups[pool].withheld.0)
    };
    assert_eq!(withheld(&state), [15, 13]);
    let steps = walk(&mut state, seats);
    assert_eq!((withheld(&state), &steps.last().expect("steps").1), ([0; 2], &first));
}

/// All that happens between a reload and the first plan is seen at once.
#[test]
fn what_comes_with_a_reload_counts() {
    let ramps = |state: &State| state.ramps.deadline().is_some();
    let reload = |state: &State, now, names: &[&str], outcome| {
        let mut next = state.succeed(&three(), at(now)).expect("ids");
        say(&mut next, now, names, outcome);
        next
    };
    // A cluster that comes home, and a node of another that starts slowly.
    let mut state = running(three());
    say(&mut state, 5, &["A", "s02"], MISS);
    say(&mut state, 100, &["A"], Outcome::Hit);
    assert!(ramps(&reload(&state, 105, &["B"], Outcome::Hit)), "it goes on");
    let lost = reload(&state, 105, &["B"], MISS);
    assert!(!ramps(&lost) && lost.view().decision.expect("one").groups[0].withheld.0 == 0);
    let mut state = running(three());
    say(&mut state, 5, &["s02"], MISS);
    say(&mut state, 50, &["s02"], Outcome::Hit);
    assert!(ramps(&reload(&state, 55, &["s01"], Outcome::Hit)), "it goes on");
    assert!(!ramps(&reload(&state, 55, &["s01"], MISS)));
    // And those that come back with it.
    let mut state = running(three());
    say(&mut state, 5, &["s02"], MISS);
    assert_eq!(reload(&state, 50, &["s02"], Outcome::Hit).ramps.deadline(), Some(at(52)));
    say(&mut state, 6, &["A"], MISS);
    assert_eq!(reload(&state, 60, &["A"], Outcome::Hit).ramps.deadline(), Some(at(64)));
    let again = state.succeed(&three(), at(60)).expect("ids");
    assert!(ramps(&reload(&again, 60, &["A"], Outcome::Hit)), "two reloads in a row");
    assert!(!ramps(&reload(&state, 60, &[], Outcome::Hit)), "nobody does");
}

#[test]
fn a_node_starts_slowly() {
    let mut state = running(three());
    let first = nodes(&state, 2);
    say(&mut state, 5, &["s02"], MISS);
    let failed = nodes(&state, 2);
    say(&mut state, 50, &["s02"], Outcome::Hit);
    let mut all = vec![(at(50), nodes(&state, 2))];
    all.extend(walk(&mut state, |state| nodes(state, 2)));
    assert_eq!((all.len(), all[15].0), (16, at(80)));
    let id = state.model.nodes_of(2).start as u16 + 1;
    comes_back(&first, &failed, &all, &[Some(id)]);
}

#[test]
fn a_loss_ends_all_ramps_of_its_table() {
    let mut state = running(three());
    let first = seats(&state);
    say(&mut state, 5, &["A"], MISS);
    say(&mut state, 10, &["A"], Outcome::Hit);
    assert_ne!(seats(&state), first);
    say(&mut state, 12, &["B"], MISS);
    assert_eq!(state.deadline(), None);
    let full = (0..first.len()).filter(|&slot| first[slot] == 0);
    assert!(full.into_iter().all(|slot| seats(&state)[slot] == 0), "A has all its own");
    // A node's: in its pool only.
    say(&mut state, 13, &["s01"], MISS);
    say(&mut state, 14, &["s01"], Outcome::Hit);
    assert!(state.deadline().is_some());
    say(&mut state, 15, &["s03"], MISS);
    assert_eq!(state.deadline(), None);
}

#[test]
fn where_nobody_else_may_serve_all_comes_at_once() {
    let mut config = three();
    config.services[0] = service(&config, "web", BackupMode::None, "A B", "");
    config.services[0].fallback = Fallback::Drop;
    let mut state = running(config);
    let first = seats(&state);
    say(&mut state, 5, &["A"], MISS);
    assert!(seats(&state).contains(&NOBODY));
    say(&mut state, 6, &["A"], Outcome::Hit);
    assert_eq!(seats(&state), first);
    // Nor is somebody relieved slowly who is not there.
    say(&mut state, 100, &["A", "B", "S"], MISS);
    say(&mut state, 200, &["A"], Outcome::Hit);
    assert!(state.deadline().is_none() && !seats(&state).contains(&1));
}

#[test]
fn a_reload_goes_on_where_it_was() {
    let mut state = running(three());
    say(&mut state, 5, &["A", "s01"], MISS);
    say(&mut state, 10, &["A", "s01"], Outcome::Hit);
    state.step(at(20), &[]);
    let mut next = state.succeed(&three(), at(20)).expect("ids");
    next.step(at(20), &[]);
    assert_eq!((seats(&next), nodes(&next, 2)), (seats(&state), nodes(&state, 2)));
    assert_eq!(next.deadline(), state.deadline());
    let last = |steps: Vec<(Duration, Vec<u16>)>| steps.last().map(|step| step.0);
    assert_eq!(last(walk(&mut next, seats)), last(walk(&mut state, seats)));
}

#[test]
fn shares_follow_the_parts() {
    let config = cluster("A", 1, percent(50), &[1, 2, 3, 4]);
    let state = running({
        let mut config = crate::decide::tests::fixture::config(vec![config]);
        config.services = vec![service(&config, "web", BackupMode::None, "A", "")];
        config
    });
    let order: &Order = state.model.cluster_order(0);
    let all = Bits::of(4, |_| true);
    let size = order.home().len() as f64;
    for withheld in 0..16u8 {
        let mut by_member = vec![Withheld::default(); 4];
        by_member[3] = Withheld(withheld);
        let owners = order.owners_in_part(&all, &by_member);
        let share = owners.iter().filter(|owner| **owner == 3).count() as f64 / size;
        let should = 0.4 * f64::from(16 - withheld) / 16.0;
        assert!((share - should).abs() < 0.015, "{share} at {withheld}, not {should}");
        let gone = order.owners(&Bits::of(4, |i| i != 3));
        let others = owners.iter().zip(&gone).zip(order.home());
        assert!(others.into_iter().all(|((is, gone), home)| is == home || is == gone));
    }
    let alone = Bits::of(4, |i| i == 2);
    assert_eq!(order.owners_in_part(&alone, &[Withheld(15); 4]), order.owners(&alone));
}

/// Whatever happens: no plan is refused, nothing moves in vain, with time alone slots go only to
/// who comes back, and when no ramp is left the plan is the one that there would be without.
#[test]
fn random_ramps() {
    let mut dice = Dice(0x0dd0_5eed_0dd0_5eed);
    let mut steps = 0;
    for trace in 0..120 {
        let mut config = random_config(&mut dice);
        for cluster in &mut config.clusters {
            let mut time = || at(u64::from(dice.below(4)) * 10);
            (cluster.ramp, cluster.slow_start) = (time(), time());
        }
        let mut state = running_all(config);
        let mut now = at(10);
        for batch in 0..8 {
            let place = format!("trace {trace}, batch {batch}");
            now += Duration::from_millis(u64::from(dice.below(6000)));
            let model = Arc::clone(&state.model);
            let events = random_events(&mut dice, &model);
            observe(&mut state, now, &events, &place);
            for _ in 0..dice.below(12) {
                let Some(due) = state.ramps.deadline().filter(|due| state.deadline() == Some(*due))
                else {
                    break;
                };
                let before = state.view().decision.cloned().expect("a decision");
                now = now.max(due);
                observe(&mut state, now, &[], &place);
                only_to_who_comes_back(&state, &before, &place);
                steps += 1;
            }
            if state.ramps.deadline().is_none() {
                as_without(&state, &place);
            }
        }
    }
    assert!(steps > 200, "only {steps} steps");
}

/// Everything lives.
fn running_all(config: Config) -> State {
    let mut state = started(Arc::new(config), at(0));
    let targets = (0..).map(TargetId).take(state.model.pools.targets.len());
    let hits = targets.map(|target| Event::Checked { target, outcome: Outcome::Hit });
    state.step(at(1), &hits.collect::<Vec<_>>());
    state
}

fn observe(state: &mut State, now: Duration, events: &[Event], place: &str) {
    let before = state.view().decision.cloned().expect("a decision");
    for effect in state.step(now, events) {
        assert!(!matches!(effect, Effect::Refused(_)), "{place}: {effect:?}");
    }
    let after = state.view().decision.expect("a decision");
    for service in 0..state.model.config.services.len() {
        assert_eq!(moved(&state.model, &before, after, service).extra.of, 0, "{place}");
    }
}

fn only_to_who_comes_back(state: &State, before: &Decision, place: &str) {
    let after = state.view().decision.expect("a decision");
    if before.groups.iter().zip(&after.groups).any(|(was, is)| was.held != is.held) {
        return; // a hold ended at the same time
    }
    for (was, is) in before.services.iter().zip(&after.services) {
        let owners = was.deal.owners.iter().zip(&is.deal.owners);
        for (_, to) in owners.filter(|(from, to)| from != to) {
            let ramps = was.withheld.get(usize::from(*to)).is_some_and(|left| left.0 > 0);
            assert!(ramps, "{place}: to {to}");
        }
    }
}

fn as_without(state: &State, place: &str) {
    let is = state.view().decision.expect("a decision");
    let mut planner = Planner::new(Arc::clone(&state.model));
    let without = planner.decide(&is.nodes, &is.groups, None);
    let withheld = is.groups.iter().any(|group| group.withheld.0 > 0);
    assert!(!withheld && is.nodes.iter().flatten().all(|node| node.withheld.0 == 0), "{place}");
    assert_eq!((&is.services, &is.clusters), (&without.services, &without.clusters), "{place}");
}
