//! What is taken out of the file: it moves nobody else, keeps its ids, and goes when nothing names it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use lb_common::{Forward, Slot, layout::NAME_BYTES};

use super::{
    fixture::{HOP, checked, cluster, config, percent, service, started},
    traces::Dice,
};
use crate::{
    config::{BackupMode, Cluster, Config, Panic, Ports, Threshold},
    decide::{Effect, Event, Host, Intent, Model, Named, Outcome, Planner, State, Table},
};

const NOW: Duration = Duration::from_secs(7);

/// A service over A and B, three nodes each.
fn two() -> Config {
    let mut config = config(vec![
        cluster("A", 1, percent(50), &[1, 1, 1]),
        cluster("B", 2, percent(50), &[1, 1, 1]),
    ]);
    config.services = vec![service(&config, "web", BackupMode::MultiMaster, "A B", "")];
    config
}

/// Everything lives and is reached; returns what is published then.
pub(super) fn all_well(state: &mut State) -> Arc<Intent> {
    let model = Arc::clone(&state.model);
    let hop = Some(HOP);
    let mut events: Vec<Event> = (0..model.nodes.len())
        .map(|node| Event::Resolved { node: model.ids.node(node).expect("an id"), hop })
        .collect();
    for node in 0..model.nodes.len() {
        (0..3).for_each(|_| events.extend(checked(&model, node, Outcome::Hit)));
    }
    for effect in state.step(NOW, &events) {
        assert!(!matches!(effect, Effect::Refused(_)), "{effect:?}");
    }
    Arc::clone(state.view().published.expect("a plan"))
}

fn running(config: Config) -> State {
    let mut state = started(Arc::new(config), NOW);
    all_well(&mut state);
    state
}

fn reloaded(state: &State, config: &Config) -> State {
    let mut next = state.succeed(config, NOW).expect("ids");
    all_well(&mut next);
    next
}

/// Ids by `CLUSTER/NODE`, with a mark for what is leaving.
fn nodes(state: &State) -> BTreeMap<String, usize> {
    let model = &state.model;
    let name = |node: usize| {
        let mark = if model.node(node).leaving { "*" } else { "" };
        format!("{}{mark}", model.node_name(node, None))
    };
    let id = |node: usize| model.ids.node(node).expect("an id").index();
    (0..model.nodes.len()).map(|node| (name(node), id(node))).collect()
}

fn pins_on(nodes: &[usize]) -> Named {
    Named { nodes: nodes.iter().map(|id| *id as u16).collect(), ..Named::default() }
}

/// Whose each slot is, by name, over all tables.
fn owners(model: &Model) -> Vec<(String, Vec<Option<String>>)> {
    let decision =
        Planner::new(Arc::new(Model::new(Arc::clone(&model.config)))).decide_down(|_| false);
    let whole = Model::new(Arc::clone(&model.config));
    let mut tables = Vec::new();
    for (at, service) in model.config.services.iter().enumerate() {
        let cluster = |id| Some(whole.pool_name(whole.ids.table_of(id)?).to_owned());
        let slots = decision.services[at].deal.slots.iter();
        let slots = slots.map(|slot| slot.member().and_then(cluster));
        tables.push((service.name.clone(), slots.collect()));
    }
    for (at, table) in decision.clusters.iter().enumerate().take(whole.pools.pools.len()) {
        if whole.cluster(at).leaving {
            continue;
        }
        let node = |id| Some(whole.node_name(whole.ids.node_of(id)?, None));
        let slots = table.slots.iter().map(|slot| slot.member().and_then(node));
        tables.push((whole.pool_name(at).to_owned(), slots.collect()));
    }
    tables
}

