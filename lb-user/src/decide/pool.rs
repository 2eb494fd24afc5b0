//! Which checks there are, and whose nodes they decide about.
//!
//! A node may be up for one service and down for another, so what stands behind a slot of a
//! service's table is not a cluster but a *pool*: a cluster as one way of checking sees it, and with
//! `nat` as one port. Services that check a cluster's nodes in the same way, and send to the same
//! port of them, share its pool, and its table. Targets are what is checked; the same thing is one
//! target, whoever wants to know it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use lb_common::Forward;

use crate::config::{
    Cluster, Config, DEFAULT_AGENT_PORT, Delivery, Health, Member, Node, Panic, Probe, Server,
    Service, Target, ThroughVip, Via,
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

/// A cluster as one way of checking sees it, its packets going to one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Position of the cluster.
    pub cluster: usize,
    /// The port that `nat` gives its packets, as [`lb_common::Directory`] has it.
    pub port: u16,
    /// Positions of the services that see it so; none: nobody uses the cluster.
    pub services: Vec<usize>,
    /// What is checked, by position in the cluster's nodes; empty where nobody uses the cluster.
    pub targets: Vec<TargetId>,
}

/// A cluster with one more table, which ignores health: for services that panic to all its nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Variant {
    /// Position of the cluster.
    pub cluster: usize,
    /// As a pool has it.
    pub port: u16,
}

/// All pools and targets of a configuration, in an order that follows from names and values alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pools {
    /// By cluster, then by what is checked, then by port. Positions are those of their node tables.
    pub pools: Vec<Pool>,
    /// By cluster, then by port. Position + number of pools = that of the node table.
    pub variants: Vec<Variant>,
    /// Position = [`TargetId`].
    pub targets: Vec<Target>,
}

impl Pools {
    /// Those of a configuration.
    pub fn of(config: &Config) -> Self {
        let mut wanted: BTreeMap<(usize, Vec<Target>, u16), Vec<usize>> = BTreeMap::new();
        let mut variants = BTreeSet::new();
        let mut shared: BTreeMap<&Health, Arc<Health>> = BTreeMap::new();
        let mut used = vec![false; config.clusters.len()];
        for (position, service) in config.services.iter().enumerate() {
            for member in service.members() {
                let cluster = &config.clusters[member.cluster];
                let health = service.health.as_ref().unwrap_or(&cluster.health);
                let health = shared.entry(health).or_insert_with(|| Arc::new(health.clone()));
                let targets =
                    cluster.nodes.iter().map(|node| target(health, service, member, cluster, node));
                let port = nat_port(&config.clusters, member);
                let seen = wanted.entry((member.cluster, targets.collect(), port)).or_default();
                seen.push(position);
                used[member.cluster] = true;
            }
            if service.panic == Panic::All {
                // Of those that are leaving, too: pins may name them.
                variants.extend(service.masters.iter().map(|master| Variant {
                    cluster: master.cluster,
                    port: nat_port(&config.clusters, master),
                }));
            }
        }
        for cluster in (0..used.len()).filter(|&cluster| !used[cluster]) {
            wanted.insert((cluster, Vec::new(), 0), Vec::new());
        }
        let mut ids: BTreeMap<&Target, TargetId> = BTreeMap::new();
        for target in wanted.keys().flat_map(|(_, targets, _)| targets) {
            ids.insert(target, TargetId(0));
        }
        (0..).zip(ids.values_mut()).for_each(|(position, id)| *id = TargetId(position));
        let pools = wanted.iter().map(|((cluster, targets, port), services)| Pool {
            cluster: *cluster,
            port: *port,
            services: services.clone(),
            targets: targets.iter().map(|target| ids[target]).collect(),
        });
        Self {
            pools: pools.collect(),
            variants: variants.into_iter().collect(),
            targets: ids.keys().map(|&t| t.clone()).collect(),
        }
    }
}

impl Pools {
    /// Number of node tables.
    pub fn tables(&self) -> usize {
        self.pools.len() + self.variants.len()
    }

