//! What touches the host's own network: packet sockets, its interfaces, and its routes.

use std::{
    collections::HashMap,
    io::{self, Read},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsRawFd,
};

use nix::sys::socket::{LinkAddr, MsgFlags, sendto};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::config::Source;

use super::filter;

/// The discard port (RFC 863), for asking the kernel where it would send from. Nothing is sent.
const DISCARD: u16 = 9;

/// VIPs whose answers one socket takes: its filter has up to nine instructions for each, and two
/// filters, of which one takes the other's place, must fit `net.core.optmem_max`, 20 KiB at least.
pub(super) const VIPS_A_SOCKET: usize = 64;

/// The packet sockets of one namespace.
#[derive(Debug)]
pub(super) struct Wire {
    frames: Socket,
    answers: Vec<Answers>,
}

/// Where answers from some VIPs of one IP version come in. They begin with their IP header.
#[derive(Debug)]
struct Answers {
    socket: Socket,
    vips: Vec<IpAddr>,
}

impl Wire {
    /// Sockets of the calling thread's namespace. No answer is taken yet: see [`Self::take`].
    ///
    /// # Errors
    /// Those of the kernel.
    pub(super) fn open(vips: &[IpAddr]) -> io::Result<Self> {
        let (ipv4, ipv6): (Vec<IpAddr>, Vec<IpAddr>) = vips.iter().partition(|vip| vip.is_ipv4());
        let answers = ipv4.chunks(VIPS_A_SOCKET).chain(ipv6.chunks(VIPS_A_SOCKET)).map(answers);
        // Without a protocol it receives nothing.
        let frames = Socket::new(Domain::PACKET, Type::RAW, None)?;
        Ok(Self { frames, answers: answers.collect::<io::Result<_>>()? })
    }

    /// Where answers come in.
    pub(super) fn answers(&self) -> impl Iterator<Item = &Socket> {
        self.answers.iter().map(|answers| &answers.socket)
    }

    /// Sends a frame out of an interface, or not at all.
    ///
    /// # Errors
    /// Those of the kernel; `EMSGSIZE` if it is longer than the interface takes.
    pub(super) fn send(&self, frame: &[u8], link: &LinkAddr) -> nix::Result<()> {
        sendto(self.frames.as_raw_fd(), frame, link, MsgFlags::MSG_DONTWAIT).map(drop)
    }

    /// Answers to these addresses are taken from now on, and no others.
    ///
    /// # Errors
    /// Those of the kernel, for example that these are too many.
    pub(super) fn take(&self, sources: &[IpAddr]) -> io::Result<()> {
        self.answers.iter().try_for_each(|Answers { socket, vips }| {
            let ipv4 = vips.iter().any(IpAddr::is_ipv4);
            socket.attach_filter(&filter::answers(ipv4, vips, sources))
        })
    }
}

/// A socket for packets of the IP version of these VIPs from all interfaces, which takes none so far.
fn answers(vips: &[IpAddr]) -> io::Result<Answers> {
    let ipv4 = vips.iter().any(IpAddr::is_ipv4);
    let kind = if ipv4 { libc::ETH_P_IP } else { libc::ETH_P_IPV6 };
    let kind = Protocol::from(i32::from((kind as u16).to_be()));
    let mut socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(kind))?;
    socket.set_nonblocking(true)?;
    socket.attach_filter(&filter::answers(ipv4, &[], &[]))?;
    // What came in before the filter was there.
    loop {
        match socket.read(&mut [0]) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(Answers { socket, vips: vips.to_vec() });
            }
            Err(error) => return Err(error),
        }
    }
}

/// Packet addresses of all interfaces of the calling thread's namespace, by index.
///
/// # Errors
/// The kernel does not tell.
pub(super) fn links() -> io::Result<HashMap<u32, LinkAddr>> {
    let link = |entry: nix::ifaddrs::InterfaceAddress| {
        let link = *entry.address?.as_link_addr()?;
        Some((u32::try_from(link.ifindex()).ok()?, link))
    };
    Ok(nix::ifaddrs::getifaddrs()?.filter_map(link).collect())
}

