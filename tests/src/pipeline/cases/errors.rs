//! ICMP errors about a service's flow, on their way to the flow's node.

use lb_common::{HashKey, Reason};
use lb_ebpf::Action;

use super::{Case, Step, hash_of, here, in_tunnel, suits};
use crate::pipeline::{
    packets::{Body, DONT_FRAGMENT, Ip, padding_header, protocol},
    places::{self, CLIENT, FAMILIES, Family, NOBODY, OTHER, ROUTER, SERVED},
    to::To,
};

pub(super) fn cases(key: &HashKey) -> Vec<Case> {
    let mut cases = Vec::new();
    for family in FAMILIES {
        cases.extend(to_nodes(key, family));
        cases.extend(kinds(key, family));
        cases.extend(bad_quotes(family));
    }
    cases.extend(too_big());
    cases
}

/// What a node sent to a client, as the client's side sees it, or, with `nat`, as the node does.
fn sent(family: Family, to: To, tcp: bool, data: &[u8]) -> Ip {
    let (from, client) = ((SERVED.of(family), to.port()), (CLIENT.of(family), 40_002));
    let packet = if tcp { Ip::tcp(from, client, data) } else { Ip::udp(from, client, data) };
    packet.with(|ip| (ip.ttl, ip.fragment) = (3, DONT_FRAGMENT))
}

/// An error from a router that quotes so many bytes behind the IP headers of a packet.
pub(super) fn error(kind: (u8, u8), quoted: &Ip, bytes: usize) -> Ip {
    let whole = quoted.bytes();
    let headers = whole.len() - quoted.payload().len();
    let data = &whole[..whole.len().min(headers + bytes)];
    let family = if quoted.v6() { Family::V6 } else { Family::V4 };
    Ip::icmp(ROUTER.of(family), quoted.from, kind, data).with(|ip| {
        if let Body::Icmp { rest, .. } = &mut ip.body {
            *rest = [0, 0, 5, 0x78];
        }
    })
}

/// What becomes of an error about this packet, which is its node's with this service port.
pub(super) fn goes(key: &HashKey, to: To, quoted: &Ip, kind: (u8, u8), bytes: usize) -> Step {
    let packet = error(kind, quoted, bytes);
    let (from, ports) = match quoted.body {
        Body::Tcp { from, to, .. } => (true, [from, to]),
        Body::Udp { from, to, .. } => (false, [from, to]),
        _ => panic!("{quoted:?} has no ports"),
    };
    let (vip, client) = ((quoted.from, ports[0]), (quoted.to, ports[1]));
    let flow = if from { Ip::tcp(client, vip, &[]) } else { Ip::udp(client, vip, &[]) };
    let out = match to.forward() {
        lb_common::Forward::L2 => packet.bytes(),
        lb_common::Forward::Nat => {
            let seen = quoted.clone().coming_from(to.address(), to.port_of(ports[0]));
            error(kind, &seen, bytes).bytes()
        }
        _ => in_tunnel(to, &packet, hash_of(key, &flow)).bytes(),
    };
    let action = if to.is_elsewhere() { Action::Redirect } else { Action::Tx };
    let frame = here().frame(&packet.bytes());
    Step::becomes(frame, action, Reason::ForwardIcmp, to.link().frame(&out))
}

const fn too_big_kind(family: Family) -> (u8, u8) {
    match family {
        Family::V4 => (3, 4),
        Family::V6 => (2, 0),
    }
}

/// On every way, with all of the packet quoted and with as little as there may be.
fn to_nodes(key: &HashKey, family: Family) -> Vec<Case> {
    let mut cases = Vec::new();
    let all = super::good().filter(|&to| suits(to, family) && to != To::BySource);
    for (to, tcp) in all.flat_map(|to| [(to, true), (to, false)]) {
        let quoted = sent(family, to, tcp, b"what was sent");
        for bytes in [8, 9, 16, 18, 20, 100] {
            let what = if tcp { "tcp" } else { "udp" };
            let name = format!("{bytes} bytes of {what} quoted, {family:?} to {to:?}");
            let step = goes(key, to, &quoted, too_big_kind(family), bytes);
            cases.push(Case::one(name, step));
        }
    }
    let nat = if family == Family::V4 { To::Nat4 } else { To::Nat6 };
    for to in [nat, To::Gue6, To::Ipip4, To::Tx] {
        let without = sent(family, to, false, b"odd").with(|ip| {
            if let Body::Udp { checked, .. } = &mut ip.body {
                *checked = false;
            }
        });
        let odd = sent(family, to, true, b"odd").with(|ip| {
            ip.options = vec![1; 8];
            ip.extensions = vec![(protocol::DESTINATION_OPTIONS, padding_header(2))];
        });
        for (what, quoted) in [("without a checksum", without), ("odd headers", odd)] {
            for bytes in [8, 60] {
                let name = format!("{what}, {bytes} bytes quoted, {family:?} to {to:?}");
                let step = goes(key, to, &quoted, too_big_kind(family), bytes);
                cases.push(Case::one(name, step));
            }
        }
    }
    cases
}

