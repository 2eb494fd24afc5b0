//! The ways packets may go: for each a node, alone in its cluster, and services on its port.

use std::net::IpAddr;

use lb_common::{
    Forward, NodeRecord, Slot,
    layout::{MAX_CLUSTERS, MAX_NODES},
};
use lb_user::decide::Table;

use super::{
    packets::{Link, checksum},
    places::{self, Family, TUNNEL},
    world::{ELSEWHERE, INGRESS, all, cluster, member, node, node_mac, source_mac},
};

macro_rules! ways {
    ($($(#[$doc:meta])* $name:ident: $forward:ident $family:ident),+ $(,)?) => {
        /// Where a service's packets go, or why they do not.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum To { $($(#[$doc])* $name),+ }

        impl To {
            /// All of them, by the number of their node and cluster.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// How packets get to the node.
            #[must_use]
            pub const fn forward(self) -> Forward {
                match self { $(Self::$name => Forward::$forward),+ }
            }

            /// The family of the node's address.
            #[must_use]
            pub const fn family(self) -> Family {
                match self { $(Self::$name => Family::$family),+ }
            }
        }
    };
}

ways! {
    /// To a node with the VIP, out of the interface that the packet came in by.
    Tx: L2 V4,
    /// Out of another one.
    Elsewhere: L2 V4,
    /// With a VLAN tag.
    Tag: L2 V4,
    /// With two.
    Tags: L2 V6,
    /// The way there takes packets of 1,000 bytes, or 1,400 of IPv6; so it is with all that are small.
    Small: L2 V4,
    Ipip4: Ipip V4,
    Ipip6: Ipip V6,
    Ipip4Tags: Ipip V4,
    Ipip6Tag: Ipip V6,
    Ipip4Small: Ipip V4,
    Ipip6Small: Ipip V6,
    Gue4: Gue V4,
    Gue6: Gue V6,
    Gue4Tag: Gue V4,
    Gue6Tags: Gue V6,
    Gue4Small: Gue V4,
    Gue6Small: Gue V6,
    /// Flows are told apart by their source alone.
    BySource: Gue V4,
    /// To a port of the node's own.
    Nat4: Nat V4,
    Nat6: Nat V6,
    /// To the packet's port.
    NatSame4: Nat V4,
    NatSame6: Nat V6,
    /// To a port that the cluster says; out of another interface, with a tag.
    NatCluster4: Nat V4,
    NatCluster6: Nat V6,
    /// To a port that the cluster says, and nothing else is special.
    NatPort4: Nat V4,
    NatPort6: Nat V6,
    NatSmall4: Nat V4,
    NatSmall6: Nat V6,
    /// For a range of ports besides.
    NatRange4: Nat V4,
    NatRange6: Nat V6,
    Unresolved: L2 V4,
    NoCluster: L2 V4,
    NoNode: L2 V4,
    /// A cluster that no map has.
    BadCluster: L2 V4,
    /// A cluster without a table.
    BadTable: L2 V4,
    /// A node that no map has.
    BadNode: L2 V4,
    /// A node with a way of forwarding that there is not.
    BadForward: L2 V4,
}

/// The port of GUE in all tables (IANA).
pub const GUE_PORT: u16 = 6080;

impl To {
    /// Number of the node and of its cluster.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The port of its services.
    #[must_use]
    pub const fn port(self) -> u16 {
        1000 + self as u16
    }

    /// The node's address.
    #[must_use]
    pub fn address(self) -> IpAddr {
        places::node(self.number()).of(self.family())
    }

    /// Bytes of the largest IP packet of the way there; 0: unknown.
    #[must_use]
    pub const fn mtu(self) -> u16 {
        match self {
            Self::Small | Self::Ipip4Small | Self::Gue4Small | Self::NatSmall4 => 1000,
            // Nobody sends less because of an answer over IPv6.
            Self::Ipip6Small | Self::Gue6Small | Self::NatSmall6 => 1400,
            Self::Ipip4Tags | Self::Gue4Tag => 9000,
            _ => 0,
        }
    }

    /// Type and content of the VLAN tags of frames to it.
    #[must_use]
    pub fn tags(self) -> Vec<(u16, u16)> {
        match self {
            Self::Tag | Self::Ipip6Tag | Self::Gue4Tag => vec![(0x8100, 5)],
            Self::NatCluster4 | Self::NatCluster6 => vec![(0x88a8, 4094)],
            Self::Tags | Self::Ipip4Tags | Self::Gue6Tags => vec![(0x88a8, 7), (0x8100, 9)],
            _ => Vec::new(),
        }
    }

    /// Whether frames to it leave by another interface than packets come in by.
    #[must_use]
    pub const fn is_elsewhere(self) -> bool {
        matches!(self, Self::Elsewhere | Self::NatCluster4 | Self::NatCluster6)
    }

    /// The link header of frames to it.
    #[must_use]
    pub fn link(self) -> Link {
        let (to, from) = (node_mac(self.number()), source_mac(self.number()));
        Link { to, from, tags: self.tags() }
    }

    /// The port that a packet to this port has when it reaches the node.
    #[must_use]
    pub const fn port_of(self, port: u16) -> u16 {
        match self {
            Self::Nat4 | Self::Nat6 | Self::NatSmall4 | Self::NatSmall6 => 8080,
            Self::NatCluster4 | Self::NatCluster6 => 8443,
            Self::NatPort4 | Self::NatPort6 => 8444,
            _ => port,
        }
    }

    /// The cluster in its services' slots.
    pub(super) fn owner(self) -> Slot {
        match self {
            Self::NoCluster => Slot::NONE,
            Self::BadCluster => Slot::clean(MAX_CLUSTERS as u16),
            // Nothing was written for this cluster: its directory is zero.
            Self::BadTable => cluster(1000),
            _ => cluster(usize::from(self.number())),
        }
    }

    pub(super) fn cluster(self) -> Table {
        let member = match self {
            Self::NoNode => Slot::NONE,
            Self::BadNode => Slot::clean(MAX_NODES as u16),
            _ => member(usize::from(self.number())),
        };
        Table { port: self.cluster_port(), ..all(member) }
    }

    /// The port that packets get because they go by its cluster; 0: the node's own.
    pub(super) const fn cluster_port(self) -> u16 {
        match self {
            Self::NatCluster4 | Self::NatCluster6 => 8443,
            Self::NatPort4 | Self::NatPort6 => 8444,
            _ => 0,
        }
    }

    pub(super) fn record(self) -> NodeRecord {
        let record = node(self.number(), if self.is_elsewhere() { ELSEWHERE } else { INGRESS });
        let mut tags = [0; 2];
        for (place, (kind, id)) in tags.iter_mut().zip(self.tags()) {
            let service = if kind == 0x88a8 { NodeRecord::SERVICE_TAG } else { 0 };
            *place = NodeRecord::TAG | service | id;
        }
        let (forward, address) = (self.forward(), self.address());
        let tunnel = matches!(forward, Forward::Ipip | Forward::Gue);
        let source = TUNNEL.of(self.family());
        let seed = || {
            let used = if address.is_ipv6() { 0 } else { 12 };
            let (source, address) = (places::octets(source), places::octets(address));
            !u16::from_be_bytes(checksum(&[&source[used..], &address[used..]]))
        };
        let port = match forward {
            Forward::Gue => GUE_PORT,
            // The cluster's port comes before the node's own.
            Forward::Nat if self.cluster_port() != 0 => 1,
            Forward::Nat => self.port_of(0),
            Forward::L2 | Forward::Ipip => 0,
        };
        NodeRecord {
            ifindex: if self == Self::Unresolved { 0 } else { record.ifindex },
            address: places::octets(address),
            source: if tunnel { places::octets(source) } else { [0; 16] },
            checksum_seed: if tunnel { seed() } else { 0 },
            mtu: self.mtu(),
            port_be: port.to_be_bytes(),
            forward: if self == Self::BadForward { 200 } else { forward as u8 },
            tags,
            v6: u8::from(address.is_ipv6()),
            ..record
        }
    }
}
