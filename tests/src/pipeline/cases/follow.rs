//! Slots that moved, over several packets: connections that follow their pins through one change
//! after the other, and what is about them, on all ways to a node.

use lb_common::{HashKey, PinState, Reason, Udp};

use super::{
    Case, Step, fragments, hash_of,
    row::{DATA, LOOKED, MADE, NEW, OLD, PINNED, Packet, Row, SYN, Standing, own, placed, row},
    suits, udp,
};
use crate::pipeline::{
    places::{FAMILIES, Family},
    scene::{Moved, Scene},
    to::To,
};
use PinState::{Closing, Half, Live};

/// Ways that lead to a node, of all kinds; with `nat` to a port of the node's and of the cluster's.
const WAYS: [To; 13] = [
    To::Elsewhere,
    To::Tags,
    To::Ipip4,
    To::Ipip6,
    To::Ipip6Tag,
    To::Gue4,
    To::Gue6,
    To::Nat4,
    To::Nat6,
    To::NatCluster4,
    To::NatCluster6,
    To::NatPort4,
    To::NatPort6,
];

pub(super) fn cases(key: &HashKey) -> Vec<Case> {
    let mut cases = Vec::new();
    for family in FAMILIES {
        cases.extend([its_node_is_gone(key, family), reused(key, family)]);
        for to in WAYS.into_iter().filter(|&to| suits(to, family)) {
            let rows = errors(to);
            cases.extend(rows.iter().map(|row| row.case(key, family, NEW, Udp::Rehash)));
            cases.extend(datagrams(key, family, to));
        }
    }
    cases
}

/// Rows one after the other: what slots go through is each row's own, pins are those of before.
fn sequence(name: &str, key: &HashKey, family: Family, rows: &[Row]) -> Case {
    let mut cases = rows.iter().map(|row| row.case(key, family, NEW, Udp::Rehash));
    let mut first = cases.next().expect("a row");
    first.name = format!("{name} over {family:?}");
    for case in cases {
        let scene = case.scene;
        first
            .steps
            .extend(case.steps.into_iter().map(|step| Step { scene: scene.clone(), ..step }));
    }
    first
}

/// What a node that is gone had stays with who got it, until something opens.
fn its_node_is_gone(key: &HashKey, family: Family) -> Case {
    let drain = |owner| Moved::drain(Some(owner), Some(OLD));
    let pinned = |to, state| [own(to, to, state, 0)];
    let rows = [
        row("", drain(NEW), DATA, Ok(NEW), MADE).leaves(pinned(NEW, Closing)),
        row("", drain(PINNED), DATA, Ok(NEW), LOOKED).leaves(pinned(NEW, Closing)),
        row("", drain(PINNED), Packet::Error, Ok(NEW), LOOKED).leaves(pinned(NEW, Closing)),
        row("", drain(PINNED), SYN, Ok(PINNED), MADE).leaves(pinned(PINNED, Half)),
        row("", drain(NEW), SYN, Ok(PINNED), LOOKED).leaves(pinned(PINNED, Half)),
        row("", drain(NEW), DATA, Ok(PINNED), LOOKED).leaves(pinned(PINNED, Live)),
    ];
    let rows = rows.map(|row| row.down(OLD));
    sequence("the base is gone, and then another opens", key, family, &rows)
}

/// The node comes back in the meantime: what it had is not given to it again, what opens is.
fn reused(key: &HashKey, family: Family) -> Case {
    let pinned = |to, state| [own(to, to, state, 0)];
    let gone = Moved::drain(Some(NEW), Some(OLD));
    let back = Moved::residue(Some(OLD));
    let rows = [
        row("", gone, DATA, Ok(NEW), MADE).down(OLD).leaves(pinned(NEW, Closing)),
        row("", back, DATA, Ok(NEW), LOOKED).leaves(pinned(NEW, Closing)),
        row("", back, SYN, Ok(OLD), MADE).leaves(pinned(OLD, Half)),
        row("", gone, DATA, Ok(OLD), LOOKED).leaves(pinned(OLD, Live)),
    ];
    sequence("the base was gone, and then another opens", key, family, &rows)
}

/// Errors about a connection read its pin, and make none.
fn errors(to: To) -> Vec<Row> {
    let drain = Moved::drain(Some(NEW), Some(to));
    let elsewhere = Moved::drain(Some(NEW), Some(PINNED));
    let error = |service, node| row("on all ways", service, Packet::Error, Ok(node), LOOKED);
    let stands = |state, age| own(to, to, state, age);
    let mut rows = vec![error(drain, to), error(drain, NEW).down(to)];
    for (state, service) in [
        (Half, elsewhere),
        (Live, elsewhere),
        (Closing, elsewhere),
        (Live, Moved::residue(Some(NEW))),
        (Closing, Moved::residue(None)),
    ] {
        let row = error(service, to).pins([stands(state, 9_000)]);
        rows.push(row.leaves([stands(state, 1)]));
    }
    rows.push(
        error(elsewhere, PINNED).pins([stands(Live, 9_000)]).down(to).leaves([stands(Live, 1)]),
    );
    rows
}

/// Of a datagram in fragments only the first one has to do with pins; the others go where it went,
/// whatever happens between them.
fn datagrams(key: &HashKey, family: Family, to: To) -> Vec<Case> {
    let whole = udp(family, NEW, &(0..77).collect::<Vec<u8>>());
    let hash = hash_of(key, &whole);
    let scene = |service, down: &[To], pins: &[Standing]| Scene {
        of: NEW,
        service,
        clusters: Vec::new(),
        down: down.to_vec(),
        udp: Udp::Sticky,
        pins: pins.iter().map(|pin| placed(pin, NEW, family, true, hash)).collect(),
    };
    let elsewhere = Moved::drain(Some(NEW), Some(PINNED));
    let standing = |state, age| vec![own(to, to, state, age)];
    let case = |by: &str,
                service,
                notes: &[Reason],
                before: &[Standing],
                untouched: &[Standing]| {
        let [first, later] = fragments::both(key, to, &whole);
        let early = Step::drops(later.frame.clone(), Reason::DropFragment);
        let with = |step: Step, standing: &[Standing]| {
            let pins = standing.iter().map(|pin| placed(pin, NEW, family, true, hash)).collect();
            Step { pins, ..step }
        };
        let live = standing(Live, 0);
        // Its node is not asked for once more.
        let moved = Step { scene: Some(scene(elsewhere, &[to], &[])), ..later.clone() };
        let first = Step { notes: notes.to_vec(), ..first };
        let steps =
            [with(early, untouched), with(first, &live), with(later, &live), with(moved, &live)];
        let case = Case::new(format!("fragments {by}, {family:?} to {to:?}"), steps.to_vec());
        Case { scene: Some(scene(service, &[], before)), ..case }
    };
    vec![
        case("to the base", Moved::drain(Some(NEW), Some(to)), MADE, &[], &[]),
        case("by a pin", elsewhere, LOOKED, &standing(Half, 9_000), &standing(Half, 1)),
    ]
}
