//! Other addresses and ports in a packet, its checksums updated (RFC 1624); in an ICMP error also in
//! the packet that it quotes, so that it fits what its receiver sent (RFC 5508, 4).

use lb_common::{NodeRecord, Reason};

use crate::{
    Frame, Tables, Verdict,
    checksum::Sum,
    forward::{To, What},
    icmp::Quote,
    link,
    parse::{self, ICMPV6, Packet, Part, TCP, UDP},
    stages::Job,
};

/// Which end of a packet's way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Source,
    Destination,
}

/// An address and a port to be written.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct Place {
    /// Four words in host order, IPv4 as `::ffff:a.b.c.d`.
    pub(crate) address: [u32; 4],
    /// 0: as it is.
    pub(crate) port: u16,
}

/// The headers of a packet, of ours or of a quoted one.
#[repr(C, align(8))]
struct Layers {
    v6: bool,
    l3: usize,
    l4: usize,
    protocol: u8,
    /// It has the beginning of the transport header.
    ports: bool,
    /// Where its bytes end.
    end: usize,
}

/// The destination becomes the node, in a frame to it, or, if it does not fit the way there, in one to
/// this host, which may fragment it.
#[inline(never)]
pub(crate) fn to_node<F: Frame, T: Tables>(frame: &mut F, tables: &T, job: &Job) -> Verdict {
    let Some(record) = tables.node(job.epoch, job.to.node) else { return Verdict::BAD_TABLE };
    let Job { packet, to, verdict, .. } = job;
    if redirected(frame, packet, to, place(&record, to)).is_none() {
        return Verdict::BAD_TABLE;
    }
    if verdict.is_for(Reason::PassTooBig) {
        return *verdict;
    }
    match link::write(frame, &packet.head, 0, packet.head.v6.is(), &record) {
        Ok(()) => *verdict,
        Err(verdict) => verdict,
    }
}

/// As [`to_node`], of a packet without tags that fits the way there.
///
/// # Errors
/// The verdict of what cannot be sent.
#[inline(always)]
pub(crate) fn plain<F: Frame>(
    frame: &mut F,
    record: &NodeRecord,
    packet: &Packet,
    to: &To,
) -> Result<(), Verdict> {
    rewrite(frame, packet, End::Destination, place(record, to)).ok_or(Verdict::BAD_TABLE)?;
    frame.write(0, record.macs()).ok_or(link::NO_ROOM)
}

/// The node, as what a packet's destination becomes.
#[inline(always)]
fn place(record: &NodeRecord, to: &To) -> Place {
    let port = if to.port != 0 { to.port } else { u16::from_be_bytes(record.port_be) };
    Place { address: parse::words(record.address), port }
}

/// `None` if the frame is shorter than when it was parsed: that cannot be.
#[inline(always)]
fn redirected<F: Frame>(frame: &mut F, packet: &Packet, to: &To, place: Place) -> Option<()> {
    rewrite(frame, packet, End::Destination, place)?;
    match to.what() {
        What::Flow | What::Later => Some(()),
        // The quoted packet is one that the node sent.
        What::Error(quote) => {
            quoted(frame, packet, &quote, End::Source, packet.head.destination, place)
        }
    }
}

/// Rewrites one end of a packet.
#[inline(always)]
pub(crate) fn rewrite<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    end: End,
    place: Place,
) -> Option<()> {
    let head = &packet.head;
    let layers = Layers {
        v6: head.v6.is(),
        l3: usize::from(head.l3),
        l4: usize::from(packet.l4),
        protocol: packet.protocol,
        ports: packet.part() != Part::Later,
        end: packet.end(),
    };
    let was = if end == End::Source { head.source } else { head.destination };
    rewritten(frame, &layers, end, was, place).map(|_| ())
}

/// Rewrites one end, which was so far another one, of the packet that an ICMP error quotes, and
/// updates the error's own checksum.
#[inline(always)]
pub(crate) fn quoted<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    quote: &Quote,
    end: End,
    was: [u32; 4],
    place: Place,
) -> Option<()> {
    let layers = Layers {
        v6: packet.head.v6.is(),
        l3: usize::from(quote.l3),
        l4: usize::from(quote.l4),
        protocol: quote.protocol,
        ports: true,
        end: packet.end(),
    };
    let change = rewritten(frame, &layers, end, was, place)?;
    update(frame, usize::from(packet.l4) + 2, change).map(|_| ())
}

/// Returns by how much the sum of all the packet's bytes changed.
#[inline(always)]
fn rewritten<F: Frame>(
    frame: &mut F,
    layers: &Layers,
    end: End,
    was: [u32; 4],
    place: Place,
) -> Option<Sum> {
    let &Layers { v6, l3, l4, protocol, .. } = layers;
    let addresses =
        Sum::default().address(was, v6).negated().plus(Sum::default().address(place.address, v6));
    let mut change = addresses;
    if v6 {
        let at = l3 + if end == End::Source { 8 } else { 24 };
        frame.write(at, parse::bytes(place.address))?;
    } else {
        let at = l3 + if end == End::Source { 12 } else { 16 };
        frame.write(at, place.address[3].to_be_bytes())?;
        change = change.plus(update(frame, l3 + 10, addresses)?);
    }
    let ported = protocol == TCP || protocol == UDP;
    let mut covered = addresses;
    if layers.ports && ported && place.port != 0 {
        let at = l4 + if end == End::Source { 0 } else { 2 };
        let port = Sum::change(u16::from_be_bytes(frame.read(at)?), place.port);
        frame.write(at, place.port.to_be_bytes())?;
        (change, covered) = (change.plus(port), covered.plus(port));
    }
    let at = l4
        + match protocol {
            TCP => 16,
            UDP => 6,
            ICMPV6 => 2,
            _ => return Some(change),
        };
    // Of a quoted packet the checksum may be cut off.
    if !layers.ports || at + 2 > layers.end {
        return Some(change);
    }
    if protocol != UDP {
        return Some(change.plus(update(frame, at, covered)?));
    }
    let check = u16::from_be_bytes(frame.read(at)?);
    if check == 0 {
        return Some(change); // the sender did without (RFC 768)
    }
    let new = match covered.update(check) {
        0 => 0xffff,
        new => new,
    };
    frame.write(at, new.to_be_bytes())?;
    Some(change.plus(Sum::change(check, new)))
}

/// Updates a checksum after a change of what it covers. Returns by how much it changed itself.
#[inline(always)]
pub(crate) fn update<F: Frame>(frame: &mut F, at: usize, change: Sum) -> Option<Sum> {
    let check = u16::from_be_bytes(frame.read(at)?);
    let new = change.update(check);
    frame.write(at, new.to_be_bytes())?;
    Some(Sum::change(check, new))
}
