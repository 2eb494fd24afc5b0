//! Completes checksums that the sender left to hardware which the packet then never met: between
//! virtual interfaces, and in what the kernel put together from several packets (GRO).
//!
//! Such a checksum holds the sum over the pseudo header only, not inverted
//! (Documentation/networking/checksum-offloads.rst). A wrong checksum of any other kind stays, for
//! the kernel to refuse.

use etherparse::{IpNumber, NetSlice, SlicedPacket, checksum::Sum16BitWords};

/// Where the checksum is in a TCP header (RFC 9293, 3.1) and in a UDP header (RFC 768).
const PLACES: [(IpNumber, usize); 2] = [(IpNumber::TCP, 16), (IpNumber::UDP, 6)];

/// Completes the checksum of a packet that begins with its IP header, if it is left open.
pub(super) fn complete(packet: &mut [u8]) {
    let Some((start, length, pseudo, place)) = segment(packet) else { return };
    let segment = &mut packet[start..start + length];
    let Some(field) = segment.get(place..place + 2) else { return };
    // Sums and fields are both in the order of the bytes in memory here.
    if [field[0], field[1]] != (!pseudo.ones_complement()).to_ne_bytes() {
        return;
    }
    segment[place..place + 2].fill(0);
    let sum = pseudo.add_slice(segment).to_ones_complement_with_no_zero();
    segment[place..place + 2].copy_from_slice(&sum.to_ne_bytes());
}

/// Where the TCP or UDP part of a packet begins, its length, the sum over its pseudo header, and
/// where in it the checksum is. `None` for a fragment and for what is neither.
fn segment(packet: &[u8]) -> Option<(usize, usize, Sum16BitWords, usize)> {
    let (payload, end, addresses) = match SlicedPacket::from_ip(packet).ok()?.net? {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            let addresses =
                Sum16BitWords::new().add_4bytes(header.source()).add_4bytes(header.destination());
            (ip.payload().clone(), usize::from(header.total_len()), addresses)
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            let addresses =
                Sum16BitWords::new().add_16bytes(header.source()).add_16bytes(header.destination());
            (ip.payload().clone(), 40 + usize::from(header.payload_length()), addresses)
        }
        NetSlice::Arp(_) => return None,
    };
    let &(_, place) = PLACES.iter().find(|(number, _)| *number == payload.ip_number)?;
    let length = payload.payload.len();
    let start = end.checked_sub(length).filter(|_| !payload.fragmented)?;
    let mut pseudo = addresses;
    let pseudo =
        pseudo.add_4bytes((length as u32).to_be_bytes()).add_2bytes([0, payload.ip_number.0]);
    Some((start, length, pseudo, place))
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    /// A packet of each kind, with the right checksum, and where the checksum is.
    fn packets() -> Vec<(Vec<u8>, usize)> {
        let (v4, v6) = ([[192, 0, 2, 10], [10, 0, 0, 1]], [[0x20; 16], [0xfe; 16]]);
        let mut packets = Vec::new();
        // An odd and an even length.
        for payload in [&b"hello"[..], &b"hello!"[..], &b""[..]] {
            let mut add = |place, write: &dyn Fn(&mut Vec<u8>)| {
                let mut packet = Vec::new();
                write(&mut packet);
                packets.push((packet, place));
            };
            let (ip4, ip6) =
                (|| PacketBuilder::ipv4(v4[0], v4[1], 9), || PacketBuilder::ipv6(v6[0], v6[1], 9));
            let whole = "a Vec takes everything";
            add(36, &|out| ip4().tcp(80, 4000, 7, 9).write(out, payload).expect(whole));
            add(26, &|out| ip4().udp(80, 4000).write(out, payload).expect(whole));
            add(56, &|out| ip6().tcp(80, 4000, 7, 9).write(out, payload).expect(whole));
            add(46, &|out| ip6().udp(80, 4000).write(out, payload).expect(whole));
        }
        packets
    }

    /// The folded sum over the pseudo header, as the kernel leaves it in the field; computed apart.
    fn open(packet: &[u8]) -> [u8; 2] {
        let (addresses, header, protocol) = match packet[0] >> 4 {
            4 => (&packet[12..20], 20, packet[9]),
            _ => (&packet[8..40], 40, packet[6]),
        };
        let words = addresses.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
        let mut sum = words.sum::<u32>() + u32::from(protocol) + (packet.len() - header) as u32;
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        (sum as u16).to_be_bytes()
    }

    #[test]
    fn an_open_checksum_is_completed() {
        for (right, place) in packets() {
            let mut packet = right.clone();
            packet[place..place + 2].copy_from_slice(&open(&right));
            // Bytes behind the packet, as short frames have them, do not count.
            packet.extend([0xab; 3]);
            complete(&mut packet);
            assert_eq!(packet[..right.len()], right, "{right:02x?}");
            assert_eq!(packet[right.len()..], [0xab; 3]);
        }
    }

    #[test]
    fn right_and_wrong_ones_stay() {
        for (right, place) in packets() {
            let mut packet = right.clone();
            complete(&mut packet);
            assert_eq!(packet, right);
            packet[place] ^= 0x40;
            let wrong = packet.clone();
            complete(&mut packet);
            assert_eq!(packet, wrong);
        }
    }

    #[test]
    fn what_is_cut_off_or_a_fragment_stays() {
        for (right, place) in packets() {
            let mut open_packet = right.clone();
            open_packet[place..place + 2].copy_from_slice(&open(&right));
            for length in 0..open_packet.len() {
                let mut cut = open_packet[..length].to_vec();
                complete(&mut cut);
                assert_eq!(cut, open_packet[..length]);
            }
            if right[0] >> 4 == 4 {
                // More fragments follow.
                open_packet[6] = 0x20;
                let fragment = open_packet.clone();
                complete(&mut open_packet);
                assert_eq!(open_packet, fragment);
            }
        }
    }
}
