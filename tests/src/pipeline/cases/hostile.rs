//! Packets to a VIP that nobody honest sends.

use std::net::{IpAddr, Ipv4Addr};

use lb_common::{HashKey, Reason};

use super::{Case, Step, goes, here, strangers::loopback, tcp, udp};
use crate::pipeline::{
    packets::{Body, Ip, Link, fragment_header, padding_header, protocol},
    places::{DEAD, FAMILIES, Family, OTHER, SERVED},
    to::To,
};

pub(super) fn cases(key: &HashKey) -> Vec<Case> {
    let mut cases = chains(key);
    for family in FAMILIES {
        cases.extend(sources(key, family));
        cases.extend(lies(family));
    }
    cases.extend(lies_of_ipv4());
    cases.extend(lies_of_ipv6());
    cases
}

/// Sources that nobody sends from, and neighbours of them in number that somebody may have.
fn sources(key: &HashKey, family: Family) -> Vec<Case> {
    let v4 = |a, b, c, d| IpAddr::V4(Ipv4Addr::new(a, b, c, d));
    let v6 = |text: &str| IpAddr::V6(text.parse().expect("an address"));
    let (martians, good) = match family {
        Family::V4 => (
            vec![
                v4(0, 0, 0, 0),
                v4(0, 1, 2, 3),
                v4(127, 255, 0, 1),
                v4(224, 0, 0, 1),
                v4(239, 255, 255, 255),
                v4(240, 0, 0, 1),
                v4(255, 255, 255, 255),
            ],
            vec![v4(1, 0, 0, 1), v4(126, 9, 9, 9), v4(128, 0, 0, 1), v4(223, 255, 255, 1)],
        ),
        Family::V6 => (
            ["::", "::1", "ff02::1", "ffff::1"].map(v6).to_vec(),
            ["::2", "::1:0:0", "::fffe:1:2", "fe80::1", "feff::1", "1::1"].map(v6).to_vec(),
        ),
    };
    let own = [SERVED, OTHER, DEAD].map(|place| place.of(family));
    let mut cases = Vec::new();
    for from in [martians, own.to_vec(), vec![loopback(family)]].concat() {
        for to in [To::Tx, To::Gue6, To::NoCluster] {
            let frame = here().frame(&tcp(family, to, b"x").with(|ip| ip.from = from).bytes());
            let name = format!("from {from} to {to:?}");
            cases.push(Case::one(name, Step::drops(frame, Reason::DropMartian)));
        }
        // Not for a service: the host's.
        let none = tcp(family, To::Tx, b"x").going_to(SERVED.of(family), 9);
        let frame = here().frame(&none.with(|ip| ip.from = from).bytes());
        let step = Step::passes(frame, Reason::PassNoService);
        cases.push(Case::one(format!("from {from} to no service"), step));
        let [_, later] = udp(family, To::Tx, &[1; 60]).fragments(24, 5);
        let frame = here().frame(&later.with(|ip| ip.from = from).bytes());
        let step = Step::drops(frame, Reason::DropMartian);
        cases.push(Case::one(format!("a later fragment from {from}"), step));
    }
    for from in good {
        let packet = tcp(family, To::Tx, b"x").with(|ip| ip.from = from);
        cases.push(Case::one(format!("from {from}"), goes(key, To::Tx, &packet)));
    }
    // From its own address and port (land).
    let land = tcp(family, To::Tx, b"").coming_from(SERVED.of(family), To::Tx.port());
    let step = Step::drops(here().frame(&land.bytes()), Reason::DropMartian);
    cases.push(Case::one(format!("land over {family:?}"), step));
    for group in [[0xff; 6], [1, 0, 0x5e, 0, 0, 1], [0x33, 0x33, 0, 0, 0, 1]] {
        let link = Link { to: group, ..here() };
        let step =
            Step::passes(link.frame(&tcp(family, To::Gue4, b"").bytes()), Reason::PassNotOurs);
        cases.push(Case::one(format!("to the group {group:x?} over {family:?}"), step));
    }
    cases
}

/// Lengths that lie, in either family.
fn lies(family: Family) -> Vec<Case> {
    let l4 = if family == Family::V4 { 34 } else { 54 };
    let mut cases = Vec::new();
    let mut add = |what: String, frame: Vec<u8>| {
        cases.push(Case::one(
            format!("{what}, {family:?}"),
            Step::drops(frame, Reason::DropMalformed),
        ));
    };
    for offset in [0, 4, 7, 15] {
        let mut frame = here().frame(&tcp(family, To::Tx, b"data").bytes());
        frame[l4 + 12] = offset << 4;
        add(format!("a tcp header of {offset} words"), frame);
    }
    for length in [0, 7, 14, 0xffff] {
        let mut frame = here().frame(&udp(family, To::Tx, b"short").bytes());
        frame[l4 + 4..l4 + 6].copy_from_slice(&u16::to_be_bytes(length));
        add(format!("a udp length of {length}"), frame);
    }
    for (what, number, least) in [("tcp", protocol::TCP, 20), ("udp", protocol::UDP, 8)] {
        for bytes in [0, 1, 4, least - 1] {
            let packet = tcp(family, To::Tx, b"").with(|ip| {
                ip.body = Body::Raw { protocol: number, data: vec![0x50; bytes] };
            });
            let frame = here().frame(&packet.bytes());
            add(format!("{bytes} bytes of {what}"), frame.clone());
            // There are bytes enough, but they are not the packet's.
            add(format!("{bytes} bytes of {what}, padded"), [frame, vec![0x50; 46]].concat());
        }
    }
    let mut cut = here().frame(&tcp(family, To::Gue6, b"data").bytes());
    cut.pop();
    add("one byte less than the IP header says".into(), cut);
    cases
}

