//! The text for people, and the notes on standard error.

use std::fs;

use crate::{
    WAYS,
    frames::{CLIENT, L2, from_client, tcp},
    lines, text, understudy,
};

/// What is printed of one frame.
fn told(frame: &[u8]) -> String {
    let output = understudy(&["trace", WAYS], &text(&[frame.to_vec()]));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn a_line_a_header_of_what_comes_in_and_of_what_goes_out() {
    // A tag in front, and two bytes behind the packet.
    let mut frame = from_client("192.0.2.14");
    frame.splice(12..12, [0x81, 0, 0xa0, 5]);
    frame.extend([0; 2]);
    let told = told(&frame);
    let expected = "\
line 1: tx: sent to the node, out of the interface it came in by (forward_tx)
  service gue-4in6, cluster gue6, node h1
  in   Ethernet        02:00:00:00:00:c1 → 02:00:00:00:00:1b, 802.1Q, 65 bytes
  in   VLAN            5, priority 5, IPv4
  in   IPv4            198.51.100.7 → 192.0.2.14, TCP, 45 bytes (and 2 behind it), ttl 64, tos 0x00, id 0, DF, checksum 0x4e82 right
  in   TCP             40000 → 80, PSH ACK, seq 7, ack 9, window 64240, checksum 0xe81a right
  in   data            5 bytes
  out  Ethernet        02:00:00:00:00:1b → 02:00:00:00:00:fe, IPv6, 113 bytes
  out  IPv6            2001:db8:1::2 → 2001:db8:3::1, UDP, 97 bytes (and 2 behind it), hop limit 64, class 0x00, flow 0x9ca2f
  out  UDP             51759 → 6080, 57 bytes, checksum 0xae78 right
  out  GUE             variant 0, IPv4 inside
  out  IPv4            198.51.100.7 → 192.0.2.14, TCP, 45 bytes, ttl 64, tos 0x00, id 0, DF, checksum 0x4e82 right
  out  TCP             40000 → 80, PSH ACK, seq 7, ack 9, window 64240, checksum 0xe81a right
  out  data            5 bytes
";
    assert_eq!(told, expected);
}

#[test]
fn what_an_icmp_error_quotes_is_shown_as_far_as_it_goes() {
    // Fragmentation needed: the VIP's packet to the client, cut off after 8 bytes of TCP.
    let quoted = &tcp(("192.0.2.10", 80), (CLIENT, 40_000))[L2..L2 + 28];
    let mut frame = Vec::new();
    let link = etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 0xc1], [2, 0, 0, 0, 0, 0x1b]);
    link.ipv4([203, 0, 113, 9], [192, 0, 2, 10], 64)
        .icmpv4_raw(3, 4, [0, 0, 5, 0])
        .write(&mut frame, quoted)
        .expect("a Vec takes everything");
    let told = told(&frame);
    let expected = "\
line 1: tx: an ICMP error, sent to the node of the flow that it is about (forward_icmp)
  service direct, cluster direct, node d2
  in   Ethernet        02:00:00:00:00:c1 → 02:00:00:00:00:1b, IPv4, 70 bytes
  in   IPv4            203.0.113.9 → 192.0.2.10, ICMP, 56 bytes, ttl 64, tos 0x00, id 0, DF, checksum 0x3cb1 right
  in   ICMP            fragmentation needed (type 3, code 4), mtu 1280, checksum 0x5b64 right
  in   quoted IPv4     192.0.2.10 → 198.51.100.7, TCP, 45 bytes (28 are there), ttl 64, tos 0x00, id 0, DF, checksum 0x4e86 right
  in   quoted TCP      80 → 40000, no whole header in 8 bytes
  out  Ethernet        02:00:00:00:00:1b → 02:00:00:00:01:02, IPv4, 70 bytes
  out  IPv4            203.0.113.9 → 192.0.2.10, ICMP, 56 bytes, ttl 64, tos 0x00, id 0, DF, checksum 0x3cb1 right
  out  ICMP            fragmentation needed (type 3, code 4), mtu 1280, checksum 0x5b64 right
  out  quoted IPv4     192.0.2.10 → 198.51.100.7, TCP, 45 bytes (28 are there), ttl 64, tos 0x00, id 0, DF, checksum 0x4e86 right
  out  quoted TCP      80 → 40000, no whole header in 8 bytes
