//! From a verdict about a node to the first packet that goes by it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lb_user::decide::Intent;
use serde::Serialize;

use super::{Shape, Times, bed::Bed, in_turn};
use crate::stop::Stop;

/// What is in the figures, and what is not.
pub const PARTS: &str = "decided: health, tables, the plan and its invariants; committed: until the \
     epoch is stored; seen: a test run of a first packet, with its system call; shown: afterwards, the \
     maps for people. Not in it: the check itself, the queue to the daemon's loop, and the lines that \
     it writes about events";

/// Deaths and returns under one configuration.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Visible {
    /// The configuration.
    #[serde(flatten)]
    pub shape: Shape,
    /// A node dies: until the first packet of a flow that was its own goes to another one.
    pub deaths: Steps,
    /// It is back: until the first packet of a flow that is its own goes there.
    pub returns: Steps,
}

/// What it takes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Steps {
    /// From the outcome of a check to a plan.
    pub decided: Times,
    /// From the plan to the store of the epoch.
    pub committed: Times,
    /// From there until a packet has gone by it, which came then.
    pub seen: Times,
    /// From the outcome of a check until a packet has gone by it.
    pub total: Times,
    /// The maps for people, behind the packet: the next outcome waits for it.
    pub shown: Times,
}

#[derive(Default)]
struct Runs {
    decided: Vec<Duration>,
    committed: Vec<Duration>,
    seen: Vec<Duration>,
    total: Vec<Duration>,
    shown: Vec<Duration>,
}

/// One configuration, and its runs so far.
struct Bench {
    shape: Shape,
    bed: Bed,
    deaths: Runs,
    returns: Runs,
}

/// So many deaths and returns under each configuration, in turn.
///
/// # Errors
/// The kernel refuses something, packets did not go where they should have, or the switch is pulled.
pub fn measure(rounds: usize, stop: &Stop) -> Result<Vec<Visible>> {
    let mut benches = Shape::ALL.into_iter().map(Bench::new).collect::<Result<Vec<_>>>()?;
    in_turn(&mut benches, rounds, stop, Bench::round)?;
    let visible = |Bench { shape, deaths, returns, .. }: Bench| Visible {
        shape,
        deaths: deaths.steps(),
        returns: returns.steps(),
    };
    Ok(benches.into_iter().map(visible).collect())
}

impl Bench {
    fn new(shape: Shape) -> Result<Self> {
        let mut bed = Bed::new(shape)?;
        let plan = bed.first()?;
        commit(&mut bed, &plan)?;
        Ok(Self { shape, bed, deaths: Runs::default(), returns: Runs::default() })
    }

    /// A node dies, and comes back when the windows of that have closed. At the end no slot has moved,
    /// as before.
    fn round(&mut self, round: usize) -> Result<()> {
        let Self { shape, bed, deaths, returns } = self;
        let dies = bed.flow(round % shape.services);
        let owner = bed.owner(&dies)?;
        // For its return another flow of its own: one that went elsewhere might be pinned there.
        let mut comes = bed.flow(round % shape.services);
        while bed.owner(&comes)? != owner {
            comes = bed.flow(round % shape.services);
        }
        let heir = deaths.step(bed, owner, false, &dies)?;
        ensure!(heir != owner, "packets still go to node {owner}, which is dead");
        settle(bed)?;
        let back = returns.step(bed, owner, true, &comes)?;
        ensure!(back == owner, "packets go to node {back}, and node {owner} is back");
        settle(bed)?;
        let owners = [bed.owner(&dies)?, bed.owner(&comes)?];
        ensure!(owners == [owner; 2], "flows of node {owner} went to {owners:?} at last");
        Ok(())
    }
}

impl Runs {
    /// A node answers, or no longer does. Returns the node that the flow goes to then.
    fn step(&mut self, bed: &mut Bed, node: usize, answers: bool, frame: &[u8]) -> Result<usize> {
        let (event, before) = (bed.checked(node, answers)?, bed.runner.opened.dataplane.epoch());
        let begin = Instant::now();
        let plan = bed.decide(&[event])?;
        let decided = Instant::now();
        let epoch = bed.runner.opened.dataplane.commit(&plan)?;
        let committed = Instant::now();
        let owner = bed.owner(frame)?;
        let seen = Instant::now();
        bed.runner.opened.dataplane.show(&plan)?;
        let shown = Instant::now();
        ensure!(epoch == before + 1, "epoch {before}, then {epoch}");
        graced(bed, epoch)?;
        self.decided.push(decided - begin);
        self.committed.push(committed - decided);
        self.seen.push(seen - committed);
        self.total.push(seen - begin);
        self.shown.push(shown - seen);
        Ok(owner)
    }

    fn steps(&self) -> Steps {
        let Self { decided, committed, seen, total, shown } = self;
        let [decided, committed, seen, total, shown] =
            [decided, committed, seen, total, shown].map(|times| Times::of(times));
        Steps { decided, committed, seen, total, shown }
    }
}

fn settle(bed: &mut Bed) -> Result<()> {
    let plan = bed.settled()?;
    commit(bed, &plan)
}

fn commit(bed: &mut Bed, plan: &Intent) -> Result<()> {
    let dataplane = &mut bed.runner.opened.dataplane;
    let epoch = dataplane.commit(plan)?;
    dataplane.show(plan)?;
    graced(bed, epoch)
}

fn graced(bed: &mut Bed, epoch: u64) -> Result<()> {
    bed.runner.opened.grace.wait()?;
    bed.runner.opened.dataplane.graced(epoch);
    Ok(())
}
