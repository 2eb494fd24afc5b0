//! Slots that moved: who gets which packet, and what becomes of its connection's pin, rule by rule
//! (ARCHITECTURE, "Connections").

use lb_common::{HashKey, PinState, Reason, Udp};

use super::{
    Case,
    row::{
        DATA, FIN, LOOKED, MADE, NEW, OLD, PINNED, Packet, REFUSED, RST, Row, SYN, Standing, own,
        row,
    },
    suits,
};
use crate::pipeline::{places::FAMILIES, scene::Moved, to::To};
use PinState::{Closing, Half, Live};
use Reason::{DropNoCluster, DropNoNode};

pub(super) fn cases(key: &HashKey) -> Vec<Case> {
    let mut cases = Vec::new();
    for family in FAMILIES {
        let rows = [bases(), ports(), nobody(), pinned(), unpinned(), full()];
        // What leaves with a tag is nothing plain, so each again with a pin to whom packets go plainly.
        let plain = rows.iter().flatten().filter_map(|row| row.pinned_to(To::Ipip4));
        let rows = rows.iter().flatten().cloned().chain(plain);
        let rows = rows.filter(|row| row.to.map_or(true, |to| suits(to, family)));
        cases.extend(rows.map(|row| row.case(key, family, To::Tx, Udp::Rehash)));
    }
    cases
}

/// Clean slots, and what their bases say of old connections.
fn bases() -> Vec<Row> {
    let drain = Moved::drain(Some(NEW), Some(OLD));
    let other = || own(PINNED, PINNED, Live, 0);
    vec![
        // The steady state: nobody looks for a pin.
        row("clean", Moved::clean(NEW), DATA, Ok(NEW), &[]).pins([other()]).leaves([other()]),
        row("clean", Moved::clean(NEW), SYN, Ok(NEW), &[]).pins([other()]).leaves([other()]),
        row("clean", Moved::clean(NEW), Packet::Error, Ok(NEW), &[])
            .pins([other()])
            .leaves([other()]),
        row("the service's slot drains", drain, DATA, Ok(OLD), MADE)
            .leaves([own(OLD, OLD, Live, 0)]),
        row("the cluster's slot drains", Moved::clean(NEW), DATA, Ok(OLD), MADE)
            .cluster(NEW, Moved::drain(Some(NEW), Some(OLD)))
            .leaves([own(OLD, NEW, Live, 0)]),
        row("both drain", drain, DATA, Ok(OLD), MADE)
            .cluster(NEW, Moved::drain(Some(NEW), Some(To::Small)))
            .leaves([own(OLD, OLD, Live, 0)]),
        // The old cluster's own slot moved, too: it was there before.
        row("the base's slot drains", drain, DATA, Ok(PINNED), MADE)
            .cluster(OLD, Moved::drain(Some(OLD), Some(PINNED)))
            .leaves([own(PINNED, OLD, Live, 0)]),
        row("the base's slot has settled", drain, DATA, Ok(PINNED), MADE)
            .cluster(OLD, Moved::residue(Some(PINNED)))
            .leaves([own(PINNED, OLD, Live, 0)]),
        row("the base is down", drain, DATA, Ok(NEW), MADE)
            .down(OLD)
            .leaves([own(NEW, NEW, Closing, 0)]),
        row("the base is down", drain, FIN, Ok(NEW), MADE)
            .down(OLD)
            .leaves([own(NEW, NEW, Closing, 0)]),
        row("the base is down", drain, RST, Ok(NEW), LOOKED).down(OLD),
        row("nobody is the base", Moved::drain(Some(NEW), None), DATA, Ok(NEW), MADE)
            .leaves([own(NEW, NEW, Closing, 0)]),
        row("the base's cluster had nobody", drain, DATA, Ok(NEW), MADE)
            .cluster(OLD, Moved::clean_nobody())
            .leaves([own(NEW, NEW, Closing, 0)]),
        // Only one slot of a pair moved, and its owner came back to where it had been.
        row("base and owner are one", Moved::drain(Some(NEW), Some(NEW)), DATA, Ok(NEW), LOOKED),
        row("base and owner are one", Moved::drain(Some(NEW), Some(NEW)), SYN, Ok(NEW), LOOKED),
        row("base and owner are one by two clusters", drain, DATA, Ok(NEW), LOOKED)
            .cluster(OLD, Moved::clean(NEW)),
        row("base and owner are one by two clusters", drain, SYN, Ok(NEW), LOOKED)
            .cluster(OLD, Moved::clean(NEW)),
        row("residue", Moved::residue(Some(NEW)), DATA, Ok(NEW), LOOKED),
        row("residue", Moved::residue(Some(NEW)), SYN, Ok(NEW), LOOKED),
        row("residue in the cluster", Moved::clean(NEW), DATA, Ok(OLD), LOOKED)
            .cluster(NEW, Moved::residue(Some(OLD))),
        row("error to the base", drain, Packet::Error, Ok(OLD), LOOKED),
        row("error, the base is down", drain, Packet::Error, Ok(NEW), LOOKED).down(OLD),
    ]
}

