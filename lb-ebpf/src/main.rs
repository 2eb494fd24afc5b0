//! The XDP program: the stages of the library over the kernel's packet and maps.
//!
//! The only room of `unsafe` on the packet's way. Licensed GPL where the kernel asks for it.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch, core_intrinsics))]
#![cfg_attr(target_arch = "bpf", allow(internal_features))]
#![allow(unsafe_code)]
// The xdp macro makes an exported twin of each entry point, without its documentation.
#![allow(missing_docs)]

mod binary;
mod decap;
mod frame;
mod maps;
mod verifier;

use aya_ebpf::{bindings::xdp_action, helpers::bpf_redirect, macros::xdp, programs::XdpContext};
#[cfg(not(target_arch = "bpf"))]
use binary::main;
use lb_ebpf::{Action, Verdict, process};

/// Entry point of the load balancer: one packet in, one verdict out.
#[inline(always)] // Else what the macro makes would call it.
#[xdp(frags)]
fn understudy(ctx: XdpContext) -> u32 {
    let mut frame = frame::XdpFrame::new(&ctx);
    let verdict = match maps::KernelTables::new() {
        Some(tables) => process(&mut frame, &tables),
        None => Verdict::BAD_TABLE,
    };
    maps::count(verdict.number());
    log(&ctx, &verdict);
    match verdict.action() {
        Action::Pass => xdp_action::XDP_PASS,
        Action::Drop => xdp_action::XDP_DROP,
        Action::Tx => xdp_action::XDP_TX,
        // SAFETY: a helper call with integers; the kernel checks the index when it redirects.
        Action::Redirect => unsafe { bpf_redirect(verdict.ifindex(), 0) as u32 },
    }
}

/// Passes everything. For the far end of a veth pair, which needs some XDP program to receive
/// what the near end sends by `XDP_TX`.
#[xdp(frags)]
fn pass(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Rare events, compiled out unless asked for.
#[cfg(feature = "log")]
fn log(ctx: &XdpContext, verdict: &Verdict) {
    use lb_common::Reason;
    match verdict.reason() {
        Reason::DropBadTable => aya_log_ebpf::error!(ctx, "a table points where there is nothing"),
        Reason::DropUnresolved => aya_log_ebpf::warn!(ctx, "next hop of a node not resolved"),
        _ => {}
    }
}

#[cfg(not(feature = "log"))]
fn log(_ctx: &XdpContext, _verdict: &Verdict) {}
