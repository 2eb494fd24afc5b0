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

/// The packet sockets of one namespace.
#[derive(Debug)]
pub(super) struct Wire {
    frames: Socket,
    /// Where answers come in, by IP version. They begin with their IP header.
    pub(super) ipv4: Socket,
    /// `None` if no VIP is of that version.
    pub(super) ipv6: Option<Socket>,
}

impl Wire {
    /// Sockets of the calling thread's namespace. No answer is taken yet: see [`take`].
    ///
    /// # Errors
    /// Those of the kernel.
    pub(super) fn open(vips: &[IpAddr]) -> io::Result<Self> {
        let ipv6 = vips.iter().any(IpAddr::is_ipv6).then(|| answers(libc::ETH_P_IPV6));
        Ok(Self {
            // Without a protocol it receives nothing.
            frames: Socket::new(Domain::PACKET, Type::RAW, None)?,
            ipv4: answers(libc::ETH_P_IP)?,
            ipv6: ipv6.transpose()?,
        })
    }

    /// Sends a frame out of an interface, or not at all.
    ///
    /// # Errors
    /// Those of the kernel; `EMSGSIZE` if it is longer than the interface takes.
    pub(super) fn send(&self, frame: &[u8], link: &LinkAddr) -> nix::Result<()> {
        sendto(self.frames.as_raw_fd(), frame, link, MsgFlags::MSG_DONTWAIT).map(drop)
    }

    /// Answers from these VIPs to these addresses are taken from now on, and no others.
    ///
    /// # Errors
    /// Those of the kernel, for example that these are too many.
    pub(super) fn take(&self, vips: &[IpAddr], sources: &[IpAddr]) -> io::Result<()> {
        self.ipv4.attach_filter(&filter::answers(true, vips, sources))?;
        let ipv6 = self.ipv6.as_ref();
        ipv6.map_or(Ok(()), |ipv6| ipv6.attach_filter(&filter::answers(false, vips, sources)))
    }
}

/// A socket for packets of one EtherType from all interfaces, which takes none so far.
fn answers(kind: i32) -> io::Result<Socket> {
    let kind = Protocol::from(i32::from((kind as u16).to_be()));
    let mut socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(kind))?;
    socket.set_nonblocking(true)?;
    socket.attach_filter(&filter::answers(true, &[], &[]))?;
    // What came in before the filter was there.
    loop {
        match socket.read(&mut [0]) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(socket),
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

/// The address that the host would talk to a node from, or the configured one.
///
/// # Errors
/// There is no way to the node, or not such an interface or address.
pub(super) fn source(node: IpAddr, source: Option<&Source>) -> io::Result<IpAddr> {
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
    Ok(socket.local_addr()?.ip())
}
