//! What goes out, in every way to forward: judged by a parser that is not the program's.

use etherparse::{Ipv4Header, Ipv6Header, PacketHeaders, TransportHeader, UdpHeader};

use crate::{
    frames::{CLIENT, CLIENT_MAC, CLIENT6, GATEWAY, L2, MAC, from_client, octets, ping, tcp},
    trace,
};

/// VIP, whose it is, what the outer header is to (nothing: `l2`), and its GUE port.
type Case = (&'static str, [&'static str; 3], &'static str, Option<u16>);

const TUNNELS: &[Case] = &[
    ("2001:db8::10", ["direct6", "direct6", "e1"], "", None),
    ("192.0.2.11", ["4in4", "tunnel4", "t1"], "10.0.2.1", None),
    ("2001:db8::11", ["6in4", "tunnel4", "t1"], "10.0.2.1", None),
    ("192.0.2.12", ["4in6", "tunnel6", "u1"], "2001:db8:2::1", None),
    ("2001:db8::12", ["6in6", "tunnel6", "u1"], "2001:db8:2::1", None),
    ("192.0.2.13", ["gue-4in4", "gue4", "g1"], "10.0.3.1", Some(6081)),
    ("2001:db8::13", ["gue-6in4", "gue4", "g1"], "10.0.3.1", Some(6081)),
    ("192.0.2.14", ["gue-4in6", "gue6", "h1"], "2001:db8:3::1", Some(6080)),
    ("2001:db8::14", ["gue-6in6", "gue6", "h1"], "2001:db8:3::1", Some(6080)),
];

#[test]
fn what_is_not_rewritten_arrives_byte_for_byte_in_the_right_cover() {
    let frames: Vec<_> = TUNNELS.iter().map(|case| from_client(case.0)).collect();
    for ((case, frame), line) in TUNNELS.iter().zip(&frames).zip(trace(&[], &frames)) {
        let &(vip, whose, outer, gue) = case;
        assert_eq!(line.end(), ("tx", "forward_tx"), "{vip}");
        assert_eq!(line.whose(), whose);
        let (out, inner) = (line.bytes(), &frame[L2..]);
        let to = if whose[2] == "u1" { [2, 0, 0, 0, 2, 1] } else { GATEWAY };
        assert_eq!((&out[..6], &out[6..12]), (&to[..], &MAC[..]), "{vip}");
        assert!(out.ends_with(inner), "{vip}");
        let cover = &out[L2..out.len() - inner.len()];
        let kind: &[u8] = if octets(if outer.is_empty() { vip } else { outer }).len() == 4 {
            &[8, 0]
        } else {
            &[0x86, 0xdd]
        };
        assert_eq!(&out[12..14], kind, "{vip}");
        if outer.is_empty() {
            assert!(cover.is_empty(), "{vip}");
        } else {
            covered(cover, inner, outer, gue);
        }
    }
}

/// Checks the headers around an inner packet.
fn covered(cover: &[u8], inner: &[u8], outer: &str, gue: Option<u16>) {
    let v6 = inner[0] >> 4 == 6;
    let protocol = match (gue, v6) {
        (Some(_), _) => 17,
        (None, false) => 4,
        (None, true) => 41,
    };
    let length = cover.len() + inner.len();
    let rest = if octets(outer).len() == 4 {
        let (ip, rest) = Ipv4Header::from_slice(cover).expect("IPv4");
        assert_eq!((&ip.source[..], &ip.destination[..]), (&[10, 0, 0, 2][..], &octets(outer)[..]));
        assert_eq!((usize::from(ip.total_len), ip.protocol.0), (length, protocol));
        assert_eq!((ip.time_to_live, ip.dont_fragment), (64, true));
        assert_eq!(ip.header_checksum, ip.calc_header_checksum());
        rest
    } else {
        let (ip, rest) = Ipv6Header::from_slice(cover).expect("IPv6");
        assert_eq!(
            (&ip.source[..], &ip.destination[..]),
            (&octets("2001:db8:1::2")[..], &octets(outer)[..])
        );
        assert_eq!((usize::from(ip.payload_length) + 40, ip.next_header.0), (length, protocol));
        assert_eq!(ip.hop_limit, 64);
        rest
    };
    let Some(port) = gue else { return assert!(rest.is_empty()) };
    let (udp, gue) = UdpHeader::from_slice(rest).expect("UDP");
    assert_eq!((udp.destination_port, usize::from(udp.length)), (port, rest.len() + inner.len()));
    assert!(udp.source_port >= 0xc000);
    assert_eq!(gue, [0, if v6 { 41 } else { 4 }, 0, 0]);
    match octets(outer).try_into() {
        Ok::<[u8; 16], _>(to) => {
            let from = octets("2001:db8:1::2").try_into().expect("16 bytes");
            let right = udp.calc_checksum_ipv6_raw(from, to, &[gue, inner].concat());
            assert_eq!(Ok(udp.checksum), right);
        }
        Err(_) => assert_eq!(udp.checksum, 0),
    }
}

