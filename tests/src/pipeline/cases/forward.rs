//! Packets that go to their node, in each way of forwarding, and what keeps them from it.

use std::net::Ipv4Addr;

use lb_common::{HashKey, Reason};
use lb_ebpf::Action;

use super::{Case, Step, goes, good, hash, hash_of, here, in_tunnel, sent, suits, tcp, udp, way};
use crate::pipeline::{
    packets::{Body, DONT_FRAGMENT, Extension, Ip, Link, padding_header, protocol},
    places::{FAMILIES, Family},
    to::To,
    world::World,
};

pub(super) fn cases(key: &HashKey) -> Vec<Case> {
    [
        plain(key),
        odd_headers(key),
        checksums(key),
        tags(key),
        by_source(key),
        not_ours(key),
        not_sent(),
    ]
    .concat()
}

/// TCP and UDP of both families on every way; data of odd and even length.
fn plain(key: &HashKey) -> Vec<Case> {
    let mut cases = Vec::new();
    for to in good().filter(|&to| to != To::BySource) {
        for family in FAMILIES {
            let packets = [
                ("tcp", tcp(family, to, b"GET /")),
                ("a syn", tcp(family, to, b"")),
                ("udp", udp(family, to, b"hi there")),
                ("a congested class", tcp(family, to, b"x").with(|ip| ip.tos = 0xbb)),
            ];
            for (what, packet) in packets {
                let name = format!("{what} over {family:?} to {to:?}");
                cases.push(match suits(to, family) {
                    true => Case::one(name, goes(key, to, &packet)),
                    false => {
                        let frame = here().frame(&packet.bytes());
                        Case::one(name, Step::drops(frame, Reason::DropVersion))
                    }
                });
            }
        }
    }
    cases
}

const WAYS_4: [To; 6] = [To::Tx, To::Ipip4, To::Ipip6, To::Gue4, To::Gue6, To::Nat4];
const WAYS_6: [To; 6] = [To::Tx, To::Ipip4, To::Ipip6, To::Gue4, To::Gue6, To::Nat6];

/// IPv4 options, IPv6 extension headers, "don't fragment", time to live that is nearly over.
fn odd_headers(key: &HashKey) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |what: &str, to: To, packet: &Ip| {
        let name = format!("{what} to {to:?}");
        cases.push(Case::one(name, goes(key, to, packet)));
    };
    for to in WAYS_4 {
        let packet = tcp(Family::V4, to, b"data");
        for words in [1, 10] {
            let what = format!("{words} words of options");
            add(&what, to, &packet.clone().with(|ip| ip.options = vec![1; 4 * words]));
        }
        add("don't fragment", to, &packet.clone().with(|ip| ip.fragment = DONT_FRAGMENT));
        for ttl in [0, 1] {
            add(&format!("time to live {ttl}"), to, &packet.clone().with(|ip| ip.ttl = ttl));
        }
    }
    let chains: [(&str, Vec<Extension>); 6] = [
        ("hop-by-hop", vec![(protocol::HOP_BY_HOP, padding_header(1))]),
        ("long destination options", vec![(protocol::DESTINATION_OPTIONS, padding_header(40))]),
        ("a routing header", vec![(protocol::ROUTING, [0, 2, 4, 0].repeat(6))]),
        ("a fragment header without fragments", vec![(protocol::FRAGMENT, vec![0; 8])]),
        ("five headers", vec![(protocol::DESTINATION_OPTIONS, padding_header(2)); 5]),
        (
            "one of each",
            vec![
                (protocol::HOP_BY_HOP, padding_header(2)),
                (protocol::DESTINATION_OPTIONS, padding_header(1)),
                (protocol::ROUTING, vec![0, 0, 4, 0, 0, 0, 0, 0]),
                (protocol::FRAGMENT, vec![0; 8]),
                (protocol::DESTINATION_OPTIONS, padding_header(1)),
            ],
        ),
    ];
    for to in WAYS_6 {
        for (what, chain) in &chains {
            for packet in [tcp(Family::V6, to, b"data"), udp(Family::V6, to, b"data")] {
                add(what, to, &packet.with(|ip| ip.extensions = chain.clone()));
            }
        }
        let packet = udp(Family::V6, to, b"data");
        add("a flow label", to, &packet.clone().with(|ip| ip.label = 0xabcde));
        add("hop limit 1", to, &packet.with(|ip| ip.ttl = 1));
    }
    cases
}

