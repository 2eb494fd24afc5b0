//! Slots that moved, by what the service says of its flows: what becomes of those over UDP, and where a
//! source has one node.

use lb_common::{HashKey, PinState, Reason, Udp, pin::affine};

use super::{
    Case, Step, hash_of, hash_with, here,
    row::{LOOKED, MADE, NEW, OLD, Packet, SYN, own, placed, row},
    tcp, way,
};
use crate::pipeline::{
    packets::Body,
    places::{FAMILIES, Family},
    scene::{Moved, Pinned, Scene},
    to::To,
};
use PinState::{Closing, Half, Live};
use Reason::DropNoCluster;

/// Where a pin leads whose packets leave without a tag.
const KEPT: To = To::Ipip4;

pub(super) fn cases(key: &HashKey) -> Vec<Case> {
    let mut cases = Vec::new();
    for family in FAMILIES {
        cases.extend(datagrams(key, family));
        cases.extend(settled(key, family));
    }
    cases.push(by_source(key));
    cases.extend(pin_of_one(key));
    cases
}

/// Flows over UDP, by what the service says of them.
fn datagrams(key: &HashKey, family: Family) -> Vec<Case> {
    let drain = Moved::drain(Some(NEW), Some(OLD));
    let quic = |first: u8, version: u32| {
        Packet::Udp([&[first][..], &version.to_be_bytes(), &[8; 20]].concat())
    };
    let (v1, v2, draft) = (1, 0x6b33_43cf, 0xff00_001d);
    let plain = Packet::Udp(vec![0xc0, 0, 0, 0, 1, 9]);
    let mut cases = vec![
        row("rehashed", drain, plain.clone(), Ok(NEW), &[]).case(key, family, NEW, Udp::Rehash),
        row(
            "rehashed, nobody",
            Moved::drain(None, Some(OLD)),
            plain.clone(),
            Err(DropNoCluster),
            &[],
        )
        .case(key, family, NEW, Udp::Rehash),
        row("sticky", drain, plain, Ok(OLD), MADE).leaves([own(OLD, OLD, Live, 0)]).case(
            key,
            family,
            NEW,
            Udp::Sticky,
        ),
        // Over UDP nobody opens that could take it over.
        row("sticky, the base is down", drain, Packet::Udp(vec![9; 9]), Ok(NEW), MADE)
            .down(OLD)
            .leaves([own(NEW, NEW, Live, 0)])
            .case(key, family, NEW, Udp::Sticky),
        row("quic, the base is down", drain, quic(0x40, v1), Ok(NEW), MADE)
            .down(OLD)
            .leaves([own(NEW, NEW, Live, 0)])
            .case(key, family, NEW, Udp::Quic),
    ];
    for (first, version, opens) in [
        (0xc0, v1, true),
        (0xd3, v1, true),
        (0xe0, v1, false),
        (0xf0, v1, false),
        // Whatever the second bit says (RFC 9287).
        (0x80, v1, true),
        (0xc0, v2, false),
        (0xd0, v2, true),
        (0xe0, v2, true),
        (0xf0, v2, false),
        (0xf0, draft, true),
        (0xc0, 0, false),
        (0x40, v1, false),
        (0x50, v2, false),
    ] {
        let (to, pin) = if opens { (NEW, Half) } else { (OLD, Live) };
        let row = row("quic", drain, quic(first, version), Ok(to), MADE);
        cases.push(row.leaves([own(to, to, pin, 0)]).case(key, family, NEW, Udp::Quic));
    }
    // Too short to say.
    let short = row("quic", drain, Packet::Udp(vec![0xc0, 0, 0, 0]), Ok(OLD), MADE);
    cases.push(short.leaves([own(OLD, OLD, Live, 0)]).case(key, family, NEW, Udp::Quic));
    // Nothing is read of TCP's flags in a service over UDP, and the other way round.
    let tcp = row("tcp beside quic", drain, SYN, Ok(NEW), MADE);
    cases.push(tcp.leaves([own(NEW, NEW, Half, 0)]).case(key, family, NEW, Udp::Quic));
    cases
}