/// The port is of the pool that the node was chosen from.
fn ports() -> Vec<Row> {
    let pairs = [
        (To::NatCluster4, To::Nat4),
        (To::NatCluster6, To::Nat6),
        (To::NatPort4, To::Nat4),
        (To::NatPort6, To::Nat6),
        // Either has one.
        (To::NatPort4, To::NatCluster4),
        (To::NatPort6, To::NatCluster6),
    ];
    let rows = pairs.map(|(nat, other)| {
        let pin = own(nat, nat, Live, 0);
        // The same node without the cluster's port.
        let without = Moved::clean(nat);
        [
            row("nat to the base", Moved::drain(Some(NEW), Some(nat)), DATA, Ok(nat), MADE)
                .leaves([pin]),
            row("nat by a pin", Moved::drain(Some(NEW), Some(OLD)), DATA, Ok(nat), LOOKED)
                .pins([pin])
                .leaves([pin]),
            row("another port", Moved::drain(Some(other), Some(nat)), DATA, Ok(nat), MADE)
                .cluster(other, without)
                .leaves([pin]),
            row("another port", Moved::drain(Some(nat), Some(other)), SYN, Ok(nat), MADE)
                .cluster(other, without)
                .leaves([own(nat, nat, Half, 0)]),
            row("another port", Moved::residue(Some(other)), DATA, Ok(nat), LOOKED)
                .cluster(other, without)
                .pins([pin])
                .leaves([pin]),
        ]
    });
    rows.into_iter().flatten().collect()
}

/// Nobody may serve new connections.
fn nobody() -> Vec<Row> {
    let none = Moved::drain(None, Some(OLD));
    let in_cluster = Moved::drain(None, Some(OLD));
    let pin = |state| own(PINNED, PINNED, state, 0);
    vec![
        row("nobody", none, SYN, Err(DropNoCluster), LOOKED),
        row("nobody, pinned and closing", none, SYN, Err(DropNoCluster), LOOKED)
            .pins([pin(Closing)]),
        row("nobody, pinned to who is down", none, SYN, Err(DropNoCluster), LOOKED)
            .pins([pin(Live)])
            .down(PINNED),
        row("nobody, pinned", none, SYN, Ok(PINNED), LOOKED).pins([pin(Live)]).leaves([pin(Live)]),
        row("nobody in the cluster", Moved::clean(NEW), SYN, Err(DropNoNode), LOOKED)
            .cluster(NEW, in_cluster),
        row("nobody in the cluster", Moved::clean(NEW), DATA, Ok(OLD), MADE)
            .cluster(NEW, in_cluster)
            .leaves([own(OLD, NEW, Live, 0)]),
        row("nobody", none, DATA, Ok(OLD), MADE).leaves([own(OLD, OLD, Live, 0)]),
        row("nobody, and the base is down", none, DATA, Err(DropNoCluster), LOOKED).down(OLD),
        row("nobody, residue", Moved::residue(None), DATA, Err(DropNoCluster), LOOKED),
        row("nobody, error", none, Packet::Error, Ok(OLD), LOOKED),
        row("nobody left, error", none, Packet::Error, Err(DropNoCluster), LOOKED).down(OLD),
    ]
}

