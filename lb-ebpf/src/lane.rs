//! The short way: a packet with nothing special about it goes through all stages in one function, in
//! which nothing but registers holds what is known of it.
//!
//! It decides nothing of its own. It asks what the stages ask, by the same functions and in the same
//! order, of fewer kinds of packets; whatever is special, and so each verdict that only the special
//! ones get, is left to the stages, which begin anew, by the same plan. The frame is as it was then.

use lb_common::{Forward, NodeRecord, Reason};

use crate::{
    Action, Frame, Tables, Verdict,
    classify::{self, Book},
    forward::{self, To},
    link, nat,
    parse::{self, Packet},
    select, stages, tunnel,
};

/// One packet, from its first byte to its verdict.
#[inline(always)]
pub fn process<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Verdict {
    let Some(epoch) = tables.epoch() else { return Verdict::BAD_TABLE };
    match short(frame, tables, epoch) {
        SPECIAL => stages::in_plan(frame, tables, epoch),
        verdict => verdict,
    }
}

/// No verdict, in the place of one: nothing is redirected to no interface. Functions return one register of
/// a type that the kernel knows, so there is none to say this beside the verdict.
const SPECIAL: Verdict =
    Verdict { reason: Reason::DropBadTable, action: Action::Redirect, ifindex: 0 };

// Functions of their own, which have their stack for themselves.

/// The verdict of what is for nobody, and of plain packets; else [`SPECIAL`].
#[inline(never)]
fn short<F: Frame, T: Tables>(frame: &mut F, tables: &T, epoch: u64) -> Verdict {
    let head = match parse::head(frame) {
        Ok(head) => head,
        Err(verdict) => return verdict,
    };
    match classify::maybe(tables, Book::Services, epoch, head.destination) {
        Ok(true) => {}
        Ok(false) => return stages::stranger(tables, epoch).err().unwrap_or(SPECIAL),
        Err(verdict) => return verdict,
    }
    if usize::from(head.l3) != parse::UNTAGGED {
        SPECIAL
    } else if head.v6.is() {
        plain_v6(frame, tables, epoch)
    } else {
        plain_v4(frame, tables, epoch)
    }
}

#[inline(never)]
fn plain_v4<F: Frame, T: Tables>(frame: &mut F, tables: &T, epoch: u64) -> Verdict {
    plain(frame, tables, epoch, false).unwrap_or(SPECIAL)
}

#[inline(never)]
fn plain_v6<F: Frame, T: Tables>(frame: &mut F, tables: &T, epoch: u64) -> Verdict {
    plain(frame, tables, epoch, true).unwrap_or(SPECIAL)
}

/// A packet without tags, IP options, extensions and fragments.
#[inline(always)]
fn plain<F: Frame, T: Tables>(frame: &mut F, tables: &T, epoch: u64, v6: bool) -> Option<Verdict> {
    let head = parse::untagged(frame, v6)?;
    let mut packet = Packet::with(head);
    parse::plain(frame, &mut packet)?;
    let ports = parse::ports(frame, &packet).ok()?;
    let flow = stages::flow(&packet, ports);
    let service = classify::on_port(tables, Book::Services, epoch, &stages::key(&flow))?;
    if let Err(verdict) = stages::is_to_us(frame, tables, epoch, &head) {
        return Some(verdict);
    }
    // Of a service's address, or one that shares its bit.
    if classify::maybe(tables, Book::Services, epoch, head.source) != Ok(false) {
        return None;
    }
    let directory = &tables.service(epoch, service)?.table;
    let hash = select::hash(tables, directory, &flow).ok()?;
    let slots = select::slots(tables, epoch, directory, hash).ok()?;
    if !slots.are_clean() && !select::rehashed(directory, &flow) {
        return None;
    }
    let node = slots.own.node()?;
    let record = &*tables.node(epoch, node)?;
    let mut to = To::NOBODY;
    (to.hash, to.node, to.port) = (hash, node, slots.port);
    send(frame, record, &packet, &to).map(|sent| sent.unwrap_or_else(|verdict| verdict))
}

/// Sends it, if it fits and the way is plain, too.
#[inline(always)]
fn send<F: Frame>(
    frame: &mut F,
    record: &NodeRecord,
    packet: &Packet,
    to: &To,
) -> Option<Result<Verdict, Verdict>> {
    let way = Forward::from_raw(record.forward)?;
    if record.ifindex == 0 || record.tags != [0; 2] || packet.length > forward::most(record, way) {
        return None;
    }
    let head = &packet.head;
    let verdict = forward::sent(frame, record, to);
    let done = match way {
        Forward::L2 if frame.read(0) == Some(record.dst_mac) => return None,
        Forward::L2 => link::write(frame, head, 0, head.v6.is(), record),
        Forward::Nat if record.v6 != u8::from(head.v6.is()) => return None,
        Forward::Nat => nat::plain(frame, record, packet, to),
        // Its checksum is summed up.
        Forward::Gue if record.v6 != 0 => return None,
        Forward::Gue => tunnel::put(frame, packet, to, record, Forward::Gue, true),
        Forward::Ipip => tunnel::put(frame, packet, to, record, Forward::Ipip, true),
    };
    Some(done.map(|()| verdict))
}
