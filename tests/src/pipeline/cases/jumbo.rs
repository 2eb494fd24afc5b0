//! Frames of 9,000 bytes, which drivers hand over in several buffers.

use lb_common::{HashKey, Reason};
use lb_ebpf::Action;

use super::{Case, Step, goes, good, here, suits, tcp, udp};
use crate::pipeline::{
    packets::{Body, DONT_FRAGMENT, Ip},
    places::{CLIENT, FAMILIES, Family, NOBODY, SERVED},
    to::To,
};

/// Bytes of data.
const DATA: usize = 8800;

pub(super) fn cases(key: &HashKey) -> Vec<Case> {
    let data: Vec<u8> = (0..DATA).map(|i| ((i * 7) >> 3) as u8).collect();
    let mut cases = Vec::new();
    for family in FAMILIES {
        for to in good().filter(|&to| suits(to, family) && to.mtu() != 1000 && to.mtu() != 1400) {
            if to == To::BySource {
                continue;
            }
            for packet in [tcp(family, to, &data), udp(family, to, &data)] {
                let name = format!("jumbo over {family:?} to {to:?}");
                cases.push(Case::one(name, goes(key, to, &packet)));
            }
        }
        // All of it is summed up: it has no checksum, which the tunnel's could be made from.
        let unchecked = udp(family, To::Gue6, &data).with(|ip| {
            if let Body::Udp { checked, .. } = &mut ip.body {
                *checked = false;
            }
        });
        let name = format!("jumbo without a checksum over {family:?}");
        cases.push(Case::one(name, goes(key, To::Gue6, &unchecked)));

        let stranger = tcp(family, To::Tx, &data).going_to(NOBODY.of(family), 80);
        let step = Step::passes(here().frame(&stranger.bytes()), Reason::PassNotVip);
        cases.push(Case::one(format!("a jumbo stranger over {family:?}"), step));
        cases.extend(answers(family, &data));
    }
    cases
}

/// What is answered, and what is a reply.
fn answers(family: Family, data: &[u8]) -> Vec<Case> {
    let (nat, most) = match family {
        Family::V4 => (To::Nat4, 576),
        Family::V6 => (To::Nat6, 1280),
    };
    let request = |kind| Ip::icmp(CLIENT.of(family), SERVED.of(family), (kind, 0), data);
    let kinds = if family == Family::V4 { [8, 0] } else { [128, 129] };
    let [asked, answer] = kinds.map(request);
    let answer = answer.with(|ip| (ip.from, ip.to, ip.ttl) = (ip.to, ip.from, 64));
    let (frame, out) = (here().frame(&asked.bytes()), super::back().frame(&answer.bytes()));
    let echo = Step::becomes(frame, Action::Tx, Reason::AnswerEcho, out);

    let big = tcp(family, To::Small, data).with(|ip| ip.fragment = DONT_FRAGMENT);
    let told = super::size::told(&big, To::Small.mtu()).bytes();
    assert_eq!(told.len(), most);
    let frame = here().frame(&big.bytes());
    let out = super::back().frame(&told);
    let too_big = Step::becomes(frame, Action::Tx, Reason::AnswerTooBig, out);

    let reply = Ip::tcp((nat.address(), 8080), (CLIENT.of(family), 7), data);
    let seen = reply.clone().coming_from(SERVED.of(family), nat.port());
    let (frame, out) = (here().frame(&reply.bytes()), here().frame(&seen.bytes()));
    let reply = Step::becomes(frame, Action::Pass, Reason::ReplyToHost, out);
    [("ping", echo), ("too big", too_big), ("reply", reply)]
        .map(|(what, step)| Case::one(format!("a jumbo {what} over {family:?}"), step))
        .to_vec()
}
