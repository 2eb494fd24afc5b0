//! The benchmark's programs: the feeder, which brings packets to another program; the floors, which do
//! what no load balancer can do without; and those of a flood. No part of the load balancer, which
//! never loads them.
//!
//! `BPF_PROG_TEST_RUN` hands a program its own output again. The feeder puts the frame back as it was,
//! of another flow, and goes over to the program by a tail call; it looks at the clock twice a run. What
//! it costs itself is in every figure, the floors' included.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch, core_intrinsics))]
#![cfg_attr(target_arch = "bpf", allow(internal_features))]
#![allow(unsafe_code)]
// The macros make exported twins of entry points and maps, without their documentation.
#![allow(missing_docs)]

#[path = "../binary.rs"]
mod binary;
mod flood;
#[path = "../verifier.rs"]
#[allow(dead_code)] // The load balancer's program uses more of it.
mod verifier;

use aya_ebpf::{
    bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_TX},
    btf_maps::{Array, ProgramArray},
    helpers::generated::{bpf_ktime_get_ns, bpf_xdp_adjust_head},
    macros::{btf_map, xdp},
    programs::XdpContext,
};
#[cfg(not(target_arch = "bpf"))]
use binary::main;
use lb_common::feed::{FEED_BYTES, Feed, next, spread};
use verifier::{end, start, unknown};

#[btf_map]
static FEED: Array<Feed, 1, 0> = Array::new();
#[btf_map]
static TARGET: ProgramArray<1> = ProgramArray::new();

/// Feeds frames of IPv4, or of anything else but IPv6.
#[xdp(frags)]
fn feed_v4(ctx: XdpContext) -> u32 {
    feed(&ctx, false)
}

/// Feeds frames of IPv6.
#[xdp(frags)]
fn feed_v6(ctx: XdpContext) -> u32 {
    feed(&ctx, true)
}

/// The first floor: the frame goes back as it is.
#[xdp(frags)]
fn floor_tx(_ctx: XdpContext) -> u32 {
    XDP_TX
}

/// The second floor: it goes back to its sender.
#[xdp(frags)]
fn floor_swap(ctx: XdpContext) -> u32 {
    let Some(start) = packet::<12>(&ctx) else { return XDP_ABORTED };
    // SAFETY: the frame has twelve bytes.
    unsafe {
        let first = start.cast::<u64>().read_unaligned();
        let second = start.add(8).cast::<u32>().read_unaligned();
        let (to, from) = (first & 0xffff_ffff_ffff, first >> 48 | u64::from(second) << 16);
        start.cast::<u64>().write_unaligned(from | to << 48);
        start.add(8).cast::<u32>().write_unaligned((to >> 16) as u32);
    }
    XDP_TX
}

/// The third floor: 20 bytes more in front, and 34 bytes written, the link header and that of IPv4.
#[xdp(frags)]
fn floor_wrap(ctx: XdpContext) -> u32 {
    const BYTES: usize = 34;
    // SAFETY: a helper call on this run's own packet.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, -20) } != 0 {
        return XDP_ABORTED;
    }
    let Some(start) = packet::<BYTES>(&ctx) else { return XDP_ABORTED };
    // SAFETY: the frame has so many bytes.
    unsafe {
        for word in 0..BYTES / 8 {
            start.add(word * 8).cast::<u64>().write_unaligned(0x4500_0800_0000_0002);
        }
        start.add(BYTES - 2).cast::<u16>().write_unaligned(0x0a0a);
    }
    XDP_TX
}