#[test]
fn a_node_leaves_and_its_id_comes_back_when_no_pin_names_it() {
    let first = running(two());
    let mut without = two();
    without.clusters[0].nodes.remove(1);
    let mut state = reloaded(&first, &without);
    let ids = nodes(&state);
    assert_eq!((ids["A/a02*"], ids["A/a03"], ids["B/b01"]), (1, 2, 3), "{ids:?}");
    assert_eq!(owners(&state.model), owners(&Model::new(Arc::new(without.clone()))));
    let intent = all_well(&mut state);
    assert_eq!(intent.nodes[1].up, 1, "it is checked, and keeps its connections");
    assert_eq!((intent.cluster_info[0].alive, intent.cluster_info[0].total), (2, 2));
    // Reloads in a row do not forget it; a new node does not get its id.
    let mut more = without.clone();
    let mut node = more.clusters[1].nodes[0].clone();
    (node.name, node.address) = ("b00".into(), [10, 9, 9, 9].into());
    more.clusters[1].nodes.insert(0, node);
    let mut state = reloaded(&reloaded(&state, &without), &more);
    assert_eq!((nodes(&state)["A/a02*"], nodes(&state)["B/b00"]), (1, 6));
    assert!(state.dismiss(&pins_on(&[1]), NOW).is_none(), "a pin names it");
    let gone = state.dismiss(&pins_on(&[0]), NOW).expect("nothing names it");
    assert!(!nodes(&gone).contains_key("A/a02*") && nodes(&gone)["B/b00"] == 6);
    // Taken back before it is gone, it is what it was.
    let back = reloaded(&state, &two());
    assert_eq!(nodes(&back)["A/a02"], 1);
    // Its id is free when a sweep says so, not before.
    let readd = |state: &State| nodes(&reloaded(state, &two()))["A/a02"];
    assert_eq!(readd(&gone), 7);
    state = gone;
    state.named(&pins_on(&[1, 2]));
    assert_eq!(readd(&state), 7);
    state.named(&pins_on(&[2]));
    assert_eq!(readd(&state), 1);
}

#[test]
fn another_address_is_another_node() {
    let mut moved = two();
    moved.clusters[0].nodes[0].address = [10, 9, 9, 9].into();
    let state = reloaded(&running(two()), &moved);
    let ids = nodes(&state);
    assert_eq!((ids["A/a01"], ids["A/a01*"]), (6, 0), "{ids:?}");
    assert_eq!(owners(&state.model), owners(&Model::new(Arc::new(moved))));
    let gone = state.dismiss(&Named::default(), NOW).expect("nothing names it");
    assert_eq!(nodes(&gone).len(), 6);
}

#[test]
fn a_cluster_leaves_a_service_and_the_file() {
    let mut alone = two();
    alone.services[0].masters.pop();
    let state = reloaded(&running(two()), &alone);
    let config = &state.model.config;
    let [a, b] = &config.services[0].masters[..] else { panic!("two members") };
    assert!(!a.leaving && b.leaving && b.weight == 0 && !config.clusters[1].leaving);
    assert_eq!(owners(&state.model)[0], owners(&Model::new(Arc::new(alone)))[0]);

    let mut file = two();
    file.clusters.pop();
    file.services[0].masters.pop();
    let mut state = reloaded(&running(two()), &file);
    let config = &state.model.config;
    assert!(config.clusters[1].leaving && config.clusters[1].nodes.iter().all(|n| n.leaving));
    assert!(config.services[0].masters[1].leaving);
    assert_eq!(owners(&state.model), owners(&Model::new(Arc::new(file.clone()))));
    let intent = all_well(&mut state);
    assert!(intent.nodes[3..].iter().all(|node| node.up == 1));
    assert!(!intent.clusters[1].slots.is_empty(), "its table is there");
    // A pin on a node of it, or of its pool, keeps it.
    let pool = Named { tables: [1].into(), ..Named::default() };
    for pins in [pins_on(&[4]), pool] {
        assert!(state.dismiss(&pins, NOW).is_none_or(|s| s.model.config.clusters.len() == 2));
    }
    let gone = state.dismiss(&Named::default(), NOW).expect("nothing names it");
    assert_eq!(*gone.model.config, file);
    assert!(gone.dismiss(&Named::default(), NOW).is_none(), "there is nothing more");
}

/// Where a panic is to all nodes, pins name the table that ignores health.
#[test]
fn a_pin_of_any_of_its_tables_keeps_a_cluster_in_a_service() {
    let panics = |mut config: Config| {
        config.services[0].panic = Panic::All;
        config
    };
    let mut file = panics(two());
    file.services[0].masters.pop();
    let state = reloaded(&running(panics(two())), &file);
    let tables = |cluster| state.model.pools_of(cluster).chain(state.model.variants_of(cluster));
    let ids = |cluster| tables(cluster).map(|table| state.model.ids.table(table).expect("an id"));
    assert_eq!(ids(1).map(|id| id.index()).collect::<Vec<_>>(), [1, 3], "as before");
    let pinned = |id: u16| Named { tables: [id].into(), ..Named::default() };
    for id in ids(1) {
        assert!(state.dismiss(&pinned(id.raw()), NOW).is_none(), "table {id:?}");
    }
    for id in ids(0) {
        let gone = state.dismiss(&pinned(id.raw()), NOW).expect("another's");
        assert_eq!(*gone.model.config, file);
    }
}

