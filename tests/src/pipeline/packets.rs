//! Packets as descriptions: what goes in, and what must come out. Lengths and checksums are computed
//! over whole bytes, so a description with another address says what a rewritten packet must be.

use std::net::IpAddr;

use etherparse::checksum::Sum16BitWords;

/// Protocol numbers (IANA).
pub mod protocol {
    #![allow(missing_docs)]
    pub const HOP_BY_HOP: u8 = 0;
    pub const ICMP: u8 = 1;
    pub const IPV4: u8 = 4;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const IPV6: u8 = 41;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const ICMPV6: u8 = 58;
    pub const DESTINATION_OPTIONS: u8 = 60;
}

/// "Don't fragment" in [`Ip::fragment`].
pub const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;

/// An Ethernet header with VLAN tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Destination.
    pub to: [u8; 6],
    /// Source.
    pub from: [u8; 6],
    /// Type and content of each tag, outermost first.
    pub tags: Vec<(u16, u16)>,
}

impl Link {
    /// The frame of an IP packet.
    #[must_use]
    pub fn frame(&self, packet: &[u8]) -> Vec<u8> {
        let mut frame = [self.to, self.from].concat();
        for (kind, tag) in &self.tags {
            frame.extend(kind.to_be_bytes());
            frame.extend(tag.to_be_bytes());
        }
        let v6 = packet.first().is_some_and(|first| first >> 4 == 6);
        let kind: u16 = if v6 { 0x86dd } else { 0x0800 };
        frame.extend(kind.to_be_bytes());
        frame.extend(packet);
        frame
    }
}

/// An extension header of IPv6: its number, and its bytes.
pub type Extension = (u8, Vec<u8>);

/// An IP packet.
#[derive(Clone, Debug)]
pub struct Ip {
    /// Source; its family is the packet's.
    pub from: IpAddr,
    /// Destination.
    pub to: IpAddr,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// Type of service or traffic class.
    pub tos: u8,
    /// IPv4: identification.
    pub id: u16,
    /// IPv4: flags and fragment offset.
    pub fragment: u16,
    /// IPv6: flow label.
    pub label: u32,
    /// IPv4: options, a multiple of four bytes.
    pub options: Vec<u8>,
    /// IPv6: extension headers; the first byte of each is filled in.
    pub extensions: Vec<Extension>,
    /// What it carries.
    pub body: Body,
}

/// What an IP packet carries.
#[derive(Clone, Debug)]
pub enum Body {
    /// A TCP segment.
    Tcp { from: u16, to: u16, flags: u8, data: Vec<u8> },
    /// A UDP datagram, with a checksum or without.
    Udp { from: u16, to: u16, data: Vec<u8>, checked: bool },
    /// An ICMP message of the packet's version: type, code, the rest of its header, the rest.
    Icmp { kind: u8, code: u8, rest: [u8; 4], data: Vec<u8> },
    /// Bytes of a protocol.
    Raw { protocol: u8, data: Vec<u8> },
}

impl Body {
    const fn protocol(&self, v6: bool) -> u8 {
        match self {
            Self::Tcp { .. } => protocol::TCP,
            Self::Udp { .. } => protocol::UDP,
            Self::Icmp { .. } if v6 => protocol::ICMPV6,
            Self::Icmp { .. } => protocol::ICMP,
            Self::Raw { protocol, .. } => *protocol,
        }
    }

    /// Its bytes and where its checksum is, which is still zero.
    fn unsealed(&self) -> (Vec<u8>, Option<usize>) {
        match self {
            Self::Tcp { from, to, flags, data } => {
                let ports = [from.to_be_bytes(), to.to_be_bytes()].concat();
                let rest = [1, 2, 3, 4, 5, 6, 7, 8, 0x50, *flags, 0xfa, 0xf0, 0, 0, 0, 0];
                ([&ports, &rest[..], data].concat(), Some(16))
            }
            Self::Udp { from, to, data, checked } => {
                let length = 8 + data.len() as u16;
                let header = [from.to_be_bytes(), to.to_be_bytes(), length.to_be_bytes(), [0; 2]];
                ([&header.concat(), &data[..]].concat(), checked.then_some(6))
            }
            Self::Icmp { kind, code, rest, data } => {
                ([&[*kind, *code, 0, 0][..], rest, data].concat(), Some(2))
            }
            Self::Raw { data, .. } => (data.clone(), None),
        }
    }
}

impl Ip {
    /// A packet without anything special.
    #[must_use]
    pub const fn new(from: IpAddr, to: IpAddr, body: Body) -> Self {
        Self {
            from,
            to,
            ttl: 57,
            tos: 0,
            id: 0x1234,
            fragment: 0,
            label: 0,
            options: Vec::new(),
            extensions: Vec::new(),
            body,
        }
    }

