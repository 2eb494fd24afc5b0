//! What the load balancer puts on its wires, frame by frame: lengths, checksums, and what is
//! around what.
//!
//! The receivers' kernels judge most of it. But they take no packet apart, and would not miss the
//! checksum of one that `decap` took apart for them; so this judges by itself, from the RFCs.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use etherparse::{IpNumber, IpSlice};
use nix::sys::socket::{LinkAddr, recvfrom};
use socket2::{Domain, Protocol, Socket, Type};

use super::network::Road;

/// How long the sockets are listened to before the end is looked at.
const TICK: Duration = Duration::from_millis(20);
/// All Ethernet types (linux/if_ether.h).
const ETH_P_ALL: u16 = 3;
/// A frame that leaves by the interface (linux/if_packet.h).
const PACKET_OUTGOING: u8 = 4;
const GUE_PORT: [u8; 2] = 6080_u16.to_be_bytes();
/// First of the ports that tunnels come from (RFC 6335, the dynamic ones).
const FIRST_GUE_SOURCE: u16 = 0xc000;
/// TTL and hop limit of tunnels.
const TTL: u8 = 64;

/// Listens on the far ends of the load balancer's wires.
#[derive(Debug)]
pub struct Tap {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<Seen>>,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Tunnels' packets by kind: `ipip-4in6`.
    pub tunnels: BTreeMap<String, usize>,
    /// What was wrong with frames, each once.
    pub wrong: Vec<String>,
}

impl Tap {
    /// Starts listening.
    ///
    /// # Errors
    /// If there is no packet socket to be had.
    pub fn start(road: &Road) -> Result<Self> {
        let wires = road.shape.wires();
        let (socket, ports) = road.switch.run(|| {
            let protocol = Protocol::from(i32::from(ETH_P_ALL.to_be()));
            let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol))?;
            socket.set_read_timeout(Some(TICK))?;
            let port = |wire| nix::net::if_::if_nametoindex(format!("lb-eth{wire}").as_str());
            Ok((socket, (0..wires).map(port).collect::<Result<Vec<_>, _>>()?))
        })?;
        let end = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&end);
        let listen = move || {
            let mut seen = Seen::default();
            // Until the end, and then until nothing is left.
            while seen.next(&socket, &ports) || !ends.load(Ordering::Acquire) {}
            seen
        };
        let thread = thread::Builder::new().name("tap".into()).spawn(listen);
        Ok(Self { end, thread: Some(thread.context("starting a thread")?) })
    }

    /// Ends it: what was seen.
    ///
    /// # Errors
    /// If its thread has died.
    pub fn end(mut self) -> Result<Seen> {
        self.end.store(true, Ordering::Release);
        let thread = self.thread.take().context("the tap has no thread")?;
        thread.join().map_err(|_| anyhow!("the tap's thread died"))
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Seen {
    /// Takes a frame; false if none came within a tick.
    fn next(&mut self, socket: &Socket, ports: &[u32]) -> bool {
        let mut frame = [0; 2048];
        let (length, from) = match recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut frame) {
            Ok((length, Some(from))) => (length, from),
            Ok((_, None)) => return true,
            Err(errno) => {
                let error = std::io::Error::from(errno);
                let patience =
                    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted);
                self.wrong.extend((!patience).then(|| format!("the tap: {error}")));
                return false;
            }
        };
        let outgoing = from.pkttype() == PACKET_OUTGOING;
        if !outgoing && ports.contains(&(from.ifindex() as u32)) {
            self.judge(&frame[..length]);
        }
        true
    }

    fn judge(&mut self, frame: &[u8]) {
        match kind(frame) {
            Ok(Some(tunnel)) => *self.tunnels.entry(tunnel).or_default() += 1,
            Ok(None) => {}
            Err(error) => {
                let problem = format!("{error:#}");
                if !self.wrong.iter().any(|known| known.starts_with(&problem)) {
                    self.wrong.push(format!("{problem}: {frame:02x?}"));
                }
            }
        }
    }
}

/// Which tunnel's a frame is, if any; an error if something is wrong with it.
fn kind(frame: &[u8]) -> Result<Option<String>> {
    let mut rest = frame.get(12..).unwrap_or_default();
    // Of two tags the kernel leaves one in the frame.
    while let [0x81, 0x00, _, _, behind @ ..] | [0x88, 0xa8, _, _, behind @ ..] = rest {
        rest = behind;
    }
    match rest {
        [0x08, 0x00, packet @ ..] | [0x86, 0xdd, packet @ ..] => ip(packet),
        _ => Ok(None),
    }
}

