//! How a packet gets to its node: what its cluster's way of forwarding does to it, and the frame's
//! new link header. `l2` does no more than that: the node has the VIP and answers the client.

use lb_common::{FlowHash, Forward, NodeId, NodeRecord, PlanRecord, Reason};

use crate::{
    Frame, Tables, Verdict,
    icmp::Quote,
    link,
    parse::{self, Packet, Part},
    stages::{Job, Next},
    tunnel::{self, overhead},
};

/// The smallest MTU of IPv6: nobody sends less because of an answer (RFC 8200, 5).
const IPV6_LEAST: u16 = 1280;

/// Whom a packet goes to, and how.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct To {
    /// What spreads tunnel packets over the underlay.
    pub hash: FlowHash,
    /// The node.
    pub node: NodeId,
    /// The port that `nat` gives it; 0: the node's own.
    pub port: u16,
    what: u8,
    quote: Quote,
}

impl To {
    /// Nobody yet: any node.
    pub(crate) const NOBODY: Self = Self {
        hash: FlowHash(0),
        node: match NodeId::new(0) {
            Some(node) => node,
            None => panic!("the maps have nodes"),
        },
        port: 0,
        what: FLOW,
        quote: Quote { l3: 0, l4: 0, protocol: 0 },
    };

    /// What is forwarded.
    #[inline(always)]
    pub fn what(&self) -> What {
        match self.what {
            FLOW => What::Flow,
            LATER => What::Later,
            _ => What::Error(self.quote),
        }
    }

    /// Says what is forwarded.
    #[inline(always)]
    pub(crate) fn set(&mut self, what: What) {
        self.what = match what {
            What::Flow => FLOW,
            What::Later => LATER,
            What::Error(quote) => {
                self.quote = quote;
                ERROR
            }
        };
    }

    /// As [`Packet::forget`].
    #[inline(always)]
    pub(crate) fn forget<F: Frame>(&mut self, salt: u64) {
        self.what = F::forget(u64::from(self.what), salt) as u8;
        self.quote.protocol = F::forget(u64::from(self.quote.protocol), salt) as u8;
        self.quote.l3 = F::forget(u64::from(self.quote.l3), salt) as u16;
        self.quote.l4 = F::forget(u64::from(self.quote.l4), salt) as u16;
    }
}

// A [`What`] in a byte.
const FLOW: u8 = 0;
const LATER: u8 = 1;
const ERROR: u8 = 2;

/// What is forwarded.
#[derive(Clone, Copy, Debug)]
pub enum What {
    /// A packet with ports.
    Flow,
    /// A later fragment.
    Later,
    /// An ICMP error about a packet of the flow.
    Error(Quote),
}

/// Sends the frame on its way, or says how.
#[inline(never)]
pub(crate) fn forward<F: Frame, T: Tables>(frame: &mut F, tables: &T, job: &mut Job) -> Next {
    let next = forwarded(frame, tables, job);
    job.then(next)
}

#[inline(always)]
fn forwarded<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    job: &mut Job,
) -> Result<Next, Verdict> {
    let record = &*tables.node(job.epoch, job.to.node).ok_or(Verdict::BAD_TABLE)?;
    let way = Forward::from_raw(record.forward).ok_or(Verdict::BAD_TABLE)?;
    if record.ifindex == 0 {
        return Err(Verdict::drop(Reason::DropUnresolved));
    }
    let head = &job.packet.head;
    match way {
        // Sent by another load balancer already, and flooded by a switch: it would go round.
        Forward::L2 if frame.read(0) == Some(record.dst_mac) => {
            return Err(Verdict::pass(Reason::PassNotOurs));
        }
        Forward::Nat if record.v6 != u8::from(head.v6.is()) => {
            return Err(Verdict::drop(Reason::DropVersion));
        }
        _ => {}
    }
    job.verdict = sent(frame, record, &job.to);
    let most = most(record, way);
    if job.packet.length > most {
        if job.packet.dont_fragment.is() {
            return too_big(job, most);
        }
        if !by_host(tables, job, record, way)? {
            return Err(TOO_BIG);
        }
        job.verdict = Verdict::pass(Reason::PassTooBig);
    }
    match way {
        Forward::L2 => {
            link::write(frame, head, 0, head.v6.is(), record)?;
            Ok(Next::End)
        }
        Forward::Nat => Ok(Next::Rewrite),
        Forward::Ipip | Forward::Gue => Ok(Next::Wrap),
    }
}

