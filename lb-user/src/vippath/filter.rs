//! Which packets are answers to checks: those from a VIP to an address that checks come from.
//!
//! Decided in the kernel, by a program of classic BPF (Documentation/networking/filter.rst): this
//! host may also route what nodes send to clients, and none of that is to be copied here.

use std::net::IpAddr;

use socket2::SockFilter;

/// Takes a packet whole.
const WHOLE: u32 = u32::MAX;

/// Words of the scratch memory that an address takes at most.
const WORDS: u32 = 4;
/// Where the source's address is kept in it, and behind it the destination's.
const SOURCE: u32 = 0;
const DESTINATION: u32 = WORDS;

/// The program for packets that begin with an IP header of one version.
pub(super) fn answers(ipv4: bool, vips: &[IpAddr], sources: &[IpAddr]) -> Vec<SockFilter> {
    // Where the source's address is, and its length (RFC 791, 3.1; RFC 8200, 3).
    let (offset, length) = if ipv4 { (12, 4) } else { (8, 16) };
    let of_version = |addresses: &[IpAddr]| -> Vec<Vec<u8>> {
        addresses.iter().filter(|address| address.is_ipv4() == ipv4).map(octets).collect()
    };
    let (vips, sources) = (of_version(vips), of_version(sources));
    // Behind every source's comparison stands a jump over the rest of them, and a refusal.
    let one = length as usize / 2 + 1;
    let mut program = Vec::new();
    // A packet is read once: for the kernel that is ten instructions a word.
    program.extend(kept(offset, length, SOURCE));
    program.extend(kept(offset + length, length, DESTINATION));
    for (position, source) in sources.iter().enumerate() {
        let rest = (sources.len() - 1 - position) * one + 1;
        program.extend(comparison(DESTINATION, source));
        program.push(SockFilter::new((libc::BPF_JMP | libc::BPF_JA) as u16, 0, 0, rest as u32));
    }
    program.push(verdict(0));
    for vip in &vips {
        program.extend(comparison(SOURCE, vip));
        program.push(verdict(WHOLE));
    }
    program.push(verdict(0));
    program
}

/// Copies bytes of the packet into the scratch memory.
fn kept(offset: u32, length: u32, to: u32) -> impl Iterator<Item = SockFilter> {
    (0..length / 4).flat_map(move |word| {
        let load = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
        [
            SockFilter::new(load, 0, 0, offset + 4 * word),
            SockFilter::new(libc::BPF_ST as u16, 0, 0, to + word),
        ]
    })
}

/// Goes on behind itself if these bytes are kept there, and else skips one instruction more.
fn comparison(kept: u32, bytes: &[u8]) -> impl Iterator<Item = SockFilter> {
    let words = bytes.len() / 4;
    (kept..).zip(bytes.chunks_exact(4)).enumerate().flat_map(move |(position, (place, word))| {
        let value = word.iter().fold(0, |value, &byte| value << 8 | u32::from(byte));
        // What is left of the comparison, two instructions a word, and the one behind it.
        let skip = 2 * (words - 1 - position) as u8 + 1;
        [
            SockFilter::new((libc::BPF_LD | libc::BPF_MEM) as u16, 0, 0, place),
            SockFilter::new((libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, 0, skip, value),
        ]
    })
}

fn verdict(bytes: u32) -> SockFilter {
    SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, bytes)
}

