//! The kernel's packet as a [`Frame`].

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        BPF_FIB_LKUP_RET_FRAG_NEEDED, BPF_FIB_LKUP_RET_SUCCESS, bpf_fib_lookup as FibLookup, xdp_md,
    },
    helpers::generated::{
        bpf_fib_lookup, bpf_loop, bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len,
        bpf_xdp_load_bytes,
    },
    programs::XdpContext,
};
use core::{ffi::c_void, mem::transmute};
use lb_common::Pod;
use lb_ebpf::{Frame, Hop, MAX_SUM, Mac, Route, Routed};

use crate::verifier::{end, forget, start, unknown, unknown_unless_constant};

/// The largest offset of a header: any there may be behind the extension headers.
const MAX_OFFSET: usize = 0x3fff;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// Bytes that are summed up at a time, on the stack.
const BLOCK: usize = 64;

// Zeros below come out of [`unknown`], else the compiler would have them written byte by byte, by a
// function that needs more of the stack.

/// The packet of one XDP run. Where it begins and ends is asked each time: moving either end makes
/// earlier answers void.
pub(crate) struct XdpFrame {
    ctx: *mut xdp_md,
}

impl XdpFrame {
    #[inline(always)]
    pub(crate) fn new(ctx: &XdpContext) -> Self {
        Self { ctx: ctx.as_ptr().cast() }
    }

    #[inline(always)]
    fn at<T>(&self, offset: usize) -> Option<*mut T> {
        // The verifier does not follow how the compiler checks the bounds of a single byte.
        const { assert!(size_of::<T>() >= 2) };
        // SAFETY: the context is valid for the whole run.
        let (start, end) = unsafe { (start(self.ctx), end(self.ctx)) };
        // Nothing that is read or written lies so far behind; the verifier wants to see that of the
        // very number that is added.
        let offset = unknown_unless_constant(offset);
        if offset > MAX_OFFSET {
            return None;
        }
        let from = start + offset;
        if from + size_of::<T>() > end { None } else { Some(from as *mut T) }
    }
}

impl Frame for XdpFrame {
    #[inline(always)]
    fn ingress(&self) -> u32 {
        // SAFETY: the context is valid for the whole run.
        unsafe { (*self.ctx).ingress_ifindex }
    }

    #[inline(always)]
    fn has(&self, length: usize) -> bool {
        // SAFETY: as in `at`; the helper only reads the context.
        unsafe {
            let first = end(self.ctx) - start(self.ctx);
            length <= first || length as u64 <= bpf_xdp_get_buff_len(self.ctx)
        }
    }

    #[inline(always)]
    fn holds(&self, length: usize) -> bool {
        // SAFETY: as in `at`.
        unsafe { length <= end(self.ctx) - start(self.ctx) }
    }

    #[inline(always)]
    fn read<T: Pod>(&self, offset: usize) -> Option<T> {
        // SAFETY: `at` has checked the bounds against the packet's end, the packet lives as long
        // as this run, unaligned reads need no alignment, and every bit pattern is a valid Pod.
        self.at::<T>(offset).map(|p| unsafe { p.read_unaligned() })
    }

    #[inline(always)]
    fn write<T: Pod>(&mut self, offset: usize, value: T) -> Option<()> {
        // SAFETY: as in `read`; the packet is this run's own and nobody else refers to it.
        self.at::<T>(offset).map(|p| unsafe { p.write_unaligned(value) })
    }

    #[inline(always)]
    fn move_start(&mut self, by: i32) -> Option<()> {
        // SAFETY: the kernel checks the bounds; nothing keeps an earlier pointer into the packet.
        let result = unsafe { bpf_xdp_adjust_head(self.ctx, by) };
        if result == 0 { Some(()) } else { None }
    }

    #[inline(always)]
    fn cut(&mut self, length: usize) -> Option<()> {
        // SAFETY: as in `move_start`.
        let now = unsafe { bpf_xdp_get_buff_len(self.ctx) };
        if length as u64 > now {
            return None; // the kernel would make it longer
        }
        // SAFETY: as in `move_start`.
        let result = unsafe { bpf_xdp_adjust_tail(self.ctx, length as i32 - now as i32) };
        if result == 0 { Some(()) } else { None }
    }

    #[inline(never)]
    fn sum(&self, offset: usize, length: usize) -> Option<u16> {
        if length > MAX_SUM {
            return None;
        }
        let mut sum = Summing { ctx: self.ctx, offset, end: offset + length, total: 0, failed: 0 };
        let blocks = length.div_ceil(BLOCK) as u32;
        // SAFETY: the callback gets the pointer to `sum`, which outlives the loop, and keeps to its
        // type.
        let run = unsafe { bpf_loop(blocks, add_block as *mut c_void, (&raw mut sum).cast(), 0) };
        if run < 0 || sum.failed != 0 {
            return None;
        }
        let folded = (sum.total & 0xffff) + (sum.total >> 16 & 0xffff) + (sum.total >> 32);
        let folded = (folded & 0xffff) + (folded >> 16);
        Some(u16::from_be(((folded & 0xffff) + (folded >> 16)) as u16))
    }

