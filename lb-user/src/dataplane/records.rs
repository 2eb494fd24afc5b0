//! Writes a generation: all that a plan is but the slots of its tables.

use lb_common::{
    Directory, GenerationHead, HashKey, NodeRecord, PlanRecord, PortRange, ServiceRecord, VipEntry,
    VipKind,
    layout::{
        MAX_CLUSTERS, MAX_NODES, MAX_SERVICES, REPLY_PLACES, REPLY_RANGES, VIP_PLACES, VIP_RANGES,
        generation_index,
    },
};

use super::{cells::Cells, memory::Memory, vips::Vips};
use crate::decide::{Intent, Table};

/// Parts of a generation, in the order in which they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The destinations of services.
    Vips,
    /// The sources of replies.
    Replies,
    /// What nearly each packet asks.
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
    pub(super) key: HashKey,
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
        let maps = (&memory.vips, &memory.vip_ranges);
        let services = |mut entry: VipEntry| {
            let table = intent.services.get(usize::from(entry.service));
            if let Some(table) = table.filter(|_| entry.kind == VipKind::Port as u8) {
                entry.set_table(&directory(table));
            }
            entry
        };
        write_book(maps, [VIP_PLACES, VIP_RANGES], epoch, &self.vips, services);
        at(Part::Replies)?;
        let maps = (&memory.replies, &memory.reply_ranges);
        write_book(maps, [REPLY_PLACES, REPLY_RANGES], epoch, &self.replies, |entry| entry);
        at(Part::Plan)?;
        let (vip_bits, reply_bits) = (self.vips.bits, self.replies.bits);
        let key = self.key;
        let head = GenerationHead { plan: self.plan, key, reserved: [0; 3], vip_bits, reply_bits };
        memory.heads.set(generation_index(epoch, 1, 0), head);
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
/// and ranges for a generation. `finished` adds to a place what the plan's tables say.
fn write_book(
    (entries, ranges): (&Cells<VipEntry>, &Cells<PortRange>),
    [places, most_ranges]: [u32; 2],
    epoch: u64,
    book: &Vips,
    finished: impl Fn(VipEntry) -> VipEntry,
) {
    for (i, &entry) in (0..places).zip(&book.places) {
        entries.set(generation_index(epoch, places, i), finished(entry));
    }
    for (i, range) in (0..most_ranges).zip(filled(&book.ranges)) {
        ranges.set(generation_index(epoch, most_ranges, i), range);
    }
}

/// Ranges, then nothing for ever.
fn filled(ranges: &[PortRange]) -> impl Iterator<Item = PortRange> {
    ranges.iter().copied().chain(std::iter::repeat(PortRange::default()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lb_common::{ServiceId, Slot, Udp};

    use super::*;
    use crate::{config::Ports, dataplane::writer::Writer, decide::Vip};

    /// A table of a cluster's own slots.
    fn table(own: u16, udp: Udp, by_source: bool) -> Table {
        let slots: Arc<[Slot]> = vec![Slot::clean(own); 1024].into();
        Table { slots, udp, by_source, healthy: true, ..Table::default() }
    }

    #[test]
    fn a_single_port_says_of_its_service_what_the_service_says() {
        let memory = Memory::anonymous().expect("memory");
        let id = |service| ServiceId::new(service).expect("a service");
        let vip = |ports, service| {
            let address = [0, 0, 0xffff, 0xc000_0201];
            Vip { address, ports, protocol: 17, service: id(service) }
        };
        let intent = Intent {
            vips: vec![vip(Ports::One(80), 1), vip(Ports::One(443), 0), vip(Ports::All, 2)],
            addresses: vec![[0, 0, 0xffff, 0xc000_0201]; 3],
            services: vec![
                table(0, Udp::Quic, false),
                table(1, Udp::Rehash, true),
                table(2, Udp::Sticky, false),
            ],
            clusters: vec![table(0, Udp::Rehash, false); 3],
            nodes: vec![NodeRecord::default()],
            ..Intent::default()
        };
        let epoch = Writer::adopt(&memory).commit(&memory, &intent).expect("a commit");
        let mut found = Vec::new();
        for place in 0..VIP_PLACES {
            let place = generation_index(epoch, VIP_PLACES, place);
            let entry = memory.vips.get(place).expect("a place");
            if entry.kind == VipKind::Port as u8 {
                let at = generation_index(epoch, MAX_SERVICES, u32::from(entry.service));
                let Directory { first, log2, by_source, udp, .. } =
                    memory.services.get(at).expect("a service").table;
                let says = Directory { first, log2, by_source, udp, ..Directory::NONE };
                assert_eq!(entry.table(), says);
                found.push((entry.port, by_source, udp));
            } else {
                assert_eq!(entry.table(), Directory::NONE, "nobody asks it");
            }
        }
        found.sort_unstable();
        assert_eq!(found, [(80, 1, Udp::Rehash as u8), (443, 0, Udp::Quic as u8)]);
    }

    #[test]
    fn each_generation_has_the_key() {
        let memory = Memory::anonymous().expect("memory");
        let key = HashKey { words: [7; 12], algorithm: 1, ..HashKey::default() };
        memory.secret.set(0, key);
        let epoch = Writer::adopt(&memory).commit(&memory, &Intent::default()).expect("a commit");
        let head = memory.heads.get(generation_index(epoch, 1, 0)).expect("its head");
        assert_eq!(head.key, key);
    }
}