fn octets(address: &IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use std::{io::ErrorKind, net::IpAddr, os::unix::net::UnixDatagram};

    use etherparse::PacketBuilder;
    use socket2::SockRef;

    use super::answers;
    use crate::vippath::wire;

    fn packet(source: IpAddr, destination: IpAddr) -> Vec<u8> {
        let builder = match (source, destination) {
            (IpAddr::V4(s), IpAddr::V4(d)) => PacketBuilder::ipv4(s.octets(), d.octets(), 64),
            (IpAddr::V6(s), IpAddr::V6(d)) => PacketBuilder::ipv6(s.octets(), d.octets(), 64),
            _ => panic!("two versions"),
        };
        let mut bytes = Vec::new();
        builder.udp(80, 40_000).write(&mut bytes, b"answer").expect("a Vec takes everything");
        bytes
    }

    /// Which packets the kernel lets through, by position.
    fn passed(ipv4: bool, vips: &[IpAddr], sources: &[IpAddr], packets: &[Vec<u8>]) -> Vec<usize> {
        let (from, to) = UnixDatagram::pair().expect("a pair of sockets");
        to.set_nonblocking(true).expect("no waiting");
        SockRef::from(&to).attach_filter(&answers(ipv4, vips, sources)).expect("a valid program");
        let mut passed = Vec::new();
        for (position, packet) in packets.iter().enumerate() {
            from.send(packet).expect("room for one packet");
            let mut buffer = [0; 1500];
            match to.recv(&mut buffer) {
                Ok(length) => {
                    assert_eq!(&buffer[..length], packet, "taken whole");
                    passed.push(position);
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        passed
    }

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    fn check(ipv4: bool, own: &[&str], other: &str) {
        let own = addresses(own);
        let [vips, sources] = [&own[..3], &own[3..]];
        let everybody: Vec<IpAddr> = own.iter().copied().chain(addresses(&[other])).collect();
        let (mut packets, mut expected) = (Vec::new(), Vec::new());
        for source in &everybody {
            for destination in &everybody {
                if vips.contains(source) && sources.contains(destination) {
                    expected.push(packets.len());
                }
                packets.push(packet(*source, *destination));
            }
        }
        assert_eq!(expected.len(), 9);
        assert_eq!(passed(ipv4, vips, sources, &packets), expected);
        assert!(passed(ipv4, vips, &[], &packets).is_empty(), "no source, no answers");
        assert!(passed(ipv4, &[], sources, &packets).is_empty(), "no VIP, no answers");
        let short: Vec<_> = packets.iter().map(|packet| packet[..18].to_vec()).collect();
        assert!(
            passed(ipv4, vips, sources, &short).is_empty(),
            "cut off before the addresses' end"
        );
    }

    #[test]
    fn answers_are_from_a_vip_to_a_source_of_checks() {
        check(
            true,
            &["192.0.2.10", "192.0.2.11", "198.51.100.1", "10.0.0.1", "10.0.0.2", "224.0.0.9"],
            "192.0.2.12",
        );
        // Equal but for one word each.
        check(
            false,
            &[
                "2001:db8::1",
                "2001:db8:1::1",
                "2001:db8::1:0:0:1",
                "2001:db8::1:0:1",
                "2001:db8::2",
                "2001:db9::1",
            ],
            "2001:db8::1:1:0:1",
        );
    }

    #[test]
    fn as_many_vips_of_ipv6_as_one_socket_has_and_one_more_source() {
        let far_apart = |i: u128| IpAddr::V6((i << 100 | i << 70 | i << 40 | i).into());
        let vips: Vec<IpAddr> = (1..).map(far_apart).take(wire::VIPS_A_SOCKET).collect();
        let sources: Vec<IpAddr> = (1..=32).map(|i| IpAddr::V6((0xfd << 120 | i).into())).collect();
        let packets = [packet(vips[63], sources[31]), packet(sources[0], vips[0])];
        assert_eq!(passed(false, &vips, &sources, &packets), [0]);
        // The one before it is there yet when another one is taken.
        let (socket, _) = UnixDatagram::pair().expect("a pair of sockets");
        for sources in [&sources[1..], &sources] {
            let filter = answers(false, &vips, sources);
            SockRef::from(&socket).attach_filter(&filter).expect("room for it");
        }
    }

    #[test]
    fn as_many_vips_as_there_can_be() {
        let vips: Vec<IpAddr> = (0..512u32).map(|i| IpAddr::V4((0xC000_0000 + i).into())).collect();
        let sources = addresses(&["10.0.0.1"]);
        let packets = [packet(vips[0], sources[0]), packet(vips[511], sources[0])];
        assert_eq!(passed(true, &vips, &sources, &packets), [0, 1]);
    }
}
