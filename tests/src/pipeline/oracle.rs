//! What holds for any frame whatever is in it, as far as bytes alone can tell: a judge beside the
//! cases, who knows the tables' contents and the formats, but none of the stages.

use std::net::IpAddr;

use lb_common::{Forward, Reason};
use lb_ebpf::Action;

use super::{
    frames::LB_MAC,
    packets::{DONT_FRAGMENT, Link, checksum, protocol, pseudo_header},
    places::{DEAD, FAMILIES, OTHER, SERVED, TUNNEL},
    runners::Outcome,
    to::{GUE_PORT, To},
    world::World,
};

/// An IP packet in a frame.
pub(super) struct Seen<'a> {
    pub(super) link: Link,
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
    pub(super) v6: bool,
    /// From the IP header to the frame's end, padding included.
    pub(super) bytes: &'a [u8],
    /// Bytes of it that are the packet.
    pub(super) length: usize,
}

/// What an IP packet carries.
pub(super) struct Carried<'a> {
    pub(super) protocol: u8,
    /// It is one of several fragments.
    is_fragment: bool,
    /// Not the first one.
    pub(super) is_later: bool,
    /// As far as it is there.
    pub(super) body: &'a [u8],
}

/// Judges what became of a frame.
///
/// # Errors
/// What does not hold.
pub fn judge(world: World, frame: &[u8], outcome: &Outcome) -> Result<(), String> {
    use Reason::*;
    let counted = outcome.counters.iter().filter(|(_, n)| *n > 0);
    let mut counted = counted.filter(|(reason, _)| !reason.is_beside());
    let (Some((reason, 1)), None) = (counted.next(), counted.next()) else {
        return Err(format!("counted as {:?}", outcome.counters));
    };
    let name = reason.name();
    let action = match name.split('_').next() {
        Some("pass") => vec![Action::Pass],
        Some("drop") => vec![Action::Drop],
        Some("answer") => vec![Action::Tx],
        Some("forward") => vec![Action::Tx, Action::Redirect],
        _ if reason == ReplyToHost => vec![Action::Pass],
        _ => vec![Action::Tx, Action::Redirect],
    };
    must(action.contains(&outcome.action), "what is counted is not what is done")?;
    if see(frame).is_some_and(|seen| [seen.from, seen.to].iter().any(is_mapped)) {
        must(reason == PassNotVip, "it is no address of IPv6, but it matters")?;
    }
    let is_here = !world.knows_its_macs() || frame[..6] == LB_MAC;
    match reason {
        PassNotIp | PassMalformed | PassNotVip | PassNoService | DropMalformed => {}
        PassNotOurs if world.knows_its_macs() => must(!is_here, "it is ours, but left alone")?,
        PassNotOurs => {}
        _ => must(is_here, "another's, but not left alone")?,
    }
    match reason {
        PassNotIp | PassMalformed | PassNotVip | PassNoService | PassNotOurs | PassExpired => {
            must(outcome.frame == frame, "a frame for the host is another one")
        }
        DropNoRoom => Ok(()),
        _ => {
            let seen = see(frame).ok_or("an IP packet must have been seen")?;
            match reason {
                ReplySent | ReplyToHost => reply(&seen, outcome),
                AnswerEcho | AnswerTooBig => answer(&seen, outcome, reason),
                PassTooBig => {
                    must(is_vip(seen.to), "it is to no VIP")?;
                    to_host(&seen, outcome)
                }
                ForwardTx | ForwardRedirect | ForwardIcmp | ForwardFragment => {
                    must(is_vip(seen.to) && !is_vip(seen.from), "sent, but not to a VIP")?;
                    must(!is_group(frame), "sent, but it was to a group")?;
                    forwarded(&seen, outcome, reason)
                }
                _ => {
                    must(is_vip(seen.to), "dropped, but it is to no VIP")?;
                    must(outcome.frame == frame, "dropped, but changed")
                }
            }
        }
    }
}

pub(super) fn must(holds: bool, else_say: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(else_say.to_owned()) }
}

/// Where the packet in a frame ends by what its IP header says.
pub(super) fn packet_end(frame: &[u8]) -> Option<usize> {
    let seen = see(frame)?;
    Some(frame.len() - seen.bytes.len() + seen.length)
}

fn is_vip(address: IpAddr) -> bool {
    FAMILIES.iter().any(|&f| [SERVED, OTHER, DEAD].iter().any(|place| place.of(f) == address))
}

fn is_nat_node(address: IpAddr) -> bool {
    To::ALL.iter().any(|to| to.forward() == Forward::Nat && to.address() == address)
}

fn is_mapped(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}

fn is_group(frame: &[u8]) -> bool {
    frame[0] & 1 != 0
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(super) fn see(frame: &[u8]) -> Option<Seen<'_>> {
    let (mut at, mut tags) = (12, Vec::new());
    while let Some(kind @ (0x8100 | 0x88a8)) = word(frame, at)
        && tags.len() < 2
    {
        tags.push((kind, word(frame, at + 2)?));
        at += 4;
    }
    let v6 = match word(frame, at)? {
        0x0800 => false,
        0x86dd => true,
        _ => return None,
    };
    let link = Link { to: frame[..6].try_into().ok()?, from: frame[6..12].try_into().ok()?, tags };
    Seen::of(link, &frame[at + 2..], v6)
}