/// The address that a check of a node through a VIP comes from: the configured one, else the one
/// that the host would talk to the node from. Where VIP and node are of different IP versions, one
/// of the VIP's version beside that one.
///
/// # Errors
/// There is no way to the node, or not such an interface or address.
pub(super) fn source(
    vip: IpAddr,
    node: IpAddr,
    source: Option<&Source>,
    vips: &[IpAddr],
) -> io::Result<IpAddr> {
    if let Some(Source::Address(address)) = source {
        // The private namespace would take any.
        return std::net::UdpSocket::bind((*address, 0)).map(|_| *address);
    }
    let any: IpAddr = match node {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = std::net::UdpSocket::bind((any, 0))?;
    if let Some(Source::Interface(name)) = source {
        SockRef::from(&socket).bind_device(Some(name.as_bytes()))?;
    }
    socket.connect(SocketAddr::new(node, DISCARD))?;
    let local = socket.local_addr()?.ip();
    if local.is_ipv4() == vip.is_ipv4() {
        return Ok(local);
    }
    let usable = |address: &IpAddr| {
        address.is_ipv4() == vip.is_ipv4() && !vips.contains(address) && reaches_far(address)
    };
    beside(&addresses()?, local, usable).ok_or_else(|| {
        let why = format!("no address of this host for a check from beside {local} to {vip}");
        io::Error::new(io::ErrorKind::AddrNotAvailable, why)
    })
}

/// The first usable address of the interface that has one, else of any.
fn beside(
    all: &[(String, IpAddr)],
    one: IpAddr,
    usable: impl Fn(&IpAddr) -> bool,
) -> Option<IpAddr> {
    let interface = all.iter().find(|(_, address)| *address == one).map(|(name, _)| name);
    let mut there = all.iter().filter(|(name, _)| Some(name) == interface);
    let found = there.find(|(_, address)| usable(address));
    found.or_else(|| all.iter().find(|(_, address)| usable(address))).map(|(_, address)| *address)
}

/// Whether somebody on another link can answer it.
fn reaches_far(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    }
}

/// Addresses of the calling thread's namespace with their interfaces.
fn addresses() -> io::Result<Vec<(String, IpAddr)>> {
    let address = |entry: nix::ifaddrs::InterfaceAddress| {
        let address = entry.address?;
        let ip = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        let ip = ip.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())));
        Some((entry.interface_name, ip?))
    };
    Ok(nix::ifaddrs::getifaddrs()?.filter_map(address).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_the_other_version_is_taken_from_the_same_interface() {
        let all = [
            ("lo", "127.0.0.1"),
            ("lo", "192.0.2.10"),
            ("lo", "::1"),
            ("eth0", "198.51.100.1"),
            ("eth1", "169.254.0.9"),
            ("eth1", "203.0.113.1"),
            ("eth1", "2001:db8::1"),
            ("eth1", "fe80::1"),
        ];
        let parse = |text: &str| -> IpAddr { text.parse().expect("an address") };
        let all = all.map(|(name, address)| (name.to_owned(), parse(address)));
        let vips = [parse("192.0.2.10")];
        let of = |one: &str, ipv4: bool| {
            let fits = |a: &IpAddr| a.is_ipv4() == ipv4 && !vips.contains(a) && reaches_far(a);
            beside(&all, parse(one), fits)
        };
        assert_eq!(of("2001:db8::1", true), Some(parse("203.0.113.1")));
        assert_eq!(of("203.0.113.1", false), Some(parse("2001:db8::1")));
        assert_eq!(of("198.51.100.1", false), Some(parse("2001:db8::1")), "none there");
        assert_eq!(of("2001:db8::7", true), Some(parse("198.51.100.1")), "of no interface");
        assert_eq!(beside(&all, parse("::1"), |_| false), None);
    }
}
