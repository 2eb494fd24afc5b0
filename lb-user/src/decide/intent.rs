//! What the data plane writes, verbatim: the whole content of one generation.
//!
//! Lists go by id; ids that nobody has hold nothing. The writer adds only what is its own: places in memory and epochs.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use etherparse::checksum::Sum16BitWords;
use lb_common::{
    ClusterInfo, Forward, NodeInfo, NodeRecord, PlanRecord, ServiceId, ServiceInfo, Slot, Udp,
    layout::{MAX_INTERFACES, MAX_SERVICES, NAME_BYTES, VIP_PLACES},
};

use super::{
    Attached, Host, NextHop, Variant, View,
    group::Group,
    health::NodeState,
    host,
    model::{Model, NodePlace},
    moved::{Track, Tracks},
    plan::{Decision, Regime},
    resume::{admin_code, state_code},
};
use crate::config::{Affinity, Ports, Source};

/// Own addresses that are told at most: with all that services can take, no more than half of the
/// table's places are used.
pub const MOST_OWN: usize = (VIP_PLACES / 2 - 2 * MAX_SERVICES) as usize;

/// The content of one generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intent {
    /// What holds for all of it.
    pub plan: PlanRecord,
    /// Which service answers at which address and ports.
    pub vips: Vec<Vip>,
    /// Which service's replies come from which address and ports of a `nat` node.
    pub replies: Vec<Vip>,
    /// This host's own addresses; needed, and so there, only if something forwards by `nat`. At most
    /// [`MOST_OWN`].
    pub own: Vec<[u32; 4]>,
    /// By service id: its address, four words in host order.
    pub addresses: Vec<[u32; 4]>,
    /// By service id; members of slots are cluster ids.
    pub services: Vec<Table>,
    /// By cluster id: the pools' tables, then those of clusters that ignore health; members of
    /// slots are node ids.
    pub clusters: Vec<Table>,
    /// By node id.
    pub nodes: Vec<NodeRecord>,
    /// By service id, for people.
    pub service_info: Vec<ServiceInfo>,
    /// By cluster id, for people.
    pub cluster_info: Vec<ClusterInfo>,
    /// By node id, for people.
    pub node_info: Vec<NodeInfo>,
}

/// Where a service is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vip {
    /// Four words in host order, IPv4 as `::ffff:a.b.c.d`.
    pub address: [u32; 4],
    /// The ports.
    pub ports: Ports,
    /// IP protocol number.
    pub protocol: u8,
    /// The service.
    pub service: ServiceId,
}

/// A slot table with the flags of its directory entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Owners. Equal tables share one allocation.
    pub slots: Arc<[Slot]>,
    /// Of as many slots; there while some are in `DRAIN`: whom their old connections go to.
    pub base: Option<Arc<[Slot]>>,
    /// A cluster: it is in the healthy group. A service: somebody serves it.
    pub healthy: bool,
    /// A cluster that recovered and is held back.
    pub held: bool,
    /// A service whose flows are told apart by their source alone.
    pub by_source: bool,
    /// As in [`lb_common::Directory`].
    pub port: u16,
    /// What becomes of a UDP service's flows in a slot that moved.
    pub udp: Udp,
    /// A cluster's failures soon after recoveries in a row, at most 255.
    pub flaps: u8,
}

