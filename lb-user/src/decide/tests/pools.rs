//! A node may be up for one service and down for another.

use std::{sync::Arc, time::Duration};

use lb_common::ClusterId;

use super::fixture::{checked, cluster, config, percent, position, service, started};
use crate::{
    config::{
        BackupMode, Config, DEFAULT_AGENT_PORT, Exchange, Health, Http, Ports, Probe, Source,
        Survey, SurveySend, Via,
    },
    decide::{
        Effect, Event, Intent, MissReason, Model, Notice, Outcome, Pools, State, TargetId,
        reason::explain_notice,
    },
};

const MISS: Outcome = Outcome::Miss(MissReason::Refused);

/// Two clusters of three nodes, B standing by for A, and four services: `api` and `web` on ports
/// of their own, `mail` on that of `web`, and `shop` by HTTP on the port of `web`.
fn shop() -> Config {
    let clusters = ["A", "B"].map(|name| cluster(name, 1, percent(60), &[1, 1, 1]));
    let mut config = config(clusters.to_vec());
    let http = Http {
        tls: None,
        method: "GET".into(),
        path: "/healthz".into(),
        host: None,
        status: vec![(200, 399)],
        body: None,
    };
    let base = config.clusters[0].health.clone();
    for (name, probe, port) in [
        ("api", Probe::Tcp(Exchange::default()), 8080),
        ("mail", Probe::Tcp(Exchange::default()), 80),
        ("shop", Probe::Http(http), 80),
        ("web", Probe::Tcp(Exchange::default()), 80),
    ] {
        let mut service = service(&config, name, BackupMode::OneStandby, "A", "B");
        service.health = Some(Health { probe, port: Some(port), ..base.clone() });
        config.services.push(service);
    }
    config
}

/// The target that a service asks a node for, by the node's number.
fn target(model: &Model, service: &str, node: usize) -> TargetId {
    let config = &model.config;
    let service = config.services.iter().position(|s| s.name == service).expect("a service");
    let (cluster, index) = (model.nodes[node].cluster, model.nodes[node].index);
    let pool = model.pools.seen_by(service, cluster, 0).expect("its pool");
    model.pool(pool).targets[index]
}

fn times(target: TargetId, outcome: Outcome, times: usize) -> Vec<Event> {
    vec![Event::Checked { target, outcome }; times]
}

fn published(effects: Vec<Effect>) -> Arc<Intent> {
    let mut plan = None;
    for effect in effects {
        match effect {
            Effect::Publish(intent) => plan = Some(intent),
            Effect::Refused(violations) => panic!("{violations:?}"),
            Effect::Notice(_) => {}
        }
    }
    plan.expect("a plan")
}

fn running() -> (State, Arc<Model>, Arc<Intent>) {
    let mut state = started(Arc::new(shop()), Duration::ZERO);
    let model = Arc::clone(&state.model);
    let all = (0..6).flat_map(|node| checked(&model, node, Outcome::Hit)).collect::<Vec<_>>();
    let plan = published(state.step(Duration::from_secs(1), &all));
    (state, model, plan)
}

/// The node table that a service's first slot leads to.
fn table<'a>(intent: &'a Intent, model: &Model, service: &str) -> &'a crate::decide::Table {
    let id = model.config.services.iter().position(|s| s.name == service).expect("a service");
    &intent.clusters[usize::from(intent.services[id].slots[0].member().expect("somebody"))]
}

#[test]
fn services_that_check_alike_share_a_pool_and_are_named_by_what_differs() {
    let model = Model::new(Arc::new(shop()));
    let services = |pool: usize| -> Vec<&str> {
        let services = model.pool(pool).services.iter();
        services.map(|&service| model.config.services[service].name.as_str()).collect()
    };
    // Two of three ask port 80: so all are called after their first service.
    let pools: Vec<_> = model
        .pools_of(0)
        .map(|pool| (model.pool_name(pool), model.pools.check(pool), services(pool)))
        .collect();
    assert_eq!(
        pools,
        [
            ("A:mail", "tcp 80".to_owned(), vec!["mail", "web"]),
            ("A:api", "tcp 8080".to_owned(), vec!["api"]),
            ("A:shop", "http 80 /healthz".to_owned(), vec!["shop"]),
        ]
    );
    assert_eq!((model.pools.pools.len(), model.pools.targets.len()), (6, 18));

    let mut two = shop();
    two.services.retain(|service| service.name != "shop");
    let names = |config: Config| -> Vec<String> {
        let model = Model::new(Arc::new(config));
        (0..model.pools.pools.len()).map(|pool| model.pool_name(pool).to_owned()).collect()
    };
    assert_eq!(names(two.clone()), ["A:80", "A:8080", "B:80", "B:8080"]);
    two.services.retain(|service| service.name != "api");
    assert_eq!(names(two.clone()), ["A", "B"], "one way of checking: as the cluster");
    two.services.clear();
    assert_eq!(names(two), ["A", "B"], "nobody checks them");
}

