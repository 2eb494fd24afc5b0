//! Clients: connections that open, send, are silent, close by halves, and come again from the same port.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use lb_common::{FlowKey, ServiceId, SlotState};
use lb_ebpf::select::Kind;

use crate::{
    changes::Changes,
    dice::Dice,
    shape::{Protocol, Server},
    world::World,
};

/// Who is silent for longer is not promised anything: less than any drain limit and any pin's time.
pub const SILENCE: Duration = Duration::from_secs(18);
const TCP: u8 = 6;
const UDP: u8 = 17;

/// What became of packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Packets of connections whose node was up all the time, and that were not silent for too long.
    pub covered: u64,
    /// Of those, packets that went elsewhere than those of new connections.
    pub stayed: u64,
    /// Of those, packets that did not come to their connection's node.
    pub broken: u64,
    /// Connections that could not be opened although somebody was there whom the plan knows.
    pub failed: u64,
    /// Connections that opened.
    pub opened: u64,
    /// Of those, the ones from a port that was used a moment before.
    pub reused: u64,
    /// Connections that could not be pinned when they opened, which are not promised anything.
    pub refused: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.covered += other.covered;
        self.stayed += other.stayed;
        self.broken += other.broken;
        self.failed += other.failed;
        self.opened += other.opened;
        self.reused += other.reused;
        self.refused += other.refused;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The next packet opens it.
    Closed,
    Open,
    /// The client has sent its FIN.
    HalfClosed,
}

struct Flow {
    /// Its service's port.
    port: u16,
    protocol: Protocol,
    key: FlowKey,
    phase: Phase,
    server: Option<Server>,
    covered: bool,
    /// When its slots were last seen at rest.
    rested: Option<Duration>,
    last: Duration,
    /// Packets until the phase ends.
    left: u32,
    reused: bool,
}

/// Clients of a world.
pub struct Clients {
    /// What became of their packets.
    pub tally: Tally,
    flows: Vec<Flow>,
    due: BinaryHeap<Reverse<(Duration, usize)>>,
    dice: Dice,
    port: u32,
}

impl Clients {
    /// So many connections at a time, to these services by turns.
    pub fn new(flows: usize, services: &[(u16, Protocol)], now: Duration, mut dice: Dice) -> Self {
        let mut clients = Self {
            tally: Tally::default(),
            flows: Vec::new(),
            due: BinaryHeap::new(),
            port: dice.below(1 << 30),
            dice,
        };
        for id in 0..flows {
            let (port, protocol) = services[id % services.len()];
            let key = clients.fresh(protocol);
            clients.flows.push(Flow {
                port,
                protocol,
                key,
                phase: Phase::Closed,
                server: None,
                covered: false,
                rested: None,
                last: now,
                left: 0,
                reused: false,
            });
            let at = now + clients.dice.milliseconds(1, 5000);
            clients.due.push(Reverse((at, id)));
        }
        clients
    }

    /// Sends what is due.
    pub fn send(&mut self, world: &World, changes: &Changes) {
        // A service that goes takes its connections with it.
        for flow in self.flows.iter_mut().filter(|flow| world.service(flow.port).is_none()) {
            (flow.phase, flow.covered) = (Phase::Closed, false);
        }
        while let Some(&Reverse((at, id))) = self.due.peek()
            && at <= world.now
        {
            self.due.pop();
            let wait = match world.service(self.flows[id].port) {
                Some(service) => self.turn(world, service, id, changes),
                None => self.dice.milliseconds(1000, 2000),
            };
            self.due.push(Reverse((world.now + wait, id)));
        }
    }

    /// All connections to a server end, or are promised nothing any more.
    pub fn lost(&mut self, server: Server) {
        let its = self.flows.iter_mut().filter(|flow| flow.server == Some(server));
        its.for_each(|flow| flow.covered = false);
    }

