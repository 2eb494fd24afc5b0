//! What `nat` nodes send to clients, which gets the service's address.

use std::net::IpAddr;

use lb_common::Reason;
use lb_ebpf::{Action, Hop, Mac, Routed};

use super::{Case, Step, back, errors, here, size::told};
use crate::pipeline::{
    packets::{Body, DONT_FRAGMENT, Ip, Link},
    places::{self, CLIENT, FAMILIES, Family, NOBODY, OTHER, OWN, ROUTER, SERVED},
    to::To,
    world::{ELSEWHERE, INGRESS, World},
};

/// Bytes of the largest packet of the host's own way to the client.
const SMALL_WAY: u16 = 1300;

/// Nodes, the ports that they answer from, and as whom: a VIP and its port.
fn answers(family: Family) -> Vec<(To, u16, IpAddr, u16)> {
    let (served, other) = (SERVED.of(family), OTHER.of(family));
    let [nat, same, cluster, plain, small, range] = match family {
        Family::V4 => {
            [To::Nat4, To::NatSame4, To::NatCluster4, To::NatPort4, To::NatSmall4, To::NatRange4]
        }
        Family::V6 => {
            [To::Nat6, To::NatSame6, To::NatCluster6, To::NatPort6, To::NatSmall6, To::NatRange6]
        }
    };
    vec![
        (nat, 8080, served, nat.port()),
        (same, same.port(), served, same.port()),
        (cluster, 8443, served, cluster.port()),
        (plain, 8444, served, plain.port()),
        (small, 8080, served, small.port()),
        (range, range.port(), served, range.port()),
        (range, 4000, other, 4000),
        (range, 4010, other, 4010),
    ]
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in FAMILIES {
        cases.extend(rewritten(family));
        cases.extend(errors(family));
        cases.extend(sent(family));
        cases.extend(too_big(family));
        cases.extend(strangers(family).into_iter().flat_map(by_any_way));
    }
    cases.extend(mapped().into_iter().flat_map(by_any_way));
    cases
}

/// An interface of ours by which the host would send replies, and the next hop's MAC.
const HOP: ([u8; 6], [u8; 6], u32) = ([2, 0, 0, 9, 9, 1], [2, 0, 0, 9, 9, 2], INGRESS);

/// No reply, whether the host would send it itself or has it sent from here.
fn by_any_way(case: Case) -> [Case; 2] {
    let (to, from, ifindex) = HOP;
    let hop = Hop { dst_mac: Mac::new(to), src_mac: Mac::new(from), ifindex };
    let name = format!("{}, with a way to the client", case.name);
    let sent = Case { name, routed: Routed::To(hop), ..case.clone() };
    [case, sent]
}

/// A reply, and what the client gets.
fn reply(
    family: Family,
    (node, port, vip, vip_port): (To, u16, IpAddr, u16),
    tcp: bool,
    data: &[u8],
) -> [Ip; 2] {
    let (from, to) = ((node.address(), port), (CLIENT.of(family), 40_003));
    let packet = if tcp { Ip::tcp(from, to, data) } else { Ip::udp(from, to, data) };
    [packet.clone(), packet.coming_from(vip, vip_port)]
}

fn to_host(link: &Link, [packet, seen]: &[Ip; 2]) -> Step {
    let (frame, out) = (link.frame(&packet.bytes()), link.frame(&seen.bytes()));
    Step::becomes(frame, Action::Pass, Reason::ReplyToHost, out)
}

fn rewritten(family: Family) -> Vec<Case> {
    let mut cases = Vec::new();
    for answer in answers(family) {
        for tcp in [true, false] {
            let packets = reply(family, answer, tcp, b"HTTP/1.1");
            // A service on several ports by TCP alone.
            if answer.2 == OTHER.of(family) && !tcp {
                let frame = here().frame(&packets[0].bytes());
                let step = Step::passes(frame, Reason::PassNotVip);
                cases.push(Case::one(format!("no reply, {family:?} {answer:?}"), step));
                continue;
            }
            for world in [World::Router, World::Host] {
                let what = if tcp { "tcp" } else { "udp" };
                let name = format!("a reply by {what} over {family:?} {answer:?}");
                cases.push(Case::one(name, to_host(&here(), &packets)).at(world));
            }
            let frame = here().frame(&packets[0].bytes());
            let step = Step::passes(frame, Reason::PassNotVip);
            let name = format!("as a reply, but no nat, {family:?} {answer:?}");
            cases.push(Case::one(name, step).at(World::Direct));
        }
    }
    let answer = answers(family)[0];
    let tagged = Link { tags: vec![(0x8100, 8), (0x8100, 9)], ..here() };
    let name = format!("a reply with tags over {family:?}");
    cases.push(Case::one(name, to_host(&tagged, &reply(family, answer, true, b""))));
    let unchecked = reply(family, answer, false, b"odd").map(|packet| {
        packet.with(|ip| {
            ip.options = vec![1; 4];
            if let Body::Udp { checked, .. } = &mut ip.body {
                *checked = false;
            }
        })
    });
    let name = format!("a reply without a checksum over {family:?}");
    cases.push(Case::one(name, to_host(&here(), &unchecked)));
    // Seen by the client with a checksum of zero, which is 0xffff.
    let zero = (0..=u16::MAX)
        .map(|word| reply(family, answer, false, &word.to_be_bytes()))
        .find(|[_, seen]| seen.payload()[6..8] == [0xff; 2]);
    let name = format!("a reply whose checksum becomes zero, {family:?}");
    cases.push(Case::one(name, to_host(&here(), &zero.expect("there is one"))));
    cases
}