    /// A TCP segment with the ACK and PSH flags.
    #[must_use]
    pub fn tcp(from: (IpAddr, u16), to: (IpAddr, u16), data: &[u8]) -> Self {
        let body = Body::Tcp { from: from.1, to: to.1, flags: 0x18, data: data.to_vec() };
        Self::new(from.0, to.0, body)
    }

    /// A UDP datagram.
    #[must_use]
    pub fn udp(from: (IpAddr, u16), to: (IpAddr, u16), data: &[u8]) -> Self {
        let body = Body::Udp { from: from.1, to: to.1, data: data.to_vec(), checked: true };
        Self::new(from.0, to.0, body)
    }

    /// An ICMP message.
    #[must_use]
    pub fn icmp(from: IpAddr, to: IpAddr, (kind, code): (u8, u8), data: &[u8]) -> Self {
        Self::new(from, to, Body::Icmp { kind, code, rest: [0; 4], data: data.to_vec() })
    }

    /// With something different.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// From another address and port.
    #[must_use]
    pub fn coming_from(self, address: IpAddr, port: u16) -> Self {
        self.with(|ip| {
            ip.from = address;
            if let Body::Tcp { from, .. } | Body::Udp { from, .. } = &mut ip.body {
                *from = port;
            }
        })
    }

    /// To another address and port.
    #[must_use]
    pub fn going_to(self, address: IpAddr, port: u16) -> Self {
        self.with(|ip| {
            ip.to = address;
            if let Body::Tcp { to, .. } | Body::Udp { to, .. } = &mut ip.body {
                *to = port;
            }
        })
    }

    /// Whether it is IPv6.
    #[must_use]
    pub const fn v6(&self) -> bool {
        self.from.is_ipv6()
    }

    /// What it carries, with its checksum.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        let (mut bytes, place) = self.body.unsealed();
        let Some(place) = place else { return bytes };
        let pseudo = match self.body.protocol(self.v6()) {
            protocol::ICMP => Vec::new(),
            kind => pseudo_header(self.from, self.to, kind, bytes.len()),
        };
        let mut sum = checksum(&[&pseudo, &bytes]);
        // RFC 768. Of an echo reply either is right, but for one that is all zeros.
        let not_zero = matches!(self.body, Body::Udp { .. } | Body::Icmp { kind: 0 | 129, .. });
        if sum == [0; 2] && not_zero {
            sum = [0xff; 2];
        }
        bytes[place..place + 2].copy_from_slice(&sum);
        bytes
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let payload = self.payload();
        match (self.from, self.to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let length = (20 + self.options.len() + payload.len()) as u16;
                let mut header = vec![0x45 + (self.options.len() / 4) as u8, self.tos];
                header.extend(length.to_be_bytes());
                header.extend(self.id.to_be_bytes());
                header.extend(self.fragment.to_be_bytes());
                header.extend([self.ttl, self.body.protocol(false), 0, 0]);
                header.extend(from.octets().iter().chain(&to.octets()).chain(&self.options));
                let sum = checksum(&[&header]);
                header[10..12].copy_from_slice(&sum);
                [header, payload].concat()
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let (first, extensions) = self.chain();
                let start = 6 << 28 | u32::from(self.tos) << 20 | self.label;
                let length = (extensions.len() + payload.len()) as u16;
                let mut header = start.to_be_bytes().to_vec();
                header.extend(length.to_be_bytes());
                header.extend([first, self.ttl]);
                header.extend(from.octets().iter().chain(&to.octets()));
                [header, extensions, payload].concat()
            }
            _ => panic!("{} and {} are of different families", self.from, self.to),
        }
    }

    /// The first next header, and all extension headers.
    fn chain(&self) -> (u8, Vec<u8>) {
        let (mut next, mut bytes) = (self.body.protocol(true), Vec::new());
        for (kind, extension) in self.extensions.iter().rev() {
            let mut extension = extension.clone();
            extension[0] = next;
            extension.extend(bytes);
            (next, bytes) = (*kind, extension);
        }
        (next, bytes)
    }

    /// The same packet in two fragments, the first one with so many bytes of what it carries.
    #[must_use]
    pub fn fragments(&self, first: usize, id: u32) -> [Self; 2] {
        assert_eq!(first % 8, 0, "fragments are counted in eights of bytes");
        let (payload, kind) = (self.payload(), self.body.protocol(self.v6()));
        [(0, &payload[..first], true), (first, &payload[first..], false)].map(|(at, part, more)| {
            self.clone().with(|ip| {
                ip.body = Body::Raw { protocol: kind, data: part.to_vec() };
                if ip.v6() {
                    ip.extensions.push((protocol::FRAGMENT, fragment_header(at, more, id)));
                } else {
                    ip.id = id as u16;
                    ip.fragment |= (at / 8) as u16 | if more { MORE_FRAGMENTS } else { 0 };
                }
            })
        })
    }
}

