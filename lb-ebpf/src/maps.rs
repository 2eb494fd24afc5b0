//! The maps, as `lb_common::maps` describes them, and the [`Tables`] over them.

use aya_ebpf::{
    btf_maps::{Array, ArrayOfMaps, HashMap, PerCpuArray},
    helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_coarse_ns},
    macros::btf_map,
};
use lb_common::{
    Chunk, ClusterId, ClusterInfo, Control, Counters, Directory, FragmentBucket, HashKey, Limit,
    NodeId, NodeInfo, NodeRecord, PinBucket, PinEntry, PlanRecord, Pod, PortRange, Reason,
    ServiceId, ServiceInfo, ServiceRecord, Slot, VipEntry,
    layout::{
        CHUNK_SLOTS, FRAGMENT_BUCKETS, FRAGMENT_WAYS, GENERATIONS, LIMITS as LIMITS_LEN,
        MAX_CHUNKS, MAX_CLUSTERS, MAX_INTERFACES, MAX_NODES, MAX_SERVICES, REPLY_PLACES,
        REPLY_RANGES as REPLY_RANGES_ONE, VIP_BIT_WORDS, VIP_PLACES, VIP_RANGES as VIP_RANGES_ONE,
        generation_index,
    },
    maps::{
        CLUSTER_DIRS_LEN, MMAPABLE, NODE_HOPS_LEN, PINS_LEN, REPLIES_LEN, REPLY_RANGES_LEN,
        SERVICE_DIRS_LEN, VIP_BITS_LEN, VIP_RANGES_LEN, VIPS_LEN,
    },
    pin::{BUSY, PIN_WAYS},
};
use lb_ebpf::{Book, Mac, Tables};

use crate::verifier::{compare_and_swap, forget, unknown};

const MAPPED: usize = MMAPABLE as usize;

#[btf_map]
static CONTROL: Array<Control, 1, MAPPED> = Array::new();
#[btf_map]
static SECRET: Array<HashKey, 1, MAPPED> = Array::new();
#[btf_map]
static VIP_BITS: Array<u64, { VIP_BITS_LEN as usize }, MAPPED> = Array::new();
#[btf_map]
static VIPS: Array<VipEntry, { VIPS_LEN as usize }, MAPPED> = Array::new();
#[btf_map]
static VIP_RANGES: Array<PortRange, { VIP_RANGES_LEN as usize }, MAPPED> = Array::new();
#[btf_map]
static REPLY_BITS: Array<u64, { VIP_BITS_LEN as usize }, MAPPED> = Array::new();
#[btf_map]
static REPLIES: Array<VipEntry, { REPLIES_LEN as usize }, MAPPED> = Array::new();
#[btf_map]
static REPLY_RANGES: Array<PortRange, { REPLY_RANGES_LEN as usize }, MAPPED> = Array::new();
#[btf_map]
static PLANS: Array<PlanRecord, { GENERATIONS as usize }, MAPPED> = Array::new();
#[btf_map]
static SERVICE_DIRS: Array<ServiceRecord, { SERVICE_DIRS_LEN as usize }, MAPPED> = Array::new();
#[btf_map]
static CLUSTER_DIRS: Array<Directory, { CLUSTER_DIRS_LEN as usize }, MAPPED> = Array::new();
#[btf_map]
static NODE_HOPS: Array<NodeRecord, { NODE_HOPS_LEN as usize }, MAPPED> = Array::new();
#[btf_map]
static SLOTS: Array<Chunk, { MAX_CHUNKS as usize }, MAPPED> = Array::new();
#[btf_map]
static FRAGMENTS: Array<FragmentBucket, { FRAGMENT_BUCKETS as usize }, MAPPED> = Array::new();
#[btf_map]
static PINS: Array<PinBucket, { PINS_LEN as usize }, MAPPED> = Array::new();
#[btf_map]
static LIMITS: Array<Limit, { LIMITS_LEN as usize }, MAPPED> = Array::new();
#[btf_map]
static COUNTERS: PerCpuArray<Counters, 1> = PerCpuArray::new();

// Not on the packet's way: for the daemon and for people.
#[btf_map]
static GRACE: ArrayOfMaps<Array<u32, 1, 0>, 1, 0> = ArrayOfMaps::new();
#[btf_map]
static SERVICES: HashMap<u32, ServiceInfo, { MAX_SERVICES as usize }, 0> = HashMap::new();
#[btf_map]
static CLUSTERS: HashMap<u32, ClusterInfo, { MAX_CLUSTERS as usize }, 0> = HashMap::new();
#[btf_map]
static NODES: HashMap<u32, NodeInfo, { MAX_NODES as usize }, 0> = HashMap::new();

