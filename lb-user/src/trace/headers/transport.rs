//! What stands behind IP: TCP, UDP, GUE, ICMP and what it quotes.

use std::net::IpAddr;

use etherparse::{EtherType, IpNumber, TcpHeaderSlice, UdpHeaderSlice};

use super::{Around, Layer, Step, Walk, checksum};

/// Bytes of an ICMP header (RFC 792, RFC 4443).
const ICMP_LEN: usize = 8;

impl Walk<'_> {
    pub(super) fn behind<'b>(&mut self, around: Around, bytes: &'b [u8]) -> Step<'b> {
        match around.protocol {
            _ if !around.begins => (Layer::Data, bytes),
            IpNumber::IPV4 => (Layer::Type(EtherType::IPV4), bytes),
            IpNumber::IPV6 => (Layer::Type(EtherType::IPV6), bytes),
            IpNumber::TCP => self.tcp(&around, bytes),
            IpNumber::UDP => self.udp(&around, bytes),
            IpNumber::ICMP | IpNumber::IPV6_ICMP => self.icmp(&around, bytes),
            _ => (Layer::Data, bytes),
        }
    }

    fn tcp<'b>(&mut self, around: &Around, bytes: &'b [u8]) -> Step<'b> {
        let Ok(tcp) = TcpHeaderSlice::from_slice(bytes) else { return self.cut("TCP", bytes) };
        let flags = [
            (tcp.syn(), "SYN"),
            (tcp.fin(), "FIN"),
            (tcp.rst(), "RST"),
            (tcp.psh(), "PSH"),
            (tcp.ack(), "ACK"),
            (tcp.urg(), "URG"),
            (tcp.ece(), "ECE"),
            (tcp.cwr(), "CWR"),
        ];
        let flags: Vec<&str> =
            flags.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect();
        let flags = if flags.is_empty() { "no flags".to_owned() } else { flags.join(" ") };
        let words = [
            format!("{} → {}", tcp.source_port(), tcp.destination_port()),
            flags,
            format!("seq {}, ack {}", tcp.sequence_number(), tcp.acknowledgment_number()),
            format!("window {}", tcp.window_size()),
            sealed(tcp.checksum(), around, bytes),
        ];
        self.say("TCP", words.join(", "));
        (Layer::Data, &bytes[tcp.slice().len()..])
    }

    fn udp<'b>(&mut self, around: &Around, bytes: &'b [u8]) -> Step<'b> {
        let Ok(udp) = UdpHeaderSlice::from_slice(bytes) else { return self.cut("UDP", bytes) };
        let (header, length) = (udp.slice().len(), usize::from(udp.length()));
        let sum = match (udp.checksum(), around.source) {
            (0, IpAddr::V4(_)) => "no checksum".to_owned(),
            (sum, _) => sealed(sum, around, &bytes[..length.min(bytes.len())]),
        };
        let (from, to) = (udp.source_port(), udp.destination_port());
        self.say("UDP", format!("{from} → {to}, {length} bytes, {sum}"));
        let rest = &bytes[header..];
        match rest {
            // Variant 0, a data message, no optional fields (draft-ietf-intarea-gue-09, 3.2).
            [0, protocol @ (4 | 41), 0, 0, inner @ ..] if self.gue_ports.contains(&to) => {
                let (name, kind) = match protocol {
                    4 => ("IPv4", EtherType::IPV4),
                    _ => ("IPv6", EtherType::IPV6),
                };
                self.say("GUE", format!("variant 0, {name} inside"));
                (Layer::Type(kind), inner)
            }
            _ => (Layer::Data, rest),
        }
    }

    /// A transport header that is not all there: its ports, if they are.
    fn cut<'b>(&mut self, what: &str, bytes: &'b [u8]) -> Step<'b> {
        let ports = match bytes {
            [a, b, c, d, ..] => {
                let [from, to] = [[*a, *b], [*c, *d]].map(u16::from_be_bytes);
                format!("{from} → {to}, ")
            }
            _ => String::new(),
        };
        self.say(what, format!("{ports}no whole header in {} bytes", bytes.len()));
        (Layer::Data, &[])
    }

    fn icmp<'b>(&mut self, around: &Around, bytes: &'b [u8]) -> Step<'b> {
        let v6 = around.source.is_ipv6();
        let what = if v6 { "ICMPv6" } else { "ICMP" };
        let [kind, code, s0, s1, rest @ ..] = bytes else { return self.cut(what, bytes) };
        let [a, b, c, d, quoted @ ..] = rest else { return self.cut(what, bytes) };
        let sum = u16::from_be_bytes([*s0, *s1]);
        let sum = match v6 {
            true => sealed(sum, around, bytes),
            false => checksum(sum, around.whole.then_some(&[bytes])),
        };
        let (pair, mtu) = ([[*a, *b], [*c, *d]].map(u16::from_be_bytes), [*a, *b, *c, *d]);
        let numbers = format!(", id {}, seq {}", pair[0], pair[1]);
        let (name, more, error) = match (v6, *kind, *code) {
            (false, 0, _) | (true, 129, _) => ("echo reply", numbers, false),
            (false, 8, _) | (true, 128, _) => ("echo request", numbers, false),
            (false, 3, 4) => ("fragmentation needed", format!(", mtu {}", pair[1]), true),
            (false, 3, _) | (true, 1, _) => ("unreachable", String::new(), true),
            (false, 11, _) | (true, 3, _) => ("time exceeded", String::new(), true),
            (false, 12, _) | (true, 4, _) => ("parameter problem", String::new(), true),
            (true, 2, _) => ("packet too big", format!(", mtu {}", u32::from_be_bytes(mtu)), true),
            _ => ("message", String::new(), false),
        };
        self.say(what, format!("{name} (type {kind}, code {code}){more}, {sum}"));
        if !error {
            return (Layer::Data, &bytes[ICMP_LEN..]);
        }
        self.quoted = true;
        (Layer::Type(if v6 { EtherType::IPV6 } else { EtherType::IPV4 }), quoted)
    }
}

/// A checksum over a transport header, what it carries, and the pseudo header (RFC 9293, 3.1; RFC
/// 768; RFC 8200, 8.1).
fn sealed(value: u16, around: &Around, bytes: &[u8]) -> String {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let [source, destination] = [around.source, around.destination].map(octets);
    let length = (bytes.len() as u32).to_be_bytes();
    let parts: [&[u8]; 5] = [&source, &destination, &length, &[0, around.protocol.0], bytes];
    checksum(value, around.whole.then_some(&parts))
}
