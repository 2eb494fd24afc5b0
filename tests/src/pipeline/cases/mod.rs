//! The cases, as data: frames, and exactly what becomes of them.

mod echo;
mod errors;
mod flows;
mod follow;
mod forward;
mod fragments;
mod hostile;
mod jumbo;
mod lookup;
mod moved;
mod replies;
mod row;
pub(super) mod size;
mod strangers;

use lb_common::{FlowHash, FlowKey, HashKey, Reason};
use lb_ebpf::{Action, Routed};

use super::{
    packets::{Body, DONT_FRAGMENT, Ip, Link},
    places::{CLIENT, Family, SERVED, TUNNEL, words},
    scene::{Pinned, Scene},
    to::{GUE_PORT, To},
    world::World,
};
use crate::pipeline::frames::{CLIENT_MAC, LB_MAC};

/// Frames one after the other, and what each must become.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it is about.
    pub name: String,
    /// The host.
    pub world: World,
    /// What the host would do with any packet that it is to forward; the kernel's has no routes.
    pub routed: Routed,
    /// The driver leaves no room in front of the frame.
    pub tight: bool,
    /// What is in the tables of slots and pins instead of what the host has.
    pub scene: Option<Scene>,
    /// The frames.
    pub steps: Vec<Step>,
}

/// A frame, and what it must become.
#[derive(Clone, Debug)]
pub struct Step {
    /// What happens before it comes.
    pub before: Before,
    /// What is in the tables of slots from then on, where there is a scene; pins stay as they are.
    pub scene: Option<Scene>,
    /// The frame.
    pub frame: Vec<u8>,
    /// What is done with it.
    pub action: Action,
    /// The one counter that counts it.
    pub reason: Reason,
    /// What counts beside it.
    pub notes: Vec<Reason>,
    /// All pins afterwards, where there is a scene.
    pub pins: Vec<Pinned>,
    /// The frame afterwards.
    pub out: Vec<u8>,
}

/// What happens before a frame comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Nothing.
    Nothing,
    /// So many seconds, for what is remembered of fragments.
    Seconds(u16),
    /// So many answers within this second.
    Answers(u64),
}

impl Step {
    /// A frame that becomes another one.
    #[must_use]
    pub fn becomes(frame: Vec<u8>, action: Action, reason: Reason, out: Vec<u8>) -> Self {
        let (before, notes, pins) = (Before::Nothing, Vec::new(), Vec::new());
        Self { before, scene: None, frame, action, reason, notes, pins, out }
    }

    /// A frame for the host, as it came.
    #[must_use]
    pub fn passes(frame: Vec<u8>, reason: Reason) -> Self {
        Self::becomes(frame.clone(), Action::Pass, reason, frame)
    }

    /// A frame that ends here.
    #[must_use]
    pub fn drops(frame: Vec<u8>, reason: Reason) -> Self {
        Self::becomes(frame.clone(), Action::Drop, reason, frame)
    }

    /// After something happened.
    #[must_use]
    pub fn after(self, before: Before) -> Self {
        Self { before, ..self }
    }
}

impl Case {
    /// Frames one after the other to the host that fragments and knows `nat`.
    #[must_use]
    pub fn new(name: impl Into<String>, steps: Vec<Step>) -> Self {
        let (world, routed) = (World::Router, Routed::ByHost);
        Self { name: name.into(), world, routed, tight: false, scene: None, steps }
    }

    /// One frame.
    #[must_use]
    pub fn one(name: impl Into<String>, step: Step) -> Self {
        Self::new(name, vec![step])
    }

    /// To another host.
    #[must_use]
    pub fn at(self, world: World) -> Self {
        Self { world, ..self }
    }
}

/// All cases, for a key of the flow hash.
#[must_use]
pub fn all(key: &HashKey) -> Vec<Case> {
    [
        forward::cases(key),
        lookup::cases(key),
        size::cases(key),
        fragments::cases(key),
        errors::cases(key),
        echo::cases(),
        replies::cases(),
        strangers::cases(),
        hostile::cases(key),
        jumbo::cases(key),
        moved::cases(key),
        flows::cases(key),
        follow::cases(key),
    ]
    .concat()
}

/// The link header of frames that come in.
#[must_use]
pub fn here() -> Link {
    Link { to: LB_MAC, from: CLIENT_MAC, tags: Vec::new() }
}

