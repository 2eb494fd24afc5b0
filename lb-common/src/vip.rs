//! The VIP table: our own open-addressing hash with a small bitmap of addresses in front.
//!
//! A kernel hash map would cost every packet 15–20 ns more. The daemon builds the table
//! (Robin Hood order, at most half full), the packet's way probes at most [`MAX_PROBES`] places.

use crate::layout::{MAX_SERVICES, VIP_BIT_WORDS, VIP_PLACES, sum};

/// Places that a look-up may try before it says "not there".
pub const MAX_PROBES: u32 = 16;

// Odd 64-bit constants, the first bits of the fractional parts of square roots of primes
// (the constants of SHA-512, FIPS 180-4, 4.2.3), lowest bit set.
const C: [u64; 5] = [
    0x6a09_e667_f3bc_c909,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
    0xa54f_f53a_5f1d_36f1,
    0x510e_527f_ade6_82d1,
];

/// What a packet is looked up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VipKey {
    /// Destination address as four big-endian words; IPv4 as `::ffff:a.b.c.d`.
    pub address: [u32; 4],
    /// Destination port, host order.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
}

impl VipKey {
    /// The key of an IPv4 destination.
    #[inline(always)]
    pub const fn v4(address: u32, port: u16, protocol: u8) -> Self {
        Self { address: [0, 0, 0xffff, address], port, protocol }
    }

    #[inline(always)]
    const fn address_hash(&self) -> u64 {
        (self.address[0] as u64)
            .wrapping_mul(C[0])
            .wrapping_add((self.address[1] as u64).wrapping_mul(C[1]))
            .wrapping_add((self.address[2] as u64).wrapping_mul(C[2]))
            .wrapping_add((self.address[3] as u64).wrapping_mul(C[3]))
    }

    /// Its word and mask in the bitmap of one generation.
    #[inline(always)]
    pub const fn bit(&self) -> (u32, u64) {
        let bit = (self.address_hash() >> 52) as u32;
        (bit >> 6, 1 << (bit & 63))
    }

    /// The place where its search begins.
    #[inline(always)]
    pub const fn place(&self) -> u32 {
        let tail = (self.port as u64) | (self.protocol as u64) << 16;
        let hash = self.address_hash().wrapping_add(tail.wrapping_mul(C[4]));
        ((hash ^ hash << 21) >> 54) as u32
    }
}

/// One place of the table. Map `VIPS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct VipEntry {
    /// Address as four words in host order (so that a look-up compares words, not bytes).
    pub address: [u32; 4],
    /// Port, host order.
    pub port: u16,
    /// Last port of a range; the port itself where it is one port.
    pub last_port: u16,
    /// Id of the service.
    pub service: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// 1 where the place is taken, 0 where a search ends.
    pub used: u8,
    /// Zero.
    pub reserved: [u8; 8],
}

impl VipEntry {
    /// The entry of an exact port.
    pub const fn exact(key: &VipKey, service: u16) -> Self {
        Self {
            address: key.address,
            port: key.port,
            last_port: key.port,
            service,
            protocol: key.protocol,
            used: 1,
            reserved: [0; 8],
        }
    }

    /// The key that finds it.
    pub const fn key(&self) -> VipKey {
        VipKey { address: self.address, port: self.port, protocol: self.protocol }
    }

    /// Whether a packet with this key is for it.
    #[inline(always)]
    pub const fn matches(&self, key: &VipKey) -> bool {
        self.address[3] == key.address[3]
            && self.port == key.port
            && self.protocol == key.protocol
            && self.address[2] == key.address[2]
            && self.address[1] == key.address[1]
            && self.address[0] == key.address[0]
    }
}

/// The place after `place`, around the end.
#[inline(always)]
pub const fn next_place(place: u32) -> u32 {
    (place + 1) & (VIP_PLACES - 1)
}

const _: () = {
    assert!(size_of::<VipEntry>() == 32 && sum(&[16, 2, 2, 2, 1, 1, 8]) == 32);
    assert!(VIP_PLACES == 1024 && VIP_BIT_WORDS == 64, "the shifts in bit() and place()");
    assert!(MAX_SERVICES * 2 <= VIP_PLACES, "at most half full");
};