/// Flows over UDP whose slots moved a while ago, with a pin and without.
fn settled(key: &HashKey, family: Family) -> Vec<Case> {
    let residue = Moved::residue(Some(NEW));
    let pin = |state, age| [own(KEPT, KEPT, state, age)];
    let data = || Packet::Udp(vec![9; 30]);
    let initial = Packet::Udp([&[0xc0, 0, 0, 0, 1][..], &[8; 20]].concat());
    let rows = [
        (row("rehashed, residue", residue, data(), Ok(NEW), &[]), Udp::Rehash),
        (
            row("rehashed, whatever is pinned", residue, data(), Ok(NEW), &[])
                .pins(pin(Live, 9_000))
                .leaves(pin(Live, 1)),
            Udp::Rehash,
        ),
        (row("sticky, residue", residue, data(), Ok(NEW), LOOKED), Udp::Sticky),
        (
            row("sticky, by a pin", residue, data(), Ok(KEPT), LOOKED)
                .pins(pin(Half, 9_000))
                .leaves(pin(Live, 0)),
            Udp::Sticky,
        ),
        (
            row("quic, by a pin", residue, data(), Ok(KEPT), LOOKED)
                .pins(pin(Closing, 9_000))
                .leaves(pin(Closing, 0)),
            Udp::Quic,
        ),
        (
            row("quic, opens behind an end", residue, initial, Ok(NEW), MADE)
                .pins(pin(Closing, 9_000))
                .leaves([own(NEW, NEW, Half, 0)]),
            Udp::Quic,
        ),
    ];
    rows.iter().map(|(row, kind)| row.case(key, family, NEW, *kind)).collect()
}

/// Where a source has one node, each of its connections has a pin of its own.
fn by_source(key: &HashKey) -> Case {
    let of = To::BySource;
    let drain = Moved::drain(Some(NEW), Some(OLD));
    let steps_and_pins = [40_000, 40_009].map(|port| {
        let packet = tcp(Family::V4, of, b"data").with(|ip| {
            if let Body::Tcp { from, flags, .. } = &mut ip.body {
                (*from, *flags) = (port, if port == 40_000 { 0x18 } else { 2 });
            }
        });
        let (to, state) = if port == 40_000 { (OLD, Live) } else { (NEW, Half) };
        let (action, reason) = way(to);
        let frame = here().frame(&packet.bytes());
        let step = Step::becomes(frame, action, reason, to.link().frame(&packet.bytes()));
        let hash = affine(hash_with(key, &packet, 0, 0), hash_of(key, &packet));
        let pin = placed(&own(to, to, state, 0), of, Family::V4, false, hash);
        (Step { notes: MADE.to_vec(), ..step }, pin)
    });
    let [(mut first, one), (mut second, other)] = steps_and_pins;
    first.pins = vec![one];
    second.pins = vec![one, other];
    second.pins.sort_by_key(|pin| (pin.bucket, pin.way));
    let case = Case::new("connections of one source", vec![first, second]);
    Case { scene: Some(scene(drain, Vec::new())), ..case }
}

/// A scene of the service on [`To::BySource`].
fn scene(service: Moved, pins: Vec<Pinned>) -> Scene {
    let (clusters, down) = (Vec::new(), Vec::new());
    Scene { of: To::BySource, service, clusters, down, udp: Udp::Rehash, pins }
}

/// There a connection is found by its own pin, and by none that looks like its source's.
fn pin_of_one(key: &HashKey) -> Vec<Case> {
    let of = To::BySource;
    let packet = tcp(Family::V4, of, b"data");
    let source = hash_with(key, &packet, 0, 0);
    let connection = affine(source, hash_of(key, &packet));
    let kept = |age| placed(&own(OLD, OLD, Live, age), of, Family::V4, false, connection);
    let stray = |age| placed(&own(To::Small, To::Small, Live, age), of, Family::V4, false, source);
    let case = |name: &str, to: To, before: Vec<Pinned>, mut after: Vec<Pinned>| {
        let (action, reason) = way(to);
        let out = to.link().frame(&packet.bytes());
        let step = Step::becomes(here().frame(&packet.bytes()), action, reason, out);
        after.sort_by_key(|pin| (pin.bucket, pin.way));
        let step = Step { notes: LOOKED.to_vec(), pins: after, ..step };
        let scene = Some(scene(Moved::residue(Some(NEW)), before));
        Case { scene, ..Case::one(format!("one of a source's connections, {name}"), step) }
    };
    vec![
        case("with a pin", OLD, vec![kept(9_000)], vec![kept(0)]),
        case(
            "with another's beside",
            OLD,
            vec![kept(9_000), stray(9_000)],
            vec![kept(0), stray(1)],
        ),
        case("with another's only", NEW, vec![stray(9_000)], vec![stray(1)]),
    ]
}
