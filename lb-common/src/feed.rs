//! What the benchmark's feeder is told, and what it tells: map `FEED` of the benchmark's own object,
//! one element. The load balancer has no such map.

/// Bytes of a frame that the feeder writes anew for each packet; what follows nobody changes.
pub const FEED_BYTES: usize = 78;
/// Bits of a flow's number: ports and addresses differ by no more.
pub const FLOW_BITS: u32 = 28;

/// A run of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Feed {
    /// Packets so far.
    pub count: u64,
    /// The packet before which the first look at the clock is.
    pub first: u64,
    /// The packet instead of which the second one is; the last of the run.
    pub last: u64,
    /// The first look, CLOCK_MONOTONIC in nanoseconds.
    pub begin: u64,
    /// The second one.
    pub end: u64,
    /// Seed of the choice of flows.
    pub seed: u64,
    /// Flows to choose from; 0: each packet is of the next one.
    pub flows: u64,
    /// Destination ports to choose from, from the frame's own upwards; at least 1.
    pub ports: u64,
    /// Bytes of the frame.
    pub length: u64,
    /// The frame of flow 0 as it begins. A flow's number goes into its source port, which is zero, and
    /// into its source address, from which it is taken away above and added below.
    pub frame: [u8; FEED_BYTES],
    /// Zero.
    pub reserved: [u8; 2],
}

impl Feed {
    /// Words of eight bytes.
    pub const WORDS: usize = size_of::<Self>() / 8;
}

/// The number that spreads flows over addresses and ports: of each flow another one (the multiplier is
/// odd; it is 2^32 over the golden ratio).
#[inline(always)]
pub const fn spread(flow: u64) -> u64 {
    flow.wrapping_mul(0x9e37_79b1) & ((1 << FLOW_BITS) - 1)
}

/// The next seed (Knuth's MMIX generator, The Art of Computer Programming 2, 3.3.4).
#[inline(always)]
pub const fn next(seed: u64) -> u64 {
    seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
}

const _: () = {
    assert!(FEED_BYTES + 2 == 80 && size_of::<Feed>() == 9 * 8 + 80);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_are_spread_and_none_twice() {
        // The inverse of the multiplier: which flow a number is of.
        let mut inverse = 1_u64;
        for _ in 0..5 {
            inverse = inverse.wrapping_mul(2_u64.wrapping_sub(inverse.wrapping_mul(0x9e37_79b1)));
        }
        let last = (1 << FLOW_BITS) - 1;
        for flow in (0..1000).chain(last - 1000..=last) {
            assert!(spread(flow) <= last);
            assert_eq!(spread(flow).wrapping_mul(inverse) & last, flow);
        }
        assert_eq!(spread(0), 0, "the frame that is given is of flow 0");
    }
}