    /// The pool of a cluster that a service sees with a port of [`nat_port`], if the cluster is so in it.
    pub fn seen_by(&self, service: usize, cluster: usize, port: u16) -> Option<usize> {
        let first = self.pools.partition_point(|pool| pool.cluster < cluster);
        let mut pools = self.pools[first..].iter().take_while(|pool| pool.cluster == cluster);
        let is_seen = |pool: &Pool| pool.services.binary_search(&service).is_ok();
        Some(first + pools.position(|pool| pool.port == port && is_seen(pool))?)
    }

    /// What pools are called. One that has its cluster for itself: as the cluster. Several are told
    /// apart by the port that they ask, `CLUSTER:PORT`, if each asks one port of its own, else by
    /// their first service, `CLUSTER:SERVICE`; where that one had another port before, `:PORT` follows.
    pub fn names(&self, config: &Config) -> Vec<String> {
        let name = |group: &[Pool]| -> Vec<String> {
            let cluster = &config.clusters[group[0].cluster].name;
            let ports: Option<BTreeSet<u16>> = group.iter().map(|pool| self.port(pool)).collect();
            let by_port = ports.is_some_and(|ports| ports.len() == group.len());
            let name = |pool: &Pool| match (group.len(), self.port(pool), pool.services.first()) {
                (2.., Some(port), _) if by_port => format!("{cluster}:{port}"),
                (2.., _, Some(&service)) => {
                    let name = &config.services[service].name;
                    let same =
                        group.iter().filter(|other| other.services.first() == Some(&service));
                    match same.count() {
                        1 => format!("{cluster}:{name}"),
                        _ => format!("{cluster}:{name}:{}", pool.port),
                    }
                }
                _ => cluster.clone(),
            };
            group.iter().map(name).collect()
        };
        self.pools.chunk_by(|a, b| a.cluster == b.cluster).flat_map(name).collect()
    }

    /// The port that a pool asks all its nodes on.
    fn port(&self, pool: &Pool) -> Option<u16> {
        let mut ports = pool.targets.iter().map(|target| self.targets[target.index()].at.port());
        let first = ports.next()?;
        ports.all(|port| port == first).then_some(first).filter(|&port| port > 0)
    }

    /// What a pool asks its nodes for, in words like `tcp 443` or `http 8080 /healthz`.
    pub fn check(&self, pool: usize) -> String {
        let pool = &self.pools[pool];
        let Some(first) = pool.targets.first() else { return "none".to_owned() };
        let probe = &self.targets[first.index()].health.probe;
        let port = self.port(pool).filter(|_| !matches!(probe, Probe::Survey(_)));
        let asks = match probe {
            Probe::Http(http) => Some(&http.path),
            Probe::Grpc(grpc) => Some(&grpc.service).filter(|service| !service.is_empty()),
            Probe::Dns(dns) => Some(&dns.query),
            Probe::Tcp(_) | Probe::Udp(_) | Probe::Icmp | Probe::Survey(_) => None,
        };
        let words = [Some(probe.kind().to_owned()), port.map(|p| p.to_string()), asks.cloned()];
        words.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

/// The port that `nat` gives the packets of a cluster in a service; 0: each node's own.
pub fn nat_port(clusters: &[Cluster], member: &Member) -> u16 {
    let port = member.port.filter(|_| clusters[member.cluster].forward == Forward::Nat);
    port.unwrap_or(0)
}

fn target(
    health: &Arc<Health>,
    service: &Service,
    member: &Member,
    cluster: &Cluster,
    node: &Node,
) -> Target {
    // Of a service on several ports a survey speaks by the first; other checks name theirs.
    let serves = service.ports_of(member, node).first();
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
        Via::Vip => Some(ThroughVip {
            at: (service.address, health.port.unwrap_or(service.ports.first())).into(),
            by: Delivery::to(node, cluster),
        }),
    };
    Target { health: Arc::clone(health), at: SocketAddr::new(node.address, asked), server, vip }
}
