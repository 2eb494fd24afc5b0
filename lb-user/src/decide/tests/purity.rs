//! The same health gives the same tables, whatever the order of events or of the file.

use std::{sync::Arc, time::Duration};

use super::{
    fixture::{Bench, checked, service, six_clusters, started},
    traces::Dice,
};
use crate::{
    config::{BackupMode, Config, Fallback},
    decide::{Decision, MissReason, Model, Outcome, Planner},
};

fn modes() -> Config {
    let mut config = six_clusters();
    for (name, mode, masters, standbys, fallback) in [
        ("a", BackupMode::MultiStandby, "A B C", "X Y Z", Fallback::Masters),
        ("b", BackupMode::MultiStandby, "B Z", "X Y", Fallback::LastResort),
        ("c", BackupMode::MultiMaster, "A B C X Y Z", "", Fallback::Masters),
        ("d", BackupMode::OneStandby, "A B", "Z", Fallback::Drop),
        ("e", BackupMode::None, "Y", "", Fallback::Masters),
    ] {
        let mut service = service(&config, name, mode, masters, standbys);
        service.fallback = fallback;
        config.services.push(service);
    }
    config
}

#[test]
fn the_order_of_events_leaves_no_trace() {
    let mut dice = Dice(99);
    let mut bench = Bench::new(modes());
    let nodes = bench.model.nodes.len();
    for _ in 0..40 {
        let down: Vec<bool> = (0..nodes).map(|_| dice.one_in(3)).collect();
        let mut state = started(Arc::clone(&bench.model.config), Duration::ZERO);
        let mut now = Duration::ZERO;
        let event = |node: usize, up: bool| {
            let outcome = if up { Outcome::Hit } else { Outcome::Miss(MissReason::Timeout) };
            checked(&bench.model, node, outcome).remove(0)
        };
        for _ in 0..60 {
            now += Duration::from_millis(100);
            let (node, up) = (dice.below(nodes as u32) as usize, dice.one_in(2));
            state.step(now, &[event(node, up), event(node, up), event(node, up)]);
        }
        let mut left: Vec<usize> = (0..nodes).collect();
        while !left.is_empty() {
            let node = left.swap_remove(dice.below(left.len() as u32) as usize);
            (0..3).for_each(|_| drop(state.step(now, &[event(node, !down[node])])));
        }
        let is = state.view().decision.expect("a decision");
        let fresh = bench.planner.decide_down(|node| down[node]);
        assert_eq!((&is.services, &is.clusters), (&fresh.services, &fresh.clusters));
    }
}

/// The owners of all slots, by name.
fn owners(model: &Model, decision: &Decision, service: &str) -> Vec<(String, String)> {
    let id = model.config.services.iter().position(|s| s.name == service).expect("a service");
    let slots = &decision.services[id].deal.slots;
    let name = |slot: &lb_common::Slot, size: usize, place: usize| match slot.member() {
        None => ("nobody".into(), String::new()),
        Some(cluster) => {
            let table = &decision.clusters[usize::from(cluster)].slots;
            let node = table[place * table.len() / size].member();
            let node = node.map_or(String::new(), |n| model.node(n.into()).name.clone());
            (model.config.clusters[usize::from(cluster)].name.clone(), node)
        }
    };
    slots.iter().enumerate().map(|(i, slot)| name(slot, slots.len(), i)).collect()
}

#[test]
fn the_order_of_the_file_leaves_no_trace() {
    let config = modes();
    let mut other = config.clone();
    let count = other.clusters.len();
    other.clusters.rotate_left(2);
    other.clusters.swap(0, 3);
    let place = |cluster: usize| {
        let name = &config.clusters[cluster].name;
        other.clusters.iter().position(|c| c.name == *name).expect("a cluster")
    };
    let places: Vec<usize> = (0..count).map(place).collect();
    for cluster in &mut other.clusters {
        cluster.nodes.reverse();
    }
    other.services.rotate_left(3);
    for service in &mut other.services {
        service.masters.reverse();
        service.standbys.reverse();
        for member in service.masters.iter_mut().chain(&mut service.standbys) {
            member.cluster = places[member.cluster];
        }
    }
    let [one, two] = [config, other].map(|config| Arc::new(Model::new(Arc::new(config))));
    let [mut plan_one, mut plan_two] = [&one, &two].map(|model| Planner::new(Arc::clone(model)));
    for dead in ["", "a01 a02 x02 b03", "a01 a02 a03 x01 x02", "a01 b01 c01 c02 y01 y02 z01"] {
        let down = |model: &Arc<Model>| {
            let model = Arc::clone(model);
            move |node: usize| dead.split(' ').any(|name| name == model.node(node).name)
        };
        let [first, second] = [plan_one.decide_down(down(&one)), plan_two.decide_down(down(&two))];
        for service in ["a", "b", "c", "d", "e"] {
            let tables = [owners(&one, &first, service), owners(&two, &second, service)];
            assert_eq!(tables[0], tables[1], "{service}, down: {dead}");
        }
    }
}