/// Count a packet. Per CPU, and XDP runs are not preempted by others on their CPU: no atomics.
#[inline(always)]
pub(crate) fn count(reason: Reason) {
    // The compiler knows that every reason has a counter and would leave the check out; the verifier
    // sees a number out of memory.
    let place = unknown(reason as u64);
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
pub(crate) struct KernelTables;

impl Tables for KernelTables {
    type Ref<'a, T: Pod> = &'a T;

    #[inline(always)]
    fn epoch(&self) -> Option<u64> {
        let control = CONTROL.get_ptr(0)?;
        // SAFETY: a map value of the right size; volatile because the daemon stores it meanwhile.
        Some(unsafe { (&raw const (*control).epoch).read_volatile() })
    }

    #[inline(always)]
    fn hash_key(&self) -> Option<&HashKey> {
        SECRET.get(0)
    }

    #[inline(always)]
    fn plan_flags(&self, epoch: u64) -> Option<u32> {
        PLANS.get(generation_index(epoch, 1, 0)).map(|plan| plan.flags)
    }

    #[inline(always)]
    fn sends_out_of(&self, epoch: u64, ifindex: u32) -> bool {
        let Some(plan) = PLANS.get(generation_index(epoch, 1, 0)) else { return false };
        let mut known = false;
        for place in 0..MAX_INTERFACES {
            known |= plan.interfaces[place] == ifindex;
        }
        known && ifindex != 0
    }

    #[inline(always)]
    fn takes(&self, epoch: u64, ifindex: u32, mac: Mac) -> bool {
        PLANS.get(generation_index(epoch, 1, 0)).is_none_or(|plan| plan.takes(ifindex, mac.bytes()))
    }

    #[inline(always)]
    fn bits(&self, book: Book, epoch: u64, word: u32) -> Option<u64> {
        let index = generation_index(epoch, VIP_BIT_WORDS, word);
        match book {
            Book::Services => VIP_BITS.get(index).copied(),
            Book::Nodes => REPLY_BITS.get(index).copied(),
        }
    }

    #[inline(always)]
    fn entry(&self, book: Book, epoch: u64, place: u32) -> Option<&VipEntry> {
        match book {
            Book::Services => VIPS.get(generation_index(epoch, VIP_PLACES, place)),
            Book::Nodes => REPLIES.get(generation_index(epoch, REPLY_PLACES, place)),
        }
    }

    #[inline(always)]
    fn range(&self, book: Book, epoch: u64, index: u32) -> Option<PortRange> {
        match book {
            Book::Services => {
                VIP_RANGES.get(generation_index(epoch, VIP_RANGES_ONE, index)).copied()
            }
            Book::Nodes => {
                REPLY_RANGES.get(generation_index(epoch, REPLY_RANGES_ONE, index)).copied()
            }
        }
    }

    #[inline(always)]
    fn service(&self, epoch: u64, id: ServiceId) -> Option<&ServiceRecord> {
        SERVICE_DIRS.get(generation_index(epoch, MAX_SERVICES, id.index() as u32))
    }

    #[inline(always)]
    fn cluster(&self, epoch: u64, id: ClusterId) -> Option<Directory> {
        CLUSTER_DIRS.get(generation_index(epoch, MAX_CLUSTERS, id.index() as u32)).copied()
    }

    #[inline(always)]
    fn node(&self, epoch: u64, id: NodeId) -> Option<&NodeRecord> {
        NODE_HOPS.get(generation_index(epoch, MAX_NODES, id.index() as u32))
    }

    #[inline(always)]
    fn slot(&self, chunk: u32, offset: u32) -> Option<Slot> {
        let chunk = SLOTS.get(chunk)?;
        let offset = (offset & (CHUNK_SLOTS - 1)) as usize;
        Some(Slot::from_raw(chunk.slots[offset]))
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
        CONTROL.get(0).map(|control| control.pin_mask)
    }

    #[inline(always)]
    fn pin(&self, bucket: u32, way: usize) -> Option<PinEntry> {
        let entry = pin_way(bucket, way)?;
        // SAFETY: inside a map value, aligned as it is; volatile because other CPUs write it
        // meanwhile, each word at once.
        let (tag, value, again) = unsafe {
            let tag = &raw const (*entry).tag;
            (tag.read_volatile(), (&raw const (*entry).value).read_volatile(), tag.read_volatile())
        };
        let tag = forget(if tag == again { tag } else { BUSY }, value);
        Some(PinEntry { tag, value })
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
    fn note(&self, reason: Reason) {
        count(reason);
    }

    #[inline(always)]
    fn limit(&self) -> Option<Limit> {
        LIMITS.get(this_cpu()).copied()
    }

    #[inline(always)]
    fn set_limit(&self, limit: Limit) {
        if let Some(place) = LIMITS.get_ptr_mut(this_cpu()) {
            // SAFETY: a map value of the right size. CPUs that share it may lose each other's
            // counts, not more.
            unsafe { place.write(limit) }
        }
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        // SAFETY: a helper without arguments.
        unsafe { bpf_ktime_get_coarse_ns() }
    }
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