#[test]
fn who_carries_on_has_done_so_since_before() {
    let [at, later] = [50, 100].map(Duration::from_secs);
    let since = |state: &mut State| {
        assert!(!state.step(later, &[]).is_empty());
        state.view().since.to_vec()
    };
    let mut file = two();
    file.clusters[0].nodes.remove(1);
    let mut next = running(two()).succeed(&file, at).expect("ids");
    assert_eq!(since(&mut next), [vec![NOW; 2]]);
    let mut gone = next.dismiss(&Named::default(), at).expect("nothing names it");
    assert_eq!(since(&mut gone), [vec![NOW; 2]]);
    // Two reloads in a row, without a plan between them.
    let again = gone.succeed(&two(), at).expect("ids");
    assert_eq!(since(&mut again.succeed(&file, at).expect("ids")), [vec![NOW; 2]]);
    file.services[0].masters[1].weight = 9;
    assert_eq!(since(&mut gone.succeed(&file, at).expect("ids")), [vec![later; 2]]);
}

#[test]
fn another_port_is_another_member() {
    let with = |port: u16| {
        let mut config = two();
        for cluster in &mut config.clusters {
            (cluster.forward, cluster.drain) = (Forward::Nat, Duration::from_secs(300));
        }
        config.services[0].masters[0].port = Some(port);
        config
    };
    // By table id, of all slots of the service: who has them, and had them.
    let members = |table: &Table| -> (Vec<u16>, Vec<u16>) {
        let of = |slots: &[Slot]| {
            let members: BTreeSet<u16> = slots.iter().filter_map(|slot| slot.member()).collect();
            members.into_iter().collect()
        };
        (of(&table.slots), table.base.as_deref().map(of).unwrap_or_default())
    };
    let ports = |intent: &Intent| -> Vec<u16> { intent.clusters.iter().map(|t| t.port).collect() };
    let replies = |intent: &Intent| -> BTreeSet<Ports> {
        intent.replies.iter().map(|reply| reply.ports).collect()
    };
    let mut state = started(Arc::new(with(8001)), NOW);
    state.step(NOW, &[Event::Host(Host::default())]);
    let before = all_well(&mut state);
    assert_eq!(
        (ports(&before), members(&before.services[0])),
        (vec![8001, 0], (vec![0, 1], vec![]))
    );

    // Also when it is read once more.
    let mut state = reloaded(&reloaded(&state, &with(8002)), &with(8002));
    let intent = all_well(&mut state);
    assert_eq!(ports(&intent), [8001, 0, 8002]);
    assert_eq!(members(&intent.services[0]), (vec![1, 2], vec![0]), "old connections keep theirs");
    assert_eq!(intent.clusters[0].slots, before.clusters[0].slots);
    let both = [1000, 8001, 8002].map(Ports::One);
    assert_eq!(replies(&intent), BTreeSet::from(both));
    assert_eq!((intent.cluster_info[0].name, intent.cluster_info[2].alive), shown("A:web:8001", 3));
    // Pools of one cluster are told apart by what follows its name.
    let clusters = |model: &Model| -> Vec<Option<String>> {
        let first = |name: &String| name.chars().take(1).collect();
        owners(model)[0].1.iter().map(|name| name.as_ref().map(first)).collect()
    };
    assert_eq!(clusters(&state.model), clusters(&Model::new(Arc::new(with(8002)))));
    // Twice within the window, and back.
    let mut thrice = reloaded(&state, &with(8003));
    assert_eq!(ports(&all_well(&mut thrice)), [8001, 0, 8002, 8003]);
    let mut back = reloaded(&state, &with(8001));
    let intent = all_well(&mut back);
    assert_eq!((ports(&intent), members(&intent.services[0]).0), (vec![8001, 0, 8002], vec![0, 1]));

    assert!(state.dismiss(&Named::default(), NOW).is_none(), "a base names it");
    for _ in 0..2 {
        state.step(NOW + Duration::from_secs(301), &[]);
    }
    let pool = Named { tables: [0].into(), ..Named::default() };
    assert!(state.dismiss(&pool, NOW).is_none(), "a pin names it");
    let gone = state.dismiss(&Named::default(), NOW).expect("nothing names it");
    assert_eq!(*gone.model.config, with(8002));
}

