//! The packet's way: parse → classify → select → forward, each stage one module.
//!
//! No `unsafe`, no allocation, and generic over where packets and tables are: the XDP program
//! runs these stages over the kernel's packet and maps, tests, `understudy trace` and `understudy
//! explain` over plain memory. What one side says is what the other does.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod answer;
mod checksum;
pub mod classify;
pub mod forward;
mod fragment;
mod icmp;
mod lane;
mod link;
mod moved;
mod nat;
pub mod parse;
mod pin;
mod reply;
pub mod select;
pub mod stages;
mod tunnel;
pub mod verdict;

use core::ops::Deref;

use lb_common::{
    ClusterId, Directory, GenerationHead, Limit, NodeId, NodeRecord, PinEntry, Pod, PortRange,
    Reason, ServiceId, ServiceRecord, Slot, VipEntry, pin::PIN_WAYS,
};

pub use classify::Book;
pub use lane::process;
pub use stages::{Found, Job, find, staged};
pub use verdict::{Action, Verdict};

/// A packet, and the host around it: bounded reads and writes, offsets in bytes from the Ethernet
/// header.
pub trait Frame {
    /// Index of the interface it came in by.
    fn ingress(&self) -> u32;
    /// Whether it has at least so many bytes, those included that only [`Frame::sum`] can read.
    fn has(&self, length: usize) -> bool;
    /// Whether it has so many bytes that can be read.
    fn holds(&self, length: usize) -> bool {
        self.has(length)
    }
    /// The value at an offset, or `None` if the frame ends before its end. Of a frame in several
    /// buffers only the first can be read. Values have two bytes at least.
    fn read<T: Pod>(&self, offset: usize) -> Option<T>;
    /// Overwrites the bytes at an offset; `None`, and nothing written, if the frame is too short.
    fn write<T: Pod>(&mut self, offset: usize, value: T) -> Option<()>;
    /// Moves its start by so many bytes: forward over its first ones, or back to make room in front.
    /// `None`, and nothing moved, if there is no room or not that much frame.
    fn move_start(&mut self, by: i32) -> Option<()>;
    /// Cuts it off after so many bytes. `None`, and nothing cut, if it has fewer.
    fn cut(&mut self, length: usize) -> Option<()>;
    /// The ones' complement sum (RFC 1071) of so many bytes from an offset as 16-bit words, folded;
    /// `None` if the frame ends before. At most [`MAX_SUM`] bytes.
    fn sum(&self, offset: usize, length: usize) -> Option<u16>;
    /// The same number. The kernel's verifier follows each number that it knows on a way of its own;
    /// behind this it knows nothing of it, and follows one way. It must know nothing of `salt`.
    fn forget(number: u64, salt: u64) -> u64 {
        let _ = salt;
        number
    }
    /// Where this host would send a packet of this kind.
    fn route(&self, packet: &Route) -> Routed;
}

/// A copy of an element, for [`Tables`] whose elements others may write meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Copied<T>(pub T);

impl<T> Deref for Copied<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// The most bytes that [`Frame::sum`] takes: a jumbo frame's.
pub const MAX_SUM: usize = 9216;

/// What a host routes a packet by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Route {
    /// Source address, four words in host order, IPv4 as `::ffff:a.b.c.d`.
    pub source: [u32; 4],
    /// Destination address, as the source.
    pub destination: [u32; 4],
    /// Whether it is IPv6.
    pub v6: bool,
    /// IP protocol number.
    pub protocol: u8,
    /// Type of service or traffic class.
    pub tos: u8,
    /// Bytes of the IP packet.
    pub length: u16,
}

/// A MAC address in one word: on the program's stack six bytes would be accessed unaligned, which
/// the verifier refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac(u64);

impl Mac {
    /// From the word that begins with it, native endian as it is read.
    #[inline(always)]
    pub const fn of(word: u64) -> Self {
        Self(u64::from_le(word) & 0xffff_ffff_ffff)
    }

    /// From its bytes.
    #[inline(always)]
    pub const fn new([a, b, c, d, e, f]: [u8; 6]) -> Self {
        Self(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
    }

    /// Its bytes.
    #[inline(always)]
    pub const fn bytes(self) -> [u8; 6] {
        let [a, b, c, d, e, f, _, _] = self.0.to_le_bytes();
        [a, b, c, d, e, f]
    }

    /// Whether it is a group's (IEEE 802, 8.2.2).
    #[inline(always)]
    pub const fn is_group(self) -> bool {
        self.0 & 1 != 0
    }
}

/// The next hop of a packet that this host routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Hop {
    /// MAC of the neighbour.
    pub dst_mac: Mac,
    /// MAC of the interface.
    pub src_mac: Mac,
    /// Index of the interface.
    pub ifindex: u32,
}

