use etherparse::{IpNumber, PacketBuilder};

use super::kind;

/// A UDP packet from the client to the VIP, of 20 bytes of content.
fn inner(v6: bool) -> Vec<u8> {
    let builder = match v6 {
        true => PacketBuilder::ipv6([1; 16], [2; 16], 64),
        false => PacketBuilder::ipv4([198, 51, 100, 2], [192, 0, 2, 65], 64),
    };
    let mut bytes = Vec::new();
    builder.udp(4000, 80).write(&mut bytes, &[7; 20]).expect("a packet");
    bytes
}

/// In IPv6, for 4in6 and 6in6.
fn ipip(inner: &[u8], protocol: IpNumber) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv6([3; 16], [4; 16], 64);
    let mut bytes = Vec::new();
    builder.write(&mut bytes, protocol, inner).expect("a packet");
    bytes
}

/// GUE over IPv4, without a checksum, not to be fragmented; or over IPv6.
fn gue(inner: &[u8], protocol: u8, v6: bool) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([1; 6], [2; 6]);
    let builder = match v6 {
        true => builder.ipv6([3; 16], [4; 16], 64),
        false => builder.ipv4([203, 0, 113, 3], [203, 0, 113, 75], 64),
    };
    let mut bytes = Vec::new();
    let payload = [&[0, protocol, 0, 0], inner].concat();
    builder.udp(50_000, 6080).write(&mut bytes, &payload).expect("a packet");
    if !v6 {
        bytes[14 + 20 + 6..][..2].fill(0);
    }
    bytes
}

#[test]
fn a_right_tunnel_is_told_by_its_kind() {
    let told = |frame: &[u8]| kind(frame).expect("it is right");
    assert_eq!(told(&ipip(&inner(false), IpNumber::IPV4)).as_deref(), Some("ipip-4in6"));
    assert_eq!(told(&ipip(&inner(true), IpNumber::IPV6)).as_deref(), Some("ipip-6in6"));
    assert_eq!(told(&gue(&inner(false), 4, false)).as_deref(), Some("gue-4in4"));
    assert_eq!(told(&gue(&inner(true), 41, true)).as_deref(), Some("gue-6in6"));
    let plain = [&[1; 12][..], &[0x86, 0xdd], &inner(true)].concat();
    assert_eq!(told(&plain), None);
    let tagged = [&[1; 12][..], &[0x88, 0xa8, 0, 1, 0x81, 0, 0, 2, 8, 0], &inner(false)].concat();
    assert_eq!(told(&tagged), None);
}

/// Every byte behind the outer IPv6 header is judged, and every one of an outer IPv4 packet but the
/// source port of GUE, which has no checksum there. A changed port makes it no tunnel.
#[test]
fn what_is_changed_is_not_right() {
    let over_v4 = gue(&inner(false), 4, false);
    let over_v6 = gue(&inner(true), 41, true);
    let in_v6 = ipip(&inner(false), IpNumber::IPV4);
    for (frame, first, unjudged) in [(over_v4, 14, 34..36), (over_v6, 54, 0..0), (in_v6, 54, 0..0)]
    {
        let right = kind(&frame).expect("it is right");
        for at in (first..frame.len()).filter(|at| !unjudged.contains(at)) {
            let mut frame = frame.clone();
            frame[at] ^= 1;
            let told = kind(&frame);
            assert!(told.is_err() || told.is_ok_and(|told| told.is_none()), "{right:?}, byte {at}");
        }
    }
}
