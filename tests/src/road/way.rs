//! The ways to forward, each with a VIP of its own, all in force at the same time over the same
//! nodes.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use super::{
    addresses::{self, NODE, Network},
    network::NODES,
};
use crate::variant::{
    Family::{self, V4, V6},
    Forward,
};

/// The services' port, of TCP and UDP.
pub const PORT: u16 = 80;
/// The servers' port on their nodes' own addresses: checks ask there, and `nat` sends there.
pub const NODE_PORT: u16 = 8080;

/// A way to forward.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Way {
    /// How packets come to the nodes.
    pub forward: Forward,
    /// The IP version of the VIP.
    pub vip: Family,
    /// The IP version of the nodes' addresses.
    pub nodes: Family,
}

/// All of them.
pub const ALL: [Way; 12] = [
    way(Forward::L2, V4, V4),
    way(Forward::L2, V6, V6),
    way(Forward::Ipip, V4, V4),
    way(Forward::Ipip, V4, V6),
    way(Forward::Ipip, V6, V4),
    way(Forward::Ipip, V6, V6),
    way(Forward::Gue, V4, V4),
    way(Forward::Gue, V4, V6),
    way(Forward::Gue, V6, V4),
    way(Forward::Gue, V6, V6),
    way(Forward::Nat, V4, V4),
    way(Forward::Nat, V6, V6),
];

const fn way(forward: Forward, vip: Family, nodes: Family) -> Way {
    Way { forward, vip, nodes }
}

impl Way {
    /// The address that the client asks.
    #[must_use]
    pub fn address(self) -> IpAddr {
        addresses::vip(self.vip, self.number() + 1)
    }

    /// A node's address for this way: a node is in one cluster only, so a host has an address for
    /// each.
    #[must_use]
    pub fn node(self, network: Network, node: u8) -> IpAddr {
        network.host(self.nodes, NODE + self.number() * NODES + node)
    }

    /// Its position in [`ALL`].
    fn number(self) -> u8 {
        ALL.iter().position(|way| *way == self).unwrap_or_default() as u8
    }

    /// The address and port that the client asks.
    #[must_use]
    pub fn service(self) -> SocketAddr {
        SocketAddr::new(self.address(), PORT)
    }

    /// Its name in a configuration.
    #[must_use]
    pub fn name(self) -> String {
        format!("{}-{}in{}", self.forward.name(), self.vip.name(), self.nodes.name())
    }

    /// Bytes that it puts in front of a packet.
    #[must_use]
    pub const fn overhead(self) -> u16 {
        let header = match self.nodes {
            V4 => 20,
            V6 => 40,
        };
        match self.forward {
            Forward::L2 | Forward::Nat => 0,
            Forward::Ipip => header,
            // A UDP header, and GUE's.
            Forward::Gue => header + 12,
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}
