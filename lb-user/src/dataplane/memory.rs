//! The arrays that packets read, as this process sees them: mapped from BPF maps, or anonymous
//! memory of the same shape (tests, `plan`, `explain` and `trace` without a kernel).
//!
//! The kernel's program and other processes read this memory while the daemon writes it. So
//! nothing here hands out references: values are copied in and out, volatile, and the one word
//! that commits is atomic.
#![allow(unsafe_code)]

use std::{
    io,
    marker::PhantomData,
    mem::offset_of,
    os::fd::{AsFd, AsRawFd},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use aya::{
    Ebpf,
    maps::{Map, MapData, MapError},
};
use lb_common::{
    Chunk, ClusterId, Control, Counters, Directory, FragmentBucket, HashKey, LAYOUT_VERSION, Limit,
    NodeId, NodeRecord, PinBucket, PinEntry, PlanRecord, Pod, PortRange, Reason, ServiceId,
    ServiceRecord, Slot, VipEntry,
    layout::{
        CHUNK_SLOTS, MAX_CLUSTERS, MAX_NODES, MAX_SERVICES, REPLY_PLACES, REPLY_RANGES,
        VIP_BIT_WORDS, VIP_PLACES, VIP_RANGES, generation_index,
    },
    maps::{self, MapSpec},
    pin::{BUSY, PIN_WAYS},
};
use lb_ebpf::{Book, Copied, Mac, Tables};
use memmap2::{MmapOptions, MmapRaw};
use nix::time::{ClockId, clock_gettime};
use thiserror::Error;

/// All the arrays on the packet's way.
pub struct Memory {
    /// The epoch and the daemon's signs of life.
    pub control: Cells<Control>,
    /// The key of the flow hash.
    pub secret: Cells<HashKey>,
    /// VIP bitmaps, by generation.
    pub vip_bits: Cells<u64>,
    /// VIP tables, by generation.
    pub vips: Cells<VipEntry>,
    /// Port ranges of services, by generation.
    pub vip_ranges: Cells<PortRange>,
    /// Bitmaps of `nat` nodes' addresses, by generation.
    pub reply_bits: Cells<u64>,
    /// Tables of `nat` nodes' ports, by generation.
    pub replies: Cells<VipEntry>,
    /// Port ranges of `nat` nodes, by generation.
    pub reply_ranges: Cells<PortRange>,
    /// What holds for a generation as a whole.
    pub plans: Cells<PlanRecord>,
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
        Ok(Self {
            control: Cells::new(&maps::CONTROL, open(&maps::CONTROL)?)?,
            secret: Cells::new(&maps::SECRET, open(&maps::SECRET)?)?,
            vip_bits: Cells::new(&maps::VIP_BITS, open(&maps::VIP_BITS)?)?,
            vips: Cells::new(&maps::VIPS, open(&maps::VIPS)?)?,
            vip_ranges: Cells::new(&maps::VIP_RANGES, open(&maps::VIP_RANGES)?)?,
            reply_bits: Cells::new(&maps::REPLY_BITS, open(&maps::REPLY_BITS)?)?,
            replies: Cells::new(&maps::REPLIES, open(&maps::REPLIES)?)?,
            reply_ranges: Cells::new(&maps::REPLY_RANGES, open(&maps::REPLY_RANGES)?)?,
            plans: Cells::new(&maps::PLANS, open(&maps::PLANS)?)?,
            services: Cells::new(&maps::SERVICE_DIRS, open(&maps::SERVICE_DIRS)?)?,
            clusters: Cells::new(&maps::CLUSTER_DIRS, open(&maps::CLUSTER_DIRS)?)?,
            nodes: Cells::new(&maps::NODE_HOPS, open(&maps::NODE_HOPS)?)?,
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
        let chunk = directory.first.checked_add(index / CHUNK_SLOTS)?;
        Tables::slot(self, chunk, index % CHUNK_SLOTS)
    }
}

impl Tables for Memory {
    type Ref<'a, T: Pod> = Copied<T>;

    fn epoch(&self) -> Option<u64> {
        Some(self.epoch())
    }

    fn hash_key(&self) -> Option<Copied<HashKey>> {
        self.secret.get(0).map(Copied)
    }

    fn plan_flags(&self, epoch: u64) -> Option<u32> {
        self.plans.get(generation_index(epoch, 1, 0)).map(|plan| plan.flags)
    }

    fn sends_out_of(&self, epoch: u64, ifindex: u32) -> bool {
        let plan = self.plans.get(generation_index(epoch, 1, 0));
        ifindex != 0 && plan.is_some_and(|plan| plan.interfaces.contains(&ifindex))
    }

    fn takes(&self, epoch: u64, ifindex: u32, mac: Mac) -> bool {
        let plan = self.plans.get(generation_index(epoch, 1, 0));
        plan.is_none_or(|plan| plan.takes(ifindex, mac.bytes()))
    }

    fn bits(&self, book: Book, epoch: u64, word: u32) -> Option<u64> {
        let bits = if book == Book::Services { &self.vip_bits } else { &self.reply_bits };
        bits.get(generation_index(epoch, VIP_BIT_WORDS, word))
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

    fn set_limit(&self, limit: Limit) {
        self.limits.set(0, limit);
    }

    fn now(&self) -> u64 {
        // The kernel's program asks the same clock.
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE);
        now.map_or(0, |now| now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64)
    }

    fn slot(&self, chunk: u32, offset: u32) -> Option<Slot> {
        let chunk = self.slots.checked(chunk)?.cast::<u16>();
        if offset >= CHUNK_SLOTS {
            return None;
        }
        // SAFETY: `checked` gave a chunk inside the mapping, `offset` is inside the chunk, and
        // its slots are u16 from its first byte on.
        Some(Slot::from_raw(unsafe { chunk.add(offset as usize).read_volatile() }))
    }
}

/// A fixed number of values in memory that others read or write at the same time.
pub struct Cells<T> {
    map: MmapRaw,
    len: u32,
    values: PhantomData<T>,
}

impl<T: Pod> Cells<T> {
    fn new(spec: &MapSpec, bpf: Option<MapData>) -> Result<Self, OpenError> {
        assert_eq!(spec.value_size as usize, size_of::<T>(), "{}", spec.name);
        assert_eq!(size_of::<T>() % 8, 0, "{}: the kernel rounds values up to 8 bytes", spec.name);
        // How many there are is what the map says: of pins it is the configuration's.
        let len = match &bpf {
            Some(map) => map
                .info()
                .map_err(|source| OpenError::Info { name: spec.name, source })?
                .max_entries(),
            None => spec.max_entries,
        };
        let mut options = MmapOptions::new();
        options.len(size_of::<T>() * len as usize);
        let map = match bpf {
            Some(map) => options.map_raw(map.fd().as_fd().as_raw_fd()),
            None => options.map_anon().map(MmapRaw::from),
        };
        let map = map.map_err(|source| OpenError::Mmap { name: spec.name, source })?;
        Ok(Self { map, len, values: PhantomData })
    }

    /// Number of values.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Never: every map has elements. (Here because a `len` without it surprises.)
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value at an index, `None` beyond the end.
    pub fn get(&self, index: u32) -> Option<T> {
        // SAFETY: `checked` gave a pointer inside the mapping, aligned for T; any bytes are a T.
        // A value that somebody writes meanwhile may come out mixed: readers of live tables
        // compare the epoch before and after.
        self.checked(index).map(|p| unsafe { p.read_volatile() })
    }

    /// Writes the value at an index.
    ///
    /// # Panics
    /// If the index is beyond the end: indices are computed from ids, which have limits.
    pub fn set(&self, index: u32, value: T) {
        // SAFETY: `pointer` checked the bounds; there is one writer, the holder of the lock.
        unsafe { self.pointer(index).write_volatile(value) }
    }

    fn checked(&self, index: u32) -> Option<*mut T> {
        (index < self.len).then(|| {
            // SAFETY: `index` is below the number of values that the mapping was made for. The
            // start is page-aligned and values follow each other, so it is aligned for T.
            unsafe { self.map.as_mut_ptr().cast::<T>().add(index as usize) }
        })
    }

    fn pointer(&self, index: u32) -> *mut T {
        self.checked(index).unwrap_or_else(|| panic!("element {index} of {}", self.len))
    }
}
