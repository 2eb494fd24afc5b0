//! What the bytes say: Ethernet, VLAN tags, IPv4, IPv6, TCP, UDP. Layouts from `network-types`.

use lb_common::{Framed, Reason};
use network_types::{
    eth::{EthHdr, EtherType},
    ip::{Ipv4Hdr, Ipv6Hdr},
    tcp::TcpHdr,
    udp::UdpHdr,
    vlan::VlanHdr,
};

use crate::{Frame, Mac, Verdict};

/// IP protocol number of ICMP (IANA, as all of these).
pub const ICMP: u8 = 1;
/// Of IPv4 in IP.
pub const IPV4: u8 = 4;
/// Of TCP.
pub const TCP: u8 = 6;
/// Of UDP.
pub const UDP: u8 = 17;
/// Of IPv6 in IP.
pub const IPV6: u8 = 41;
/// Of ICMPv6.
pub const ICMPV6: u8 = 58;
/// Where the IP header is without VLAN tags.
pub(crate) const UNTAGGED: usize = EthHdr::LEN;
/// Bytes of a VLAN tag.
pub const TAG_LEN: usize = 4;
// Extension headers of IPv6 (RFC 8200, 4).
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;
/// Turns of the walk over extension headers: one more than there may be.
const EXTENSION_TURNS: usize = 6;
// In the third 16-bit pair of an IPv4 header (RFC 791, 3.1).
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;
/// The first byte of an IPv4 header without options.
const PLAIN_IPV4: u8 = 0x45;
/// Bytes behind an IPv6 header whose packet's length is a number of 16 bits.
const MAX_PAYLOAD: u16 = u16::MAX - Ipv6Hdr::LEN as u16;
/// Where a TCP header says how long it is, in the high half of a byte (RFC 9293, 3.1).
const DATA_OFFSET: usize = 12;

/// The headers contradict each other, or the frame ends before they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Yes or no, in a byte: see [`Packet::forget`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flag(u8);

impl Flag {
    #[inline(always)]
    pub(crate) const fn new(is: bool) -> Self {
        Self(is as u8)
    }

    /// Whether it is yes.
    #[inline(always)]
    pub const fn is(self) -> bool {
        self.0 != 0
    }
}

/// Where the IP header begins, and whom it is from and to.
///
/// Aligned as words of eight bytes, as all that the program keeps on its stack: there the verifier
/// takes only aligned access.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct Head {
    /// Source address, four words in host order, IPv4 as `::ffff:a.b.c.d`.
    pub source: [u32; 4],
    /// Destination address, as the source.
    pub destination: [u32; 4],
    /// Offset of the IP header: 14 bytes, and 4 more for each VLAN tag.
    pub l3: u16,
    /// Whether it is IPv6.
    pub v6: Flag,
    /// Whom the frame is to.
    pub to: Mac,
}

impl Head {
    /// Of nothing.
    pub(crate) const NONE: Self = Self {
        source: [1; 4],
        destination: [1; 4],
        l3: 1,
        v6: Flag::new(true),
        to: Mac::new([1, 0, 0, 0, 0, 0]),
    };

    /// An end of an IPv6 packet is an IPv4 address as IPv6 sockets write it (RFC 4291, 2.5.5.2). None
    /// is on a wire; in the tables they stand for IPv4.
    #[inline(always)]
    pub const fn is_mapped(&self) -> bool {
        self.v6.is() && (is_mapped(self.source) || is_mapped(self.destination))
    }
}

/// Which part of a datagram a packet has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Part {
    /// All of it.
    Whole,
    /// Its beginning, and so its ports.
    First,
    /// Something behind its beginning.
    Later,
}

