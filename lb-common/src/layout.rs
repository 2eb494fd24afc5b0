//! The values of the maps, byte for byte, and the sizes that everything else derives from.
//!
//! Integers are native endian unless a field says otherwise; addresses are 16 bytes in network
//! order, IPv4 as `::ffff:a.b.c.d` (RFC 4291, 2.5.5.2). A change of any layout here bumps
//! [`LAYOUT_VERSION`].

use core::mem::offset_of;

use crate::{
    hash::HashKey,
    vip::{PortRange, VipEntry},
    wire::Macs,
};

/// Version of everything that is pinned. A daemon adopts only its own version.
pub const LAYOUT_VERSION: u32 = 6;

/// Generations of the small tables: the live one, those still being read, one to write.
pub const GENERATIONS: u32 = 4;
/// Services in one generation.
pub const MAX_SERVICES: u32 = 1024;
/// Node tables in one generation: a cluster has one for each way of checking it.
pub const MAX_CLUSTERS: u32 = 1024;
/// Nodes in one generation.
pub const MAX_NODES: u32 = 4096;
/// Places of the table of destinations in one generation; at most half are used.
pub const VIP_PLACES: u32 = 8192;
/// Port ranges of services in one generation.
pub const VIP_RANGES: u32 = MAX_SERVICES;
/// Places of the table of `nat` nodes in one generation; at most half are used.
pub const REPLY_PLACES: u32 = 8192;
/// Port ranges of `nat` nodes in one generation.
pub const REPLY_RANGES: u32 = REPLY_PLACES / 2;
/// Buckets of the table of fragments, shared by all generations and CPUs.
pub const FRAGMENT_BUCKETS: u32 = 4096;
/// Fragmented datagrams that one bucket remembers.
pub const FRAGMENT_WAYS: usize = 4;
/// Elements of the rate limit; a CPU has the one of its number's low bits.
pub const LIMITS: u32 = 64;
/// Interfaces that packets may be sent out of.
pub const MAX_INTERFACES: usize = 8;
/// Words of 64 bits in one generation's VIP bitmap.
pub const VIP_BIT_WORDS: u32 = 64;
/// Slots in one chunk.
pub const CHUNK_SLOTS: u32 = 512;
/// log2 of [`CHUNK_SLOTS`].
pub const CHUNK_SHIFT: u32 = 9;
/// Chunks in the slot memory, shared by all generations (24 MiB).
pub const MAX_CHUNKS: u32 = 24_576;
/// log2 of the smallest slot table.
pub const MIN_TABLE_LOG2: u32 = 10;
/// log2 of the largest slot table.
pub const MAX_TABLE_LOG2: u32 = 18;

/// log2 of the number of slots of a table with this many configured members: the power of two
/// that is at least 512 times as many, within what the maps hold.
pub const fn table_log2(members: usize) -> u32 {
    let members = if members == 0 { 1 } else { members as u64 };
    let log2 = (512 * members).next_power_of_two().trailing_zeros();
    if log2 < MIN_TABLE_LOG2 {
        MIN_TABLE_LOG2
    } else if log2 > MAX_TABLE_LOG2 {
        MAX_TABLE_LOG2
    } else {
        log2
    }
}

/// Place of element `index` of a generation-wise map with `per_generation` elements each.
#[inline(always)]
pub const fn generation_index(epoch: u64, per_generation: u32, index: u32) -> u32 {
    (epoch as u32 & (GENERATIONS - 1)) * per_generation + index
}

/// The one word that commits, and what tells about the daemon. Map `CONTROL`, one element.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Control {
    /// Number of the plan in force; its low two bits select the generation. 0: no plan yet.
    pub epoch: u64,
    /// CLOCK_MONOTONIC in nanoseconds when the daemon last looked; 0: never.
    pub heartbeat: u64,
    /// [`LAYOUT_VERSION`] of the writer.
    pub layout: u32,
    /// Buckets of `PINS`, a power of two, less one.
    pub pin_mask: u32,
    /// Zero.
    pub reserved: [u32; 10],
}

/// Where a service's or a cluster's slots are, and what else holds for all of its packets. Map
/// `PLANS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Directory {
    /// First of its consecutive chunks in `SLOTS`.
    pub first: u32,
    /// First chunk of its base table, or [`Directory::NO_BASE`].
    pub base: u32,
    /// log2 of its number of slots, 10..=18; 0 for an element not in use.
    pub log2: u8,
    /// 1 when healthy (a cluster), or when it has somebody to send to (a service).
    pub healthy: u8,
    /// 1 when a recovered cluster is held back from taking its flows home.
    pub held: u8,
    /// Of a service: 1 if flows are told apart by their source address alone.
    pub by_source: u8,
    /// A service: its port, 0 if it has several. A cluster: the port that `nat` gives its packets,
    /// 0 if that is the node's own.
    pub port: u16,
    /// Of a service: a [`Udp`].
    pub udp: u8,
    /// Of a cluster with a timed failback: how often it failed again, up to 255, for the next daemon.
    pub flaps: u8,
}

