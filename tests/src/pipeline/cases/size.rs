//! Packets that are too big for the way to their node.

use lb_common::{HashKey, Reason};
use lb_ebpf::Action;

use super::{Before, Case, Step, back, goes, hash_of, here, tcp, to_be_fragmented, udp};
use crate::pipeline::{
    packets::{Body, DONT_FRAGMENT, Ip, Link, padding_header, protocol},
    places::{FAMILIES, Family},
    to::To,
    world::World,
};

/// The ways that are small, and how much each adds to a packet.
const SMALL: [(To, u16); 7] = [
    (To::Small, 0),
    (To::Ipip4Small, 20),
    (To::Ipip6Small, 40),
    (To::Gue4Small, 32),
    (To::Gue6Small, 52),
    (To::NatSmall4, 0),
    (To::NatSmall6, 0),
];

/// Answers of a CPU within a second.
const LIMIT: u64 = 1000;

pub(super) fn cases(key: &HashKey) -> Vec<Case> {
    let mut cases = Vec::new();
    for (to, overhead) in SMALL {
        for family in FAMILIES.into_iter().filter(|&f| super::suits(to, f)) {
            cases.extend(around(key, to, family, overhead));
            if family == Family::V4 {
                cases.extend(may_be_fragmented(key, to, overhead));
            } else {
                cases.extend(too_small_for_an_answer(to, overhead));
            }
        }
    }
    cases.extend(answered_with_tags());
    cases.extend(limited());
    cases
}

/// A packet of exactly so many bytes.
fn sized(family: Family, to: To, length: u16) -> Ip {
    let bare = tcp(family, to, b"").bytes().len();
    tcp(family, to, &vec![0x5a; usize::from(length) - bare]).with(|ip| {
        ip.fragment = DONT_FRAGMENT;
        ip.tos = 2;
    })
}

/// What its sender is told: at most so many bytes reach the node.
pub fn told(packet: &Ip, most: u16) -> Ip {
    let [high, low] = most.to_be_bytes();
    let (kind, whole) = (if packet.v6() { (2, 0) } else { (3, 4) }, packet.bytes());
    // RFC 1812, 4.3.2.3; RFC 4443, 2.4.
    let quoted = if packet.v6() { 1280 - 48 } else { 576 - 28 };
    let data = &whole[..whole.len().min(quoted)];
    Ip::icmp(packet.to, packet.from, kind, data).with(|ip| {
        (ip.ttl, ip.id) = (64, 0);
        if let Body::Icmp { rest, .. } = &mut ip.body {
            *rest = [0, 0, high, low];
        }
    })
}

fn answered(packet: &Ip, most: u16) -> Step {
    let out = back().frame(&told(packet, most).bytes());
    Step::becomes(here().frame(&packet.bytes()), Action::Tx, Reason::AnswerTooBig, out)
}

/// As large as fits, and one byte more.
fn around(key: &HashKey, to: To, family: Family, overhead: u16) -> Vec<Case> {
    let most = to.mtu() - overhead;
    let fits = sized(family, to, most);
    let mut cases =
        vec![Case::one(format!("as large as fits, {family:?} to {to:?}"), goes(key, to, &fits))];
    // With IPv6 a packet of 1,280 bytes must get through: nobody would send less.
    let big = if family == Family::V6 { most.max(1280) + 1 } else { most + 1 };
    for length in [big, big + 1, 1500, 3001] {
        let packet = sized(family, to, length);
        for world in [World::Router, World::Host] {
            let name = format!("{length} bytes, {family:?} to {to:?}");
            cases.push(Case::one(name, answered(&packet, most)).at(world));
        }
    }
    // Padding is not quoted.
    let packet = sized(family, to, big);
    let mut step = answered(&packet, most);
    step.frame.extend([0xaa; 9]);
    cases.push(Case::one(format!("{big} bytes and padding, {family:?} to {to:?}"), step));
    cases
}