/// A fragment header of IPv6.
#[must_use]
pub fn fragment_header(at: usize, more: bool, id: u32) -> Vec<u8> {
    let field = at as u16 | u16::from(more);
    [&[0, 0][..], &field.to_be_bytes(), &id.to_be_bytes()].concat()
}

/// An extension header of IPv6 with so many words of eight bytes, padded (RFC 8200, 4.2).
#[must_use]
pub fn padding_header(words: usize) -> Vec<u8> {
    let mut bytes = vec![0; 8 * words];
    bytes[1] = (words - 1) as u8;
    // PadN options, the last one as long as is left.
    let mut at = 2;
    while at < bytes.len() {
        let length = (bytes.len() - at - 2).min(255);
        bytes[at..at + 2].copy_from_slice(&[1, length as u8]);
        at += 2 + length;
    }
    bytes
}

/// The checksum of all these bytes (RFC 1071), as it stands in a packet. Each part but the last has
/// an even length.
#[must_use]
pub fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let sum = parts.iter().fold(Sum16BitWords::new(), |sum, part| sum.add_slice(part));
    sum.ones_complement().to_ne_bytes()
}

/// What transport checksums cover besides (RFC 9293, 3.1; RFC 8200, 8.1).
#[must_use]
pub fn pseudo_header(from: IpAddr, to: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            bytes.extend(from.octets().iter().chain(&to.octets()));
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            bytes.extend(from.octets().iter().chain(&to.octets()));
        }
        _ => panic!("{from} and {to} are of different families"),
    }
    bytes.extend((length as u32).to_be_bytes());
    bytes.extend([0, 0, 0, protocol]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{PacketBuilder, SlicedPacket};

    const A4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const B4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 2));
    const A6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
    const B6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2));
    const LINK: Link = Link { to: [2; 6], from: [4; 6], tags: Vec::new() };

    /// A library that others use builds the same bytes.
    #[test]
    fn descriptions_are_what_etherparse_builds() {
        let (IpAddr::V4(a4), IpAddr::V4(b4)) = (A4, B4) else { unreachable!() };
        let (IpAddr::V6(a6), IpAddr::V6(b6)) = (A6, B6) else { unreachable!() };
        let mut udp = Vec::new();
        let builder = PacketBuilder::ethernet2([4; 6], [2; 6]).ipv4(a4.octets(), b4.octets(), 57);
        builder.udp(7, 9).write(&mut udp, b"odd").expect("a Vec takes everything");
        // It sets "don't fragment", and no identification.
        let mine = Ip::udp((A4, 7), (B4, 9), b"odd").with(|ip| {
            (ip.id, ip.fragment) = (0, DONT_FRAGMENT);
        });
        assert_eq!(LINK.frame(&mine.bytes()), udp);

        let mut ping = Vec::new();
        let builder = PacketBuilder::ethernet2([4; 6], [2; 6]).ipv6(a6.octets(), b6.octets(), 57);
        builder.icmpv6_echo_request(1, 2).write(&mut ping, b"odd").expect("a Vec");
        let mine = Ip::icmp(A6, B6, (128, 0), b"odd").with(|ip| {
            let Body::Icmp { rest, .. } = &mut ip.body else { unreachable!() };
            *rest = [0, 1, 0, 2];
        });
        assert_eq!(LINK.frame(&mine.bytes()), ping);
    }

    #[test]
    fn extension_headers_are_understood() {
        let packet = Ip::tcp((A6, 7), (B6, 9), b"data").with(|ip| {
            ip.extensions = vec![
                (protocol::HOP_BY_HOP, padding_header(1)),
                (protocol::DESTINATION_OPTIONS, padding_header(40)),
            ];
        });
        let [first, _] = packet.fragments(24, 5);
        let frame = LINK.frame(&packet.bytes());
        let parsed = SlicedPacket::from_ethernet(&frame).expect("a packet");
        assert!(parsed.transport.is_some() && !parsed.is_ip_payload_fragmented());
        let frame = LINK.frame(&first.bytes());
        assert!(SlicedPacket::from_ethernet(&frame).expect("one").is_ip_payload_fragmented());
    }
}