";
    assert_eq!(told, expected);
}

#[test]
fn what_goes_nowhere_has_no_way_out() {
    let dropped = tcp(("127.0.0.1", 1), ("192.0.2.10", 80));
    let told_of = told(&dropped);
    assert!(
        told_of.starts_with(
            "line 1: drop: from an address that nobody sends from (drop_martian)\n  in "
        )
    );
    assert!(!told_of.contains("\n  out"), "{told_of}");
    let passed = told(&from_client("192.0.2.99"));
    assert!(passed.ends_with("bytes\n  out  as it came in\n"), "{passed}");
    // Not even an Ethernet header.
    let short = told(&[2; 9]);
    assert!(short.contains("\n  in   Ethernet        none: "), "{short}");
}

/// What is said of a configuration without some lines, and what becomes of a frame to each VIP.
fn without(lines_with: &[&str], vips: &[&str]) -> (String, Vec<[String; 2]>) {
    let config = fs::read_to_string(WAYS).expect("the configuration");
    let keep = |line: &&str| !lines_with.iter().any(|words| line.starts_with(words));
    let config: Vec<&str> = config.lines().filter(keep).collect();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("some.toml");
    fs::write(&file, config.join("\n")).expect("a file");
    let file = file.to_str().expect("a path in UTF-8");
    let frames: Vec<_> = vips.iter().map(|vip| from_client(vip)).collect();
    let output = understudy(&["trace", file, "--format", "json"], &text(&frames));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let ends = lines(&output).into_iter().map(|line| {
        let outer = line.packet[2 * L2..].get(24..64).unwrap_or_default().to_owned();
        [line.reason, outer]
    });
    let said = String::from_utf8_lossy(&output.stderr).replace(file, "FILE");
    (said, ends.collect())
}

#[test]
fn what_the_configuration_does_not_override_is_said() {
    let reasons = |ends: &[[String; 2]]| ends.iter().map(|end| end[0].clone()).collect::<Vec<_>>();
    let vips = ["192.0.2.10", "192.0.2.11", "192.0.2.12", "192.0.2.15"];
    // Neither MACs nor addresses of the interface, but some nodes have a MAC.
    let (said, ends) =
        without(&["mac", "gateway_mac", "address = \"10.0.0.2\"", "address6"], &vips);
    let expected = "\
FILE: the first [[interface]] has no `mac`: 02:00:00:00:00:01 here
FILE: the first [[interface]] has no `address` and no `address6`: tunnels are from 192.0.0.8 and 100:0:0:1::8 here
FILE: not resolved, as they have no `mac`, nor the first [[interface]] a `gateway_mac`: direct6/e1, gue4/g1, gue6/h1, nat4/n1, nat6/m1, tunnel4/t1
";
    assert_eq!(said, expected);
    let [unresolved, sent] = ["drop_unresolved", "forward_tx"];
    assert_eq!(reasons(&ends), [sent, unresolved, sent, unresolved]);
    // One of two addresses.
    let (said, ends) = without(&["address6"], &vips);
    let expected = "FILE: not resolved, as the first [[interface]] has no `address6` for tunnels \
                    to them: gue6/h1, tunnel6/u1\n";
    assert_eq!(said, expected);
    assert_eq!(reasons(&ends), [sent, sent, unresolved, sent]);
}

#[test]
fn a_configuration_without_any_override_can_be_traced() {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");
    for (file, frame) in [
        ("minimal", from_client("192.0.2.10")),
        ("tunnel", tcp((CLIENT, 1), ("192.0.2.10", 443))),
        ("nat", tcp((CLIENT, 1), ("192.0.2.10", 443))),
    ] {
        let path = format!("{examples}/{file}.toml");
        let args = ["trace", &path, "--format", "json"];
        let output = understudy(&args, &text(&[frame]));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{file}: {said}");
        let reason = &lines(&output)[0].reason;
        assert!(reason == "forward_tx" || file == "minimal", "{file}: {reason}");
        for words in ["no secret", "no `mac`: 02:00:00:00:00:01", "02:00:00:00:00:02"] {
            assert!(said.contains(words), "{file}: no {words} in {said}");
        }
        assert_eq!(said.contains("192.0.0.8"), file == "tunnel", "{said}");
    }
}