/// What the IP header says, extension headers included. Numbers in host order.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct Packet {
    /// Where it begins, from and to whom.
    pub head: Head,
    /// Identification of the datagram; 0 of IPv6 that is not fragmented.
    pub id: u32,
    /// Bytes of the IP packet, its header included.
    pub length: u16,
    /// Offset of the transport header.
    pub l4: u16,
    /// The protocol behind all IP headers.
    pub protocol: u8,
    /// Type of service or traffic class.
    pub tos: u8,
    // These two are written at once, where that is aligned.
    /// Nobody may fragment it: so says IPv4, and so it is with IPv6.
    pub dont_fragment: Flag,
    /// A [`Part`].
    part: u8,
    /// Time to live, or hop limit.
    pub ttl: u8,
}

/// The ports of a TCP segment or a UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Ports {
    /// Whose it is from.
    pub source: u16,
    /// Whom it is to.
    pub destination: u16,
}

impl Ports {
    /// Both in one word, the source's in the high half.
    #[inline(always)]
    pub const fn word(self) -> u32 {
        (self.source as u32) << 16 | self.destination as u32
    }
}

impl Packet {
    /// One of which only the addresses are known; [`packet`] finds the rest.
    #[inline(always)]
    pub const fn with(head: Head) -> Self {
        Self {
            head,
            id: 1,
            length: 1,
            l4: 1,
            protocol: 0,
            tos: 1,
            ttl: 0,
            dont_fragment: Flag::new(true),
            part: Part::Whole as u8,
        }
    }

    /// Which part of a datagram it is.
    #[inline(always)]
    pub const fn part(&self) -> Part {
        const WHOLE: u8 = Part::Whole as u8;
        const FIRST: u8 = Part::First as u8;
        match self.part {
            WHOLE => Part::Whole,
            FIRST => Part::First,
            _ => Part::Later,
        }
    }

    /// Nothing changes but what the kernel's verifier knows of it ([`Frame::forget`]): else it would
    /// follow each combination of what was parsed through all stages behind.
    #[inline(always)]
    pub(crate) fn forget<F: Frame>(&mut self, salt: u64) {
        let byte = |byte: u8| F::forget(u64::from(byte), salt) as u8;
        // Never more than two VLAN tags behind Ethernet.
        self.head.l3 = F::forget(u64::from(self.head.l3), salt) as u16 & 0x1f;
        self.head.v6 = Flag(byte(self.head.v6.0));
        self.dont_fragment = Flag(byte(self.dont_fragment.0));
        self.part = byte(self.part);
        self.protocol = byte(self.protocol);
        self.l4 = F::forget(u64::from(self.l4), salt) as u16;
    }

    /// Bytes behind the IP headers.
    #[inline(always)]
    pub const fn l4_length(&self) -> usize {
        self.end().saturating_sub(self.l4 as usize)
    }

    /// Where it ends.
    #[inline(always)]
    pub const fn end(&self) -> usize {
        self.head.l3 as usize + self.length as usize
    }
}

/// Ethernet, up to two VLAN tags, and the addresses of an IP header. Anything else is the host's.
#[inline(always)]
pub fn head<F: Frame>(frame: &F) -> Result<Head, Verdict> {
    const MALFORMED: Verdict = Verdict::pass(Reason::PassMalformed);
    let ethernet: EthHdr = frame.read(0).ok_or(MALFORMED)?;
    let to = Mac::new(ethernet.dst_addr);
    let (mut l3, mut kind) = (EthHdr::LEN, Kind::of(ethernet.ether_type));
    for _ in 0..2 {
        if kind != Kind::Tagged {
            break;
        }
        let tag: VlanHdr = frame.read(l3).ok_or(MALFORMED)?;
        kind = Kind::of(tag.ether_type);
        l3 += TAG_LEN;
    }
    match kind {
        Kind::Ipv4 => ends(frame, l3, false, to).ok_or(MALFORMED),
        Kind::Ipv6 => ends(frame, l3, true, to).ok_or(MALFORMED),
        Kind::Tagged | Kind::Other => Err(NOT_IP),
    }
}

/// What a frame has behind Ethernet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Ipv4,
    Ipv6,
    /// A VLAN tag.
    Tagged,
    Other,
}

