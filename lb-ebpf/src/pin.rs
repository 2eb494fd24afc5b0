//! A connection's pin: looked for, made, and kept alive. Two buckets may have it; what makes room in
//! them for another one is decided here.

use lb_common::{
    Pin, PinEntry, PinState, Reason,
    pin::{self, BUSY, FREE, HALF_YIELDS, MOST_HALF, PIN_WAYS, Tick},
};

use crate::{Tables, Verdict};

/// A pin, and where it stands.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct Hit {
    /// What it is found by.
    pub(crate) tag: u64,
    /// What it says ([`Pin::raw`]); 0: there is none.
    pub(crate) value: u64,
    bucket: u32,
    way: u32,
}

impl Hit {
    /// None with a tag.
    #[inline(always)]
    pub(crate) const fn none(tag: u64) -> Self {
        Self { tag, value: 0, bucket: 0, way: 0 }
    }

    /// What it says, if there is one.
    #[inline(always)]
    pub(crate) const fn pin(&self) -> Option<Pin> {
        Pin::from_raw(self.value)
    }
}

/// Looks for the pin of a tag.
#[inline(always)]
pub(crate) fn find<T: Tables>(tables: &T, hit: &mut Hit) -> Result<(), Verdict> {
    tables.note(Reason::PinLookedFor);
    let mask = tables.pin_mask().ok_or(Verdict::BAD_TABLE)?;
    if search(tables, mask, hit) { Ok(()) } else { Err(Verdict::BAD_TABLE) }
}

/// As [`find`], in one function. The pin, if there is one; `None`: the tables are broken.
#[inline(always)]
pub(crate) fn there<T: Tables>(tables: &T, tag: u64) -> Option<Option<(Hit, Pin)>> {
    let (bucket, way, value) = tables.find_pin(pin::buckets(tag, tables.pin_mask()?), tag)?;
    if way == PIN_WAYS {
        return Some(None);
    }
    let hit = Hit { tag, value, bucket, way: way as u32 };
    Some(Some((hit, hit.pin()?)))
}

/// A packet of its connection was seen: what is known of the connection then.
#[inline(always)]
pub(crate) fn touch<T: Tables>(tables: &T, hit: &Hit, pin: Pin, state: PinState) {
    let now = Pin { state, last: Tick::at(tables.now()), ..pin }.raw();
    // Most packets of a tick change nothing, and so take no cache line from another CPU. If it is not
    // what it was, another packet has renewed it just now, or it is another's.
    if now != hit.value {
        tables.renew_pin(hit.bucket, hit.way as usize, hit.value, now);
    }
}

/// Makes a pin, in the place of the one that the connection has. Whether there was room.
#[inline(always)]
pub(crate) fn put<T: Tables>(tables: &T, hit: &Hit, pin: Pin) -> Result<bool, Verdict> {
    let (tag, value) = (hit.tag, pin.raw());
    let has = PinEntry { tag, value: hit.value };
    let mut made = hit.value != 0 && write(tables, hit.bucket, hit.way as usize, has, tag, value);
    if !made {
        let room = room(tables, tag, value);
        if room == NO_ROOM {
            return Err(Verdict::BAD_TABLE);
        }
        made = take(tables, room as u32, room >> 32, tag, value);
    }
    tables.note(if made { Reason::PinMade } else { Reason::PinRefused });
    Ok(made)
}

/// A connection's pin ends, if it has one.
#[inline(always)]
pub(crate) fn free<T: Tables>(tables: &T, hit: &Hit) {
    if hit.value != 0 {
        tables.claim_pin(hit.bucket, hit.way as usize, hit.tag, FREE);
    }
}

/// Looks for a pin in its buckets. False: there is no such bucket.
#[inline(never)]
fn search<T: Tables>(tables: &T, mask: u32, hit: &mut Hit) -> bool {
    let found = tables.find_pin(pin::buckets(hit.tag, mask), hit.tag);
    let Some((bucket, way, value)) = found else { return false };
    hit.value = T::forget(value, hit.tag);
    hit.way = T::forget(way as u64, hit.tag) as u32;
    hit.bucket = bucket;
    true
}

