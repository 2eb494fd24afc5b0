//! A packet whose slots moved, in one line: the scene, the packet, and what becomes of both.

use lb_common::{
    FlowHash, HashKey, PinState, Reason, Udp,
    maps::PINS_LEN,
    pin::{buckets, tag},
};

use super::{Case, Step, errors, hash_of, here, sent, tcp, udp, way};
use crate::pipeline::{
    packets::{Body, Ip},
    places::{CLIENT, Family, SERVED},
    scene::{Moved, Pinned, Scene, service_of},
    to::To,
};
use Reason::{PinLookedFor, PinMade, PinRefused};

/// Clusters and nodes by what they are in most scenes.
pub(super) const NEW: To = To::Tx;
pub(super) const OLD: To = To::Elsewhere;
pub(super) const PINNED: To = To::Tag;

/// What a packet of a connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    /// TCP with these flags.
    Tcp(u8),
    /// UDP with these bytes.
    Udp(Vec<u8>),
    /// An ICMP error about a TCP segment of it.
    Error,
}

pub(super) const FIN: Packet = Packet::Tcp(0x11);
pub(super) const SYN: Packet = Packet::Tcp(2);
pub(super) const RST: Packet = Packet::Tcp(4);
pub(super) const DATA: Packet = Packet::Tcp(0x18);

/// A place in the connection's two buckets, and what stands there: whose it is (0: the connection's
/// own), node and cluster, state, age in milliseconds.
pub(super) type Standing = (usize, usize, u64, To, To, PinState, u32);

/// Its own pin in the first place.
pub(super) const fn own(node: To, cluster: To, state: PinState, age: u32) -> Standing {
    (0, 0, 0, node, cluster, state, age)
}

/// One packet, what was before and what must be afterwards.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Row {
    name: &'static str,
    scene: (Moved, Vec<(To, Moved)>, Vec<To>),
    pins: Vec<Standing>,
    packet: Packet,
    /// To this node, or dropped for a reason.
    pub(super) to: Result<To, Reason>,
    notes: &'static [Reason],
    /// Ages: 0 fresh, 1 not.
    after: Vec<Standing>,
}

/// What counts beside the verdict.
pub(super) const LOOKED: &[Reason] = &[PinLookedFor];
pub(super) const MADE: &[Reason] = &[PinLookedFor, PinMade];
pub(super) const REFUSED: &[Reason] = &[PinLookedFor, PinRefused];

/// A packet in a scene where a service's slots moved so.
pub(super) fn row(
    name: &'static str,
    service: Moved,
    packet: Packet,
    to: Result<To, Reason>,
    notes: &'static [Reason],
) -> Row {
    let scene = (service, Vec::new(), Vec::new());
    Row { name, scene, pins: Vec::new(), packet, to, notes, after: Vec::new() }
}

impl Row {
    /// With this cluster's slots.
    pub(super) fn cluster(mut self, of: To, moved: Moved) -> Self {
        self.scene.1.push((of, moved));
        self
    }

    /// With a node that keeps no connections.
    pub(super) fn down(mut self, node: To) -> Self {
        self.scene.2.push(node);
        self
    }

    /// With these pins before.
    pub(super) fn pins(mut self, pins: impl IntoIterator<Item = Standing>) -> Self {
        self.pins.extend(pins);
        self
    }

    /// And these afterwards.
    pub(super) fn leaves(mut self, pins: impl IntoIterator<Item = Standing>) -> Self {
        self.after.extend(pins);
        self
    }

    /// The same with another in the place of [`PINNED`], if that has to do with it.
    pub(super) fn pinned_to(&self, other: To) -> Option<Self> {
        let instead = |to: To| if to == PINNED { other } else { to };
        let moved = |moved: Moved| Moved {
            own: moved.own.map(instead),
            base: moved.base.map(|base| base.map(instead)),
            ..moved
        };
        let standing = |&(bucket, way, tag, node, cluster, state, age): &Standing| {
            (bucket, way, tag, instead(node), instead(cluster), state, age)
        };
        let (service, clusters, down) = &self.scene;
        let clusters = clusters.iter().map(|&(of, slots)| (instead(of), moved(slots))).collect();
        let scene = (moved(*service), clusters, down.iter().copied().map(instead).collect());
        let row = Self {
            scene,
            pins: self.pins.iter().map(standing).collect(),
            to: self.to.map(instead),
            after: self.after.iter().map(standing).collect(),
            ..self.clone()
        };
        (row != *self).then_some(row)
    }

