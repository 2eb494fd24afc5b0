//! Decides each slot's home: Maglev (Eisenbud et al., NSDI 2016, section 3.4) with weights and a
//! power-of-two size.
//!
//! Each member walks its own permutation of the slots (an offset and an odd skip) and takes the
//! next free one, as often as its weight earns it, until it has its quota to the slot.

use super::{NOBODY, Share, chain};

/// The table of 2^log2 slots; `members` in the order of their keys, weights 1 or more.
pub(super) fn table(keys: &[u64], members: &[Share], log2: u32) -> Vec<u16> {
    let size = 1usize << log2;
    let mut table = vec![NOBODY; size];
    let Some(heaviest) = members.iter().map(|share| u64::from(share.weight)).max() else {
        return table;
    };
    let mask = size as u64 - 1;
    let mut walkers: Vec<Walker> = members
        .iter()
        .zip(quotas(members, size as u32))
        .map(|(share, quota)| {
            let key = keys[usize::from(share.member)];
            Walker { share: *share, quota, credit: 0, at: chain(key, 1), skip: chain(key, 2) | 1 }
        })
        .collect();
    let mut free = size;
    while free > 0 {
        for walker in walkers.iter_mut().filter(|walker| walker.quota > 0) {
            walker.credit += u64::from(walker.share.weight);
            if walker.credit < heaviest {
                continue;
            }
            walker.credit -= heaviest;
            walker.quota -= 1;
            free -= 1;
            while table[(walker.at & mask) as usize] != NOBODY {
                walker.at = walker.at.wrapping_add(walker.skip);
            }
            table[(walker.at & mask) as usize] = walker.share.member;
        }
    }
    table
}

struct Walker {
    share: Share,
    quota: u32,
    credit: u64,
    at: u64,
    skip: u64,
}

/// How many of `size` slots each member gets: by weight, largest remainders rounded up, ties to
/// the one that comes first.
pub fn quotas(members: &[Share], size: u32) -> Vec<u32> {
    let total: u64 = members.iter().map(|share| u64::from(share.weight)).sum();
    let exact = |share: &Share| u64::from(size) * u64::from(share.weight);
    let mut quotas: Vec<u32> = members.iter().map(|share| (exact(share) / total) as u32).collect();
    let left = size - quotas.iter().sum::<u32>();
    let mut by_remainder: Vec<usize> = (0..members.len()).collect();
    by_remainder.sort_by_key(|&i| (std::cmp::Reverse(exact(&members[i]) % total), i));
    by_remainder.iter().take(left as usize).for_each(|&i| quotas[i] += 1);
    quotas
}
