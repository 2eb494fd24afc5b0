//! What is not for a service: a stranger, who passes untouched, or the reply of a `nat` node on its
//! way to a client, which gets the service's address as its source. No state of a flow is kept: the
//! node's address and port say whose reply it is.

use lb_common::{Reason, ServiceId, VipKey};

use crate::{
    Frame, Hop, Route, Routed, Tables, Verdict,
    checksum::Sum,
    classify::{self, Book},
    forward::{self, What},
    fragment::{self, Whom},
    icmp::{self, Inner, Kind},
    link,
    nat::{self, End, Place},
    parse::{self, ICMP, ICMPV6, Packet, Part, TCP, UDP},
    stages::{self, Job, Next},
};

/// What is nobody's here.
pub(crate) const STRANGER: Verdict = Verdict::pass(Reason::PassNotVip);

/// Whose reply a packet is that is neither to a service's address nor to this host's own.
#[inline(never)]
pub(crate) fn recognise<F: Frame, T: Tables>(frame: &mut F, tables: &T, job: &mut Job) -> Next {
    let next = recognised(frame, tables, job);
    job.packet.forget::<F>(job.epoch);
    job.to.forget::<F>(job.epoch);
    job.then(next)
}

#[inline(always)]
fn recognised<F: Frame, T: Tables>(frame: &F, tables: &T, job: &mut Job) -> Result<Next, Verdict> {
    let (epoch, head) = (job.epoch, &job.packet.head);
    let at = usize::from(head.l3) + if head.v6.is() { 6 } else { 8 };
    let [first, second]: [u8; 2] = frame.read(at).ok_or(STRANGER)?;
    let icmp = if head.v6.is() { first == ICMPV6 } else { second == ICMP };
    if head.to.is_group() || head.is_mapped() {
        return Err(STRANGER);
    }
    // Errors may come from any router between here and the node.
    if !icmp && !classify::maybe(tables, Book::Nodes, epoch, head.source)? {
        return Err(STRANGER);
    }
    parse::packet(frame, &mut job.packet).map_err(|_| Verdict::pass(Reason::PassMalformed))?;
    let mut inner = Inner::NONE;
    let service = whose(frame, tables, epoch, &job.packet, &mut inner)?;
    if !tables.takes(epoch, frame.ingress(), job.packet.head.to) {
        return Err(stages::NOT_OURS);
    }
    if job.packet.ttl <= 1 {
        return Err(Verdict::pass(Reason::PassExpired));
    }
    if job.packet.part() == Part::First {
        fragment::remember(tables, &job.packet, Whom::Client(service))?;
    }
    job.service = service;
    if job.packet.part() == Part::Later {
        job.to.set(What::Later);
    }
    let whole = job.packet.part() == Part::Whole;
    if whole && (job.packet.protocol == ICMP || job.packet.protocol == ICMPV6) {
        job.flow.destination = inner.destination;
        job.to.set(What::Error(inner.quote));
    }
    Ok(Next::Reply)
}

/// Puts the service in the node's place, and sends the packet to the client as this host would, or
/// has the host do it. Of one that is too big for the way to the client the node is told: the host
/// would tell the service's address, which is its own.
#[inline(never)]
pub(crate) fn send<F: Frame, T: Tables>(frame: &mut F, tables: &T, job: &mut Job) -> Next {
    let next = sent(frame, tables, job);
    job.then(next)
}

#[inline(always)]
fn sent<F: Frame, T: Tables>(frame: &mut F, tables: &T, job: &mut Job) -> Result<Next, Verdict> {
    let record = tables.service(job.epoch, job.service).ok_or(Verdict::BAD_TABLE)?;
    let place = Place { address: record.vip, port: record.table.port };
    let routed = frame.route(&route(job, place.address));
    if let Routed::TooBig(most) = routed
        && job.packet.dont_fragment.is()
    {
        return forward::too_big(job, most);
    }
    rewrite(frame, job, place).ok_or(Verdict::BAD_TABLE)?;
    match routed {
        Routed::To(hop) if tables.sends_out_of(job.epoch, hop.ifindex) => {
            Err(on_its_way(frame, &job.packet, &hop)?)
        }
        _ => Err(Verdict::pass(Reason::ReplyToHost)),
    }
}

