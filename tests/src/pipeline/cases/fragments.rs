//! Fragments: the first one decides where the others go.

use lb_common::{HashKey, Reason};
use lb_ebpf::Action;

use super::{
    Before, Case, Step, hash_of, hash_with, here, in_tunnel, suits, tcp, to_be_fragmented, udp, way,
};
use crate::pipeline::{
    packets::{Body, Ip, protocol},
    places::{CLIENT, FAMILIES, Family, NOBODY, OTHER, OWN, SERVED},
    to::To,
};

/// Identification of the datagrams.
const ID: u32 = 0x4711;
/// Next header of IPv6 destination options (RFC 8200, 4.6).
const DESTINATION_OPTIONS: u8 = 60;

pub(super) fn cases(key: &HashKey) -> Vec<Case> {
    let mut cases = Vec::new();
    for family in FAMILIES {
        cases.extend(to_nodes(key, family));
        cases.extend(replies(family));
        cases.extend(unknown(key, family));
        cases.extend(for_the_host(family));
    }
    cases.extend(too_big(key));
    cases
}

fn datagram(family: Family, to: To) -> Ip {
    udp(family, to, &(0..77).collect::<Vec<u8>>())
}

/// A segment whose first fragment has all of its TCP header, and whose later one has bytes that look
/// like one.
fn segment(family: Family, to: To) -> Ip {
    let header = tcp(family, to, &[7; 40]).payload();
    tcp(family, to, &[&[1; 4][..], &header].concat())
}

/// The hash of a fragment that is not the first.
fn later_hash(key: &HashKey, ip: &Ip, id: u32) -> lb_common::FlowHash {
    // A later fragment of IPv6 does not say what is in it (RFC 8200, 4.5).
    let protocol = match ip.body {
        _ if ip.v6() => protocol::FRAGMENT,
        Body::Tcp { .. } => protocol::TCP,
        _ => protocol::UDP,
    };
    hash_with(key, ip, id, protocol)
}

/// What both fragments of a datagram become on the way to a node.
pub(super) fn both(key: &HashKey, to: To, whole: &Ip) -> [Step; 2] {
    let arriving = match (to.forward(), &whole.body) {
        (lb_common::Forward::Nat, Body::Udp { to: port, .. } | Body::Tcp { to: port, .. }) => {
            whole.clone().going_to(to.address(), to.port_of(*port))
        }
        _ => whole.clone(),
    };
    let (action, flow) = way(to);
    let parts = whole.fragments(24, ID).into_iter().zip(arriving.fragments(24, ID));
    let hashes =
        [(hash_of(key, whole), flow), (later_hash(key, whole, ID), Reason::ForwardFragment)];
    let mut steps = parts.zip(hashes).map(|((part, arriving), (hash, reason))| {
        let out = match to.forward() {
            lb_common::Forward::Ipip | lb_common::Forward::Gue => {
                in_tunnel(to, &part, hash).bytes()
            }
            _ => arriving.bytes(),
        };
        let frame = here().frame(&part.bytes());
        Step::becomes(frame, action, reason, to.link().frame(&out))
    });
    std::array::from_fn(|_| steps.next().expect("two fragments"))
}

fn to_nodes(key: &HashKey, family: Family) -> Vec<Case> {
    let ways = [
        To::Tx,
        To::Elsewhere,
        To::Tags,
        To::Ipip4,
        To::Ipip6,
        To::Gue4,
        To::Gue6,
        To::Nat4,
        To::Nat6,
        To::NatCluster4,
        To::NatCluster6,
        To::NatPort4,
        To::NatPort6,
    ];
    let mut cases = Vec::new();
    let wholes =
        |to| [("udp", datagram(family, to)), ("tcp", segment(family, to))].map(|of| (to, of));
    for (to, (what, whole)) in ways.into_iter().filter(|&to| suits(to, family)).flat_map(wholes) {
        let steps = both(key, to, &whole);
        let name = format!("fragments of {what} over {family:?} to {to:?}");
        cases.push(Case::new(name.clone(), steps.to_vec()));
        let [first, later] = steps;
        let dropped = || Step::drops(later.frame.clone(), Reason::DropFragment);
        // The last one before the first one; the first one twice; for as long as hosts wait.
        let steps = vec![
            dropped(),
            first.clone(),
            later.clone(),
            first,
            later.clone().after(Before::Seconds(29)),
            dropped().after(Before::Seconds(2)),
        ];
        cases.push(Case::new(format!("the order of {name}"), steps));
    }
    cases
}

