//! Whole plans into the maps of a loaded program.

use std::{
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use lb_common::{Chunk, Generation, layout::CHUNK_SLOTS};
use lb_user::{
    dataplane::writer::{Step, Writer},
    decide::{Intent, Table},
};
use serde::Serialize;

use super::{Shape, Times, bed::Bed, in_turn};
use crate::stop::Stop;

/// Bytes of all that a commit writes beside slots: the records of one generation, each time whole
/// (`dataplane/records.rs`).
const RECORDS: usize = size_of::<Generation>();

/// Commits under one configuration.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Commits {
    /// The configuration.
    #[serde(flatten)]
    pub shape: Shape,
    /// Of a plan of which nothing is in the maps.
    pub first: Written,
    /// Of the plan after one node's death, with what it remembers of the one before.
    pub death: Written,
}

/// Commits of one kind.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Written {
    /// Chunks of slots that were written, of 1 KiB each: as many in each run.
    pub chunks: u32,
    /// Bytes of those, and of one generation's records.
    pub bytes: u64,
    /// From the plan to the store of the epoch.
    pub time: Times,
    /// The grace period after it. Packets go by the plan already.
    pub grace: Times,
}

/// Runs of one kind.
#[derive(Default)]
struct Runs {
    chunks: Vec<u32>,
    time: Vec<Duration>,
    grace: Vec<Duration>,
}

/// A configuration, and its runs so far.
struct Bench {
    shape: Shape,
    bed: Bed,
    writer: Writer,
    /// While all nodes live, and no slot has moved.
    plan: Arc<Intent>,
    first: Runs,
    death: Runs,
}

/// Commits so many times each under each configuration, in turn.
///
/// # Errors
/// The kernel refuses something, a commit changed nothing, or the switch is pulled.
pub fn measure(rounds: usize, stop: &Stop) -> Result<Vec<Commits>> {
    let mut benches = Shape::ALL.into_iter().map(Bench::new).collect::<Result<Vec<_>>>()?;
    in_turn(&mut benches, rounds, stop, Bench::round)?;
    let commits = |Bench { shape, first, death, .. }: Bench| {
        Ok(Commits { shape, first: first.written()?, death: death.written()? })
    };
    benches.into_iter().map(commits).collect()
}

impl Bench {
    fn new(shape: Shape) -> Result<Self> {
        let mut bed = Bed::new(shape)?;
        let (writer, plan) = (Writer::adopt(&bed.memory()), bed.first()?);
        Ok(Self { shape, bed, writer, plan, first: Runs::default(), death: Runs::default() })
    }

    /// The maps are emptied, a plan comes, a node dies; then it is back.
    fn round(&mut self, round: usize) -> Result<()> {
        let Self { shape, bed, writer, plan, first, death } = self;
        Runs::default().commit(bed, writer, &Intent::default())?;
        first.commit(bed, writer, plan)?;
        let frame = bed.flow(round % shape.services);
        let owner = bed.owner(&frame)?;

        let dead = bed.checked(owner, false)?;
        let after = bed.decide(&[dead])?;
        death.commit(bed, writer, &after)?;
        let heir = bed.owner(&frame)?;
        ensure!(heir != owner, "packets still go to node {owner}, which is dead");

        let back = bed.checked(owner, true)?;
        bed.decide(&[back])?;
        *plan = bed.settled()?;
        Ok(())
    }
}

impl Runs {
    fn commit(&mut self, bed: &mut Bed, writer: &mut Writer, plan: &Intent) -> Result<()> {
        let (memory, before) = (bed.memory(), writer.epoch());
        let mut written = Vec::with_capacity(2 * (plan.services.len() + plan.clusters.len()));
        let begin = Instant::now();
        let epoch = writer.commit_observed(&memory, plan, |step| {
            if let Step::Table(table) = step {
                written.push(table);
            }
            ControlFlow::Continue(())
        })?;
        let committed = Instant::now();
        bed.runner.opened.grace.wait()?;
        let graced = committed.elapsed();
        ensure!(epoch == before + 1 && memory.epoch() == epoch, "epoch {before} is in force still");
        writer.graced(epoch);
        self.chunks.push(chunks(plan, &written));
        self.time.push(committed - begin);
        self.grace.push(graced);
        Ok(())
    }

    fn written(&self) -> Result<Written> {
        let (least, most) = (self.chunks.iter().min(), self.chunks.iter().max());
        ensure!(least == most, "from {least:?} to {most:?} chunks were written");
        let chunks = most.copied().unwrap_or_default();
        ensure!(chunks > 0, "no slots were written");
        let bytes = RECORDS + size_of::<Chunk>() * chunks as usize;
        let (time, grace) = (Times::of(&self.time), Times::of(&self.grace));
        Ok(Written { chunks, bytes: bytes as u64, time, grace })
    }
}

/// How many chunks tables have, counted as [`Step::Table`] counts them: services', then clusters', each
/// followed by its base if it has one.
fn chunks(plan: &Intent, written: &[usize]) -> u32 {
    let tables = plan.services.iter().chain(&plan.clusters);
    let parts = |table: &Table| [Some(table.slots.len()), table.base.as_ref().map(|b| b.len())];
    let slots = tables.flat_map(parts).flatten().filter(|slots| *slots > 0);
    let chunks: Vec<u32> = slots.map(|slots| slots as u32 / CHUNK_SLOTS).collect();
    written.iter().map(|&table| chunks[table]).sum()
}

#[cfg(test)]
mod tests {
    use lb_common::Slot;

    use super::*;

    #[test]
    fn chunks_are_those_of_the_tables_that_were_written() {
        let table = |slots: usize, base: Option<usize>| Table {
            slots: vec![Slot::NONE; slots].into(),
            base: base.map(|slots| vec![Slot::NONE; slots].into()),
            ..Table::default()
        };
        let plan = Intent {
            services: vec![table(1024, None), table(0, None)],
            clusters: vec![table(4096, Some(4096)), table(2048, None)],
            ..Intent::default()
        };
        assert_eq!(chunks(&plan, &[]), 0);
        assert_eq!(chunks(&plan, &[0]), 2);
        assert_eq!(chunks(&plan, &[2, 3]), 8 + 4);
        assert_eq!(chunks(&plan, &[0, 1, 2, 3]), 2 + 8 + 8 + 4);
    }
}
