//! The tables that the cases run against: one service for each way a packet may go.

use std::sync::Arc;

use lb_common::{
    ClusterId, Forward, NodeId, NodeRecord, ServiceId, Slot, VipKey,
    layout::{MAX_CLUSTERS, MIN_TABLE_LOG2},
};
use lb_user::{
    config::Ports,
    decide::{Intent, Table, Vip},
};

use super::frames::VIP;

/// `BPF_PROG_TEST_RUN` says that a packet came in by the loopback interface, which is 1.
pub const INGRESS: u32 = 1;
/// Some other interface.
pub const ELSEWHERE: u32 = 77;

/// Ports of the services, by what becomes of their packets.
pub mod port {
    /// To node 0, out of the interface it came by.
    pub const TX: u16 = 80;
    /// To node 1, out of another one.
    pub const REDIRECT: u16 = 81;
    /// To node 2, which is not resolved.
    pub const UNRESOLVED: u16 = 82;
    /// To no cluster.
    pub const NO_CLUSTER: u16 = 83;
    /// To a cluster without nodes.
    pub const NO_NODE: u16 = 84;
    /// To a cluster that no map has.
    pub const BAD_CLUSTER: u16 = 85;
    /// To a cluster whose table is not there.
    pub const BAD_TABLE: u16 = 86;
    /// To a node that forwards in no known way.
    pub const BAD_FORWARD: u16 = 87;
    /// No service.
    pub const NOTHING: u16 = 99;
}

/// MAC of the next hop of a node.
#[must_use]
pub fn node_mac(node: u16) -> [u8; 6] {
    let [high, low] = node.to_be_bytes();
    [2, 0, 0, 1, high, low]
}

/// MAC that packets to a node are sent from.
#[must_use]
pub fn source_mac(node: u16) -> [u8; 6] {
    let [high, low] = node.to_be_bytes();
    [2, 0, 0, 2, high, low]
}

/// A node's record, resolved.
#[must_use]
pub fn node(number: u16, ifindex: u32) -> NodeRecord {
    NodeRecord {
        dst_mac: node_mac(number),
        src_mac: source_mac(number),
        ifindex,
        up: 1,
        forward: Forward::L2 as u8,
        ..NodeRecord::default()
    }
}

/// A table whose every slot is owned by the same member.
#[must_use]
pub fn all(slot: Slot) -> Table {
    table((0..1 << MIN_TABLE_LOG2).map(|_| slot))
}

/// A table of these slots.
#[must_use]
pub fn table(slots: impl IntoIterator<Item = Slot>) -> Table {
    let slots = slots.into_iter().collect::<Arc<[Slot]>>();
    Table { slots, healthy: true, ..Table::default() }
}

/// The key of a TCP service on the VIP.
#[must_use]
pub fn vip(port: u16) -> VipKey {
    VipKey::v4(u32::from_be_bytes(VIP), port, 6)
}

/// An intent without anything for people.
#[must_use]
pub fn intent(
    vips: Vec<(VipKey, ServiceId)>,
    services: Vec<Table>,
    clusters: Vec<Table>,
    nodes: Vec<NodeRecord>,
) -> Intent {
    let vip = |(key, service): (VipKey, ServiceId)| {
        let VipKey { address, port, protocol } = key;
        Vip { address, ports: Ports::One(port), protocol, service }
    };
    Intent {
        vips: vips.into_iter().map(vip).collect(),
        addresses: vec![[0; 4]; services.len()],
        services,
        clusters,
        nodes,
        ..Intent::default()
    }
}

/// The raw id of a cluster, for slots.
#[must_use]
pub fn cluster(index: usize) -> Slot {
    Slot::clean(ClusterId::new(index).expect("a cluster that the maps have").raw())
}

/// The raw id of a node, for slots.
#[must_use]
pub fn member(index: usize) -> Slot {
    Slot::clean(NodeId::new(index).expect("a node that the maps have").raw())
}

/// The key of a UDP service on the VIP.
#[must_use]
pub fn udp_vip(port: u16) -> VipKey {
    VipKey { protocol: 17, ..vip(port) }
}

/// The services of [`port`]; and by UDP one on [`port::REDIRECT`] that leads to node 0.
#[must_use]
pub fn world() -> Intent {
    let ways = [
        (port::TX, cluster(0)),
        (port::REDIRECT, cluster(1)),
        (port::UNRESOLVED, cluster(2)),
        (port::NO_CLUSTER, Slot::NONE),
        (port::NO_NODE, cluster(3)),
        (port::BAD_CLUSTER, Slot::clean(MAX_CLUSTERS as u16)),
        // Nothing was written for this cluster: its directory is zero.
        (port::BAD_TABLE, cluster(100)),
        (port::BAD_FORWARD, cluster(4)),
    ];
    let mut unresolved = node(2, 0);
    unresolved.ifindex = 0;
    let mut strange = node(3, INGRESS);
    strange.forward = 200;
    let tcp = (0..).filter_map(ServiceId::new).zip(ways).map(|(id, (port, _))| (vip(port), id));
    let udp = ServiceId::new(ways.len()).map(|id| (udp_vip(port::REDIRECT), id));
    intent(
        tcp.chain(udp).collect(),
        ways.iter().map(|&(_, owner)| all(owner)).chain([all(cluster(0))]).collect(),
        vec![all(member(0)), all(member(1)), all(member(2)), all(Slot::NONE), all(member(3))],
        vec![node(0, INGRESS), node(1, ELSEWHERE), unresolved, strange],
    )
}