impl Intent {
    /// What to write for a decision, whose tables are these over time.
    pub fn new(view: &View<'_>, decision: &Decision, tracks: &Tracks) -> Self {
        let model = view.model;
        let config = &model.config;
        let services = config.services.iter().enumerate().map(|(position, service)| Table {
            by_source: service.affinity == Affinity::Source,
            port: service.ports.one().unwrap_or(0),
            udp: service.udp,
            ..table(model.ids.service(position).and_then(|id| tracks.service(id)))
        });
        let clusters = (0..decision.clusters.len()).map(|position| {
            let group = table_group(model, position, decision);
            Table {
                healthy: group.is_some_and(|group| group.healthy),
                held: group.is_some_and(|group| group.held),
                port: model.table_of(position).map_or(0, |table| table.port),
                flaps: view.groups.get(position).map_or(0, |group| group.flaps().min(255) as u8),
                ..table(model.ids.table(position).and_then(|id| tracks.cluster(id)))
            }
        });
        let nodes = 0..model.nodes.len();
        let ids = &model.ids;
        let addresses = config.services.iter().map(|s| address_words(s.address));
        let record = |i: usize| NodeRecord {
            state: state_code(best_state(view, i)),
            admin: admin_code(
                view.admins.own(i).admin,
                view.admins.cluster(model.nodes[i].cluster).admin,
            ),
            ..node_record(model, i, is_up(model, i, decision), view.hops[i])
        };
        let services: Vec<Table> = services.collect();
        let of_service = |i| service_info(model, i, decision, &services[i]);
        let of_table = |i| cluster_info(model, i, decision).unwrap_or_default();
        Self {
            plan: plan_record(model, view.host),
            vips: vips(model),
            replies: replies(model),
            own: own(view),
            addresses: ids.by_service(addresses),
            clusters: ids.by_table(clusters),
            nodes: ids.by_node(nodes.clone().map(record)),
            service_info: ids.by_service((0..config.services.len()).map(of_service)),
            services: ids.by_service(services),
            cluster_info: ids.by_table((0..decision.clusters.len()).map(of_table)),
            node_info: ids.by_node(nodes.map(|i| node_info(view, i))),
        }
    }
}

fn vips(model: &Model) -> Vec<Vip> {
    let vip = |(position, service): (usize, &crate::config::Service)| {
        let (address, ports) = (address_words(service.address), service.ports);
        let protocol = service.protocol.number();
        Some(Vip { address, ports, protocol, service: model.ids.service(position)? })
    };
    model.config.services.iter().enumerate().filter_map(vip).collect()
}

/// The ports of `nat` nodes, each once, by address: from there their replies come.
fn replies(model: &Model) -> Vec<Vip> {
    let (config, mut replies) = (&model.config, BTreeMap::new());
    let mut leaving = Vec::new();
    for (position, service) in config.services.iter().enumerate() {
        let Some(id) = model.ids.service(position) else { continue };
        for member in service.members() {
            let cluster = &config.clusters[member.cluster];
            for node in cluster.nodes.iter().filter(|_| cluster.forward == Forward::Nat) {
                let (address, protocol) = (address_words(node.address), service.protocol.number());
                let reply = ((address, protocol, service.ports_of(member, node)), id);
                match member.leaving || node.leaving {
                    true => leaving.push(reply),
                    false => drop(replies.insert(reply.0, reply.1)),
                }
            }
        }
    }
    // Whom the file says ports belong to has them.
    for ((address, protocol, ports), id) in leaving {
        let mut others = replies.keys().filter(|key| (key.0, key.1) == (address, protocol));
        if !others.any(|key| key.2.overlaps(ports)) {
            replies.insert((address, protocol, ports), id);
        }
    }
    let reply = |((address, protocol, ports), service)| Vip { address, ports, protocol, service };
    replies.into_iter().map(reply).collect()
}

/// The addresses of this host that are no service's, where replies that are for the host itself
/// have to be told from those to clients: at most [`MOST_OWN`], first those that it asks nodes from.
fn own(view: &View<'_>) -> Vec<[u32; 4]> {
    let Some(host) = view.host else { return Vec::new() };
    let mut own: Vec<IpAddr> = own_addresses(view.model, host).into_iter().collect();
    let asks_from = asks_from(view);
    own.sort_by_key(|address| !asks_from.contains(address));
    own.truncate(MOST_OWN);
    own.into_iter().map(address_words).collect()
}

/// How many addresses of this host are not told, because there are too many.
pub fn left_out(model: &Model, host: &Host) -> usize {
    own_addresses(model, host).len().saturating_sub(MOST_OWN)
}