fn shown(name: &str, alive: u32) -> ([u8; NAME_BYTES], u32) {
    let mut bytes = [0; NAME_BYTES];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    (bytes, alive)
}

#[test]
fn a_service_goes_at_once_and_its_id_does_not() {
    let mut more = two();
    let api = service(&more, "api", BackupMode::MultiMaster, "A B", "");
    more.services.insert(0, api);
    let state = running(more.clone());
    let mut next = reloaded(&state, &two());
    let id = |state: &State, at: usize| state.model.ids.service(at).map(|id| id.index());
    assert_eq!((id(&next, 0), id(&next, 1)), (Some(1), None));
    let intent = all_well(&mut next);
    assert!(intent.services[0].slots.is_empty() && intent.vips[0].service.index() == 1);
    assert_eq!(id(&reloaded(&next, &more), 0), Some(2));
    next.named(&Named::default());
    assert_eq!(id(&reloaded(&next, &more), 0), Some(0));
}

#[test]
fn ids_run_out_before_they_are_given_twice() {
    let large = |first: u32| {
        let mut config = config(vec![cluster("A", 1, Threshold::Survivors(1), &[1; 3000])]);
        for (number, node) in (first..).zip(&mut config.clusters[0].nodes) {
            node.address = std::net::Ipv4Addr::from(0x0a00_0000 + number).into();
        }
        config.services = vec![service(&config, "web", BackupMode::None, "A", "")];
        config
    };
    let state = State::new(Arc::new(large(0)), NOW);
    let refused = state.succeed(&large(10_000), NOW).expect_err("6,000 nodes");
    assert!(refused.to_string().starts_with("no id is free for a node"));
}

/// A part of all clusters and services, in which each is with some of its nodes and members.
fn part(dice: &mut Dice, whole: &Config) -> Config {
    let some = |dice: &mut Dice| !dice.one_in(4);
    let mut clusters: Vec<Cluster> = Vec::new();
    let mut places = BTreeMap::new();
    for (position, cluster) in whole.clusters.iter().enumerate() {
        if !some(dice) && position > 0 {
            continue;
        }
        let mut cluster = cluster.clone();
        cluster.nodes.retain(|_| some(dice));
        if cluster.nodes.is_empty() {
            cluster.nodes.clone_from(&whole.clusters[position].nodes);
        }
        cluster.nodes.iter_mut().for_each(|node| node.weight = 1 + dice.below(3));
        places.insert(position, clusters.len());
        clusters.push(cluster);
    }
    let mut config = Config { clusters, services: Vec::new(), ..whole.clone() };
    for service in &whole.services {
        let mut service = service.clone();
        service.masters.retain(|m| places.contains_key(&m.cluster));
        service.masters.retain(|m| m.cluster == 0 || some(dice));
        service.masters.iter_mut().for_each(|m| m.cluster = places[&m.cluster]);
        config.services.push(service);
    }
    config
}

#[test]
fn random_reloads() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let nodes_of = |name: &str, n: usize| cluster(name, 1, percent(50), &vec![1; n]);
    let mut whole = config(vec![nodes_of("A", 4), nodes_of("B", 3), nodes_of("C", 2)]);
    for name in ["api", "web"] {
        whole.services.push(service(&whole, name, BackupMode::MultiMaster, "A B C", ""));
    }
    for _ in 0..8 {
        let mut state = running(part(&mut dice, &whole));
        for _ in 0..6 {
            let file = part(&mut dice, &whole);
            let next = reloaded(&state, &file);
            let (old, new) = (nodes(&state), nodes(&next));
            let strip = |ids: &BTreeMap<String, usize>| -> BTreeMap<String, usize> {
                ids.iter().map(|(name, id)| (name.trim_end_matches('*').to_owned(), *id)).collect()
            };
            let (was, is) = (strip(&old), strip(&new));
            assert!(was.iter().all(|(name, id)| is.get(name) == Some(id)), "{old:?} {new:?}");
            assert_eq!(owners(&next.model), owners(&Model::new(Arc::new(file.clone()))));
            state = next;
            if dice.one_in(2) {
                while let Some(mut gone) = state.dismiss(&Named::default(), NOW) {
                    all_well(&mut gone);
                    state = gone;
                }
                assert_eq!(*state.model.config, file);
            }
        }
    }
}
