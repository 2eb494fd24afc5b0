//! Commits: what changed is written beside what is live, then one store of the epoch.
//!
//! Whoever is killed between any two steps leaves the old plan or the new one in force, and at
//! most some chunks that nobody refers to; the next writer finds them free.

use std::{collections::HashMap, ops::ControlFlow, sync::Arc};

use lb_common::{
    Chunk, Directory, PlanRecord, Slot,
    layout::{
        CHUNK_SLOTS, GENERATIONS, MAX_CHUNKS, MAX_CLUSTERS, MAX_NODES, MAX_SERVICES,
        MAX_TABLE_LOG2, MIN_TABLE_LOG2, generation_index,
    },
};
use thiserror::Error;

pub use super::records::Part;
use super::{memory::Memory, records::Records, vips};
use crate::decide::{Intent, Table};

/// The one writer of a [`Memory`].
pub struct Writer {
    live: u64,
    /// Programs that began before this epoch was in force have ended.
    graced: u64,
    /// Tables of the generations that programs may still read, `graced..=live`.
    generations: Vec<Generation>,
    /// As [`PlanRecord::file`] of what is committed from now on.
    file: u64,
}

struct Generation {
    epoch: u64,
    tables: Vec<Placed>,
}

/// A table in the slot memory.
#[derive(Clone)]
struct Placed {
    slots: Arc<[Slot]>,
    first: u32,
    /// Of its content, so that comparing hundreds of tables is cheap.
    fingerprint: u64,
}

/// The steps of a commit, in their order; each is announced before it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing is written yet.
    Begin,
    /// A table or the base of one (counted from 0) is about to be written into free chunks.
    Table(usize),
    /// These of the next generation are about to be written.
    Map(Part),
    /// The epoch is about to be stored.
    Store,
    /// The new plan is in force.
    Done,
}