/// Where there is room for a new pin: of its two buckets the one with more free ways, else one with a pin
/// that gives way. The bucket, and in the high half what to look for there; or [`NO_ROOM`], if there are no
/// buckets.
#[inline(never)]
fn room<T: Tables>(tables: &T, tag: u64, value: u64) -> u64 {
    let Some(mask) = tables.pin_mask() else { return NO_ROOM };
    let [one, other] = pin::buckets(tag, mask);
    let half = value >> Pin::STATE == PinState::Half as u64;
    let (first, second) = (census(tables, one), census(tables, other));
    if first == NO_BUCKET || second == NO_BUCKET {
        return NO_ROOM;
    }
    let (here, there) = (free_for(first, half), free_for(second, half));
    let (bucket, wanted) = if here != 0 || there != 0 {
        (if there > here { other } else { one }, A_FREE)
    } else {
        (if first & YIELDING != 0 { one } else { other }, A_YIELDING)
    };
    u64::from(bucket) | wanted << 32
}

const NO_ROOM: u64 = u64::MAX;

// What the ways of a bucket are, each a number of its own in one word: free, half open, of these such
// as give way.
const A_FREE: u64 = 1;
const A_HALF: u64 = 1 << 8;
const A_YIELDING: u64 = 1 << 16;
const YIELDING: u64 = 0xff << 16;
const NO_BUCKET: u64 = u64::MAX;

/// What a way is.
#[inline(always)]
fn weigh(entry: &PinEntry, now: Tick) -> u64 {
    if entry.tag == BUSY {
        return 0;
    }
    match Pin::from_raw(entry.value) {
        Some(pin) if entry.tag != FREE && !pin.has_ended(now) => {
            if pin.state as u8 != PinState::Half as u8 {
                return 0;
            }
            let yields = now.since(pin.last) >= HALF_YIELDS;
            A_HALF + if yields { A_YIELDING } else { 0 }
        }
        _ => A_FREE,
    }
}

/// What the ways of a bucket are.
#[inline(never)]
fn census<T: Tables>(tables: &T, bucket: u32) -> u64 {
    let now = Tick::at(tables.now());
    let mut sum = 0;
    let Some(pins) = tables.pins(bucket) else { return NO_BUCKET };
    for entry in pins {
        sum = T::forget(sum + weigh(&entry, now), entry.value);
    }
    sum
}

/// How many free ways of a bucket a pin may have that is half open, or is not.
#[inline(always)]
const fn free_for(census: u64, half: bool) -> u64 {
    let halves = census >> 8 & 0xff;
    if half && halves >= MOST_HALF as u64 { 0 } else { census & 0xff }
}

/// Puts a pin in the place of what a way has. Whether it had it yet: a packet of its own connection may
/// have renewed it, and then it stays.
#[inline(always)]
fn write<T: Tables>(tables: &T, bucket: u32, way: usize, is: PinEntry, tag: u64, to: u64) -> bool {
    if !tables.claim_pin(bucket, way, is.tag, BUSY) {
        return false;
    }
    let same = tables.renew_pin(bucket, way, is.value, to);
    tables.claim_pin(bucket, way, BUSY, if same { tag } else { is.tag }) && same
}

/// Puts a pin in the place of a way of a kind. Whether there was one that nobody else took.
#[inline(never)]
fn take<T: Tables>(tables: &T, bucket: u32, wanted: u64, tag: u64, value: u64) -> bool {
    let now = Tick::at(tables.now());
    for way in 0..PIN_WAYS {
        let Some(entry) = tables.pin(bucket, way) else { return false };
        if weigh(&entry, now) & wanted != 0 && write(tables, bucket, way, entry, tag, value) {
            return true;
        }
    }
    false
}