/// The service whose reply it is; of an ICMP error, by the packet to the node that it quotes.
#[inline(always)]
fn whose<F: Frame, T: Tables>(
    frame: &F,
    tables: &T,
    epoch: u64,
    packet: &Packet,
    inner: &mut Inner,
) -> Result<ServiceId, Verdict> {
    let (v6, source) = (packet.head.v6.is(), packet.head.source);
    match (packet.protocol, packet.part()) {
        // Of IPv6 a later fragment does not say what it is part of (RFC 8200, 4.5).
        (protocol, Part::Later) if v6 || protocol == TCP || protocol == UDP => {
            match fragment::find(tables, packet)?.0 {
                Some(Whom::Client(service)) => Ok(service),
                _ => Err(STRANGER),
            }
        }
        (TCP | UDP, _) => {
            let malformed = Verdict::pass(Reason::PassMalformed);
            let ports = parse::ports(frame, packet).map_err(|_| malformed)?;
            let key = VipKey { address: source, port: ports.source, protocol: packet.protocol };
            classify::service(tables, Book::Nodes, epoch, &key)?.ok_or(STRANGER)
        }
        (ICMP, Part::Whole) if !v6 => error(frame, tables, epoch, packet, inner),
        (ICMPV6, Part::Whole) if v6 => error(frame, tables, epoch, packet, inner),
        _ => Err(STRANGER),
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
) -> Result<ServiceId, Verdict> {
    if icmp::kind(frame, packet) != Some(Kind::Error)
        || !icmp::quoted(frame, packet, inner)
        || inner.source != packet.head.destination
    {
        return Err(STRANGER);
    }
    let &mut Inner { destination: address, quote, ports, .. } = inner;
    let key = VipKey { address, port: ports.destination, protocol: quote.protocol };
    classify::service(tables, Book::Nodes, epoch, &key)?.ok_or(STRANGER)
}

/// Whether a packet is from where its reply comes from; an error of a router on the way is not.
#[inline(always)]
fn is_from_node(job: &Job) -> bool {
    match job.to.what() {
        What::Error(_) => job.flow.destination == job.packet.head.source,
        _ => true,
    }
}

/// What the host routes a reply by once it is rewritten.
#[inline(always)]
fn route(job: &Job, vip: [u32; 4]) -> Route {
    let &Packet { head, protocol, tos, length, .. } = &job.packet;
    let source = if is_from_node(job) { vip } else { head.source };
    Route { v6: head.v6.is(), source, destination: head.destination, protocol, tos, length }
}

/// Rewrites a reply, and what an error quotes.
#[inline(always)]
fn rewrite<F: Frame>(frame: &mut F, job: &Job, place: Place) -> Option<()> {
    if let What::Error(quote) = job.to.what() {
        let node = job.flow.destination;
        nat::quoted(frame, &job.packet, &quote, End::Destination, node, place)?;
    }
    if !is_from_node(job) {
        return Some(());
    }
    nat::rewrite(frame, &job.packet, End::Source, place)
}

/// Sends a rewritten packet to the client.
#[inline(always)]
fn on_its_way<F: Frame>(frame: &mut F, packet: &Packet, hop: &Hop) -> Result<Verdict, Verdict> {
    let l3 = usize::from(packet.head.l3);
    // One hop further (RFC 1812, 5.3.1); the host does that itself for what it is given.
    if packet.head.v6.is() {
        let [next, _]: [u8; 2] = frame.read(l3 + 6).ok_or(Verdict::BAD_TABLE)?;
        frame.write(l3 + 6, [next, packet.ttl - 1]).ok_or(Verdict::BAD_TABLE)?;
    } else {
        let change = Sum::change(u16::from(packet.ttl) << 8, u16::from(packet.ttl - 1) << 8);
        frame.write(l3 + 8, [packet.ttl - 1, packet.protocol]).ok_or(Verdict::BAD_TABLE)?;
        nat::update(frame, l3 + 10, change).ok_or(Verdict::BAD_TABLE)?;
    }
    link::to_hop(frame, &packet.head, hop)?;
    Ok(Verdict::out_of(Reason::ReplySent, hop.ifindex, frame.ingress()))
}
