//! The maps, as `lb_common::maps` describes them, and the [`Tables`] over them.

use aya_ebpf::{
    btf_maps::{Array, ArrayOfMaps, HashMap, PerCpuArray},
    helpers::generated::{bpf_get_smp_processor_id, bpf_jiffies64, bpf_ktime_get_coarse_ns},
    macros::btf_map,
};
use lb_common::{
    Chunk, ClusterId, ClusterInfo, Control, Counters, Directory, FragmentBucket, Generation,
    GenerationHead, HashKey, Limit, NodeId, NodeInfo, NodeRecord, PinBucket, PinEntry, Pod,
    PortRange, Reason, ServiceId, ServiceInfo, ServiceRecord, Slot, VipEntry,
    layout::{
        CHUNK_SLOTS, FRAGMENT_BUCKETS, FRAGMENT_WAYS, GENERATIONS, LIMITS as LIMITS_LEN,
        MAX_CHUNKS, MAX_CLUSTERS, MAX_NODES, MAX_SERVICES,
    },
    maps::{MMAPABLE, PINS_LEN},
    pin::{BUSY, PIN_WAYS},
};
use lb_ebpf::{Book, Job, Tables};

use crate::verifier::{compare_and_swap, forget, unknown};

const MAPPED: usize = MMAPABLE as usize;

#[btf_map]
static CONTROL: Array<Control, 1, MAPPED> = Array::new();
#[btf_map]
static PLANS: Array<[Generation; GENERATIONS as usize], 1, MAPPED> = Array::new();
#[btf_map]
static SLOTS: Array<[Chunk; MAX_CHUNKS as usize], 1, MAPPED> = Array::new();
#[btf_map]
static FRAGMENTS: Array<FragmentBucket, { FRAGMENT_BUCKETS as usize }, MAPPED> = Array::new();
#[btf_map]
static PINS: Array<PinBucket, { PINS_LEN as usize }, MAPPED> = Array::new();
#[btf_map]
static LIMITS: Array<Limit, { LIMITS_LEN as usize }, MAPPED> = Array::new();
#[btf_map]
static COUNTERS: PerCpuArray<Counters, 1> = PerCpuArray::new();
/// When this CPU last looked at the clock.
#[btf_map]
static CLOCK: PerCpuArray<Clock, 1> = PerCpuArray::new();
/// What is known of the packet that a CPU has: more than its stack has room for beside the stages'.
#[btf_map]
static JOB: PerCpuArray<Job, 1> = PerCpuArray::new();

// Not on the packet's way: for the daemon and for people.
#[btf_map]
static SECRET: Array<HashKey, 1, MAPPED> = Array::new();
#[btf_map]
static GRACE: ArrayOfMaps<Array<u32, 1, 0>, 1, 0> = ArrayOfMaps::new();
#[btf_map]
static SERVICES: HashMap<u32, ServiceInfo, { MAX_SERVICES as usize }, 0> = HashMap::new();
#[btf_map]
static CLUSTERS: HashMap<u32, ClusterInfo, { MAX_CLUSTERS as usize }, 0> = HashMap::new();
#[btf_map]
static NODES: HashMap<u32, NodeInfo, { MAX_NODES as usize }, 0> = HashMap::new();

/// A time by both clocks: that of CLOCK_MONOTONIC costs as much as half a packet, jiffies next to nothing,
/// but how long they are only the kernel knows. It moves on with them.
struct Clock {
    jiffies: u64,
    nanoseconds: u64,
}

/// Counts a packet by the number of its reason. Per CPU, and XDP runs do not interrupt each other there
/// (they run with softirqs off): no atomics.
#[inline(always)]
pub(crate) fn count(number: u16) {
    // Else the compiler would check one copy of it and use another.
    let place = unknown(u64::from(number));
    if let Some(counters) = COUNTERS.get_ptr_mut(0)
        && place < Reason::COUNT as u64
    {
        // SAFETY: Counters is repr(C) with one u64 for each reason, in the order of the reasons
        // (asserted where it is defined), so the pointer stays inside this CPU's own value.
        unsafe {
            let counter = counters.cast::<u64>().add(place as usize);
            *counter = (*counter).wrapping_add(1);
        }
    }
}

/// The live maps.
pub(crate) struct KernelTables {
    generations: *const Generation,
}

impl KernelTables {
    /// Looks up what nearly each packet needs.
    #[inline(always)]
    pub(crate) fn new() -> Option<Self> {
        Some(Self { generations: PLANS.get_ptr(0)?.cast() })
    }

    #[inline(always)]
    fn generation(&self, epoch: u64) -> &'static Generation {
        // SAFETY: one of so many, inside of the map's one element. What is in force does not change.
        unsafe { &*self.generations.add((epoch % u64::from(GENERATIONS)) as usize) }
    }
}

