//! Who has which address on the road: each network has both IP versions, all from ranges for
//! documentation (RFC 5737, RFC 3849).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::variant::Family;

/// A network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Network {
    /// Client and router.
    Outside,
    /// Router and load balancer.
    Front,
    /// Load balancer, nodes (or their gateway), and the router for their answers.
    Back,
    /// The nodes and their gateway, where there is one.
    Behind,
}

/// Host numbers, alike on all networks.
pub const ROUTER: u8 = 1;
/// The client.
pub const CLIENT: u8 = 2;
/// The load balancer.
pub const LB: u8 = 3;
/// The nodes' gateway.
pub const GATEWAY: u8 = 4;
/// The first address of a node; the others follow.
pub const NODE: u8 = 11;

impl Network {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Outside, Self::Front, Self::Back, Self::Behind];

    /// A host's address.
    #[must_use]
    pub const fn host(self, family: Family, host: u8) -> IpAddr {
        match family {
            Family::V4 => {
                let [a, b, c, first] = self.v4();
                IpAddr::V4(Ipv4Addr::new(a, b, c, first + host))
            }
            Family::V6 => {
                let network = self as u16 + 1;
                IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, network, 0, 0, 0, 0, host as u16))
            }
        }
    }

    /// A host's address and the length of the prefix.
    #[must_use]
    pub fn interface(self, family: Family, host: u8) -> String {
        format!("{}/{}", self.host(family, host), Self::bits(family))
    }

    /// The length of the networks' prefixes.
    #[must_use]
    pub const fn bits(family: Family) -> u8 {
        match family {
            Family::V4 => 26,
            Family::V6 => 64,
        }
    }

    /// The whole network.
    #[must_use]
    pub fn prefix(self, family: Family) -> String {
        self.interface(family, 0)
    }

    const fn v4(self) -> [u8; 4] {
        match self {
            Self::Outside => [198, 51, 100, 0],
            Self::Front => [203, 0, 113, 0],
            Self::Back => [203, 0, 113, 64],
            Self::Behind => [203, 0, 113, 128],
        }
    }
}

/// The VIP of this number.
#[must_use]
pub const fn vip(family: Family, number: u8) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 64 + number)),
        Family::V6 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, number as u16)),
    }
}

/// All VIPs, and nothing else.
#[must_use]
pub const fn vips(family: Family) -> &'static str {
    match family {
        Family::V4 => "192.0.2.64/26",
        Family::V6 => "2001:db8:ff::/64",
    }
}
