//! Tunnels: another IP header in front of the packet, which stays as it is. IP in IP (RFC 2003,
//! RFC 2473, RFC 4213) and Generic UDP Encapsulation, variant 0 (draft-ietf-intarea-gue-09).

use lb_common::{FlowHash, Forward, Framed, Ipv6Words, NodeRecord, Reason};
use network_types::{
    eth::EthHdr,
    ip::{Ipv4Hdr, Ipv6Hdr},
    udp::UdpHdr,
};

use crate::{
    Frame, Tables, Verdict,
    checksum::Sum,
    forward::{self, To, What},
    link,
    parse::{IPV4, IPV6, Packet, Part, TCP, UDP},
    stages::Job,
};

/// Bytes of a GUE header without options.
const GUE_LEN: usize = 4;
/// Time to live of tunnel packets (IANA's recommended default).
const TTL: u8 = 64;
/// "Don't fragment" (RFC 791, 3.1).
const DONT_FRAGMENT: u16 = 0x4000;
/// Source ports of tunnel packets are dynamic ones (RFC 6335, 6).
const DYNAMIC_PORTS: u16 = 0xc000;

/// Bytes that a way of forwarding adds to a packet.
#[inline(always)]
pub(crate) fn overhead(way: Forward, record: &NodeRecord) -> u16 {
    let ip = if record.v6 != 0 { Ipv6Hdr::LEN } else { Ipv4Hdr::LEN };
    match way {
        Forward::L2 | Forward::Nat => 0,
        Forward::Ipip => ip as u16,
        Forward::Gue => (ip + UdpHdr::LEN + GUE_LEN) as u16,
    }
}

/// Puts the packet into a tunnel to its node.
#[inline(never)]
pub(crate) fn wrap<F: Frame, T: Tables>(frame: &mut F, tables: &T, job: &Job) -> Verdict {
    let Some(record) = tables.node(job.epoch, job.to.node) else { return Verdict::BAD_TABLE };
    let Some(way) = Forward::from_raw(record.forward) else { return Verdict::BAD_TABLE };
    let fits = !job.verdict.is_for(Reason::PassTooBig);
    match put(frame, &job.packet, &job.to, &record, way, fits) {
        Ok(()) => job.verdict,
        Err(verdict) => verdict,
    }
}

/// Puts a packet into a tunnel: in a frame to the node, or, if it does not fit the way there, in one
/// to this host, which may fragment it.
#[inline(always)]
pub(crate) fn put<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    to: &To,
    record: &NodeRecord,
    way: Forward,
    fits: bool,
) -> Result<(), Verdict> {
    let (gue, v6) = (way == Forward::Gue, record.v6 != 0);
    let sum = match gue && v6 {
        true => inner_sum(frame, packet, to).ok_or(Verdict::drop(Reason::DropMalformed))?,
        false => Sum::default(),
    };
    let room = usize::from(overhead(way, record));
    let l3 = if fits {
        link::write(frame, &packet.head, room, v6, record)?;
        link::length(record)
    } else {
        link::keep(frame, &packet.head, room, v6, false)?;
        usize::from(packet.head.l3)
    };
    let inner = if packet.head.v6.is() { IPV6 } else { IPV4 };
    let (protocol, length) = (if gue { UDP } else { inner }, packet.length + room as u16);
    let (l4, written) = if v6 {
        let header = ipv6(packet.tos, label(to.hash), length, protocol, record);
        (l3 + Ipv6Hdr::LEN, frame.write(l3, header))
    } else {
        // Nodes put fragments together by the tunnel's ends, in which all clients are alike.
        let id = if fits { 0 } else { packet.id as u16 ^ to.hash.folded() };
        let flags = if fits { DONT_FRAGMENT } else { 0 };
        let header = ipv4(packet.tos, [length, id, flags], protocol, record);
        (l3 + Ipv4Hdr::LEN, frame.write(l3, header))
    };
    written.ok_or(Verdict::BAD_TABLE)?;
    if gue {
        let udp = length - (l4 - l3) as u16;
        let sum = if v6 { Some(sum) } else { None };
        let header = header(to.hash, udp, inner, sum, record);
        frame.write(l4, header).ok_or(Verdict::BAD_TABLE)?;
    }
    Ok(())
}

/// Puts a packet that has no tags into a tunnel to a node whose frames have none. `None`, and nothing
/// done, if it does not fit the way, or its sum is asked for.
///
/// # Errors
/// There is no room in front of it.
#[inline(always)]
pub(crate) fn plain<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    hash: FlowHash,
    record: &NodeRecord,
    gue: bool,
) -> Option<Result<(), Verdict>> {
    let v6 = record.v6 != 0;
    let way = if gue { Forward::Gue } else { Forward::Ipip };
    let room = overhead(way, record);
    let length = forward::fitting(packet, record, room)?;
    let inner = if packet.head.v6.is() { IPV6 } else { IPV4 };
    let protocol = if gue { UDP } else { inner };
    if gue && v6 {
        return None;
    }
    let udp = header(hash, length.wrapping_sub(Ipv4Hdr::LEN as u16), inner, None, record);
    if frame.move_start(-i32::from(room)).is_none() {
        return Some(Err(link::NO_ROOM));
    }
    let (macs, kind) = (record.macs(), link::kind(v6));
    let written = if v6 {
        let header = ipv6(packet.tos, label(hash), length, protocol, record);
        frame.write(0, Framed { macs, kind, header })
    } else {
        let header = ipv4(packet.tos, [length, 0, DONT_FRAGMENT], protocol, record);
        frame.write(0, Framed { macs, kind, header })
    };
    let at = EthHdr::LEN + Ipv4Hdr::LEN;
    let written = if gue { written.and_then(|()| frame.write(at, udp)) } else { written };
    Some(written.ok_or(link::NO_ROOM))
}

