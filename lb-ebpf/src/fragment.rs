//! Fragments of one datagram go one way: the first one decides, a small table shared by all CPUs
//! remembers.
//!
//! A way is one word, read and written whole: nobody sees half of another CPU's. It has 31 bits of
//! a keyed hash of addresses, identification and protocol (12 more name the bucket), the second it
//! was written, and whom the datagram is for. IPv6 datagrams are told apart by their addresses and
//! identification alone: the protocol of a later fragment means nothing (RFC 8200, 4.5).

use lb_common::{
    FlowHash, FlowKey, NodeId, ServiceId,
    layout::{FRAGMENT_BUCKETS, FRAGMENT_WAYS},
};

use crate::{
    Tables, Verdict,
    parse::{Head, Packet},
};

/// Seconds until a first fragment is forgotten, as long as hosts wait for the rest (Linux:
/// `ipfrag_time`).
const KEPT: u16 = 30;
const SECOND: u64 = 1_000_000_000;
// What stands for whom, beside the ids of nodes.
const HOST: u16 = 0xffff;
const SERVICE: u16 = 0x8000;
/// In the place of the protocol: IPv6-Frag.
const ANY_PROTOCOL: u8 = 44;

/// Who gets a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    /// A node.
    Node(NodeId),
    /// This host: it is for an address of a service, but for none of its services.
    Host,
    /// A client, from a node of this service.
    Client(ServiceId),
}

impl Whom {
    #[inline(always)]
    const fn raw(self) -> u16 {
        match self {
            Self::Node(node) => node.raw(),
            Self::Host => HOST,
            Self::Client(service) => SERVICE | service.raw(),
        }
    }

    #[inline(always)]
    fn from_raw(raw: u16) -> Option<Self> {
        if raw == HOST {
            Some(Self::Host)
        } else if raw & SERVICE != 0 {
            ServiceId::new(usize::from(raw & !SERVICE)).map(Self::Client)
        } else {
            NodeId::new(usize::from(raw)).map(Self::Node)
        }
    }
}

/// Where a datagram is kept.
#[repr(C, align(8))]
struct Place {
    bucket: u32,
    tag: u32,
    second: u16,
    hash: FlowHash,
}

impl Place {
    #[inline(always)]
    fn of<T: Tables>(tables: &T, epoch: u64, packet: &Packet) -> Result<Self, Verdict> {
        let head = &packet.head;
        let protocol = if head.v6.is() { ANY_PROTOCOL } else { packet.protocol };
        let &Head { source, destination, v6, .. } = head;
        let flow = FlowKey { source, destination, ports: packet.id, protocol, v6: v6.is() };
        let hash = tables.head(epoch).ok_or(Verdict::BAD_TABLE)?.key.hash(&flow);
        let bucket = (hash.0 >> 32) as u32 & (FRAGMENT_BUCKETS - 1);
        let second = (tables.now() / SECOND) as u16;
        // Zero is a way that nobody has written.
        Ok(Self { bucket, tag: hash.0 as u32 | 1, second, hash })
    }

    #[inline(always)]
    const fn is(&self, word: u64) -> bool {
        (word >> 32) as u32 == self.tag
    }

    /// Seconds since a word was written; the clock goes round after 18 hours. What another CPU wrote, whose
    /// clock was ahead by some milliseconds, was written just now.
    #[inline(always)]
    const fn age(&self, word: u64) -> u16 {
        match self.second.wrapping_sub((word >> 16) as u16) {
            u16::MAX => 0,
            age => age,
        }
    }
}

/// Remembers who gets the datagram that this fragment begins: in the place of an earlier one of the
/// same marks, else of the oldest.
#[inline(always)]
pub(crate) fn remember<T: Tables>(
    tables: &T,
    epoch: u64,
    packet: &Packet,
    whom: Whom,
) -> Result<(), Verdict> {
    let place = Place::of(tables, epoch, packet)?;
    let (mut best, mut oldest) = (0, 0);
    for way in 0..FRAGMENT_WAYS {
        let word = tables.fragment(place.bucket, way).ok_or(Verdict::BAD_TABLE)?;
        let age = match word {
            _ if place.is(word) => u32::MAX,
            0 => u32::from(u16::MAX) + 1,
            _ => u32::from(place.age(word)),
        };
        if age >= oldest {
            (best, oldest) = (way, age);
        }
    }
    let word = u64::from(place.tag) << 32 | u64::from(place.second) << 16 | u64::from(whom.raw());
    tables.set_fragment(place.bucket, best, word);
    Ok(())
}

/// Who gets the datagram that this fragment is of, and a hash of its marks.
#[inline(always)]
pub(crate) fn find<T: Tables>(
    tables: &T,
    epoch: u64,
    packet: &Packet,
) -> Result<(Option<Whom>, FlowHash), Verdict> {
    let place = Place::of(tables, epoch, packet)?;
    let mut whom = None;
    for way in 0..FRAGMENT_WAYS {
        let word = tables.fragment(place.bucket, way).ok_or(Verdict::BAD_TABLE)?;
        if place.is(word) && place.age(word) <= KEPT {
            whom = Whom::from_raw(word as u16);
        }
    }
    Ok((whom, place.hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_a_clock_that_is_ahead_is_new() {
        let place = |second| Place { bucket: 0, tag: 1, second, hash: FlowHash(0) };
        let word = |second: u16| 1 << 32 | u64::from(second) << 16;
        assert_eq!(place(7).age(word(7)), 0);
        assert_eq!(place(9).age(word(7)), 2);
        assert_eq!(place(7).age(word(8)), 0, "ahead by a second's end");
        assert_eq!(place(1).age(word(u16::MAX)), 2, "around the end of the numbers");
    }
}
