//! Decides who owns which slot while some members get theirs back in parts (T7).
//!
//! Each slot is in one class by a hash of its number alone: then all members that withdraw from a
//! class do so together, and a table takes as many computations as there are different sets of them,
//! at most one for each class.

use super::{Bits, NOBODY, Order, chain};

/// Classes of slots, of nearly the same size.
pub const CLASSES: u8 = 16;

/// From how many classes of slots a member is kept away yet; 0: from none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Withheld(pub u8);

impl Withheld {
    /// Whether a slot's turn has come.
    pub fn allows(self, slot: u32) -> bool {
        class(slot) < CLASSES.saturating_sub(self.0)
    }
}

/// The class of a slot.
fn class(slot: u32) -> u8 {
    // "ramp"
    (chain(0x7261_6d70, u64::from(slot)) >> 60) as u8
}

/// The members of a set that may have a slot by now; `withheld` is by member, and may be empty.
pub fn allowed(eligible: &Bits, withheld: &[Withheld], slot: u32) -> Bits {
    let has = |member: u16| {
        let withheld = withheld.get(usize::from(member)).copied().unwrap_or_default();
        eligible.contains(member) && withheld.allows(slot)
    };
    match withheld.len() {
        0 => eligible.clone(),
        len => Bits::of(len, |member| has(member as u16)),
    }
}

impl Order {
    /// The owner of each slot, as [`Order::owners`], while members get only part of theirs. Slots that
    /// nobody else may serve they get at once.
    pub fn owners_in_part(&self, eligible: &Bits, withheld: &[Withheld]) -> Vec<u16> {
        let mut owners = self.owners(eligible);
        if withheld.iter().all(|withheld| *withheld == Withheld::default()) {
            return owners;
        }
        let mut by_class: [Option<Bits>; CLASSES as usize] = [const { None }; CLASSES as usize];
        for slot in 0..owners.len() as u32 {
            let able = &mut by_class[usize::from(class(slot))];
            able.get_or_insert_with(|| allowed(eligible, withheld, slot));
        }
        let mut sets: Vec<&Bits> = by_class.iter().flatten().collect();
        sets.sort_unstable();
        sets.dedup();
        for set in sets.into_iter().filter(|set| *set != eligible) {
            let part = self.owners(set);
            for (slot, owner) in (0..).zip(&mut owners) {
                let is_it = by_class[usize::from(class(slot))].as_ref() == Some(set);
                if is_it && part[slot as usize] != NOBODY {
                    *owner = part[slot as usize];
                }
            }
        }
        owners
    }
}