#[test]
fn a_node_is_up_for_one_service_and_down_for_another() {
    let (mut state, model, steady) = running();
    let tables =
        |intent: &Intent| {
            steady.clusters.iter().zip(&intent.clusters).take(3).all(|(a, b)| {
                Arc::ptr_eq(&a.slots, &steady.clusters[0].slots) && a.slots == b.slots
            })
        };
    assert!(tables(&steady), "all nodes live for all: one table");

    let now = Duration::from_secs(2);
    let effects = state.step(now, &times(target(&model, "api", 0), MISS, 3));
    let Some(Effect::Notice(notice)) = effects.get(3) else { panic!("{effects:?}") };
    assert_eq!(explain_notice(&model, notice), "node A:api/a01 is down: connection refused");
    let one = published(effects);
    let has = |service: &str, plan: &Intent| {
        table(plan, &model, service).slots.iter().any(|slot| slot.member() == Some(0))
    };
    assert_eq!(["api", "mail", "shop", "web"].map(|s| has(s, &one)), [false, true, true, true]);
    assert_eq!(one.nodes[0].up, 1, "other services' connections stay");
    assert_eq!(one.node_info[0].state, 1);
    assert_eq!(one.services, steady.services, "2 of 3 are enough");

    // The second one: A is unhealthy for api, and for nobody else.
    let effects = state.step(now, &times(target(&model, "api", 1), MISS, 3));
    let said = |text: &str| {
        let mut notices = effects.iter().filter_map(|effect| match effect {
            Effect::Notice(notice) => Some(explain_notice(&model, notice)),
            Effect::Publish(_) | Effect::Refused(_) => None,
        });
        assert!(notices.any(|said| said == text), "{text}: {effects:?}");
    };
    said("cluster A:api is unhealthy: 1 of 3 alive, needs 2");
    said("service api: B:api serve the flows of A:api");
    let two = published(effects);
    let changed: Vec<bool> =
        two.services.iter().zip(&one.services).map(|(two, one)| two != one).collect();
    assert_eq!(changed, [true, false, false, false]);

    // Down for all: only now its connections end.
    for service in ["mail", "shop"] {
        state.step(now, &times(target(&model, service, 0), MISS, 3));
    }
    let plan = state.view().published.expect("a plan");
    assert_eq!((plan.nodes[0].up, plan.node_info[0].state), (0, 2));
    // And a01 is gone from the others' tables, which are one again.
    assert!(Arc::ptr_eq(&table(plan, &model, "mail").slots, &table(plan, &model, "shop").slots));
    assert!(!has("web", plan));
}

#[test]
fn each_pool_is_held_back_and_released_by_itself() {
    let mut config = shop();
    config.clusters[0].failback = crate::config::Failback::Manual;
    let mut state = started(Arc::new(config), Duration::ZERO);
    let model = Arc::clone(&state.model);
    let mut all = |outcome, times: usize| {
        let nodes = (0..3 * times).map(|node| node % 3);
        let events: Vec<Event> = nodes.flat_map(|node| checked(&model, node, outcome)).collect();
        let standby = (3..6).flat_map(|node| checked(&model, node, Outcome::Hit));
        state.step(Duration::from_secs(1), &standby.chain(events).collect::<Vec<_>>());
    };
    all(Outcome::Hit, 1);
    all(MISS, 3);
    all(Outcome::Hit, 2);
    let held = |state: &State| -> Vec<bool> {
        state.view().groups[..3].iter().map(|group| group.hold().is_some()).collect()
    };
    assert_eq!(held(&state), [true; 3]);
    let id = ClusterId::new(1).expect("an id");
    let effects = state.step(Duration::from_secs(2), &[Event::Release(id)]);
    assert!(
        matches!(&effects[0], Effect::Notice(Notice::Released { cluster, .. }) if *cluster == id)
    );
    assert_eq!(held(&state), [true, false, true]);
}