fn lies_of_ipv4() -> Vec<Case> {
    let good = here().frame(&tcp(Family::V4, To::Tx, b"data").bytes());
    let mut cases = Vec::new();
    let mut add = |what: &str, edit: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = good.clone();
        edit(&mut frame);
        cases.push(Case::one(what, Step::drops(frame, Reason::DropMalformed)));
    };
    add("version 5 as IPv4", &|f| f[14] = 0x55);
    add("version 6 as IPv4", &|f| f[14] = 0x65);
    add("version 0", &|f| f[14] = 0x05);
    add("a header of 16 bytes", &|f| f[14] = 0x44);
    add("no header", &|f| f[14] = 0x40);
    add("a header that is longer than the packet", &|f| {
        f[14] = 0x4f;
        f[16..18].copy_from_slice(&[0, 59]);
        f.resize(100, 0);
    });
    add("a header over all of the packet", &|f| {
        f[14] = 0x4b;
        f[16..18].copy_from_slice(&[0, 44]);
    });
    add("a length of 0", &|f| f[16..18].fill(0));
    add("a length of 19", &|f| f[16..18].copy_from_slice(&[0, 19]));
    add("a length that ends in the tcp header", &|f| f[16..18].copy_from_slice(&[0, 39]));
    add("a length of 65,535", &|f| f[16..18].fill(0xff));
    cases
}

fn lies_of_ipv6() -> Vec<Case> {
    let good = here().frame(&tcp(Family::V6, To::Tx, b"data").bytes());
    let mut cases = Vec::new();
    let mut add = |what: &str, edit: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = good.clone();
        edit(&mut frame);
        cases.push(Case::one(what, Step::drops(frame, Reason::DropMalformed)));
    };
    add("version 4 as IPv6", &|f| f[14] = 0x45);
    add("a payload of 0", &|f| f[18..20].fill(0));
    add("a payload of 65,535", &|f| f[18..20].fill(0xff));
    add("a payload that makes the length overflow", &|f| {
        f[18..20].copy_from_slice(&0xffd8u16.to_be_bytes());
    });
    add("a payload that ends in the tcp header", &|f| f[18..20].copy_from_slice(&[0, 19]));
    // RFC 2675: the length is in an option. No service gets such packets.
    let jumbogram = tcp(Family::V6, To::Tx, b"data").with(|ip| {
        ip.extensions = vec![(protocol::HOP_BY_HOP, vec![0, 0, 0xc2, 4, 0, 1, 0, 0])];
    });
    let mut frame = here().frame(&jumbogram.bytes());
    frame[18..20].fill(0);
    cases.push(Case::one("a jumbogram", Step::drops(frame, Reason::DropMalformed)));
    cases
}

/// Chains of extension headers: too many, without end, over the packet's end.
fn chains(key: &HashKey) -> Vec<Case> {
    let with = |chain: Vec<(u8, Vec<u8>)>| {
        tcp(Family::V6, To::Tx, b"data").with(|ip| ip.extensions = chain)
    };
    let options = (protocol::DESTINATION_OPTIONS, padding_header(1));
    let mut cases = Vec::new();
    let mut drops = |what: &str, packet: &Ip| {
        let frame = here().frame(&packet.bytes());
        cases.push(Case::one(what, Step::drops(frame, Reason::DropMalformed)));
    };
    for headers in [6, 7, 20] {
        drops(&format!("{headers} extension headers"), &with(vec![options.clone(); headers]));
    }
    let mut long = padding_header(1);
    long[1] = 0xff;
    drops("a header over the packet's end", &with(vec![(protocol::HOP_BY_HOP, long)]));
    let mut longer = padding_header(1);
    longer[1] = 4;
    drops("a header over all of tcp", &with(vec![(protocol::ROUTING, longer)]));
    let alone = with(vec![options.clone(); 2]).with(|ip| {
        ip.body = Body::Raw { protocol: protocol::TCP, data: Vec::new() };
    });
    drops("nothing behind the headers", &alone);
    let half = with(Vec::new()).with(|ip| {
        ip.body = Body::Raw { protocol: protocol::DESTINATION_OPTIONS, data: vec![6] };
    });
    drops("half an extension header", &half);
    let fragment = with(Vec::new()).with(|ip| {
        ip.body = Body::Raw { protocol: protocol::FRAGMENT, data: vec![6, 0, 0, 1, 0, 0, 0] };
    });
    drops("half a fragment header", &fragment);
    let five = with(vec![options; 5]);
    cases.push(Case::one("five extension headers", goes(key, To::Tx, &five)));
    // A fragment of a fragment: what stands behind the first header for later ones is not looked at.
    let twice = with(vec![
        (protocol::FRAGMENT, fragment_header(0, true, 1)),
        (protocol::FRAGMENT, fragment_header(8, true, 1)),
    ]);
    let step = Step::drops(here().frame(&twice.bytes()), Reason::DropFragment);
    cases.push(Case::one("a later fragment in a first one", step));
    cases
}
