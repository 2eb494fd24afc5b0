//! A load balancer in virtual time: the real decisions and the real packets' way, tables in memory.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use lb_common::{
    ClusterId, Directory, FlowKey, GenerationHead, HashAlgorithm, Limit, NodeId, NodeRecord,
    PinEntry, Pod, PortRange, Reason, ServiceId, ServiceRecord, Slot, SlotState, VipEntry,
    pin::{BUSY, FREE, HALF_YIELDS, PIN_WAYS, Pin, PinState, Tick},
};
use lb_ebpf::{
    Book, Copied, Tables, Verdict,
    select::{self, Choice, Kind},
};
use lb_user::{
    config::{Config, Ports},
    dataplane::{live, memory::Memory, writer::Writer},
    decide::{Effect, Event, Host, Intent, Model, NextHop, Saved, State, Vip, moved::Swept},
    secret,
};

use crate::{
    shape::Server,
    without::{Published, Without},
};

/// How often pins are looked at.
const SWEEPS: Duration = Duration::from_millis(700);

/// What is known of servers by what is in force.
#[derive(Default)]
struct Known {
    /// By port of the service: whom new connections may go to.
    eligible: BTreeMap<u16, BTreeSet<Server>>,
    /// Those that may keep connections.
    up: BTreeSet<Server>,
}

/// A load balancer.
pub struct World {
    /// What it decides.
    pub state: State,
    /// What time it is there.
    pub now: Duration,
    memory: Memory,
    writer: Writer,
    published: Published,
    vips: Vec<Vip>,
    /// What is known by what is in force.
    known: Known,
    /// What the next process finds beside the maps, and what it was made of.
    saved: Option<(Arc<Model>, Saved)>,
    pin_mask: u32,
    next_sweep: Duration,
    /// What a sweep found, not told yet.
    swept: Option<Swept>,
}

impl World {
    /// One that leaves a rule out, with so many buckets of pins. It knows the way to every node, and
    /// has no plan yet.
    pub fn new(config: Config, without: Without, buckets: u32) -> Self {
        let memory = Memory::anonymous().expect("memory");
        memory.secret.set(0, secret::expand(b"not very secret!", HashAlgorithm::Multilinear));
        let now = Duration::from_secs(1000);
        let mut world = Self {
            state: State::new(Arc::new(config), now),
            now,
            writer: Writer::adopt(&memory),
            memory,
            published: Published::new(without),
            vips: Vec::new(),
            known: Known::default(),
            saved: None,
            pin_mask: buckets - 1,
            next_sweep: now,
            swept: None,
        };
        world.find_ways();
        world
    }

    /// Another configuration.
    pub fn reload(&mut self, config: &Config) {
        self.state = self.state.succeed(config, self.now).expect("enough ids");
        self.find_ways();
    }

    /// The process ends, and another one goes on with what it left.
    pub fn restart(&mut self, config: &Config) {
        let Some((_, saved)) = &self.saved else { return };
        self.writer = Writer::adopt(&self.memory);
        let maps = live::remembered(&self.memory, &self.writer);
        let before = State::resume(saved.clone(), &maps, self.now).expect("it fits");
        self.state = before.succeed(config, self.now).expect("enough ids");
        self.swept = None;
        self.find_ways();
    }

    /// Lets time pass, and things happen. What a sweep finds is told one step later.
    pub fn step(&mut self, time: Duration, events: &[Event]) {
        self.now += time;
        let swept = self.swept.take();
        if !events.is_empty() || self.state.deadline().is_some_and(|at| at <= self.now) {
            self.happen(events);
        }
        if let Some(swept) = swept {
            self.forget(&swept);
            self.happen(&[Event::Swept(Arc::new(swept))]);
        }
        if self.now >= self.next_sweep {
            self.next_sweep = self.now + SWEEPS;
            self.swept = self.look();
        }
    }

    /// What nothing names any more need not be known any more.
    fn forget(&mut self, swept: &Swept) {
        let named = swept.named();
        self.state.named(&named);
        if let Some(next) = self.state.dismiss(&named, self.now) {
            self.state = next;
            self.find_ways();
        }
    }

