//! Decides who owns each slot for a given set of eligible members, by dealing.
//!
//! Slots whose members so far are the same set, all passed over, are one group, however each
//! came there. A group is dealt to the next stage's members in runs by weight. A run whose
//! member is eligible is owned; any other joins the group of one member more. Since a group is
//! dealt only when all of its set is passed over, it is complete by then, and the runs depend on
//! the configuration only: every slot has one fixed order, whatever the health.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    mem,
};

use lb_common::hash::mix;

use super::{Bits, NOBODY, Order, Stage, chain};

/// How often a slot of a large tier looks into the tier's table before all are compared.
const PROBES: u64 = 64;

/// Groups by the set passed over.
type Groups = HashMap<Bits, Vec<u32>, BuildHasherDefault<Mixer>>;

impl Order {
    /// The owner of each slot while exactly these members are eligible, [`NOBODY`] where none is.
    pub fn owners(&self, eligible: &Bits) -> Vec<u16> {
        let mut dealer = Dealer {
            order: self,
            eligible,
            heirs: self.heirs(eligible),
            owners: self.home.clone(),
            groups: vec![Groups::default(); self.keys.len() + 1],
            candidates: Vec::new(),
            hand: Vec::new(),
        };
        dealer.group_by_home();
        for passed in 1..=self.keys.len() {
            for (passed, slots) in mem::take(&mut dealer.groups[passed]) {
                dealer.deal(&passed, &slots);
            }
        }
        dealer.owners
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

    /// Who may serve slots that are not at home.
    fn heirs(&self, eligible: &Bits) -> Heirs {
        let members = self.stages.iter().flat_map(|stage| &stage.members);
        let mut able = members.map(|m| m.member).filter(|&m| eligible.contains(m));
        match able.next() {
            None => Heirs::All(NOBODY),
            Some(first) if able.all(|m| m == first) => Heirs::All(first),
            Some(_) => Heirs::Many,
        }
    }

    /// Depends on the keys of those passed over, in no order, and on the stage.
    fn salt(&self, passed: &Bits, stage: usize) -> u64 {
        let keys = passed.iter().map(|member| mix(self.keys[usize::from(member)]));
        chain(keys.fold(0, u64::wrapping_add), stage as u64)
    }
}

/// Every slot's order ends with all members of all stages: so one that alone is eligible among
/// them has all that its home may not serve.
enum Heirs {
    All(u16),
    Many,
}

struct Dealer<'a> {
    order: &'a Order,
    eligible: &'a Bits,
    heirs: Heirs,
    owners: Vec<u16>,
    /// By the number of members passed over. All that a group passes on goes to larger ones.
    groups: Vec<Groups>,
    /// Room for the members that a group is dealt to, and for its slots.
    candidates: Vec<Candidate>,
    hand: Vec<(u64, u32)>,
}

