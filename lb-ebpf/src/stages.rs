//! The order of the stages, and the exits of packets that no other stage decides about.
//!
//! What stages leave for each other stands in a [`Job`], for which the tables have room. In the kernel
//! each stage is a function of its own, so that none needs the other's stack.

use lb_common::{FlowKey, GenerationHead, PlanRecord, Reason, ServiceId, VipKey};

use crate::{
    Frame, Tables, Verdict, answer,
    classify::{self, Address, Book},
    forward::{self, To, What},
    fragment::{self, Whom},
    icmp::{self, Inner},
    moved, nat,
    parse::{self, Head, ICMP, ICMPV6, Packet, Part, TCP, UDP},
    reply, select, tunnel,
};

/// One packet on its way.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct Job {
    /// The epoch in force.
    pub(crate) epoch: u64,
    /// What its headers say.
    pub(crate) packet: Packet,
    /// The flow that it is of; of an ICMP error, that it is about.
    pub(crate) flow: FlowKey,
    /// What it quotes, if it is an ICMP error.
    pub(crate) inner: Inner,
    /// Whom it goes to, once that is known.
    pub(crate) to: To,
    /// How it ended.
    pub(crate) verdict: Verdict,
    /// The service whose reply it is, or whose packet it is while its node is sought, once that is known.
    pub(crate) service: ServiceId,
    /// Bytes of the largest packet that gets where it was to go, if it is larger.
    pub(crate) most: u16,
}

/// Where a packet goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(crate) enum Next {
    /// Nowhere: it has its verdict.
    End,
    /// It is ICMP and may be to a service's address.
    Icmp,
    /// It is a later fragment and may be to a service's address.
    Later,
    /// It has a flow, and may be for a service.
    Choose,
    /// For a service, and its slots moved a while ago.
    Moved,
    /// To its node.
    Forward,
    /// By a tunnel.
    Wrap,
    /// With another destination.
    Rewrite,
    /// Nowhere: its sender is told that it is too big.
    TooBig,
    /// It is not to a service's address, and may be a reply.
    Stranger,
    /// It is a reply, and goes to its client.
    Reply,
}

impl Job {
    /// Nothing yet: no field is read before a stage has written it. There are ones in them because the
    /// compiler has a run of zeros written byte by byte, in a loop.
    pub(crate) const NONE: Self = Self {
        epoch: 1,
        packet: Packet::with(Head::NONE),
        flow: FlowKey { source: [1; 4], destination: [1; 4], ports: 1, protocol: TCP, v6: true },
        inner: Inner::NONE,
        to: To::NOBODY,
        service: NO_SERVICE,
        verdict: Verdict::BAD_TABLE,
        most: 1,
    };

    /// Ends with the verdict, or goes on.
    #[inline(always)]
    pub(crate) fn then(&mut self, next: Result<Next, Verdict>) -> Next {
        match next {
            Ok(next) => next,
            Err(verdict) => {
                self.verdict = verdict;
                Next::End
            }
        }
    }
}

/// One packet, from its first byte to its verdict, by all stages: what [`crate::process`] says of it, too.
#[inline(always)]
pub fn staged<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Verdict {
    match tables.epoch() {
        Some(epoch) => in_plan(frame, tables, epoch),
        None => Verdict::BAD_TABLE,
    }
}

/// The same, by the plan of this epoch.
#[inline(always)]
pub(crate) fn in_plan<F: Frame, T: Tables>(frame: &mut F, tables: &T, epoch: u64) -> Verdict {
    let begin = |job: &mut Job| {
        *job = Job { epoch, ..Job::NONE };
        through(frame, tables, job)
    };
    tables.with_job(begin).unwrap_or(Verdict::BAD_TABLE)
}

#[inline(always)]
fn through<F: Frame, T: Tables>(frame: &mut F, tables: &T, job: &mut Job) -> Verdict {
    let mut next = sort(frame, tables, job);
    if next == Next::Icmp {
        next = icmp::to_vip(frame, tables, job);
    } else if next == Next::Later {
        next = later(frame, tables, job);
    }
    if next == Next::Choose {
        next = choose(frame, tables, job);
    }
    if next == Next::Moved {
        next = moved::moved(frame, tables, job);
    }
    if next == Next::Stranger {
        next = reply::recognise(frame, tables, job);
    } else if next == Next::Forward {
        next = forward::forward(frame, tables, job);
    }
    if next == Next::Reply {
        next = reply::send(frame, tables, job);
    }
    match next {
        Next::Wrap => tunnel::wrap(frame, tables, job),
        Next::Rewrite => nat::to_node(frame, tables, job),
        Next::TooBig => answer::too_big(frame, tables, job),
        _ => job.verdict,
    }
}

/// Any service, until the one is known.
const NO_SERVICE: ServiceId = match ServiceId::new(0) {
    Some(service) => service,
    None => panic!("the maps have services"),
};

/// Parses a packet.
#[inline(never)]
fn sort<F: Frame, T: Tables>(frame: &mut F, tables: &T, job: &mut Job) -> Next {
    let next = sorted(frame, tables, job);
    job.packet.forget::<F>(job.epoch);
    job.then(next)
}