#[inline(always)]
fn feed(ctx: &XdpContext, v6: bool) -> u32 {
    let Some(feed) = FEED.get_ptr_mut(0) else { return XDP_ABORTED };
    // SAFETY: this run alone has the element; nobody else writes it while packets run.
    let feed = unsafe { &mut *feed };
    // What was put in front of the frame last time goes; all do this, also those that put nothing.
    // SAFETY: the context is valid for the whole run.
    let length = unsafe { end(ctx.ctx) - start(ctx.ctx) } as u64;
    let more = unknown(length).wrapping_sub(feed.length) as i32;
    // SAFETY: a helper call on this run's own packet.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, more) } != 0 {
        return XDP_ABORTED;
    }
    feed.seed = next(feed.seed);
    let chosen = (feed.seed >> 32).wrapping_mul(feed.flows) >> 32;
    let flow = spread(if feed.flows == 0 { feed.count } else { chosen });
    let port = (feed.seed >> 8 & 0x00ff_ffff).wrapping_mul(feed.ports) >> 24;
    if write(ctx, feed, v6, flow, port).is_none() {
        return XDP_ABORTED;
    }
    let now = feed.count;
    feed.count = now + 1;
    // SAFETY: helper calls without arguments.
    unsafe {
        if now == feed.first {
            feed.begin = bpf_ktime_get_ns();
        }
        if now == feed.last {
            feed.end = bpf_ktime_get_ns();
            return XDP_DROP;
        }
        TARGET.tail_call(ctx, 0);
    }
    XDP_ABORTED
}

/// Writes the frame's beginning, of a flow, to a port of these.
///
/// By words in which a program's loads lie whole: a load of what two stores wrote has to wait for them,
/// which no packet from a network would make it do.
#[inline(always)]
fn write(ctx: &XdpContext, feed: &Feed, v6: bool, flow: u64, port: u64) -> Option<()> {
    const V4_BYTES: usize = 58;
    let (source, host) = (flow & 0xffff, flow >> 16);
    let to = u64::from((port as u16).to_be()) << 16;
    let frame = &raw const feed.frame;
    // SAFETY: inside the frame, which has FEED_BYTES.
    let word = |at: usize| unsafe { frame.cast::<u8>().add(at).cast::<u64>().read_unaligned() };
    let put = |start: *mut u8, at: usize, word: u64| {
        // SAFETY: inside of what `packet` has checked.
        unsafe { start.add(at).cast::<u64>().write_unaligned(word) };
    };
    let ports = |word: u64| add_port(word, to) | source;
    if v6 {
        let start = packet::<FEED_BYTES>(ctx)?;
        put(start, 8, word(8));
        put(start, 14, word(14));
        put(start, 22, word(22));
        put(start, 30, word(30) | host << 32);
        put(start, 38, word(38));
        put(start, 46, word(46));
        put(start, 54, ports(word(54)));
        put(start, 62, word(62));
        put(start, 70, word(70));
        put(start, 0, word(0));
        return Some(());
    }
    let start = packet::<V4_BYTES>(ctx)?;
    // Both halves of the address change so that the header's checksum stays what it is.
    let from = u32::from_be(word(26) as u32).wrapping_sub(0xffff * host as u32).to_be();
    put(start, 10, word(10));
    put(start, 18, word(18));
    put(start, 26, word(26) & !0xffff_ffff | u64::from(from));
    put(start, 34, ports(word(34)));
    put(start, 42, word(42));
    put(start, 50, word(50));
    // SAFETY: as `put`.
    unsafe { start.add(8).cast::<u32>().write_unaligned(word(8) as u32) };
    put(start, 0, word(0));
    Some(())
}

/// Adds to the destination port, which is in network order.
#[inline(always)]
fn add_port(word: u64, more: u64) -> u64 {
    let mask = 0xffff_0000;
    let port = u16::from_be((word >> 16) as u16).wrapping_add(u16::from_be((more >> 16) as u16));
    word & !mask | u64::from(port.to_be()) << 16
}

/// Where the packet begins, if it has so many bytes.
#[inline(always)]
fn packet<const BYTES: usize>(ctx: &XdpContext) -> Option<*mut u8> {
    // SAFETY: the context is valid for the whole run.
    let (start, end) = unsafe { (start(ctx.ctx), end(ctx.ctx)) };
    if start + BYTES > end { None } else { Some(start as *mut u8) }
}
