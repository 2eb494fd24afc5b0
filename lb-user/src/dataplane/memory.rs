//! The arrays that packets read, as this process sees them: mapped from BPF maps, or anonymous
//! memory of the same shape (tests, `plan`, `explain` and `trace` without a kernel).
//!
//! The kernel's program and other processes read this memory while the daemon writes it. So
//! nothing here hands out references: values are copied in and out, volatile, and the one word
//! that commits is atomic.
#![allow(unsafe_code)]

use std::{
    io,
    mem::offset_of,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use aya::{
    Ebpf,
    maps::{Map, MapData, MapError},
};
use lb_common::{
    Chunk, ClusterId, Control, Counters, Directory, FragmentBucket, Generation, GenerationHead,
    HashKey, LAYOUT_VERSION, Limit, NodeId, NodeRecord, PinBucket, PinEntry, Pod, PortRange,
    Reason, ServiceId, ServiceRecord, Slot, VipEntry,
    layout::{
        CHUNK_SLOTS, MAX_CLUSTERS, MAX_NODES, MAX_SERVICES, REPLY_PLACES, REPLY_RANGES, VIP_PLACES,
        VIP_RANGES, generation_index,
    },
    maps::{self, MapSpec},
    pin::{BUSY, PIN_WAYS},
};
use lb_ebpf::{Book, Copied, Tables};
use nix::time::{ClockId, clock_gettime};
use thiserror::Error;

use super::cells::{Cells, Mapping};

/// All the arrays on the packet's way.
pub struct Memory {
    /// The epoch and the daemon's signs of life.
    pub control: Cells<Control>,
    /// The key of the flow hash.
    pub secret: Cells<HashKey>,
    /// VIP tables, by generation.
    pub vips: Cells<VipEntry>,
    /// Port ranges of services, by generation.
    pub vip_ranges: Cells<PortRange>,
    /// Tables of `nat` nodes' ports, by generation.
    pub replies: Cells<VipEntry>,
    /// Port ranges of `nat` nodes, by generation.
    pub reply_ranges: Cells<PortRange>,
    /// What nearly each packet asks of a generation.
    pub heads: Cells<GenerationHead>,
    /// Services, by generation.
    pub services: Cells<ServiceRecord>,
    /// Clusters' directories, by generation.
    pub clusters: Cells<Directory>,
    /// Nodes, by generation.
    pub nodes: Cells<NodeRecord>,
    /// Slots, shared by all generations.
    pub slots: Cells<Chunk>,
    /// Where the fragments of a datagram go.
    pub fragments: Cells<FragmentBucket>,
    /// Connections that a change made ambiguous, and their nodes.
    pub pins: Cells<PinBucket>,
    /// Answers within a second, by CPU.
    pub limits: Cells<Limit>,
    /// What packets counted here beside their verdicts; the program counts for itself.
    noted: [AtomicU64; Reason::COUNT],
}

/// A map could not be opened, or not mapped.
#[derive(Debug, Error)]
#[allow(missing_docs)]
pub enum OpenError {
    #[error("cannot open the pinned map {path}: {source}")]
    Map { path: PathBuf, source: MapError },
    #[error("cannot map {name} into memory: {source}")]
    Mmap { name: &'static str, source: io::Error },
    #[error("the object has no array {0}")]
    NoArray(&'static str),
    #[error("cannot ask for the size of {name}: {source}")]
    Info { name: &'static str, source: MapError },
    #[error("{entries} elements of {name} are no power of two")]
    Size { name: &'static str, entries: u32 },
}

impl Memory {
    /// Maps the BPF maps that are pinned in a directory.
    ///
    /// # Errors
    /// One is not there, or `mmap(2)` refuses.
    pub fn open(pins: &Path) -> Result<Self, OpenError> {
        Self::build(|spec| {
            let path = pins.join(spec.name);
            MapData::from_pin(&path).map(Some).map_err(|source| OpenError::Map { path, source })
        })
    }

    /// Takes the maps of a loaded object, which are pinned nowhere.
    ///
    /// # Errors
    /// It does not have one, or `mmap(2)` refuses.
    pub fn take(ebpf: &mut Ebpf) -> Result<Self, OpenError> {
        Self::build(|spec| match ebpf.take_map(spec.name) {
            Some(Map::Array(map)) => Ok(Some(map)),
            _ => Err(OpenError::NoArray(spec.name)),
        })
    }

    /// Fresh memory of the same shape.
    ///
    /// # Errors
    /// `mmap(2)` refuses.
    pub fn anonymous() -> Result<Self, OpenError> {
        let this = Self::build(|_| Ok(None))?;
        this.begin();
        Ok(this)
    }

    /// Says of fresh maps what they are: their layout, and how many pins there are.
    pub fn begin(&self) {
        let pin_mask = self.pins.len() - 1;
        self.control.set(0, Control { layout: LAYOUT_VERSION, pin_mask, ..Control::default() });
    }

    fn build(
        mut open: impl FnMut(&MapSpec) -> Result<Option<MapData>, OpenError>,
    ) -> Result<Self, OpenError> {
        let pins: Cells<PinBucket> = Cells::new(&maps::PINS, open(&maps::PINS)?)?;
        if !pins.len().is_power_of_two() {
            return Err(OpenError::Size { name: maps::PINS.name, entries: pins.len() });
        }
        let plans = Mapping::new(&maps::PLANS, open(&maps::PLANS)?)?;
        Ok(Self {
            control: Cells::new(&maps::CONTROL, open(&maps::CONTROL)?)?,
            secret: Cells::new(&maps::SECRET, open(&maps::SECRET)?)?,
            vips: Cells::of_plans(&plans, offset_of!(Generation, vips), VIP_PLACES),
            vip_ranges: Cells::of_plans(&plans, offset_of!(Generation, vip_ranges), VIP_RANGES),
            replies: Cells::of_plans(&plans, offset_of!(Generation, replies), REPLY_PLACES),
            reply_ranges: Cells::of_plans(
                &plans,
                offset_of!(Generation, reply_ranges),
                REPLY_RANGES,
            ),
            heads: Cells::of_plans(&plans, offset_of!(Generation, head), 1),
            services: Cells::of_plans(&plans, offset_of!(Generation, services), MAX_SERVICES),
            clusters: Cells::of_plans(&plans, offset_of!(Generation, clusters), MAX_CLUSTERS),
            nodes: Cells::of_plans(&plans, offset_of!(Generation, nodes), MAX_NODES),
            slots: Cells::new(&maps::SLOTS, open(&maps::SLOTS)?)?,
            fragments: Cells::new(&maps::FRAGMENTS, open(&maps::FRAGMENTS)?)?,
            pins,
            limits: Cells::new(&maps::LIMITS, open(&maps::LIMITS)?)?,
            noted: [const { AtomicU64::new(0) }; Reason::COUNT],
        })
    }

    /// The epoch in force, seen with everything that was written before it was stored.
    pub fn epoch(&self) -> u64 {
        self.epoch_word().load(Ordering::Acquire)
    }

    /// Puts an epoch in force: the one store that commits.
    pub fn store_epoch(&self, epoch: u64) {
        self.epoch_word().store(epoch, Ordering::Release);
    }

    /// Says that the daemon lives, in nanoseconds of CLOCK_MONOTONIC.
    pub fn store_heartbeat(&self, nanoseconds: u64) {
        self.control_word(offset_of!(Control, heartbeat)).store(nanoseconds, Ordering::Relaxed);
    }

    fn epoch_word(&self) -> &AtomicU64 {
        self.control_word(offset_of!(Control, epoch))
    }

    /// The word of 64 bits at a byte offset in `CONTROL`'s one element.
    fn control_word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= size_of::<Control>());
        // SAFETY: inside the element and aligned, as asserted (its start is page-aligned), and
        // valid for as long as the mapping, which `self` owns. While others may access these
        // words, this process accesses them through these atomics.
        unsafe { AtomicU64::from_ptr(self.control.pointer(0).cast::<u8>().add(offset).cast()) }
    }

    /// What packets that ran over this memory counted beside their verdicts since this was asked last.
    pub fn noted(&self) -> Counters {
        let mut noted = Counters::default();
        for &reason in Reason::ALL {
            let times = self.noted[reason as usize].swap(0, Ordering::Relaxed);
            noted.count_times(reason, times);
        }
        noted
    }

    /// Tag and value of a pin.
    fn pin_words(&self, bucket: u32, way: usize) -> Option<(&AtomicU64, &AtomicU64)> {
        if way >= PIN_WAYS {
            return None;
        }
        let bucket = self.pins.checked(bucket)?;
        // SAFETY: inside a bucket, which `checked` found inside the mapping that `self` owns; both
        // words are aligned as it is. This process accesses them through these atomics, packets as
        // single words.
        unsafe {
            let entry = &raw mut (*bucket).ways[way];
            let tag = AtomicU64::from_ptr(&raw mut (*entry).tag);
            Some((tag, AtomicU64::from_ptr(&raw mut (*entry).value)))
        }
    }

    /// The slot `index` of the table that a directory describes, `None` outside of the memory.
    pub fn table_slot(&self, directory: &Directory, index: u32) -> Option<Slot> {
        Tables::slot(self, (), directory.first, index)
    }
}

impl Tables for Memory {
    type Ref<'a, T: Pod> = Copied<T>;
    type Slots<'a> = ();

    fn epoch(&self) -> Option<u64> {
        Some(self.epoch())
    }

    fn head(&self, epoch: u64) -> Option<Copied<GenerationHead>> {
        self.heads.get(generation_index(epoch, 1, 0)).map(Copied)
    }

    fn entry(&self, book: Book, epoch: u64, place: u32) -> Option<Copied<VipEntry>> {
        let entry = match book {
            Book::Services => self.vips.get(generation_index(epoch, VIP_PLACES, place)),
            Book::Nodes => self.replies.get(generation_index(epoch, REPLY_PLACES, place)),
        };
        entry.map(Copied)
    }

    fn range(&self, book: Book, epoch: u64, index: u32) -> Option<PortRange> {
        match book {
            Book::Services => self.vip_ranges.get(generation_index(epoch, VIP_RANGES, index)),
            Book::Nodes => self.reply_ranges.get(generation_index(epoch, REPLY_RANGES, index)),
        }
    }

    fn service(&self, epoch: u64, id: ServiceId) -> Option<Copied<ServiceRecord>> {
        let index = generation_index(epoch, MAX_SERVICES, id.index() as u32);
        self.services.get(index).map(Copied)
    }

    fn cluster(&self, epoch: u64, id: ClusterId) -> Option<Directory> {
        self.clusters.get(generation_index(epoch, MAX_CLUSTERS, id.index() as u32))
    }

    fn node(&self, epoch: u64, id: NodeId) -> Option<Copied<NodeRecord>> {
        self.nodes.get(generation_index(epoch, MAX_NODES, id.index() as u32)).map(Copied)
    }

    fn fragment(&self, bucket: u32, way: usize) -> Option<u64> {
        self.fragments.get(bucket)?.ways.get(way).copied()
    }

    fn set_fragment(&self, bucket: u32, way: usize, word: u64) {
        // The only user of anonymous memory; the maps' own fragments are written by the program.
        if let Some(mut ways) = self.fragments.get(bucket) {
            ways.ways[way] = word;
            self.fragments.set(bucket, ways);
        }
    }

    fn pin_mask(&self) -> Option<u32> {
        self.control.get(0).map(|control| control.pin_mask)
    }

    fn pin(&self, bucket: u32, way: usize) -> Option<PinEntry> {
        let (tag, value) = self.pin_words(bucket, way)?;
        let before = tag.load(Ordering::Acquire);
        let value = value.load(Ordering::Acquire);
        // Between the two loads it may have become another's.
        let tag = if tag.load(Ordering::Relaxed) == before { before } else { BUSY };
        Some(PinEntry { tag, value })
    }

    fn claim_pin(&self, bucket: u32, way: usize, from: u64, to: u64) -> bool {
        self.pin_words(bucket, way).is_some_and(|(tag, _)| {
            tag.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        })
    }

    fn renew_pin(&self, bucket: u32, way: usize, from: u64, to: u64) -> bool {
        self.pin_words(bucket, way).is_some_and(|(_, value)| {
            value.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        })
    }

    fn note(&self, reason: Reason) {
        self.noted[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn limit(&self) -> Option<Limit> {
        self.limits.get(0)
    }

    fn set_limit(&self, second: u64, sent: u64) {
        self.limits.set(0, Limit { second, sent, ..Limit::default() });
    }

    fn now(&self) -> u64 {
        // The kernel's program asks the same clock.
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE);
        now.map_or(0, |now| now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64)
    }

    fn slots(&self) -> Option<()> {
        Some(())
    }

    fn slot(&self, (): (), first: u32, slot: u32) -> Option<Slot> {
        let chunk = self.slots.checked(first.checked_add(slot / CHUNK_SLOTS)?)?.cast::<u16>();
        // SAFETY: `checked` gave a chunk inside the mapping, the offset is inside the chunk, and its
        // slots are u16 from its first byte on.
        let raw = unsafe { chunk.add((slot % CHUNK_SLOTS) as usize).read_volatile() };
        Some(Slot::from_raw(raw))
    }
}
