//! Slots that moved, and pins, put straight into the maps: the packet's way is tested by itself, and
//! not by who writes tables.

use lb_common::{
    Chunk, ClusterId, Directory, NodeId, Pin, PinBucket, PinEntry, PinState, ServiceId, Slot,
    SlotState, Udp, VipKind,
    layout::{
        CHUNK_SLOTS, MAX_CHUNKS, MAX_CLUSTERS, MAX_NODES, MAX_SERVICES, MIN_TABLE_LOG2, VIP_PLACES,
        generation_index,
    },
    pin::Tick,
};
use lb_ebpf::Tables;
use lb_user::dataplane::memory::Memory;

use super::{places::Family, to::To};

/// Chunks of the smallest table.
const CHUNKS: u32 = (1 << MIN_TABLE_LOG2) / CHUNK_SLOTS;
/// Milliseconds of a tick, rounded down.
const TICK: u32 = (1 << 27) / 1_000_000;
/// Milliseconds: how old a pin may be that was touched just now, on a busy machine.
const FRESH: u32 = 3_000;

/// What slots went through, and what is pinned, when a case begins.
#[derive(Clone, Debug)]
pub struct Scene {
    /// The services whose slots it is about: those on its port.
    pub of: To,
    /// Their slots, whose members are clusters.
    pub service: Moved,
    /// Slots of clusters, whose members are nodes.
    pub clusters: Vec<(To, Moved)>,
    /// Nodes that keep no connections.
    pub down: Vec<To>,
    /// What becomes of the services' flows over UDP.
    pub udp: Udp,
    /// All pins.
    pub pins: Vec<Pinned>,
}

/// The slots of a table, all alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// What they went through.
    pub state: SlotState,
    /// Who has them.
    pub own: Option<To>,
    /// Who had them, if the table has a base: itself, or nobody.
    pub base: Option<Option<To>>,
}

/// A pin in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// The bucket.
    pub bucket: u32,
    /// The way in it.
    pub way: usize,
    /// What it is found by.
    pub tag: u64,
    /// Its service.
    pub service: ServiceId,
    /// Its node, and its cluster.
    pub at: (To, To),
    /// What is known of it.
    pub state: PinState,
    /// Milliseconds since its last packet; of what packets leave behind 0 for a short while.
    pub age: u32,
}

/// What a scene put aside.
pub struct Aside {
    services: Vec<(u32, lb_common::ServiceRecord)>,
    clusters: Vec<(u32, Directory)>,
    nodes: Vec<(u32, lb_common::NodeRecord)>,
}

/// The service on a port, as [`super::world::World`] numbers them.
#[must_use]
pub fn service_of(of: To, family: Family, udp: bool) -> ServiceId {
    let family = if family == Family::V4 { 0 } else { 2 };
    let id = usize::from(of.number()) * 4 + family + usize::from(udp);
    ServiceId::new(id).expect("a service that the maps have")
}

impl Scene {
    /// Puts it in the place of what stands there.
    #[must_use]
    pub fn apply(&self, memory: &Memory) -> Aside {
        let aside = self.tables(memory);
        self.pins.iter().for_each(|pin| pin.write(memory));
        aside
    }

    fn tables(&self, memory: &Memory) -> Aside {
        let epoch = memory.epoch();
        let mut free = (0..MAX_CHUNKS / CHUNKS).rev().map(|number| number * CHUNKS);
        let mut aside = Aside { services: Vec::new(), clusters: Vec::new(), nodes: Vec::new() };
        let table = self.service.write(memory, &mut free);
        for udp in [false, true] {
            for family in super::places::FAMILIES {
                let id = service_of(self.of, family, udp).index() as u32;
                let at = generation_index(epoch, MAX_SERVICES, id);
                let record = memory.services.get(at).expect("a service");
                aside.services.push((at, record));
                let directory = Directory { udp: self.udp as u8, ..table.of(record.table) };
                put(memory, at, lb_common::ServiceRecord { table: directory, ..record });
            }
        }
        for (cluster, moved) in &self.clusters {
            let at = generation_index(epoch, MAX_CLUSTERS, u32::from(cluster.number()));
            let directory = memory.clusters.get(at).expect("a cluster");
            aside.clusters.push((at, directory));
            memory.clusters.set(at, moved.write(memory, &mut free).of(directory));
        }
        for node in &self.down {
            let at = generation_index(epoch, MAX_NODES, u32::from(node.number()));
            let record = memory.nodes.get(at).expect("a node");
            aside.nodes.push((at, record));
            memory.nodes.set(at, lb_common::NodeRecord { up: 0, ..record });
        }
        aside
    }
}

impl Aside {
    /// Puts everything back, without pins.
    pub fn restore(self, memory: &Memory) {
        self.tables(memory);
        for bucket in occupied(memory) {
            memory.pins.set(bucket, PinBucket::default());
        }
    }

