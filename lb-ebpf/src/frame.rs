//! The kernel's packet as a [`Frame`].

use aya_ebpf::programs::XdpContext;
use lb_common::Pod;
use lb_ebpf::Frame;

/// The packet of one XDP run.
pub(crate) struct XdpFrame {
    start: usize,
    end: usize,
    ingress: u32,
}

impl XdpFrame {
    #[inline(always)]
    pub(crate) fn new(ctx: &XdpContext) -> Self {
        Self { start: ctx.data(), end: ctx.data_end(), ingress: ctx.ingress_ifindex() as u32 }
    }

    #[inline(always)]
    fn at<T>(&self, offset: usize) -> Option<*mut T> {
        let start = self.start + offset;
        if start + size_of::<T>() > self.end { None } else { Some(start as *mut T) }
    }
}

impl Frame for XdpFrame {
    #[inline(always)]
    fn ingress(&self) -> u32 {
        self.ingress
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
}
