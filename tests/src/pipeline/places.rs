//! Addresses: everybody has one of each family (RFC 5737, RFC 3849, RFC 4193).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Both.
pub const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// Somebody's two addresses.
#[derive(Clone, Copy, Debug)]
pub struct Place(Ipv4Addr, Ipv6Addr);

impl Place {
    /// The address of a family.
    #[must_use]
    pub const fn of(self, family: Family) -> IpAddr {
        match family {
            Family::V4 => IpAddr::V4(self.0),
            Family::V6 => IpAddr::V6(self.1),
        }
    }
}

const fn public(last: u8, word: u16) -> Place {
    Place(Ipv4Addr::new(192, 0, 2, last), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, word))
}

/// The VIP of the services on one port.
pub const SERVED: Place = public(10, 0x10);
/// A VIP of services on several ports; the host has this address as its own, too.
pub const OTHER: Place = public(20, 0x20);
/// A VIP none of whose services has a node.
pub const DEAD: Place = public(40, 0x40);
/// The load balancer's own address.
pub const OWN: Place = public(1, 1);
/// Nobody's address.
pub const NOBODY: Place = public(99, 0x99);
/// A client.
pub const CLIENT: Place =
    Place(Ipv4Addr::new(198, 51, 100, 7), Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 7));
/// A router between a client or a node and here.
pub const ROUTER: Place =
    Place(Ipv4Addr::new(203, 0, 113, 3), Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 3));
/// Where tunnels begin.
pub const TUNNEL: Place =
    Place(Ipv4Addr::new(10, 0, 0, 254), Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0xfe));

/// Node number so and so.
#[must_use]
pub const fn node(number: u16) -> Place {
    let [high, low] = number.to_be_bytes();
    Place(Ipv4Addr::new(10, 1, high, low), Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, number))
}

/// An address as maps have it, in network order, IPv4 as `::ffff:a.b.c.d`.
#[must_use]
pub const fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The same as four words.
#[must_use]
pub fn words(address: IpAddr) -> [u32; 4] {
    let bits = u128::from_be_bytes(octets(address));
    [96, 64, 32, 0].map(|shift| (bits >> shift) as u32)
}