/// All that should be told; none unless something forwards by `nat`.
fn own_addresses(model: &Model, host: &Host) -> BTreeSet<IpAddr> {
    if model.ways().all(|way| way != Forward::Nat) {
        return BTreeSet::new();
    }
    let vips = model.config.services.iter().map(|service| service.address);
    let vips: BTreeSet<IpAddr> = vips.collect();
    host.addresses.iter().copied().filter(|address| !vips.contains(address)).collect()
}

/// Where this host's own packets to `nat` nodes come from, and its checks as far as that is configured.
fn asks_from(view: &View<'_>) -> BTreeSet<IpAddr> {
    let model = view.model;
    let nat =
        |node: &usize| model.config.clusters[model.nodes[*node].cluster].forward == Forward::Nat;
    let nodes = (0..model.nodes.len()).filter(nat);
    let routes = nodes.filter_map(|node| view.hops[node]?.source);
    let checks = model.pools.targets.iter().filter_map(|target| match target.health.source {
        Some(Source::Address(address)) => Some(address),
        Some(Source::Interface(_)) | None => None,
    });
    routes.chain(checks).collect()
}

/// What something needs to know of this host, and no more. Replies are not looked for before it is
/// known: those to the host itself could not be told from others.
fn plan_record(model: &Model, host: Option<&Host>) -> PlanRecord {
    let mut record = PlanRecord::default();
    let Some(host) = host else { return record };
    if host.fragments && model.ways().any(|way| way != Forward::L2) {
        record.flags |= PlanRecord::HOST_FRAGMENTS;
    }
    if model.ways().any(|way| way == Forward::Nat) {
        record.flags |= PlanRecord::NAT;
    }
    for (place, &Attached { ifindex, mac }) in
        host.interfaces.iter().take(MAX_INTERFACES).enumerate()
    {
        (record.interfaces[place], record.macs[place]) = (ifindex, mac);
    }
    record
}

/// A table over time, and whether somebody serves it.
fn table(track: Option<&Arc<Track>>) -> Table {
    track.map_or_else(Table::default, |track| Table {
        slots: Arc::clone(track.slots()),
        base: track.base().cloned(),
        healthy: track.slots().iter().any(|slot| slot.member().is_some()),
        ..Table::default()
    })
}

/// A node keeps old connections while any of its checks says that it is up: a connection does not
/// know which of its cluster's services it is for.
fn is_up(model: &Model, node: usize, decision: &Decision) -> bool {
    let NodePlace { cluster, index } = model.nodes[node];
    model.pools_of(cluster).any(|pool| decision.nodes[pool][index].up)
}

/// The group that is shown with a table: the pool's; with one that ignores health, that of the
/// cluster's first pool.
fn table_group(model: &Model, table: usize, decision: &Decision) -> Option<Group> {
    let pools = model.pools.pools.len();
    let pool = if table < pools { table } else { model.pools_of(model.cluster_of(table)?).start };
    decision.groups.get(pool).copied()
}

/// A node's record: what forwarding to it needs, and whether it may keep old flows. Without a hop
/// nothing can be sent to it.
pub fn node_record(model: &Model, node: usize, up: bool, hop: Option<NextHop>) -> NodeRecord {
    let config = model.node(node);
    let cluster = &model.config.clusters[model.nodes[node].cluster];
    let port = match cluster.forward {
        Forward::Nat => config.port.unwrap_or(0),
        Forward::Gue => cluster.gue_port,
        Forward::L2 | Forward::Ipip => 0,
    };
    let record = NodeRecord {
        address: address_bytes(config.address),
        port_be: port.to_be_bytes(),
        up: u8::from(up),
        forward: cluster.forward as u8,
        v6: u8::from(config.address.is_ipv6()),
        ..NodeRecord::default()
    };
    match host::usable(model, node, hop) {
        Err(_) => record,
        Ok(NextHop { ifindex, src_mac, dst_mac, mtu, tags, source }) => NodeRecord {
            dst_mac,
            src_mac,
            ifindex,
            mtu,
            tags,
            source: source.map_or([0; 16], address_bytes),
            checksum_seed: source.map_or(0, |source| sum_of([source, config.address])),
            ..record
        },
    }
}

