//! What a configuration fixes once and for all: the orders of all tables, and who has which id.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    hash::{BuildHasherDefault, DefaultHasher},
    sync::Arc,
};

use lb_common::{ClusterId, Forward, NodeId, ServiceId};

use super::{
    ids::Ids,
    pool::{Pool, Pools, TargetId, Variant, nat_port},
    tables::{Order, OrderSpec, Share, cluster_key, node_key},
};
use crate::config::{BackupMode, Balance, Cluster, Config, Fallback, Member, Node, Service};

/// A map whose hashing needs no random source.
type Map<K, V> = HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

/// A configuration with all that follows from it alone.
#[derive(Debug)]
pub struct Model {
    /// The configuration.
    pub config: Arc<Config>,
    /// What is checked, and the pools: clusters as one way of checking sees them.
    pub pools: Pools,
    /// Which id everything has in the maps. All else here goes by position.
    pub ids: Ids,
    /// All nodes, by (cluster name, node name).
    pub nodes: Vec<NodePlace>,
    /// Order of each cluster's node table; members are positions in the cluster's nodes.
    pub(super) cluster_orders: Vec<Order>,
    /// By position of the service.
    pub(super) services: Vec<ServiceModel>,
    /// Distinct orders of services' tables; members are positions in the services' seats.
    pub(super) service_orders: Vec<Order>,
    /// Position of each cluster's first node.
    first_node: Vec<usize>,
    /// Position of each cluster's first pool.
    first_pool: Vec<usize>,
    /// By pool.
    names: Vec<String>,
    /// By target: the positions of the nodes that it is asked for.
    nodes_at: Vec<Vec<usize>>,
}

/// Where a node stands in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodePlace {
    /// Position of its cluster.
    pub cluster: usize,
    /// Position in the cluster's nodes.
    pub index: usize,
}

/// What a cluster is in a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// It has flows of its own.
    Master,
    /// It carries others' flows.
    Standby,
}

/// A cluster's place in a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Its role.
    pub role: Role,
    /// Position of the cluster.
    pub cluster: usize,
    /// The cluster as this service checks it.
    pub pool: usize,
    /// It is no longer in the file.
    pub leaving: bool,
    /// Its weight in this service.
    pub weight: u32,
    /// Its priority in this service.
    pub priority: u32,
}

/// One service's seats and order.
#[derive(Debug)]
pub(super) struct ServiceModel {
    /// Masters by cluster, then standbys by cluster; who is leaving behind who is not.
    pub(super) seats: Vec<Seat>,
    /// Position in [`Model::service_orders`].
    pub(super) order: usize,
    /// Number of the distinct pair of order and pools: services that have it in common can have
    /// tables in common.
    pub(super) shape: usize,
}

impl Model {
    /// All that follows from a first configuration.
    pub fn new(config: Arc<Config>) -> Self {
        let nodes = config.clusters.iter().map(|cluster| cluster.nodes.len()).sum();
        let pools = Pools::of(&config);
        let ids = Ids::first(config.services.len(), pools.tables(), nodes);
        Self::with(config, pools, ids)
    }