/// What becomes of a UDP service's flows in a slot that moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Udp {
    /// They move with it: each packet stands for itself.
    #[default]
    Rehash = 0,
    /// They all stay where they are, new ones included.
    Sticky = 1,
    /// QUIC: those that begin with an Initial or 0-RTT packet (RFC 9000, 17.2; RFC 9369, 3.2) go to
    /// the new owner, others stay.
    Quic = 2,
}

impl Directory {
    /// No base table exists.
    pub const NO_BASE: u32 = u32::MAX;
    /// Of nothing.
    pub const NONE: Self = Self {
        first: 0,
        base: Self::NO_BASE,
        log2: 0,
        healthy: 0,
        held: 0,
        by_source: 0,
        port: 0,
        udp: 0,
        flaps: 0,
    };
}

/// A service on the packet's way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ServiceRecord {
    /// Where its slots are.
    pub table: Directory,
    /// Its address, which replies of `nat` nodes get as their source: four words in host order.
    pub vip: [u32; 4],
}

/// All that a plan is but the slots of its tables. Map `PLANS`, whose one element has [`GENERATIONS`] of
/// them: a packet looks a map up once, by a constant, for all that it asks.
#[derive(Debug)]
#[repr(C)]
pub struct Generation {
    /// What nearly each packet asks.
    pub head: GenerationHead,
    /// The table of destinations: services and their addresses.
    pub vips: [VipEntry; VIP_PLACES as usize],
    /// Port ranges of services.
    pub vip_ranges: [PortRange; VIP_RANGES as usize],
    /// The table of the ports of `nat` nodes.
    pub replies: [VipEntry; REPLY_PLACES as usize],
    /// Port ranges of `nat` nodes.
    pub reply_ranges: [PortRange; REPLY_RANGES as usize],
    /// Services: where their slots are, and their addresses.
    pub services: [ServiceRecord; MAX_SERVICES as usize],
    /// Where clusters' slots are.
    pub clusters: [Directory; MAX_CLUSTERS as usize],
    /// Nodes and their next hops.
    pub nodes: [NodeRecord; MAX_NODES as usize],
}

/// What nearly each packet asks of a generation, together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct GenerationHead {
    /// What holds for it as a whole.
    pub plan: PlanRecord,
    /// The key of the flow hash, as in `SECRET`: the same in all generations.
    pub key: HashKey,
    /// Zero; what follows has cache lines of its own.
    pub reserved: [u64; 3],
    /// A bit for each hash of a VIP's or an own address (`VipKey::bit`).
    pub vip_bits: [u64; VIP_BIT_WORDS as usize],
    /// The same of the addresses of `nat` nodes.
    pub reply_bits: [u64; VIP_BIT_WORDS as usize],
}

/// What holds for one generation as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PlanRecord {
    /// [`PlanRecord::NAT`], [`PlanRecord::HOST_FRAGMENTS`].
    pub flags: u32,
    /// Indices of the interfaces of ours, which replies may be sent out of; 0: no more of them.
    pub interfaces: [u32; MAX_INTERFACES],
    /// MAC addresses that frames to them have; zero: unknown.
    pub macs: [[u8; 6]; MAX_INTERFACES],
    /// Zero.
    pub unused: u32,
    /// Number of the file that says what the ids of this generation name, for the next daemon; 0: none.
    pub file: u64,
    /// Zero.
    pub reserved: [u32; 8],
}

impl PlanRecord {
    /// Some cluster forwards by `nat`: what is not for a VIP may be a reply.
    pub const NAT: u32 = 1;
    /// This host forwards packets of its own addresses, and so fragments what it is given.
    pub const HOST_FRAGMENTS: u32 = 2;

    /// Whether replies may be sent out of an interface.
    #[inline(always)]
    pub fn sends_out_of(&self, ifindex: u32) -> bool {
        let mut known = false;
        for place in 0..MAX_INTERFACES {
            known |= self.interfaces[place] == ifindex;
        }
        known && ifindex != 0
    }

