//! `min_services`: a cluster that carries too few services well carries none.

use std::{sync::Arc, time::Duration};

use super::fixture::{cluster, config, percent, service, started};
use crate::{
    config::{BackupMode, Config, Health, Threshold},
    decide::{
        Effect, Event, Intent, MissReason, Notice, Outcome, State, TargetId,
        reason::{Standing, explain_notice, explain_seat, standing},
    },
};

const MISS: Outcome = Outcome::Miss(MissReason::Timeout);

/// Three services on a port each, of A with two nodes, which requires two of them; B stands by.
fn three(min_services: u32, recover_at: Option<Threshold>) -> Config {
    let clusters = ["A", "B"].map(|name| cluster(name, 1, percent(50), &[1, 1]));
    let mut config = config(clusters.to_vec());
    config.clusters[0].min_services = min_services;
    config.clusters[0].recover_at = recover_at;
    for (name, port) in [("dns", 53), ("mail", 25), ("web", 80)] {
        let mut service = service(&config, name, BackupMode::OneStandby, "A", "B");
        let health = config.clusters[0].health.clone();
        service.health = Some(Health { port: Some(port), fall: 1, rise: 1, ..health });
        config.services.push(service);
    }
    config
}

fn running(config: Config) -> State {
    let mut state = started(Arc::new(config), Duration::ZERO);
    let all = (0..state.view().targets.len() as u32).map(TargetId);
    let hits: Vec<Event> =
        all.map(|target| Event::Checked { target, outcome: Outcome::Hit }).collect();
    state.step(Duration::from_secs(1), &hits);
    state
}

/// These outcomes for nodes of A, by service and number; returns what is said.
fn see(state: &mut State, nodes: &[(usize, usize)], outcome: Outcome) -> Vec<String> {
    let model = Arc::clone(&state.model);
    let target = |&(service, node): &(usize, usize)| {
        model.pool(model.pools.seen_by(service, 0, 0).expect("a pool")).targets[node]
    };
    let events: Vec<Event> =
        nodes.iter().map(|at| Event::Checked { target: target(at), outcome }).collect();
    let effects = state.step(Duration::from_secs(2), &events);
    let said = |effect: Effect| match effect {
        Effect::Notice(Notice::Seen { .. } | Notice::Node { .. }) | Effect::Publish(_) => None,
        Effect::Notice(notice) => Some(explain_notice(&model, &notice)),
        Effect::Refused(violations) => panic!("{violations:?}"),
    };
    effects.into_iter().filter_map(said).collect()
}

/// Which services A serves.
fn serves(state: &State) -> [bool; 3] {
    let plan: &Intent = state.view().published.expect("a plan");
    [0, 1, 2].map(|service| {
        let id = plan.services[service].slots[0].member().map(usize::from);
        id.and_then(|id| state.model.cluster_of(id)) == Some(0)
    })
}

const DNS: usize = 0;
const MAIL: usize = 1;
const WEB: usize = 2;

#[test]
fn too_few_services_are_none() {
    let mut state = running(three(2, None));
    assert_eq!(serves(&state), [true; 3]);
    see(&mut state, &[(DNS, 0), (DNS, 1)], MISS);
    assert_eq!(serves(&state), [false, true, true], "two of three are enough");
    let said = see(&mut state, &[(WEB, 0), (WEB, 1)], MISS);
    assert_eq!(serves(&state), [false; 3]);
    let why = "2 of 2 alive, but only 1 of its 3 services are healthy on it, needs 2";
    let unhealthy = format!("cluster A:25 is unhealthy: {why}");
    assert!(said.contains(&unhealthy), "{said:?}");
    let (model, decision) = (&state.model, state.view().decision.expect("a decision"));
    assert!(matches!(standing(model, decision, MAIL, 0), Standing::FewServices(_)));
    let seat = explain_seat(model, decision, MAIL, 0);
    assert_eq!(seat, format!("unhealthy, {why}: may not serve; its flows go to B"));
    let own = explain_seat(model, decision, WEB, 0);
    assert!(own.starts_with("unhealthy, 0 of 2 alive, needs 1: "), "{own}");

    see(&mut state, &[(WEB, 0)], Outcome::Hit);
    assert_eq!(serves(&state), [false, true, true]);
}

#[test]
fn without_a_number_each_service_is_by_itself() {
    let mut state = running(three(0, None));
    see(&mut state, &[(DNS, 0), (DNS, 1), (WEB, 0), (WEB, 1)], MISS);
    assert_eq!(serves(&state), [false, true, false]);
}

#[test]
fn a_number_above_that_of_the_services_asks_for_all_of_them() {
    let mut state = running(three(9, None));
    assert_eq!(serves(&state), [true; 3]);
    see(&mut state, &[(DNS, 0), (DNS, 1)], MISS);
    assert_eq!(serves(&state), [false; 3]);
}

#[test]
fn a_service_counts_again_when_its_own_hysteresis_says_so() {
    let mut state = running(three(3, Some(percent(100))));
    // One of two nodes is enough to stay …
    see(&mut state, &[(DNS, 0)], MISS);
    assert_eq!(serves(&state), [true; 3]);
    see(&mut state, &[(DNS, 1)], MISS);
    assert_eq!(serves(&state), [false; 3]);
    // … and not to come back. The other services never had too few: they come back with it.
    see(&mut state, &[(DNS, 0), (WEB, 0)], Outcome::Hit);
    assert_eq!(serves(&state), [false; 3]);
    see(&mut state, &[(DNS, 1)], Outcome::Hit);
    assert_eq!(serves(&state), [true; 3]);
}
