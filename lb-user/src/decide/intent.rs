//! What the data plane writes, verbatim: the whole content of one generation.
//!
//! Positions are ids. The writer adds only what is its own: places in memory and epochs.

use std::{net::IpAddr, sync::Arc};

use lb_common::{
    ClusterInfo, NodeInfo, NodeRecord, PlanRecord, ServiceId, ServiceInfo, Slot, layout::NAME_BYTES,
};

use super::{
    NextHop, View,
    group::Group,
    health::NodeState,
    model::{Model, NodePlace},
    plan::{Decision, Regime},
};
use crate::config::Ports;

/// The content of one generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intent {
    /// What holds for all of it.
    pub plan: PlanRecord,
    /// Which service answers at which address and ports.
    pub vips: Vec<Vip>,
    /// Which service's replies come from which address and ports of a `nat` node.
    pub replies: Vec<Vip>,
    /// This host's own addresses; needed, and so there, only if something forwards by `nat`.
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
    /// A cluster: it is in the healthy group. A service: somebody serves it.
    pub healthy: bool,
    /// A cluster that recovered and is held back.
    pub held: bool,
    /// A service whose flows are told apart by their source alone.
    pub by_source: bool,
    /// As in [`lb_common::Directory`].
    pub port: u16,
}

impl Intent {
    /// What to write for a decision.
    pub fn new(view: &View<'_>, decision: &Decision) -> Self {
        let model = view.model;
        let config = &model.config;
        let services = decision.services.iter().map(|plan| Table {
            slots: Arc::clone(&plan.deal.slots),
            healthy: plan.deal.slots.iter().any(|slot| slot.member().is_some()),
            ..Table::default()
        });
        let clusters = decision.clusters.iter().enumerate().map(|(id, table)| {
            let group = table_group(model, id, decision);
            Table {
                slots: Arc::clone(&table.slots),
                healthy: group.is_some_and(|group| group.healthy),
                held: group.is_some_and(|group| group.held),
                ..Table::default()
            }
        });
        let nodes = 0..model.nodes.len();
        Self {
            vips: config
                .services
                .iter()
                .enumerate()
                .filter_map(|(i, service)| {
                    let address = address_words(service.address);
                    let (ports, protocol) = (service.ports, service.protocol.number());
                    Some(Vip { address, ports, protocol, service: ServiceId::new(i)? })
                })
                .collect(),
            plan: PlanRecord::default(),
            replies: Vec::new(),
            own: Vec::new(),
            addresses: config.services.iter().map(|s| address_words(s.address)).collect(),
            services: services.collect(),
            clusters: clusters.collect(),
            nodes: nodes
                .clone()
                .map(|i| node_record(model, i, is_up(model, i, decision), view.hops[i]))
                .collect(),
            service_info: (0..config.services.len())
                .map(|i| service_info(model, i, decision))
                .collect(),
            cluster_info: (0..decision.clusters.len())
                .filter_map(|id| cluster_info(model, id, decision))
                .collect(),
            node_info: nodes.map(|i| node_info(view, i)).collect(),
        }
    }
}

/// A node keeps old connections while any of its checks says that it is up: a connection does not
/// know which of its cluster's services it is for.
fn is_up(model: &Model, node: usize, decision: &Decision) -> bool {
    let NodePlace { cluster, index } = model.nodes[node];
    model.pools_of(cluster).any(|pool| decision.nodes[pool][index].up)
}

/// The group that is shown with a table: the pool's; with one that ignores health, that of the
/// cluster's first pool.
fn table_group(model: &Model, id: usize, decision: &Decision) -> Option<Group> {
    let pools = model.pools.pools.len();
    let pool = if id < pools { id } else { model.pools_of(model.cluster_of(id)?).start };
    decision.groups.get(pool).copied()
}

/// A node's record: what forwarding to it needs, and whether it may keep old flows. Without a hop
/// nothing can be sent to it.
pub fn node_record(model: &Model, node: usize, up: bool, hop: Option<NextHop>) -> NodeRecord {
    let config = model.node(node);
    let record = NodeRecord {
        address: address_bytes(config.address),
        port_be: config.port.unwrap_or(0).to_be_bytes(),
        up: u8::from(up),
        forward: model.config.clusters[model.nodes[node].cluster].forward as u8,
        v6: u8::from(config.address.is_ipv6()),
        ..NodeRecord::default()
    };
    match hop {
        None => record,
        Some(hop) => NodeRecord {
            dst_mac: hop.dst_mac,
            src_mac: hop.src_mac,
            ifindex: hop.ifindex,
            mtu: hop.mtu,
            ..record
        },
    }
}

fn service_info(model: &Model, service: usize, decision: &Decision) -> ServiceInfo {
    let config = &model.config.services[service];
    let plan = &decision.services[service];
    ServiceInfo {
        name: name_bytes(&config.name),
        address: address_bytes(config.address),
        port: config.ports.one().unwrap_or(0),
        protocol: config.protocol.number(),
        panic: u8::from(matches!(plan.regime, Regime::Panic(_))),
        slots: plan.deal.slots.len() as u32,
        epoch: 0,
    }
}

fn cluster_info(model: &Model, id: usize, decision: &Decision) -> Option<ClusterInfo> {
    let cluster = model.cluster_of(id)?;
    let config = &model.config.clusters[cluster];
    let group = table_group(model, id, decision)?;
    let name = match id < model.pools.pools.len() {
        true => model.pool_name(id).to_owned(),
        false => format!("all:{}", config.name),
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
    let (NodePlace { cluster, index }, hop) = (model.nodes[node], view.hops[node]);
    // The best of what its cluster's pools take it for.
    let states = || model.pools_of(cluster).map(|pool| view.believed(pool, index));
    let state = if states().any(|state| state == NodeState::Up) {
        1
    } else {
        2 * u16::from(states().any(|state| state != NodeState::Unknown))
    };
    NodeInfo {
        name: name_bytes(&config.name),
        number: config.number,
        cluster: model.pools_of(cluster).start as u32,
        address: address_bytes(config.address),
        mac: hop.map_or([0; 6], |hop| hop.dst_mac),
        state,
        weight: config.weight,
        priority: config.priority,
    }
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