    /// Another scene follows, but for its pins: those that are there stay.
    #[must_use]
    pub fn turn(self, memory: &Memory, next: &Scene) -> Self {
        self.tables(memory);
        next.tables(memory)
    }

    fn tables(self, memory: &Memory) {
        self.services.iter().for_each(|&(at, record)| put(memory, at, record));
        self.clusters.iter().for_each(|&(at, record)| memory.clusters.set(at, record));
        self.nodes.iter().for_each(|&(at, record)| memory.nodes.set(at, record));
    }
}

/// Puts a service in its place in the generation in force, and what its ports say of it into theirs.
fn put(memory: &Memory, at: u32, record: lb_common::ServiceRecord) {
    memory.services.set(at, record);
    for place in 0..VIP_PLACES {
        let place = generation_index(memory.epoch(), VIP_PLACES, place);
        let mut entry = memory.vips.get(place).expect("a place");
        let of = generation_index(memory.epoch(), MAX_SERVICES, u32::from(entry.service));
        if entry.kind == VipKind::Port as u8 && of == at {
            entry.set_table(&record.table);
            memory.vips.set(place, entry);
        }
    }
}

/// Where a table of a scene stands.
struct Placed {
    first: u32,
    base: u32,
}

impl Placed {
    fn of(&self, directory: Directory) -> Directory {
        Directory { first: self.first, base: self.base, ..directory }
    }
}

impl Moved {
    /// Settled for long.
    #[must_use]
    pub const fn clean(own: To) -> Self {
        Self { state: SlotState::Clean, own: Some(own), base: None }
    }

    /// The same, with nobody.
    #[must_use]
    pub const fn clean_nobody() -> Self {
        Self { state: SlotState::Clean, own: None, base: None }
    }

    /// Moved within the limit.
    #[must_use]
    pub const fn drain(own: Option<To>, base: Option<To>) -> Self {
        Self { state: SlotState::Drain, own, base: Some(base) }
    }

    /// Moved before.
    #[must_use]
    pub const fn residue(own: Option<To>) -> Self {
        Self { state: SlotState::Residue, own, base: None }
    }

    fn write(self, memory: &Memory, free: &mut impl Iterator<Item = u32>) -> Placed {
        let mut table = |slot: Slot| {
            let first = free.next().expect("free chunks");
            for chunk in first..first + CHUNKS {
                memory.slots.set(chunk, Chunk { slots: [slot.raw(); CHUNK_SLOTS as usize] });
            }
            first
        };
        let slot = |of: Option<To>| of.map_or(Slot::NONE, |to| Slot::clean(to.number()));
        let first = table(slot(self.own).in_state(self.state));
        let base = self.base.map_or(Directory::NO_BASE, |base| table(slot(base)));
        Placed { first, base }
    }
}

impl Pinned {
    fn write(&self, memory: &Memory) {
        let node = NodeId::new(self.at.0.number().into()).expect("a node");
        let cluster = ClusterId::new(self.at.1.number().into()).expect("a cluster");
        // Ticks wrap, so a machine that runs for less than the age may have it, too.
        let then = memory.now().wrapping_sub(u64::from(self.age) * 1_000_000);
        let (service, state) = (self.service, self.state);
        let pin = Pin { node, service, cluster, state, last: Tick::at(then) };
        let mut bucket = memory.pins.get(self.bucket).expect("a bucket");
        bucket.ways[self.way] = PinEntry { tag: self.tag, value: pin.raw() };
        memory.pins.set(self.bucket, bucket);
    }
}

/// Buckets that are not empty.
fn occupied(memory: &Memory) -> Vec<u32> {
    let empty = |&bucket: &u32| memory.pins.get(bucket) == Some(PinBucket::default());
    (0..memory.pins.len()).filter(|bucket| !empty(bucket)).collect()
}

/// All pins, in the order of their places. Ages are 0 if they are fresh, else 1; ways that were given
/// back are not told.
pub fn pins(memory: &Memory) -> Vec<Pinned> {
    let told = |pin: Pinned| Pinned { age: u32::from(pin.age > FRESH), ..pin };
    standing(memory).into_iter().map(told).collect()
}

/// The same with their ages, to a tick.
pub fn standing(memory: &Memory) -> Vec<Pinned> {
    let now = Tick::at(memory.now());
    let mut pins = Vec::new();
    for bucket in occupied(memory) {
        let ways = memory.pins.get(bucket).expect("a bucket").ways;
        for (way, entry) in ways.iter().enumerate().filter(|(_, e)| e.tag != lb_common::pin::FREE) {
            let pin = Pin::from_raw(entry.value).expect("a pin");
            let to = |index: usize| To::ALL[index];
            pins.push(Pinned {
                bucket,
                way,
                tag: entry.tag,
                service: pin.service,
                at: (to(pin.node.index()), to(pin.cluster.index())),
                state: pin.state,
                age: now.since(pin.last) * TICK,
            });
        }
    }
    pins
}