/// Connections that have a pin.
fn pinned() -> Vec<Row> {
    let drain = Moved::drain(Some(NEW), Some(OLD));
    let residue = Moved::residue(Some(NEW));
    let pin = |state, age| own(PINNED, PINNED, state, age);
    let mut rows = Vec::new();
    for service in [drain, residue, Moved::drain(Some(NEW), Some(NEW))] {
        for (packet, before, after) in [
            (SYN, Half, Half),
            (SYN, Live, Live),
            (DATA, Half, Live),
            (DATA, Live, Live),
            (DATA, Closing, Closing),
            (FIN, Half, Closing),
            (FIN, Live, Closing),
            (FIN, Closing, Closing),
            (RST, Live, Closing),
            (RST, Half, Closing),
            // SYN with anything else opens nothing.
            (Packet::Tcp(0x12), Closing, Closing),
            (Packet::Tcp(3), Live, Closing),
            (Packet::Tcp(6), Live, Closing),
        ] {
            rows.push(
                row("follows its pin", service, packet, Ok(PINNED), LOOKED)
                    .pins([pin(before, 9_000)])
                    .leaves([pin(after, 0)]),
            );
        }
    }
    rows.extend([
        // Wherever it stands.
        row("in the second bucket", drain, DATA, Ok(PINNED), LOOKED)
            .pins([(1, 3, 0, PINNED, PINNED, Half, 9_000)])
            .leaves([(1, 3, 0, PINNED, PINNED, Live, 0)]),
        // Not of this connection.
        row("another's pin", drain, DATA, Ok(OLD), MADE)
            .pins([(0, 0, 77, PINNED, PINNED, Live, 0)])
            .leaves([(0, 0, 77, PINNED, PINNED, Live, 0), (1, 0, 0, OLD, OLD, Live, 0)]),
        row("an error reads only", drain, Packet::Error, Ok(PINNED), LOOKED)
            .pins([pin(Half, 9_000)])
            .leaves([pin(Half, 1)]),
        // A new connection on the same ports.
        row("opens behind an end", drain, SYN, Ok(NEW), MADE)
            .pins([pin(Closing, 9_000)])
            .leaves([own(NEW, NEW, Half, 0)]),
        row("opens behind an end", residue, SYN, Ok(NEW), MADE)
            .pins([pin(Closing, 9_000)])
            .leaves([own(NEW, NEW, Half, 0)]),
        // Its node is down.
        row("pinned to who is down", drain, DATA, Ok(OLD), MADE)
            .pins([pin(Live, 9_000)])
            .down(PINNED)
            .leaves([own(OLD, OLD, Live, 0)]),
        row("pinned to who is down", drain, SYN, Ok(NEW), MADE)
            .pins([pin(Live, 9_000)])
            .down(PINNED)
            .leaves([own(NEW, NEW, Half, 0)]),
        row("pinned to who is down", residue, DATA, Ok(NEW), LOOKED)
            .pins([pin(Live, 9_000)])
            .down(PINNED)
            .leaves([pin(Live, 1)]),
        row("pinned to who is down", drain, Packet::Error, Ok(OLD), LOOKED)
            .pins([pin(Live, 9_000)])
            .down(PINNED)
            .leaves([pin(Live, 1)]),
    ]);
    rows
}

