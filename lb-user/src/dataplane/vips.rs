//! Builds the VIP table: Robin Hood order in open addressing, so that no search is long.

use lb_common::{
    ServiceId, VipEntry, VipKey,
    layout::{VIP_BIT_WORDS, VIP_PLACES},
    vip::{MAX_PROBES, next_place},
};
use thiserror::Error;

/// A VIP table and the bitmap of addresses in front of it.
#[derive(Debug)]
pub struct Vips {
    /// One bit for each hash of an address.
    pub bits: [u64; VIP_BIT_WORDS as usize],
    /// The places.
    pub places: Vec<VipEntry>,
}

/// A VIP found no place within [`MAX_PROBES`].
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the VIP table has no place left for {0:?}")]
pub struct VipsFull(pub VipKey);

/// The table of these VIPs. It depends on the set only, not on its order.
///
/// # Errors
/// [`VipsFull`] when a VIP would lie too far from where its search begins.
pub fn build(vips: &[(VipKey, ServiceId)]) -> Result<Vips, VipsFull> {
    let mut table = Vips {
        bits: [0; VIP_BIT_WORDS as usize],
        places: vec![VipEntry::default(); VIP_PLACES as usize],
    };
    let mut sorted = vips.to_vec();
    sorted.sort();
    for (key, service) in sorted {
        let (word, mask) = key.bit();
        table.bits[word as usize] |= mask;
        insert(&mut table.places, VipEntry::exact(&key, service.raw()))?;
    }
    Ok(table)
}

fn insert(places: &mut [VipEntry], mut entry: VipEntry) -> Result<(), VipsFull> {
    let mut place = entry.key().place();
    let mut distance = 0;
    // Each turn moves one place on, and an entry pushed out goes on from where it lay.
    for _ in 0..VIP_PLACES {
        if distance >= MAX_PROBES {
            return Err(VipsFull(entry.key()));
        }
        let there = &mut places[place as usize];
        if there.used == 0 {
            *there = entry;
            return Ok(());
        }
        let its_distance = place.wrapping_sub(there.key().place()) & (VIP_PLACES - 1);
        if its_distance < distance {
            std::mem::swap(there, &mut entry);
            distance = its_distance;
        }
        place = next_place(place);
        distance += 1;
    }
    Err(VipsFull(entry.key()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use lb_common::layout::MAX_SERVICES;

    use super::*;

    /// The search of the packet's way, again, by hand.
    fn find(table: &Vips, key: &VipKey) -> Option<u16> {
        let mut place = key.place();
        for _ in 0..MAX_PROBES {
            let entry = &table.places[place as usize];
            if entry.used == 0 {
                return None;
            }
            if entry.matches(key) {
                return Some(entry.service);
            }
            place = (place + 1) % VIP_PLACES;
        }
        None
    }

    fn full_set(seed: u64) -> Vec<(VipKey, ServiceId)> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            lb_common::hash::mix(state)
        };
        let mut keys: HashMap<VipKey, ()> = HashMap::new();
        while keys.len() < MAX_SERVICES as usize {
            let r = next();
            // Few addresses, many ports for even seeds; many addresses for odd ones.
            let address =
                if seed.is_multiple_of(2) { 0xc000_0200 | (r as u32 & 7) } else { r as u32 };
            keys.insert(VipKey::v4(address, (r >> 40) as u16, 6), ());
        }
        keys.into_keys().zip((0..).filter_map(ServiceId::new)).collect()
    }

    #[test]
    fn every_vip_of_a_full_table_is_found_and_no_other() {
        for seed in 0..200 {
            let vips = full_set(seed);
            let table = build(&vips).expect("a half-full table");
            for (key, service) in &vips {
                assert_eq!(find(&table, key), Some(service.raw()), "seed {seed}");
                let (word, mask) = key.bit();
                assert_ne!(table.bits[word as usize] & mask, 0, "seed {seed}");
                let stranger = VipKey { port: key.port ^ 1, protocol: 17, ..*key };
                assert_eq!(find(&table, &stranger), None, "seed {seed}");
            }
        }
    }

    #[test]
    fn the_order_of_the_vips_does_not_matter() {
        let mut vips = full_set(3);
        let one = build(&vips).expect("table");
        vips.reverse();
        let other = build(&vips).expect("table");
        assert_eq!(one.places, other.places);
        assert_eq!(one.bits, other.bits);
    }

    #[test]
    fn a_set_that_does_not_fit_is_refused() {
        // More keys with one starting place than a search may try.
        let keys: Vec<_> = (0..=u16::MAX)
            .map(|port| VipKey::v4(0xc000_0201, port, 6))
            .filter(|key| key.place() == 77)
            .take(MAX_PROBES as usize + 1)
            .zip((0..).filter_map(ServiceId::new))
            .collect();
        assert_eq!(keys.len(), MAX_PROBES as usize + 1);
        assert!(build(&keys[1..]).is_ok());
        assert!(build(&keys).is_err());
    }
}