#[test]
fn another_configuration_keeps_what_asks_the_same() {
    let (mut state, model, _) = running();
    let now = Duration::from_secs(2);
    state.step(now, &times(target(&model, "api", 0), MISS, 3));
    state.step(now, &times(target(&model, "shop", 1), MISS, 2));

    // How often is another matter; another path is another thing.
    let mut slower = shop();
    for service in &mut slower.services {
        service.health.as_mut().expect("its own").interval = Duration::from_secs(5);
    }
    let next = state.succeed(&slower, now).expect("ids");
    for service in ["api", "mail", "shop", "web"] {
        for node in 0..6 {
            let [was, is] =
                [&state, &next].map(|s| s.targets[target(&s.model, service, node).index()]);
            assert_eq!(was, is, "{service}, node {node}");
        }
    }
    let mut other = shop();
    let shop_position = 2;
    let health = other.services[shop_position].health.as_mut().expect("its own");
    let Probe::Http(http) = &mut health.probe else { panic!("it is HTTP") };
    http.path = "/other".into();
    let next = state.succeed(&other.clone(), now).expect("ids");
    let is = |service, node| next.targets[target(&next.model, service, node).index()].state();
    assert_eq!(is("shop", 1), crate::decide::NodeState::Unknown);
    assert_eq!(is("api", 0), crate::decide::NodeState::Down(MissReason::Refused));
    for change in [
        |health: &mut Health| health.source = Some(Source::Interface("eth7".into())),
        |health: &mut Health| health.via = Via::Vip,
    ] {
        let mut elsewhere = shop();
        change(elsewhere.services[shop_position].health.as_mut().expect("its own"));
        let next = state.succeed(&elsewhere, now).expect("ids");
        let is = next.targets[target(&next.model, "shop", 1).index()].state();
        assert_eq!(is, crate::decide::NodeState::Unknown, "another way to ask");
    }
    // Its group is that of the pool which served the service.
    assert!(next.inherited.iter().all(Option::is_some));
    assert_eq!(position(&other, "B"), 1);
}

#[test]
fn what_is_asked_where() {
    let mut config = config(vec![cluster("A", 1, percent(50), &[1, 1])]);
    config.services.push(service(&config, "web", BackupMode::None, "A", ""));
    config.services[0].ports = Ports::One(443);
    config.clusters[0].health = Health::default();
    let asked = |config: &Config| -> Vec<_> {
        let pools = Pools::of(config);
        let ports = |id: &TargetId| {
            let target = &pools.targets[id.index()];
            (target.at.port(), target.server.map(|s| s.port), target.vip.map(|v| v.at.port()))
        };
        pools.pools[0].targets.iter().map(ports).collect()
    };
    assert_eq!(asked(&config), [(443, None, None); 2], "the service's");
    config.clusters[0].nodes[0].port = Some(8001);
    assert_eq!(asked(&config), [(8001, None, None), (443, None, None)], "the node's before it");
    config.services[0].masters[0].port = Some(8002);
    assert_eq!(asked(&config), [(8002, None, None); 2], "the member's before that");
    config.clusters[0].health.via = Via::Vip;
    assert_eq!(asked(&config), [(8002, None, Some(443)); 2], "the VIP has the service's");
    config.clusters[0].health =
        Health { probe: Probe::Survey(Survey { send: SurveySend::Unicast }), ..Health::default() };
    assert_eq!(asked(&config), [(DEFAULT_AGENT_PORT, Some(8002), None); 2], "the agent's");
    config.clusters[0].health.port = Some(9999);
    assert_eq!(asked(&config), [(9999, Some(8002), None); 2], "the check's own before all");
    config.clusters[0].health.probe = Probe::Icmp;
    assert_eq!(asked(&config), [(0, None, None); 2], "ICMP has none");
}
