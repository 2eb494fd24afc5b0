//! A connection's pin: looked for, made, and kept alive. Two buckets may have it; what makes room in
//! them for another one is decided here.

use lb_common::{
    Pin, PinState, Reason,
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
    if search(tables, hit) { Ok(()) } else { Err(Verdict::BAD_TABLE) }
}

/// A packet of its connection was seen: what is known of the connection then.
#[inline(always)]
pub(crate) fn touch<T: Tables>(tables: &T, hit: &Hit, pin: Pin, state: PinState) {
    let now = Pin { state, last: Tick::at(tables.now()), ..pin }.raw();
    // Most packets of a tick change nothing, and so take no cache line from another CPU.
    if now != hit.value {
        tables.set_pin(hit.bucket, hit.way as usize, now);
    }
}

/// Makes a pin, in the place of the one that the connection has. Whether there was room.
#[inline(always)]
pub(crate) fn put<T: Tables>(tables: &T, hit: &Hit, pin: Pin) -> Result<bool, Verdict> {
    let made = if hit.value != 0 {
        tables.set_pin(hit.bucket, hit.way as usize, pin.raw());
        true
    } else {
        match insert(tables, hit.tag, pin.raw()) {
            MADE => true,
            REFUSED => false,
            _ => return Err(Verdict::BAD_TABLE),
        }
    };
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

/// False: there is no such bucket.
#[inline(never)]
fn search<T: Tables>(tables: &T, hit: &mut Hit) -> bool {
    let Some(mask) = tables.pin_mask() else { return false };
    let (tag, mut place) = (hit.tag, 0);
    for (turn, bucket) in pin::buckets(tag, mask).into_iter().enumerate() {
        for way in 0..PIN_WAYS {
            let Some(entry) = tables.pin(bucket, way) else { return false };
            if entry.tag == tag {
                (hit.value, place) = (entry.value, turn << 2 | way);
            }
        }
    }
    let place = T::forget(place as u64, tag) as u32;
    let [first, second] = pin::buckets(tag, mask);
    hit.bucket = if place & 4 == 0 { first } else { second };
    hit.way = place & 3;
    true
}

const REFUSED: u32 = 0;
const MADE: u32 = 1;
const BAD: u32 = 2;

/// Puts a new pin where there is room.
#[inline(never)]
fn insert<T: Tables>(tables: &T, tag: u64, value: u64) -> u32 {
    let Some(mask) = tables.pin_mask() else { return BAD };
    let [one, other] = pin::buckets(tag, mask);
    let half = value >> Pin::STATE == PinState::Half as u64;
    let (mut first, mut second) = (Room::NONE, Room::NONE);
    if !room(tables, one, half, &mut first) || !room(tables, other, half, &mut second) {
        return BAD;
    }
    let (bucket, room) = if second.free > first.free { (other, second) } else { (one, first) };
    let way = room.way as usize;
    // Lost to another packet, it is as if there were no room.
    if room.free == 0 || !tables.claim_pin(bucket, way, room.tag, BUSY) {
        return REFUSED;
    }
    tables.set_pin(bucket, way, value);
    tables.claim_pin(bucket, way, BUSY, tag);
    MADE
}

/// Room in a bucket.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Room {
    /// What stands there now.
    tag: u64,
    way: u32,
    /// How good it is: 0 none, 1 in the place of a pin that may give way, more the more ways are free.
    free: u32,
}

impl Room {
    const NONE: Self = Self { tag: FREE, way: 0, free: 0 };

    /// As [`crate::parse::Packet::forget`].
    #[inline(always)]
    fn forget<T: Tables>(&mut self, salt: u64) {
        self.way = T::forget(u64::from(self.way), salt) as u32;
        self.free = T::forget(u64::from(self.free), salt) as u32;
    }
}

/// The room that a bucket has for a pin, which is half open or more. False: there is no such bucket.
#[inline(never)]
fn room<T: Tables>(tables: &T, bucket: u32, half: bool, room: &mut Room) -> bool {
    let now = Tick::at(tables.now());
    let (mut free, mut yields) = (Room::NONE, Room::NONE);
    let mut halves = 0;
    for way in 0..PIN_WAYS as u32 {
        let Some(entry) = tables.pin(bucket, way as usize) else { return false };
        let here = |free: u32| Room { tag: entry.tag, way, free };
        match Pin::from_raw(entry.value) {
            _ if entry.tag == BUSY => {}
            Some(pin) if entry.tag != FREE && !pin.has_ended(now) => {
                if pin.state as u8 == PinState::Half as u8 {
                    halves += 1;
                    if now.since(pin.last) >= HALF_YIELDS {
                        yields = here(1);
                    }
                }
            }
            _ => free = here(free.free + 2),
        }
        free.forget::<T>(entry.value);
        yields.forget::<T>(entry.value);
        halves = T::forget(halves, entry.value);
    }
    let full = half && halves >= MOST_HALF as u64;
    *room = if full || free.free == 0 { yields } else { free };
    true
}
