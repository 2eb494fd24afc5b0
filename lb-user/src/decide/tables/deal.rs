//! Decides who owns each slot for a given set of eligible members, by dealing.
//!
//! Slots whose members so far are the same set, all passed over, are one group, however each
//! came there. A group is dealt to the next stage's members in runs by weight. A run whose
//! member is eligible is owned; any other joins the group of one member more. Since a group is
//! dealt only when all of its set is passed over, it is complete by then, and the runs depend on
//! the configuration only: every slot has one fixed order, whatever the health.

use std::collections::BTreeMap;

use lb_common::hash::mix;

use super::{Bits, LARGE_TIER, NOBODY, Order, Stage, chain};

/// How often a slot of a large tier looks into the tier's table before all are compared.
const PROBES: u64 = 64;

/// Groups by the set passed over, smaller sets first.
type Groups = BTreeMap<(usize, Bits), Vec<u32>>;

impl Order {
    /// The owner of each slot while exactly these members are eligible, [`NOBODY`] where none is.
    pub fn owners(&self, eligible: &Bits) -> Vec<u16> {
        let mut owners = self.home.clone();
        let mut groups = self.homeless(&owners, eligible);
        while let Some(((_, passed), slots)) = groups.pop_first() {
            self.deal(&passed, &slots, eligible, &mut owners, &mut groups);
        }
        owners
    }

    /// Who is asked for one slot, in order: those passed over, then its owner if it has one.
    pub fn path(&self, slot: u32, eligible: &Bits) -> Vec<u16> {
        let (count, slot) = (self.keys.len(), slot as usize);
        let mut passed = Bits::none(count);
        let mut path = Vec::new();
        let mut next = self.home[slot];
        while next != NOBODY {
            path.push(next);
            if eligible.contains(next) {
                break;
            }
            passed.insert(next);
            let others = Bits::of(count, |i| !passed.contains(i as u16));
            next = self.owners(&others)[slot];
        }
        path
    }

    /// The slots whose home is not eligible, grouped by home.
    fn homeless(&self, owners: &[u16], eligible: &Bits) -> Groups {
        let mut by_home: Vec<Vec<u32>> = vec![Vec::new(); self.keys.len()];
        for (slot, &home) in owners.iter().enumerate() {
            if home != NOBODY && !eligible.contains(home) {
                by_home[usize::from(home)].push(slot as u32);
            }
        }
        let nobody = Bits::none(self.keys.len());
        by_home
            .into_iter()
            .enumerate()
            .filter(|(_, slots)| !slots.is_empty())
            .map(|(home, slots)| ((1, nobody.with(home as u16)), slots))
            .collect()
    }

    fn deal(
        &self,
        passed: &Bits,
        slots: &[u32],
        eligible: &Bits,
        owners: &mut [u16],
        groups: &mut Groups,
    ) {
        let left = |stage: &Stage| stage.members.iter().any(|m| !passed.contains(m.member));
        let mut give = |slots: &[u32], owner: u16| {
            slots.iter().for_each(|&slot| owners[slot as usize] = owner);
        };
        // Every order ends with all members of all stages: one that is eligible alone has it all.
        let mut heirs = self.stages.iter().flat_map(|stage| &stage.members);
        let Some(heir) = heirs.find(|m| eligible.contains(m.member)) else {
            return give(slots, NOBODY);
        };
        if !heirs.any(|m| m.member != heir.member && eligible.contains(m.member)) {
            return give(slots, heir.member);
        }
        let Some((number, stage)) = self.stages.iter().enumerate().find(|(_, s)| left(s)) else {
            return give(slots, NOBODY);
        };
        let salt = self.salt(passed, number);
        let candidates = stage.candidates(passed, &self.keys, salt);
        if let Some(table) = stage.table.as_ref().filter(|_| slots.len() < 2 * candidates.len()) {
            let lost = self.probe(stage, table, slots, eligible, owners);
            if !lost.is_empty() {
                let everybody = candidates.iter().fold(passed.clone(), |p, c| p.with(c.member));
                groups.entry((everybody.len(), everybody)).or_default().extend(lost);
            }
            return;
        }
        let slots = sorted_slots(slots, salt);
        let mut from = 0;
        for (candidate, to) in candidates.iter().zip(cuts(&candidates, slots.len(), salt)) {
            let run = &slots[from..to];
            from = to;
            if eligible.contains(candidate.member) {
                give(run, candidate.member);
            } else if !run.is_empty() {
                let passed = passed.with(candidate.member);
                groups.entry((passed.len(), passed)).or_default().extend(run);
            }
        }
    }