    /// Looks at all pins.
    fn look(&self) -> Option<Swept> {
        let sweep = self.state.sweep()?;
        let places = (0..=self.pin_mask).flat_map(|b| (0..PIN_WAYS).map(move |way| (b, way)));
        let entry = |at: (u32, usize)| Some((at, self.memory.pin(at.0, at.1)?));
        let (swept, ended) = sweep.judge(places.filter_map(entry), self.tick());
        for ((bucket, way), entry) in ended {
            let claimed = self.memory.claim_pin(bucket, way, entry.tag, BUSY);
            let freed = claimed && self.memory.claim_pin(bucket, way, BUSY, FREE);
            assert!(freed, "no packet runs meanwhile");
        }
        Some(swept)
    }

    /// A packet's way, and whether a pin was refused on it.
    pub fn packet(
        &self,
        service: ServiceId,
        flow: &FlowKey,
        kind: Kind,
    ) -> (Result<Choice, Verdict>, bool) {
        let tables = Seen { world: self, tag: Cell::new(FREE) };
        let directory = tables.service(self.writer.epoch(), service).expect("a service");
        assert_eq!(directory.table.by_source, 0, "so a flow's tag is its hash");
        let hash = tables.head(self.writer.epoch()).expect("its head").key.hash(flow);
        tables.tag.set(lb_common::pin::tag(hash));
        let choice = select::of_flow(&tables, self.writer.epoch(), service, flow, kind);
        (choice, self.memory.noted().pin_refused > 0)
    }

    /// The service on a port, if it is in force.
    pub fn service(&self, port: u16) -> Option<ServiceId> {
        let vip = self.vips.iter().find(|vip| vip.ports == Ports::One(port));
        vip.map(|vip| vip.service)
    }

    /// Whom a packet comes to.
    pub fn server(&self, id: NodeId) -> Server {
        let record = self.memory.node(self.writer.epoch(), id).expect("a record");
        Server::at(IpAddr::from(record.address))
    }

    /// Whether some slot is in a window.
    pub fn drains(&self) -> bool {
        let intent = self.state.view().published;
        let mut tables = intent.into_iter().flat_map(|i| i.services.iter().chain(&i.clusters));
        tables.any(|table| table.slots.iter().any(|slot| slot.state() == SlotState::Drain))
    }

    /// Whether a new connection to the service on a port that comes to a server, or to nobody, should
    /// have come to somebody else.
    pub fn fails(&self, port: u16, to: Option<Server>, alive: impl Fn(Server) -> bool) -> bool {
        let Known { eligible, up } = &self.known;
        let fails = to.is_none_or(|server| !alive(server) && !up.contains(&server));
        fails && eligible.get(&port).is_some_and(|them| them.iter().any(|&server| alive(server)))
    }

    fn learn(&mut self, intent: &Intent) {
        let view = self.state.view();
        let (model, decision) = (view.model, view.decision.expect("a decision"));
        let of = |service: usize| {
            let plan = &decision.services[service];
            let seats = (0..).zip(model.seats(service)).filter(|(i, _)| plan.eligible.contains(*i));
            let nodes = seats.flat_map(|(_, seat)| {
                let nodes = model.nodes_of(seat.cluster).zip(&decision.nodes[seat.pool]);
                nodes.filter(|(_, health)| health.eligible).map(|(node, _)| node)
            });
            let servers = nodes.map(|node| Server::at(model.node(node).address));
            Some((model.config.services[service].ports.one()?, servers.collect()))
        };
        let up = intent.nodes.iter().filter(|record| record.up == 1);
        self.known = Known {
            eligible: (0..decision.services.len()).filter_map(of).collect(),
            up: up.map(|record| Server::at(IpAddr::from(record.address))).collect(),
        };
        let model = self.state.model();
        if self.saved.as_ref().is_none_or(|(of, _)| !Arc::ptr_eq(of, model)) {
            self.saved = Some((Arc::clone(model), self.state.saved()));
        }
    }

    fn happen(&mut self, events: &[Event]) {
        for effect in self.state.step(self.now, events) {
            match effect {
                Effect::Publish(intent) => {
                    self.learn(&intent);
                    let intent = self.published.change(&intent);
                    self.writer.commit(&self.memory, &intent).expect("room");
                    self.writer.graced(self.writer.epoch());
                    self.vips = intent.vips;
                }
                Effect::Refused(violations) => panic!("{violations:?}"),
                Effect::Notice(_) => {}
            }
        }
    }

