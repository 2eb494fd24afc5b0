//! The link header: Ethernet addresses, VLAN tags and what follows.

use lb_common::{NodeRecord, Reason};
use network_types::eth::{EthHdr, EtherType};

use crate::{
    Frame, Hop, Verdict,
    parse::{Head, TAG_LEN},
};

/// Bytes of both addresses.
const ADDRESSES: usize = 12;
/// 16-bit words of the longest link header.
const MOST_WORDS: usize = (EthHdr::LEN + 2 * TAG_LEN) / 2;
/// The VLAN in a tag (IEEE 802.1Q, 9.6).
const VLAN: u16 = 0x0fff;
/// There is no room in front of the frame.
pub(crate) const NO_ROOM: Verdict = Verdict::drop(Reason::DropNoRoom);

/// Gives the frame the link header that a node's record says, and room for another header behind it,
/// which begins at [`length`].
#[inline(always)]
pub(crate) fn write<F: Frame>(
    frame: &mut F,
    head: &Head,
    room: usize,
    v6: bool,
    record: &NodeRecord,
) -> Result<(), Verdict> {
    let &NodeRecord { dst_mac, src_mac, tags, .. } = record;
    written(frame, head, room, v6, [dst_mac, src_mac], tags)
}

/// Gives the frame the link header to a next hop.
#[inline(always)]
pub(crate) fn to_hop<F: Frame>(frame: &mut F, head: &Head, hop: &Hop) -> Result<(), Verdict> {
    written(frame, head, 0, head.v6.is(), [hop.dst_mac.bytes(), hop.src_mac.bytes()], [0; 2])
}

/// Bytes of the link header that a node's record says.
#[inline(always)]
pub(crate) fn length(record: &NodeRecord) -> usize {
    tagged(record.tags)
}

#[inline(always)]
fn tagged(tags: [u16; 2]) -> usize {
    let [first, second] = tags.map(|tag| usize::from(tag & NodeRecord::TAG != 0));
    EthHdr::LEN + TAG_LEN * (first + second)
}

#[inline(always)]
fn written<F: Frame>(
    frame: &mut F,
    head: &Head,
    room: usize,
    v6: bool,
    macs: [[u8; 6]; 2],
    tags: [u16; 2],
) -> Result<(), Verdict> {
    let by = i32::from(head.l3) - (tagged(tags) + room) as i32;
    if by != 0 {
        frame.move_start(by).ok_or(NO_ROOM)?;
    }
    fill(frame, v6, macs, tags).ok_or(NO_ROOM)
}

#[inline(always)]
fn fill<F: Frame>(frame: &mut F, v6: bool, [to, from]: [[u8; 6]; 2], tags: [u16; 2]) -> Option<()> {
    frame.write(0, to)?;
    frame.write(6, from)?;
    let mut at = ADDRESSES;
    for tag in tags {
        if tag & NodeRecord::TAG == 0 {
            continue;
        }
        let service = tag & NodeRecord::SERVICE_TAG != 0;
        let kind = if service { EtherType::Ieee8021ad } else { EtherType::Ieee8021q };
        frame.write(at, kind as u16)?;
        frame.write(at + 2, (tag & VLAN).to_be())?;
        at += TAG_LEN;
    }
    frame.write(at, kind(v6))
}

/// Moves the link header as it is by so many bytes to the front, for an IP packet of this version
/// behind it; `back`: as it is, but from where it was to.
#[inline(always)]
pub(crate) fn keep<F: Frame>(
    frame: &mut F,
    head: &Head,
    room: usize,
    v6: bool,
    back: bool,
) -> Result<(), Verdict> {
    frame.move_start(-(room as i32)).ok_or(NO_ROOM)?;
    let l3 = usize::from(head.l3);
    copy(frame, l3, room, back).ok_or(NO_ROOM)?;
    frame.write(l3 - 2, kind(v6)).ok_or(NO_ROOM)
}

#[inline(always)]
fn copy<F: Frame>(frame: &mut F, l3: usize, from: usize, back: bool) -> Option<()> {
    let (first, second): ([u8; 6], [u8; 6]) = (frame.read(from)?, frame.read(from + 6)?);
    let (to, by) = if back { (second, first) } else { (first, second) };
    frame.write(0, to)?;
    frame.write(6, by)?;
    for word in ADDRESSES / 2..MOST_WORDS {
        if 2 * word >= l3 {
            break;
        }
        let value: u16 = frame.read(from + 2 * word)?;
        frame.write(2 * word, value)?;
    }
    Some(())
}

/// Swaps the addresses: back to where it came from.
#[inline(always)]
pub(crate) fn swap<F: Frame>(frame: &mut F) -> Option<()> {
    let (to, by): ([u8; 6], [u8; 6]) = (frame.read(0)?, frame.read(6)?);
    frame.write(0, by)?;
    frame.write(6, to)
}

/// What says in a frame that IP of this version follows.
#[inline(always)]
pub(crate) const fn kind(v6: bool) -> u16 {
    if v6 { EtherType::Ipv6 as u16 } else { EtherType::Ipv4 as u16 }
}
