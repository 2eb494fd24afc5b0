//! What is not for a VIP passes byte for byte untouched, whatever it is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::Reason;

use super::{Case, Step, here};
use crate::pipeline::{
    frames,
    packets::{Body, DONT_FRAGMENT, Ip, Link, padding_header, protocol},
    places::{self, CLIENT, DEAD, FAMILIES, Family, NOBODY, OTHER, OWN, SERVED},
    to::To,
    world::World,
};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for world in World::ALL {
        let mut add = |what: &str, frame: Vec<u8>, reason| {
            let name = format!("a stranger: {what}");
            cases.push(Case::one(name, Step::passes(frame, reason)).at(world));
        };
        for (what, frame) in not_ip() {
            add(what, frame, Reason::PassNotIp);
        }
        for family in FAMILIES {
            for (what, frame) in not_vip(family) {
                add(&format!("{what}, {family:?}"), frame, Reason::PassNotVip);
            }
        }
        for (what, frame) in no_header() {
            add(what, frame, Reason::PassMalformed);
        }
        for (from, to) in mapped_ends() {
            for (what, frame) in mapped(from, to) {
                add(&format!("{what} from {from} to {to}"), frame, Reason::PassNotVip);
            }
        }
    }
    cases
}

fn not_ip() -> Vec<(&'static str, Vec<u8>)> {
    let of = |tags: Vec<(u16, u16)>, kind: u16, length: usize| {
        let mut frame = Link { tags, ..here() }.frame(&vec![0x45; length]);
        let at = frame.len() - length - 2;
        frame[at..at + 2].copy_from_slice(&kind.to_be_bytes());
        frame
    };
    vec![
        ("arp", frames::arp()),
        ("arp in a VLAN", of(vec![(0x8100, 5)], 0x0806, 46)),
        ("lldp", of(vec![], 0x88cc, 50)),
        ("a length instead of a type", of(vec![], 38, 38)),
        ("mpls", of(vec![], 0x8847, 60)),
        ("pppoe", of(vec![], 0x8864, 60)),
        ("three tags", of(vec![(0x8100, 1), (0x8100, 2), (0x8100, 3)], 0x0800, 60)),
        ("the old type of outer tags", of(vec![(0x9100, 1)], 0x0800, 60)),
        ("an ethernet header alone", of(vec![], 0x1234, 0)),
    ]
}

fn no_header() -> Vec<(&'static str, Vec<u8>)> {
    let whole = here().frame(&[0x45; 20]);
    let whole6 = here().frame(&[0x65; 40]);
    let tagged = Link { tags: vec![(0x8100, 1), (0x8100, 2)], ..here() }.frame(&[0x45; 20]);
    vec![
        ("the type of IPv4 and nothing more", whole[..14].to_vec()),
        ("half a header", whole[..33].to_vec()),
        ("half a header of IPv6", whole6[..53].to_vec()),
        ("the type of a tag", tagged[..14].to_vec()),
        ("half a tag", tagged[..17].to_vec()),
        ("half a second tag", tagged[..20].to_vec()),
        ("tags alone", tagged[..22].to_vec()),
    ]
}

