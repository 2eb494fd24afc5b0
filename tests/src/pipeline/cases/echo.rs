//! Echo requests to a VIP.

use lb_common::Reason;
use lb_ebpf::Action;

use super::{Case, Step, back, here};
use crate::pipeline::{
    packets::{Body, DONT_FRAGMENT, Ip, Link, padding_header, protocol},
    places::{CLIENT, DEAD, FAMILIES, Family, NOBODY, OTHER, OWN, Place, SERVED},
    world::World,
};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in FAMILIES {
        cases.extend(answered(family));
        cases.extend(not_answered(family));
    }
    cases
}

fn request(family: Family, to: Place, data: &[u8]) -> Ip {
    let kind = if family == Family::V4 { (8, 0) } else { (128, 0) };
    Ip::icmp(CLIENT.of(family), to.of(family), kind, data).with(|ip| {
        if let Body::Icmp { rest, .. } = &mut ip.body {
            *rest = [0x12, 0x34, 0, 7];
        }
    })
}

fn reply(request: &Ip) -> Ip {
    request.clone().with(|ip| {
        (ip.from, ip.to, ip.ttl) = (request.to, request.from, 64);
        let answer = if request.v6() { 129 } else { 0 };
        if let Body::Icmp { kind, .. } = &mut ip.body {
            *kind = answer;
        }
    })
}

fn answered(family: Family) -> Vec<Case> {
    // So that the sum of all words is a multiple of 0xffff: a checksum that comes out as zero.
    let zero = (0..=u16::MAX)
        .map(|word| request(family, SERVED, &word.to_be_bytes()))
        .find(|request| reply(request).payload()[2..4] == [0xff; 2]);
    let odd = request(family, SERVED, b"odd").with(|ip| {
        (ip.tos, ip.fragment, ip.options) = (0xb9, DONT_FRAGMENT, vec![1; 8]);
        ip.extensions = vec![(protocol::DESTINATION_OPTIONS, padding_header(1))];
        (ip.ttl, ip.label) = (1, 5);
    });
    let zeros = request(family, SERVED, &[0; 56]).with(|ip| {
        if let Body::Icmp { rest, .. } = &mut ip.body {
            *rest = [0; 4];
        }
    });
    let requests = [
        ("all zeros", zeros),
        ("nothing", request(family, SERVED, b"")),
        ("an odd number of bytes", request(family, SERVED, b"odd")),
        ("as ping does", request(family, SERVED, &(0..56).collect::<Vec<u8>>())),
        ("to an address that is our own besides", request(family, OTHER, &[0; 56])),
        ("much", request(family, SERVED, &[0xa5; 1472])),
        ("a checksum of zero", zero.expect("one of all words")),
        ("odd headers", odd),
    ];
    let mut cases = Vec::new();
    for (what, request) in requests {
        for (tags, padding) in
            [(vec![], 0), (vec![(0x8100, 5)], 0), (vec![(0x88a8, 5), (0x8100, 6)], 3)]
        {
            let into = |link: Link, ip: &Ip| {
                let frame = Link { tags: tags.clone(), ..link }.frame(&ip.bytes());
                [frame, vec![0xee; padding]].concat()
            };
            let (frame, out) = (into(here(), &request), into(back(), &reply(&request)));
            let step = Step::becomes(frame, Action::Tx, Reason::AnswerEcho, out);
            let name = format!("ping over {family:?}: {what}, {} tags", tags.len());
            cases.extend(World::ALL.map(|world| Case::one(name.clone(), step.clone()).at(world)));
        }
    }
    cases
}

fn not_answered(family: Family) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add =
        |what: &str, step| cases.push(Case::one(format!("ping {what}, {family:?}"), step));
    let frame = |ip: &Ip| here().frame(&ip.bytes());
    let dead = request(family, DEAD, b"hello");
    add("a VIP that nobody serves", Step::drops(frame(&dead), Reason::DropEcho));
    for (who, place) in [("this host", OWN), ("nobody", NOBODY)] {
        let step = Step::passes(frame(&request(family, place, b"hello")), Reason::PassNotVip);
        add(who, step);
    }
    let step = Step::passes(
        frame(&reply(&request(family, SERVED, b"")).with(|ip| {
            ip.to = SERVED.of(family);
            ip.from = CLIENT.of(family);
        })),
        Reason::PassNoService,
    );
    add("reply to a VIP", step);
    let from_vip = request(family, SERVED, b"x").with(|ip| ip.from = OTHER.of(family));
    add("from a VIP", Step::drops(frame(&from_vip), Reason::DropMartian));
    for (what, to) in
        [("a group", [0x33, 0x33, 0, 0, 0, 1]), ("another's MAC", [2, 0, 0, 0, 0, 0x1c])]
    {
        let frame = Link { to, ..here() }.frame(&request(family, SERVED, b"").bytes());
        add(&format!("to {what}"), Step::passes(frame, Reason::PassNotOurs));
    }
    let number = if family == Family::V4 { 1 } else { 58 };
    for length in [0, 1, 7] {
        let body = Body::Raw { protocol: number, data: vec![8; length] };
        let cut = request(family, SERVED, b"").with(|ip| ip.body = body);
        add(&format!("of {length} bytes"), Step::drops(frame(&cut), Reason::DropMalformed));
    }
    cases
}