/// Errors of nodes, and of routers before them, about a client's packet.
fn errors(family: Family) -> Vec<Case> {
    let (nat, kinds) = match family {
        Family::V4 => (To::Nat4, [(3, 3), (3, 4), (11, 0)]),
        Family::V6 => (To::Nat6, [(1, 4), (2, 0), (3, 0)]),
    };
    let mut cases = Vec::new();
    for kind in kinds {
        for (tcp, bytes) in [(true, 8), (true, 60), (false, 8), (false, 60)] {
            let (client, node) = ((CLIENT.of(family), 40_004), (nat.address(), 8080));
            let packet =
                |to| if tcp { Ip::tcp(client, to, b"hi") } else { Ip::udp(client, to, b"hi") };
            let (at_node, at_client) = (packet(node), packet((SERVED.of(family), nat.port())));
            let about =
                [errors::error(kind, &at_node, bytes), errors::error(kind, &at_client, bytes)];
            let from_node = about.clone();
            let [mut there, mut seen] = from_node;
            (there.from, seen.from) = (nat.address(), SERVED.of(family));
            let what = if tcp { "tcp" } else { "udp" };
            for (who, packets) in [("a node", [there, seen]), ("a router", about)] {
                let name = format!("{kind:?} of {who} about {bytes} bytes of {what}, {family:?}");
                cases.push(Case::one(name, to_host(&here(), &packets)));
            }
        }
    }
    // About nothing that a node was sent.
    let mut add = |what: &str, packet: &Ip| {
        let step = Step::passes(here().frame(&packet.bytes()), Reason::PassNotVip);
        cases.push(Case::one(format!("an error to a client: {what}, {family:?}"), step));
    };
    let packet = Ip::udp((CLIENT.of(family), 5), (nat.address(), 8080), b"data");
    let kind = kinds[0];
    let to = |address| errors::error(kind, &packet, 8).with(|ip| ip.to = address);
    add("to another than the packet is from", &to(NOBODY.of(family)));
    add("to this host", &errors::error(kind, &packet.clone().coming_from(OWN.of(family), 5), 8));
    add("another port", &errors::error(kind, &packet.clone().going_to(nat.address(), 80), 8));
    add("another's", &errors::error(kind, &packet.clone().going_to(NOBODY.of(family), 8080), 8));
    add("seven bytes", &errors::error(kind, &packet, 7));
    cases
}

/// Sent by this program where the host would send it by an interface of ours.
fn sent(family: Family) -> Vec<Case> {
    let answer = answers(family)[0];
    let (to, from, _) = HOP;
    let ways = [
        (INGRESS, Action::Tx, Reason::ReplySent),
        (ELSEWHERE, Action::Redirect, Reason::ReplySent),
        (99, Action::Pass, Reason::ReplyToHost),
    ];
    let mut cases = Vec::new();
    for (ifindex, action, reason) in ways {
        for (ttl, tags) in
            [(64, vec![]), (2, vec![(0x8100, 5)]), (255, vec![(0x88a8, 1), (0x8100, 2)])]
        {
            let [packet, seen] =
                reply(family, answer, ttl == 2, b"data").map(|ip| ip.with(|ip| ip.ttl = ttl));
            let link = Link { tags: tags.clone(), ..here() };
            let out = if reason == Reason::ReplySent {
                Link { to, from, tags: Vec::new() }.frame(&seen.with(|ip| ip.ttl -= 1).bytes())
            } else {
                link.frame(&seen.bytes())
            };
            let step = Step::becomes(link.frame(&packet.bytes()), action, reason, out);
            let name =
                format!("a reply out of interface {ifindex}, time to live {ttl}, {family:?}");
            let hop = Hop { dst_mac: Mac::new(to), src_mac: Mac::new(from), ifindex };
            cases.push(Case { routed: Routed::To(hop), ..Case::one(name, step) });
        }
    }
    cases
}