/// IPv4 that says nothing against fragments.
fn may_be_fragmented(key: &HashKey, to: To, overhead: u16) -> Vec<Case> {
    let mut packet = sized(Family::V4, to, to.mtu() - overhead + 1);
    packet.fragment = 0;
    let frame = here().frame(&packet.bytes());
    let name = |who: &str| format!("too big without \"don't fragment\" to {to:?}, {who}");
    let dropped = Step::drops(frame.clone(), Reason::DropTooBig);
    let on_a_router = match to {
        // The VIP is the router's own address; IPv6 is not fragmented by routers.
        To::Small | To::Ipip6Small | To::Gue6Small => dropped.clone(),
        To::NatSmall4 => {
            let out = packet.clone().going_to(to.address(), 8080).bytes();
            Step::becomes(frame, Action::Pass, Reason::PassTooBig, here().frame(&out))
        }
        _ => {
            let hash = hash_of(key, &packet);
            let out = here().frame(&to_be_fragmented(to, &packet, hash).bytes());
            Step::becomes(frame, Action::Pass, Reason::PassTooBig, out)
        }
    };
    let mut cases = vec![
        Case::one(name("a router"), on_a_router.clone()),
        Case::one(name("a host"), dropped).at(World::Host),
    ];
    // The host gets the frame with the tags that it came with.
    if on_a_router.action == Action::Pass {
        let tagged = |frame: &[u8]| {
            let link = Link { tags: vec![(0x88a8, 3), (0x8100, 4)], ..here() };
            link.frame(&frame[14..])
        };
        let (frame, out) = (tagged(&on_a_router.frame), tagged(&on_a_router.out));
        let step = Step { frame, out, ..on_a_router };
        cases.push(Case::one(name("a router, with tags"), step));
    }
    cases
}

/// IPv6 of 1,280 bytes or less that does not fit: nobody would send less than that.
fn too_small_for_an_answer(to: To, overhead: u16) -> Vec<Case> {
    let most = to.mtu() - overhead;
    let lengths = [most + 1, 1280];
    let too_big = lengths.into_iter().filter(|&length| length > most && length <= 1280);
    let case = |length| {
        let frame = here().frame(&sized(Family::V6, to, length).bytes());
        let name = format!("{length} bytes of IPv6 to {to:?}");
        Case::one(name, Step::drops(frame, Reason::DropTooBig))
    };
    too_big.map(case).collect()
}

/// The answer goes back with the tags that the packet came with; options and extension headers are
/// quoted.
fn answered_with_tags() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in FAMILIES {
        let packet = sized(family, To::Gue4Small, 1400);
        let most = To::Gue4Small.mtu() - 32;
        for tags in [vec![(0x8100, 0x6005)], vec![(0x88a8, 3), (0x8100, 4)]] {
            let into = |link: Link| Link { tags: tags.clone(), ..link };
            let frame = into(here()).frame(&packet.bytes());
            let out = into(back()).frame(&told(&packet, most).bytes());
            let name = format!("too big with {} tags over {family:?}", tags.len());
            let step = Step::becomes(frame, Action::Tx, Reason::AnswerTooBig, out);
            cases.push(Case::one(name, step));
        }
        let odd = packet.with(|ip| {
            ip.options = vec![1; 12];
            ip.extensions = vec![(protocol::DESTINATION_OPTIONS, padding_header(3))];
        });
        let name = format!("too big with odd headers over {family:?}");
        cases.push(Case::one(name, answered(&odd, most)));
        let odd = udp(family, To::Gue4Small, &[3; 1401]).with(|ip| ip.fragment = DONT_FRAGMENT);
        cases.push(Case::one(format!("too big by udp over {family:?}"), answered(&odd, most)));
    }
    cases
}

/// So many answers a second, and no more.
fn limited() -> Vec<Case> {
    let cases = FAMILIES.map(|family| {
        let packet = sized(family, To::Small, 1400);
        let silent = Step::drops(here().frame(&packet.bytes()), Reason::DropTooBigSilent);
        let steps = vec![
            answered(&packet, To::Small.mtu()).after(Before::Answers(LIMIT - 1)),
            silent.clone().after(Before::Answers(LIMIT)),
            silent.after(Before::Answers(LIMIT + 1)),
        ];
        Case::new(format!("too many answers over {family:?}"), steps)
    });
    cases.to_vec()
}
