//! The short way: a packet with nothing special about it goes through all stages in one function, in
//! which registers and a few words of the stack hold what is known of it.
//!
//! It decides nothing of its own. It asks what the stages ask, by the same functions, of fewer kinds of
//! packets; whatever is special, and so each verdict that only the special ones get, is left to the
//! stages, which begin anew, by the same plan. The frame and the pins are as they were then.

use lb_common::{FlowHash, Forward, NodeRecord, PlanRecord};

use crate::{
    Frame, Mac, Tables, Verdict,
    classify::{self, Book},
    forward::{self, To},
    link, moved, nat,
    parse::{self, Packet},
    reply, select, stages, tunnel,
};

/// One packet, from its first byte to its verdict.
#[inline(always)]
pub fn process<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Verdict {
    let mut verdict = Verdict::BAD_TABLE;
    let Some(epoch) = tables.epoch() else { return verdict };
    if short(frame, tables, epoch, &mut verdict).is_none() {
        verdict = stages::in_plan(frame, tables, epoch);
    }
    verdict
}

/// Decides about what is for nobody, and about plain packets; `None`: it is neither.
#[inline(always)]
fn short<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    epoch: u64,
    verdict: &mut Verdict,
) -> Option<()> {
    let kind = parse::kind(frame)?;
    if kind == parse::Kind::Ipv4 {
        return plain(frame, tables, epoch, false, verdict);
    }
    if kind == parse::Kind::Ipv6 {
        return plain(frame, tables, epoch, true, verdict);
    }
    if kind == parse::Kind::Tagged {
        return None;
    }
    *verdict = parse::NOT_IP;
    Some(())
}

/// A packet without tags, IP options, extensions and fragments.
#[inline(always)]
fn plain<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    epoch: u64,
    v6: bool,
    verdict: &mut Verdict,
) -> Option<()> {
    let generation = &*tables.head(epoch)?;
    let head = parse::untagged(frame, v6)?;
    if !classify::has(generation, Book::Services, head.destination) {
        let replies = generation.plan.flags & PlanRecord::NAT != 0;
        if !replies || reply::is_stranger(frame, generation, &head)? {
            *verdict = reply::STRANGER;
            return Some(());
        }
        let mut sent = Verdict::BAD_TABLE;
        if !reply::plain(frame, tables, epoch, v6, &mut sent) {
            return None;
        }
        *verdict = sent;
        return Some(());
    }
    let (packet, ports) = parse::plain(frame, head)?;
    let flow = stages::flow(&packet, ports);
    let vip = &*classify::on_port(tables, Book::Services, epoch, &stages::key(&flow))?;
    // Of a service's address, or one that shares its bit; or not to us.
    if classify::has(generation, Book::Services, head.source)
        || stages::is_to_us(frame, generation, &head).is_err()
    {
        return None;
    }
    let hash = select::hash(generation, &vip.table(), &flow);
    let slots = select::slots(tables, epoch, &vip.table(), hash).ok()?;
    let (mut to, mut port, mut moved) = (slots.own, slots.port, None);
    if !slots.are_clean() && !select::rehashed(&vip.table(), &flow) {
        let plain = moved::Plain::of(frame, tables, &packet, &vip.table(), &slots)?;
        (to, port) = (plain.to, select::port(tables, epoch, plain.to).ok()?);
        moved = Some(plain);
    }
    let record = &*tables.node(epoch, to.node()?)?;
    if moved.is_some_and(|moved| !moved.may_go_to(record)) {
        return None;
    }
    *verdict = send(frame, record, &packet, hash, port)?;
    if let Some(moved) = moved {
        moved.went(tables);
    }
    Some(())
}

/// Sends it, if it fits and the way is plain, too.
#[inline(always)]
fn send<F: Frame>(
    frame: &mut F,
    record: &NodeRecord,
    packet: &Packet,
    hash: FlowHash,
    port: u16,
) -> Option<Verdict> {
    let head = &packet.head;
    if record.ifindex == 0 || record.tags != [0; 2] {
        return None;
    }
    let sent = match Forward::from_raw(record.forward)? {
        Forward::Ipip => tunnel::plain(frame, packet, hash, record, false)?,
        Forward::Gue => tunnel::plain(frame, packet, hash, record, true)?,
        Forward::L2 => {
            forward::fitting(packet, record, 0)?;
            if head.to == Mac::new(record.dst_mac) {
                return None;
            }
            frame.write(0, record.macs()).ok_or(link::NO_ROOM)
        }
        Forward::Nat => {
            forward::fitting(packet, record, 0)?;
            if record.v6 != u8::from(head.v6.is()) {
                return None;
            }
            let mut to = To::NOBODY;
            to.port = port;
            nat::plain(frame, record, packet, &to)
        }
    };
    Some(match sent {
        Ok(()) => forward::sent(frame, record, &To::NOBODY),
        Err(verdict) => verdict,
    })
}