/// Too big for the host's own way to the client: the node is told; but what may be fragmented the host
/// sends on.
fn too_big(family: Family) -> Vec<Case> {
    let mut cases = Vec::new();
    let answer = answers(family)[0];
    for (tcp, fragment) in [(true, DONT_FRAGMENT), (false, DONT_FRAGMENT), (true, 0), (false, 0)] {
        for tags in [vec![], vec![(0x8100, 5)]] {
            let link = Link { tags, ..here() };
            let packets = reply(family, answer, tcp, &[7; 1400])
                .map(|packet| packet.with(|ip| ip.fragment = fragment));
            let step = if family == Family::V4 && fragment == 0 {
                to_host(&link, &packets)
            } else {
                let out = Link { tags: link.tags.clone(), ..back() };
                let out = out.frame(&told(&packets[0], SMALL_WAY).bytes());
                let frame = link.frame(&packets[0].bytes());
                Step::becomes(frame, Action::Tx, Reason::AnswerTooBig, out)
            };
            let what = if tcp { "tcp" } else { "udp" };
            let name = format!("too big a reply by {what}, {fragment:#x}, {link:?}, {family:?}");
            cases.push(Case { routed: Routed::TooBig(SMALL_WAY), ..Case::one(name, step) });
        }
    }
    cases
}

/// From a node, but no reply of a service's.
fn strangers(family: Family) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |what: &str, frame: Vec<u8>, reason| {
        let name = format!("from a node: {what}, {family:?}");
        cases.push(Case::one(name, Step::passes(frame, reason)));
    };
    let [packet, _] = reply(family, answers(family)[0], true, b"data");
    for ttl in [0, 1] {
        let frame = here().frame(&packet.clone().with(|ip| ip.ttl = ttl).bytes());
        add(&format!("time to live {ttl}"), frame, Reason::PassExpired);
    }
    let link = Link { to: [0xff; 6], ..here() };
    add("to a group", link.frame(&packet.bytes()), Reason::PassNotVip);
    let link = Link { to: [2, 0, 0, 0, 0, 0x1c], ..here() };
    add("to another's MAC", link.frame(&packet.bytes()), Reason::PassNotOurs);
    let node = packet.from;
    let frame = |ip: Ip| here().frame(&ip.bytes());
    add("another port", frame(packet.clone().coming_from(node, 22)), Reason::PassNotVip);
    add("to this host", frame(packet.clone().going_to(OWN.of(family), 5)), Reason::PassNotVip);
    add("to a VIP", frame(packet.clone().going_to(SERVED.of(family), 5)), Reason::PassNoService);
    let other = Body::Raw { protocol: 132, data: vec![0; 30] };
    add("sctp", frame(packet.clone().with(|ip| ip.body = other)), Reason::PassNotVip);
    let kind = if family == Family::V4 { (0, 0) } else { (129, 0) };
    let ping = Ip::icmp(node, CLIENT.of(family), kind, b"ping");
    add("a ping", frame(ping), Reason::PassNotVip);
    let router = packet.clone().with(|ip| ip.from = ROUTER.of(family));
    add("a router", frame(router), Reason::PassNotVip);
    let mut half = frame(packet);
    half.truncate(half.len() - 1);
    add("cut off", half, Reason::PassMalformed);
    cases
}

/// IPv6 from or to IPv4 addresses, which tables write alike, and errors about such packets.
fn mapped() -> Vec<Case> {
    let in_v6 = |address| IpAddr::from(places::octets(address));
    let (node4, node6) = (To::Nat4.address(), To::Nat6.address());
    let [client4, client6] = FAMILIES.map(|family| CLIENT.of(family));
    let router = ROUTER.of(Family::V6);
    let error = |from, to: IpAddr| {
        let packet = Ip::tcp((to, 40_000), (in_v6(node4), 8080), b"data");
        errors::error((3, 0), &packet, 20).with(|ip| ip.from = from)
    };
    let mut cases = Vec::new();
    let mut add = |what: &str, packet: &Ip| {
        let step = Step::passes(here().frame(&packet.bytes()), Reason::PassNotVip);
        cases.push(Case::one(format!("mapped addresses: {what}"), step));
    };
    for (from, to) in
        [(in_v6(node4), client6), (in_v6(node4), in_v6(client4)), (node6, in_v6(client4))]
    {
        let (from, to) = ((from, 8080), (to, 40_000));
        add(&format!("tcp, {from:?} {to:?}"), &Ip::tcp(from, to, b"data"));
        add(&format!("udp, {from:?} {to:?}"), &Ip::udp(from, to, b"data"));
        for part in Ip::udp(from, to, &[3; 77]).fragments(24, 9) {
            add(&format!("a fragment, {from:?} {to:?}"), &part);
        }
    }
    add("an error about a packet to one", &error(router, client6));
    add("an error of one", &error(in_v6(node4), client6));
    add("an error to one", &error(router, in_v6(client4)));
    cases
}