    /// A flow's next packet; how long until the one after it.
    fn turn(
        &mut self,
        world: &World,
        service: ServiceId,
        id: usize,
        changes: &Changes,
    ) -> Duration {
        let flow = &mut self.flows[id];
        if flow.phase == Phase::Closed {
            return self.open(world, service, id, changes);
        }
        flow.left = flow.left.saturating_sub(1);
        let kind = match (flow.protocol, flow.phase, flow.left) {
            (Protocol::Tcp, Phase::Open, 0) => Kind::Fin,
            (Protocol::Tcp, Phase::HalfClosed, 0) if self.dice.one_in(3) => Kind::Rst,
            _ => Kind::Other,
        };
        if world.now - flow.last >= SILENCE {
            flow.covered = false;
        }
        flow.last = world.now;
        let (choice, _) = world.packet(service, &flow.key, kind);
        let server = choice.ok().map(|choice| world.server(choice.to.node));
        let came = server.is_some() && server == flow.server;
        let promised = flow.server.and_then(|server| changes.promised(server));
        let covered = flow.covered
            && promised.is_none_or(|time| flow.rested.is_some_and(|at| world.now < at + time));
        if choice.is_ok_and(|choice| choice.states == [SlotState::Clean; 2]) {
            flow.rested = Some(world.now);
        }
        if covered {
            self.tally.covered += 1;
            self.tally.broken += u64::from(!came);
            let moved = choice.is_ok_and(|choice| choice.own != Some(choice.to));
            self.tally.stayed += u64::from(came && moved);
        }
        if !came || !server.is_some_and(|server| changes.alive(server)) {
            return self.again(id);
        }
        match (flow.phase, flow.left) {
            (Phase::Open, 0) if flow.protocol == Protocol::Tcp => {
                (flow.phase, flow.left) = (Phase::HalfClosed, 1 + self.dice.below(20));
                self.dice.milliseconds(10, 3000)
            }
            (_, 0) => self.again(id),
            // Now and then one is silent for so long that it is promised nothing any more.
            _ if self.dice.one_in(150) => self.dice.milliseconds(15_000, 100_000),
            _ if self.dice.one_in(10) => self.dice.milliseconds(3000, 17_000),
            _ => self.dice.milliseconds(50, 2000),
        }
    }

    fn open(
        &mut self,
        world: &World,
        service: ServiceId,
        id: usize,
        changes: &Changes,
    ) -> Duration {
        let flow = &mut self.flows[id];
        let (choice, refused) = world.packet(service, &flow.key, Kind::Opens);
        let server = choice.ok().map(|choice| world.server(choice.to.node));
        let failed = world.fails(flow.port, server, |server| changes.alive(server));
        self.tally.failed += u64::from(failed);
        let Some(server) = server.filter(|server| changes.alive(*server)) else {
            return self.dice.milliseconds(900, 1100);
        };
        self.tally.opened += 1;
        self.tally.refused += u64::from(refused);
        self.tally.reused += u64::from(flow.reused);
        // Who has no time to stay is promised nothing, whatever the limit is later.
        let promised = changes.promised(server).is_none_or(|time| !time.is_zero());
        // Nothing opens it, so a pin from before whose node is down stays until a sweep; and comes
        // alive with the node if that is quicker.
        let stale = flow.protocol == Protocol::Sticky
            && choice.is_ok_and(|choice| choice.pin.is_some_and(|pin| pin.node != choice.to.node));
        (flow.server, flow.covered) = (Some(server), !refused && promised && !stale);
        let rests = choice.is_ok_and(|choice| choice.states == [SlotState::Clean; 2]);
        (flow.rested, flow.last) = (rests.then_some(world.now), world.now);
        (flow.phase, flow.left) = (Phase::Open, 2 + self.dice.below(100));
        self.dice.milliseconds(1, 500)
    }

    /// Its connection is over: the next one, often from the same port.
    fn again(&mut self, id: usize) -> Duration {
        let reused = self.dice.one_in(2);
        let Flow { key, protocol, .. } = self.flows[id];
        let key = if reused { key } else { self.fresh(protocol) };
        let flow = &mut self.flows[id];
        (flow.key, flow.phase, flow.covered, flow.reused) = (key, Phase::Closed, false, reused);
        match self.dice.one_in(4) {
            true => self.dice.milliseconds(1000, 70_000),
            false => self.dice.milliseconds(1, 1000),
        }
    }

    fn fresh(&mut self, protocol: Protocol) -> FlowKey {
        self.port = self.port.wrapping_add(1);
        client(self.port, protocol)
    }
}

/// A client that no other is.
pub fn client(number: u32, protocol: Protocol) -> FlowKey {
    let protocol = if protocol == Protocol::Tcp { TCP } else { UDP };
    FlowKey::v4(0x0a00_0000 | number >> 16, 0xc000_0201, number << 16 | 80, protocol)
}