    #[inline(always)]
    fn forget(number: u64, salt: u64) -> u64 {
        forget(number, salt)
    }

    #[inline(always)]
    fn route(&self, packet: &Route) -> Routed {
        route(self.ctx, packet)
    }
}

/// What [`add_block`] adds up.
struct Summing {
    ctx: *mut xdp_md,
    offset: usize,
    end: usize,
    total: u64,
    failed: u64,
}

/// One block of the packet's bytes: a callback of `bpf_loop`.
unsafe extern "C" fn add_block(index: u64, sum: *mut Summing) -> i64 {
    // SAFETY: `sum` is what `Frame::sum` gave the loop.
    let sum = unsafe { &mut *sum };
    let from = sum.offset + index as usize * BLOCK;
    let left = sum.end.wrapping_sub(from);
    // From 1 to BLOCK, as the verifier of Linux 6.1 can see, too. There is no block without bytes.
    let least = if left < BLOCK { left } else { BLOCK };
    let length = (unknown((least as u64).wrapping_sub(1)) & (BLOCK as u64 - 1)) + 1;
    let mut words = [unknown(0); BLOCK / 8];
    // SAFETY: the buffer has BLOCK bytes, and length is at most as many.
    let result = unsafe {
        bpf_xdp_load_bytes(sum.ctx, from as u32, words.as_mut_ptr().cast(), length as u32)
    };
    if result != 0 {
        sum.failed = 1;
        return 1;
    }
    // A sum in the machine's byte order is the right one with its bytes swapped (RFC 1071, 2 (B)).
    for word in words {
        sum.total += (word & 0xffff_ffff) + (word >> 32);
    }
    0
}

/// The kernel's word (`bpf_fib_lookup`) for where it would send a packet.
#[inline(never)]
fn route(ctx: *mut xdp_md, packet: &Route) -> Routed {
    let nothing = [unknown(0); size_of::<FibLookup>() / 8];
    // SAFETY: a C struct of integers and of this size, for which zero is a value.
    let mut fib: FibLookup = unsafe { transmute(nothing) };
    // SAFETY: unions of integers are written, and the variant that the family says.
    unsafe {
        fib.ifindex = (*ctx).ingress_ifindex;
        fib.l4_protocol = packet.protocol;
        fib.__bindgen_anon_1.tot_len = packet.length;
        if packet.v6 {
            fib.family = AF_INET6;
            fib.__bindgen_anon_2.flowinfo = (u32::from(packet.tos) << 20).to_be();
            fib.__bindgen_anon_3.ipv6_src = packet.source.map(u32::to_be);
            fib.__bindgen_anon_4.ipv6_dst = packet.destination.map(u32::to_be);
        } else {
            fib.family = AF_INET;
            fib.__bindgen_anon_2.tos = packet.tos;
            fib.__bindgen_anon_3.ipv4_src = packet.source[3].to_be();
            fib.__bindgen_anon_4.ipv4_dst = packet.destination[3].to_be();
        }
    }
    // SAFETY: the struct has the size that is given; the kernel fills in the answer.
    let result =
        unsafe { bpf_fib_lookup(ctx.cast(), &raw mut fib, size_of::<FibLookup>() as i32, 0) };
    if result == i64::from(BPF_FIB_LKUP_RET_FRAG_NEEDED) {
        // SAFETY: the union is of integers; this is what the kernel writes in this case.
        return Routed::TooBig(unsafe { fib.__bindgen_anon_1.mtu_result });
    }
    if result != i64::from(BPF_FIB_LKUP_RET_SUCCESS) {
        return Routed::ByHost;
    }
    // SAFETY: inside the struct and on even addresses.
    let (dst_mac, src_mac) = unsafe { (mac(&raw const fib.dmac), mac(&raw const fib.smac)) };
    Routed::To(Hop { dst_mac, src_mac, ifindex: fib.ifindex })
}

/// A MAC address out of the kernel's answer, by pairs of bytes: it is aligned for no more, and the
/// compiler would take four.
///
/// # Safety
/// The pointer is to six bytes on an even address.
#[inline(always)]
unsafe fn mac(at: *const [u8; 6]) -> Mac {
    let pairs = at.cast::<u16>();
    let pair = |i| {
        // SAFETY: as this function's.
        unsafe { pairs.add(i).read_volatile() }.to_ne_bytes()
    };
    let ([a, b], [c, d], [e, f]) = (pair(0), pair(1), pair(2));
    Mac::new([a, b, c, d, e, f])
}
