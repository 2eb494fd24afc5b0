//! Configurations for tests, written short.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use lb_common::{Forward, HashAlgorithm, NodeId, pin::DEFAULT_PINS};

use crate::{
    config::{
        Affinity, BackupMode, Balance, Cluster, Config, DEFAULT_GUE_PORT, Exchange, Failback,
        Fallback, Health, Lb, Member, Node, Panic, Ports, Probe, Protocol, Ratio, Service,
        Threshold, Udp, Via,
    },
    decide::{Decision, Event, Model, NextHop, Outcome, Planner, State, TargetId},
};

/// A ratio in hundredths.
pub(in crate::decide) fn percent(numerator: u64) -> Threshold {
    Threshold::Ratio(Ratio { numerator, denominator: 100 })
}

/// A cluster of priority 1 whose nodes are its name in lower case with numbers from 1, of these
/// weights.
pub(in crate::decide) fn cluster(
    name: &str,
    weight: u32,
    threshold: Threshold,
    nodes: &[u32],
) -> Cluster {
    let node = |(i, &weight): (usize, &u32)| Node {
        name: format!("{}{:02}", name.to_lowercase(), i + 1),
        address: Ipv4Addr::UNSPECIFIED.into(),
        port: None,
        number: 0,
        weight,
        priority: 1,
        mac: None,
        leaving: false,
    };
    Cluster {
        name: name.into(),
        weight,
        priority: 1,
        threshold,
        recover_at: None,
        failback: Failback::Auto,
        min_services: 0,
        forward: Forward::L2,
        gue_port: DEFAULT_GUE_PORT,
        drain: Duration::ZERO,
        drain_hard: false,
        pin_idle: Duration::ZERO,
        ramp: Duration::ZERO,
        slow_start: Duration::ZERO,
        health: Health {
            probe: Probe::Tcp(Exchange::default()),
            source: None,
            via: Via::Direct,
            port: Some(80),
            interval: Duration::from_secs(1),
            fast_interval: Duration::from_secs(1),
            timeout: Duration::from_millis(500),
            fall: 3,
            rise: 2,
        },
        nodes: nodes.iter().enumerate().map(node).collect(),
        leaving: false,
    }
}

/// A configuration of these clusters, in any order, and no service yet.
pub(in crate::decide) fn config(mut clusters: Vec<Cluster>) -> Config {
    clusters.sort_by(|a, b| a.name.cmp(&b.name));
    for (number, node) in (0u32..).zip(clusters.iter_mut().flat_map(|c| &mut c.nodes)) {
        node.number = number;
        node.address = Ipv4Addr::from(0x0a00_0000 + number).into();
    }
    Config {
        lb: Lb {
            secret: None,
            hash: HashAlgorithm::default(),
            bpffs: "/sys/fs/bpf/x".into(),
            socket: "/run/x".into(),
            freeze: Duration::ZERO,
            pins: DEFAULT_PINS,
            survey_key: None,
        },
        interfaces: Vec::new(),
        clusters,
        services: Vec::new(),
    }
}

/// A service over clusters by name, with the clusters' weights and priorities and the defaults.
pub(in crate::decide) fn service(
    config: &Config,
    name: &str,
    mode: BackupMode,
    masters: &str,
    standbys: &str,
) -> Service {
    let members = |names: &str| -> Vec<Member> {
        names
            .split_whitespace()
            .map(|name| {
                let cluster = position(config, name);
                let Cluster { weight, priority, .. } = config.clusters[cluster];
                Member { cluster, weight, priority, port: None, leaving: false }
            })
            .collect()
    };
    Service {
        name: name.into(),
        address: Ipv4Addr::new(192, 0, 2, 1).into(),
        ports: Ports::One(1000 + config.services.len() as u16),
        protocol: Protocol::Tcp,
        affinity: Affinity::Flow,
        udp: Udp::default(),
        mode,
        masters: members(masters),
        standbys: members(standbys),
        balance: Balance::Weight,
        fallback: Fallback::Masters,
        panic: Panic::Alive,
        health: None,
    }
}

pub(in crate::decide) fn position(config: &Config, cluster: &str) -> usize {
    config.clusters.iter().position(|c| c.name == cluster).expect("a cluster of this name")
}