impl<'a> Seen<'a> {
    /// The packet of a version that is in these bytes.
    pub(super) fn of(link: Link, bytes: &'a [u8], v6: bool) -> Option<Self> {
        let address4 = |at: usize| -> Option<IpAddr> {
            Some(IpAddr::from(<[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?))
        };
        let address6 = |at: usize| -> Option<IpAddr> {
            Some(IpAddr::from(<[u8; 16]>::try_from(bytes.get(at..at + 16)?).ok()?))
        };
        let (from, to, length) = match v6 {
            false => (address4(12)?, address4(16)?, usize::from(word(bytes, 2)?)),
            true => (address6(8)?, address6(24)?, usize::from(word(bytes, 4)?) + 40),
        };
        Some(Self { link, from, to, v6, bytes, length })
    }

    /// What is behind its header and its extension headers.
    pub(super) fn carried(&self) -> Option<Carried<'a>> {
        let packet = &self.bytes[..self.bytes.len().min(self.length)];
        if !self.v6 {
            let (field, protocol) = (word(packet, 6)?, *packet.get(9)?);
            let body = packet.get(usize::from(packet[0] & 15) * 4..)?;
            let (is_fragment, is_later) = (field & 0x3fff != 0, field & 0x1fff != 0);
            return Some(Carried { protocol, is_fragment, is_later, body });
        }
        let (mut protocol, mut at) = (*packet.get(6)?, 40);
        let (mut is_fragment, mut is_later) = (false, false);
        while matches!(protocol, 0 | protocol::ROUTING | protocol::FRAGMENT | 60) {
            let mut words = usize::from(*packet.get(at + 1)?);
            if protocol == protocol::FRAGMENT {
                let field = word(packet, at + 2)?;
                words = 0;
                is_fragment |= field & 0xfff9 != 0;
                is_later |= field & 0xfff8 != 0;
            }
            protocol = packet[at];
            at += 8 * (words + 1);
        }
        Some(Carried { protocol, is_fragment, is_later, body: packet.get(at..)? })
    }
}

/// Whether a packet's checksums are right: of its IPv4 header, and of TCP, UDP or ICMP where all of
/// it is there.
fn right(seen: &Seen<'_>) -> (bool, Option<bool>) {
    let Some(packet) = seen.bytes.get(..seen.length) else { return (true, None) };
    let header = if seen.v6 { 40 } else { usize::from(packet[0] & 15) * 4 };
    let Some(ip) = packet.get(..header) else { return (true, None) };
    let header_right = seen.v6 || checksum(&[ip]) == [0; 2];
    (header_right, transport(seen))
}

fn transport(seen: &Seen<'_>) -> Option<bool> {
    let Carried { protocol: kind, is_fragment, mut body, .. } = seen.carried()?;
    if is_fragment {
        return None;
    }
    let pseudo = match kind {
        protocol::ICMP if !seen.v6 => Vec::new(),
        protocol::UDP => {
            if word(body, 6)? == 0 {
                return (!seen.v6).then_some(true);
            }
            body = body.get(..usize::from(word(body, 4)?))?;
            pseudo_header(seen.from, seen.to, kind, body.len())
        }
        protocol::TCP => pseudo_header(seen.from, seen.to, kind, body.len()),
        protocol::ICMPV6 if seen.v6 => pseudo_header(seen.from, seen.to, kind, body.len()),
        _ => return None,
    };
    Some(checksum(&[&pseudo, body]) == [0; 2])
}

fn forwarded(seen: &Seen<'_>, outcome: &Outcome, reason: Reason) -> Result<(), String> {
    let out = see(&outcome.frame).ok_or("what is sent is no IP packet")?;
    let to = To::ALL.iter().find(|to| to.link() == out.link);
    let &to = to.ok_or("the link header is no node's")?;
    must((outcome.action == Action::Redirect) == to.is_elsewhere(), "the wrong interface")?;
    let most = usize::from(to.mtu());
    must(most == 0 || out.length <= most, "too big for the way to the node")?;
    match to.forward() {
        Forward::L2 => must(out.bytes == seen.bytes, "more than the link header is another one"),
        Forward::Nat => rewritten(seen, &out, reason == Reason::ForwardIcmp, End::Destination(to)),
        Forward::Ipip | Forward::Gue => wrapped(seen, &out, to, true),
    }
}

/// What is given to the host to be fragmented: in its old link header.
fn to_host(seen: &Seen<'_>, outcome: &Outcome) -> Result<(), String> {
    let out = see(&outcome.frame).ok_or("what is passed is no IP packet")?;
    must(out.link == seen.link, "the link header changed")?;
    let to = To::ALL.iter().find(|to| to.address() == out.to).ok_or("to no node")?;
    match to.forward() {
        Forward::Nat => rewritten(seen, &out, true, End::Destination(*to)),
        _ => wrapped(seen, &out, *to, false),
    }
}

