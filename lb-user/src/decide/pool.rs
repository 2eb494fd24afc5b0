//! Which checks there are, and whose nodes they decide about.
//!
//! A node may be up for one service and down for another, so what stands behind a slot of a
//! service's table is not a cluster but a *pool*: a cluster as one way of checking sees it.
//! Services that check a cluster's nodes in the same way share its pool, and its table. Targets
//! are what is checked; the same thing is one target, whoever wants to know it.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use crate::config::{
    Config, DEFAULT_AGENT_PORT, Health, Member, Node, Probe, Server, Service, Target, Via,
};

/// Position of a target in [`Pools::targets`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetId(pub u32);

impl TargetId {
    /// As a position.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A cluster as one way of checking sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Position of the cluster.
    pub cluster: usize,
    /// Positions of the services that see it so; none: nobody uses the cluster.
    pub services: Vec<usize>,
    /// What is checked, by position in the cluster's nodes; empty where nobody uses the cluster.
    pub targets: Vec<TargetId>,
}

/// All pools and targets of a configuration, in an order that follows from names and values alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pools {
    /// By cluster, then by what is checked. Position = [`lb_common::ClusterId`].
    pub pools: Vec<Pool>,
    /// Position = [`TargetId`].
    pub targets: Vec<Target>,
}

impl Pools {
    /// Those of a configuration.
    pub fn of(config: &Config) -> Self {
        let mut wanted: BTreeMap<(usize, Vec<Target>), Vec<usize>> = BTreeMap::new();
        let mut shared: BTreeMap<&Health, Arc<Health>> = BTreeMap::new();
        let mut used = vec![false; config.clusters.len()];
        for (position, service) in config.services.iter().enumerate() {
            for member in service.members() {
                let cluster = &config.clusters[member.cluster];
                let health = service.health.as_ref().unwrap_or(&cluster.health);
                let health = shared.entry(health).or_insert_with(|| Arc::new(health.clone()));
                let targets =
                    cluster.nodes.iter().map(|node| target(health, service, member, node));
                let seen = wanted.entry((member.cluster, targets.collect())).or_default();
                seen.push(position);
                used[member.cluster] = true;
            }
        }
        for cluster in (0..used.len()).filter(|&cluster| !used[cluster]) {
            wanted.insert((cluster, Vec::new()), Vec::new());
        }
        let mut ids: BTreeMap<&Target, TargetId> = BTreeMap::new();
        for target in wanted.keys().flat_map(|(_, targets)| targets) {
            ids.insert(target, TargetId(0));
        }
        (0..).zip(ids.values_mut()).for_each(|(position, id)| *id = TargetId(position));
        let pools = wanted.iter().map(|((cluster, targets), services)| Pool {
            cluster: *cluster,
            services: services.clone(),
            targets: targets.iter().map(|target| ids[target]).collect(),
        });
        Self { pools: pools.collect(), targets: ids.keys().map(|&t| t.clone()).collect() }
    }
}

fn target(health: &Arc<Health>, service: &Service, member: &Member, node: &Node) -> Target {
    // What the service says of the node's port counts before what the node says.
    let serves = member.port.or(node.port).unwrap_or(service.port);
    let (asked, server) = match &health.probe {
        Probe::Icmp => (0, None),
        Probe::Survey(_) => {
            let server = Server { number: node.number, port: serves };
            (health.port.unwrap_or(DEFAULT_AGENT_PORT), Some(server))
        }
        _ => (health.port.unwrap_or(serves), None),
    };
    let vip = match health.via {
        Via::Direct => None,
        Via::Vip => Some((service.address, health.port.unwrap_or(service.port)).into()),
    };
    Target { health: Arc::clone(health), at: SocketAddr::new(node.address, asked), server, vip }
}
