//! ICMP to a service's address: errors about a flow go to the flow's node, echo requests are
//! answered, the rest is the host's.

use lb_common::{Reason, VipKey};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::{
    Frame, Tables, Verdict, answer,
    classify::{self, Address, Book},
    forward::{Load, To, What},
    parse::{self, Packet, Part, Ports, TCP, UDP},
    select, stages,
};

/// Bytes of an ICMP header, and so the offset of what an error quotes (RFC 792, RFC 4443).
pub(crate) const ICMP_LEN: usize = 8;
/// Bytes of the quoted packet behind its IP headers that there are at least (RFC 792).
const QUOTED: usize = 8;
const BAD: Verdict = Verdict::drop(Reason::DropIcmp);

/// Where the packet is that an ICMP error quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Offset of its IP header.
    pub l3: u16,
    /// Offset of its transport header.
    pub l4: u16,
    /// Its protocol, TCP or UDP.
    pub protocol: u8,
}

/// Whom the packet is from and to that an ICMP error quotes.
pub(crate) struct Inner {
    pub(crate) quote: Quote,
    pub(crate) source: [u32; 4],
    pub(crate) destination: [u32; 4],
    pub(crate) ports: Ports,
}

/// What an ICMP message is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It tells of an error and quotes the packet that met it.
    Error,
    /// An echo request.
    Echo,
    /// Anything else.
    Other,
}

/// What kind of message a whole ICMP packet is; `None` if it is too short to be one.
#[inline(always)]
pub(crate) fn kind<F: Frame>(frame: &F, packet: &Packet) -> Option<Kind> {
    if packet.l4_length() < ICMP_LEN {
        return None;
    }
    let [kind, ..]: [u8; ICMP_LEN] = frame.read(usize::from(packet.l4))?;
    Some(match (packet.head.v6, kind) {
        // Unreachable, too big, time exceeded, parameter problem.
        (true, 1..=4) | (false, 3 | 11 | 12) => Kind::Error,
        (true, 128) | (false, 8) => Kind::Echo,
        _ => Kind::Other,
    })
}

/// Whom a whole ICMP packet goes to; `None`: it is not to a service's address.
#[inline(never)]
pub(crate) fn to_vip<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    epoch: u64,
    packet: &Packet,
) -> Result<Option<To>, Verdict> {
    let Address::Vip { alive } = classify::address(tables, epoch, packet.head.destination)? else {
        return stages::no_service(tables, epoch, packet);
    };
    stages::sane(tables, epoch, &packet.head)?;
    const MALFORMED: Verdict = Verdict::drop(Reason::DropMalformed);
    match kind(frame, packet).ok_or(MALFORMED)? {
        Kind::Error => {
            let inner = inner(frame, packet).ok_or(BAD)?;
            node_of(tables, epoch, packet, &inner).map(Some)
        }
        Kind::Echo if alive => Err(answer::echo(frame, packet).ok_or(MALFORMED)?),
        Kind::Echo => Err(Verdict::drop(Reason::DropEcho)),
        Kind::Other => Err(Verdict::pass(Reason::PassNoService)),
    }
}

/// The node of the flow that an error is about: the quoted packet went from the service to its
/// client, so the flow is the other way round.
#[inline(always)]
fn node_of<T: Tables>(
    tables: &T,
    epoch: u64,
    packet: &Packet,
    inner: &Inner,
) -> Result<To, Verdict> {
    // Errors go to whom the quoted packet is from (RFC 792, RFC 4443).
    if inner.source != packet.head.destination {
        return Err(BAD);
    }
    let &Inner { quote, source: vip, destination: client, ports } = inner;
    let protocol = quote.protocol;
    let key = VipKey { address: vip, port: ports.source, protocol };
    let service = classify::service(tables, Book::Services, epoch, &key)?.ok_or(BAD)?;
    let both = u32::from(ports.destination) << 16 | u32::from(ports.source);
    let flow = parse::flow(packet.head.v6, client, vip, both, protocol);
    let (_, choice) = select::of_service(tables, epoch, service, flow)?;
    let select::Choice { node, port, hash, .. } = choice?;
    Ok(To { epoch, node, load: Load { port, hash, what: What::Error(quote) } })
}

/// What an error quotes, if that is a TCP or UDP packet with its ports.
#[inline(always)]
pub(crate) fn inner<F: Frame>(frame: &F, packet: &Packet) -> Option<Inner> {
    let l3 = usize::from(packet.l4) + ICMP_LEN;
    let (source, destination, protocol, part, l4) = if packet.head.v6 {
        let ip: Ipv6Hdr = frame.read(l3)?;
        let behind = parse::extensions(frame, ip.next_hdr, l3 + Ipv6Hdr::LEN).ok()?;
        let (from, to) = (parse::words(ip.src_addr), parse::words(ip.dst_addr));
        (from, to, behind.protocol, behind.part, behind.l4)
    } else {
        let ip: Ipv4Hdr = frame.read(l3)?;
        let header = usize::from(ip.ihl());
        if ip.version() != 4 || header < Ipv4Hdr::LEN {
            return None;
        }
        let (from, to) = (parse::mapped(ip.src_addr), parse::mapped(ip.dst_addr));
        let part = parse::ipv4_part(u16::from_be_bytes(ip.frags));
        (from, to, ip.proto, part, l3 + header)
    };
    if l4 + QUOTED > packet.end() || part == Part::Later || protocol != TCP && protocol != UDP {
        return None;
    }
    let [from, to]: [[u8; 2]; 2] = frame.read(l4)?;
    let ports = Ports { source: u16::from_be_bytes(from), destination: u16::from_be_bytes(to) };
    let quote = Quote { l3: l3 as u16, l4: l4 as u16, protocol };
    Some(Inner { quote, source, destination, ports })
}
