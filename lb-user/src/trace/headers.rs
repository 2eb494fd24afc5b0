//! A frame for people: a line a header, outermost first, what a tunnel carries and what an ICMP error
//! quotes included. Takes any bytes: where a header is cut off or none, that is said, and the rest is
//! data.

mod ip;
mod transport;

use std::net::IpAddr;

use etherparse::{
    EtherType, Ethernet2HeaderSlice, IpNumber, SingleVlanHeaderSlice, checksum::Sum16BitWords,
};

use super::ways::print_mac;

/// One header, or what stands in the place of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub what: String,
    /// What it says.
    pub text: String,
}

/// The headers of a frame; `gue_ports`: where UDP carries tunnels of GUE.
#[must_use]
pub fn headers(frame: &[u8], gue_ports: &[u16]) -> Vec<Header> {
    let mut walk = Walk { gue_ports, quoted: false, found: Vec::new() };
    let (mut layer, mut rest) = (Layer::Ethernet, frame);
    loop {
        (layer, rest) = match layer {
            Layer::Ethernet => walk.ethernet(rest),
            Layer::Type(EtherType::IPV4) => walk.ipv4(rest),
            Layer::Type(EtherType::IPV6) => walk.ipv6(rest),
            Layer::Type(kind) if is_tag(kind) => walk.tag(rest),
            Layer::Behind(around) => walk.behind(around, rest),
            Layer::Type(_) | Layer::Data => break,
        };
    }
    if !rest.is_empty() {
        walk.say("data", format!("{} bytes", rest.len()));
    }
    walk.found
}

/// What comes next.
enum Layer {
    Ethernet,
    /// What an Ethernet header or a tag announces.
    Type(EtherType),
    /// What an IP header announces.
    Behind(Around),
    /// Nothing that has a name here.
    Data,
}

/// The IP header around a transport header.
struct Around {
    source: IpAddr,
    destination: IpAddr,
    protocol: IpNumber,
    /// All of the datagram is there.
    whole: bool,
    /// Its beginning is.
    begins: bool,
}

/// On the way through a frame.
struct Walk<'a> {
    gue_ports: &'a [u16],
    /// It is what an ICMP error quotes.
    quoted: bool,
    found: Vec<Header>,
}

/// A step of the walk: what comes next, and the bytes from there on.
type Step<'b> = (Layer, &'b [u8]);

impl Walk<'_> {
    fn say(&mut self, what: &str, text: String) {
        let what = if self.quoted { format!("quoted {what}") } else { what.to_owned() };
        self.found.push(Header { what, text });
    }

    /// What is no header of its kind is data.
    fn no<'b>(&mut self, what: &str, why: impl std::fmt::Display, bytes: &'b [u8]) -> Step<'b> {
        self.say(what, format!("none: {why}"));
        (Layer::Data, bytes)
    }

    fn ethernet<'b>(&mut self, bytes: &'b [u8]) -> Step<'b> {
        let header = match Ethernet2HeaderSlice::from_slice(bytes) {
            Ok(header) => header,
            Err(error) => return self.no("Ethernet", error, bytes),
        };
        let [from, to] = [header.source(), header.destination()].map(print_mac);
        let kind = header.ether_type();
        self.say("Ethernet", format!("{from} → {to}, {}, {} bytes", named(kind), bytes.len()));
        (Layer::Type(kind), &bytes[header.slice().len()..])
    }

    fn tag<'b>(&mut self, bytes: &'b [u8]) -> Step<'b> {
        let tag = match SingleVlanHeaderSlice::from_slice(bytes) {
            Ok(tag) => tag,
            Err(error) => return self.no("VLAN", error, bytes),
        };
        let priority = tag.priority_code_point().value();
        let (vlan, kind) = (tag.vlan_identifier().value(), tag.ether_type());
        self.say("VLAN", format!("{vlan}, priority {priority}, {}", named(kind)));
        (Layer::Type(kind), &bytes[tag.slice().len()..])
    }
}

fn is_tag(kind: EtherType) -> bool {
    kind == EtherType::VLAN_TAGGED_FRAME || kind == EtherType::PROVIDER_BRIDGING
}

fn named(kind: EtherType) -> String {
    match kind {
        EtherType::IPV4 => "IPv4".to_owned(),
        EtherType::IPV6 => "IPv6".to_owned(),
        EtherType::ARP => "ARP".to_owned(),
        EtherType::VLAN_TAGGED_FRAME => "802.1Q".to_owned(),
        EtherType::PROVIDER_BRIDGING => "802.1ad".to_owned(),
        EtherType(other) => format!("type {other:#06x}"),
    }
}

/// A checksum, and whether it is right, if that can be told: whether all that it covers, with it,
/// sums up to nothing (RFC 1071).
fn checksum(value: u16, covered: Option<&[&[u8]]>) -> String {
    let judged = covered.map(|parts| {
        let sum = parts.iter().fold(Sum16BitWords::new(), |sum, part| sum.add_slice(part));
        if sum.ones_complement() == 0 { " right" } else { " wrong" }
    });
    format!("checksum {value:#06x}{}", judged.unwrap_or_default())
}
