//! One table over time: which slots moved, whom their old connections go to, and until when.
//!
//! A track is a value. What changes it gives another one, and the same one back if nothing changed,
//! so that tables with the same history stay one allocation.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use lb_common::{Slot, SlotState};

/// How long the old connections of a slot may go on after it moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Limit {
    /// So long they go to the node that they are on, pinned or not; zero: they move with the slot.
    pub drain: Duration,
    /// After that time those that are left move, too.
    pub hard: bool,
}

/// A table with what it was before.
#[derive(Debug, PartialEq, Eq)]
pub struct Track {
    /// Owners, with their states.
    slots: Arc<[Slot]>,
    /// There while a slot is `DRAIN`: of those the owner whom old connections go to, else nobody.
    base: Option<Arc<[Slot]>>,
    /// What the plan says, perhaps of half the size or less: who owns a slot owns those it is split in.
    decided: Arc<[Slot]>,
    /// By slot; empty while all of them are `CLEAN`.
    marks: Vec<Mark>,
    /// When the next window closes.
    ends: Option<Duration>,
}

/// What else is known of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// Nothing.
    Plain,
    /// `DRAIN`, until this time; `hard`: as [`Limit`] has it.
    Until { ends: Duration, hard: bool },
    /// `RESIDUE`, and those that are left move.
    Cut,
}

impl Mark {
    /// Behind a window.
    fn after(hard: bool) -> Self {
        if hard { Self::Cut } else { Self::Plain }
    }

    fn ends(&self) -> Option<Duration> {
        match *self {
            Self::Until { ends, .. } => Some(ends),
            Self::Plain | Self::Cut => None,
        }
    }
}

impl Track {
    /// A table that nothing is known of from before.
    pub fn at_rest(decided: &Arc<[Slot]>) -> Self {
        let (slots, decided) = (Arc::clone(decided), Arc::clone(decided));
        Self { slots, base: None, decided, marks: Vec::new(), ends: None }
    }

    /// The table that another process left: windows that are open count from now. `limit` as in
    /// [`Track::advance`].
    pub fn resumed(
        slots: &[Slot],
        base: Option<&[Slot]>,
        limit: impl Fn(Slot, Slot) -> Limit,
        now: Duration,
    ) -> Self {
        let decided: Arc<[Slot]> = slots.iter().map(|slot| clean(*slot)).collect();
        let mut draft = Self::at_rest(&decided).draft(slots.len());
        draft.slots.copy_from_slice(slots);
        for (i, slot) in slots.iter().enumerate().filter(|(_, s)| s.state() == SlotState::Drain) {
            let base = base.and_then(|base| base.get(i)).copied().map(clean);
            match base.map(|base| (base, limit(base, clean(*slot)))) {
                Some((base, limit)) if !limit.drain.is_zero() => draft.open(i, base, limit, now),
                Some((_, limit)) => draft.leave(i, Mark::after(limit.hard)),
                None => draft.leave(i, Mark::Plain),
            }
        }
        draft.finish(&decided)
    }

    /// The table as the plan has it now. `limit`, of a slot's owner before and now, says for how long
    /// the old one is remembered.
    #[must_use]
    pub fn advance(
        self: &Arc<Self>,
        decided: &Arc<[Slot]>,
        limit: impl Fn(Slot, Slot) -> Limit,
        now: Duration,
    ) -> Arc<Self> {
        let due = self.ends.is_some_and(|ends| ends <= now);
        if Arc::ptr_eq(&self.decided, decided) && !due {
            return Arc::clone(self);
        }
        let mut draft = self.draft(decided.len());
        let split = split(draft.slots.len(), decided.len());
        for i in 0..draft.slots.len() {
            draft.close(i, now);
            draft.turn(i, decided[i >> split], &limit, now);
        }
        Arc::new(draft.finish(decided))
    }

    /// The table as it is when its windows have closed.
    #[must_use]
    pub fn closed(self: &Arc<Self>) -> Arc<Self> {
        if self.ends.is_none() {
            return Arc::clone(self);
        }
        let mut draft = self.draft(0);
        (0..draft.slots.len()).for_each(|i| draft.close(i, Duration::MAX));
        Arc::new(draft.finish(&self.decided))
    }

    /// The table once a sweep found pins in these of its slots only, in ascending order: others need
    /// not be looked at any more.
    #[must_use]
    pub fn swept(self: &Arc<Self>, pinned: &[u32]) -> Arc<Self> {
        let done = |i: usize| {
            self.slots[i].state() == SlotState::Residue
                && pinned.binary_search(&(i as u32)).is_err()
        };
        if !(0..self.slots.len()).any(done) {
            return Arc::clone(self);
        }
        let mut draft = self.draft(0);
        for i in (0..self.slots.len()).filter(|&i| done(i)) {
            draft.slots[i] = clean(draft.slots[i]);
            draft.marks[i] = Mark::Plain;
        }
        Arc::new(draft.finish(&self.decided))
    }

