//! Builds packets and prints them.

use std::fmt::Write;

use etherparse::{PacketBuilder, PacketBuilderStep, SlicedPacket, TcpHeader};

/// MAC address of the client in all frames.
pub const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xc1];
/// MAC address of the load balancer in all frames.
pub const LB_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x1b];
/// The VIP of all cases (RFC 5737).
pub const VIP: [u8; 4] = [192, 0, 2, 10];
/// The client's address.
pub const CLIENT: [u8; 4] = [198, 51, 100, 7];

/// A TCP SYN to an address and port.
#[must_use]
pub fn tcp(source: ([u8; 4], u16), destination: ([u8; 4], u16)) -> Vec<u8> {
    let builder = tcp_header(source, destination).syn();
    finish(|out| builder.write(out, &[]))
}

/// A TCP packet without data that ends a connection: it opens nothing, and no pin is made for it.
#[must_use]
pub fn reset(source: ([u8; 4], u16), destination: ([u8; 4], u16)) -> Vec<u8> {
    let builder = tcp_header(source, destination).rst();
    finish(|out| builder.write(out, &[]))
}

fn tcp_header(source: ([u8; 4], u16), destination: ([u8; 4], u16)) -> PacketBuilderStep<TcpHeader> {
    PacketBuilder::ethernet2(CLIENT_MAC, LB_MAC).ipv4(source.0, destination.0, 64).tcp(
        source.1,
        destination.1,
        0x0102_0304,
        64_240,
    )
}

/// An ARP request.
#[must_use]
pub fn arp() -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend([0xff; 6]);
    frame.extend(CLIENT_MAC);
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(CLIENT_MAC);
    frame.extend(CLIENT);
    frame.extend([0; 6]);
    frame.extend(VIP);
    frame.resize(60, 0);
    frame
}

fn finish<E: std::fmt::Debug>(write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Vec<u8> {
    let mut frame = Vec::new();
    write(&mut frame).expect("a Vec takes everything");
    frame
}

/// A frame for people: a line a header, then the bytes.
#[must_use]
pub fn print(frame: &[u8]) -> String {
    let mut text = String::new();
    match SlicedPacket::from_ethernet(frame) {
        Ok(packet) => {
            for line in [
                packet.link.map(|l| format!("{l:?}")),
                packet.net.map(|n| format!("{n:?}")),
                packet.transport.map(|t| format!("{t:?}")),
            ]
            .into_iter()
            .flatten()
            {
                let _ = writeln!(text, "  {}", line.chars().take(200).collect::<String>());
            }
        }
        Err(error) => {
            let _ = writeln!(text, "  not a whole packet: {error}");
        }
    }
    for row in frame.chunks(16) {
        let bytes: Vec<String> = row.iter().map(|b| format!("{b:02x}")).collect();
        let _ = writeln!(text, "  {}", bytes.join(" "));
    }
    text
}
