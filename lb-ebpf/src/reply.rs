//! What is not for a service: a stranger, who passes untouched, or the reply of a `nat` node on its
//! way to a client, which gets the service's address as its source. No state of a flow is kept: the
//! node's address and port say whose reply it is.

use lb_common::{GenerationHead, Reason, ServiceId, VipKey};

use crate::{
    Frame, Hop, Route, Routed, Tables, Verdict,
    checksum::Sum,
    classify::{self, Book},
    forward::{self, What},
    fragment::{self, Whom},
    icmp::{self, Inner, Kind},
    link,
    nat::{self, End, Place},
    parse::{self, Head, ICMP, ICMPV6, Packet, Part, TCP, UDP},
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
    let icmp = is_icmp(frame, head).ok_or(STRANGER)?;
    if head.to.is_group() || head.is_mapped() {
        return Err(STRANGER);
    }
    // Errors may come from any router between here and the node.
    if !icmp && !classify::maybe(tables, Book::Nodes, epoch, head.source)? {
        return Err(STRANGER);
    }
    parse::packet(frame, &mut job.packet).map_err(|_| Verdict::pass(Reason::PassMalformed))?;
    let service = whose(frame, tables, epoch, &job.packet, &mut job.inner)?;
    let generation = tables.head(epoch).ok_or(Verdict::BAD_TABLE)?;
    if !generation.plan.takes(frame.ingress(), job.packet.head.to.bytes()) {
        return Err(stages::NOT_OURS);
    }
    if job.packet.ttl <= 1 {
        return Err(Verdict::pass(Reason::PassExpired));
    }
    if job.packet.part() == Part::First {
        fragment::remember(tables, epoch, &job.packet, Whom::Client(service))?;
    }
    job.service = service;
    if job.packet.part() == Part::Later {
        job.to.set(What::Later);
    }
    let whole = job.packet.part() == Part::Whole;
    if whole && (job.packet.protocol == ICMP || job.packet.protocol == ICMPV6) {
        job.to.set(What::Error(job.inner.quote));
    }
    Ok(Next::Reply)
}

/// Whether a frame without tags that is not to a service's address is a stranger's, as far as that is
/// easily said. `None`: more is to be asked.
#[inline(always)]
pub(crate) fn is_stranger<F: Frame>(
    frame: &F,
    generation: &GenerationHead,
    head: &Head,
) -> Option<bool> {
    if is_icmp(frame, head)? {
        return None;
    }
    let replies = classify::has(generation, Book::Nodes, head.source);
    Some(head.to.is_group() || head.is_mapped() || !replies)
}

/// A plain packet that may be a reply goes to its client. False: it is special, and nothing is done yet.
#[inline(never)]
pub(crate) fn plain<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    epoch: u64,
    v6: bool,
    verdict: &mut Verdict,
) -> bool {
    let sent =
        if v6 { replied(frame, tables, epoch, true) } else { replied(frame, tables, epoch, false) };
    match sent {
        None => false,
        Some(sent) => {
            *verdict = sent;
            true
        }
    }
}

#[inline(always)]
fn replied<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    epoch: u64,
    v6: bool,
) -> Option<Verdict> {
    let generation = &*tables.head(epoch)?;
    let head = parse::untagged(frame, v6)?;
    let (packet, ports) = parse::plain(frame, head)?;
    let (port, protocol) = ((ports >> 16) as u16, packet.protocol);
    let key = VipKey { address: head.source, port, protocol };
    let service = classify::on_port(tables, Book::Nodes, epoch, &key)?.service;
    if !generation.plan.takes(frame.ingress(), head.to.bytes()) || packet.ttl <= 1 {
        return None;
    }
    let record = tables.service(epoch, ServiceId::new(usize::from(service))?)?;
    let place = Place { address: record.vip, port: record.table.port };
    let Packet { tos, length, .. } = packet;
    let destination = head.destination;
    let route = Route { source: place.address, destination, v6, protocol, tos, length };
    let Routed::To(hop) = frame.route(&route) else { return None };
    if !generation.plan.sends_out_of(hop.ifindex) {
        return None;
    }
    let sent = nat::rewrite(frame, &packet, End::Source, place).ok_or(Verdict::BAD_TABLE);
    let sent = sent.and_then(|()| on_its_way(frame, &packet, &hop));
    Some(sent.unwrap_or_else(|verdict| verdict))
}

/// Whether a packet is ICMP, by what its IP header says first; `None`: it is too short.
#[inline(always)]
fn is_icmp<F: Frame>(frame: &F, head: &Head) -> Option<bool> {
    let at = usize::from(head.l3) + if head.v6.is() { 6 } else { 8 };
    let [first, second]: [u8; 2] = frame.read(at)?;
    Some(if head.v6.is() { first == ICMPV6 } else { second == ICMP })
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
    let generation = tables.head(job.epoch).ok_or(Verdict::BAD_TABLE)?;
    let routed = frame.route(&route(job, place.address));
    if let Routed::TooBig(most) = routed
        && job.packet.dont_fragment.is()
    {
        return forward::too_big(job, most);
    }
    rewrite(frame, job, place).ok_or(Verdict::BAD_TABLE)?;
    match routed {
        Routed::To(hop) if generation.plan.sends_out_of(hop.ifindex) => {
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
            match fragment::find(tables, epoch, packet)?.0 {
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
        What::Error(_) => job.inner.destination == job.packet.head.source,
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
        let node = job.inner.destination;
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