/// The link header of answers to them.
#[must_use]
pub fn back() -> Link {
    Link { to: CLIENT_MAC, from: LB_MAC, tags: Vec::new() }
}

/// A client's TCP segment to a service.
fn tcp(family: Family, to: To, data: &[u8]) -> Ip {
    Ip::tcp((CLIENT.of(family), 40_000), (SERVED.of(family), to.port()), data)
}

/// A client's UDP datagram to a service.
fn udp(family: Family, to: To, data: &[u8]) -> Ip {
    Ip::udp((CLIENT.of(family), 40_001), (SERVED.of(family), to.port()), data)
}

/// The hash of a packet with ports.
fn hash_of(key: &HashKey, ip: &Ip) -> FlowHash {
    match ip.body {
        Body::Tcp { from, to, .. } => hash(key, ip, [from, to], 6),
        Body::Udp { from, to, .. } => hash(key, ip, [from, to], 17),
        _ => panic!("{ip:?} has no ports"),
    }
}

/// The hash of a packet's addresses with these ports and this protocol.
fn hash(key: &HashKey, ip: &Ip, [from, to]: [u16; 2], protocol: u8) -> FlowHash {
    let ports = u32::from(from) << 16 | u32::from(to);
    hash_with(key, ip, ports, protocol)
}

fn hash_with(key: &HashKey, ip: &Ip, ports: u32, protocol: u8) -> FlowHash {
    let (source, destination) = (words(ip.from), words(ip.to));
    key.hash(&FlowKey { source, destination, ports, protocol, v6: ip.v6() })
}

/// The packet in a tunnel to a node.
fn in_tunnel(to: To, ip: &Ip, hash: FlowHash) -> Ip {
    let (spread, inner) = ((hash.0 >> 32) as u32, ip.bytes());
    let kind = if ip.v6() { 41 } else { 4 };
    let body = if to.forward() == lb_common::Forward::Gue {
        let data = [&[0, kind, 0, 0][..], &inner].concat();
        let from = 0xc000 | (spread & 0x3fff) as u16;
        Body::Udp { from, to: GUE_PORT, data, checked: to.address().is_ipv6() }
    } else {
        Body::Raw { protocol: kind, data: inner }
    };
    Ip::new(TUNNEL.of(to.family()), to.address(), body).with(|outer| {
        (outer.ttl, outer.tos, outer.id) = (64, ip.tos, 0);
        (outer.fragment, outer.label) = (DONT_FRAGMENT, spread & 0xf_ffff);
    })
}

/// The same for the host to fragment. Tunnels' ends do not tell clients apart, so the identification
/// does.
fn to_be_fragmented(to: To, ip: &Ip, hash: FlowHash) -> Ip {
    let folded = (0..4).fold(0, |folded, word| folded ^ (hash.0 >> (16 * word)) as u16);
    in_tunnel(to, ip, hash).with(|outer| (outer.fragment, outer.id) = (0, ip.id ^ folded))
}

/// The frame that a packet to a service becomes, if it goes to its node.
fn sent(key: &HashKey, to: To, ip: &Ip) -> Vec<u8> {
    use lb_common::Forward::{Gue, Ipip, L2, Nat};
    let packet = match to.forward() {
        L2 => ip.bytes(),
        Ipip | Gue => in_tunnel(to, ip, hash_of(key, ip)).bytes(),
        Nat => ip.clone().going_to(to.address(), to.port_of(to.port())).bytes(),
    };
    to.link().frame(&packet)
}

/// What is done with what goes to a node, and how a packet of a flow is counted.
fn way(to: To) -> (Action, Reason) {
    match to.is_elsewhere() {
        true => (Action::Redirect, Reason::ForwardRedirect),
        false => (Action::Tx, Reason::ForwardTx),
    }
}

/// A packet to a service that goes to its node.
fn goes(key: &HashKey, to: To, ip: &Ip) -> Step {
    let (action, reason) = way(to);
    Step::becomes(here().frame(&ip.bytes()), action, reason, sent(key, to, ip))
}

/// Whether a node can be given packets of this family.
fn suits(to: To, family: Family) -> bool {
    to.forward() != lb_common::Forward::Nat || to.family() == family
}

/// Ways that lead to a node.
fn good() -> impl Iterator<Item = To> {
    let last = To::NatRange6.number();
    To::ALL.iter().copied().filter(move |to| to.number() <= last)
}
