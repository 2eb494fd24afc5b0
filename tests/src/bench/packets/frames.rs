//! The frames of the benchmark, of flow 0: the feeder makes those of others out of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::pipeline::{
    frames::{CLIENT_MAC, LB_MAC, arp},
    packets::{Body, Ip, Link},
};

/// The port of the first service; the others' follow.
pub const PORT: u16 = 1000;
/// The port of `nat` nodes.
pub const NODE_PORT: u16 = 8080;
/// Bytes behind the headers, so that frames have 64 bytes at least.
const DATA: [u8; 24] = [0x55; 24];
const SYN: u8 = 2;

/// What stands in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A TCP segment that opens nothing, to a service.
    Tcp,
    /// A SYN.
    Syn,
    /// A UDP datagram.
    Udp,
    /// A TCP segment to an address that is no service's.
    NotVip,
    /// ARP.
    Arp,
    /// An ICMP error about a packet of a service.
    IcmpError,
    /// The first fragment of a datagram to a service.
    FirstFragment,
    /// A later one of the same datagram.
    LaterFragment,
    /// A TCP segment of a `nat` node to a client.
    Reply,
}

/// A service's address of IPv4 (RFC 5737).
pub const VIP_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// The client of flow 0, of IPv4.
pub const CLIENT_V4: Ipv4Addr = Ipv4Addr::new(47, 255, 0, 0);

/// A service's address: that of IPv6 is one of RFC 3849.
#[must_use]
pub const fn vip(v6: bool) -> IpAddr {
    if v6 {
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10))
    } else {
        IpAddr::V4(VIP_V4)
    }
}

/// The client of flow 0.
#[must_use]
pub const fn client(v6: bool) -> IpAddr {
    if v6 {
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 0))
    } else {
        IpAddr::V4(CLIENT_V4)
    }
}

/// A node, by its number from 0 on.
#[must_use]
pub fn node(v6: bool, number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    if v6 {
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 1, number))
    } else {
        IpAddr::V4(Ipv4Addr::new(10, 1, high, low))
    }
}

/// A frame.
#[must_use]
pub fn frame(kind: Kind, v6: bool) -> Vec<u8> {
    let (from, to) = ((client(v6), 0), (vip(v6), PORT));
    let flags = |ip: Ip, set: u8| {
        ip.with(|ip| {
            if let Body::Tcp { flags, .. } = &mut ip.body {
                *flags = set;
            }
        })
    };
    let datagram = || Ip::udp(from, to, &[0x55; 64]).fragments(32, 7);
    let [first, later] = datagram();
    let ip = match kind {
        Kind::Arp => return arp(),
        Kind::Tcp => Ip::tcp(from, to, &DATA),
        Kind::Syn => flags(Ip::tcp(from, to, &DATA), SYN),
        Kind::Udp => Ip::udp(from, to, &DATA),
        Kind::NotVip => Ip::tcp(from, (node(v6, 999), PORT), &DATA),
        Kind::FirstFragment => first,
        Kind::LaterFragment => later,
        Kind::Reply => Ip::tcp((node(v6, 0), NODE_PORT), (client(v6), 4000), &DATA),
        Kind::IcmpError => {
            let quoted = Ip::tcp((vip(v6), PORT), (client(v6), 4000), &DATA).bytes();
            // Nobody can be reached: by a router on the client's way.
            let kind = if v6 { (1, 0) } else { (3, 1) };
            Ip::icmp(client(v6), vip(v6), kind, &quoted)
        }
    };
    Link { to: LB_MAC, from: CLIENT_MAC, tags: Vec::new() }.frame(&ip.bytes())
}
