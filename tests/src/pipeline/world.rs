//! The tables that cases run against: three hosts with the same services, one for each way a packet
//! may go.

use std::{net::IpAddr, sync::Arc};

use lb_common::{
    ClusterId, Forward, NodeId, NodeRecord, PlanRecord, ServiceId, Slot, VipKey,
    layout::MIN_TABLE_LOG2,
};
use lb_user::{
    config::Ports,
    decide::{Intent, Table, Vip},
};

use super::{
    frames::{LB_MAC, VIP},
    places::{DEAD, FAMILIES, Family, OTHER, OWN, SERVED, words},
    to::To,
};

/// `BPF_PROG_TEST_RUN` says that a packet came in by the loopback interface, which is 1.
pub const INGRESS: u32 = 1;
/// Some other interface.
pub const ELSEWHERE: u32 = 77;

/// A host with tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum World {
    /// Some clusters forward by `nat`, and the host fragments what it is given.
    Router,
    /// Some clusters forward by `nat`; the host forwards nothing.
    Host,
    /// As if no cluster forwarded by `nat`: there are no replies. The MACs of the interfaces are not
    /// known.
    Direct,
}

impl World {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Router, Self::Host, Self::Direct];

    /// Whether it tells frames to it from those to others.
    #[must_use]
    pub const fn knows_its_macs(self) -> bool {
        !matches!(self, Self::Direct)
    }

    /// Its tables.
    #[must_use]
    pub fn intent(self) -> Intent {
        let mut plan = Plan::default();
        for &to in To::ALL {
            plan.on_one_port(to);
        }
        plan.on_several_ports();
        let nat = self != Self::Direct;
        let flags = if nat { PlanRecord::NAT } else { 0 }
            | if self == Self::Router { PlanRecord::HOST_FRAGMENTS } else { 0 };
        Intent {
            plan: PlanRecord {
                flags,
                interfaces: [ELSEWHERE, INGRESS, 0, 0, 0, 0, 0, 0],
                macs: if self.knows_its_macs() {
                    [[9; 6], LB_MAC, [0; 6], [0; 6], [0; 6], [0; 6], [0; 6], [0; 6]]
                } else {
                    [[0; 6]; 8]
                },
                ..PlanRecord::default()
            },
            vips: plan.vips,
            replies: if nat { plan.replies } else { Vec::new() },
            // That a service's address is the host's own, too, makes no difference to the service.
            own: if nat {
                FAMILIES.iter().flat_map(|&f| [words(OWN.of(f)), words(OTHER.of(f))]).collect()
            } else {
                Vec::new()
            },
            addresses: plan.addresses,
            services: plan.services,
            clusters: To::ALL.iter().map(|to| to.cluster()).collect(),
            nodes: To::ALL.iter().map(|to| to.record()).collect(),
            ..Intent::default()
        }
    }
}

/// Services in the making.
#[derive(Default)]
struct Plan {
    vips: Vec<Vip>,
    replies: Vec<Vip>,
    addresses: Vec<[u32; 4]>,
    services: Vec<Table>,
}

const TCP: u8 = 6;
const UDP: u8 = 17;

impl Plan {
    /// Leads an address's ports to somebody.
    fn service(&mut self, address: IpAddr, ports: Ports, protocol: u8, to: To) {
        let service = ServiceId::new(self.services.len()).expect("a service that the maps have");
        self.vips.push(Vip { address: words(address), ports, protocol, service });
        self.addresses.push(words(address));
        let table = all(to.owner());
        self.services.push(Table {
            healthy: to.owner() != Slot::NONE,
            by_source: to == To::BySource,
            port: ports.one().unwrap_or(0),
            ..table
        });
        if to.record().forward == Forward::Nat as u8 && to.address().is_ipv6() == address.is_ipv6()
        {
            let ports = ports.one().map_or(ports, |port| Ports::One(to.port_of(port)));
            self.replies.push(Vip { address: words(to.address()), ports, protocol, service });
        }
    }

    fn on_one_port(&mut self, to: To) {
        for family in FAMILIES {
            for protocol in [TCP, UDP] {
                self.service(SERVED.of(family), Ports::One(to.port()), protocol, to);
            }
        }
    }

    fn on_several_ports(&mut self) {
        for family in FAMILIES {
            let address = OTHER.of(family);
            let nat = if family == Family::V4 { To::NatRange4 } else { To::NatRange6 };
            let range = |first, last| Ports::Range { first, last };
            self.service(address, Ports::One(80), TCP, To::Tx);
            self.service(address, Ports::One(1500), TCP, To::Tag);
            self.service(address, range(1000, 1999), TCP, To::Elsewhere);
            self.service(address, range(3000, 3000), TCP, To::Ipip4);
            self.service(address, range(4000, 4010), TCP, nat);
            self.service(address, Ports::All, TCP, To::Tags);
            self.service(address, range(1000, 1999), UDP, To::Elsewhere);
            self.service(DEAD.of(family), Ports::One(80), TCP, To::NoCluster);
        }
    }
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
    VipKey::v4(u32::from_be_bytes(VIP), port, TCP)
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
