//! Takes tunnels apart: for nodes of test networks, on kernels that have no device for it. No
//! part of the load balancer, which never loads it.
//!
//! IP in IP (RFC 2003, 2473, 4213) and GUE variant 0 (draft-ietf-intarea-gue-09) over UDP port
//! 6080, under at most one VLAN tag. A packet is taken apart only if its outer lengths, its outer
//! IPv4 checksum and the inner packet fit together. Every other one is the kernel's, untouched,
//! which then counts it as it counts any wrong packet. UDP checksums are not looked at.

use aya_ebpf::{
    bindings::xdp_action, helpers::bpf_xdp_adjust_head, macros::xdp, programs::XdpContext,
};
use lb_ebpf::Frame;

use crate::frame::XdpFrame;

const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
const VLAN: [u8; 2] = [0x81, 0x00];
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const UDP_HEADER: usize = 8;
const GUE_HEADER: usize = 4;
/// IPv4 in IP (RFC 2003).
const PROTOCOL_IPV4: u8 = 4;
/// IPv6 in IP (RFC 4213).
const PROTOCOL_IPV6: u8 = 41;
const PROTOCOL_UDP: u8 = 17;
/// IANA's port for GUE.
const GUE_PORT: [u8; 2] = 6080_u16.to_be_bytes();

/// Entry point: a tunnel's packet becomes the packet in it. All are passed.
#[xdp]
fn decap(ctx: XdpContext) -> u32 {
    // None: no packet of a tunnel, or not a right one.
    let _ = unpack(&ctx);
    xdp_action::XDP_PASS
}

/// What a header says of what follows it.
struct Payload {
    protocol: u8,
    /// Bytes from the start of the frame.
    offset: usize,
    length: usize,
}

#[inline(always)]
fn unpack(ctx: &XdpContext) -> Option<()> {
    let frame = XdpFrame::new(ctx);
    let ethernet: [u8; 14] = frame.read(0)?;
    let tag: Option<[u8; 4]> =
        if [ethernet[12], ethernet[13]] == VLAN { Some(frame.read(14)?) } else { None };
    let (outer, kind) = match tag {
        Some(tag) => (18, [tag[2], tag[3]]),
        None => (14, [ethernet[12], ethernet[13]]),
    };
    let payload = match kind {
        IPV4 => ipv4(&frame, outer)?,
        IPV6 => ipv6(&frame, outer)?,
        _ => return None,
    };
    if payload.offset + payload.length > ctx.data_end() - ctx.data() {
        return None;
    }
    let inner = match payload.protocol {
        PROTOCOL_UDP => gue(&frame, &payload)?,
        _ => payload,
    };
    let kind = inner_kind(&frame, &inner)?;

    let cut = inner.offset - outer;
    // SAFETY: a helper call on this run's own packet; `frame` is not used after it.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, cut as i32) } != 0 {
        return None;
    }
    let mut frame = XdpFrame::new(ctx);
    let mut ethernet = ethernet;
    match tag {
        Some(tag) => frame.write(14, [tag[0], tag[1], kind[0], kind[1]])?,
        None => [ethernet[12], ethernet[13]] = kind,
    }
    frame.write(0, ethernet)
}

/// An IPv4 header without options, whole, right, and of no fragment.
#[inline(always)]
fn ipv4(frame: &XdpFrame, at: usize) -> Option<Payload> {
    let header: [u8; IPV4_HEADER] = frame.read(at)?;
    let sum = header.chunks_exact(2).fold(0_u32, |sum, word| sum + number([word[0], word[1]]));
    let length = number([header[2], header[3]]) as usize;
    // All but "don't fragment" (RFC 791, 3.1).
    let fragment = number([header[6], header[7]]) & 0x3fff != 0;
    let right = (sum & 0xffff) + (sum >> 16) == 0xffff;
    if header[0] != 0x45 || !right || fragment || length < IPV4_HEADER {
        return None;
    }
    let (offset, length) = (at + IPV4_HEADER, length - IPV4_HEADER);
    Some(Payload { protocol: header[9], offset, length })
}

/// An IPv6 header without extensions.
#[inline(always)]
fn ipv6(frame: &XdpFrame, at: usize) -> Option<Payload> {
    let header: [u8; IPV6_HEADER] = frame.read(at)?;
    let length = number([header[4], header[5]]) as usize;
    let right = header[0] >> 4 == 6;
    right.then_some(Payload { protocol: header[6], offset: at + IPV6_HEADER, length })
}

/// A UDP header to the port, and a GUE header of variant 0 without flags.
#[inline(always)]
fn gue(frame: &XdpFrame, udp: &Payload) -> Option<Payload> {
    let header: [u8; UDP_HEADER] = frame.read(udp.offset)?;
    let length = number([header[4], header[5]]) as usize;
    if [header[2], header[3]] != GUE_PORT || length != udp.length {
        return None;
    }
    let [variant, protocol, flags @ ..]: [u8; GUE_HEADER] = frame.read(udp.offset + UDP_HEADER)?;
    let headers = UDP_HEADER + GUE_HEADER;
    if variant != 0 || flags != [0; 2] || length < headers {
        return None;
    }
    Some(Payload { protocol, offset: udp.offset + headers, length: length - headers })
}

/// The Ethernet type of the packet inside, if it is as long as its room.
#[inline(always)]
fn inner_kind(frame: &XdpFrame, inner: &Payload) -> Option<[u8; 2]> {
    let (kind, version, length) = match inner.protocol {
        PROTOCOL_IPV4 => {
            let start: [u8; 4] = frame.read(inner.offset)?;
            (IPV4, start[0] >> 4 == 4, number([start[2], start[3]]) as usize)
        }
        PROTOCOL_IPV6 => {
            let start: [u8; 6] = frame.read(inner.offset)?;
            let payload = number([start[4], start[5]]) as usize;
            (IPV6, start[0] >> 4 == 6, IPV6_HEADER + payload)
        }
        _ => return None,
    };
    (version && length == inner.length).then_some(kind)
}

#[inline(always)]
const fn number(bytes: [u8; 2]) -> u32 {
    u16::from_be_bytes(bytes) as u32
}