/// Fragments of no datagram that is remembered.
fn unknown(key: &HashKey, family: Family) -> Vec<Case> {
    let whole = datagram(family, To::Gue6);
    let [first, later] = both(key, To::Gue6, &whole);
    let [_, part] = whole.fragments(24, ID);
    let drops = |ip: &Ip| Step::drops(here().frame(&ip.bytes()), Reason::DropFragment);
    let [_, other_id] = whole.fragments(24, ID + 1);
    let other_client = part.clone().with(|ip| ip.from = NOBODY.of(family));
    let other_vip = part.clone().with(|ip| ip.to = OTHER.of(family));
    let mut other_protocol = part;
    if let Body::Raw { protocol, .. } = &mut other_protocol.body {
        *protocol = if family == Family::V4 { protocol::TCP } else { DESTINATION_OPTIONS };
    }
    let by_other_protocol = match family {
        Family::V4 => drops(&other_protocol),
        Family::V6 => {
            // What it says that is in it means nothing.
            let hash = later_hash(key, &whole, ID);
            let out = To::Gue6.link().frame(&in_tunnel(To::Gue6, &other_protocol, hash).bytes());
            let frame = here().frame(&other_protocol.bytes());
            Step::becomes(frame, Action::Tx, Reason::ForwardFragment, out)
        }
    };
    let others = [drops(&other_id), drops(&other_client), drops(&other_vip), by_other_protocol];
    let steps = [&[first.clone()][..], &others, &[later]].concat();
    let mut cases = vec![Case::new(format!("other fragments than those of {family:?}"), steps)];

    // A first fragment that has not all of the header that it must have.
    for (what, packet) in [("tcp", tcp(family, To::Tx, &[1; 40])), ("udp", whole)] {
        let [mut tiny, _] = packet.fragments(8, ID);
        if let Body::Raw { data, .. } = &mut tiny.body {
            data.truncate(if what == "tcp" { 16 } else { 7 });
        }
        let step = Step::drops(here().frame(&tiny.bytes()), Reason::DropMalformed);
        cases.push(Case::one(format!("a tiny first fragment of {what} over {family:?}"), step));
    }
    cases
}

/// For a VIP, but for none of its services; and strangers'.
fn for_the_host(family: Family) -> Vec<Case> {
    let pass = |ip: &Ip, reason| Step::passes(here().frame(&ip.bytes()), reason);
    let none = datagram(family, To::Tx).going_to(SERVED.of(family), 9);
    let [first, later] = none.fragments(24, ID);
    let steps = vec![
        Step::drops(here().frame(&later.bytes()), Reason::DropFragment),
        pass(&first, Reason::PassNoService),
        pass(&later, Reason::PassNoService),
    ];
    let mut cases = vec![Case::new(format!("fragments for no service, {family:?}"), steps)];
    let ping = Ip::icmp(
        CLIENT.of(family),
        SERVED.of(family),
        if family == Family::V4 { (8, 0) } else { (128, 0) },
        &[1; 60],
    );
    let steps = ping.fragments(24, ID).map(|part| pass(&part, Reason::PassNoService));
    cases.push(Case::new(format!("fragments of a ping, {family:?}"), steps.to_vec()));
    for to in [NOBODY, OWN] {
        let parts = datagram(family, To::Tx).going_to(to.of(family), 9).fragments(24, ID);
        for part in parts {
            let name = format!("a fragment for {}", to.of(family));
            cases.push(Case::one(name, pass(&part, Reason::PassNotVip)));
        }
    }
    cases
}

/// Fragments of what a `nat` node answers.
fn replies(family: Family) -> Vec<Case> {
    let to = if family == Family::V4 { To::Nat4 } else { To::Nat6 };
    let reply = Ip::udp((to.address(), 8080), (CLIENT.of(family), 40_001), &[9; 70]);
    let seen = reply.clone().coming_from(SERVED.of(family), to.port());
    let parts = reply.fragments(32, ID).into_iter().zip(seen.fragments(32, ID));
    let steps: Vec<Step> = parts
        .map(|(part, seen)| {
            let (frame, out) = (here().frame(&part.bytes()), here().frame(&seen.bytes()));
            Step::becomes(frame, Action::Pass, Reason::ReplyToHost, out)
        })
        .collect();
    // One that is not known is the host's.
    let before = Step::passes(steps[1].frame.clone(), Reason::PassNotVip);
    let steps = [vec![before.clone()], steps, vec![before.after(Before::Seconds(31))]].concat();
    vec![Case::new(format!("fragments of a reply over {family:?}"), steps)]
}

/// What does not fit is given to the host if it can be fragmented once more.
fn too_big(key: &HashKey) -> Vec<Case> {
    let to = To::Ipip4Small;
    let whole = udp(Family::V4, to, &[4; 2000]);
    let [first, later] = whole.fragments(968, ID);
    let outer = to_be_fragmented(to, &first, hash_of(key, &whole));
    let frame = here().frame(&first.bytes());
    let out = here().frame(&outer.bytes());
    let steps = vec![
        Step::becomes(frame, Action::Pass, Reason::PassTooBig, out),
        Step::drops(here().frame(&later.bytes()), Reason::DropTooBig),
    ];
    vec![Case::new("fragments that are too big", steps)]
}
