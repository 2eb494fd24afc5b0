//! Slots over time, one rule a test. Owners are letters, `-` is nobody; what is published is written
//! `owner`, then `~base` in a window, `'` behind one.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use lb_common::{Slot, SlotState};

use crate::decide::moved::track::{Limit, Track};

const DRAIN: u64 = 300;

fn slot(name: u8) -> Slot {
    if name == b'-' { Slot::NONE } else { Slot::clean(u16::from(name - b'a')) }
}

fn decided(owners: &str) -> Arc<[Slot]> {
    owners.bytes().map(slot).collect()
}

fn letter(slot: Slot) -> char {
    slot.member().map_or('-', |member| char::from(b'a' + member as u8))
}

/// What is published of a track.
fn told(track: &Track) -> String {
    let tell = |(i, &slot): (usize, &Slot)| match slot.state() {
        SlotState::Clean => letter(slot).to_string(),
        SlotState::Drain => {
            let base = track.base().expect("a base table")[i];
            format!("{}~{}", letter(slot), letter(base))
        }
        SlotState::Residue => format!("{}'", letter(slot)),
    };
    let drains = track.slots().iter().any(|slot| slot.state() == SlotState::Drain);
    assert_eq!(track.base().is_some(), drains);
    assert_eq!(track.ends().is_some(), drains);
    track.slots().iter().enumerate().map(tell).collect::<Vec<_>>().join(" ")
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn soft(_: Slot, _: Slot) -> Limit {
    Limit { drain: at(DRAIN), hard: false }
}

/// A table that changes with time.
struct Table(Arc<Track>);

impl Table {
    fn new(owners: &str) -> Self {
        Self(Arc::new(Track::at_rest(&decided(owners))))
    }

    /// What is published once the plan has these owners, at a time in seconds.
    fn goes(&mut self, now: u64, owners: &str) -> String {
        self.with(now, owners, soft)
    }

    fn with(&mut self, now: u64, owners: &str, limit: impl Fn(Slot, Slot) -> Limit) -> String {
        self.0 = self.0.advance(&decided(owners), limit, at(now));
        told(&self.0)
    }

    /// What is published when a time has come.
    fn waits(&mut self, now: u64) -> String {
        let decided: String = self.0.slots().iter().map(|&slot| letter(slot)).collect();
        self.goes(now, &decided)
    }

    fn swept(&mut self, pinned: &[u32]) -> String {
        self.0 = self.0.swept(pinned);
        told(&self.0)
    }
}

#[test]
fn nothing_changes_by_itself() {
    let mut table = Table::new("ab-");
    let before = Arc::clone(&table.0);
    table.0 = table.0.advance(&Arc::clone(before.slots()), soft, at(1000));
    assert!(Arc::ptr_eq(&before, &table.0));
    assert_eq!(told(&table.0), "a b -");
}

#[test]
fn a_slot_that_moves_keeps_its_owner_as_base_until_the_limit() {
    let mut table = Table::new("ab");
    assert_eq!(table.goes(10, "bb"), "b~a b");
    assert_eq!(table.0.ends(), Some(at(310)));
    assert_eq!(table.waits(309), "b~a b");
    assert_eq!(table.waits(310), "b' b");
    assert!(!table.0.is_clean());
}

#[test]
fn more_changes_in_a_window_change_the_owner_alone() {
    let mut table = Table::new("a");
    assert_eq!(table.goes(0, "b"), "b~a");
    assert_eq!(table.goes(100, "c"), "c~a");
    assert_eq!(table.goes(200, "-"), "-~a");
    assert_eq!(table.waits(299), "-~a");
    assert_eq!(table.waits(300), "-'", "it opened with the first of them");
}

#[test]
fn who_comes_back_within_its_window_has_no_base_but_what_others_left() {
    let mut table = Table::new("a");
    assert_eq!(table.goes(0, "b"), "b~a");
    assert_eq!(table.goes(100, "a"), "a'");
    assert_eq!(table.goes(200, "b"), "b~a", "a window of its own");
    assert_eq!(table.0.ends(), Some(at(500)));
}

#[test]
fn what_moves_when_its_window_closes_opens_another() {
    let mut table = Table::new("a");
    assert_eq!(table.goes(0, "b"), "b~a");
    assert_eq!(table.goes(300, "a"), "a~b");
    assert_eq!(table.0.ends(), Some(at(600)));
}

#[test]
fn what_moves_out_of_residue_opens_a_window() {
    let mut table = Table::new("a");
    table.goes(0, "b");
    assert_eq!(table.waits(300), "b'");
    assert_eq!(table.goes(400, "c"), "c~b");
}

#[test]
fn nobody_can_be_owner_and_base() {
    let mut table = Table::new("-a");
    assert_eq!(table.goes(0, "a-"), "a~- -~a");
    assert_eq!(table.goes(1, "-a"), "-' a'");
}

#[test]
fn a_sweep_cleans_residue_without_pins_and_nothing_else() {
    let mut table = Table::new("aaaa");
    table.goes(0, "bbba");
    table.waits(300);
    assert_eq!(table.goes(301, "bbca"), "b' b' c~b a");
    assert_eq!(table.swept(&[1]), "b b' c~b a");
    let before = Arc::clone(&table.0);
    assert_eq!(table.swept(&[1]), "b b' c~b a");
    assert!(Arc::ptr_eq(&before, &table.0), "no news");
    assert_eq!(table.swept(&[]), "b b c~b a", "what drains is not swept");
    assert_eq!(table.waits(601), "b b c' a");
    assert_eq!(table.swept(&[]), "b b c a");
    assert!(table.0.is_clean() && table.0.ends().is_none());
}

#[test]
fn without_a_limit_slots_just_move() {
    let none = |_, _| Limit { drain: Duration::ZERO, hard: false };
    let mut table = Table::new("ab");
    assert_eq!(table.with(0, "cb", none), "c b");
    assert!(table.0.is_clean());
    // What pins there are from before still counts.
    table.goes(0, "ab");
    assert_eq!(table.waits(300), "a' b");
    assert_eq!(table.with(301, "bb", none), "b' b");
    // A window that is open stays.
    assert_eq!(table.goes(302, "ba"), "b' a~b");
    assert_eq!(table.with(303, "bc", none), "b' c~b");
}

#[test]
fn the_limit_is_the_one_of_the_change_that_opened_the_window() {
    let by_base = |was: Slot, is: Slot| {
        let seconds =
            was.member().or(is.member()).map_or(1, |member| 100 * (1 + u64::from(member)));
        Limit { drain: at(seconds), hard: false }
    };
    let mut table = Table::new("ab-");
    assert_eq!(table.with(0, "bab", by_base), "b~a a~b b~-");
    assert_eq!(table.0.ends(), Some(at(100)));
    table.with(50, "ccc", by_base);
    assert_eq!(table.with(99, "ccc", by_base), "c~a c~b c~-");
    assert_eq!(table.with(100, "ccc", by_base), "c' c~b c~-");
    assert_eq!(table.with(199, "ccc", by_base), "c' c~b c~-");
    assert_eq!(table.with(200, "ccc", by_base), "c' c' c'");
}

#[test]
fn a_hard_limit_cuts_what_is_left() {
    let hard = |_, _| Limit { drain: at(DRAIN), hard: true };
    let mut table = Table::new("aa");
    table.with(0, "ba", hard);
    table.with(100, "bb", hard);
    assert_eq!(table.with(150, "ba", hard), "b~a a'");
    assert_eq!(table.with(300, "ba", hard), "b' a'");
    assert_eq!([0, 1].map(|i| table.0.is_cut(i)), [true, false], "who came back took nothing away");
    assert_eq!(table.with(301, "ca", hard), "c~b a'");
    assert!(!table.0.is_cut(0), "it is a new window");
    table.waits(601);
    assert_eq!(table.swept(&[]), "c a");
}

#[test]
fn a_table_that_grows_is_split_at_once() {
    let mut table = Table::new("ab");
    assert_eq!(table.goes(0, "acbb"), "a c~a b b");
    // And a window over it is split with it.
    let mut table = Table::new("ab");
    table.goes(0, "cb");
    assert_eq!(table.goes(1, "cabb"), "c~a a' b b");
    assert_eq!(table.waits(300), "c' a' b b");
}

#[test]
fn a_table_that_shrinks_stays_large_until_it_is_clean() {
    let mut table = Table::new("abcd");
    assert_eq!(table.goes(0, "ad"), "a a~b d~c d");
    assert_eq!(table.0.advance(&decided("ad"), soft, at(300)).slots().len(), 4);
    assert_eq!(table.goes(300, "ad"), "a a' d' d");
    assert_eq!(table.goes(301, "aa"), "a a' a~d a~d");
    assert_eq!(table.swept(&[]), "a a a~d a~d");
    assert_eq!(table.goes(601, "aa"), "a a a' a'");
    assert_eq!(table.swept(&[2]), "a a a' a");
    assert_eq!(table.swept(&[]), "a a");
    // Nothing moved: it shrinks at once.
    let mut table = Table::new("aabb");
    assert_eq!(table.goes(0, "ab"), "a b");
}

#[test]
fn a_table_at_rest_is_the_plans() {
    let (plan, mut table) = (decided("bb"), Table::new("ab"));
    table.0 = table.0.advance(&plan, soft, at(0));
    assert_eq!(told(&table.0), "b~a b");
    table.0 = table.0.advance(&plan, soft, at(300)).swept(&[]);
    assert!(Arc::ptr_eq(table.0.slots(), &plan));
}

#[test]
fn what_another_process_left() {
    let mut table = Table::new("aaaa");
    table.goes(0, "baaa");
    table.waits(300);
    table.goes(400, "bcda");
    let (slots, base) = (table.0.slots(), table.0.base().map(|base| &base[..]));
    let mut next = Table(Arc::new(Track::resumed(slots, base, soft, at(7))));
    assert_eq!(told(&next.0), told(&table.0));
    assert_eq!(next.0.ends(), Some(at(307)), "windows count from the restart");
    assert_eq!(next.goes(8, "baea"), "b' a' e~a a");
    assert_eq!(next.waits(307), "b' a' e' a");

    let at_rest = Track::resumed(&decided("ab"), None, soft, at(7));
    assert!(at_rest.is_clean() && told(&at_rest) == "a b");
    let drains: Vec<Slot> = slots.iter().map(|slot| slot.in_state(SlotState::Drain)).collect();
    let lost = Track::resumed(&drains, None, soft, at(7));
    assert_eq!(told(&lost), "b' c' d' a'", "a base that is not there");
    // Their time is over, as it is zero now.
    for hard in [false, true] {
        let none = |_, _| Limit { drain: Duration::ZERO, hard };
        let over = Track::resumed(slots, base, none, at(7));
        assert_eq!((told(&over).as_str(), over.is_cut(1)), ("b' c' d' a", hard));
        assert_eq!(told(&Arc::new(over).swept(&[1])), "b c' d a");
    }
}

#[test]
fn who_is_called_otherwise_is_the_same() {
    let member = |name: u8| slot(name).member().expect("a member");
    let heirs = BTreeMap::from([(member(b'b'), member(b'c'))]);
    let mut table = Table::new("abcd");
    table.goes(0, "bcbd");
    assert_eq!(told(&table.0), "b~a c~b b~c d");
    table.0 = table.0.renamed(&heirs);
    assert_eq!(told(&table.0), "c~a c' c' d");
    assert_eq!(table.waits(300), "c' c' c' d");
    let before = Arc::clone(&table.0);
    assert!(Arc::ptr_eq(&before, &before.renamed(&heirs)), "nothing to be done");
}

#[test]
fn the_last_window_of_a_member_is_the_last_that_opened() {
    let mut table = Table::new("aabb");
    table.goes(0, "cabb");
    table.goes(10, "ccbc");
    let closes = |table: &Table| [0, 1, 2].map(|member| table.0.closes_for(member));
    let until = |opened: u64| Some(at(opened + DRAIN));
    assert_eq!(closes(&table), [until(10), until(10), None]);
    // Home again: that window is closed.
    table.goes(20, "cabc");
    assert_eq!(closes(&table), [until(0), until(10), None]);
    table.goes(10 + DRAIN, "cabc");
    assert_eq!(closes(&table), [None; 3]);
}