    /// Whether frames to a MAC address are this host's if they come in by an interface: if that is one
    /// of ours, only those to its own address are.
    #[inline(always)]
    pub fn takes(&self, ifindex: u32, mac: [u8; 6]) -> bool {
        for place in 0..MAX_INTERFACES {
            let (known, own) = (self.interfaces[place], self.macs[place]);
            if known == ifindex {
                return own == [0; 6] || own == mac;
            }
            if known == 0 {
                break;
            }
        }
        true
    }
}

/// How packets are brought to the nodes of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Forward {
    /// Rewrite the MAC addresses; the node has the VIP and answers the client directly.
    L2 = 1,
    /// IP in IP (RFC 2003, RFC 2473, RFC 4213); the node has the VIP and answers directly.
    Ipip = 2,
    /// Generic UDP Encapsulation, variant 0 (draft-ietf-intarea-gue-09); else as `Ipip`.
    Gue = 3,
    /// Rewrite destination address and port; the node answers through this host.
    Nat = 4,
}

impl Forward {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::L2, Self::Ipip, Self::Gue, Self::Nat];

    /// From the byte in a [`NodeRecord`].
    #[inline(always)]
    pub const fn from_raw(raw: u8) -> Option<Self> {
        match raw {
            1 => Some(Self::L2),
            2 => Some(Self::Ipip),
            3 => Some(Self::Gue),
            4 => Some(Self::Nat),
            _ => None,
        }
    }

    /// Its name in configurations.
    pub const fn name(self) -> &'static str {
        match self {
            Self::L2 => "l2",
            Self::Ipip => "ipip",
            Self::Gue => "gue",
            Self::Nat => "nat",
        }
    }
}

/// All that the packet's way needs to know of a node: one cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct NodeRecord {
    /// MAC of the next hop.
    pub dst_mac: [u8; 6],
    /// MAC of the interface that packets leave by.
    pub src_mac: [u8; 6],
    /// Index of that interface; 0: the next hop is not resolved.
    pub ifindex: u32,
    /// The node's address.
    pub address: [u8; 16],
    /// Source address of tunnel packets to it; zero without a tunnel.
    pub source: [u8; 16],
    /// Largest IP packet of the way to it, in bytes; 0: unknown.
    pub mtu: u16,
    /// With a tunnel the sum of the words of [`Self::source`] and [`Self::address`] in ones'
    /// complement arithmetic (RFC 1071), of IPv4 addresses their own 4 bytes only; else 0.
    pub checksum_seed: u16,
    /// `nat`: the node's port, 0 if it is the packet's; `gue`: the tunnel's. Network order.
    pub port_be: [u8; 2],
    /// 1 while it may keep old connections.
    pub up: u8,
    /// A [`Forward`].
    pub forward: u8,
    /// VLAN tags that frames to it leave with, outermost first; 0: no more of them. The low 12 bits
    /// are the VLAN, [`NodeRecord::TAG`] is set, [`NodeRecord::SERVICE_TAG`] says 802.1ad.
    pub tags: [u16; 2],
    /// 1 if the node's address is of IPv6.
    pub v6: u8,
    /// What its checks say, for the next daemon: 0 unknown, 1 up, 2 not working, 3 down.
    pub state: u8,
    /// What the operator wants, for the next daemon: of the node in the two lowest bits, of its cluster
    /// as a whole in the next two; 0 in service, 1 drained, 2 maintenance.
    pub admin: u8,
    /// Zero.
    pub reserved: u8,
}

impl NodeRecord {
    /// There is a tag.
    pub const TAG: u16 = 1 << 15;
    /// Its type is 0x88a8 (IEEE 802.1ad) instead of 0x8100 (802.1Q).
    pub const SERVICE_TAG: u16 = 1 << 14;

    /// Both MAC addresses as they stand in a frame.
    #[inline(always)]
    pub const fn macs(&self) -> Macs {
        let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (self.dst_mac, self.src_mac);
        let first = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
        Macs { first, rest: u32::from_ne_bytes([i, j, k, l]) }
    }
}

/// Fragmented datagrams whose first fragment was seen: in each way a tag (32 bits, the lowest set), the
/// second it came (16 bits) and whom it went to (16 bits). Map `FRAGMENTS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FragmentBucket {
    /// Each written by one store.
    pub ways: [u64; FRAGMENT_WAYS],
}

/// Answers of ours within a second, of the CPUs that have this element. Map `LIMITS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Limit {
    /// Which second.
    pub second: u64,
    /// How many.
    pub sent: u64,
    /// Zero; its own cache line.
    pub reserved: [u64; 6],
}

/// A piece of a slot table. Map `SLOTS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Chunk {
    /// Raw [`crate::Slot`]s.
    pub slots: [u16; CHUNK_SLOTS as usize],
}