#[inline(always)]
fn sorted<F: Frame, T: Tables>(frame: &F, tables: &T, job: &mut Job) -> Result<Next, Verdict> {
    let (head, epoch) = (parse::head(frame)?, job.epoch);
    job.packet.head = head;
    if !classify::maybe(tables, Book::Services, epoch, head.destination)? {
        return stranger(&*tables.head(epoch).ok_or(Verdict::BAD_TABLE)?);
    }
    if parse::packet(frame, &mut job.packet).is_err() {
        return malformed(tables, epoch, &head);
    }
    match (job.packet.protocol, job.packet.part()) {
        (TCP | UDP, Part::Later) => Ok(Next::Later),
        // Of IPv6 it does not say what it is part of (RFC 8200, 4.5).
        (_, Part::Later) if head.v6.is() => Ok(Next::Later),
        (TCP | UDP, _) => {
            let Ok(ports) = parse::ports(frame, &job.packet) else {
                return malformed(tables, epoch, &head);
            };
            job.flow = flow(&job.packet, ports.word());
            Ok(Next::Choose)
        }
        (ICMP, Part::Whole) if !head.v6.is() => Ok(Next::Icmp),
        (ICMPV6, Part::Whole) if head.v6.is() => Ok(Next::Icmp),
        _ => no_service(tables, job),
    }
}

#[inline(always)]
pub(crate) fn flow(packet: &Packet, ports: u32) -> FlowKey {
    let Head { v6, source, destination, .. } = packet.head;
    FlowKey { source, destination, ports, protocol: packet.protocol, v6: v6.is() }
}

/// Whose flow it is.
#[inline(always)]
fn whose<T: Tables>(tables: &T, epoch: u64, flow: &FlowKey) -> Result<Option<ServiceId>, Verdict> {
    classify::service(tables, Book::Services, epoch, &key(flow))
}

/// What its service is found by.
#[inline(always)]
pub(crate) fn key(flow: &FlowKey) -> VipKey {
    let &FlowKey { destination: address, ports, protocol, .. } = flow;
    VipKey { address, port: ports as u16, protocol }
}

/// Chooses the node of a flow that is for a service.
#[inline(never)]
fn choose<F: Frame, T: Tables>(frame: &F, tables: &T, job: &mut Job) -> Next {
    let next = chosen(frame, tables, job);
    job.then(next)
}

#[inline(always)]
fn chosen<F: Frame, T: Tables>(frame: &F, tables: &T, job: &mut Job) -> Result<Next, Verdict> {
    let Some(service) = whose(tables, job.epoch, &job.flow)? else {
        return match job.to.what() {
            What::Flow => no_service(tables, job),
            _ => Err(icmp::BAD),
        };
    };
    sane(frame, tables, job.epoch, &job.packet.head)?;
    let head = &*tables.head(job.epoch).ok_or(Verdict::BAD_TABLE)?;
    let directory = &tables.service(job.epoch, service).ok_or(Verdict::BAD_TABLE)?.table;
    job.to.hash = select::hash(head, directory, &job.flow);
    let slots = select::slots(tables, job.epoch, directory, job.to.hash)?;
    job.service = service;
    if !slots.are_clean() && !select::rehashed(directory, &job.flow) {
        return Ok(Next::Moved);
    }
    let node = slots.own.somebody()?.node().ok_or(Verdict::BAD_TABLE)?;
    (job.to.node, job.to.port) = (node, slots.port);
    if job.packet.part() == Part::First {
        fragment::remember(tables, job.epoch, &job.packet, Whom::Node(node))?;
    }
    Ok(Next::Forward)
}

/// To others.
pub(crate) const NOT_OURS: Verdict = Verdict::pass(Reason::PassNotOurs);

const MARTIAN: Verdict = Verdict::drop(Reason::DropMartian);

/// What there must be of any packet for a service: it is to this host alone, and from somebody who
/// may be answered.
#[inline(always)]
pub(crate) fn sane<F: Frame, T: Tables>(
    frame: &F,
    tables: &T,
    epoch: u64,
    head: &Head,
) -> Result<(), Verdict> {
    let generation = &*tables.head(epoch).ok_or(Verdict::BAD_TABLE)?;
    is_to_us(frame, generation, head)?;
    // From a service's address, its own included: we would be answering ourselves.
    if classify::has(generation, Book::Services, head.source)
        && classify::is_vip(tables, epoch, head.source)?
    {
        return Err(MARTIAN);
    }
    Ok(())
}

/// What can be said of that without asking whose address the source is.
#[inline(always)]
pub(crate) fn is_to_us<F: Frame>(
    frame: &F,
    generation: &GenerationHead,
    head: &Head,
) -> Result<(), Verdict> {
    if head.is_mapped() {
        return Err(reply::STRANGER);
    }
    // Somebody else's, seen because a switch floods it.
    if head.to.is_group() || !generation.plan.takes(frame.ingress(), head.to.bytes()) {
        return Err(NOT_OURS);
    }
    if martian(head) { Err(MARTIAN) } else { Ok(()) }
}

