//! Writes a generation: all that a plan is but the slots of its tables.

use lb_common::{
    Directory, NodeRecord, PlanRecord, PortRange, ServiceRecord, VipEntry,
    layout::{
        MAX_CLUSTERS, MAX_NODES, MAX_SERVICES, REPLY_PLACES, REPLY_RANGES, VIP_BIT_WORDS,
        VIP_PLACES, VIP_RANGES, generation_index,
    },
};

use super::{
    memory::{Cells, Memory},
    vips::Vips,
};
use crate::decide::{Intent, Table};

/// Parts of a generation, in the order in which they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The destinations of services.
    Vips,
    /// The sources of replies.
    Replies,
    /// The plan's own record.
    Plan,
    /// Directories of services.
    Services,
    /// Directories of clusters.
    Clusters,
    /// Nodes.
    Nodes,
}

/// What is to be written.
pub(super) struct Records<'a> {
    pub(super) intent: &'a Intent,
    pub(super) plan: PlanRecord,
    pub(super) vips: Vips,
    pub(super) replies: Vips,
}

impl Records<'_> {
    /// Writes them as the generation of an epoch; `directory` says where a table's slots are. `at` is
    /// told each part before it is written, and may stop there.
    pub(super) fn write<E>(
        &self,
        memory: &Memory,
        epoch: u64,
        directory: impl Fn(&Table) -> Directory,
        mut at: impl FnMut(Part) -> Result<(), E>,
    ) -> Result<(), E> {
        let intent = self.intent;
        // Ids that nobody has point nowhere.
        let directory = |table: &Table| match table.slots.is_empty() {
            true => Directory::default(),
            false => directory(table),
        };
        at(Part::Vips)?;
        let maps = (&memory.vip_bits, &memory.vips, &memory.vip_ranges);
        write_book(maps, [VIP_PLACES, VIP_RANGES], epoch, &self.vips);
        at(Part::Replies)?;
        let maps = (&memory.reply_bits, &memory.replies, &memory.reply_ranges);
        write_book(maps, [REPLY_PLACES, REPLY_RANGES], epoch, &self.replies);
        at(Part::Plan)?;
        memory.plans.set(generation_index(epoch, 1, 0), self.plan);
        at(Part::Services)?;
        for (i, id) in (0..MAX_SERVICES).zip(0usize..) {
            let table = intent.services.get(id).map(directory).unwrap_or_default();
            let vip = intent.addresses.get(id).copied().unwrap_or_default();
            let value = ServiceRecord { table, vip };
            memory.services.set(generation_index(epoch, MAX_SERVICES, i), value);
        }
        at(Part::Clusters)?;
        for (i, id) in (0..MAX_CLUSTERS).zip(0usize..) {
            let value = intent.clusters.get(id).map(directory).unwrap_or_default();
            memory.clusters.set(generation_index(epoch, MAX_CLUSTERS, i), value);
        }
        at(Part::Nodes)?;
        for (i, id) in (0..MAX_NODES).zip(0usize..) {
            let value = intent.nodes.get(id).copied().unwrap_or_else(NodeRecord::default);
            memory.nodes.set(generation_index(epoch, MAX_NODES, i), value);
        }
        Ok(())
    }
}

/// Writes destinations, or sources of replies, into the maps of one of them, which have so many places
/// and ranges for a generation.
fn write_book(
    (bits, entries, ranges): (&Cells<u64>, &Cells<VipEntry>, &Cells<PortRange>),
    [places, most_ranges]: [u32; 2],
    epoch: u64,
    book: &Vips,
) {
    for (i, &word) in (0..VIP_BIT_WORDS).zip(&book.bits) {
        bits.set(generation_index(epoch, VIP_BIT_WORDS, i), word);
    }
    for (i, &entry) in (0..places).zip(&book.places) {
        entries.set(generation_index(epoch, places, i), entry);
    }
    for (i, range) in (0..most_ranges).zip(filled(&book.ranges)) {
        ranges.set(generation_index(epoch, most_ranges, i), range);
    }
}

/// Ranges, then nothing for ever.
fn filled(ranges: &[PortRange]) -> impl Iterator<Item = PortRange> {
    ranges.iter().copied().chain(std::iter::repeat(PortRange::default()))
}
