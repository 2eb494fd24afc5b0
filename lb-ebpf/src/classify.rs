//! Is it ours? Strangers leave after one bit; the rest is a look-up in our own tables of
//! destinations: that of the services, and that of the nodes whose replies are rewritten.

use lb_common::{
    GenerationHead, ServiceId, VipEntry, VipKey, VipKind,
    layout::{REPLY_PLACES, VIP_PLACES},
    vip::MAX_PROBES,
};

use crate::{Tables, Verdict};

/// Halvings that find a range among all that there can be.
const MAX_HALVINGS: u32 = 13;

/// A table of destinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Book {
    /// Services by their address and ports.
    Services,
    /// Services by the address and port of a `nat` node, where their replies come from.
    Nodes,
}

impl Book {
    const fn places(self) -> u32 {
        match self {
            Self::Services => VIP_PLACES,
            Self::Nodes => REPLY_PLACES,
        }
    }
}

/// Whether an address may be in a book: it shares a bit with one that is.
#[inline(always)]
pub fn maybe<T: Tables>(
    tables: &T,
    book: Book,
    epoch: u64,
    address: [u32; 4],
) -> Result<bool, Verdict> {
    let generation = &*tables.head(epoch).ok_or(Verdict::BAD_TABLE)?;
    Ok(has(generation, book, address))
}

/// As [`maybe`], in a generation.
#[inline(always)]
pub(crate) fn has(generation: &GenerationHead, book: Book, address: [u32; 4]) -> bool {
    let (word, mask) = VipKey::of_address(address).bit();
    let bits = match book {
        Book::Services => &generation.vip_bits,
        Book::Nodes => &generation.reply_bits,
    };
    bits[word as usize % bits.len()] & mask != 0
}

/// The service of a key: on exactly this port, else on a range of ports, else on all.
#[inline(always)]
pub fn service<T: Tables>(
    tables: &T,
    book: Book,
    epoch: u64,
    key: &VipKey,
) -> Result<Option<ServiceId>, Verdict> {
    let exact = entry(tables, book, epoch, key)?;
    let service = match exact {
        Some(entry) if entry.kind == VipKind::Port as u8 => entry.service,
        _ => among_several(tables, book, epoch, key),
    };
    if service == VipEntry::NO_SERVICE {
        return Ok(None);
    }
    ServiceId::new(usize::from(service)).map(Some).ok_or(Verdict::BAD_TABLE)
}

/// The place of exactly this port of an address.
#[inline(always)]
pub(crate) fn on_port<'a, T: Tables>(
    tables: &'a T,
    book: Book,
    epoch: u64,
    key: &VipKey,
) -> Option<T::Ref<'a, VipEntry>> {
    let mut place = key.place(book.places());
    for _ in 0..MAX_PROBES {
        let entry = tables.entry(book, epoch, place)?;
        if entry.is_port(key) {
            return Some(entry);
        }
        if entry.kind == VipKind::Free as u8 {
            break;
        }
        place = VipKey::next(place, book.places());
    }
    None
}

/// No id, and neither [`VipEntry::NO_SERVICE`].
const BAD_ID: u16 = VipEntry::NO_SERVICE - 1;

/// The service of a key whose port is not one of a service by itself.
#[inline(never)]
fn among_several<T: Tables>(tables: &T, book: Book, epoch: u64, key: &VipKey) -> u16 {
    let several = VipKey { port: 0, ..*key };
    match entry(tables, book, epoch, &several) {
        Err(_) => BAD_ID,
        Ok(None) => VipEntry::NO_SERVICE,
        Ok(Some(entry)) => among_ranges(tables, book, epoch, &entry, key.port).unwrap_or(BAD_ID),
    }
}

/// The service on a range that has the port, else the one on all ports.
#[inline(always)]
fn among_ranges<T: Tables>(
    tables: &T,
    book: Book,
    epoch: u64,
    entry: &VipEntry,
    port: u16,
) -> Result<u16, Verdict> {
    // Ranges below `low` end before the port, those from `high` on begin behind it.
    let (mut low, mut high) = (0u32, u32::from(entry.ranges));
    for _ in 0..MAX_HALVINGS {
        if low >= high {
            break;
        }
        let middle = (low + high) >> 1;
        let index = u32::from(entry.first_range) + middle;
        let range = tables.range(book, epoch, index).ok_or(Verdict::BAD_TABLE)?;
        if port < range.first {
            high = middle;
        } else if port > range.last {
            low = middle + 1;
        } else {
            return Ok(range.service);
        }
    }
    Ok(entry.service)
}

/// What an address is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// A service's.
    Vip {
        /// A service on it has a node.
        alive: bool,
    },
    /// This host's own.
    Own,
    /// Nothing.
    Foreign,
}

/// What an address is to us.
#[inline(always)]
pub fn address<T: Tables>(tables: &T, epoch: u64, of: [u32; 4]) -> Result<Address, Verdict> {
    match kind(tables, epoch, &VipKey::of_address(of)) {
        FOREIGN => Ok(Address::Foreign),
        OWN => Ok(Address::Own),
        DEAD => Ok(Address::Vip { alive: false }),
        ALIVE => Ok(Address::Vip { alive: true }),
        _ => Err(Verdict::BAD_TABLE),
    }
}

// An [`Address`] in a register.
const FOREIGN: u32 = 0;
const OWN: u32 = 1;
const DEAD: u32 = 2;
const ALIVE: u32 = 3;
const BAD: u32 = 4;

#[inline(never)]
fn kind<T: Tables>(tables: &T, epoch: u64, key: &VipKey) -> u32 {
    match entry(tables, Book::Services, epoch, key) {
        Err(_) => BAD,
        Ok(None) => FOREIGN,
        Ok(Some(vip)) if vip.kind != VipKind::Address as u8 => OWN,
        Ok(Some(vip)) if vip.alive == 0 => DEAD,
        Ok(Some(_)) => ALIVE,
    }
}

/// Whether an address is a service's.
#[inline(always)]
pub fn is_vip<T: Tables>(tables: &T, epoch: u64, of: [u32; 4]) -> Result<bool, Verdict> {
    Ok(matches!(address(tables, epoch, of)?, Address::Vip { .. }))
}

#[inline(always)]
fn entry<'a, T: Tables>(
    tables: &'a T,
    book: Book,
    epoch: u64,
    key: &VipKey,
) -> Result<Option<T::Ref<'a, VipEntry>>, Verdict> {
    let mut place = key.place(book.places());
    for _ in 0..MAX_PROBES {
        let entry = tables.entry(book, epoch, place).ok_or(Verdict::BAD_TABLE)?;
        if entry.kind == VipKind::Free as u8 {
            break;
        }
        if entry.matches(key) {
            return Ok(Some(entry));
        }
        place = VipKey::next(place, book.places());
    }
    Ok(None)
}