impl Kind {
    /// By the type that a header says, as it is read.
    #[inline(always)]
    const fn of(ether_type: u16) -> Self {
        const IPV4: u16 = EtherType::Ipv4 as u16;
        const IPV6: u16 = EtherType::Ipv6 as u16;
        const CUSTOMER: u16 = EtherType::Ieee8021q as u16;
        const SERVICE: u16 = EtherType::Ieee8021ad as u16;
        match ether_type {
            IPV4 => Self::Ipv4,
            IPV6 => Self::Ipv6,
            CUSTOMER | SERVICE => Self::Tagged,
            _ => Self::Other,
        }
    }
}

/// What a frame has behind Ethernet.
#[inline(always)]
pub(crate) fn kind<F: Frame>(frame: &F) -> Option<Kind> {
    let ethernet: EthHdr = frame.read(0)?;
    Some(Kind::of(ethernet.ether_type))
}

/// Neither IPv4 nor IPv6.
pub(crate) const NOT_IP: Verdict = Verdict::pass(Reason::PassNotIp);

/// The addresses of an IP header.
#[inline(always)]
fn ends<F: Frame>(frame: &F, l3: usize, v6: bool, to: Mac) -> Option<Head> {
    let (source, destination) = if v6 {
        let ip: Ipv6Hdr = frame.read(l3)?;
        (words(ip.src_addr), words(ip.dst_addr))
    } else {
        let ip: Ipv4Hdr = frame.read(l3)?;
        (mapped(ip.src_addr), mapped(ip.dst_addr))
    };
    Some(Head { source, destination, l3: l3 as u16, v6: Flag::new(v6), to })
}

/// As [`head`], of a frame that is known to have no tags and this IP version.
#[inline(always)]
pub(crate) fn untagged<F: Frame>(frame: &F, v6: bool) -> Option<Head> {
    let (source, destination, macs) = if v6 {
        let Framed { macs, header: ip, .. }: Framed<Ipv6Hdr> = frame.read(0)?;
        (words(ip.src_addr), words(ip.dst_addr), macs)
    } else {
        let Framed { macs, header: ip, .. }: Framed<Ipv4Hdr> = frame.read(0)?;
        (mapped(ip.src_addr), mapped(ip.dst_addr), macs)
    };
    let to = Mac::of(macs.first);
    Some(Head { source, destination, l3: UNTAGGED as u16, v6: Flag::new(v6), to })
}

/// As [`packet`] and [`ports`], of a frame without tags whose packet is whole, of TCP or UDP, and has
/// nothing between its IP header and that. The ports are in one word, the source's in the high half.
#[inline(always)]
pub(crate) fn plain<F: Frame>(frame: &F, head: Head) -> Option<(Packet, u32)> {
    let mut packet = Packet::with(head);
    if head.v6.is() {
        let ip: Ipv6Hdr = frame.read(UNTAGGED)?;
        let payload = u16::from_be_bytes(ip.payload_len);
        let first = u32::from_be_bytes(ip.vcf);
        if first >> 28 != 6 || payload > MAX_PAYLOAD {
            return None;
        }
        (packet.protocol, packet.ttl) = (ip.next_hdr, ip.hop_limit);
        (packet.tos, packet.length) = ((first >> 20) as u8, payload + Ipv6Hdr::LEN as u16);
        packet.l4 = (UNTAGGED + Ipv6Hdr::LEN) as u16;
    } else {
        let ip: Ipv4Hdr = frame.read(UNTAGGED)?;
        let fragment = u16::from_be_bytes(ip.frags);
        packet.length = u16::from_be_bytes(ip.tot_len);
        if ip.vihl != PLAIN_IPV4
            || fragment & (MORE_FRAGMENTS | OFFSET) != 0
            || packet.length < Ipv4Hdr::LEN as u16
        {
            return None;
        }
        (packet.protocol, packet.ttl, packet.tos) = (ip.proto, ip.ttl, ip.tos);
        packet.l4 = (UNTAGGED + Ipv4Hdr::LEN) as u16;
    }
    if !frame.holds(packet.end()) {
        return None;
    }
    let (at, length) = (usize::from(packet.l4), packet.l4_length());
    let ports: u32 = frame.read(at)?;
    match packet.protocol {
        TCP => {
            let [offset, _]: [u8; 2] = frame.read(at + DATA_OFFSET)?;
            let header = 4 * usize::from(offset >> 4);
            if header < TcpHdr::LEN || header > length {
                return None;
            }
        }
        UDP => {
            let said: u16 = frame.read(at + 4)?;
            let said = usize::from(u16::from_be(said));
            if said < UdpHdr::LEN || said > length {
                return None;
            }
        }
        _ => return None,
    }
    Some((packet, u32::from_be(ports)))
}

