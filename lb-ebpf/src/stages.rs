//! The order of the stages, and every exit of a packet that is not sent to a node.

use lb_common::{FlowKey, Reason, ServiceId};

use crate::{
    Frame, Tables, Verdict,
    classify::{self, Address, Book},
    forward::{self, Load, To, What},
    fragment::{self, Whom},
    icmp,
    parse::{self, Head, ICMP, ICMPV6, Packet, Part, Ports, TCP, UDP},
    reply, select,
};

/// One packet, from its first byte to its verdict.
#[inline(always)]
pub fn process<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Verdict {
    match stages(frame, tables) {
        Ok(verdict) | Err(verdict) => verdict,
    }
}

#[inline(always)]
fn stages<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Result<Verdict, Verdict> {
    let head = parse::head(frame)?;
    let epoch = tables.epoch().ok_or(Verdict::BAD_TABLE)?;
    if !classify::maybe(tables, Book::Services, epoch, head.destination)? {
        return reply::stranger(frame, tables, epoch, &head);
    }
    let Ok(packet) = parse::packet(frame, head) else {
        return malformed(tables, epoch, &head);
    };
    let to = match (packet.protocol, packet.part) {
        (TCP | UDP, Part::Later) => later(tables, epoch, &packet)?,
        (TCP | UDP, _) => transport(frame, tables, epoch, &packet)?,
        (ICMP, Part::Whole) if !head.v6 => icmp::to_vip(frame, tables, epoch, &packet)?,
        (ICMPV6, Part::Whole) if head.v6 => icmp::to_vip(frame, tables, epoch, &packet)?,
        _ => no_service(tables, epoch, &packet)?,
    };
    match to {
        Some(to) => Ok(forward::forward(frame, tables, &packet, &to)),
        None => reply::stranger(frame, tables, epoch, &head),
    }
}

/// Whom a packet with ports goes to; `None`: it is not to a service's address.
#[inline(always)]
fn transport<F: Frame, T: Tables>(
    frame: &F,
    tables: &T,
    epoch: u64,
    packet: &Packet,
) -> Result<Option<To>, Verdict> {
    let Ok(ports) = parse::ports(frame, packet) else {
        return malformed(tables, epoch, &packet.head).map(|_| None);
    };
    let Some((_, _, choice)) = choose(tables, epoch, packet, ports)? else {
        return no_service(tables, epoch, packet);
    };
    let select::Choice { node, port, hash, .. } = choice?;
    if packet.part == Part::First {
        fragment::remember(tables, packet, Whom::Node(node))?;
    }
    Ok(Some(To { epoch, node, load: Load { port, hash, what: What::Flow } }))
}

type Chosen = (ServiceId, FlowKey, Result<select::Choice, Verdict>);

/// Whose packet it is, and who gets it; `None`: no service's.
#[inline(always)]
fn choose<T: Tables>(
    tables: &T,
    epoch: u64,
    packet: &Packet,
    ports: Ports,
) -> Result<Option<Chosen>, Verdict> {
    let key = packet.key(ports.destination);
    let Some(service) = classify::service(tables, Book::Services, epoch, &key)? else {
        return Ok(None);
    };
    sane(tables, epoch, &packet.head)?;
    let Head { v6, source, destination, .. } = packet.head;
    let both = u32::from(ports.source) << 16 | u32::from(ports.destination);
    let flow = parse::flow(v6, source, destination, both, packet.protocol);
    let (flow, choice) = select::of_service(tables, epoch, service, flow)?;
    Ok(Some((service, flow, choice)))
}