/// Data that makes the checksum of a packet as it will be come out as this.
fn data_for(to: To, family: Family, wanted: u16) -> Ip {
    // As the packet is when it arrives: there its checksum is to be that.
    let arriving = |packet: Ip| match suits(to, family) && to.forward() == lb_common::Forward::Nat {
        true => packet.going_to(to.address(), to.port_of(to.port())),
        false => packet,
    };
    let packet = |word: u16| udp(family, to, &word.to_be_bytes());
    let found = (0..=u16::MAX).map(packet).find(|packet| {
        let payload = arriving(packet.clone()).payload();
        u16::from_be_bytes([payload[6], payload[7]]) == wanted
    });
    found.expect("every checksum but 0 has its data")
}

/// UDP without a checksum, with one that comes out as zero and so is 0xffff, with a wrong one.
fn checksums(key: &HashKey) -> Vec<Case> {
    let mut cases = Vec::new();
    let ways = [(WAYS_4, Family::V4), (WAYS_6, Family::V6)];
    for (to, family) in ways.into_iter().flat_map(|(ways, f)| ways.map(|to| (to, f))) {
        let without = udp(family, to, b"odd").with(|ip| {
            if let Body::Udp { checked, .. } = &mut ip.body {
                *checked = false;
            }
        });
        let name = format!("udp without a checksum over {family:?} to {to:?}");
        cases.push(Case::one(name, goes(key, to, &without)));
        for wanted in [0xffff, 1, 0xfffe] {
            let packet = data_for(to, family, wanted);
            let name = format!("udp with checksum {wanted:#06x} over {family:?} to {to:?}");
            cases.push(Case::one(name, goes(key, to, &packet)));
        }
    }
    for family in FAMILIES {
        // The tunnel's own. What the packet's own checksums cover cancels out, so what is varied is
        // what they do not cover, or cover once.
        let packet = tcp(family, To::Gue6, b"data");
        let mut packets = (0..=u16::MAX).map(|word| {
            packet.clone().with(|ip| match family {
                Family::V4 => ip.from = Ipv4Addr::from(0xc633_0000 | u32::from(word)).into(),
                Family::V6 => ip.label = word.into(),
            })
        });
        let zero = packets.find(|packet| {
            let outer = in_tunnel(To::Gue6, packet, hash_of(key, packet)).payload();
            outer[6..8] == [0xff; 2]
        });
        let packet = zero.expect("one of all words");
        let name = format!("{family:?} in a tunnel whose checksum comes out as zero");
        cases.push(Case::one(name, goes(key, To::Gue6, &packet)));
    }
    cases.extend(trailing(key));
    // What was wrong stays wrong by as much, or a receiver would take what a wire broke.
    for (to, family) in [(To::Nat4, Family::V4), (To::Nat6, Family::V6)] {
        for packet in [tcp(family, to, b"data"), udp(family, to, b"data")] {
            let Step { mut frame, action, reason, mut out, .. } = goes(key, to, &packet);
            for frame in [&mut frame, &mut out] {
                let last = frame.len() - 1;
                frame[last] ^= 1;
            }
            let step = Step::becomes(frame, action, reason, out);
            cases.push(Case::one(format!("a broken packet over {family:?} to {to:?}"), step));
        }
    }
    cases
}

/// UDP datagrams that end before their IP packets do.
fn trailing(key: &HashKey) -> Vec<Case> {
    let longer = |packet: &Ip| {
        let data = [&packet.payload()[..], b"and more"].concat();
        packet.clone().with(|ip| ip.body = Body::Raw { protocol: protocol::UDP, data })
    };
    let mut cases = Vec::new();
    for (to, family) in [(To::Gue6, Family::V4), (To::Gue6, Family::V6), (To::Nat4, Family::V4)] {
        let packet = udp(family, to, b"data");
        let out = match to {
            To::Gue6 => in_tunnel(to, &longer(&packet), hash_of(key, &packet)),
            _ => longer(&packet.clone().going_to(to.address(), to.port_of(to.port()))),
        };
        let (frame, out) = (here().frame(&longer(&packet).bytes()), to.link().frame(&out.bytes()));
        let step = Step::becomes(frame, Action::Tx, Reason::ForwardTx, out);
        cases.push(Case::one(format!("udp with something behind over {family:?} to {to:?}"), step));
    }
    cases
}

