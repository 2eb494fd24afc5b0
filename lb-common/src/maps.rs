//! The one table that describes the maps: what the object must define, what a daemon may adopt.

use crate::{
    hash::HashKey,
    layout::{
        Chunk, ClusterInfo, Control, Directory, FRAGMENT_BUCKETS, FragmentBucket, GENERATIONS,
        LIMITS as LIMITS_LEN, Limit, MAX_CHUNKS, MAX_CLUSTERS, MAX_NODES, MAX_SERVICES, NodeInfo,
        NodeRecord, PlanRecord, REPLY_PLACES, REPLY_RANGES as REPLY_RANGES_ONE, ServiceInfo,
        ServiceRecord, VIP_BIT_WORDS, VIP_PLACES, VIP_RANGES as VIP_RANGES_ONE,
    },
    pin::{DEFAULT_PINS, PIN_WAYS, PinBucket},
    reason::Counters,
    vip::{PortRange, VipEntry},
};

/// `BPF_F_MMAPABLE` of `linux/bpf.h`: user space maps the values into its memory.
pub const MMAPABLE: u32 = 1 << 10;

/// Map types as `linux/bpf.h` numbers them, those that are in use here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum MapKind {
    /// `BPF_MAP_TYPE_HASH`
    Hash = 1,
    /// `BPF_MAP_TYPE_ARRAY`
    Array = 2,
    /// `BPF_MAP_TYPE_PERCPU_ARRAY`
    PerCpuArray = 6,
    /// `BPF_MAP_TYPE_ARRAY_OF_MAPS`
    ArrayOfMaps = 12,
}

/// One map as the kernel describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapSpec {
    /// Name in the object, in the kernel (so at most 15 bytes) and of the pin.
    pub name: &'static str,
    /// Type.
    pub kind: MapKind,
    /// Size of a key in bytes.
    pub key_size: u32,
    /// Size of a value in bytes.
    pub value_size: u32,
    /// Number of elements, or the most there can be.
    pub max_entries: u32,
    /// Creation flags.
    pub flags: u32,
}

const fn array<T>(name: &'static str, max_entries: u32) -> MapSpec {
    let value_size = size_of::<T>() as u32;
    MapSpec { name, kind: MapKind::Array, key_size: 4, value_size, max_entries, flags: MMAPABLE }
}

const fn shown<T>(name: &'static str, max_entries: u32) -> MapSpec {
    let value_size = size_of::<T>() as u32;
    MapSpec { name, kind: MapKind::Hash, key_size: 4, value_size, max_entries, flags: 0 }
}

/// Elements of `VIP_BITS` and of `REPLY_BITS`.
pub const VIP_BITS_LEN: u32 = GENERATIONS * VIP_BIT_WORDS;
/// Elements of `VIP_RANGES`.
pub const VIP_RANGES_LEN: u32 = GENERATIONS * VIP_RANGES_ONE;
/// Elements of `REPLIES`.
pub const REPLIES_LEN: u32 = GENERATIONS * REPLY_PLACES;
/// Elements of `REPLY_RANGES`.
pub const REPLY_RANGES_LEN: u32 = GENERATIONS * REPLY_RANGES_ONE;
/// Elements of `VIPS`.
pub const VIPS_LEN: u32 = GENERATIONS * VIP_PLACES;
/// Elements of `SERVICE_DIRS`.
pub const SERVICE_DIRS_LEN: u32 = GENERATIONS * MAX_SERVICES;
/// Elements of `CLUSTER_DIRS`.
pub const CLUSTER_DIRS_LEN: u32 = GENERATIONS * MAX_CLUSTERS;
/// Elements of `NODE_HOPS`.
pub const NODE_HOPS_LEN: u32 = GENERATIONS * MAX_NODES;

/// Elements of `PINS` where the configuration says nothing else.
pub const PINS_LEN: u32 = DEFAULT_PINS / PIN_WAYS as u32;

