//! Which pins end, and which slots are done: the two slots' states, the pin, the node.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use lb_common::{
    ClusterId, NodeId, PinEntry, ServiceId, Slot, SlotState,
    pin::{BUSY, FREE, Pin, PinState, Tick},
};

use crate::decide::moved::{
    Sweep, Swept, Tracks,
    sweep::{Node, ticks},
    track::{Limit, Track},
};

const SECOND: u64 = 1_000_000_000;
const NOW: u64 = 10_000 * SECOND;
/// How long connections may be silent.
const IDLE: u64 = 300;
/// Slots of each table, by their names; all others are as slot 0.
const LOG2: u32 = 10;

/// Nodes: 0 and 1 of pool 0, 2 of pool 1. Pool 2 is pool 0 with another port, 5 with the same. No pool
/// has id 3, or one from 6 on.
const PORTS: [u16; 6] = [0, 0, 8080, 0, 9090, 0];
const DOWN: u16 = 3;
const HARD: u16 = 4;
const GONE: u16 = 99;

/// A table whose slots 0, 1, 2, 3 are clean, in a window, behind one, and cut; each owned by `to`.
fn table(from: u16, to: u16) -> Arc<Track> {
    let decided = |owners: [u16; 4]| -> Arc<[Slot]> {
        let slot = |i: usize| Slot::clean(if i < 4 { owners[i] } else { to });
        (0..1 << LOG2).map(slot).collect()
    };
    let limit = |hard| move |_, _| Limit { drain: Duration::from_secs(100), hard };
    let at = Duration::from_secs;
    let track = Arc::new(Track::at_rest(&decided([to, from, from, from])));
    let track = track.advance(&decided([to, from, to, from]), limit(false), at(0));
    let track = track.advance(&decided([to, from, to, to]), limit(true), at(0));
    let track = track.advance(&decided([to, to, to, to]), limit(false), at(1));
    let track = track.advance(&decided([to, to, to, to]), limit(false), at(100));
    let states = [0, 1, 2, 3].map(|i| track.slots()[i].state());
    use SlotState::{Clean, Drain, Residue};
    assert_eq!(states, [Clean, Drain, Residue, Residue]);
    assert!(track.is_cut(3) && !track.is_cut(2));
    track
}

const CLEAN: u32 = 0;
const DRAIN: u32 = 1;
const RESIDUE: u32 = 2;
const CUT: u32 = 3;

fn sweep() -> Sweep {
    let node = |up, hard| Node { up, idle: ticks(Duration::from_secs(IDLE)), hard };
    Sweep {
        tracks: Tracks {
            number: 7,
            // All slots of both services are pool 0's now; pool 0's are node 0's.
            services: vec![Some(table(1, 0)), Some(table(1, 0)), None],
            clusters: [Some((1, 0)), Some((3, 2)), Some((1, 0)), None, Some((1, 0)), Some((1, 0))]
                .map(|owners| owners.map(|(from, to)| table(from, to)))
                .to_vec(),
        },
        ports: PORTS.to_vec(),
        nodes: [(true, false), (true, false), (true, false), (false, false), (true, true)]
            .map(|(up, hard)| Some(node(up, hard)))
            .to_vec(),
    }
}

/// A pin in these slots of service 0 and of pool 0, so many seconds after its last packet.
fn pin(slots: [u32; 2], node: u16, state: PinState, age: u64) -> PinEntry {
    let [service, cluster] = slots.map(|slot| u64::from(slot << (32 - LOG2) | 77));
    let pin = Pin {
        node: NodeId::new(node.into()).expect("an id"),
        service: ServiceId::new(0).expect("an id"),
        cluster: ClusterId::new(0).expect("an id"),
        state,
        last: Tick::at(NOW - age * SECOND),
    };
    PinEntry { tag: service << 32 | cluster, value: pin.raw() }
}

fn judge(entries: &[PinEntry]) -> (Swept, Vec<(usize, PinEntry)>) {
    sweep().judge(entries.iter().copied().enumerate(), Tick::at(NOW))
}

fn stays(entry: PinEntry) -> bool {
    judge(&[entry]).1.is_empty()
}