impl Dealer<'_> {
    /// The first groups: the slots whose home is not eligible, by home.
    fn group_by_home(&mut self) {
        let members = self.order.keys.len();
        let mut by_home: Vec<Vec<u32>> = vec![Vec::new(); members];
        for (slot, &home) in self.owners.iter().enumerate() {
            if home != NOBODY && !self.eligible.contains(home) {
                by_home[usize::from(home)].push(slot as u32);
            }
        }
        for (home, slots) in by_home.into_iter().enumerate() {
            self.pass_on(Bits::none(members).with(home as u16), slots.into_iter());
        }
    }

    fn pass_on(&mut self, passed: Bits, slots: impl ExactSizeIterator<Item = u32>) {
        if slots.len() > 0 {
            self.groups[passed.len()].entry(passed).or_default().extend(slots);
        }
    }

    fn give(&mut self, slots: &[u32], owner: u16) {
        slots.iter().for_each(|&slot| self.owners[slot as usize] = owner);
    }

    fn deal(&mut self, passed: &Bits, slots: &[u32]) {
        if let Heirs::All(heir) = self.heirs {
            return self.give(slots, heir);
        }
        let left =
            |stage: &Stage| stage.members.iter().filter(|m| !passed.contains(m.member)).count();
        let mut stages = self.order.stages.iter().enumerate();
        let Some((number, stage, left)) =
            stages.find_map(|(i, stage)| Some((i, stage, left(stage))).filter(|(.., n)| *n > 0))
        else {
            return self.give(slots, NOBODY);
        };
        if let Some(table) = stage.table.as_ref().filter(|_| slots.len() < 2 * left) {
            return self.probe(stage, table, passed, slots);
        }
        let salt = self.order.salt(passed, number);
        let (mut candidates, mut hand) =
            (mem::take(&mut self.candidates), mem::take(&mut self.hand));
        shuffle(&mut candidates, stage, passed, &self.order.keys, salt);
        hand.clear();
        hand.extend(slots.iter().map(|&slot| (chain(salt, u64::from(slot)), slot)));
        hand.sort_unstable();
        let mut cuts = Cuts::new(&candidates, hand.len(), salt);
        let mut from = 0;
        for candidate in &candidates {
            let to = cuts.after(candidate);
            let run = hand[from..to].iter().map(|(_, slot)| *slot);
            from = to;
            if self.eligible.contains(candidate.member) {
                run.for_each(|slot| self.owners[slot as usize] = candidate.member);
            } else {
                self.pass_on(passed.with(candidate.member), run);
            }
        }
        (self.candidates, self.hand) = (candidates, hand);
    }

    /// Gives each slot of a large tier to the first eligible member that its probes of the
    /// tier's table meet, else to the eligible one with the greatest hash; where nobody of the
    /// tier may serve, all of it is passed over.
    fn probe(&mut self, stage: &Stage, table: &[u16], passed: &Bits, slots: &[u32]) {
        let able: Vec<u16> =
            stage.members.iter().map(|m| m.member).filter(|&m| self.eligible.contains(m)).collect();
        if able.is_empty() {
            let tier = Bits::of(self.order.keys.len(), |i| {
                stage.members.iter().any(|m| usize::from(m.member) == i)
            });
            return self.pass_on(passed.union(&tier), slots.iter().copied());
        }
        for &slot in slots {
            let place = |k: u64| chain(u64::from(slot), k) >> (64 - self.order.log2);
            let mut met = (0..PROBES).map(|k| table[place(k) as usize]);
            let rank = |&m: &u16| chain(u64::from(slot), self.order.keys[usize::from(m)]);
            let met = met.find(|&m| self.eligible.contains(m));
            let owner = met.or_else(|| able.iter().copied().max_by_key(rank));
            self.owners[slot as usize] = owner.unwrap_or(NOBODY);
        }
    }
}

/// A member that a group is dealt to.
struct Candidate {
    hash: u64,
    member: u16,
    weight: u32,
}

/// The members of a stage that are not passed over, in an order that depends on the salt.
fn shuffle(candidates: &mut Vec<Candidate>, stage: &Stage, passed: &Bits, keys: &[u64], salt: u64) {
    candidates.clear();
    let members = stage.members.iter().filter(|m| !passed.contains(m.member));
    candidates.extend(members.map(|m| {
        let hash = chain(salt, keys[usize::from(m.member)]);
        Candidate { hash, member: m.member, weight: m.weight }
    }));
    // Different keys have different hashes.
    candidates.sort_unstable_by_key(|c| c.hash);
}

/// Where each candidate's run of a group's slots ends: by cumulative weight, shifted by one
/// fraction for all, so that the roundings of many small groups even out.
struct Cuts {
    slots: u64,
    total: u64,
    sum: u64,
    shift: u128,
}

impl Cuts {
    fn new(candidates: &[Candidate], slots: usize, salt: u64) -> Self {
        let total = candidates.iter().map(|c| u64::from(c.weight)).sum();
        let fraction = chain(salt, u64::MAX) >> 32;
        Self { slots: slots as u64, total, sum: 0, shift: u128::from(fraction) * u128::from(total) }
    }

    /// The end of the next candidate's run; the last one's is the end of all.
    fn after(&mut self, candidate: &Candidate) -> usize {
        self.sum += u64::from(candidate.weight);
        if self.sum == self.total {
            return self.slots as usize;
        }
        let scaled = (u128::from(self.slots) * u128::from(self.sum)) << 32;
        ((scaled + self.shift) / (u128::from(self.total) << 32)) as usize
    }
}

/// Hashes sets for the maps of groups. Quick and the same every time; the order within a map is
/// never seen.
#[derive(Clone, Copy, Default)]
struct Mixer(u64);

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let word = chunk.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
            self.write_u64(word);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = mix(self.0 ^ word);
    }

    fn write_isize(&mut self, word: isize) {
        self.write_u64(word as u64);
    }
}