/// Why a commit was not made. The plan in force stays.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CommitError {
    /// Programs may still read the generation that is to be written. Try again after a grace
    /// period, with the latest intent.
    #[error("the next generation may still be read")]
    Busy,
    /// The slot memory has no room. If [`Writer::waits_for_grace`], try again after it.
    #[error("no room for the slot tables: {wanted} chunks wanted, {free} free")]
    NoRoom {
        /// Consecutive chunks of the table that found no place.
        wanted: u32,
        /// Chunks free in all.
        free: u32,
    },
    /// The VIP table has no place for a service.
    #[error(transparent)]
    Vips(#[from] vips::VipsFull),
    /// More services, clusters or nodes than the maps hold, or a table of a wrong size.
    #[error("the plan does not fit the maps: {0}")]
    DoesNotFit(&'static str),
    /// The observer of the steps stopped it.
    #[error("stopped at {0:?}")]
    Stopped(Step),
}

impl Writer {
    /// Takes over the memory as it is: what the live generation refers to is in use, all else is
    /// free. Call it once a grace period has passed since the last writer's last store.
    pub fn adopt(memory: &Memory) -> Self {
        let epoch = memory.epoch();
        let directories = (0..MAX_SERVICES)
            .map(|i| memory.services.get(generation_index(epoch, MAX_SERVICES, i)))
            .map(|service| service.map(|service| service.table))
            .chain(
                (0..MAX_CLUSTERS)
                    .map(|i| memory.clusters.get(generation_index(epoch, MAX_CLUSTERS, i))),
            );
        let mut tables: HashMap<u32, Placed> = HashMap::new();
        let bases = |directory: Directory| {
            let base = Directory { first: directory.base, ..directory };
            [Some(directory), Some(base).filter(|base| base.first != Directory::NO_BASE)]
        };
        let placed = directories.flatten().filter(|d| d.log2 != 0).flat_map(bases).flatten();
        for directory in placed {
            tables.entry(directory.first).or_insert_with(|| {
                let slots: Arc<[Slot]> = (0..1u32 << (directory.log2 & 31))
                    .map_while(|i| memory.table_slot(&directory, i))
                    .collect();
                let fingerprint = fingerprint(&slots);
                Placed { slots, first: directory.first, fingerprint }
            });
        }
        let tables = tables.into_values().collect();
        let file = memory.heads.get(generation_index(epoch, 1, 0));
        let file = file.map_or(0, |generation| generation.plan.file);
        let generations = vec![Generation { epoch, tables }];
        Self { live: epoch, graced: epoch, generations, file }
    }

    /// The epoch in force.
    pub fn epoch(&self) -> u64 {
        self.live
    }

    /// A grace period that began when `epoch` was in force has ended: older generations and the
    /// chunks that only they used are free.
    pub fn graced(&mut self, epoch: u64) {
        self.graced = self.graced.max(epoch);
        self.generations.retain(|g| g.epoch >= self.graced);
    }

    /// Writes an intent and puts it in force. Returns the new epoch.
    ///
    /// # Errors
    /// See [`CommitError`]; nothing of the intent is in force then, unless it was
    /// [`CommitError::Stopped`] at [`Step::Done`].
    pub fn commit(&mut self, memory: &Memory, intent: &Intent) -> Result<u64, CommitError> {
        self.commit_observed(memory, intent, |_| ControlFlow::Continue(()))
    }

    /// As [`Writer::commit`]; `observe` is told each step before it is done and may stop there,
    /// as a crash would.
    ///
    /// # Errors
    /// As [`Writer::commit`].
    pub fn commit_observed(
        &mut self,
        memory: &Memory,
        intent: &Intent,
        mut observe: impl FnMut(Step) -> ControlFlow<()>,
    ) -> Result<u64, CommitError> {
        let mut at = |step| match observe(step) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(CommitError::Stopped(step)),
        };
        at(Step::Begin)?;
        fits(intent)?;
        let epoch = self.live + 1;
        // The generation to write was last in force as epoch - GENERATIONS.
        if epoch >= self.graced + u64::from(GENERATIONS) {
            return Err(CommitError::Busy);
        }
        let (vips, replies) = (vips::services(intent)?, vips::replies(intent)?);

        let mut placing = Placing::new(self);
        for (index, slots) in tables(intent).enumerate() {
            if !placing.knows(slots) {
                at(Step::Table(index))?;
                placing.place(memory, slots)?;
            }
        }

        let plan = PlanRecord { file: self.file, ..intent.plan };
        let key = memory.secret.get(0).ok_or(CommitError::DoesNotFit("a secret"))?;
        let records = Records { intent, plan, key, vips, replies };
        records.write(memory, epoch, |table| placing.directory(table), |map| at(Step::Map(map)))?;

        at(Step::Store)?;
        let tables = placing.used(intent);
        memory.store_epoch(epoch);
        self.live = epoch;
        self.generations.push(Generation { epoch, tables });
        at(Step::Done)?;
        Ok(epoch)
    }

    /// The file that says what the ids of what is committed name; 0: none.
    pub fn file(&self) -> u64 {
        self.file
    }

    /// What is committed from now on goes with this file.
    pub fn name_file(&mut self, file: u64) {
        self.file = file;
    }

    /// The slots of the tables of the live generation, by their first chunk.
    pub(super) fn live_slots(&self) -> HashMap<u32, Arc<[Slot]>> {
        let live = self.generations.iter().filter(|generation| generation.epoch == self.live);
        let tables = live.flat_map(|generation| &generation.tables);
        tables.map(|table| (table.first, Arc::clone(&table.slots))).collect()
    }

    /// Whether programs may still read an older generation than the live one.
    pub fn waits_for_grace(&self) -> bool {
        self.graced < self.live
    }

    /// Chunks that some generation still refers to.
    pub fn chunks_in_use(&self) -> u32 {
        self.occupied().iter().filter(|used| **used).count() as u32
    }

    fn occupied(&self) -> Vec<bool> {
        let mut occupied = vec![false; MAX_CHUNKS as usize];
        for table in self.generations.iter().flat_map(|g| &g.tables) {
            let first = table.first as usize;
            let last = (first + chunks(&table.slots) as usize).min(occupied.len());
            occupied[first.min(last)..last].fill(true);
        }
        occupied
    }
}

/// Tables finding their chunks during one commit.
///
/// Equal tables share their chunks: between services, and with what is live already.
struct Placing {
    occupied: Vec<bool>,
    /// By the address of their slots: most tables are the very ones of the last commit.
    same: HashMap<*const Slot, Placed>,
    /// By content.
    equal: HashMap<u64, Placed>,
    search_from: usize,
}

impl Placing {
    fn new(writer: &Writer) -> Self {
        let known = || writer.generations.iter().flat_map(|g| &g.tables);
        Self {
            occupied: writer.occupied(),
            same: known().map(|t| (t.slots.as_ptr(), t.clone())).collect(),
            equal: known().map(|t| (t.fingerprint, t.clone())).collect(),
            search_from: 0,
        }
    }

    /// Whether the table is in the slot memory.
    fn knows(&mut self, slots: &Arc<[Slot]>) -> bool {
        if self.same.contains_key(&slots.as_ptr()) {
            return true;
        }
        match self.equal.get(&fingerprint(slots)) {
            Some(placed) if placed.slots == *slots => {
                // Keep this copy: its address must not be another table's later.
                let placed = Placed { slots: slots.clone(), ..*placed };
                self.same.insert(slots.as_ptr(), placed);
                true
            }
            _ => false,
        }
    }

