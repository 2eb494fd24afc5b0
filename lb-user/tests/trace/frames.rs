//! Frames as they come in.

use std::net::IpAddr;

use etherparse::{PacketBuilder, PacketBuilderStep};

pub(crate) const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xc1];
/// Of the load balancer, as the configuration says.
pub(crate) const MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x1b];
/// Of its gateway, as the configuration says.
pub(crate) const GATEWAY: [u8; 6] = [2, 0, 0, 0, 0, 0xfe];
pub(crate) const CLIENT: &str = "198.51.100.7";
pub(crate) const CLIENT6: &str = "2001:db8:9::7";

/// Bytes of an Ethernet header.
pub(crate) const L2: usize = 14;

pub(crate) fn octets(address: &str) -> Vec<u8> {
    match address.parse().expect("an address") {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn ip(from: &str, to: &str) -> PacketBuilderStep<etherparse::IpHeaders> {
    let link = PacketBuilder::ethernet2(CLIENT_MAC, MAC);
    match (from.parse().expect("an address"), to.parse().expect("an address")) {
        (IpAddr::V4(from), IpAddr::V4(to)) => link.ipv4(from.octets(), to.octets(), 64),
        (IpAddr::V6(from), IpAddr::V6(to)) => link.ipv6(from.octets(), to.octets(), 64),
        _ => panic!("{from} and {to}"),
    }
}

/// A TCP segment with data.
pub(crate) fn tcp(from: (&str, u16), to: (&str, u16)) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = ip(from.0, to.0).tcp(from.1, to.1, 7, 64_240).ack(9).psh();
    builder.write(&mut frame, b"hello").expect("a Vec takes everything");
    frame
}

/// A segment from the client of the VIP's IP version.
pub(crate) fn from_client(vip: &str) -> Vec<u8> {
    let client = if vip.contains(':') { CLIENT6 } else { CLIENT };
    tcp((client, 40_000), (vip, 80))
}

/// A UDP datagram with so much data.
pub(crate) fn udp(from: (&str, u16), to: (&str, u16), data: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = ip(from.0, to.0).udp(from.1, to.1);
    builder.write(&mut frame, &vec![b'x'; data]).expect("a Vec takes everything");
    frame
}

/// An ICMP echo request over IPv4.
pub(crate) fn ping(to: &str) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = ip(CLIENT, to).icmpv4_echo_request(7, 1);
    builder.write(&mut frame, b"ping").expect("a Vec takes everything");
    frame
}

/// The fragments of an IPv4 frame, the first with so many bytes behind the IP header.
pub(crate) fn fragments(frame: &[u8], first: usize) -> [Vec<u8>; 2] {
    const L3: usize = L2 + 20;
    let piece = |bytes: &[u8], field: usize| {
        let mut piece = [&frame[..L3], bytes].concat();
        let length = (piece.len() - L2) as u16;
        piece[L2 + 2..L2 + 4].copy_from_slice(&length.to_be_bytes());
        piece[L2 + 4..L2 + 6].copy_from_slice(&77u16.to_be_bytes());
        piece[L2 + 6..L2 + 8].copy_from_slice(&(field as u16).to_be_bytes());
        let header = etherparse::Ipv4Header::from_slice(&piece[L2..]).expect("a header").0;
        piece[L2 + 10..L2 + 12].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
        piece
    };
    let payload = &frame[L3..];
    [piece(&payload[..first], 0x2000), piece(&payload[first..], first / 8)]
}