/// Connections that have none.
fn unpinned() -> Vec<Row> {
    let drain = Moved::drain(Some(NEW), Some(OLD));
    vec![
        row("opens", drain, SYN, Ok(NEW), MADE).leaves([own(NEW, NEW, Half, 0)]),
        row("opens with ECN", drain, Packet::Tcp(0xc2), Ok(NEW), MADE)
            .leaves([own(NEW, NEW, Half, 0)]),
        row("opens, and the base is down", drain, SYN, Ok(NEW), MADE)
            .down(OLD)
            .leaves([own(NEW, NEW, Half, 0)]),
        row("goes on", drain, DATA, Ok(OLD), MADE).leaves([own(OLD, OLD, Live, 0)]),
        row("ends", drain, FIN, Ok(OLD), MADE).leaves([own(OLD, OLD, Closing, 0)]),
        row("breaks", drain, RST, Ok(OLD), LOOKED),
        row("SYN and ACK", drain, Packet::Tcp(0x12), Ok(OLD), MADE)
            .leaves([own(OLD, OLD, Live, 0)]),
        row("SYN and FIN", drain, Packet::Tcp(3), Ok(OLD), MADE)
            .leaves([own(OLD, OLD, Closing, 0)]),
        row("SYN and RST", drain, Packet::Tcp(6), Ok(OLD), LOOKED),
        row("no flags", drain, Packet::Tcp(0), Ok(OLD), MADE).leaves([own(OLD, OLD, Live, 0)]),
    ]
}

/// Another's pins in ways of a bucket of the connection.
fn others(
    bucket: usize,
    ways: impl IntoIterator<Item = usize>,
    state: PinState,
    age: u32,
) -> Vec<Standing> {
    let other = |way| (bucket, way, 1000 + way as u64, PINNED, PINNED, state, age);
    ways.into_iter().map(other).collect()
}

/// Buckets with little room.
fn full() -> Vec<Row> {
    let drain = Moved::drain(Some(NEW), Some(OLD));
    let both = |state, age| [others(0, 0..4, state, age), others(1, 0..4, state, age)].concat();
    let stays = |name, pins: Vec<Standing>, packet, to| {
        let after: Vec<Standing> = pins.iter().map(|&pin| old(pin)).collect();
        row(name, drain, packet, Ok(to), REFUSED).pins(pins).leaves(after)
    };
    let half = [others(0, 0..2, Half, 100), others(1, 0..2, Half, 100)].concat();
    let mut rows = vec![
        stays("no room", both(Live, 9_000), SYN, OLD),
        stays("no room", both(Live, 3_000_000), DATA, OLD),
        stays("no room, all are closing", both(Closing, 30_000), SYN, OLD),
        stays("no room, all were opened just now", both(Half, 100), DATA, OLD),
        stays("no room, and the base is down", both(Live, 9_000), SYN, NEW).down(OLD),
        // Half of the ways are not for what was only opened.
        stays("two are half open in each", half.clone(), SYN, OLD),
    ];
    let replaced = |name, pins: Vec<Standing>, packet, place: (usize, usize), to, state| {
        let (bucket, way) = place;
        let left = pins.iter().filter(|pin| (pin.0, pin.1) != place).map(|&pin| old(pin));
        let mut after: Vec<Standing> = left.collect();
        after.push((bucket, way, 0, to, to, state, 0));
        row(name, drain, packet, Ok(to), MADE).pins(pins).leaves(after)
    };
    let three = |age| {
        [others(0, 1..4, Live, 100), others(1, 0..4, Live, 100), { others(0, 0..1, Half, age) }]
    };
    rows.extend([
        replaced("two are half open in each", half, DATA, (0, 2), OLD, Live),
        replaced("more room in the other", others(0, 0..2, Live, 100), SYN, (1, 0), NEW, Half),
        replaced("one gives way", three(1_500).concat(), SYN, (0, 0), NEW, Half),
        replaced("one gives way", three(1_500).concat(), DATA, (0, 0), OLD, Live),
        replaced("all that was opened ended", both(Half, 11_000), SYN, (0, 0), NEW, Half),
        replaced("all ended", both(Closing, 62_000), DATA, (0, 0), OLD, Live),
        replaced(
            "an old one in the second gives way",
            [
                others(0, 0..4, Live, 100),
                others(1, 0..3, Closing, 100),
                others(1, 3..4, Half, 2_000),
            ]
            .concat(),
            SYN,
            (1, 3),
            NEW,
            Half,
        ),
    ]);
    rows
}

/// A pin that nobody touches, as it is told afterwards.
const fn old(pin: Standing) -> Standing {
    let (bucket, way, tag, node, cluster, state, age) = pin;
    (bucket, way, tag, node, cluster, state, if age > 3_300 { 1 } else { 0 })
}
