//! What the generation in force says to a daemon that comes after another one.

use lb_common::{
    Directory, PinBucket, VipEntry, VipKind,
    layout::{MAX_CLUSTERS, MAX_NODES, MAX_SERVICES, VIP_PLACES, generation_index},
};

use super::{memory::Memory, writer::Writer};
use crate::decide::{Live, Remembered};

/// Nodes and tables of the generation in force. Tables that share their memory are one here, too.
pub fn remembered(memory: &Memory, writer: &Writer) -> Remembered {
    let (epoch, tables) = (memory.epoch(), writer.live_slots());
    let slots = |first: u32| tables.get(&first).cloned();
    let live = |directory: Directory| {
        let in_use = directory.log2 != 0;
        Live {
            slots: slots(directory.first).filter(|_| in_use).unwrap_or_default(),
            base: slots(directory.base).filter(|_| in_use && directory.base != Directory::NO_BASE),
            directory,
        }
    };
    let node = |i| memory.nodes.get(generation_index(epoch, MAX_NODES, i)).unwrap_or_default();
    let service = |i| memory.services.get(generation_index(epoch, MAX_SERVICES, i));
    let cluster = |i| memory.clusters.get(generation_index(epoch, MAX_CLUSTERS, i));
    let services = (0..MAX_SERVICES).map(|i| service(i).unwrap_or_default().table);
    let clusters = (0..MAX_CLUSTERS).map(|i| cluster(i).unwrap_or_default());
    let vip = |i| memory.vips.get(generation_index(epoch, VIP_PLACES, i));
    let own = |entry: &VipEntry| entry.kind == VipKind::Own as u8;
    let vips = (0..VIP_PLACES).filter_map(vip).filter(own);
    Remembered {
        plan: memory
            .heads
            .get(generation_index(epoch, 1, 0))
            .map(|head| head.plan)
            .unwrap_or_default(),
        own: vips.map(|entry| entry.address).collect(),
        nodes: (0..MAX_NODES).map(node).collect(),
        services: services.map(live).collect(),
        clusters: clusters.map(live).collect(),
    }
}

/// Removes all pins. No packet may look for one meanwhile: all slots are `CLEAN`, and packets that
/// began before they were have ended.
pub(super) fn remove_pins(memory: &Memory) {
    for bucket in 0..memory.pins.len() {
        if memory.pins.get(bucket) != Some(PinBucket::default()) {
            memory.pins.set(bucket, PinBucket::default());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Arc};

    use lb_common::{NodeRecord, PinEntry, PlanRecord, Slot, SlotState, pin::PIN_WAYS};

    use super::*;
    use crate::decide::{Intent, Table};

    #[test]
    fn what_was_committed_is_remembered() {
        let memory = Memory::anonymous().expect("memory");
        let mut slots = vec![Slot::clean(1); 1024];
        slots[7] = Slot::clean(0).in_state(SlotState::Drain);
        let base: Arc<[Slot]> = (0..1024).map(|i| Slot::clean(u16::from(i == 7))).collect();
        let moved = Table {
            slots: slots.into(),
            base: Some(base),
            held: true,
            flaps: 3,
            ..Table::default()
        };
        let node = NodeRecord { state: 1, admin: 2, ..NodeRecord::default() };
        let intent = Intent {
            addresses: vec![[0; 4]; 2],
            services: vec![moved.clone(), moved.clone()],
            clusters: vec![Table::default(), moved.clone()],
            nodes: vec![NodeRecord::default(), node],
            plan: PlanRecord { flags: PlanRecord::NAT, ..PlanRecord::default() },
            own: vec![[0, 0, 0xffff, 9], [1, 2, 3, 4]],
            ..Intent::default()
        };
        let mut writer = Writer::adopt(&memory);
        writer.name_file(42);
        writer.commit(&memory, &intent).expect("a commit");
        let next = Writer::adopt(&memory);
        assert_eq!(next.file(), 42);
        let live = remembered(&memory, &next);
        assert_eq!(live.nodes[..2], intent.nodes);
        assert_eq!(live.plan, PlanRecord { file: 42, ..intent.plan });
        assert_eq!(BTreeSet::from_iter(live.own), BTreeSet::from_iter(intent.own));
        for table in [&live.services[0], &live.services[1], &live.clusters[1]] {
            assert_eq!((&table.slots, &table.base), (&moved.slots, &moved.base));
        }
        assert!(Arc::ptr_eq(&live.services[0].slots, &live.services[1].slots));
        assert_eq!((live.clusters[1].directory.held, live.clusters[1].directory.flaps), (1, 3));
        assert!(live.clusters[0].slots.is_empty() && live.services[2].slots.is_empty());
    }

    #[test]
    fn all_pins_go() {
        let memory = Memory::anonymous().expect("memory");
        let last = memory.pins.len() - 1;
        memory.pins.set(last, PinBucket { ways: [PinEntry { tag: 5, value: 6 }; PIN_WAYS] });
        remove_pins(&memory);
        assert!((0..=last).all(|i| memory.pins.get(i) == Some(PinBucket::default())));
    }
}
