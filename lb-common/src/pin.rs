//! Pins: connections that a change of plan made ambiguous, and the nodes that they stay on.
//!
//! An array of buckets, 64 bytes each, shared by all generations and CPUs; a connection has two
//! candidate buckets. Packets claim a way by compare-and-swap of its tag from what it was to
//! [`BUSY`], write the value, then the tag; whoever deletes claims it in the same way. A kernel LRU
//! would not do: as many inserts as it has places evict every pin.

use crate::{
    hash::FlowHash,
    ids::{ClusterId, NodeId, ServiceId},
    layout::MAX_TABLE_LOG2,
};

/// Pins that one bucket holds.
pub const PIN_WAYS: usize = 4;
/// log2 of the smallest number of pins, one bucket for each fourth.
pub const MIN_PINS_LOG2: u32 = 10;
/// log2 of the largest number of pins (256 MiB).
pub const MAX_PINS_LOG2: u32 = 24;
/// Pins where the configuration names no number: 2 MiB.
pub const DEFAULT_PINS: u32 = 1 << 17;

/// The tag of a way that nobody has.
pub const FREE: u64 = 0;
/// The tag of a way that somebody writes just now; it is found by nobody.
pub const BUSY: u64 = 1;

/// A time in ticks of 2^27 ns (134 ms) of CLOCK_MONOTONIC, modulo 2^30 (4.5 years).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick(u32);

impl Tick {
    const BITS: u32 = 30;
    const SHIFT: u32 = 27;
    const MASK: u32 = (1 << Self::BITS) - 1;

    /// The tick of a time in nanoseconds.
    #[inline(always)]
    pub const fn at(nanoseconds: u64) -> Self {
        Self((nanoseconds >> Self::SHIFT) as u32 & Self::MASK)
    }

    /// So many ticks are at least so many milliseconds, by less than two ticks.
    pub const fn of_ms(ms: u32) -> u32 {
        (ms as u64 * 1_000_000).div_ceil(1 << Self::SHIFT) as u32 + 1
    }

    /// How many ticks after `earlier` this is. An `earlier` that is later, by a clock read on another
    /// CPU, is no time ago.
    #[inline(always)]
    pub const fn since(self, earlier: Self) -> u32 {
        let ticks = self.0.wrapping_sub(earlier.0) & Self::MASK;
        if ticks > Self::MASK / 2 { 0 } else { ticks }
    }
}

/// A connection's only packets so far opened it: its pin ends after this time.
pub const HALF_ENDS: u32 = Tick::of_ms(10_000);
/// Such a pin may give way to another one after this time.
pub const HALF_YIELDS: u32 = Tick::of_ms(1_000);
/// Of one that is closing the pin ends when nothing was heard for this time.
pub const CLOSING_ENDS: u32 = Tick::of_ms(60_000);
/// The most pins of connections only opened that one bucket holds: a flood of openings leaves room.
pub const MOST_HALF: u32 = 2;

/// What is known of a pinned connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PinState {
    /// It was opened, nothing more.
    Half = 1,
    /// It has sent more.
    Live = 2,
    /// A FIN or RST was seen. The pin stays, for what follows.
    Closing = 3,
}

/// Where a connection stays, and since when nothing was heard of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Its node.
    pub node: NodeId,
    /// Its service.
    pub service: ServiceId,
    /// The pool that its node was chosen from: it says the port that `nat` gives.
    pub cluster: ClusterId,
    /// What is known of it.
    pub state: PinState,
    /// Its last packet.
    pub last: Tick,
}

impl Pin {
    const SERVICE: u32 = 12;
    const CLUSTER: u32 = 22;
    const LAST: u32 = 32;
    /// How many bits stand below its [`PinState`].
    pub const STATE: u32 = 62;

    /// As it stands in [`PinEntry`]: from the low bit on 12 bits of node, 10 of service, 10 of
    /// cluster, 30 of last tick, 2 of state.
    #[inline(always)]
    pub const fn raw(self) -> u64 {
        self.node.raw() as u64
            | (self.service.raw() as u64) << Self::SERVICE
            | (self.cluster.raw() as u64) << Self::CLUSTER
            | (self.last.0 as u64) << Self::LAST
            | (self.state as u64) << Self::STATE
    }

    /// From what stands there; `None` if nothing does.
    #[inline(always)]
    pub const fn from_raw(raw: u64) -> Option<Self> {
        let state = match raw >> Self::STATE {
            1 => PinState::Half,
            2 => PinState::Live,
            3 => PinState::Closing,
            _ => return None,
        };
        let (Some(node), Some(service), Some(cluster)) = (
            NodeId::new((raw & 0xfff) as usize),
            ServiceId::new((raw >> Self::SERVICE & 0x3ff) as usize),
            ClusterId::new((raw >> Self::CLUSTER & 0x3ff) as usize),
        ) else {
            return None;
        };
        let last = Tick((raw >> Self::LAST) as u32 & Tick::MASK);
        Some(Self { node, service, cluster, state, last })
    }

    /// Whether its time has passed, without regard to how long connections may be silent.
    #[inline(always)]
    pub const fn has_ended(&self, now: Tick) -> bool {
        let age = now.since(self.last);
        match self.state {
            PinState::Half => age >= HALF_ENDS,
            PinState::Closing => age >= CLOSING_ENDS,
            PinState::Live => false,
        }
    }
}