/// Frames with VLAN tags, which are not the node's, and frames that are padded.
fn tags(key: &HashKey) -> Vec<Case> {
    let mut cases = Vec::new();
    let tags = [
        vec![(0x8100, 100)],
        vec![(0x88a8, 0xe064), (0x8100, 200)],
        vec![(0x8100, 1), (0x8100, 2)],
    ];
    let ways = [
        To::Tx,
        To::Tag,
        To::Tags,
        To::Elsewhere,
        To::Ipip4,
        To::Ipip6Tag,
        To::Ipip4Tags,
        To::Gue4Tag,
        To::Gue6Tags,
        To::Gue6,
        To::Nat4,
        To::NatCluster4,
    ];
    for to in ways {
        let packet = tcp(Family::V4, to, b"d");
        let (action, reason) = way(to);
        for tags in &tags {
            let link = Link { tags: tags.clone(), ..here() };
            let (frame, out) = (link.frame(&packet.bytes()), sent(key, to, &packet));
            let name = format!("{} tags to {to:?}", tags.len());
            cases.push(Case::one(name, Step::becomes(frame, action, reason, out)));
        }
        let padded = |frame: Vec<u8>| [frame, vec![0xaa; 19]].concat();
        let (frame, out) = (here().frame(&packet.bytes()), sent(key, to, &packet));
        let step = Step::becomes(padded(frame), action, reason, padded(out));
        cases.push(Case::one(format!("a padded frame to {to:?}"), step));
    }
    cases
}

/// Whatever the ports and the protocol, the flow is the same.
fn by_source(key: &HashKey) -> Vec<Case> {
    let to = To::BySource;
    let mut cases = Vec::new();
    for family in FAMILIES {
        for port in [40_000, 40_001, 9] {
            for packet in [tcp(family, to, b""), udp(family, to, b"")] {
                let from = packet.from;
                let packet = packet.coming_from(from, port);
                let hash = hash(key, &packet, [0, 0], 0);
                let out = to.link().frame(&in_tunnel(to, &packet, hash).bytes());
                let frame = here().frame(&packet.bytes());
                let name = format!("affinity to the source over {family:?}, port {port}");
                let step = Step::becomes(frame, Action::Tx, Reason::ForwardTx, out);
                cases.push(Case::one(name, step));
            }
        }
    }
    cases
}

/// Frames to another's MAC are another's, whatever they would lead to, unless this host's is not known.
fn not_ours(key: &HashKey) -> Vec<Case> {
    let other = Link { to: [2, 0, 0, 0, 0, 0x1c], ..here() };
    let mut cases = Vec::new();
    for family in FAMILIES {
        for to in good().filter(|&to| suits(to, family) && to != To::BySource) {
            let packet = tcp(family, to, b"x");
            let frame = other.frame(&packet.bytes());
            for world in [World::Router, World::Host] {
                let step = Step::passes(frame.clone(), Reason::PassNotOurs);
                cases.push(Case::one(format!("another's, {family:?} to {to:?}"), step).at(world));
            }
            let step = Step { frame, ..goes(key, to, &packet) };
            let name = format!("perhaps another's, {family:?} to {to:?}");
            cases.push(Case::one(name, step).at(World::Direct));
        }
    }
    cases
}

/// What cannot be sent.
fn not_sent() -> Vec<Case> {
    use Reason::*;
    let reasons = [
        (To::Unresolved, DropUnresolved),
        (To::NoCluster, DropNoCluster),
        (To::NoNode, DropNoNode),
        (To::BadCluster, DropBadTable),
        (To::BadTable, DropBadTable),
        (To::BadNode, DropBadTable),
        (To::BadForward, DropBadTable),
    ];
    let mut cases = Vec::new();
    for (to, reason) in reasons {
        for family in FAMILIES {
            for packet in [tcp(family, to, b"x"), udp(family, to, b"x")] {
                let frame = here().frame(&packet.bytes());
                let name = format!("over {family:?} to {to:?}");
                cases.push(Case::one(name, Step::drops(frame, reason)));
            }
        }
    }
    for to in [To::Ipip4, To::Gue6, To::Tags] {
        let frame = here().frame(&tcp(Family::V4, to, b"").bytes());
        let case = Case::one(format!("no room, to {to:?}"), Step::drops(frame, DropNoRoom));
        cases.push(Case { tight: true, ..case });
    }
    for to in [To::Tx, To::Tag, To::Tags] {
        // Seen because a switch floods it, in spite of what another load balancer made of it.
        let link = Link { to: to.link().to, ..here() };
        let frame = link.frame(&tcp(Family::V4, to, b"x").bytes());
        let case = |who: &str| {
            let name = format!("to the node's own MAC, {to:?}, {who}");
            Case::one(name, Step::passes(frame.clone(), PassNotOurs))
        };
        cases.push(case("which is another's"));
        cases.push(case("as far as this host knows its own").at(World::Direct));
    }
    cases
}