/// Judges an IP packet to its last checksum: which tunnel it is, if any.
fn ip(packet: &[u8]) -> Result<Option<String>> {
    let outer = IpSlice::from_slice(packet)?;
    if let IpSlice::Ipv4(v4) = &outer {
        ensure!(folded(&[v4.header().slice()]) == 0xffff, "wrong IPv4 header checksum");
    }
    let payload = outer.payload();
    if payload.fragmented {
        return Ok(None);
    }
    let (inner, name) = match payload.ip_number {
        IpNumber::IPV4 | IpNumber::IPV6 => (payload.payload, "ipip"),
        IpNumber::UDP if payload.payload.get(2..4) == Some(&GUE_PORT) => {
            (gue(&outer, payload.payload)?, "gue")
        }
        protocol => return transport(&outer, protocol, payload.payload).map(|()| None),
    };
    let inner_version = inner.first().map_or(0, |byte| byte >> 4);
    let length = u16::try_from(inner.len())?.to_be_bytes();
    let (claims, traffic_class) = match inner_version {
        4 => (inner.get(2..4) == Some(&length), inner[1]),
        6 => {
            let payload = u16::try_from(inner.len() - 40)?.to_be_bytes();
            (inner.get(4..6) == Some(&payload), inner[0] << 4 | inner[1] >> 4)
        }
        version => bail!("a packet of version {version} in a tunnel"),
    };
    ensure!(claims, "the packet in a tunnel has not the length of its room");
    ip(inner).context("in a tunnel")?;
    let (version, copied) = around(&outer, traffic_class)?;
    ensure!(copied, "the outer header has another traffic class");
    Ok(Some(format!("{name}-{inner_version}in{version}")))
}

/// The outer header of a tunnel: its version, and whether the traffic class is the inner one's.
fn around(outer: &IpSlice<'_>, traffic_class: u8) -> Result<(u8, bool)> {
    match outer {
        IpSlice::Ipv4(v4) => {
            let header = v4.header();
            ensure!(header.ttl() == TTL, "outer TTL {}", header.ttl());
            ensure!(header.dont_fragment(), "an outer header that may be fragmented");
            Ok((4, header.slice()[1] == traffic_class))
        }
        IpSlice::Ipv6(v6) => {
            let header = v6.header();
            ensure!(header.hop_limit() == TTL, "outer hop limit {}", header.hop_limit());
            Ok((6, header.traffic_class() == traffic_class))
        }
    }
}

/// The packet in a UDP datagram of GUE, variant 0 (draft-ietf-intarea-gue-09).
fn gue<'a>(outer: &IpSlice<'_>, datagram: &'a [u8]) -> Result<&'a [u8]> {
    let (udp, rest) = datagram.split_at_checked(8).context("a short UDP header")?;
    let (header, inner) = rest.split_at_checked(4).context("a short GUE header")?;
    let source = u16::from_be_bytes([udp[0], udp[1]]);
    ensure!(source >= FIRST_GUE_SOURCE, "GUE from port {source}");
    let protocol = if inner.first().is_some_and(|b| b >> 4 == 6) { 41 } else { 4 };
    ensure!(header == [0, protocol, 0, 0], "GUE header {header:?}");
    let checksum = [udp[6], udp[7]];
    match outer {
        IpSlice::Ipv4(_) => ensure!(checksum == [0; 2], "a GUE checksum over IPv4"),
        IpSlice::Ipv6(_) => ensure!(checksum != [0; 2], "no GUE checksum over IPv6 (RFC 8200)"),
    }
    transport(outer, IpNumber::UDP, datagram)?;
    Ok(inner)
}

/// Judges the checksum of TCP, UDP and ICMP.
fn transport(outer: &IpSlice<'_>, protocol: IpNumber, segment: &[u8]) -> Result<()> {
    if protocol == IpNumber::UDP {
        let length = u16::try_from(segment.len())?.to_be_bytes();
        ensure!(segment.get(4..6) == Some(&length), "a UDP length that is not the packet's");
        if outer.ipv4().is_some() && segment.get(6..8) == Some(&[0; 2]) {
            return Ok(());
        }
    }
    let length = u32::try_from(segment.len())?.to_be_bytes();
    let sum = match (outer, protocol) {
        (_, IpNumber::ICMP) => folded(&[segment]),
        (IpSlice::Ipv4(v4), IpNumber::TCP | IpNumber::UDP) => {
            let header = v4.header();
            folded(&[&header.source(), &header.destination(), &[0, protocol.0], &length, segment])
        }
        (IpSlice::Ipv6(v6), IpNumber::TCP | IpNumber::UDP | IpNumber::IPV6_ICMP) => {
            let header = v6.header();
            folded(&[&header.source(), &header.destination(), &length, &[0, protocol.0], segment])
        }
        _ => return Ok(()),
    };
    ensure!(sum == 0xffff, "wrong checksum of protocol {}", protocol.0);
    Ok(())
}

/// The sum of all 16-bit words in ones' complement (RFC 1071); all but the last part are whole
/// words.
fn folded(parts: &[&[u8]]) -> u16 {
    let word = |pair: &[u8]| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0));
    let mut sum: u64 = parts.iter().flat_map(|part| part.chunks(2)).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