    fn place(&mut self, memory: &Memory, slots: &Arc<[Slot]>) -> Result<(), CommitError> {
        let wanted = chunks(slots);
        let first = self.free_run(wanted as usize).ok_or_else(|| CommitError::NoRoom {
            wanted,
            free: self.occupied.iter().filter(|used| !**used).count() as u32,
        })?;
        self.occupied[first..first + wanted as usize].fill(true);
        self.search_from = first + wanted as usize;
        for (index, piece) in (first as u32..).zip(slots.chunks(CHUNK_SLOTS as usize)) {
            let mut chunk = Chunk { slots: [Slot::NONE.raw(); CHUNK_SLOTS as usize] };
            for (to, from) in chunk.slots.iter_mut().zip(piece) {
                *to = from.raw();
            }
            memory.slots.set(index, chunk);
        }
        let fingerprint = fingerprint(slots);
        let placed = Placed { slots: slots.clone(), first: first as u32, fingerprint };
        self.equal.insert(fingerprint, placed.clone());
        self.same.insert(slots.as_ptr(), placed);
        Ok(())
    }

    /// The first run of free chunks behind the last one given, else from the start.
    fn free_run(&self, wanted: usize) -> Option<usize> {
        let find = |from: usize| {
            let mut length = 0;
            (from..self.occupied.len()).find_map(|i| {
                length = if self.occupied[i] { 0 } else { length + 1 };
                (length == wanted).then(|| i + 1 - wanted)
            })
        };
        find(self.search_from).or_else(|| find(0))
    }

    fn directory(&self, table: &Table) -> Directory {
        // Every table of the intent was found or placed before.
        let first = |slots: &Arc<[Slot]>| self.same.get(&slots.as_ptr()).map(|placed| placed.first);
        Directory {
            first: first(&table.slots).unwrap_or(u32::MAX),
            base: table.base.as_ref().and_then(first).unwrap_or(Directory::NO_BASE),
            log2: table.slots.len().trailing_zeros() as u8,
            healthy: u8::from(table.healthy),
            held: u8::from(table.held),
            by_source: u8::from(table.by_source),
            port: table.port,
            udp: table.udp as u8,
            flaps: table.flaps,
        }
    }

    /// The tables of an intent, each once by address.
    fn used(&self, intent: &Intent) -> Vec<Placed> {
        let mut used = HashMap::new();
        for slots in tables(intent) {
            let address = slots.as_ptr();
            if let Some(placed) = self.same.get(&address) {
                used.insert(address, placed.clone());
            }
        }
        used.into_values().collect()
    }
}

/// The slots of all tables and bases that there are.
fn tables(intent: &Intent) -> impl Iterator<Item = &Arc<[Slot]>> {
    let tables = intent.services.iter().chain(&intent.clusters);
    let slots = tables.flat_map(|table| std::iter::once(&table.slots).chain(&table.base));
    slots.filter(|slots| !slots.is_empty())
}

/// A 64-bit digest of a table's content; equality is always checked beside it.
fn fingerprint(slots: &[Slot]) -> u64 {
    slots.chunks(4).fold(slots.len() as u64, |digest, four| {
        let word = four.iter().fold(0, |word, slot| word << 16 | u64::from(slot.raw()));
        digest.rotate_left(5).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ word
    })
}

fn chunks(slots: &[Slot]) -> u32 {
    slots.len().div_ceil(CHUNK_SLOTS as usize) as u32
}

fn fits(intent: &Intent) -> Result<(), CommitError> {
    let over = |what| Err(CommitError::DoesNotFit(what));
    if intent.services.len() > MAX_SERVICES as usize
        || intent.addresses.len() != intent.services.len()
    {
        return over("services");
    }
    if intent.clusters.len() > MAX_CLUSTERS as usize {
        return over("clusters");
    }
    if intent.nodes.len() > MAX_NODES as usize {
        return over("nodes");
    }
    let sizes = (1usize << MIN_TABLE_LOG2)..=(1usize << MAX_TABLE_LOG2);
    let fits = |t: &Table| {
        let length = t.slots.len();
        let base = t.base.as_ref().is_none_or(|base| base.len() == length);
        base && (length == 0 || length.is_power_of_two() && sizes.contains(&length))
    };
    if !intent.services.iter().chain(&intent.clusters).all(fits) {
        return over("size of a table");
    }
    Ok(())
}