/// Bytes of a name shown in the maps for people; longer names are cut.
pub const NAME_BYTES: usize = 16;

/// What people read about a service. Map `SERVICES`, keyed by service id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ServiceInfo {
    /// First bytes of its name, zero-padded.
    pub name: [u8; NAME_BYTES],
    /// The VIP.
    pub address: [u8; 16],
    /// The port, native endian.
    pub port: u16,
    /// IP protocol number (6 TCP, 17 UDP).
    pub protocol: u8,
    /// 1 while no cluster of it is healthy.
    pub panic: u8,
    /// Number of slots of its table.
    pub slots: u32,
    /// Epoch of the last change of this entry.
    pub epoch: u64,
}

/// What people read about a cluster as one way of checking sees it. Map `CLUSTERS`, keyed by cluster id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ClusterInfo {
    /// First bytes of its name, zero-padded.
    pub name: [u8; NAME_BYTES],
    /// Its weight.
    pub weight: u32,
    /// Its priority; a higher number wins.
    pub priority: u32,
    /// 1 when healthy.
    pub healthy: u32,
    /// Nodes alive that count.
    pub alive: u32,
    /// Nodes that must be alive.
    pub needed: u32,
    /// Nodes that count.
    pub total: u32,
    /// Epoch of the last change of this entry.
    pub epoch: u64,
}

/// What people read about a node. Map `NODES`, keyed by node id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct NodeInfo {
    /// First bytes of its name, zero-padded.
    pub name: [u8; NAME_BYTES],
    /// Its number, as in the configuration.
    pub number: u32,
    /// Id of its cluster; of several, the first.
    pub cluster: u32,
    /// Its address.
    pub address: [u8; 16],
    /// MAC of its next hop; zero while unresolved.
    pub mac: [u8; 6],
    /// 0 unknown, 1 up, 2 down.
    pub state: u16,
    /// Its weight.
    pub weight: u32,
    /// Its priority; a higher number wins.
    pub priority: u32,
}

// The layouts, asserted: sizes as documented, and no padding (the fields sum to the size).
const _: () = {
    assert!(size_of::<Control>() == 64 && sum(&[8, 8, 4, 4, 40]) == 64);
    assert!(size_of::<Directory>() == 16 && sum(&[4, 4, 1, 1, 1, 1, 2, 1, 1]) == 16);
    assert!(size_of::<ServiceRecord>() == 32 && sum(&[16, 16]) == 32);
    assert!(size_of::<PlanRecord>() == 128);
    assert!(sum(&[4, 4 * MAX_INTERFACES, 6 * MAX_INTERFACES, 4, 8, 8 * 4]) == 128);
    assert!(size_of::<GenerationHead>() == 1280);
    assert!(sum(&[128, size_of::<HashKey>(), 3 * 8, 2 * 8 * VIP_BIT_WORDS as usize]) == 1280);
    assert!(offset_of!(Generation, vips).is_multiple_of(64));
    assert!(offset_of!(Generation, nodes).is_multiple_of(64));
    assert!(size_of::<Generation>().is_multiple_of(64));
    assert!(size_of::<NodeRecord>() == 64);
    assert!(sum(&[6, 6, 4, 16, 16, 2, 2, 2, 1, 1, 4, 1, 1, 1, 1]) == 64);
    assert!(size_of::<FragmentBucket>() == sum(&[8 * FRAGMENT_WAYS]));
    assert!(size_of::<Limit>() == 64 && sum(&[8, 8, 6 * 8]) == 64);
    assert!(FRAGMENT_BUCKETS.is_power_of_two() && LIMITS.is_power_of_two());
    assert!(size_of::<Chunk>() == sum(&[2 * CHUNK_SLOTS as usize]));
    assert!(size_of::<ServiceInfo>() == 48 && sum(&[16, 16, 2, 1, 1, 4, 8]) == 48);
    assert!(size_of::<ClusterInfo>() == 48 && sum(&[16, 6 * 4, 8]) == 48);
    assert!(size_of::<NodeInfo>() == 56 && sum(&[16, 4, 4, 16, 6, 2, 4, 4]) == 56);
    assert!(1 << CHUNK_SHIFT == CHUNK_SLOTS);
    assert!(GENERATIONS.is_power_of_two());
};

/// Sum of field sizes, for the assertions of layouts.
pub(crate) const fn sum(sizes: &[usize]) -> usize {
    let (mut total, mut i) = (0, 0);
    while i < sizes.len() {
        total += sizes[i];
        i += 1;
    }
    total
}
