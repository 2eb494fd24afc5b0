//! Packets of our own, back to where a packet came from: echo replies, and word that a packet was
//! too big.

use lb_common::Reason;
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::{
    Frame, Tables, Verdict,
    checksum::Sum,
    icmp::ICMP_LEN,
    link,
    parse::{self, ICMP, ICMPV6, Packet},
    stages::Job,
};

/// Answers of a CPU within a second that tell of packets that were too big.
pub(crate) const MOST_ANSWERS: u64 = 1000;
const SECOND: u64 = 1_000_000_000;
/// Time to live of what we send (IANA's recommended default).
const TTL: u8 = 64;
/// Bytes of an ICMP error over IPv4 at most (RFC 1812, 4.3.2.3).
const MOST_IPV4: usize = 576;
/// Bytes of an ICMPv6 error at most (RFC 4443, 2.4).
const MOST_IPV6: usize = 1280;

/// Turns an echo request into its reply, in place.
#[inline(always)]
pub(crate) fn echo<F: Frame>(frame: &mut F, packet: &Packet) -> Option<Verdict> {
    let (l3, l4) = (usize::from(packet.head.l3), usize::from(packet.l4));
    let [was, code]: [u8; 2] = frame.read(l4)?;
    let kind = if packet.head.v6.is() { 129 } else { 0 };
    let check = u16::from_be_bytes(frame.read(l4 + 2)?);
    let check = match Sum::change(u16::from(was) << 8, u16::from(kind) << 8).update(check) {
        // Where all that it covers is zero this alone is right; elsewhere it is as right as zero.
        0 => 0xffff,
        check => check,
    };
    frame.write(l4, [kind, code])?;
    frame.write(l4 + 2, check.to_be_bytes())?;
    if packet.head.v6.is() {
        frame.write(l3 + 8, parse::bytes(packet.head.destination))?;
        frame.write(l3 + 24, parse::bytes(packet.head.source))?;
        let [next, _]: [u8; 2] = frame.read(l3 + 6)?;
        frame.write(l3 + 6, [next, TTL])?;
    } else {
        frame.write(l3 + 12, packet.head.destination[3].to_be_bytes())?;
        frame.write(l3 + 16, packet.head.source[3].to_be_bytes())?;
        let check = u16::from_be_bytes(frame.read(l3 + 10)?);
        let change = Sum::change(u16::from(packet.ttl) << 8, u16::from(TTL) << 8);
        frame.write(l3 + 10, change.update(check).to_be_bytes())?;
        frame.write(l3 + 8, [TTL, packet.protocol])?;
    }
    link::swap(frame)?;
    Some(Verdict::tx(Reason::AnswerEcho))
}

/// Tells the sender of a packet how many bytes get where it was to go: "fragmentation needed"
/// (RFC 1191, 4) or "packet too big" (RFC 4443, 3.2), from the packet's destination.
#[inline(never)]
pub(crate) fn too_big<F: Frame, T: Tables>(frame: &mut F, tables: &T, job: &Job) -> Verdict {
    let (packet, most) = (&job.packet, job.most);
    if !allowed(tables) {
        return Verdict::drop(Reason::DropTooBigSilent);
    }
    let written =
        if packet.head.v6.is() { ipv6(frame, packet, most) } else { ipv4(frame, packet, most) };
    match written {
        Ok(()) => Verdict::tx(Reason::AnswerTooBig),
        Err(verdict) => verdict,
    }
}

/// Whether one more answer may be sent within this second.
#[inline(always)]
fn allowed<T: Tables>(tables: &T) -> bool {
    let second = tables.now() / SECOND;
    let Some(limit) = tables.limit() else { return false };
    let sent = if limit.second == second { limit.sent } else { 0 };
    tables.set_limit(second, sent + 1);
    sent < MOST_ANSWERS
}

#[inline(always)]
fn ipv4<F: Frame>(frame: &mut F, packet: &Packet, most: u16) -> Result<(), Verdict> {
    const ROOM: usize = Ipv4Hdr::LEN + ICMP_LEN;
    let quoted = usize::from(packet.length).min(MOST_IPV4 - ROOM);
    let l3 = make_room(frame, packet, ROOM, quoted)?;
    let length = (ROOM + quoted) as u16;
    let (from, to) = (packet.head.destination[3], packet.head.source[3]);
    let life = u16::from_be_bytes([TTL, ICMP]);
    let sum = Sum::default().add(0x4500).add(length).add(life).add32(from).add32(to);
    let header = Ipv4Hdr {
        vihl: 0x45,
        tos: 0,
        tot_len: length.to_be_bytes(),
        id: [0; 2],
        frags: [0; 2],
        ttl: TTL,
        proto: ICMP,
        check: sum.checksum().to_be_bytes(),
        src_addr: from.to_be_bytes(),
        dst_addr: to.to_be_bytes(),
    };
    const BAD: Verdict = Verdict::drop(Reason::DropNoRoom);
    frame.write(l3, header).ok_or(BAD)?;
    let quote = frame.sum(l3 + ROOM, quoted).ok_or(BAD)?;
    // Type 3, code 4; the MTU is the last 16 bits.
    let sum = Sum::from(quote).add(0x0304).add(most).checksum().to_be_bytes();
    let mtu = most.to_be_bytes();
    let icmp = [3, 4, sum[0], sum[1], 0, 0, mtu[0], mtu[1]];
    frame.write(l3 + Ipv4Hdr::LEN, icmp).ok_or(BAD)
}

#[inline(always)]
fn ipv6<F: Frame>(frame: &mut F, packet: &Packet, most: u16) -> Result<(), Verdict> {
    const ROOM: usize = Ipv6Hdr::LEN + ICMP_LEN;
    let quoted = usize::from(packet.length).min(MOST_IPV6 - ROOM);
    let l3 = make_room(frame, packet, ROOM, quoted)?;
    let length = (ICMP_LEN + quoted) as u16;
    let (from, to) = (packet.head.destination, packet.head.source);
    let header = Ipv6Hdr {
        vcf: [0x60, 0, 0, 0],
        payload_len: length.to_be_bytes(),
        next_hdr: ICMPV6,
        hop_limit: TTL,
        src_addr: parse::bytes(from),
        dst_addr: parse::bytes(to),
    };
    const BAD: Verdict = Verdict::drop(Reason::DropNoRoom);
    frame.write(l3, header).ok_or(BAD)?;
    let quote = frame.sum(l3 + ROOM, quoted).ok_or(BAD)?;
    // Type 2, code 0; the MTU is 32 bits. The pseudo header of RFC 8200, 8.1 counts too.
    let pseudo = Sum::default().address(from, true).address(to, true).add(length);
    let sum = pseudo.add(u16::from(ICMPV6)).plus(Sum::from(quote)).add(0x0200).add(most);
    let (sum, mtu) = (sum.checksum().to_be_bytes(), most.to_be_bytes());
    let icmp = [2, 0, sum[0], sum[1], 0, 0, mtu[0], mtu[1]];
    frame.write(l3 + Ipv6Hdr::LEN, icmp).ok_or(BAD)
}

/// Room for two headers in front of a packet that is cut to what is quoted, in a frame back to where
/// it came from. Returns where they begin.
#[inline(always)]
fn make_room<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    room: usize,
    quoted: usize,
) -> Result<usize, Verdict> {
    let l3 = usize::from(packet.head.l3);
    link::keep(frame, &packet.head, room, packet.head.v6.is(), true)?;
    frame.cut(l3 + room + quoted).ok_or(Verdict::drop(Reason::DropNoRoom))?;
    Ok(l3)
}