/// The packet in a tunnel: as it was, and everything in front of it right.
fn wrapped(seen: &Seen<'_>, out: &Seen<'_>, to: To, fits: bool) -> Result<(), String> {
    let gue = to.forward() == Forward::Gue;
    let ip = if out.v6 { 40 } else { 20 };
    let room = ip + if gue { 12 } else { 0 };
    let family = if out.v6 { super::places::Family::V6 } else { super::places::Family::V4 };
    must(family == to.family(), "the tunnel's family")?;
    must(out.bytes.get(room..) == Some(seen.bytes), "the packet in the tunnel is another one")?;
    must(out.length == seen.length + room, "the tunnel packet's length")?;
    must((out.from, out.to) == (TUNNEL.of(family), to.address()), "the tunnel's addresses")?;
    let inner = if seen.v6 { protocol::IPV6 } else { protocol::IPV4 };
    let kind = if gue { protocol::UDP } else { inner };
    let tos = |seen: &Seen<'_>| match seen.v6 {
        true => seen.bytes[0] << 4 | seen.bytes[1] >> 4,
        false => seen.bytes[1],
    };
    must(tos(out) == tos(seen), "the type of service")?;
    let life = if out.v6 { [out.bytes[7], out.bytes[6]] } else { [out.bytes[8], out.bytes[9]] };
    must(life == [64, kind], "the time to live, or the protocol")?;
    let (header, transport) = right(out);
    must(header, "the tunnel's IP checksum")?;
    if !out.v6 {
        must(out.bytes[0] == 0x45, "an IP header with options")?;
        let fragment = if fits { DONT_FRAGMENT } else { 0 };
        must(word(out.bytes, 6) == Some(fragment), "\"don't fragment\"")?;
    }
    if gue {
        let udp = &out.bytes[ip..];
        must(word(udp, 0).is_some_and(|port| port >= 0xc000), "the source port")?;
        must(word(udp, 2) == Some(GUE_PORT), "the port")?;
        must(word(udp, 4).map(usize::from) == Some(out.length - ip), "the UDP length")?;
        must(udp[8..12] == [0, inner, 0, 0], "the GUE header")?;
        must(out.v6 != (word(udp, 6) == Some(0)), "a checksum over IPv6, and none over IPv4")?;
        // The tunnel's is made from the packet's own.
        let (header_right, transport_right) = right(seen);
        let all_right = header_right && transport_right != Some(false);
        must(!all_right || transport == Some(true), "the tunnel's UDP checksum")?;
    }
    Ok(())
}

/// Which end is a rewritten packet's.
enum End {
    Source,
    Destination(To),
}

/// Another address at one end. What was right is right, and what was wrong is wrong.
fn rewritten(seen: &Seen<'_>, out: &Seen<'_>, quotes: bool, end: End) -> Result<(), String> {
    must(out.bytes.len() == seen.bytes.len() && out.length == seen.length, "the length changed")?;
    match end {
        End::Source => {
            must(out.to == seen.to, "the destination changed")?;
            must(is_vip(out.from) || out.from == seen.from, "the source is no VIP")?;
        }
        End::Destination(to) => {
            must((out.from, out.to) == (seen.from, to.address()), "the addresses")?;
        }
    }
    must(right(seen) == right(out), "what was right is wrong, or the other way round")?;
    // All but addresses, ports and checksums is as it was.
    let changed = seen.bytes.iter().zip(out.bytes).filter(|(a, b)| a != b).count();
    must(quotes || changed <= 16 + 2 + 2 + 2 + 1, "too much changed")
}

fn reply(seen: &Seen<'_>, outcome: &Outcome) -> Result<(), String> {
    let out = see(&outcome.frame).ok_or("a reply is no IP packet")?;
    must(!is_vip(seen.to), "a reply to a VIP")?;
    if outcome.action == Action::Pass {
        must(out.link == seen.link, "the link header changed")?;
    }
    rewritten(seen, &out, true, End::Source)
}

fn answer(seen: &Seen<'_>, outcome: &Outcome, reason: Reason) -> Result<(), String> {
    let out = see(&outcome.frame).ok_or("an answer is no IP packet")?;
    must((out.from, out.to) == (seen.to, seen.from), "not back to where it came from")?;
    let reply = reason == Reason::AnswerTooBig && is_nat_node(out.to);
    must(reply || is_vip(out.from), "neither from a VIP nor to a node")?;
    must(!is_vip(out.to), "to a VIP")?;
    let link = Link { to: seen.link.from, from: seen.link.to, tags: seen.link.tags.clone() };
    must(out.link == link, "the link header")?;
    if reason == Reason::AnswerEcho {
        must(out.bytes.len() == seen.bytes.len(), "the length changed")?;
        return must(right(seen) == right(&out), "the checksums");
    }
    must(out.length == out.bytes.len(), "an answer is padded")?;
    must(right(&out) == (true, Some(true)), "the checksums")?;
    let room = if out.v6 { 48 } else { 28 };
    must(out.length <= if out.v6 { 1280 } else { 576 }, "too long")?;
    let quoted = &out.bytes[room..];
    must(seen.bytes.starts_with(quoted) && quoted.len() <= seen.length, "it quotes another packet")
}