/// The rest of the IP headers, behind the addresses that stand in the packet already.
#[inline(always)]
pub fn packet<F: Frame>(frame: &F, packet: &mut Packet) -> Result<(), Malformed> {
    if packet.head.v6.is() { ipv6(frame, packet) } else { ipv4(frame, packet) }
}

#[inline(always)]
fn ipv4<F: Frame>(frame: &F, packet: &mut Packet) -> Result<(), Malformed> {
    let l3 = usize::from(packet.head.l3);
    let ip: Ipv4Hdr = frame.read(l3).ok_or(Malformed)?;
    let (header, length) = (ip.ihl(), u16::from_be_bytes(ip.tot_len));
    let fragment = u16::from_be_bytes(ip.frags);
    if ip.version() != 4
        || usize::from(header) < Ipv4Hdr::LEN
        || length < u16::from(header)
        || !frame.has(l3 + usize::from(length))
    {
        return Err(Malformed);
    }
    packet.protocol = ip.proto;
    (packet.tos, packet.ttl) = (ip.tos, ip.ttl);
    packet.dont_fragment = Flag::new(fragment & DONT_FRAGMENT != 0);
    packet.part = ipv4_part(fragment) as u8;
    packet.id = u32::from(u16::from_be_bytes(ip.id));
    packet.length = length;
    packet.l4 = packet.head.l3 + u16::from(header);
    Ok(())
}

#[inline(always)]
fn ipv6<F: Frame>(frame: &F, packet: &mut Packet) -> Result<(), Malformed> {
    let l3 = usize::from(packet.head.l3);
    let ip: Ipv6Hdr = frame.read(l3).ok_or(Malformed)?;
    let payload = u16::from_be_bytes(ip.payload_len);
    let length = payload.checked_add(Ipv6Hdr::LEN as u16).ok_or(Malformed)?;
    if ip.version() != 6 || !frame.has(l3 + usize::from(length)) {
        return Err(Malformed);
    }
    let mut behind = Behind { l4: packet.head.l3 + Ipv6Hdr::LEN as u16, ..Behind::NONE };
    behind.protocol = ip.next_hdr;
    extensions(frame, &mut behind)?;
    if usize::from(behind.l4) > l3 + usize::from(length) {
        return Err(Malformed);
    }
    packet.protocol = behind.protocol;
    (packet.tos, packet.ttl) = (ip.dscp() << 2 | ip.ecn(), ip.hop_limit);
    packet.dont_fragment = Flag::new(true);
    (packet.part, packet.id) = (behind.part as u8, behind.id);
    packet.length = length;
    packet.l4 = behind.l4;
    Ok(())
}

/// What stands behind the extension headers of IPv6.
#[repr(C, align(8))]
pub(crate) struct Behind {
    pub(crate) id: u32,
    pub(crate) l4: u16,
    pub(crate) protocol: u8,
    pub(crate) part: Part,
}

impl Behind {
    /// Nothing yet.
    pub(crate) const NONE: Self = Self { id: 0, l4: 0, protocol: 0, part: Part::Whole };
}

/// Walks over the extension headers, from the first next header on.
#[inline(always)]
pub(crate) fn extensions<F: Frame>(frame: &F, behind: &mut Behind) -> Result<(), Malformed> {
    match behind.protocol {
        HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS => {
            if walk(frame, behind) {
                Ok(())
            } else {
                Err(Malformed)
            }
        }
        _ => Ok(()),
    }
}

