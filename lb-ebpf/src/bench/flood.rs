//! Makes and takes a flood of packets, on test networks.
//!
//! `generate` runs on live frames, whose memory comes back as its receivers left it. So it makes the
//! headers anew each time, from what stands behind the packet, where nobody writes.

use aya_ebpf::{
    bindings::xdp_action,
    helpers::{bpf_get_prandom_u32, bpf_redirect},
    macros::xdp,
    programs::XdpContext,
};

use crate::packet;

/// Ethernet, IPv4 without options, TCP without options.
const HEADERS: usize = 14 + 20 + 20;
/// Where the headers stand that are to be sent, behind those that are. In the checksum's place they
/// have the sum, not yet inverted, without the source port.
const TEMPLATE: usize = 64;
/// Where the index stands of the interface to send by, little-endian.
const INTERFACE: usize = TEMPLATE + HEADERS;
const SOURCE_PORT: usize = 34;
const CHECKSUM: usize = 50;
/// Source ports are drawn from 2^14, from here on.
const FIRST_PORT: u16 = 1 << 14;

const IPV4: [u8; 2] = [0x08, 0x00];
const IP_IN_IP: u8 = 4;
/// Senders of floods: TEST-NET-3 (RFC 5737).
const SENDERS: [u8; 3] = [203, 0, 113];

/// Entry point: sends a packet of a TCP connection, one of 2^14 at random.
#[xdp]
fn generate(ctx: XdpContext) -> u32 {
    match make(&ctx) {
        // SAFETY: a helper call with integers; the kernel checks the index when it redirects.
        Some(interface) => unsafe { bpf_redirect(interface, 0) as u32 },
        None => xdp_action::XDP_ABORTED,
    }
}

/// Entry point: drops what is from such senders or in a tunnel, and passes everything else.
#[xdp(frags)]
fn sink(ctx: XdpContext) -> u32 {
    if is_flood(&ctx) == Some(true) { xdp_action::XDP_DROP } else { xdp_action::XDP_PASS }
}

#[inline(always)]
fn make(ctx: &XdpContext) -> Option<u32> {
    let start = packet::<{ INTERFACE + 4 }>(ctx)?;
    // SAFETY: inside of what `packet` has checked, and bytes need no alignment.
    let (mut headers, interface) = unsafe {
        let headers = start.add(TEMPLATE).cast::<[u8; HEADERS]>().read();
        (headers, start.add(INTERFACE).cast::<[u8; 4]>().read())
    };
    // SAFETY: a helper call without arguments.
    let port = FIRST_PORT + (unsafe { bpf_get_prandom_u32() } as u16 & (FIRST_PORT - 1));
    [headers[SOURCE_PORT], headers[SOURCE_PORT + 1]] = port.to_be_bytes();
    let sum = u16::from_be_bytes([headers[CHECKSUM], headers[CHECKSUM + 1]]);
    let sum = u32::from(sum) + u32::from(port);
    let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
    [headers[CHECKSUM], headers[CHECKSUM + 1]] = checksum.to_be_bytes();
    // SAFETY: as above; the packet is this run's own.
    unsafe { start.cast::<[u8; HEADERS]>().write(headers) };
    Some(u32::from_le_bytes(interface))
}

#[inline(always)]
fn is_flood(ctx: &XdpContext) -> Option<bool> {
    let start = packet::<{ 14 + 20 }>(ctx)?;
    // SAFETY: as in `make`.
    let headers = unsafe { start.cast::<[u8; 14 + 20]>().read() };
    let (kind, protocol) = ([headers[12], headers[13]], headers[23]);
    let sender = [headers[26], headers[27], headers[28]];
    Some(kind == IPV4 && (protocol == IP_IN_IP || sender == SENDERS))
}
