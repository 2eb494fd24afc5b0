//! Which service: one port, a range, all ports of an address; and what is for none.

use lb_common::{HashKey, Reason};
use lb_ebpf::Action;

use super::{Case, Step, hash_of, here, in_tunnel, tcp, udp, way};
use crate::pipeline::{
    packets::{Body, Ip},
    places::{CLIENT, FAMILIES, Family, OTHER, SERVED},
    to::To,
    world::World,
};

pub(super) fn cases(key: &HashKey) -> Vec<Case> {
    let mut cases = Vec::new();
    for family in FAMILIES {
        cases.extend(by_port(key, family));
        cases.extend(none(family));
    }
    cases
}

/// An exact port beats a range, a range beats all ports.
fn by_port(key: &HashKey, family: Family) -> Vec<Case> {
    let nat = if family == Family::V4 { To::NatRange4 } else { To::NatRange6 };
    let ports = [
        (80, To::Tx),
        (79, To::Tags),
        (81, To::Tags),
        (0, To::Tags),
        (65_535, To::Tags),
        (999, To::Tags),
        (1000, To::Elsewhere),
        (1499, To::Elsewhere),
        (1500, To::Tag),
        (1501, To::Elsewhere),
        (1999, To::Elsewhere),
        (2000, To::Tags),
        (2999, To::Tags),
        (3000, To::Ipip4),
        (3001, To::Tags),
        (4000, nat),
        (4005, nat),
        (4010, nat),
        (4011, To::Tags),
    ];
    let mut cases = Vec::new();
    for (port, to) in ports {
        let packet = Ip::tcp((CLIENT.of(family), 5), (OTHER.of(family), port), b"x");
        let sent = match to {
            To::Ipip4 => in_tunnel(to, &packet, hash_of(key, &packet)).bytes(),
            _ if to == nat => packet.clone().going_to(to.address(), port).bytes(),
            _ => packet.bytes(),
        };
        let ((action, reason), frame) = (way(to), here().frame(&packet.bytes()));
        let step = Step::becomes(frame, action, reason, to.link().frame(&sent));
        cases.push(Case::one(format!("port {port} over {family:?}"), step.clone()));
        if to != nat {
            let name = format!("port {port} over {family:?}, no nat");
            cases.push(Case::one(name, step).at(World::Direct));
        }
    }
    for (port, served) in [(999, false), (1000, true), (1999, true), (2000, false), (0, false)] {
        let packet = Ip::udp((CLIENT.of(family), 5), (OTHER.of(family), port), b"x");
        let frame = here().frame(&packet.bytes());
        let step = if served {
            let out = To::Elsewhere.link().frame(&packet.bytes());
            Step::becomes(frame, Action::Redirect, Reason::ForwardRedirect, out)
        } else {
            Step::passes(frame, Reason::PassNoService)
        };
        cases.push(Case::one(format!("udp port {port} over {family:?}"), step));
    }
    cases
}

/// To a VIP, but not to a service of it.
fn none(family: Family) -> Vec<Case> {
    let raw = |protocol| {
        let body = Body::Raw { protocol, data: vec![5; 24] };
        Ip::new(CLIENT.of(family), SERVED.of(family), body)
    };
    let other_icmp = if family == Family::V4 { (13, 0) } else { (135, 0) };
    let packets = [
        ("tcp to another port", tcp(family, To::Tx, b"x").going_to(SERVED.of(family), 99)),
        ("udp to another port", udp(family, To::Tx, b"x").going_to(SERVED.of(family), 99)),
        ("sctp", raw(132)),
        ("esp", raw(50)),
        ("an experimental protocol", raw(253)),
        ("no next header", raw(59)),
        ("icmp of the other version", raw(if family == Family::V4 { 58 } else { 1 })),
        ("an icmp query", Ip::icmp(CLIENT.of(family), SERVED.of(family), other_icmp, &[0; 20])),
        ("a tunnel packet", raw(4)),
    ];
    let case = |(what, packet): (&str, Ip)| {
        let frame = here().frame(&packet.bytes());
        World::ALL.map(|world| {
            let step = Step::passes(frame.clone(), Reason::PassNoService);
            Case::one(format!("{what} over {family:?}"), step).at(world)
        })
    };
    packets.into_iter().flat_map(case).collect()
}
