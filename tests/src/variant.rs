//! Which network the lab stands on: how packets come to nodes, by which IP version, and so who has
//! which address.
//!
//! Addresses are from ranges for documentation (RFC 5737, RFC 3849).

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use crate::topology::{Node, PORT};

/// How the load balancer brings packets to nodes; the names are those of `forward`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum Forward {
    /// New MAC addresses.
    #[default]
    L2,
    /// IP in IP.
    Ipip,
    /// Generic UDP encapsulation.
    Gue,
    /// A new destination; answers come back through the load balancer.
    Nat,
}

/// An IP version.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum Family {
    /// IPv4
    #[default]
    #[value(name = "4")]
    V4,
    /// IPv6
    #[value(name = "6")]
    V6,
}

/// The lab's choices.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Variant {
    /// How packets come to nodes.
    pub forward: Forward,
    /// The IP version of the VIP and the nodes.
    pub family: Family,
}

/// The port of servers behind `nat`: not the service's.
const NAT_PORT: u16 = 8080;

/// Host numbers; the nodes have theirs in [`Node`].
const CLIENT: u8 = 1;
const LB: u8 = 2;
const VIP: u8 = 10;

impl Forward {
    /// Its name in a configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::L2 => "l2",
            Self::Ipip => "ipip",
            Self::Gue => "gue",
            Self::Nat => "nat",
        }
    }

    /// Whether nodes get packets in packets.
    #[must_use]
    pub const fn is_tunnel(self) -> bool {
        matches!(self, Self::Ipip | Self::Gue)
    }
}

impl Family {
    /// Its number.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V4 => "4",
            Self::V6 => "6",
        }
    }

    /// Bits of an address.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// The address that stands for any.
    #[must_use]
    pub const fn any(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Self::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }
}

impl Variant {
    /// The address that clients ask.
    #[must_use]
    pub const fn vip(self) -> IpAddr {
        self.site(VIP)
    }

    /// The address and port that clients ask.
    #[must_use]
    pub const fn service(self) -> SocketAddr {
        SocketAddr::new(self.vip(), PORT)
    }

    /// The client's address. With `nat` its answers must go by the load balancer, so it is on
    /// another network then.
    #[must_use]
    pub const fn client(self) -> IpAddr {
        match self.forward {
            Forward::Nat => self.outside(CLIENT),
            _ => self.site(CLIENT),
        }
    }

    /// The load balancer's own address.
    #[must_use]
    pub const fn lb(self) -> IpAddr {
        self.site(LB)
    }

    /// The load balancer's address on the client's network, if that is another.
    #[must_use]
    pub fn lb_outside(self) -> Option<IpAddr> {
        (self.forward == Forward::Nat).then(|| self.outside(LB))
    }

    /// A node's own address.
    #[must_use]
    pub const fn node(self, node: &Node) -> IpAddr {
        self.site(node.host)
    }

    /// The port that nodes' servers listen on.
    #[must_use]
    pub const fn node_port(self) -> u16 {
        match self.forward {
            Forward::Nat => NAT_PORT,
            _ => PORT,
        }
    }

    /// The length of the networks' prefixes.
    #[must_use]
    pub const fn prefix(self) -> u8 {
        match self.family {
            Family::V4 => 24,
            Family::V6 => 64,
        }
    }

    const fn site(self, host: u8) -> IpAddr {
        match self.family {
            Family::V4 => IpAddr::V4(Ipv4Addr::new(192, 0, 2, host)),
            Family::V6 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host as u16)),
        }
    }

    const fn outside(self, host: u8) -> IpAddr {
        match self.family {
            Family::V4 => IpAddr::V4(Ipv4Addr::new(198, 51, 100, host)),
            Family::V6 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, host as u16)),
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} over IPv{}", self.forward.name(), self.family.name())
    }
}
