//! Builds the tables of destinations: Robin Hood order in open addressing, so that no search is
//! long, and beside it the port ranges.

use std::collections::BTreeMap;

use lb_common::{
    PortRange, VipEntry, VipKey, VipKind,
    layout::{REPLY_PLACES, REPLY_RANGES, VIP_BIT_WORDS, VIP_PLACES, VIP_RANGES},
    vip::MAX_PROBES,
};
use thiserror::Error;
use tracing::warn;

use crate::{
    config::Ports,
    decide::{Intent, Vip},
};

/// A table of destinations and the bitmap of addresses in front of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vips {
    /// One bit for each hash of an address.
    pub bits: [u64; VIP_BIT_WORDS as usize],
    /// The places.
    pub places: Vec<VipEntry>,
    /// The port ranges.
    pub ranges: Vec<PortRange>,
}

/// The destinations do not fit their table.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum VipsFull {
    /// One would lie too far from where its search begins.
    #[error("the table of destinations has no place left for {0:?}")]
    Place(VipKey),
    /// There are more port ranges than the map holds.
    #[error("more than {0} port ranges")]
    Ranges(u32),
}

/// The table of a plan's services and their addresses, and of this host's own. It depends on what is
/// in it only, not on its order. Services go first: should one of the host's own addresses find no
/// place, the last ones are left out.
///
/// # Errors
/// [`VipsFull`], without own addresses.
pub fn services(intent: &Intent) -> Result<Vips, VipsFull> {
    let mut of_services = entries(&intent.vips);
    for vip in &intent.vips {
        let alive = intent.services.get(vip.service.index()).is_some_and(|table| table.healthy);
        let kept = || address(VipKind::Address, vip.address);
        let entry = of_services.entry(VipKey::of_address(vip.address));
        entry.or_insert_with(kept).alive |= u8::from(alive);
    }
    let (mut own, ranges) = (&intent.own[..], ranges(&intent.vips));
    loop {
        let mut entries = of_services.clone();
        for own in own {
            let kept = || address(VipKind::Own, *own);
            entries.entry(VipKey::of_address(*own)).or_insert_with(kept);
        }
        match (build(entries, &ranges, VIP_PLACES, VIP_RANGES), own) {
            (Err(VipsFull::Place(_)), [fewer @ .., _]) => own = fewer,
            (built, _) => {
                let left_out = intent.own.len() - own.len();
                if left_out > 0 {
                    warn!("{left_out} of this host's own addresses have no place in their table");
                }
                return built;
            }
        }
    }
}

/// The table of the ports that replies of `nat` nodes come from.
///
/// # Errors
/// [`VipsFull`].
pub fn replies(intent: &Intent) -> Result<Vips, VipsFull> {
    build(entries(&intent.replies), &ranges(&intent.replies), REPLY_PLACES, REPLY_RANGES)
}

fn address(kind: VipKind, address: [u32; 4]) -> VipEntry {
    VipEntry { address, kind: kind as u8, ..VipEntry::default() }
}

/// What stands for ports: single ones, and one entry for all others of an address and protocol.
fn entries(vips: &[Vip]) -> BTreeMap<VipKey, VipEntry> {
    let mut entries = BTreeMap::new();
    for &Vip { address, ports, protocol, service } in vips {
        let blank = VipEntry { address, protocol, ..VipEntry::default() };
        let several =
            VipEntry { kind: VipKind::Ports as u8, service: VipEntry::NO_SERVICE, ..blank };
        let service = service.raw();
        match ports {
            Ports::One(port) => {
                let one = VipEntry { port, service, kind: VipKind::Port as u8, ..blank };
                entries.insert(one.key(), one);
            }
            Ports::Range { .. } => entries.entry(several.key()).or_insert(several).ranges += 1,
            Ports::All => entries.entry(several.key()).or_insert(several).service = service,
        }
    }
    entries
}

/// All ranges, by address, protocol and first port: those that belong together stand together.
fn ranges(vips: &[Vip]) -> BTreeMap<(VipKey, u16), PortRange> {
    let ranges = vips.iter().filter_map(|vip| match vip.ports {
        Ports::Range { first, last } => {
            let key = VipKey { address: vip.address, port: 0, protocol: vip.protocol };
            let range = PortRange { first, last, service: vip.service.raw(), reserved: 0 };
            Some(((key, first), range))
        }
        Ports::One(_) | Ports::All => None,
    });
    ranges.collect()
}

fn build(
    entries: BTreeMap<VipKey, VipEntry>,
    ranges: &BTreeMap<(VipKey, u16), PortRange>,
    places: u32,
    most_ranges: u32,
) -> Result<Vips, VipsFull> {
    if ranges.len() > most_ranges as usize {
        return Err(VipsFull::Ranges(most_ranges));
    }
    let mut table = Vips {
        bits: [0; VIP_BIT_WORDS as usize],
        places: vec![VipEntry::default(); places as usize],
        ranges: ranges.values().copied().collect(),
    };
    let mut next_range = 0;
    for (key, mut entry) in entries {
        let (word, mask) = key.bit();
        table.bits[word as usize] |= mask;
        // Entries and ranges are in the order of the same keys.
        entry.first_range = if entry.ranges == 0 { 0 } else { next_range };
        next_range += entry.ranges;
        insert(&mut table.places, entry)?;
    }
    Ok(table)
}

fn insert(places: &mut [VipEntry], mut entry: VipEntry) -> Result<(), VipsFull> {
    let count = places.len() as u32;
    let mut place = entry.key().place(count);
    let mut distance = 0;
    // Each turn moves one place on, and an entry pushed out goes on from where it lay.
    for _ in 0..count {
        if distance >= MAX_PROBES {
            break;
        }
        let there = &mut places[place as usize];
        if there.kind == VipKind::Free as u8 {
            *there = entry;
            return Ok(());
        }
        let its_distance = place.wrapping_sub(there.key().place(count)) & (count - 1);
        if its_distance < distance {
            std::mem::swap(there, &mut entry);
            distance = its_distance;
        }
        place = VipKey::next(place, count);
        distance += 1;
    }
    Err(VipsFull::Place(entry.key()))
}

#[cfg(test)]
#[path = "vips_tests.rs"]
mod tests;