    /// The case of a service on somebody's port, of UDP of this kind.
    pub(super) fn case(&self, key: &HashKey, family: Family, of: To, kind: Udp) -> Case {
        let packet = self.ip(family, of);
        let flow = match self.packet {
            Packet::Error => with_flags(tcp(family, of, b""), 2),
            _ => packet.clone(),
        };
        let hash = hash_of(key, &flow);
        let mut step = self.step(key, of, &packet);
        let is_udp = matches!(self.packet, Packet::Udp(_));
        let place = |standing| placed(standing, of, family, is_udp, hash);
        step.pins = self.after.iter().map(place).collect();
        step.pins.sort_by_key(|pin| (pin.bucket, pin.way));
        let (service, clusters, down) = self.scene.clone();
        let pins = self.pins.iter().map(place).collect();
        let scene = Scene { of, service, clusters, down, udp: kind, pins };
        let name = format!("{}: {:?} over {family:?}", self.name, self.packet);
        Case { scene: Some(scene), ..Case::one(name, step) }
    }

    fn ip(&self, family: Family, of: To) -> Ip {
        match &self.packet {
            Packet::Tcp(flags) => with_flags(tcp(family, of, b"data"), *flags),
            Packet::Udp(data) => udp(family, of, data),
            Packet::Error => errors::error(kind(family), &quoted(family, of), 8),
        }
    }

    fn step(&self, key: &HashKey, of: To, packet: &Ip) -> Step {
        let frame = here().frame(&packet.bytes());
        let family = if packet.v6() { Family::V6 } else { Family::V4 };
        let step = match self.to {
            Err(reason) => Step::drops(frame, reason),
            Ok(to) if self.packet == Packet::Error => {
                errors::goes(key, to, &quoted(family, of), kind(family), 8)
            }
            Ok(to) => {
                let (action, reason) = way(to);
                let out = match to.forward() {
                    // The port is the cluster's, whoever the service's first one is.
                    lb_common::Forward::Nat => {
                        let port = to.port_of(of.port());
                        to.link().frame(&packet.clone().going_to(to.address(), port).bytes())
                    }
                    _ => sent(key, to, packet),
                };
                Step::becomes(frame, action, reason, out)
            }
        };
        Step { notes: self.notes.to_vec(), ..step }
    }
}

/// What an error about a connection quotes.
fn quoted(family: Family, of: To) -> Ip {
    let (from, to) = ((SERVED.of(family), of.port()), (CLIENT.of(family), 40_000));
    Ip::tcp(from, to, b"quoted")
}

/// Unreachable.
const fn kind(family: Family) -> (u8, u8) {
    match family {
        Family::V4 => (3, 0),
        Family::V6 => (1, 0),
    }
}

/// A TCP segment with these flags.
pub(super) fn with_flags(packet: Ip, flag: u8) -> Ip {
    packet.with(|ip| {
        if let Body::Tcp { flags, .. } = &mut ip.body {
            *flags = flag;
        }
    })
}

/// A pin in its place, of a flow of this hash.
pub(super) fn placed(
    standing: &Standing,
    of: To,
    family: Family,
    udp: bool,
    hash: FlowHash,
) -> Pinned {
    let &(turn, way, whose, node, cluster, state, age) = standing;
    let own = tag(hash);
    let bucket = buckets(own, PINS_LEN - 1)[turn];
    let service = service_of(of, family, udp);
    let tag = if whose == 0 { own } else { whose };
    Pinned { bucket, way, tag, service, at: (node, cluster), state, age }
}