/// The epoch and the daemon's signs of life.
pub const CONTROL: MapSpec = array::<Control>("CONTROL", 1);
/// The key of the flow hash.
pub const SECRET: MapSpec = array::<HashKey>("SECRET", 1);
/// Bitmaps of VIP addresses.
pub const VIP_BITS: MapSpec = array::<u64>("VIP_BITS", VIP_BITS_LEN);
/// Tables of destinations: services and their addresses.
pub const VIPS: MapSpec = array::<VipEntry>("VIPS", VIPS_LEN);
/// Port ranges of services.
pub const VIP_RANGES: MapSpec = array::<PortRange>("VIP_RANGES", VIP_RANGES_LEN);
/// Bitmaps of the addresses of `nat` nodes.
pub const REPLY_BITS: MapSpec = array::<u64>("REPLY_BITS", VIP_BITS_LEN);
/// Tables of the ports of `nat` nodes.
pub const REPLIES: MapSpec = array::<VipEntry>("REPLIES", REPLIES_LEN);
/// Port ranges of `nat` nodes.
pub const REPLY_RANGES: MapSpec = array::<PortRange>("REPLY_RANGES", REPLY_RANGES_LEN);
/// What holds for a generation as a whole.
pub const PLANS: MapSpec = array::<PlanRecord>("PLANS", GENERATIONS);
/// Services: where their slots are, and their addresses.
pub const SERVICE_DIRS: MapSpec = array::<ServiceRecord>("SERVICE_DIRS", SERVICE_DIRS_LEN);
/// Where clusters' slots are.
pub const CLUSTER_DIRS: MapSpec = array::<Directory>("CLUSTER_DIRS", CLUSTER_DIRS_LEN);
/// Nodes and their next hops.
pub const NODE_HOPS: MapSpec = array::<NodeRecord>("NODE_HOPS", NODE_HOPS_LEN);
/// The slots of all tables.
pub const SLOTS: MapSpec = array::<Chunk>("SLOTS", MAX_CHUNKS);
/// Where the fragments of a datagram go.
pub const FRAGMENTS: MapSpec = array::<FragmentBucket>("FRAGMENTS", FRAGMENT_BUCKETS);
/// Connections that a change made ambiguous, and their nodes. How many there are is the
/// configuration's: this is the default.
pub const PINS: MapSpec = array::<PinBucket>("PINS", PINS_LEN);
/// How many answers of our own were sent within a second.
pub const LIMITS: MapSpec = array::<Limit>("LIMITS", LIMITS_LEN);
/// Packets by reason.
pub const COUNTERS: MapSpec = MapSpec {
    name: "COUNTERS",
    kind: MapKind::PerCpuArray,
    key_size: 4,
    value_size: size_of::<Counters>() as u32,
    max_entries: 1,
    flags: 0,
};
/// Updated only because the kernel then waits for running programs (a grace period).
pub const GRACE: MapSpec = MapSpec {
    name: "GRACE",
    kind: MapKind::ArrayOfMaps,
    key_size: 4,
    value_size: 4,
    max_entries: 1,
    flags: 0,
};
/// Services, for people.
pub const SERVICES: MapSpec = shown::<ServiceInfo>("SERVICES", MAX_SERVICES);
/// Clusters, for people.
pub const CLUSTERS: MapSpec = shown::<ClusterInfo>("CLUSTERS", MAX_CLUSTERS);
/// Nodes, for people.
pub const NODES: MapSpec = shown::<NodeInfo>("NODES", MAX_NODES);

/// Every map that is pinned.
pub const ALL: [&MapSpec; 21] = [
    &CONTROL,
    &SECRET,
    &VIP_BITS,
    &VIPS,
    &VIP_RANGES,
    &REPLY_BITS,
    &REPLIES,
    &REPLY_RANGES,
    &PLANS,
    &SERVICE_DIRS,
    &CLUSTER_DIRS,
    &NODE_HOPS,
    &SLOTS,
    &FRAGMENTS,
    &PINS,
    &LIMITS,
    &COUNTERS,
    &GRACE,
    &SERVICES,
    &CLUSTERS,
    &NODES,
];

const _: () = {
    let mut i = 0;
    while i < ALL.len() {
        assert!(ALL[i].name.len() <= 15, "BPF_OBJ_NAME_LEN");
        i += 1;
    }
};
