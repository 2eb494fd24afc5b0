//! What the bytes say: Ethernet, IPv4, TCP, UDP. Layouts from `network-types`.

use lb_common::{FlowKey, Reason, VipKey};
use network_types::{
    eth::{EthHdr, EtherType},
    ip::Ipv4Hdr,
    tcp::TcpHdr,
    udp::UdpHdr,
};

use crate::{Frame, Verdict};

/// IP protocol number of TCP (IANA).
pub const TCP: u8 = 6;
/// IP protocol number of UDP (IANA).
pub const UDP: u8 = 17;
// "More fragments" and the fragment offset (RFC 791, 3.1).
const FRAGMENT: u16 = 0x3fff;

/// What the IPv4 header says. Numbers in host order.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    source: u32,
    destination: u32,
    protocol: u8,
    fragment: bool,
    /// Bytes of the datagram behind the IPv4 header, as the header has it.
    payload: u16,
    /// Where the transport header begins.
    transport: usize,
}

/// The ports of a TCP segment or a UDP datagram.
#[derive(Clone, Copy, Debug)]
pub struct Transport {
    source: u16,
    destination: u16,
}

impl Network {
    /// What a service is looked up by, as far as the IPv4 header tells: no port.
    #[inline(always)]
    pub const fn address_key(&self) -> VipKey {
        VipKey::v4(self.destination, 0, 0)
    }

    /// What a service is looked up by.
    #[inline(always)]
    pub const fn vip_key(&self, transport: Transport) -> VipKey {
        VipKey::v4(self.destination, transport.destination, self.protocol)
    }

    /// What is hashed.
    #[inline(always)]
    pub const fn flow(&self, transport: Transport) -> FlowKey {
        FlowKey::V4 {
            source: self.source,
            destination: self.destination,
            ports: (transport.source as u32) << 16 | transport.destination as u32,
            protocol: self.protocol,
        }
    }
}

/// Ethernet and IPv4. Anything else is the host's.
#[inline(always)]
pub fn network<F: Frame>(frame: &F) -> Result<Network, Verdict> {
    const MALFORMED: Verdict = Verdict::pass(Reason::PassMalformed);
    let ethernet: EthHdr = frame.read(0).ok_or(MALFORMED)?;
    if ethernet.ether_type != EtherType::Ipv4 as u16 {
        return Err(Verdict::pass(Reason::PassNotIpv4));
    }
    let ip: Ipv4Hdr = frame.read(EthHdr::LEN).ok_or(MALFORMED)?;
    let header = ip.ihl();
    let total = u16::from_be_bytes(ip.tot_len);
    if ip.version() != 4 || usize::from(header) < Ipv4Hdr::LEN || total < u16::from(header) {
        return Err(MALFORMED);
    }
    Ok(Network {
        source: u32::from_be_bytes(ip.src_addr),
        destination: u32::from_be_bytes(ip.dst_addr),
        protocol: ip.proto,
        fragment: u16::from_be_bytes(ip.frags) & FRAGMENT != 0,
        payload: total - u16::from(header),
        transport: EthHdr::LEN + usize::from(header),
    })
}

/// The transport header of a packet to what may be a service's address: so far only a bit of it
/// was looked at, so what is odd here is still passed.
#[inline(always)]
pub fn transport<F: Frame>(frame: &F, network: &Network) -> Result<Transport, Verdict> {
    const MALFORMED: Verdict = Verdict::pass(Reason::PassMalformed);
    if network.fragment {
        return Err(Verdict::pass(Reason::PassFragment));
    }
    let (source, destination) = match network.protocol {
        TCP if usize::from(network.payload) >= TcpHdr::LEN => {
            let tcp: TcpHdr = frame.read(network.transport).ok_or(MALFORMED)?;
            (tcp.source, tcp.dest)
        }
        UDP if usize::from(network.payload) >= UdpHdr::LEN => {
            let udp: UdpHdr = frame.read(network.transport).ok_or(MALFORMED)?;
            (udp.src, udp.dst)
        }
        TCP | UDP => return Err(MALFORMED),
        _ => return Err(Verdict::pass(Reason::PassNoService)),
    };
    Ok(Transport {
        source: u16::from_be_bytes(source),
        destination: u16::from_be_bytes(destination),
    })
}