#[inline(never)]
fn walk<F: Frame>(frame: &F, behind: &mut Behind) -> bool {
    for _ in 0..EXTENSION_TURNS {
        match behind.protocol {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => {
                let at = usize::from(behind.l4);
                let Some([next, words]): Option<[u8; 2]> = frame.read(at) else { return false };
                behind.protocol = next;
                let Some(l4) = behind.l4.checked_add(8 * (u16::from(words) + 1)) else {
                    return false;
                };
                behind.l4 = l4;
            }
            FRAGMENT => {
                let at = usize::from(behind.l4);
                let Some([next, _, high, low, id @ ..]): Option<[u8; 8]> = frame.read(at) else {
                    return false;
                };
                let field = u16::from_be_bytes([high, low]);
                behind.protocol = next;
                behind.part = part(field >> 3, field & 1 != 0);
                behind.id = u32::from_be_bytes(id);
                let Some(l4) = behind.l4.checked_add(8) else { return false };
                behind.l4 = l4;
                if behind.part == Part::Later {
                    return true;
                }
            }
            _ => return true,
        }
    }
    false
}

/// Which part a packet is by the flags and offset of its IPv4 header.
#[inline(always)]
pub(crate) const fn ipv4_part(field: u16) -> Part {
    part(field & OFFSET, field & MORE_FRAGMENTS != 0)
}

#[inline(always)]
const fn part(offset: u16, more: bool) -> Part {
    match (offset, more) {
        (0, false) => Part::Whole,
        (0, true) => Part::First,
        _ => Part::Later,
    }
}

/// The ports of a TCP or UDP packet that is whole or the first part; of a whole one with its lengths
/// checked.
#[inline(always)]
pub fn ports<F: Frame>(frame: &F, packet: &Packet) -> Result<Ports, Malformed> {
    let length = packet.l4_length();
    let (source, destination) = if packet.protocol == TCP {
        let tcp: TcpHdr = frame.read(usize::from(packet.l4)).ok_or(Malformed)?;
        let header = 4 * usize::from(tcp.doff());
        if header < TcpHdr::LEN || header > length {
            return Err(Malformed);
        }
        (tcp.source, tcp.dest)
    } else {
        let udp: UdpHdr = frame.read(usize::from(packet.l4)).ok_or(Malformed)?;
        let said = usize::from(u16::from_be_bytes(udp.len));
        if length < UdpHdr::LEN
            || said < UdpHdr::LEN
            || packet.part() == Part::Whole && said > length
        {
            return Err(Malformed);
        }
        (udp.src, udp.dst)
    };
    Ok(Ports { source: u16::from_be_bytes(source), destination: u16::from_be_bytes(destination) })
}

/// Whether four words are an IPv4 address.
#[inline(always)]
pub const fn is_mapped([a, b, c, _]: [u32; 4]) -> bool {
    a | b | c ^ 0xffff == 0
}

/// An IPv4 address as four words.
#[inline(always)]
pub const fn mapped(address: [u8; 4]) -> [u32; 4] {
    [0, 0, 0xffff, u32::from_be_bytes(address)]
}

/// An IPv6 address as four words.
#[inline(always)]
pub const fn words(a: [u8; 16]) -> [u32; 4] {
    // By two loads, of which the places of destinations are a hash.
    let network = u64::from_be_bytes([a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]]);
    let host = u64::from_be_bytes([a[8], a[9], a[10], a[11], a[12], a[13], a[14], a[15]]);
    [(network >> 32) as u32, network as u32, (host >> 32) as u32, host as u32]
}

/// Four words as an IPv6 address.
#[inline(always)]
pub const fn bytes(a: [u32; 4]) -> [u8; 16] {
    let [p, q, r, s] =
        [a[0].to_be_bytes(), a[1].to_be_bytes(), a[2].to_be_bytes(), a[3].to_be_bytes()];
    [p[0], p[1], p[2], p[3], q[0], q[1], q[2], q[3], r[0], r[1], r[2], r[3], s[0], s[1], s[2], s[3]]
}
