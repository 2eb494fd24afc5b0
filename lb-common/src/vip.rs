//! The table of destinations: our own open-addressing hash with a small bitmap of addresses in
//! front.
//!
//! An address stands there for itself, for each single port of a service, and for all services on
//! ranges or all of its ports. An exact port beats a range, a range beats all ports.
//!
//! A kernel hash map would cost every packet 15–20 ns more. The daemon builds the table
//! (Robin Hood order, at most half full), the packet's way probes at most [`MAX_PROBES`] places.

use crate::layout::{
    Directory, MAX_CHUNKS, MAX_SERVICES, REPLY_PLACES, VIP_BIT_WORDS, VIP_PLACES, sum,
};

/// Places that a look-up may try before it says "not there".
pub const MAX_PROBES: u32 = 16;

// Odd 64-bit constants, the first bits of the fractional parts of square roots of primes
// (the constants of SHA-512, FIPS 180-4, 4.2.3), lowest bit set.
const C: [u64; 3] = [0x6a09_e667_f3bc_c909, 0xbb67_ae85_84ca_a73b, 0x3c6e_f372_fe94_f82b];

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
    /// The key of an address as such.
    #[inline(always)]
    pub const fn of_address(address: [u32; 4]) -> Self {
        Self { address, port: 0, protocol: 0 }
    }

    /// The key of an IPv4 destination.
    #[inline(always)]
    pub const fn v4(address: u32, port: u16, protocol: u8) -> Self {
        Self { address: [0, 0, 0xffff, address], port, protocol }
    }

    #[inline(always)]
    const fn address_hash(&self) -> u64 {
        let [a, b, c, d] = self.address;
        let (network, host) = ((a as u64) << 32 | b as u64, (c as u64) << 32 | d as u64);
        network.wrapping_mul(C[0]).wrapping_add(host.wrapping_mul(C[1]))
    }

    /// Its word and mask in the bitmap of one generation.
    #[inline(always)]
    pub const fn bit(&self) -> (u32, u64) {
        let bit = (self.address_hash() >> 52) as u32;
        (bit >> 6, 1 << (bit & 63))
    }

    /// The place where its search begins, in a table of so many places (a power of two).
    #[inline(always)]
    pub const fn place(&self, places: u32) -> u32 {
        let tail = (self.port as u64) | (self.protocol as u64) << 16;
        let hash = self.address_hash().wrapping_add(tail.wrapping_mul(C[2]));
        ((hash ^ hash << 21) >> (64 - places.trailing_zeros())) as u32
    }

    /// The place after one, around the end.
    #[inline(always)]
    pub const fn next(place: u32, places: u32) -> u32 {
        (place + 1) & (places - 1)
    }
}

/// What a place of a table of destinations stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum VipKind {
    /// Nothing; a search ends here.
    Free = 0,
    /// One port of a service.
    Port = 1,
    /// Services on several ports of an address and protocol; found by port 0.
    Ports = 2,
    /// An address of a service; found by port 0 and protocol 0.
    Address = 3,
    /// An address of this host that is no service's; found as an `Address`.
    Own = 4,
}

impl VipKind {
    /// From the byte in a [`VipEntry`].
    #[inline(always)]
    pub const fn from_raw(raw: u8) -> Option<Self> {
        match raw {
            0 => Some(Self::Free),
            1 => Some(Self::Port),
            2 => Some(Self::Ports),
            3 => Some(Self::Address),
            4 => Some(Self::Own),
            _ => None,
        }
    }
}

/// One place of a table of destinations: of services, or of the ports of `nat` nodes, which replies come
/// from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct VipEntry {
    /// Address as four words in host order (so that a look-up compares words, not bytes).
    pub address: [u32; 4],
    /// Port, host order.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// A [`VipKind`].
    pub kind: u8,
    /// Id of the service; of `Ports`: of the one on all ports, or [`VipEntry::NO_SERVICE`].
    pub service: u16,
    /// Of `Ports`: where its ranges begin.
    pub first_range: u16,
    /// Of `Ports`: how many they are.
    pub ranges: u16,
    /// Of `Port` of a service, as this and what follows: as [`Directory::first`] of the service.
    pub first: u16,
    /// As [`Directory::log2`].
    pub log2: u8,
    /// As [`Directory::by_source`].
    pub by_source: u8,
    /// As [`Directory::udp`].
    pub udp: u8,
    /// Of `Address`: 1 while a service on it has a node.
    pub alive: u8,
}