/// What there must be of any packet for a service: it is to this host alone, and from somebody who
/// may be answered.
#[inline(always)]
pub(crate) fn sane<T: Tables>(tables: &T, epoch: u64, head: &Head) -> Result<(), Verdict> {
    const MARTIAN: Verdict = Verdict::drop(Reason::DropMartian);
    if head.group {
        return Err(Verdict::pass(Reason::PassNotOurs));
    }
    if martian(head) {
        return Err(MARTIAN);
    }
    // From a service's address, its own included: we would be answering ourselves.
    if classify::maybe(tables, Book::Services, epoch, head.source)?
        && classify::is_vip(tables, epoch, head.source)?
    {
        return Err(MARTIAN);
    }
    Ok(())
}

/// Addresses that no packet comes from: this network, loopback, multicast, reserved, broadcast
/// (RFC 1122, 3.2.1.3; RFC 1112, 4); of IPv6 the unspecified, loopback, mapped and multicast ones
/// (RFC 4291, 2.5 and 2.7).
#[inline(always)]
const fn martian(head: &Head) -> bool {
    let s = head.source;
    if head.v6 {
        s[0] >> 24 == 0xff || s[0] == 0 && s[1] == 0 && (s[2] == 0 && s[3] <= 1 || s[2] == 0xffff)
    } else {
        let first = s[3] >> 24;
        first == 0 || first == 127 || first >= 224
    }
}

/// Whom a later fragment goes to: the first one's node.
#[inline(never)]
fn later<T: Tables>(tables: &T, epoch: u64, packet: &Packet) -> Result<Option<To>, Verdict> {
    if !classify::is_vip(tables, epoch, packet.head.destination)? {
        return no_service(tables, epoch, packet);
    }
    sane(tables, epoch, &packet.head)?;
    match fragment::find(tables, packet)? {
        (Some(Whom::Node(node)), hash) => {
            Ok(Some(To { epoch, node, load: Load { port: 0, hash, what: What::Later } }))
        }
        (Some(Whom::Host), _) => Err(Verdict::pass(Reason::PassNoService)),
        _ => Err(Verdict::drop(Reason::DropFragment)),
    }
}

/// What is for no service: the host's, if it is to a service's address or its own; else, `None`, it
/// may be a reply.
#[inline(always)]
pub(crate) fn no_service<T: Tables>(
    tables: &T,
    epoch: u64,
    packet: &Packet,
) -> Result<Option<To>, Verdict> {
    match classify::address(tables, epoch, packet.head.destination)? {
        Address::Vip { .. } => {
            if packet.part == Part::First {
                fragment::remember(tables, packet, Whom::Host)?;
            }
            Err(Verdict::pass(Reason::PassNoService))
        }
        Address::Own => Err(Verdict::pass(Reason::PassNotVip)),
        Address::Foreign => Ok(None),
    }
}

/// Only what is known to be for a service is dropped; the host judges the rest.
#[inline(always)]
fn malformed<T: Tables>(tables: &T, epoch: u64, head: &Head) -> Result<Verdict, Verdict> {
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
    /// What was hashed.
    pub flow: FlowKey,
    /// The node, or why there is none.
    pub choice: Result<select::Choice, Verdict>,
}

/// All stages but the last, for a flow's first packet: whose it is, and who gets it. `explain` asks
/// this very code.
///
/// # Errors
/// The verdict of a packet that is for no service.
pub fn find<F: Frame, T: Tables>(frame: &F, tables: &T) -> Result<Found, Verdict> {
    const MALFORMED: Verdict = Verdict::pass(Reason::PassMalformed);
    let head = parse::head(frame)?;
    let epoch = tables.epoch().ok_or(Verdict::BAD_TABLE)?;
    let packet = parse::packet(frame, head).map_err(|_| MALFORMED)?;
    let ports = parse::ports(frame, &packet).map_err(|_| MALFORMED)?;
    match choose(tables, epoch, &packet, ports)? {
        Some((service, flow, choice)) => Ok(Found { epoch, service, flow, choice }),
        None if classify::is_vip(tables, epoch, head.destination)? => {
            Err(Verdict::pass(Reason::PassNoService))
        }
        None => Err(Verdict::pass(Reason::PassNotVip)),
    }
}
