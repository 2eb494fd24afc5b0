//! Slot tables by size: their fixed orders, and who owns each slot.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lb_user::decide::tables::{Bits, NOBODY, Order, OrderSpec, Share, node_key};
use serde::Serialize;

use super::{Times, in_turn};
use crate::{bench::figures::Figures, stop::Stop};

/// Members of the clusters whose tables are built.
const MEMBERS: [usize; 5] = [2, 10, 100, 1000, 4096];

/// How long the table of a cluster takes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Build {
    /// Nodes of the cluster, of equal weight.
    pub members: usize,
    /// Slots of its table.
    pub slots: usize,
    /// Slots that one death moves: the median.
    pub slots_moved_median: f64,
    /// What is made once for a configuration: the order of members of each slot.
    pub order: Times,
    /// Who owns each slot while all live.
    pub owners: Times,
    /// Who owns each slot when one has died: another one in each run.
    pub owners_one_dead: Times,
}

/// What was seen of one size.
#[derive(Default)]
struct Seen {
    order: Vec<Duration>,
    owners: Vec<Duration>,
    dead: Vec<Duration>,
    moved: Figures,
    slots: usize,
}

/// Builds tables of all sizes so many times, in turn.
///
/// # Errors
/// A table is not what it should be, or the switch is pulled.
pub fn measure(rounds: usize, stop: &Stop) -> Result<Vec<Build>> {
    let mut seen = MEMBERS.map(|members| (members, Seen::default()));
    in_turn(&mut seen, rounds, stop, |(members, seen), round| seen.build(*members, round))?;
    let build = |(members, seen): (usize, Seen)| Build {
        members,
        slots: seen.slots,
        slots_moved_median: seen.moved.median(),
        order: Times::of(&seen.order),
        owners: Times::of(&seen.owners),
        owners_one_dead: Times::of(&seen.dead),
    };
    Ok(seen.into_iter().map(build).collect())
}

impl Seen {
    fn build(&mut self, members: usize, round: usize) -> Result<()> {
        let (spec, dead) = (spec(members), round * 7919 % members);
        let (all, fewer) = (Bits::of(members, |_| true), Bits::of(members, |i| i != dead));
        let (order, time) = timed(|| Order::new(&spec));
        self.order.push(time);
        let (before, time) = timed(|| order.owners(&all));
        self.owners.push(time);
        let (after, time) = timed(|| order.owners(&fewer));
        self.dead.push(time);
        self.slots = before.len();
        let moved = moved(&before, &after, dead as u16)?;
        self.moved.push(moved as f64);
        Ok(())
    }
}

/// As of a cluster of nodes of equal weight.
fn spec(members: usize) -> OrderSpec {
    let share = |member| Share { member, weight: 1 };
    let tier: Vec<Share> = (0..members as u16).map(share).collect();
    let keys = (0..members).map(|member| node_key("cluster", &format!("n{member:04}")));
    OrderSpec { keys: keys.collect(), members, home: tier.clone(), stages: vec![tier] }
}

fn timed<T>(what: impl FnOnce() -> T) -> (T, Duration) {
    let begin = Instant::now();
    let made = what();
    (made, begin.elapsed())
}

/// How many slots a death moved: all of the dead one, and no other.
///
/// # Errors
/// It moved none, others, or not all.
fn moved(before: &[u16], after: &[u16], dead: u16) -> Result<usize> {
    ensure!(before.len() == after.len(), "{} slots became {}", before.len(), after.len());
    let mut moved = 0;
    for (slot, (was, is)) in before.iter().zip(after).enumerate() {
        ensure!(*is != dead && *is != NOBODY, "slot {slot} is {is}'s, and {dead} is dead");
        ensure!(*was == dead || was == is, "slot {slot} went from {was} to {is}, who both live");
        moved += usize::from(*was == dead);
    }
    ensure!(moved > 0, "{dead} had no slot");
    Ok(moved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_death_moves_what_is_the_dead_ones() {
        assert_eq!(moved(&[0, 1, 2, 1], &[0, 2, 2, 0], 1).ok(), Some(2));
        assert!(moved(&[0, 1], &[0, 1], 1).is_err(), "nothing happened");
        assert!(moved(&[0, 1, 2], &[2, 2, 2], 1).is_err(), "another one's slot moved");
        assert!(moved(&[0, 2], &[0, 2], 1).is_err(), "it had none");
        assert!(moved(&[0, 1], &[0, NOBODY], 1).is_err(), "nobody has it");
    }

    #[test]
    fn each_size_is_built_once_a_round() {
        let mut seen = Seen::default();
        (0..3).for_each(|round| seen.build(10, round).expect("a table"));
        assert_eq!((seen.slots, seen.order.len(), seen.dead.len()), (8192, 3, 3));
        assert!((800.0..840.0).contains(&seen.moved.median()), "{:?}", seen.moved);
    }
}