/// The sum of the words of addresses, of IPv4 their own 4 bytes, in ones' complement arithmetic.
fn sum_of(addresses: [IpAddr; 2]) -> u16 {
    let sum = addresses.iter().fold(Sum16BitWords::new(), |mut sum, address| match address {
        IpAddr::V4(v4) => sum.add_4bytes(v4.octets()),
        IpAddr::V6(v6) => sum.add_16bytes(v6.octets()),
    });
    // What comes of it is the complement, in the order of the bytes in memory.
    u16::from_be_bytes((!sum.ones_complement()).to_ne_bytes())
}

fn service_info(model: &Model, service: usize, decision: &Decision, table: &Table) -> ServiceInfo {
    let config = &model.config.services[service];
    let plan = &decision.services[service];
    ServiceInfo {
        name: name_bytes(&config.name),
        address: address_bytes(config.address),
        port: config.ports.one().unwrap_or(0),
        protocol: config.protocol.number(),
        panic: u8::from(matches!(plan.regime, Regime::Panic(_))),
        slots: table.slots.len() as u32,
        epoch: 0,
    }
}

fn cluster_info(model: &Model, table: usize, decision: &Decision) -> Option<ClusterInfo> {
    let Variant { cluster, port } = model.table_of(table)?;
    let config = &model.config.clusters[cluster];
    let group = table_group(model, table, decision)?;
    let name = match (table < model.pools.pools.len(), port) {
        (true, _) => model.pool_name(table).to_owned(),
        (false, 0) => format!("all:{}", config.name),
        (false, port) => format!("all:{}:{port}", config.name),
    };
    Some(ClusterInfo {
        name: name_bytes(&name),
        weight: config.weight,
        priority: config.priority,
        healthy: u32::from(group.healthy),
        alive: group.count.alive,
        needed: config.threshold.needed(group.count.total),
        total: group.count.total,
        epoch: 0,
    })
}

fn node_info(view: &View<'_>, node: usize) -> NodeInfo {
    let (model, config) = (view.model, view.model.node(node));
    let cluster = model.nodes[node].cluster;
    let state = match best_state(view, node) {
        NodeState::Unknown => 0,
        NodeState::Up => 1,
        NodeState::NotWorking | NodeState::Down(_) => 2,
    };
    NodeInfo {
        name: name_bytes(&config.name),
        number: config.number,
        cluster: model.ids.table(model.pools_of(cluster).start).map_or(0, |id| id.raw().into()),
        address: address_bytes(config.address),
        mac: view.way(node).map_or([0; 6], |hop| hop.dst_mac),
        state,
        weight: config.weight,
        priority: config.priority,
    }
}

/// The best of what a node's cluster's pools take it for.
fn best_state(view: &View<'_>, node: usize) -> NodeState {
    let NodePlace { cluster, index } = view.model.nodes[node];
    let states = view.model.pools_of(cluster).map(|pool| view.believed(pool, index));
    states.max_by_key(|state| state.rank()).unwrap_or(NodeState::Unknown)
}

/// The first bytes of a name, cut between characters, zero-padded.
fn name_bytes(name: &str) -> [u8; NAME_BYTES] {
    let mut bytes = [0; NAME_BYTES];
    let fits = name.char_indices().map(|(i, c)| i + c.len_utf8()).take_while(|&n| n <= NAME_BYTES);
    let length = fits.last().unwrap_or(0);
    bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
    bytes
}

/// Network order, IPv4 as `::ffff:a.b.c.d`.
fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn address_words(address: IpAddr) -> [u32; 4] {
    let bits = u128::from_be_bytes(address_bytes(address));
    [96, 64, 32, 0].map(|shift| (bits >> shift) as u32)
}