/// Whatever stands in packets to others: it is not ours to judge.
fn not_vip(family: Family) -> Vec<(&'static str, Vec<u8>)> {
    let (from, to) = ((CLIENT.of(family), 5), (NOBODY.of(family), 1000));
    let frame = |ip: Ip| here().frame(&ip.bytes());
    let good = Ip::tcp(from, to, b"data");
    let mut cut = frame(good.clone());
    cut.truncate(cut.len() - 10);
    let mut wrong_version = frame(good.clone());
    wrong_version[14] ^= 0xf0;
    let mut wrong_length = frame(good.clone());
    let at = if family == Family::V4 { 16 } else { 18 };
    wrong_length[at..at + 2].fill(0xff);
    let [first, later] = good.fragments(24, 3);
    let raw = |number, bytes: usize| {
        good.clone().with(|ip| {
            ip.body = Body::Raw { protocol: number, data: vec![0xff; bytes] };
        })
    };
    let kind = if family == Family::V4 { (3, 4) } else { (2, 0) };
    let quoted = Ip::tcp((NOBODY.of(family), 7), (CLIENT.of(family), 9), b"data").bytes();
    vec![
        ("tcp", frame(good.clone())),
        ("udp", frame(Ip::udp(from, to, b"data"))),
        ("to this host", frame(good.clone().going_to(OWN.of(family), 22))),
        ("cut off", cut),
        ("a wrong version", wrong_version),
        ("a wrong length", wrong_length),
        ("a first fragment", frame(first)),
        ("a later fragment", frame(later)),
        ("tcp without a header", frame(raw(protocol::TCP, 3))),
        ("a protocol", frame(raw(99, 33))),
        ("time to live 0", frame(good.clone().with(|ip| ip.ttl = 0))),
        ("from loopback", frame(good.clone().with(|ip| ip.from = loopback(family)))),
        ("an icmp error", frame(Ip::icmp(from.0, to.0, kind, &quoted))),
        ("padded", [frame(good.clone()), vec![9; 30]].concat()),
        ("to a group", Link { to: [0xff; 6], ..here() }.frame(&good.bytes())),
        ("in a VLAN", Link { tags: vec![(0x8100, 5)], ..here() }.frame(&good.bytes())),
        (
            "odd headers",
            frame(good.with(|ip| {
                (ip.options, ip.fragment) = (vec![7; 40], DONT_FRAGMENT);
                ip.extensions = vec![(protocol::HOP_BY_HOP, padding_header(2)); 9];
            })),
        ),
    ]
}

/// Ends of IPv6 packets, one of which is an IPv4 address as tables have it.
fn mapped_ends() -> Vec<(IpAddr, IpAddr)> {
    let in_v6 = |address| IpAddr::from(places::octets(address));
    let [client4, client6] = FAMILIES.map(|family| CLIENT.of(family));
    let [vip4, vip6] = FAMILIES.map(|family| SERVED.of(family));
    let others = [OTHER, DEAD, OWN].map(|place| (client6, in_v6(place.of(Family::V4))));
    let vips = [client6, vip6, in_v6(client4), in_v6(vip4)].map(|from| (from, in_v6(vip4)));
    let from = [client4, vip4].map(|from| (in_v6(from), vip6));
    [&others[..], &vips, &from].concat()
}

/// All that would matter if it were to a service.
fn mapped(from: IpAddr, to: IpAddr) -> Vec<(String, Vec<u8>)> {
    let mut frames = Vec::new();
    let mut add = |what: &str, frame: &[u8]| frames.push((what.to_owned(), frame.to_vec()));
    let frame = |ip: Ip| here().frame(&ip.bytes());
    for service in [To::Tx, To::Gue6, To::Nat4, To::NoCluster, To::Unresolved] {
        let (from, to) = ((from, 40_000), (to, service.port()));
        add(&format!("tcp to {service:?}"), &frame(Ip::tcp(from, to, b"data")));
        add(&format!("udp to {service:?}"), &frame(Ip::udp(from, to, b"data")));
    }
    let service = Ip::tcp((from, 40_000), (to, To::Tx.port()), b"some data");
    let good = frame(service.clone());
    add("tcp to no service", &frame(service.clone().going_to(to, 9)));
    add("to a group", &Link { to: [0xff; 6], ..here() }.frame(&service.bytes()));
    add("cut off", &good[..good.len() - 3]);
    let mut short = good.clone();
    short[14 + 40 + 12] = 0x10;
    add("a short header", &short);
    let mut long = good;
    long[18..20].fill(0xff);
    add("a wrong length", &long);
    let [first, later] = service.fragments(24, 7);
    add("a later fragment", &frame(later));
    add("a first fragment", &frame(first));
    let endless = vec![(protocol::HOP_BY_HOP, padding_header(1)); 9];
    add("endless headers", &frame(service.clone().with(|ip| ip.extensions = endless)));
    add(
        "a protocol",
        &frame(service.clone().with(|ip| {
            ip.body = Body::Raw { protocol: 99, data: vec![0xff; 30] };
        })),
    );
    add("a ping", &frame(Ip::icmp(from, to, (128, 0), b"ping")));
    let quoted = Ip::tcp((to, To::Tx.port()), (from, 40_000), b"data").bytes();
    add("an error", &frame(Ip::icmp(from, to, (2, 0), &quoted)));
    frames
}

pub(super) const fn loopback(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Family::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
    }
}
