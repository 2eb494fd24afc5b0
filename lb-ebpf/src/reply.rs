//! What is not for a service: a stranger, who passes untouched, or the reply of a `nat` node on its
//! way to a client, which gets the service's address as its source. No state of a flow is kept: the
//! node's address and port say whose reply it is.

use lb_common::{Reason, ServiceId, VipKey};

use crate::{
    Frame, Route, Tables, Verdict,
    checksum::Sum,
    classify::{self, Book},
    fragment::{self, Whom},
    icmp::{self, Inner, Kind},
    link,
    nat::{self, End, Place},
    parse::{self, Head, ICMP, ICMPV6, Packet, Part, TCP, UDP},
    stages::Job,
};

/// What is nobody's here.
pub(crate) const STRANGER: Verdict = Verdict::pass(Reason::PassNotVip);

/// A packet that is neither to a service's address nor to this host's own.
#[inline(never)]
pub(crate) fn reply<F: Frame, T: Tables>(frame: &mut F, tables: &T, job: &mut Job) -> Verdict {
    match replied(frame, tables, job) {
        Ok(verdict) | Err(verdict) => verdict,
    }
}

#[inline(always)]
fn replied<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    job: &mut Job,
) -> Result<Verdict, Verdict> {
    let (epoch, head) = (job.epoch, &job.packet.head);
    let at = usize::from(head.l3) + if head.v6 { 6 } else { 8 };
    let [first, second]: [u8; 2] = frame.read(at).ok_or(STRANGER)?;
    let icmp = if head.v6 { first == ICMPV6 } else { second == ICMP };
    // Errors may come from any router between here and the node.
    if head.group || !icmp && !classify::maybe(tables, Book::Nodes, epoch, head.source)? {
        return Err(STRANGER);
    }
    parse::packet(frame, &mut job.packet).map_err(|_| Verdict::pass(Reason::PassMalformed))?;
    let packet = &job.packet;
    let mut inner = Inner::NONE;
    let service = whose(frame, tables, epoch, packet, &mut inner)?.ok_or(STRANGER)?;
    if packet.ttl <= 1 {
        return Err(Verdict::pass(Reason::PassExpired));
    }
    let record = tables.service(epoch, service).ok_or(Verdict::BAD_TABLE)?;
    let place = Place { address: record.vip, port: record.table.port };
    if packet.part == Part::First {
        fragment::remember(tables, packet, Whom::Client(service))?;
    }
    let is_source = rewrite(frame, packet, &inner, place).ok_or(Verdict::BAD_TABLE)?;
    let source = if is_source { place.address } else { packet.head.source };
    send(frame, tables, epoch, packet, source)
}

/// The service whose reply it is; of an ICMP error, by the packet to the node that it quotes.
#[inline(always)]
fn whose<F: Frame, T: Tables>(
    frame: &F,
    tables: &T,
    epoch: u64,
    packet: &Packet,
    inner: &mut Inner,
) -> Result<Option<ServiceId>, Verdict> {
    let Head { v6, source, .. } = packet.head;
    match (packet.protocol, packet.part) {
        (TCP | UDP, Part::Later) => match fragment::find(tables, packet)?.0 {
            Some(Whom::Client(service)) => Ok(Some(service)),
            _ => Ok(None),
        },
        (TCP | UDP, _) => {
            let malformed = Verdict::pass(Reason::PassMalformed);
            let ports = parse::ports(frame, packet).map_err(|_| malformed)?;
            let key = VipKey { address: source, port: ports.source, protocol: packet.protocol };
            classify::service(tables, Book::Nodes, epoch, &key)
        }
        (ICMP, Part::Whole) if !v6 => error(frame, tables, epoch, packet, inner),
        (ICMPV6, Part::Whole) if v6 => error(frame, tables, epoch, packet, inner),
        _ => Ok(None),
    }
}

/// An ICMP error about a packet that a client's packet has become on its way to a node.
#[inline(always)]
fn error<F: Frame, T: Tables>(
    frame: &F,
    tables: &T,
    epoch: u64,
    packet: &Packet,
    inner: &mut Inner,
) -> Result<Option<ServiceId>, Verdict> {
    if icmp::kind(frame, packet) != Some(Kind::Error)
        || !icmp::quoted(frame, packet, inner)
        || inner.source != packet.head.destination
    {
        return Ok(None);
    }
    let &mut Inner { destination: address, quote, ports, .. } = inner;
    let key = VipKey { address, port: ports.destination, protocol: quote.protocol };
    classify::service(tables, Book::Nodes, epoch, &key)
}

/// Puts the service in the node's place. Returns whether that is where the packet then is from.
#[inline(always)]
fn rewrite<F: Frame>(frame: &mut F, packet: &Packet, inner: &Inner, place: Place) -> Option<bool> {
    if packet.protocol == ICMP || packet.protocol == ICMPV6 {
        nat::quoted(frame, packet, &inner.quote, End::Destination, inner.destination, place)?;
        // From a router on the way, it stays from there.
        if inner.destination != packet.head.source {
            return Some(false);
        }
    }
    nat::rewrite(frame, packet, End::Source, place)?;
    Some(true)
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
