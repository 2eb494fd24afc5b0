//! The one table that describes the maps: what the object must define, what a daemon may adopt.

use crate::{
    hash::HashKey,
    layout::{
        Chunk, ClusterInfo, Control, FRAGMENT_BUCKETS, FragmentBucket, GENERATIONS, Generation,
        LIMITS as LIMITS_LEN, Limit, MAX_CHUNKS, MAX_CLUSTERS, MAX_NODES, MAX_SERVICES, NodeInfo,
        ServiceInfo,
    },
    pin::{DEFAULT_PINS, PIN_WAYS, PinBucket},
    reason::Counters,
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

/// Elements of `PINS` where the configuration says nothing else.
pub const PINS_LEN: u32 = DEFAULT_PINS / PIN_WAYS as u32;

/// The epoch and the daemon's signs of life.
pub const CONTROL: MapSpec = array::<Control>("CONTROL", 1);
/// The key of the flow hash.
pub const SECRET: MapSpec = array::<HashKey>("SECRET", 1);
/// Plans, by generation.
pub const PLANS: MapSpec = array::<[Generation; GENERATIONS as usize]>("PLANS", 1);
/// The slots of all tables.
pub const SLOTS: MapSpec = array::<[Chunk; MAX_CHUNKS as usize]>("SLOTS", 1);
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

/// Names of maps that earlier layouts had, pinned as these are.
pub const FORMER: [&str; 9] = [
    "VIP_BITS",
    "VIPS",
    "VIP_RANGES",
    "REPLY_BITS",
    "REPLIES",
    "REPLY_RANGES",
    "SERVICE_DIRS",
    "CLUSTER_DIRS",
    "NODE_HOPS",
];

/// Every map that is pinned.
pub const ALL: [&MapSpec; 12] = [
    &CONTROL, &SECRET, &PLANS, &SLOTS, &FRAGMENTS, &PINS, &LIMITS, &COUNTERS, &GRACE, &SERVICES,
    &CLUSTERS, &NODES,
];

const _: () = {
    let mut i = 0;
    while i < ALL.len() {
        assert!(ALL[i].name.len() <= 15, "BPF_OBJ_NAME_LEN");
        i += 1;
    }
};