/// Clusters of the method's examples: masters A, B, C; standbys X, Y, Z.
pub(in crate::decide) fn six_clusters() -> Config {
    let with = |priority: u32, cluster: Cluster| Cluster { priority, ..cluster };
    let one = Threshold::Survivors(1);
    config(vec![
        with(10, cluster("A", 5, percent(50), &[4, 3, 2, 1])),
        with(10, cluster("B", 3, percent(50), &[1, 1, 1])),
        with(10, cluster("C", 2, one, &[1, 1])),
        with(20, cluster("X", 3, percent(50), &[2, 1, 1])),
        with(20, cluster("Y", 1, one, &[1, 1])),
        with(10, cluster("Z", 6, one, &[1, 1])),
    ])
}

/// A planner, and the names of things for questions to its decisions.
pub(in crate::decide) struct Bench {
    pub(in crate::decide) model: Arc<Model>,
    pub(in crate::decide) planner: Planner,
}

impl Bench {
    pub(in crate::decide) fn new(config: Config) -> Self {
        let model = Arc::new(Model::new(Arc::new(config)));
        Self { planner: Planner::new(Arc::clone(&model)), model }
    }

    /// The decision while these are down: nodes or whole clusters, by name.
    pub(in crate::decide) fn down(&mut self, names: &str) -> Decision {
        let names: Vec<&str> = names.split_whitespace().collect();
        let model = Arc::clone(&self.model);
        let known = |name: &&str| {
            let clusters = &model.config.clusters;
            clusters.iter().any(|c| c.name == **name || c.nodes.iter().any(|n| n.name == **name))
        };
        assert!(names.iter().all(known), "{names:?}");
        self.planner.decide_down(|node| {
            let cluster = &model.config.clusters[model.nodes[node].cluster];
            names.contains(&cluster.name.as_str())
                || names.contains(&model.node(node).name.as_str())
        })
    }

    /// Share of service 0 in percent that a cluster or a node gets; "-" is what is dropped.
    pub(in crate::decide) fn share(&self, decision: &Decision, name: &str) -> f64 {
        let slots = &decision.services[0].deal.slots;
        let of = |cluster: Option<u16>| {
            let count = slots.iter().filter(|slot| slot.member() == cluster).count();
            100.0 * count as f64 / slots.len() as f64
        };
        if name == "-" {
            return of(None);
        }
        let clusters = &self.model.config.clusters;
        if let Some(i) = clusters.iter().position(|c| c.name == name) {
            return of(Some(i as u16));
        }
        let node = (0..self.model.nodes.len()).find(|&n| self.model.node(n).name == name);
        let node = node.expect("a node of this name");
        let cluster = self.model.nodes[node].cluster;
        let table = &decision.clusters[cluster].slots;
        let mine = table.iter().filter(|slot| slot.member() == Some(node as u16)).count();
        of(Some(cluster as u16)) * mine as f64 / table.len() as f64
    }
}

/// A way to any node.
pub(crate) const HOP: NextHop =
    NextHop { ifindex: 3, src_mac: [2; 6], dst_mac: [4; 6], mtu: 1500, tags: [0; 2], source: None };

/// These outcomes of a node's checks, for whatever services.
pub(in crate::decide) fn checked(model: &Model, node: usize, outcome: Outcome) -> Vec<Event> {
    let targets = (0..).map(TargetId).take(model.pools.targets.len());
    let its = targets.filter(|target| model.nodes_at(*target).contains(&node));
    its.map(|target| Event::Checked { target, outcome }).collect()
}

/// A state that knows the way to every node, and nothing else yet.
pub(in crate::decide) fn started(config: Arc<Config>, now: Duration) -> State {
    started_with(Arc::new(Model::new(config)), now)
}

/// As [`started`], the orders being there already.
pub(in crate::decide) fn started_with(model: Arc<Model>, now: Duration) -> State {
    let mut state = State::with_model(model, now);
    let hop = Some(HOP);
    let ids = (0..state.view().hops.len()).filter_map(NodeId::new);
    let found: Vec<Event> = ids.map(|node| Event::Resolved { node, hop }).collect();
    assert_eq!(state.step(now, &found), []);
    state
}
