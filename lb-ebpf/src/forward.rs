//! How a packet gets to its node: what its cluster's way of forwarding does to it, and the frame's
//! new link header. `l2` does no more than that: the node has the VIP and answers the client.

use lb_common::{FlowHash, Forward, NodeId, NodeRecord, PlanRecord, Reason};

use crate::{
    Frame, Tables, Verdict, answer,
    icmp::Quote,
    link, nat,
    parse::{self, Packet, Part},
    tunnel::{self, overhead},
};

/// The smallest MTU of IPv6: nobody sends less because of an answer (RFC 8200, 5).
const IPV6_LEAST: u16 = 1280;

/// Whom a packet goes to.
#[derive(Clone, Copy, Debug)]
pub struct To {
    /// The epoch in force.
    pub epoch: u64,
    /// The node.
    pub node: NodeId,
    /// How.
    pub load: Load,
}

/// What matters of a packet to the way it is forwarded.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The port that `nat` gives it; 0: the node's own.
    pub port: u16,
    /// What spreads tunnel packets over the underlay.
    pub hash: FlowHash,
    /// What is forwarded.
    pub what: What,
}

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

/// Sends the frame on its way.
#[inline(never)]
pub fn forward<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    packet: &Packet,
    to: &To,
) -> Verdict {
    match forwarded(frame, tables, packet, to) {
        Ok(verdict) | Err(verdict) => verdict,
    }
}

#[inline(always)]
fn forwarded<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    packet: &Packet,
    to: &To,
) -> Result<Verdict, Verdict> {
    let record = &*tables.node(to.epoch, to.node).ok_or(Verdict::BAD_TABLE)?;
    let way = Forward::from_raw(record.forward).ok_or(Verdict::BAD_TABLE)?;
    if record.ifindex == 0 {
        return Err(Verdict::drop(Reason::DropUnresolved));
    }
    match way {
        // Sent by another load balancer already, and flooded by a switch: it would go round.
        Forward::L2 if frame.read(0) == Some(record.dst_mac) => {
            return Err(Verdict::pass(Reason::PassNotOurs));
        }
        Forward::Nat if record.v6 != u8::from(packet.head.v6) => {
            return Err(Verdict::drop(Reason::DropVersion));
        }
        _ => {}
    }
    let most = most(record, way);
    let fits = packet.length <= most;
    if !fits {
        by_host(frame, tables, packet, to, record, most)?;
    }
    carry(frame, packet, &to.load, record, fits)
}

/// Sends a frame that this host made itself to a node, as one that came in.
///
/// # Errors
/// The verdict of what cannot be sent.
pub fn deliver<F: Frame>(
    frame: &mut F,
    record: &NodeRecord,
    hash: FlowHash,
) -> Result<Verdict, Verdict> {
    let head = parse::head(frame)?;
    let malformed = Verdict::pass(Reason::PassMalformed);
    let packet = parse::packet(frame, head).map_err(|_| malformed)?;
    let way = Forward::from_raw(record.forward).ok_or(Verdict::BAD_TABLE)?;
    if record.ifindex == 0 {
        return Err(Verdict::drop(Reason::DropUnresolved));
    }
    if packet.length > most(record, way) {
        return Err(Verdict::drop(Reason::DropTooBig));
    }
    carry(frame, &packet, &Load { port: 0, hash, what: What::Flow }, record, true)
}

/// Bytes of the largest IP packet that fits the way to a node.
#[inline(always)]
pub fn most(record: &NodeRecord, way: Forward) -> u16 {
    if record.mtu == 0 { u16::MAX } else { record.mtu.saturating_sub(overhead(way, record)) }
}

/// Makes of the frame what goes to the node, or, if it does not fit the way there, what goes to the
/// host to be fragmented.
#[inline(always)]
fn carry<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    load: &Load,
    record: &NodeRecord,
    fits: bool,
) -> Result<Verdict, Verdict> {
    let head = &packet.head;
    match Forward::from_raw(record.forward).ok_or(Verdict::BAD_TABLE)? {
        Forward::L2 => link::write(frame, head, 0, head.v6, record)?,
        Forward::Nat => {
            nat::to_node(frame, packet, load, record).ok_or(Verdict::BAD_TABLE)?;
            if fits {
                link::write(frame, head, 0, head.v6, record)?;
            }
        }
        way => tunnel::wrap(frame, packet, load, record, way, fits)?,
    }
    Ok(if fits { sent(frame, record, load) } else { Verdict::pass(Reason::PassTooBig) })
}

#[inline(always)]
fn sent<F: Frame>(frame: &F, record: &NodeRecord, load: &Load) -> Verdict {
    let reason = match load.what {
        What::Flow if record.ifindex == frame.ingress() => Reason::ForwardTx,
        What::Flow => Reason::ForwardRedirect,
        What::Later => Reason::ForwardFragment,
        What::Error(_) => Reason::ForwardIcmp,
    };
    Verdict::out_of(reason, record.ifindex, frame.ingress())
}

/// What is too big for the way to the node: goes on if the host may fragment it, else ends here.
#[inline(always)]
fn by_host<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    packet: &Packet,
    to: &To,
    record: &NodeRecord,
    most: u16,
) -> Result<(), Verdict> {
    const TOO_BIG: Verdict = Verdict::drop(Reason::DropTooBig);
    // No errors about errors, nor about later fragments of IPv4 (RFC 1122, 3.2.2).
    let unanswered = match to.load.what {
        What::Flow => packet.head.v6 && packet.length <= IPV6_LEAST,
        What::Later => !packet.head.v6 || packet.length <= IPV6_LEAST,
        What::Error(_) => true,
    };
    if packet.dont_fragment {
        return Err(if unanswered {
            TOO_BIG
        } else {
            answer::too_big(frame, tables, packet, most)
        });
    }
    let able = match Forward::from_raw(record.forward) {
        // The VIP is the host's own address: it would not send it on.
        None | Some(Forward::L2) => false,
        Some(Forward::Nat) => true,
        // Routers do not fragment IPv6.
        Some(Forward::Ipip | Forward::Gue) => record.v6 == 0 && packet.part != Part::Later,
    };
    let flags = tables.plan_flags(to.epoch).ok_or(Verdict::BAD_TABLE)?;
    if able && flags & PlanRecord::HOST_FRAGMENTS != 0 { Ok(()) } else { Err(TOO_BIG) }
}
