//! ICMP to a service's address: errors about a flow go to the flow's node, echo requests are
//! answered, the rest is the host's.

use lb_common::{FlowKey, Reason};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::{
    Frame, Tables, Verdict, answer,
    classify::{self, Address},
    forward::What,
    parse::{self, Behind, Packet, Part, Ports, TCP, UDP},
    stages::{self, Job, Next},
};

/// Bytes of an ICMP header, and so the offset of what an error quotes (RFC 792, RFC 4443).
pub(crate) const ICMP_LEN: usize = 8;
/// Bytes of the quoted packet behind its IP headers that there are at least (RFC 792).
const QUOTED: usize = 8;

/// An error that quotes nothing of ours.
pub(crate) const BAD: Verdict = Verdict::drop(Reason::DropIcmp);

/// Where the packet is that an ICMP error quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Quote {
    /// Offset of its IP header.
    pub l3: u16,
    /// Offset of its transport header.
    pub l4: u16,
    /// Its protocol, TCP or UDP.
    pub protocol: u8,
}

/// Whom the packet is from and to that an ICMP error quotes.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(crate) struct Inner {
    pub(crate) source: [u32; 4],
    pub(crate) destination: [u32; 4],
    pub(crate) quote: Quote,
    pub(crate) ports: Ports,
}

impl Inner {
    /// Nothing yet.
    pub(crate) const NONE: Self = Self {
        source: [1; 4],
        destination: [1; 4],
        quote: Quote { l3: 1, l4: 1, protocol: 1 },
        ports: Ports { source: 1, destination: 1 },
    };
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
    Some(match (packet.head.v6.is(), kind) {
        // Unreachable, too big, time exceeded, parameter problem.
        (true, 1..=4) | (false, 3 | 11 | 12) => Kind::Error,
        (true, 128) | (false, 8) => Kind::Echo,
        _ => Kind::Other,
    })
}

/// A whole ICMP packet to what may be a service's address.
#[inline(never)]
pub(crate) fn to_vip<F: Frame, T: Tables>(frame: &mut F, tables: &T, job: &mut Job) -> Next {
    let next = sorted(frame, tables, job);
    job.to.forget::<F>(job.epoch);
    job.then(next)
}

#[inline(always)]
fn sorted<F: Frame, T: Tables>(frame: &mut F, tables: &T, job: &mut Job) -> Result<Next, Verdict> {
    const MALFORMED: Verdict = Verdict::drop(Reason::DropMalformed);
    let head = &job.packet.head;
    let Address::Vip { alive } = classify::address(tables, job.epoch, head.destination)? else {
        return stages::no_service(tables, job);
    };
    stages::sane(frame, tables, job.epoch, head)?;
    match kind(frame, &job.packet).ok_or(MALFORMED)? {
        Kind::Error => about_a_flow(frame, job),
        Kind::Echo if alive => Err(answer::echo(frame, &job.packet).ok_or(MALFORMED)?),
        Kind::Echo => Err(Verdict::drop(Reason::DropEcho)),
        Kind::Other => Err(Verdict::pass(Reason::PassNoService)),
    }
}

/// An error goes to the node of the flow that it is about: the quoted packet went from the service to
/// its client, so the flow is the other way round.
#[inline(always)]
fn about_a_flow<F: Frame>(frame: &F, job: &mut Job) -> Result<Next, Verdict> {
    let head = &job.packet.head;
    // Errors go to whom the quoted packet is from (RFC 792, RFC 4443).
    if !quoted(frame, &job.packet, &mut job.inner) || job.inner.source != head.destination {
        return Err(BAD);
    }
    let Inner { source: vip, destination: client, quote, ports } = job.inner;
    job.flow = FlowKey {
        source: client,
        destination: vip,
        ports: u32::from(ports.destination) << 16 | u32::from(ports.source),
        protocol: quote.protocol,
        v6: head.v6.is(),
    };
    job.to.set(What::Error(quote));
    Ok(Next::Choose)
}

/// What an error quotes, if that is a TCP or UDP packet with its ports that can have been ours.
#[inline(never)]
pub(crate) fn quoted<F: Frame>(frame: &F, packet: &Packet, inner: &mut Inner) -> bool {
    read(frame, packet, inner).is_some()
}

#[inline(always)]
fn read<F: Frame>(frame: &F, packet: &Packet, inner: &mut Inner) -> Option<()> {
    let l3 = usize::from(packet.l4) + ICMP_LEN;
    let mut behind = Behind::NONE;
    if packet.head.v6.is() {
        let ip: Ipv6Hdr = frame.read(l3)?;
        if ip.version() != 6 {
            return None;
        }
        behind.protocol = ip.next_hdr;
        behind.l4 = (l3 + Ipv6Hdr::LEN) as u16;
        parse::extensions(frame, &mut behind).ok()?;
        inner.source = parse::words(ip.src_addr);
        inner.destination = parse::words(ip.dst_addr);
        if parse::is_mapped(inner.source) || parse::is_mapped(inner.destination) {
            return None;
        }
    } else {
        let ip: Ipv4Hdr = frame.read(l3)?;
        let header = usize::from(ip.ihl());
        if ip.version() != 4 || header < Ipv4Hdr::LEN {
            return None;
        }
        inner.source = parse::mapped(ip.src_addr);
        inner.destination = parse::mapped(ip.dst_addr);
        behind.part = parse::ipv4_part(u16::from_be_bytes(ip.frags));
        behind.protocol = ip.proto;
        behind.l4 = (l3 + header) as u16;
    }
    let (l4, protocol) = (usize::from(behind.l4), behind.protocol);
    if l4 + QUOTED > packet.end()
        || behind.part == Part::Later
        || protocol != TCP && protocol != UDP
    {
        return None;
    }
    let [from, to]: [[u8; 2]; 2] = frame.read(l4)?;
    inner.ports = Ports { source: u16::from_be_bytes(from), destination: u16::from_be_bytes(to) };
    inner.quote = Quote { l3: l3 as u16, l4: behind.l4, protocol };
    Some(())
}
