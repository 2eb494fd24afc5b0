//! Is it ours? Strangers leave after one bit; the rest is a look-up in our own tables of
//! destinations: that of the services, and that of the nodes whose replies are rewritten.

use lb_common::{
    ServiceId, VipEntry, VipKey, VipKind,
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
    let (word, mask) = VipKey::of_address(address).bit();
    let bits = tables.bits(book, epoch, word).ok_or(Verdict::BAD_TABLE)?;
    Ok(bits & mask != 0)
}

/// The service of a key: on exactly this port, else on a range of ports, else on all.
#[inline(always)]
pub fn service<T: Tables>(
    tables: &T,
    book: Book,
    epoch: u64,
    key: &VipKey,
) -> Result<Option<ServiceId>, Verdict> {
    let mut found = entry(tables, book, epoch, key)?;
    if found.is_none() {
        found = entry(tables, book, epoch, &VipKey { port: 0, ..*key })?;
    }
    let Some(entry) = found else { return Ok(None) };
    let service = if entry.kind == VipKind::Ports as u8 {
        among_ranges(tables, book, epoch, &entry, key.port)?
    } else {
        entry.service
    };
    if service == VipEntry::NO_SERVICE {
        return Ok(None);
    }
    ServiceId::new(usize::from(service)).map(Some).ok_or(Verdict::BAD_TABLE)
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
    // The last range that begins at the port or below is at `low - 1`.
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
    let found = entry(tables, Book::Services, epoch, &VipKey::of_address(of))?;
    Ok(match found {
        Some(vip) if vip.kind == VipKind::Address as u8 => Address::Vip { alive: vip.alive != 0 },
        Some(_) => Address::Own,
        None => Address::Foreign,
    })
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