    fn find_ways(&mut self) {
        let hop = Some(NextHop {
            ifindex: 3,
            src_mac: [2; 6],
            dst_mac: [4; 6],
            mtu: 1500,
            tags: [0; 2],
            source: None,
        });
        let model = self.state.view().model;
        let nodes = (0..model.nodes.len()).filter_map(|node| model.ids.node(node));
        let mut events: Vec<Event> = nodes.map(|node| Event::Resolved { node, hop }).collect();
        events.push(Event::Host(Host::default()));
        self.happen(&events);
    }

    fn tick(&self) -> Tick {
        Tick::at(self.now.as_nanos() as u64)
    }
}

/// The tables as a packet sees them: at that time, with so many pins, and perhaps without a rule.
struct Seen<'a> {
    world: &'a World,
    /// The packet's own.
    tag: Cell<u64>,
}

impl Seen<'_> {
    fn memory(&self) -> &Memory {
        &self.world.memory
    }
}

impl Tables for Seen<'_> {
    type Ref<'b, T: Pod>
        = Copied<T>
    where
        Self: 'b;
    type Slots<'b>
        = ()
    where
        Self: 'b;

    fn now(&self) -> u64 {
        self.world.now.as_nanos() as u64
    }
    fn pin_mask(&self) -> Option<u32> {
        Some(self.world.pin_mask)
    }
    fn pin(&self, bucket: u32, way: usize) -> Option<PinEntry> {
        let entry = self.memory().pin(bucket, way)?;
        let pin = Pin::from_raw(entry.value).filter(|_| entry.tag != self.tag.get());
        match pin.filter(|_| self.world.published.without == Without::Quota) {
            // Until they may give way anyway, nobody sees that they are only half open.
            Some(pin)
                if pin.state == PinState::Half
                    && self.world.tick().since(pin.last) < HALF_YIELDS =>
            {
                Some(PinEntry { value: Pin { state: PinState::Live, ..pin }.raw(), ..entry })
            }
            _ => Some(entry),
        }
    }
    fn renew_pin(&self, bucket: u32, way: usize, from: u64, to: u64) -> bool {
        let closing = Pin::from_raw(to).is_some_and(|pin| pin.state == PinState::Closing);
        if closing && self.world.published.without == Without::Closing {
            self.memory().claim_pin(bucket, way, self.tag.get(), FREE);
        }
        self.memory().renew_pin(bucket, way, from, to)
    }
    fn claim_pin(&self, bucket: u32, way: usize, from: u64, to: u64) -> bool {
        self.memory().claim_pin(bucket, way, from, to)
    }
    fn note(&self, reason: Reason) {
        self.memory().note(reason);
    }
    fn epoch(&self) -> Option<u64> {
        Some(self.memory().epoch())
    }
    fn head(&self, epoch: u64) -> Option<Copied<GenerationHead>> {
        self.memory().head(epoch)
    }
    fn entry(&self, book: Book, epoch: u64, place: u32) -> Option<Copied<VipEntry>> {
        self.memory().entry(book, epoch, place)
    }
    fn range(&self, book: Book, epoch: u64, index: u32) -> Option<PortRange> {
        self.memory().range(book, epoch, index)
    }
    fn service(&self, epoch: u64, id: ServiceId) -> Option<Copied<ServiceRecord>> {
        self.memory().service(epoch, id)
    }
    fn cluster(&self, epoch: u64, id: ClusterId) -> Option<Directory> {
        self.memory().cluster(epoch, id)
    }
    fn node(&self, epoch: u64, id: NodeId) -> Option<Copied<NodeRecord>> {
        self.memory().node(epoch, id)
    }
    fn slots(&self) -> Option<()> {
        Some(())
    }
    fn slot(&self, (): (), first: u32, slot: u32) -> Option<Slot> {
        self.memory().slot((), first, slot)
    }
    fn fragment(&self, bucket: u32, way: usize) -> Option<u64> {
        self.memory().fragment(bucket, way)
    }
    fn set_fragment(&self, bucket: u32, way: usize, word: u64) {
        self.memory().set_fragment(bucket, way, word);
    }
    fn limit(&self) -> Option<Limit> {
        self.memory().limit()
    }
    fn set_limit(&self, second: u64, sent: u64) {
        self.memory().set_limit(second, sent);
    }
}