#[inline(always)]
fn ipv4(tos: u8, [length, id, flags]: [u16; 3], protocol: u8, record: &NodeRecord) -> Ipv4Hdr {
    let first = 0x4500 | u16::from(tos);
    let life = u16::from_be_bytes([TTL, protocol]);
    let sum = Sum::from(record.checksum_seed).add(first).add(length).add(id).add(flags).add(life);
    let [.., s0, s1, s2, s3] = record.source;
    let [.., d0, d1, d2, d3] = record.address;
    Ipv4Hdr {
        vihl: 0x45,
        tos,
        tot_len: length.to_be_bytes(),
        id: id.to_be_bytes(),
        frags: flags.to_be_bytes(),
        ttl: TTL,
        proto: protocol,
        check: sum.checksum().to_be_bytes(),
        src_addr: [s0, s1, s2, s3],
        dst_addr: [d0, d1, d2, d3],
    }
}

#[inline(always)]
fn ipv6(tos: u8, label: u32, length: u16, protocol: u8, record: &NodeRecord) -> Ipv6Words {
    let first = 0x6000_0000 | u32::from(tos) << 20 | label;
    Ipv6Words {
        first: first.to_be(),
        length: (length - Ipv6Hdr::LEN as u16).to_be(),
        next: [protocol, TTL],
        source: words(record.source),
        destination: words(record.address),
    }
}

/// 16 bytes as two words.
#[inline(always)]
const fn words(a: [u8; 16]) -> [u64; 2] {
    [
        u64::from_ne_bytes([a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]]),
        u64::from_ne_bytes([a[8], a[9], a[10], a[11], a[12], a[13], a[14], a[15]]),
    ]
}

/// Spreads the packets of a tunnel over paths (RFC 6438).
#[inline(always)]
const fn label(hash: FlowHash) -> u32 {
    (hash.0 >> 32) as u32 & 0x000f_ffff
}

/// UDP and GUE, as 16-bit words of a frame. Over IPv4 UDP needs no checksum; over IPv6 it has one, of
/// which `sum` is the inner packet's part.
#[inline(always)]
fn header(
    hash: FlowHash,
    length: u16,
    inner: u8,
    sum: Option<Sum>,
    record: &NodeRecord,
) -> [u16; (UdpHdr::LEN + GUE_LEN) / 2] {
    let ports = [DYNAMIC_PORTS | (hash.0 >> 32) as u16, u16::from_be_bytes(record.port_be)];
    // Variant 0, a data message, no optional fields, and the protocol of what follows; no flags.
    let gue = [u16::from(inner), 0];
    let checksum = match sum {
        None => 0,
        Some(sum) => {
            // The pseudo header of RFC 8200, 8.1, with the addresses from the seed; then UDP, GUE.
            let all = sum
                .plus(Sum::from(record.checksum_seed))
                .add(length)
                .add(u16::from(UDP))
                .add(ports[0])
                .add(ports[1])
                .add(length)
                .add(u16::from(inner));
            // Zero would say that there is none.
            if all.checksum() == 0 { 0xffff } else { all.checksum() }
        }
    };
    [ports[0], ports[1], length, checksum, gue[0], gue[1]].map(u16::to_be)
}

/// The sum of the inner packet. What has a checksum of its own sums up to that checksum's
/// complement, so nobody needs to read it (as the kernel's local checksum offload does,
/// Documentation/networking/checksum-offloads.rst); the rest is read. If the inner checksum is
/// wrong, so is the outer one.
#[inline(always)]
fn inner_sum<F: Frame>(frame: &F, packet: &Packet, to: &To) -> Option<Sum> {
    let head = &packet.head;
    let sealed = match (to.what(), packet.protocol) {
        _ if packet.part() != Part::Whole => false,
        (What::Flow, TCP) => true,
        (What::Flow, UDP) => {
            // A datagram may end before its packet does: its checksum does not cover the rest.
            let [length, check]: [[u8; 2]; 2] = frame.read(usize::from(packet.l4) + 4)?;
            check != [0; 2] && usize::from(u16::from_be_bytes(length)) == packet.l4_length()
        }
        _ => false,
    };
    let l3 = usize::from(head.l3);
    let plain = usize::from(packet.l4) == l3 + Ipv6Hdr::LEN;
    if !sealed || head.v6.is() && !plain {
        return frame.sum(l3, usize::from(packet.length)).map(Sum::from);
    }
    // Behind the IP header: the complement of the pseudo header's sum.
    let l4 = packet.l4_length() as u16;
    let pseudo = Sum::default()
        .address(head.source, head.v6.is())
        .address(head.destination, head.v6.is())
        .add(u16::from(packet.protocol))
        .add(l4);
    if !head.v6.is() {
        // The header's own checksum makes it nothing.
        return Some(pseudo.negated());
    }
    // The addresses stand in both, so what is left is the rest of the header.
    let [first, second]: [[u8; 4]; 2] = frame.read(l3)?;
    let rest = Sum::default().add32(u32::from_be_bytes(first)).add32(u32::from_be_bytes(second));
    let both = Sum::default().add(u16::from(packet.protocol)).add(l4);
    Some(rest.plus(both.negated()))
}