impl VipEntry {
    /// No service is on all ports.
    pub const NO_SERVICE: u16 = u16::MAX;

    /// The key that finds it.
    pub const fn key(&self) -> VipKey {
        VipKey { address: self.address, port: self.port, protocol: self.protocol }
    }

    /// Whether a packet with this key is for it.
    #[inline(always)]
    pub const fn matches(&self, key: &VipKey) -> bool {
        self.port == key.port && self.protocol == key.protocol && self.is_on(key)
    }

    /// Whether a packet with this key is for it, and it is one port of a service.
    #[inline(always)]
    pub const fn is_port(&self, key: &VipKey) -> bool {
        const PORT: u32 = (VipKind::Port as u32) << 24;
        let tail = self.port as u32 | (self.protocol as u32) << 16 | (self.kind as u32) << 24;
        tail == PORT | (key.protocol as u32) << 16 | key.port as u32 && self.is_on(key)
    }

    /// Whether it is of the key's address.
    #[inline(always)]
    const fn is_on(&self, key: &VipKey) -> bool {
        self.address[3] == key.address[3]
            && self.address[2] == key.address[2]
            && self.address[1] == key.address[1]
            && self.address[0] == key.address[0]
    }

    /// Where the slots of its service are, as far as it says so.
    #[inline(always)]
    pub const fn table(&self) -> Directory {
        let &Self { first, log2, by_source, udp, .. } = self;
        Directory { first: first as u32, log2, by_source, udp, ..Directory::NONE }
    }

    /// Says where the slots of its service are.
    pub const fn set_table(&mut self, table: &Directory) {
        self.first = table.first as u16;
        (self.log2, self.by_source, self.udp) = (table.log2, table.by_source, table.udp);
    }
}

/// Consecutive ports of one service. Those of one `Ports` stand together, by their first port, and
/// do not overlap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PortRange {
    /// First port, host order.
    pub first: u16,
    /// Last port.
    pub last: u16,
    /// Id of the service.
    pub service: u16,
    /// Zero.
    pub reserved: u16,
}

const _: () = {
    assert!(size_of::<VipEntry>() == 32 && sum(&[16, 2, 1, 1, 2, 2, 2, 2, 1, 1, 1, 1]) == 32);
    assert!(size_of::<PortRange>() == 8 && sum(&[2, 2, 2, 2]) == 8);
    assert!(MAX_CHUNKS <= 1 << 16, "the first one in 16 bits");
    assert!(VIP_BIT_WORDS == 64, "the shifts in bit()");
    assert!(VIP_PLACES.is_power_of_two() && REPLY_PLACES.is_power_of_two());
    assert!(2 * 2 * MAX_SERVICES <= VIP_PLACES, "an address and its ports, at most half full");
};

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet to port 443 of a service, and nothing else, is for that port's place.
    #[test]
    fn a_port_is_found_by_all_of_its_key() {
        let key = VipKey { address: [0x2001_0db8, 1, 2, 3], port: 443, protocol: 6 };
        let entry = VipEntry {
            address: key.address,
            port: key.port,
            protocol: key.protocol,
            kind: VipKind::Port as u8,
            ..VipEntry::default()
        };
        assert!(entry.is_port(&key));
        for other in [
            VipKey { port: 444, ..key },
            VipKey { port: 443 ^ 0x100, ..key },
            VipKey { protocol: 17, ..key },
            VipKey { port: 0, protocol: 0, ..key },
        ] {
            assert!(!entry.is_port(&other), "{other:?}");
        }
        for word in 0..4 {
            // One bit, at either end of the word.
            for bit in [1, 1 << 31] {
                let mut other = key;
                other.address[word] ^= bit;
                assert!(!entry.is_port(&other), "{other:?}");
            }
        }
        for kind in [VipKind::Free, VipKind::Ports, VipKind::Address, VipKind::Own] {
            let other = VipEntry { kind: kind as u8, ..entry };
            assert!(!other.is_port(&key) && other.matches(&key), "{kind:?}");
        }
        // No byte that is no kind, either, whose lowest bits are those of one port.
        let other = VipEntry { kind: 0x80 | VipKind::Port as u8, ..entry };
        assert!(!other.is_port(&key));
    }
}