/// A place of an array in a map.
///
/// # Safety
/// The array is in a map value.
#[inline(always)]
unsafe fn place<T, const N: usize>(of: *const [T; N], place: u32) -> Option<*const T> {
    // Else the compiler would check one copy of it and use another, or know what the verifier does not.
    let place = unknown(u64::from(place));
    if place >= N as u64 {
        return None;
    }
    // SAFETY: inside of the array, which is inside of a map value.
    Some(unsafe { of.cast::<T>().add(place as usize) })
}

/// A place of an array in the generation in force, where nothing changes.
#[inline(always)]
fn element<T, const N: usize>(of: &'static [T; N], index: u32) -> Option<&'static T> {
    // SAFETY: generations are in a map value, and what is in force stays as it is until all packets that
    // go by it have ended.
    unsafe { place(of, index).map(|element| &*element) }
}

/// Slots of all chunks.
const ALL_SLOTS: usize = (MAX_CHUNKS * CHUNK_SLOTS) as usize;

impl Tables for KernelTables {
    type Ref<'a, T: Pod> = &'a T;
    type Slots<'a> = *const [u16; ALL_SLOTS];

    #[inline(always)]
    fn epoch(&self) -> Option<u64> {
        let control = CONTROL.get_ptr(0)?;
        // SAFETY: a map value of the right size; volatile because the daemon stores it meanwhile.
        Some(unsafe { (&raw const (*control).epoch).read_volatile() })
    }

    #[inline(always)]
    fn head(&self, epoch: u64) -> Option<&GenerationHead> {
        Some(&self.generation(epoch).head)
    }

    #[inline(always)]
    fn entry(&self, book: Book, epoch: u64, index: u32) -> Option<&VipEntry> {
        match book {
            Book::Services => element(&self.generation(epoch).vips, index),
            Book::Nodes => element(&self.generation(epoch).replies, index),
        }
    }

    #[inline(always)]
    fn range(&self, book: Book, epoch: u64, index: u32) -> Option<PortRange> {
        match book {
            Book::Services => element(&self.generation(epoch).vip_ranges, index).copied(),
            Book::Nodes => element(&self.generation(epoch).reply_ranges, index).copied(),
        }
    }

    #[inline(always)]
    fn service(&self, epoch: u64, id: ServiceId) -> Option<&ServiceRecord> {
        element(&self.generation(epoch).services, id.index() as u32)
    }

    #[inline(always)]
    fn cluster(&self, epoch: u64, id: ClusterId) -> Option<Directory> {
        element(&self.generation(epoch).clusters, id.index() as u32).copied()
    }

    #[inline(always)]
    fn node(&self, epoch: u64, id: NodeId) -> Option<&NodeRecord> {
        element(&self.generation(epoch).nodes, id.index() as u32)
    }

    #[inline(always)]
    fn slots(&self) -> Option<*const [u16; ALL_SLOTS]> {
        // Chunks are nothing but slots.
        SLOTS.get_ptr(0).map(|chunks| chunks.cast())
    }

    #[inline(always)]
    fn slot(&self, of: *const [u16; ALL_SLOTS], first: u32, slot: u32) -> Option<Slot> {
        // SAFETY: what `slots` gave. Of the memory that the daemon writes meanwhile only this is read,
        // which is of a table in force, or is no table's and says nothing.
        unsafe { place(of, first * CHUNK_SLOTS + slot).map(|slot| Slot::from_raw(*slot)) }
    }

    #[inline(always)]
    fn fragment(&self, bucket: u32, way: usize) -> Option<u64> {
        let bucket = FRAGMENTS.get_ptr(bucket)?;
        // SAFETY: a map value of the right size, and a way inside of it; volatile because other
        // CPUs write it meanwhile, each word at once.
        Some(unsafe { (&raw const (*bucket).ways[way & (FRAGMENT_WAYS - 1)]).read_volatile() })
    }

    #[inline(always)]
    fn set_fragment(&self, bucket: u32, way: usize, word: u64) {
        if let Some(bucket) = FRAGMENTS.get_ptr_mut(bucket) {
            // SAFETY: as in `fragment`.
            unsafe {
                (&raw mut (*bucket).ways[way & (FRAGMENT_WAYS - 1)]).write_volatile(word);
            }
        }
    }

    #[inline(always)]
    fn pin_mask(&self) -> Option<u32> {
        // SAFETY: inside a map value; the daemon writes this word before there are packets.
        CONTROL.get_ptr(0).map(|control| unsafe { (*control).pin_mask })
    }

    #[inline(always)]
    fn pin(&self, bucket: u32, way: usize) -> Option<PinEntry> {
        // SAFETY: what `pin_way` gives.
        pin_way(bucket, way).map(|entry| unsafe { read(entry) })
    }

    #[inline(always)]
    fn pins(&self, bucket: u32) -> Option<[PinEntry; PIN_WAYS]> {
        let bucket = PINS.get_ptr(bucket)?;
        // SAFETY: as in `pin_way`.
        Some([0, 1, 2, 3].map(|way| unsafe { read(&raw const (*bucket).ways[way]) }))
    }

    #[inline(always)]
    fn find_pin(&self, buckets: [u32; 2], tag: u64) -> Option<(u32, usize, u64)> {
        for bucket in buckets {
            let ways = PINS.get_ptr(bucket)?.cast::<PinEntry>();
            for way in 0..PIN_WAYS {
                // SAFETY: as in `pin_way`.
                let entry = unsafe { read(ways.add(way)) };
                if entry.tag == tag {
                    return Some((bucket, way, entry.value));
                }
            }
        }
        Some((buckets[1], PIN_WAYS, 0))
    }

    #[inline(always)]
    fn claim_pin(&self, bucket: u32, way: usize, from: u64, to: u64) -> bool {
        let Some(entry) = pin_way(bucket, way) else { return false };
        // SAFETY: inside a map value, which is aligned for it; tags are written by this alone.
        unsafe { compare_and_swap(&raw mut (*entry).tag, from, to) }
    }

    #[inline(always)]
    fn renew_pin(&self, bucket: u32, way: usize, from: u64, to: u64) -> bool {
        let Some(entry) = pin_way(bucket, way) else { return false };
        // SAFETY: as in `claim_pin`.
        unsafe { compare_and_swap(&raw mut (*entry).value, from, to) }
    }

    #[inline(always)]
    fn forget(number: u64, salt: u64) -> u64 {
        forget(number, salt)
    }

    #[inline(always)]
    fn with_job<R>(&self, work: impl FnOnce(&mut Job) -> R) -> Option<R> {
        let job = JOB.get_ptr_mut(0)?;
        // SAFETY: a map value of the right size and alignment, this CPU's own, on which XDP runs do not
        // interrupt each other, and a run has one job. Where one did (a test run in an old kernel, in which a
        // packet comes), it would go by the other's numbers; the verifier knows nothing of them.
        Some(work(unsafe { &mut *job }))
    }

    #[inline(always)]
    fn note(&self, reason: Reason) {
        count(reason as u16);
    }

    #[inline(always)]
    fn limit(&self) -> Option<Limit> {
        LIMITS.get(this_cpu()).copied()
    }

    #[inline(always)]
    fn set_limit(&self, second: u64, sent: u64) {
        if let Some(place) = LIMITS.get_ptr_mut(this_cpu()) {
            // SAFETY: a map value of the right size. CPUs that share it may lose each other's
            // counts, not more.
            unsafe { ((*place).second, (*place).sent) = (second, sent) }
        }
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        // SAFETY: a helper without arguments.
        let jiffies = unsafe { bpf_jiffies64() };
        // The map has this element; what is asked here besides, the stack of Linux 6.1 has no room for.
        let Some(seen) = CLOCK.get_ptr_mut(0) else { return 0 };
        // SAFETY: this CPU's own map value.
        let seen = unsafe { &mut *seen };
        if seen.jiffies != jiffies {
            // SAFETY: a helper without arguments.
            *seen = Clock { jiffies, nanoseconds: unsafe { bpf_ktime_get_coarse_ns() } };
        }
        seen.nanoseconds
    }
}

/// A pin as it is read at once.
///
/// # Safety
/// The pointer is into a map value, and aligned as it is.
#[inline(always)]
unsafe fn read(entry: *const PinEntry) -> PinEntry {
    // SAFETY: as this function's; volatile because other CPUs write it meanwhile, each word at once.
    let (tag, value, again) = unsafe {
        let tag = &raw const (*entry).tag;
        (tag.read_volatile(), (&raw const (*entry).value).read_volatile(), tag.read_volatile())
    };
    PinEntry { tag: forget(if tag == again { tag } else { BUSY }, value), value }
}

/// Where a pin stands.
#[inline(always)]
fn pin_way(bucket: u32, way: usize) -> Option<*mut PinEntry> {
    let bucket = PINS.get_ptr_mut(bucket)?;
    // SAFETY: a map value of the right size, and a way inside of it.
    Some(unsafe { &raw mut (*bucket).ways[way & (PIN_WAYS - 1)] })
}

/// This CPU's element of what CPUs have for themselves.
#[inline(always)]
fn this_cpu() -> u32 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_get_smp_processor_id() as u32 & (LIMITS_LEN - 1) }
}