    /// All that follows from a configuration whose pools and ids are known.
    pub(super) fn with(config: Arc<Config>, pools: Pools, ids: Ids) -> Self {
        let mut first_node = Vec::new();
        let mut nodes = Vec::new();
        for (cluster, value) in config.clusters.iter().enumerate() {
            first_node.push(nodes.len());
            nodes.extend((0..value.nodes.len()).map(|index| NodePlace { cluster, index }));
        }
        let mut specs: Map<OrderSpec, usize> = Map::default();
        let mut shapes: Map<(usize, Vec<usize>), usize> = Map::default();
        let mut service_orders = Vec::new();
        let mut services = Vec::new();
        for (position, service) in config.services.iter().enumerate() {
            let seats = seats(&config, &pools, position, service);
            let order = match specs.entry(service_spec(&config, service, &seats)) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(new) => {
                    service_orders.push(Order::new(new.key()));
                    *new.insert(service_orders.len() - 1)
                }
            };
            let next = shapes.len();
            let seen = seats.iter().map(|seat| seat.pool).collect();
            let shape = *shapes.entry((order, seen)).or_insert(next);
            services.push(ServiceModel { seats, order, shape });
        }
        let first_pool =
            |cluster| pools.pools.partition_point(|pool: &Pool| pool.cluster < cluster);
        let mut nodes_at = vec![Vec::new(); pools.targets.len()];
        for pool in &pools.pools {
            for (target, node) in pool.targets.iter().zip(first_node[pool.cluster]..) {
                if !nodes_at[target.index()].contains(&node) {
                    nodes_at[target.index()].push(node);
                }
            }
        }
        Self {
            cluster_orders: config.clusters.iter().map(|c| Order::new(&node_spec(c))).collect(),
            first_pool: (0..=config.clusters.len()).map(first_pool).collect(),
            names: pools.names(&config),
            nodes_at,
            pools,
            ids,
            config,
            nodes,
            services,
            service_orders,
            first_node,
        }
    }

    /// The places of a service's clusters: masters first.
    pub fn seats(&self, service: usize) -> &[Seat] {
        &self.services[service].seats
    }

    /// The order of a service's table; its members are positions in [`Model::seats`].
    pub fn service_order(&self, service: usize) -> &Order {
        &self.service_orders[self.services[service].order]
    }

    /// The order of a cluster's table; its members are positions in the cluster's nodes.
    pub fn cluster_order(&self, cluster: usize) -> &Order {
        &self.cluster_orders[cluster]
    }

    /// Positions of a cluster's nodes.
    pub fn nodes_of(&self, cluster: usize) -> std::ops::Range<usize> {
        let first = self.first_node[cluster];
        first..first + self.config.clusters[cluster].nodes.len()
    }

    /// A node's configuration.
    pub fn node(&self, node: usize) -> &Node {
        let NodePlace { cluster, index } = self.nodes[node];
        &self.config.clusters[cluster].nodes[index]
    }

    /// Positions of a cluster's pools.
    pub fn pools_of(&self, cluster: usize) -> std::ops::Range<usize> {
        self.first_pool[cluster]..self.first_pool[cluster + 1]
    }

    /// A pool.
    pub fn pool(&self, pool: usize) -> &Pool {
        &self.pools.pools[pool]
    }

    /// The configuration of a pool's cluster.
    pub fn cluster(&self, pool: usize) -> &Cluster {
        &self.config.clusters[self.pools.pools[pool].cluster]
    }

    /// What a pool is called: as its cluster, if that is checked in one way only.
    pub fn pool_name(&self, pool: usize) -> &str {
        &self.names[pool]
    }

    /// What a node is called where it is one target's: `CLUSTER/NODE`, or `POOL/NODE` if other
    /// pools of its cluster ask it otherwise.
    pub fn node_name(&self, node: usize, target: Option<TargetId>) -> String {
        let NodePlace { cluster, index } = self.nodes[node];
        let mut pools = self.pools_of(cluster);
        let is_it = |&pool: &usize| self.pool(pool).targets.get(index).copied() == target;
        let one = match pools.clone().all(|pool| is_it(&pool)) {
            true => None,
            false => target.and(pools.find(is_it)),
        };
        let name = one.map_or(self.config.clusters[cluster].name.as_str(), |p| self.pool_name(p));
        format!("{name}/{}", self.node(node).name)
    }

    /// What the pool with an id is called; `?`: there is none.
    pub fn name_of_pool(&self, id: ClusterId) -> &str {
        self.ids.table_at(id).and_then(|pool| self.names.get(pool)).map_or("?", String::as_str)
    }

    /// What the service with an id is called; `?`: there is none.
    pub fn name_of_service(&self, id: ServiceId) -> &str {
        let service = self.ids.service_at(id).and_then(|at| self.config.services.get(at));
        service.map_or("?", |service| service.name.as_str())
    }

    /// As [`Model::node_name`], of the node with an id; `?`: there is none.
    pub fn name_of_node(&self, id: NodeId, target: Option<TargetId>) -> String {
        self.ids.node_at(id).map_or("?".to_owned(), |node| self.node_name(node, target))
    }

    /// Positions of the nodes that a target is asked for.
    pub fn nodes_at(&self, target: TargetId) -> &[usize] {
        &self.nodes_at[target.index()]
    }

    /// Position of the node table that ignores health and is a pool's else, if there is one.
    pub fn variant_of(&self, pool: usize) -> Option<usize> {
        let Pool { cluster, port, .. } = self.pools.pools[pool];
        let variant = self.pools.variants.binary_search(&Variant { cluster, port });
        Some(self.pools.pools.len() + variant.ok()?)
    }

    /// Positions of a cluster's node tables that ignore health.
    pub fn variants_of(&self, cluster: usize) -> std::ops::Range<usize> {
        let (pools, variants) = (self.pools.pools.len(), &self.pools.variants);
        let first = variants.partition_point(|variant| variant.cluster < cluster);
        let behind = variants.partition_point(|variant| variant.cluster <= cluster);
        pools + first..pools + behind
    }

    /// Number of node tables.
    pub fn tables(&self) -> usize {
        self.pools.tables()
    }

    /// The configured cluster behind the position of a node table, and the port that its packets
    /// get.
    pub fn table_of(&self, table: usize) -> Option<Variant> {
        match self.pools.pools.get(table) {
            Some(&Pool { cluster, port, .. }) => Some(Variant { cluster, port }),
            None => self.pools.variants.get(table - self.pools.pools.len()).copied(),
        }
    }

    /// The configured cluster behind the position of a node table.
    pub fn cluster_of(&self, table: usize) -> Option<usize> {
        self.table_of(table).map(|table| table.cluster)
    }

    /// How many services have a pool's cluster among their members in the file.
    pub fn carried(&self, pool: usize) -> u32 {
        let Pool { cluster, port, services, .. } = &self.pools.pools[pool];
        let clusters = &self.config.clusters;
        let mut count = 0;
        for &service in services {
            let mut members = self.config.services[service].members();
            let stays = |member: &Member| {
                member.cluster == *cluster && nat_port(clusters, member) == *port && !member.leaving
            };
            count += u32::from(members.any(stays));
        }
        count
    }

    /// The ways of forwarding of all clusters that services use.
    pub fn ways(&self) -> impl Iterator<Item = Forward> {
        let used = self.pools.pools.iter().filter(|pool| !pool.services.is_empty());
        used.map(|pool| self.config.clusters[pool.cluster].forward)
    }
}

