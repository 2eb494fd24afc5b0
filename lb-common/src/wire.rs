//! Headers of frames in few words: written field by field they would be written byte by byte.

/// A destination and a source MAC address, in that order, in few words: native endian, whatever is in
/// them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, packed)]
pub struct Macs {
    /// The first eight bytes.
    pub first: u64,
    /// The last four.
    pub rest: u32,
}

/// A link header without tags, and what follows it.
#[derive(Clone, Copy, Debug)]
#[repr(C, packed)]
pub struct Framed<H> {
    /// Addresses.
    pub macs: Macs,
    /// The type of what follows, as it stands in a frame.
    pub kind: u16,
    /// What follows.
    pub header: H,
}

/// An IPv6 header in few words (RFC 8200, 3), whose bytes are in network order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, packed)]
pub struct Ipv6Words {
    /// Version, traffic class, flow label.
    pub first: u32,
    /// Payload length.
    pub length: u16,
    /// Next header, then hop limit.
    pub next: [u8; 2],
    /// Source address.
    pub source: [u64; 2],
    /// Destination address.
    pub destination: [u64; 2],
}

const _: () = {
    assert!(size_of::<Macs>() == 12 && size_of::<Framed<[u8; 20]>>() == 34);
    assert!(size_of::<Ipv6Words>() == 40);
};
