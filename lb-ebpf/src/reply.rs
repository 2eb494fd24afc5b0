//! What is not for a service: a stranger, who passes untouched, or the reply of a `nat` node on its
//! way to a client, which gets the service's address as its source. No state of a flow is kept: the
//! node's address and port say whose reply it is.

use lb_common::{PlanRecord, Reason, ServiceId, VipKey};

use crate::{
    Frame, Route, Tables, Verdict,
    checksum::Sum,
    classify::{self, Book},
    fragment::{self, Whom},
    icmp::{self, Inner, Kind},
    link,
    nat::{self, End, Place},
    parse::{self, Head, ICMP, ICMPV6, Packet, Part, TCP, UDP},
};

const STRANGER: Verdict = Verdict::pass(Reason::PassNotVip);

/// A packet that is not to a service's address, nor to this host's own.
#[inline(always)]
pub(crate) fn stranger<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    epoch: u64,
    head: &Head,
) -> Result<Verdict, Verdict> {
    let flags = tables.plan_flags(epoch).ok_or(Verdict::BAD_TABLE)?;
    if flags & PlanRecord::NAT == 0 {
        return Err(STRANGER);
    }
    Ok(reply(frame, tables, epoch, head))
}

/// Whose reply it is.
struct Reply {
    service: ServiceId,
    /// It is an ICMP error, and quotes this packet to the node.
    inner: Option<Inner>,
}

#[inline(never)]
fn reply<F: Frame, T: Tables>(frame: &mut F, tables: &T, epoch: u64, head: &Head) -> Verdict {
    match replied(frame, tables, epoch, head) {
        Ok(verdict) | Err(verdict) => verdict,
    }
}

#[inline(always)]
fn replied<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    epoch: u64,
    head: &Head,
) -> Result<Verdict, Verdict> {
    let at = usize::from(head.l3) + if head.v6 { 6 } else { 8 };
    let [first, second]: [u8; 2] = frame.read(at).ok_or(STRANGER)?;
    let next = if head.v6 { first } else { second };
    let icmp = next == if head.v6 { ICMPV6 } else { ICMP };
    // Errors may come from any router between here and the node.
    if head.group || !icmp && !classify::maybe(tables, Book::Nodes, epoch, head.source)? {
        return Err(STRANGER);
    }
    let malformed = Verdict::pass(Reason::PassMalformed);
    let packet = &parse::packet(frame, *head).map_err(|_| malformed)?;
    let reply = whose(frame, tables, epoch, packet)?.ok_or(STRANGER)?;
    if packet.ttl <= 1 {
        return Err(Verdict::pass(Reason::PassExpired));
    }
    let record = tables.service(epoch, reply.service).ok_or(Verdict::BAD_TABLE)?;
    let place = Place { address: parse::words(record.vip), port: record.table.port };
    if packet.part == Part::First {
        fragment::remember(tables, packet, Whom::Client(reply.service))?;
    }
    let source = rewrite(frame, packet, &reply, place).ok_or(Verdict::BAD_TABLE)?;
    send(frame, tables, epoch, packet, source)
}

#[inline(always)]
fn whose<F: Frame, T: Tables>(
    frame: &F,
    tables: &T,
    epoch: u64,
    packet: &Packet,
) -> Result<Option<Reply>, Verdict> {
    let Head { v6, source, .. } = packet.head;
    let service = match (packet.protocol, packet.part) {
        (TCP | UDP, Part::Later) => match fragment::find(tables, packet)?.0 {
            Some(Whom::Client(service)) => Some(service),
            _ => None,
        },
        (TCP | UDP, _) => {
            let malformed = Verdict::pass(Reason::PassMalformed);
            let ports = parse::ports(frame, packet).map_err(|_| malformed)?;
            let key = VipKey { address: source, port: ports.source, protocol: packet.protocol };
            classify::service(tables, Book::Nodes, epoch, &key)?
        }
        (ICMP, Part::Whole) if !v6 => return error(frame, tables, epoch, packet),
        (ICMPV6, Part::Whole) if v6 => return error(frame, tables, epoch, packet),
        _ => None,
    };
    Ok(service.map(|service| Reply { service, inner: None }))
}

/// An ICMP error about a packet that a client's packet has become on its way to a node.
#[inline(always)]
fn error<F: Frame, T: Tables>(
    frame: &F,
    tables: &T,
    epoch: u64,
    packet: &Packet,
) -> Result<Option<Reply>, Verdict> {
    if icmp::kind(frame, packet) != Some(Kind::Error) {
        return Ok(None);
    }
    let Some(inner) = icmp::inner(frame, packet) else { return Ok(None) };
    if inner.source != packet.head.destination {
        return Ok(None);
    }
    let Inner { quote, destination: address, ports, .. } = inner;
    let key = VipKey { address, port: ports.destination, protocol: quote.protocol };
    let service = classify::service(tables, Book::Nodes, epoch, &key)?;
    Ok(service.map(|service| Reply { service, inner: Some(inner) }))
}

/// Puts the service in the node's place. Returns the source that the packet then has.
#[inline(always)]
fn rewrite<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    reply: &Reply,
    place: Place,
) -> Option<[u32; 4]> {
    if let Some(inner) = &reply.inner {
        nat::quoted(frame, packet, &inner.quote, End::Destination, inner.destination, place)?;
        // From a router on the way, it stays from there.
        if inner.destination != packet.head.source {
            return Some(packet.head.source);
        }
    }
    nat::rewrite(frame, packet, End::Source, place)?;
    Some(place.address)
}

/// Sends it to the client as this host would, or has the host do it.
#[inline(always)]
fn send<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    epoch: u64,
    packet: &Packet,
    source: [u32; 4],
) -> Result<Verdict, Verdict> {
    let Head { v6, destination, .. } = packet.head;
    let l3 = usize::from(packet.head.l3);
    let &Packet { protocol, tos, length, .. } = packet;
    let route = Route { v6, source, destination, protocol, tos, length };
    let hop = frame.route(&route).filter(|hop| tables.sends_out_of(epoch, hop.ifindex));
    let Some(hop) = hop else { return Ok(Verdict::pass(Reason::ReplyToHost)) };
    // One hop further (RFC 1812, 5.3.1); the host does that itself for what it is given.
    if v6 {
        let [next, _]: [u8; 2] = frame.read(l3 + 6).ok_or(Verdict::BAD_TABLE)?;
        frame.write(l3 + 6, [next, packet.ttl - 1]).ok_or(Verdict::BAD_TABLE)?;
    } else {
        let change = Sum::change(u16::from(packet.ttl) << 8, u16::from(packet.ttl - 1) << 8);
        frame.write(l3 + 8, [packet.ttl - 1, protocol]).ok_or(Verdict::BAD_TABLE)?;
        nat::update(frame, l3 + 10, change).ok_or(Verdict::BAD_TABLE)?;
    }
    link::to_hop(frame, &packet.head, &hop)?;
    Ok(Verdict::out_of(Reason::ReplySent, hop.ifindex, frame.ingress()))
}