/// What a host would do with a packet that it is to forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(8))]
pub enum Routed {
    /// Send it there.
    To(Hop),
    /// It is bigger than the MTU of the way, in bytes: fragment it, or tell its sender.
    TooBig(u16),
    /// Something that only the host can: it may have to find the neighbour first, or not forward at all.
    #[default]
    ByHost,
}

/// Every question that the packet's way may ask of the tables.
///
/// What takes an epoch is asked for the generation of the one that the first question gave: a
/// packet sees one plan. `None` means that a map has no such element.
pub trait Tables {
    /// Access to an element: a reference where elements of the generation in force do not change,
    /// else [`Copied`].
    type Ref<'a, T: Pod>: Deref<Target = T>
    where
        Self: 'a;

    /// Access to the memory of all slots: looked up once for all that a packet asks of it.
    type Slots<'a>: Copy
    where
        Self: 'a;

    /// The epoch in force. Read once per packet.
    fn epoch(&self) -> Option<u64>;
    /// What holds for the generation as a whole, and the key of the flow hash.
    fn head(&self, epoch: u64) -> Option<Self::Ref<'_, GenerationHead>>;
    /// A place of a book.
    fn entry(&self, book: Book, epoch: u64, place: u32) -> Option<Self::Ref<'_, VipEntry>>;
    /// A port range of a book.
    fn range(&self, book: Book, epoch: u64, index: u32) -> Option<PortRange>;
    /// A service.
    fn service(&self, epoch: u64, id: ServiceId) -> Option<Self::Ref<'_, ServiceRecord>>;
    /// Where a cluster's slots are.
    fn cluster(&self, epoch: u64, id: ClusterId) -> Option<Directory>;
    /// A node's record.
    fn node(&self, epoch: u64, id: NodeId) -> Option<Self::Ref<'_, NodeRecord>>;
    /// The memory of all slots.
    fn slots(&self) -> Option<Self::Slots<'_>>;
    /// A slot of the table that begins with a chunk.
    fn slot(&self, of: Self::Slots<'_>, first: u32, slot: u32) -> Option<Slot>;
    /// A way of a bucket of the table of fragments.
    fn fragment(&self, bucket: u32, way: usize) -> Option<u64>;
    /// Overwrites a way of a bucket of the table of fragments.
    fn set_fragment(&self, bucket: u32, way: usize, word: u64);
    /// Buckets of the table of pins, a power of two, less one.
    fn pin_mask(&self) -> Option<u32>;
    /// A way of a bucket of the table of pins. While it changes, its tag may be `pin::BUSY`.
    fn pin(&self, bucket: u32, way: usize) -> Option<PinEntry>;
    /// All ways of a bucket, as [`Tables::pin`].
    fn pins(&self, bucket: u32) -> Option<[PinEntry; PIN_WAYS]> {
        let mut pins = [PinEntry::default(); PIN_WAYS];
        for (way, pin) in pins.iter_mut().enumerate() {
            *pin = self.pin(bucket, way)?;
        }
        Some(pins)
    }
    /// Where in two buckets a tag is, in the first one first: bucket, way and value. A way of
    /// [`PIN_WAYS`]: in none of them.
    fn find_pin(&self, buckets: [u32; 2], tag: u64) -> Option<(u32, usize, u64)> {
        for bucket in buckets {
            for way in 0..PIN_WAYS {
                let entry = self.pin(bucket, way)?;
                if entry.tag == tag {
                    return Some((bucket, way, entry.value));
                }
            }
        }
        Some((buckets[1], PIN_WAYS, 0))
    }
    /// Puts `to` in the place of the tag `from`, at once; whether it was `from`. What was written
    /// before is seen by who sees `to`.
    fn claim_pin(&self, bucket: u32, way: usize, from: u64, to: u64) -> bool;
    /// Puts `to` in the place of the value `from`, at once; whether it was `from`.
    fn renew_pin(&self, bucket: u32, way: usize, from: u64, to: u64) -> bool;
    /// Runs `work` with room for what is known of one packet. `None`: there is none.
    fn with_job<R>(&self, work: impl FnOnce(&mut Job) -> R) -> Option<R> {
        let mut job = Job::NONE;
        Some(work(&mut job))
    }
    /// Counts something beside the verdict.
    fn note(&self, reason: Reason);
    /// As [`Frame::forget`].
    fn forget(number: u64, salt: u64) -> u64 {
        let _ = salt;
        number
    }
    /// This CPU's answers within a second.
    fn limit(&self) -> Option<Limit>;
    /// Overwrites them: so many within this second.
    fn set_limit(&self, second: u64, sent: u64);
    /// Nanoseconds of CLOCK_MONOTONIC, some milliseconds old.
    fn now(&self) -> u64;
}