/// The slots; the node; the pin's state and age; whether it stays.
#[test]
fn each_rule() {
    use PinState::{Closing, Half, Live};
    let cases: &[([u32; 2], u16, PinState, u64, bool)] = &[
        // Nobody looks for it.
        ([CLEAN, CLEAN], 1, Live, 0, false),
        // Windows are open, and nobody needs its place: packets take it if they do.
        ([DRAIN, CLEAN], 1, Half, 100, true),
        ([DRAIN, CLEAN], DOWN, Live, 0, true),
        ([CLEAN, DRAIN], 0, Live, 9999, true),
        ([DRAIN, DRAIN], 1, Closing, 9999, true),
        // One is behind its window.
        ([RESIDUE, CLEAN], 1, Live, 0, true),
        ([CLEAN, RESIDUE], 1, Live, 0, true),
        ([RESIDUE, RESIDUE], 1, Live, 0, true),
        // It is silent for too long.
        ([RESIDUE, CLEAN], 1, Half, 9, true),
        ([RESIDUE, CLEAN], 1, Half, 11, false),
        ([RESIDUE, DRAIN], 1, Half, 11, false),
        ([CLEAN, RESIDUE], 1, Closing, 59, true),
        ([CLEAN, RESIDUE], 1, Closing, 61, false),
        ([DRAIN, RESIDUE], 1, Closing, 61, false),
        ([RESIDUE, RESIDUE], 1, Live, IDLE - 1, true),
        ([RESIDUE, RESIDUE], 1, Live, IDLE + 1, false),
        ([RESIDUE, DRAIN], 1, Live, IDLE + 1, true),
        ([DRAIN, RESIDUE], 1, Live, IDLE + 1, true),
        // Its node is down.
        ([RESIDUE, CLEAN], DOWN, Live, 0, false),
        ([RESIDUE, DRAIN], DOWN, Live, 0, false),
        // It goes there without it, too; in a window the base might answer.
        ([RESIDUE, CLEAN], 0, Live, 0, false),
        ([CLEAN, RESIDUE], 0, Half, 0, false),
        ([RESIDUE, DRAIN], 0, Live, 0, true),
        // The limit was a hard one for this node.
        ([CUT, CLEAN], HARD, Live, 0, false),
        ([CLEAN, CUT], HARD, Live, 0, false),
        ([CUT, DRAIN], HARD, Live, 0, true),
        ([CUT, CLEAN], 1, Live, 0, true),
        ([RESIDUE, RESIDUE], HARD, Live, 0, true),
        // There is no such node.
        ([DRAIN, CLEAN], GONE, Live, 0, false),
    ];
    for &(slots, node, state, age, stay) in cases {
        let entry = pin(slots, node, state, age);
        assert_eq!(stays(entry), stay, "{slots:?}, node {node}, {state:?}, {age} s");
    }
}

#[test]
fn the_owner_by_another_port_is_another() {
    let of_pool = |cluster: usize| {
        let entry = pin([RESIDUE, RESIDUE], 0, PinState::Live, 0);
        let pin = Pin::from_raw(entry.value).expect("a pin");
        let cluster = ClusterId::new(cluster).expect("an id");
        stays(PinEntry { value: Pin { cluster, ..pin }.raw(), ..entry })
    };
    assert_eq!([0, 1, 2, 4, 5].map(of_pool), [false, false, true, true, false]);
    // Of a pool that is no more packets have the node's own port, too.
    assert_eq!([3, 9].map(of_pool), [false, false]);
}

#[test]
fn a_service_that_is_no_more_has_no_pins() {
    let entry = pin([DRAIN, DRAIN], 1, PinState::Live, 0);
    let known = Pin::from_raw(entry.value).expect("a pin");
    let of = |id: usize| {
        let service = ServiceId::new(id).expect("an id");
        PinEntry { value: Pin { service, ..known }.raw(), ..entry }
    };
    assert!(stays(of(1)));
    let (swept, ended) = judge(&[of(2)]);
    assert_eq!(ended, [(0, of(2))]);
    assert_eq!(swept.named().services, BTreeSet::from([2]), "until it is not there");
}

#[test]
fn ways_that_nobody_has_are_nothing() {
    let entry = pin([CLEAN, CLEAN], 1, PinState::Live, 0);
    for tag in [FREE, BUSY] {
        let (swept, ended) = judge(&[PinEntry { tag, ..entry }]);
        assert_eq!((swept, ended), (Swept { number: 7, ..Swept::default() }, Vec::new()));
    }
}

/// A cluster's slot waits for pins only where nothing else leads to them.
#[test]
fn slots_with_pins_wait_and_others_are_clean() {
    let live = |slots| pin(slots, 1, PinState::Live, 0);
    let entries = [
        live([RESIDUE, CUT]),
        live([CLEAN, RESIDUE]),
        live([CLEAN, RESIDUE]),
        // To be deleted, and so still there.
        pin([CUT, CLEAN], DOWN, PinState::Live, 0),
    ];
    let (swept, ended) = judge(&entries);
    assert_eq!(ended, [(3, entries[3])]);
    assert_eq!(swept.services, [vec![CLEAN, RESIDUE, CUT]]);
    assert_eq!(swept.clusters, [vec![RESIDUE]]);
    let node = |id| swept.on_node(NodeId::new(id).expect("an id"));
    assert_eq!([0, 1, 3, 99].map(node), [0, 3, 1, 0]);
    let named = swept.named();
    assert_eq!((named.services, named.tables), (BTreeSet::from([0]), BTreeSet::from([0])));
    assert_eq!(named.nodes, BTreeSet::from([1, 3]));

    let residue = |track: &Track| -> Vec<usize> {
        let slots = track.slots().iter().enumerate();
        slots.filter(|(_, slot)| slot.state() == SlotState::Residue).map(|(i, _)| i).collect()
    };
    let before = sweep().tracks;
    let after = before.swept(&swept).expect("others");
    assert_eq!(
        after.services.iter().flatten().map(|t| residue(t)).collect::<Vec<_>>(),
        [vec![2, 3], vec![]]
    );
    let clusters: Vec<_> = after.clusters.iter().flatten().map(|t| residue(t)).collect();
    assert_eq!(clusters, [vec![2], vec![], vec![], vec![], vec![]]);
    assert!(after.number > before.number);
    let again = Swept { number: after.number, ..swept.clone() };
    assert!(after.swept(&again).is_none(), "no news");
    // What was found in other tables says nothing of these.
    let late = Swept { number: 6, ..swept };
    assert!(before.swept(&late).is_none());
}