/// Addresses, ports and time to live of a TCP segment whose checksums are right, and its data.
fn segment(frame: &[u8]) -> (Vec<u8>, Vec<u8>, u16, u16, u8, &[u8]) {
    let packet = PacketHeaders::from_ethernet_slice(frame).expect("a packet");
    let Some(TransportHeader::Tcp(tcp)) = packet.transport else { panic!("no TCP") };
    let (ports, data) = ((tcp.source_port, tcp.destination_port), packet.payload.slice());
    let (from, to, ttl) = match packet.net {
        Some(etherparse::NetHeaders::Ipv4(ip, _)) => {
            assert_eq!(ip.header_checksum, ip.calc_header_checksum());
            assert_eq!(Ok(tcp.checksum), tcp.calc_checksum_ipv4(&ip, data));
            (ip.source.to_vec(), ip.destination.to_vec(), ip.time_to_live)
        }
        Some(etherparse::NetHeaders::Ipv6(ip, _)) => {
            assert_eq!(Ok(tcp.checksum), tcp.calc_checksum_ipv6(&ip, data));
            (ip.source.to_vec(), ip.destination.to_vec(), ip.hop_limit)
        }
        other => panic!("{other:?}"),
    };
    (from, to, ports.0, ports.1, ttl, data)
}

#[test]
fn nat_rewrites_the_destination_and_the_source_on_the_way_back() {
    for (vip, client, node, names) in [
        ("192.0.2.15", CLIENT, "10.0.4.1", ["nat4", "nat4", "n1"]),
        ("2001:db8::15", CLIENT6, "2001:db8:4::1", ["nat6", "nat6", "m1"]),
    ] {
        let frames = [from_client(vip), tcp((node, 8080), (client, 40_000))];
        let [there, back] = &trace(&[], &frames)[..] else { panic!("two lines") };
        assert_eq!((there.end(), there.whose()), (("tx", "forward_tx"), names));
        let (vip, client, node) = (octets(vip), octets(client), octets(node));
        let sent = (client.clone(), node, 40_000, 8080, 64, &b"hello"[..]);
        assert_eq!(segment(&there.bytes()), sent);
        assert_eq!((back.end(), back.whose()), (("tx", "reply_sent"), [names[0], "-", "-"]));
        assert_eq!(segment(&back.bytes()), (vip, client, 80, 40_000, 63, &b"hello"[..]));
        for line in [there, back] {
            assert_eq!((&line.bytes()[..6], &line.bytes()[6..12]), (&GATEWAY[..], &MAC[..]));
        }
    }
}

#[test]
fn echo_is_answered_and_strangers_pass_untouched() {
    let arp = [&[0xff; 6][..], &CLIENT_MAC, &[8, 6], &[0; 46]].concat();
    let frames =
        [ping("192.0.2.10"), ping("192.0.2.99"), from_client("192.0.2.99"), arp, vec![2; 9]];
    let lines = trace(&[], &frames);
    assert_eq!(lines[0].end(), ("tx", "answer_echo"));
    let answer = lines[0].bytes();
    assert_eq!((&answer[..6], &answer[6..12]), (&CLIENT_MAC[..], &MAC[..]));
    let packet = PacketHeaders::from_ethernet_slice(&answer).expect("a packet");
    let Some(TransportHeader::Icmpv4(icmp)) = packet.transport else { panic!("no ICMP") };
    assert_eq!(icmp.checksum, icmp.icmp_type.calc_checksum(b"ping"));
    let echo = etherparse::IcmpEchoHeader { id: 7, seq: 1 };
    assert_eq!(icmp.icmp_type, etherparse::Icmpv4Type::EchoReply(echo));
    let reasons = ["pass_not_vip", "pass_not_vip", "pass_not_ip", "pass_malformed"];
    for ((line, reason), frame) in lines[1..].iter().zip(reasons).zip(&frames[1..]) {
        assert_eq!((line.end(), line.whose()), (("pass", reason), ["-"; 3]));
        assert_eq!(&line.bytes(), frame, "{reason}");
    }
}