    /// Depends on the keys of those passed over, in no order, and on the stage.
    fn salt(&self, passed: &Bits, stage: usize) -> u64 {
        let keys = passed.iter().map(|member| mix(self.keys[usize::from(member)]));
        chain(keys.fold(0, u64::wrapping_add), stage as u64)
    }

    /// Gives each slot of a large tier to the first eligible member that its probes of the
    /// tier's table meet, else to the eligible one with the greatest hash; returns those that
    /// nobody of the tier may serve.
    fn probe(
        &self,
        stage: &Stage,
        table: &[u16],
        slots: &[u32],
        eligible: &Bits,
        owners: &mut [u16],
    ) -> Vec<u32> {
        debug_assert!(stage.members.len() > LARGE_TIER);
        let mut lost = Vec::new();
        for &slot in slots {
            let place = |k: u64| chain(u64::from(slot), k) >> (64 - self.log2);
            let met = (0..PROBES).map(|k| table[place(k) as usize]).find(|&m| eligible.contains(m));
            let rendezvous = || {
                let able = stage.members.iter().map(|m| m.member).filter(|&m| eligible.contains(m));
                able.max_by_key(|&m| chain(u64::from(slot), self.keys[usize::from(m)]))
            };
            match met.or_else(rendezvous) {
                Some(member) => owners[slot as usize] = member,
                None => lost.push(slot),
            }
        }
        lost
    }
}

/// A member that a group is dealt to.
struct Candidate {
    hash: u64,
    member: u16,
    weight: u32,
}

impl Stage {
    /// Its members that are not passed over, shuffled by the salt.
    fn candidates(&self, passed: &Bits, keys: &[u64], salt: u64) -> Vec<Candidate> {
        let members = self.members.iter().filter(|m| !passed.contains(m.member));
        let mut candidates: Vec<Candidate> = members
            .map(|m| {
                let hash = chain(salt, keys[usize::from(m.member)]);
                Candidate { hash, member: m.member, weight: m.weight }
            })
            .collect();
        // Stable: equal hashes stay in the order of keys.
        candidates.sort_by_key(|c| c.hash);
        candidates
    }
}

/// The group's slots, shuffled by the salt.
fn sorted_slots(slots: &[u32], salt: u64) -> Vec<u32> {
    let mut hashed: Vec<(u64, u32)> =
        slots.iter().map(|&slot| (chain(salt, u64::from(slot)), slot)).collect();
    hashed.sort_unstable();
    hashed.into_iter().map(|(_, slot)| slot).collect()
}

/// Where each candidate's run ends: by cumulative weight, shifted by one fraction for all so
/// that roundings of many small groups even out.
fn cuts(candidates: &[Candidate], slots: usize, salt: u64) -> Vec<usize> {
    let total: u64 = candidates.iter().map(|c| u64::from(c.weight)).sum();
    let shift = u128::from(chain(salt, u64::MAX) >> 32) * u128::from(total);
    let mut sum = 0u64;
    let mut cuts: Vec<usize> = candidates
        .iter()
        .map(|c| {
            sum += u64::from(c.weight);
            let scaled = (slots as u128 * u128::from(sum)) << 32;
            ((scaled + shift) / (u128::from(total) << 32)) as usize
        })
        .collect();
    if let Some(last) = cuts.last_mut() {
        *last = slots;
    }
    cuts
}