    /// The table where other members stand for some.
    #[must_use]
    pub fn renamed(self: &Arc<Self>, heirs: &BTreeMap<u16, u16>) -> Arc<Self> {
        let heir = |slot: Slot| {
            let heir = slot.member().and_then(|member| heirs.get(&member));
            heir.map_or(slot, |&heir| Slot::clean(heir).in_state(slot.state()))
        };
        let base = self.base.iter().flat_map(|base| base.iter());
        if self.slots.iter().chain(base).all(|&slot| heir(slot) == slot) {
            return Arc::clone(self);
        }
        let mut draft = self.draft(0);
        for i in 0..draft.slots.len() {
            (draft.slots[i], draft.base[i]) = (heir(draft.slots[i]), heir(draft.base[i]));
            // Who moved from one to the other has moved nowhere.
            if draft.marks[i].ends().is_some() && draft.base[i] == clean(draft.slots[i]) {
                draft.leave(i, Mark::Plain);
            }
        }
        let decided: Arc<[Slot]> = self.decided.iter().map(|&slot| heir(slot)).collect();
        Arc::new(draft.finish(&decided))
    }

    /// Owners with their states.
    pub fn slots(&self) -> &Arc<[Slot]> {
        &self.slots
    }

    /// Whom old connections of the slots in `DRAIN` go to; there while there are such slots.
    pub fn base(&self) -> Option<&Arc<[Slot]>> {
        self.base.as_ref()
    }

    /// log2 of its number of slots.
    pub fn log2(&self) -> u32 {
        self.slots.len().trailing_zeros()
    }

    /// When its next window closes.
    pub fn ends(&self) -> Option<Duration> {
        self.ends
    }

    /// When the last window closes of slots whose old connections go to a member.
    pub fn closes_for(&self, member: u16) -> Option<Duration> {
        let marks = self.base.as_ref()?.iter().zip(&self.marks);
        let its = marks.filter(|(base, _)| base.member() == Some(member));
        its.filter_map(|(_, mark)| mark.ends()).max()
    }

    /// Whether the pins that are left in a slot are to go.
    pub fn is_cut(&self, slot: usize) -> bool {
        self.marks.get(slot) == Some(&Mark::Cut)
    }

    /// Whether all slots are `CLEAN`.
    pub fn is_clean(&self) -> bool {
        self.marks.is_empty()
    }

    /// To be changed, of so many slots at least.
    fn draft(&self, slots: usize) -> Draft {
        let length = slots.max(self.slots.len());
        let split = split(length, self.slots.len());
        let stretch = |from: &[Slot]| (0..length).map(|i| from[i >> split]).collect();
        let mark = |i: usize| self.marks[i >> split];
        Draft {
            slots: stretch(&self.slots),
            base: self.base.as_ref().map_or_else(|| vec![Slot::NONE; length], |base| stretch(base)),
            marks: if self.is_clean() {
                vec![Mark::Plain; length]
            } else {
                (0..length).map(mark).collect()
            },
        }
    }
}

/// log2 of how many slots of a table of `length` one of a table of `decided` slots is split in: slots
/// are named by the top bits of a hash.
fn split(length: usize, decided: usize) -> u32 {
    length.trailing_zeros() - decided.trailing_zeros()
}

fn clean(slot: Slot) -> Slot {
    slot.in_state(SlotState::Clean)
}

/// A track that is being changed.
struct Draft {
    slots: Vec<Slot>,
    base: Vec<Slot>,
    marks: Vec<Mark>,
}

impl Draft {
    /// Ends a slot's window if its time has come.
    fn close(&mut self, i: usize, now: Duration) {
        if let Mark::Until { ends, hard } = self.marks[i]
            && ends <= now
        {
            self.leave(i, Mark::after(hard));
        }
    }

    /// Gives a slot to its owner.
    fn turn(&mut self, i: usize, to: Slot, limit: impl Fn(Slot, Slot) -> Limit, now: Duration) {
        let (own, state) = (clean(self.slots[i]), self.slots[i].state());
        if to == own {
            return;
        }
        self.slots[i] = to.in_state(state);
        match state {
            SlotState::Drain if self.base[i] == to => self.leave(i, Mark::Plain),
            SlotState::Drain => {}
            SlotState::Clean | SlotState::Residue => self.open(i, own, limit(own, to), now),
        }
    }

    /// Old connections of a slot go to `base` from now on.
    fn open(&mut self, i: usize, base: Slot, limit: Limit, now: Duration) {
        if !limit.drain.is_zero() {
            self.slots[i] = self.slots[i].in_state(SlotState::Drain);
            self.base[i] = base;
            self.marks[i] = Mark::Until { ends: now + limit.drain, hard: limit.hard };
        }
    }

    /// Those without a pin go to the owner from now on.
    fn leave(&mut self, i: usize, mark: Mark) {
        self.slots[i] = self.slots[i].in_state(SlotState::Residue);
        self.base[i] = Slot::NONE;
        self.marks[i] = mark;
    }

    /// A table at rest is the plan's own.
    fn finish(self, decided: &Arc<[Slot]>) -> Track {
        let any = |state| self.slots.iter().any(|slot| slot.state() == state);
        let (drain, residue) = (any(SlotState::Drain), any(SlotState::Residue));
        if !drain && !residue {
            return Track::at_rest(decided);
        }
        Track {
            ends: self.marks.iter().filter_map(Mark::ends).min(),
            slots: self.slots.into(),
            base: drain.then(|| self.base.into()),
            decided: Arc::clone(decided),
            marks: self.marks,
        }
    }
}