/// One way of a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PinEntry {
    /// [`tag`] of the connection, [`FREE`] or [`BUSY`].
    pub tag: u64,
    /// A [`Pin`]; without meaning while the tag is [`FREE`] or [`BUSY`].
    pub value: u64,
}

/// Pins, one cache line. Map `PINS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PinBucket {
    /// Each claimed by its tag.
    pub ways: [PinEntry; PIN_WAYS],
}

/// What a connection's pin is found by: its hash, made unlike the two that mean something else.
#[inline(always)]
pub const fn tag(hash: FlowHash) -> u64 {
    if hash.0 <= BUSY { hash.0 | 2 } else { hash.0 }
}

/// The hash that pins a connection whose slots are chosen by its source alone: of the source's what
/// the slots of any table are of, of the connection's own the rest.
#[inline(always)]
pub const fn affine(source: FlowHash, connection: FlowHash) -> FlowHash {
    const SLOTS: u64 = {
        let half = !(u32::MAX >> MAX_TABLE_LOG2) as u64;
        half << 32 | half
    };
    FlowHash(source.0 & SLOTS | connection.0 & !SLOTS)
}

/// The two buckets of a tag, of a number that is `mask` + 1, a power of two. Their bits are of a remix:
/// those of a slot's connections would all be alike.
#[inline(always)]
pub const fn buckets(tag: u64, mask: u32) -> [u32; 2] {
    let mixed = (tag ^ tag >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let again = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    [(mixed >> 40) as u32 & mask, (again >> 40) as u32 & mask]
}

const _: () = {
    assert!(size_of::<PinEntry>() == 16 && size_of::<PinBucket>() == 64);
    assert!(crate::layout::MAX_NODES <= 1 << 12 && crate::layout::MAX_SERVICES <= 1 << 10);
    assert!(crate::layout::MAX_CLUSTERS <= 1 << 10);
};

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(node: usize, service: usize, cluster: usize, state: PinState, last: Tick) -> Pin {
        let node = NodeId::new(node).expect("in range");
        let service = ServiceId::new(service).expect("in range");
        let cluster = ClusterId::new(cluster).expect("in range");
        Pin { node, service, cluster, state, last }
    }

    #[test]
    fn what_is_written_is_read() {
        for state in [PinState::Half, PinState::Live, PinState::Closing] {
            for (node, service, cluster, last) in [
                (0, 0, 0, 0),
                (4095, 1023, 1023, u64::MAX),
                (2048, 512, 1, 1 << 50),
                (1, 1, 512, 0),
            ] {
                let pin = pin(node, service, cluster, state, Tick::at(last));
                assert_eq!(Pin::from_raw(pin.raw()), Some(pin));
            }
        }
        assert_eq!(Pin::from_raw(0), None);
    }

    #[test]
    fn ages() {
        const SECOND: u64 = 1_000_000_000;
        // Across the end of the ticks, too.
        for start in [0, 77 * SECOND, (1 << 57) - SECOND / 2] {
            let age = |ns: u64| Tick::at(start + ns).since(Tick::at(start));
            assert!(age(10 * SECOND) < HALF_ENDS && age(11 * SECOND) > HALF_ENDS);
            assert!(age(60 * SECOND) < CLOSING_ENDS && age(61 * SECOND) > CLOSING_ENDS);
            assert!(age(SECOND) < HALF_YIELDS && age(SECOND * 3 / 2) > HALF_YIELDS);
            assert_eq!(Tick::at(start).since(Tick::at(start + SECOND)), 0, "not in the future");
        }
    }

    #[test]
    fn tags_mean_connections() {
        for hash in [0, 1, 2, u64::MAX] {
            assert!(tag(FlowHash(hash)) > BUSY);
        }
        assert_eq!(tag(FlowHash(12345)), 12345);
    }

    #[test]
    fn a_source_has_its_slots_and_each_connection_a_tag() {
        let (source, one, other) = (FlowHash(!0 / 3), FlowHash(77), FlowHash(78 << 32));
        let (a, b) = (affine(source, one), affine(source, other));
        assert_ne!(a, b);
        for log2 in 10..=MAX_TABLE_LOG2 {
            for hash in [a, b] {
                assert_eq!(hash.service_slot(log2), source.service_slot(log2));
                assert_eq!(hash.node_slot(log2), source.node_slot(log2));
            }
        }
    }

    #[test]
    fn buckets_spread() {
        // Of one service slot and one node slot: the top bits of both halves are alike.
        const MASK: u32 = 1023;
        let mut load = [0u32; MASK as usize + 1];
        let mut alike = 0;
        for number in 1..=1u64 << 13 {
            let random = number.wrapping_mul(0x2545_f491_4f6c_dd1d).rotate_left(23) ^ number;
            let [a, b] = buckets(0x1234_4000_abcd_c000 | random & 0x3fff_0000_3fff, MASK);
            alike += u32::from(a == b);
            for bucket in [a, b] {
                load[bucket as usize] += 1;
            }
        }
        let (least, most) = (load.iter().min(), load.iter().max());
        assert!(least > Some(&0) && most < Some(&40), "{least:?} to {most:?} of 16 on average");
        assert!(alike < 24, "{alike} of 8,192, 8 on average");
    }
}