/// Addresses that no packet comes from: this network, loopback, multicast, reserved, broadcast
/// (RFC 1122, 3.2.1.3; RFC 1112, 4); of IPv6 the unspecified, loopback and multicast ones (RFC 4291,
/// 2.5 and 2.7).
#[inline(always)]
const fn martian(head: &Head) -> bool {
    let s = head.source;
    if head.v6.is() {
        s[0] >> 24 == 0xff || s[0] == 0 && s[1] == 0 && s[2] == 0 && s[3] <= 1
    } else {
        let first = s[3] >> 24;
        first == 0 || first == 127 || first >= 224
    }
}

/// A later fragment goes where the first one went.
#[inline(never)]
fn later<F: Frame, T: Tables>(frame: &F, tables: &T, job: &mut Job) -> Next {
    let next = followed(frame, tables, job);
    job.then(next)
}

#[inline(always)]
fn followed<F: Frame, T: Tables>(frame: &F, tables: &T, job: &mut Job) -> Result<Next, Verdict> {
    if !classify::is_vip(tables, job.epoch, job.packet.head.destination)? {
        return no_service(tables, job);
    }
    sane(frame, tables, job.epoch, &job.packet.head)?;
    match fragment::find(tables, job.epoch, &job.packet)? {
        (Some(Whom::Node(node)), hash) => {
            (job.to.node, job.to.hash) = (node, hash);
            job.to.set(What::Later);
            Ok(Next::Forward)
        }
        (Some(Whom::Host), _) => Err(Verdict::pass(Reason::PassNoService)),
        _ => Err(Verdict::drop(Reason::DropFragment)),
    }
}

/// What is for no service: the host's, if it is to a service's address or its own.
#[inline(always)]
pub(crate) fn no_service<T: Tables>(tables: &T, job: &Job) -> Result<Next, Verdict> {
    match classify::address(tables, job.epoch, job.packet.head.destination)? {
        Address::Vip { .. } if job.packet.head.is_mapped() => Err(reply::STRANGER),
        Address::Vip { .. } => {
            if job.packet.part() == Part::First {
                fragment::remember(tables, job.epoch, &job.packet, Whom::Host)?;
            }
            Err(Verdict::pass(Reason::PassNoService))
        }
        Address::Own => Err(Verdict::pass(Reason::PassNotVip)),
        Address::Foreign => stranger(&*tables.head(job.epoch).ok_or(Verdict::BAD_TABLE)?),
    }
}

/// What is not to a service's address may be a reply, if there are nodes that reply through us.
#[inline(always)]
pub(crate) const fn stranger(generation: &GenerationHead) -> Result<Next, Verdict> {
    if generation.plan.flags & PlanRecord::NAT == 0 {
        Err(reply::STRANGER)
    } else {
        Ok(Next::Stranger)
    }
}

/// Only what is known to be for a service is dropped; the host judges the rest.
#[inline(always)]
fn malformed<T: Tables>(tables: &T, epoch: u64, head: &Head) -> Result<Next, Verdict> {
    if head.is_mapped() {
        return Err(reply::STRANGER);
    }
    Err(match classify::is_vip(tables, epoch, head.destination)? {
        true => Verdict::drop(Reason::DropMalformed),
        false => Verdict::pass(Reason::PassMalformed),
    })
}

/// What the stages before forwarding find out about a packet of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The epoch in force.
    pub epoch: u64,
    /// Whose packet it is.
    pub service: ServiceId,
    /// What its slots' hash is of.
    pub flow: FlowKey,
    /// The node, or why there is none.
    pub choice: Result<select::Choice, Verdict>,
}

/// All stages but the last, for a packet of a flow: whose it is, and who gets it. `explain` asks this
/// very code.
///
/// # Errors
/// The verdict of a packet that is for no service.
pub fn find<F: Frame, T: Tables>(frame: &F, tables: &T) -> Result<Found, Verdict> {
    const MALFORMED: Verdict = Verdict::pass(Reason::PassMalformed);
    let epoch = tables.epoch().ok_or(Verdict::BAD_TABLE)?;
    let mut packet = Packet::with(parse::head(frame)?);
    parse::packet(frame, &mut packet).map_err(|_| MALFORMED)?;
    let ports = parse::ports(frame, &packet).map_err(|_| MALFORMED)?;
    let flow = flow(&packet, ports.word());
    match whose(tables, epoch, &flow)? {
        Some(service) => {
            sane(frame, tables, epoch, &packet.head)?;
            let directory = tables.service(epoch, service).ok_or(Verdict::BAD_TABLE)?.table;
            let kind = moved::kind(frame, &packet, &directory);
            let choice = select::of_flow(tables, epoch, service, &flow, kind);
            Ok(Found { epoch, service, flow: select::affine(&directory, flow), choice })
        }
        None if packet.head.is_mapped() => Err(reply::STRANGER),
        None if classify::is_vip(tables, epoch, packet.head.destination)? => {
            Err(Verdict::pass(Reason::PassNoService))
        }
        None => Err(reply::STRANGER),
    }
}