const TOO_BIG: Verdict = Verdict::drop(Reason::DropTooBig);

/// Sends a frame that this host made itself to a node, as one that came in. `nat` is for what comes
/// in only.
///
/// # Errors
/// The verdict of what cannot be sent.
pub fn deliver<F: Frame>(
    frame: &mut F,
    record: &NodeRecord,
    hash: FlowHash,
) -> Result<Verdict, Verdict> {
    let mut packet = Packet::with(parse::head(frame)?);
    parse::packet(frame, &mut packet).map_err(|_| Verdict::pass(Reason::PassMalformed))?;
    let way = Forward::from_raw(record.forward).ok_or(Verdict::BAD_TABLE)?;
    let to = To { hash, ..To::NOBODY };
    if record.ifindex == 0 {
        return Err(Verdict::drop(Reason::DropUnresolved));
    }
    if packet.length > most(record, way) {
        return Err(TOO_BIG);
    }
    match way {
        Forward::L2 => link::write(frame, &packet.head, 0, packet.head.v6.is(), record)?,
        Forward::Ipip | Forward::Gue => tunnel::put(frame, &packet, &to, record, way, true)?,
        Forward::Nat => return Err(Verdict::drop(Reason::DropVersion)),
    }
    Ok(sent(frame, record, &to))
}

/// Bytes of the largest IP packet that fits the way to a node.
#[inline(always)]
pub fn most(record: &NodeRecord, way: Forward) -> u16 {
    mtu(record).saturating_sub(overhead(way, record))
}

/// Bytes of the largest IP packet of the way to a node; where that is unknown, of any.
#[inline(always)]
const fn mtu(record: &NodeRecord) -> u16 {
    if record.mtu == 0 { u16::MAX } else { record.mtu }
}

/// Bytes of the IP packet that one becomes in which `room` is added, if that is known to fit the way to
/// its node.
#[inline(always)]
pub(crate) fn fitting(packet: &Packet, record: &NodeRecord, room: u16) -> Option<u16> {
    let length = u32::from(packet.length) + u32::from(room);
    if length > u32::from(mtu(record)) { None } else { Some(length as u16) }
}

/// The verdict of a packet that is sent to its node.
#[inline(always)]
pub(crate) fn sent<F: Frame>(frame: &F, record: &NodeRecord, to: &To) -> Verdict {
    let reason = match to.what() {
        What::Flow if record.ifindex == frame.ingress() => Reason::ForwardTx,
        What::Flow => Reason::ForwardRedirect,
        What::Later => Reason::ForwardFragment,
        What::Error(_) => Reason::ForwardIcmp,
    };
    Verdict::out_of(reason, record.ifindex, frame.ingress())
}

/// The sender of a packet of which only so many bytes fit its way is told so: but not if that is an
/// error itself, nor by IPv4 if it is a later fragment (RFC 1122, 3.2.2), nor if it could not send less.
///
/// # Errors
/// It is dropped then.
#[inline(always)]
pub(crate) fn too_big(job: &mut Job, most: u16) -> Result<Next, Verdict> {
    let v6 = job.packet.head.v6.is();
    let able = !v6 || job.packet.length > IPV6_LEAST;
    let told = match job.to.what() {
        What::Flow => able,
        What::Later => v6 && able,
        What::Error(_) => false,
    };
    job.most = most;
    if told { Ok(Next::TooBig) } else { Err(TOO_BIG) }
}

/// Whether this host fragments what is too big for the way to the node, once it is ready for it.
#[inline(always)]
fn by_host<T: Tables>(
    tables: &T,
    job: &Job,
    record: &NodeRecord,
    way: Forward,
) -> Result<bool, Verdict> {
    let able = match way {
        // The VIP is the host's own address: it would not send it on.
        Forward::L2 => false,
        Forward::Nat => true,
        // Routers do not fragment IPv6. Several fragments of a datagram would be fragmented in tunnel
        // packets of one identification, and put together wrongly.
        Forward::Ipip | Forward::Gue => record.v6 == 0 && job.packet.part() != Part::Later,
    };
    let flags = tables.head(job.epoch).ok_or(Verdict::BAD_TABLE)?.plan.flags;
    Ok(able && flags & PlanRecord::HOST_FRAGMENTS != 0)
}