fn seats(config: &Config, pools: &Pools, position: usize, service: &Service) -> Vec<Seat> {
    let seat = |role| {
        move |member: &Member| {
            let &Member { cluster, weight, priority, leaving, .. } = member;
            let port = nat_port(&config.clusters, member);
            // Every member of a service is in a pool: `Pools::of` goes through the same members.
            let pool = pools.seen_by(position, cluster, port).unwrap_or_default();
            Seat { role, cluster, pool, leaving, weight, priority }
        }
    };
    let masters = service.masters.iter().map(seat(Role::Master));
    let standbys = service.standbys.iter().map(seat(Role::Standby));
    let mut seats: Vec<Seat> = masters.chain(standbys).collect();
    seats.sort_by_key(|seat| (seat.role, seat.cluster, seat.leaving, seat.pool));
    seats
}

/// M5 to M8: home among the best tier of masters, then carriers, then the fallback.
fn service_spec(config: &Config, service: &Service, seats: &[Seat]) -> OrderSpec {
    let of =
        |role: Role| {
            tiers(
                seats.iter().enumerate().filter(move |(_, seat)| seat.role == role).map(
                    |(i, seat)| (seat.priority, Share { member: i as u16, weight: seat.weight }),
                ),
            )
        };
    let (masters, standbys) = (of(Role::Master), of(Role::Standby));
    let mut stages = match service.mode {
        BackupMode::None => Vec::new(),
        BackupMode::OneStandby | BackupMode::MultiStandby => standbys.clone(),
        BackupMode::MultiMaster => masters.clone(),
    };
    if service.balance == Balance::Equal {
        stages.iter_mut().flatten().for_each(|share| share.weight = 1);
    }
    match service.fallback {
        Fallback::Masters => stages.extend(masters.clone()),
        Fallback::LastResort => stages.extend(standbys.into_iter().chain(masters.clone())),
        Fallback::Drop => {}
    }
    let keys = seats.iter().map(|seat| cluster_key(&config.clusters[seat.cluster].name)).collect();
    let members = service.members().filter(|member| !member.leaving).count();
    OrderSpec { keys, members, home: masters.into_iter().next().unwrap_or_default(), stages }
}

/// M12: the nodes of the best tier, then those of the next.
fn node_spec(cluster: &Cluster) -> OrderSpec {
    let keys = cluster.nodes.iter().map(|node| node_key(&cluster.name, &node.name)).collect();
    let shares = cluster.nodes.iter().enumerate();
    let stages = tiers(
        shares.map(|(i, node)| (node.priority, Share { member: i as u16, weight: node.weight })),
    );
    let members = cluster.nodes.iter().filter(|node| !node.leaving).count();
    OrderSpec { keys, members, home: stages.first().cloned().unwrap_or_default(), stages }
}

/// Members with a weight, by priority, the highest first.
fn tiers(members: impl Iterator<Item = (u32, Share)>) -> Vec<Vec<Share>> {
    let mut tiers: BTreeMap<u32, Vec<Share>> = BTreeMap::new();
    for (priority, share) in members.filter(|(_, share)| share.weight > 0) {
        tiers.entry(priority).or_default().push(share);
    }
    tiers.into_values().rev().collect()
}