/// All types of errors.
fn kinds(key: &HashKey, family: Family) -> Vec<Case> {
    let (kinds, nat) = match family {
        Family::V4 => ([(3, 0), (3, 13), (11, 0), (12, 0), (3, 3), (11, 1)], To::NatSame4),
        Family::V6 => ([(1, 0), (1, 4), (2, 0), (3, 0), (3, 1), (4, 2)], To::NatSame6),
    };
    let mut cases = Vec::new();
    for kind in kinds {
        for to in [To::Gue4, nat] {
            let step = goes(key, to, &sent(family, to, true, b""), kind, 8);
            cases.push(Case::one(format!("{kind:?} over {family:?} to {to:?}"), step));
        }
    }
    cases
}

/// What quotes nothing that a service sent.
fn bad_quotes(family: Family) -> Vec<Case> {
    let kind = too_big_kind(family);
    let mut cases = Vec::new();
    let mut add = |what: &str, packet: Ip, reason| {
        let frame = here().frame(&packet.bytes());
        let step = if reason == Reason::PassNoService {
            Step::passes(frame, reason)
        } else {
            Step::drops(frame, reason)
        };
        cases.push(Case::one(format!("an error: {what}, {family:?}"), step));
    };
    let good = sent(family, To::Tx, true, b"data");
    let to_vip = |packet: Ip| packet.with(|ip| ip.to = SERVED.of(family));
    let other = good.clone().coming_from(NOBODY.of(family), To::Tx.port());
    add("quotes another's packet", to_vip(error(kind, &other, 8)), Reason::DropIcmp);
    let other = good.clone().coming_from(OTHER.of(family), 80);
    add("quotes another service's packet", to_vip(error(kind, &other, 8)), Reason::DropIcmp);
    let other = good.clone().coming_from(SERVED.of(family), 99);
    add("quotes no service's port", error(kind, &other, 8), Reason::DropIcmp);
    if family == Family::V6 {
        // An address of IPv4 that no packet of IPv6 comes from.
        let other = good.clone().with(|ip| ip.to = places::octets(CLIENT.of(Family::V4)).into());
        add("quotes a packet to nobody", error(kind, &other, 8), Reason::DropIcmp);
    }
    add("quotes 7 bytes", error(kind, &good, 7), Reason::DropIcmp);
    add("quotes the IP header alone", error(kind, &good, 0), Reason::DropIcmp);
    let [_, later] = good.fragments(8, 5);
    add("quotes a later fragment", error(kind, &later, 8), Reason::DropIcmp);
    let mut unknown = good.clone();
    unknown.body = Body::Raw { protocol: 132, data: vec![0; 20] };
    add("quotes SCTP", error(kind, &unknown, 20), Reason::DropIcmp);
    let ping = Ip::icmp(SERVED.of(family), CLIENT.of(family), (0, 0), &[0; 20]);
    add("quotes a ping", error(kind, &ping, 20), Reason::DropIcmp);
    let mut empty = error(kind, &good, 8);
    if let Body::Icmp { data, .. } = &mut empty.body {
        data.clear();
    }
    add("quotes nothing", empty.clone(), Reason::DropIcmp);
    empty.body =
        Body::Raw { protocol: if family == Family::V4 { 1 } else { 58 }, data: vec![3; 7] };
    add("is cut off", empty, Reason::DropMalformed);
    let unresolved = sent(family, To::Unresolved, true, b"");
    add("to nowhere", error(kind, &unresolved, 8), Reason::DropUnresolved);
    let nobody = sent(family, To::NoNode, true, b"");
    add("to nobody", error(kind, &nobody, 8), Reason::DropNoNode);
    add(
        "from a VIP",
        error(kind, &good, 8).with(|ip| ip.from = OTHER.of(family)),
        Reason::DropMartian,
    );
    // Not errors about a packet of a flow (RFC 792; RFC 4443, RFC 4861).
    for kind in if family == Family::V4 { [(4, 0), (5, 1)] } else { [(0, 0), (137, 0)] } {
        add(&format!("is a {kind:?}"), error(kind, &good, 8), Reason::PassNoService);
    }
    let mut wrong = error(kind, &good, 30);
    if let Body::Icmp { data, .. } = &mut wrong.body
        && family == Family::V4
    {
        data[0] = 0x55;
        add("quotes IP version 5", wrong.clone(), Reason::DropIcmp);
    }
    if let Body::Icmp { data, .. } = &mut wrong.body
        && family == Family::V4
    {
        data[0] = 0x44;
        add("quotes a header of 16 bytes", wrong, Reason::DropIcmp);
    }
    cases
}

/// No errors about errors.
fn too_big() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in FAMILIES {
        let packet = error(too_big_kind(family), &sent(family, To::Small, true, &[7; 1200]), 1200)
            .with(|ip| ip.fragment = DONT_FRAGMENT);
        let step = Step::drops(here().frame(&packet.bytes()), Reason::DropTooBig);
        cases.push(Case::one(format!("an error that is too big, {family:?}"), step));
    }
    cases
}
