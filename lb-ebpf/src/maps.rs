//! The maps, as `lb_common::maps` describes them, and the [`Tables`] over them.

use aya_ebpf::{
    btf_maps::{Array, ArrayOfMaps, HashMap, PerCpuArray},
    macros::btf_map,
};
use lb_common::{
    Chunk, ClusterId, ClusterInfo, Control, Counters, Directory, HashKey, NodeId, NodeInfo,
    NodeRecord, Reason, ServiceId, ServiceInfo, Slot, VipEntry,
    layout::{
        CHUNK_SLOTS, MAX_CHUNKS, MAX_CLUSTERS, MAX_NODES, MAX_SERVICES, VIP_BIT_WORDS, VIP_PLACES,
        generation_index,
    },
    maps::{CLUSTER_DIRS_LEN, MMAPABLE, NODE_HOPS_LEN, SERVICE_DIRS_LEN, VIP_BITS_LEN, VIPS_LEN},
};
use lb_ebpf::Tables;

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
static SERVICE_DIRS: Array<Directory, { SERVICE_DIRS_LEN as usize }, MAPPED> = Array::new();
#[btf_map]
static CLUSTER_DIRS: Array<Directory, { CLUSTER_DIRS_LEN as usize }, MAPPED> = Array::new();
#[btf_map]
static NODE_HOPS: Array<NodeRecord, { NODE_HOPS_LEN as usize }, MAPPED> = Array::new();
#[btf_map]
static SLOTS: Array<Chunk, { MAX_CHUNKS as usize }, MAPPED> = Array::new();
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
    if let Some(counters) = COUNTERS.get_ptr_mut(0) {
        // SAFETY: Counters is repr(C) with one u64 for each reason, in the order of the reasons
        // (asserted where it is defined), so the pointer stays inside this CPU's own value.
        unsafe {
            let counter = counters.cast::<u64>().add(reason as usize);
            *counter = (*counter).wrapping_add(1);
        }
    }
}

/// The live maps.
pub(crate) struct KernelTables;

impl Tables for KernelTables {
    #[inline(always)]
    fn epoch(&self) -> Option<u64> {
        let control = CONTROL.get_ptr(0)?;
        // SAFETY: a map value of the right size; volatile because the daemon stores it meanwhile.
        Some(unsafe { (&raw const (*control).epoch).read_volatile() })
    }

    #[inline(always)]
    fn hash_key(&self) -> Option<HashKey> {
        SECRET.get(0).copied()
    }

    #[inline(always)]
    fn vip_bits(&self, epoch: u64, word: u32) -> Option<u64> {
        VIP_BITS.get(generation_index(epoch, VIP_BIT_WORDS, word)).copied()
    }

    #[inline(always)]
    fn vip(&self, epoch: u64, place: u32) -> Option<VipEntry> {
        VIPS.get(generation_index(epoch, VIP_PLACES, place)).copied()
    }

    #[inline(always)]
    fn service(&self, epoch: u64, id: ServiceId) -> Option<Directory> {
        SERVICE_DIRS.get(generation_index(epoch, MAX_SERVICES, id.index() as u32)).copied()
    }

    #[inline(always)]
    fn cluster(&self, epoch: u64, id: ClusterId) -> Option<Directory> {
        CLUSTER_DIRS.get(generation_index(epoch, MAX_CLUSTERS, id.index() as u32)).copied()
    }

    #[inline(always)]
    fn node(&self, epoch: u64, id: NodeId) -> Option<NodeRecord> {
        NODE_HOPS.get(generation_index(epoch, MAX_NODES, id.index() as u32)).copied()
    }

    #[inline(always)]
    fn slot(&self, chunk: u32, offset: u32) -> Option<Slot> {
        let chunk = SLOTS.get(chunk)?;
        let offset = (offset & (CHUNK_SLOTS - 1)) as usize;
        Some(Slot::from_raw(chunk.slots[offset]))
    }
}
