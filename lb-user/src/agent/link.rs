//! One of the agent's sockets. Answers leave from the address that was asked, also where it is not
//! the one that the kernel would choose: the load balancer knows its nodes by their addresses.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    os::fd::AsRawFd,
};

use nix::{
    cmsg_space, libc,
    sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg,
        setsockopt, sockopt,
    },
};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use tokio::{io::Interest, net::UdpSocket};

/// A bound socket.
pub(super) struct Link(UdpSocket);

impl Link {
    /// Binds a socket; one for IPv6 is for nothing else.
    pub(super) fn bind(at: SocketAddr) -> io::Result<Self> {
        let domain = Domain::for_address(at);
        let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        if domain == Domain::IPV6 {
            socket.set_only_v6(true)?;
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        } else {
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        }
        socket.bind(&at.into())?;
        Ok(Self(UdpSocket::from_std(socket.into())?))
    }

    /// The address that it is bound to.
    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Joins a multicast group of its family on an interface; index 0: where the routes say.
    pub(super) fn join(&self, group: IpAddr, interface: u32) -> io::Result<()> {
        let socket = socket2::SockRef::from(&self.0);
        match group {
            IpAddr::V4(group) => {
                socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(interface))
            }
            IpAddr::V6(group) => socket.join_multicast_v6(&group, interface),
        }
    }

    /// Waits for a datagram: its length, its sender, and the address of this host that it was for;
    /// `None` if that cannot be told (a group of IPv6).
    pub(super) async fn receive(
        &self,
        buffer: &mut [u8],
    ) -> io::Result<(usize, SocketAddr, Option<IpAddr>)> {
        self.0.async_io(Interest::READABLE, || receive(&self.0, buffer)).await
    }

    /// Sends a datagram from an address of this host.
    pub(super) async fn send(
        &self,
        datagram: &[u8],
        to: SocketAddr,
        from: Option<IpAddr>,
    ) -> io::Result<()> {
        self.0.async_io(Interest::WRITABLE, || send(&self.0, datagram, to, from)).await
    }
}

fn receive(
    socket: &UdpSocket,
    buffer: &mut [u8],
) -> io::Result<(usize, SocketAddr, Option<IpAddr>)> {
    let mut control = cmsg_space!(libc::in6_pktinfo);
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut control),
        MsgFlags::empty(),
    )?;
    let local = message.cmsgs()?.find_map(|control| match control {
        // For a broadcast or multicast this is the interface's own address.
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            Some(IpAddr::V4(Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes())))
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)))
        }
        _ => None,
    });
    let local = local.filter(|address| !address.is_multicast() && !address.is_unspecified());
    let from = message.address.as_ref().and_then(|address| {
        let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::V4(SocketAddrV4::from(*v4)));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddr::V6(SocketAddrV6::from(*v6))))
    });
    let from = from.ok_or_else(|| io::Error::other("a datagram without a sender"))?;
    Ok((message.bytes, from, local))
}

fn send(
    socket: &UdpSocket,
    datagram: &[u8],
    to: SocketAddr,
    from: Option<IpAddr>,
) -> io::Result<()> {
    let parts = [IoSlice::new(datagram)];
    let to = SockaddrStorage::from(to);
    let send = |control: &[ControlMessage<'_>]| {
        sendmsg(socket.as_raw_fd(), &parts, control, MsgFlags::empty(), Some(&to))
    };
    match from {
        None => send(&[]),
        Some(IpAddr::V4(from)) => {
            let from = libc::in_addr { s_addr: u32::from_ne_bytes(from.octets()) };
            let none = libc::in_addr { s_addr: 0 };
            let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: from, ipi_addr: none };
            send(&[ControlMessage::Ipv4PacketInfo(&info)])
        }
        Some(IpAddr::V6(from)) => {
            let from = libc::in6_addr { s6_addr: from.octets() };
            let info = libc::in6_pktinfo { ipi6_addr: from, ipi6_ifindex: 0 };
            send(&[ControlMessage::Ipv6PacketInfo(&info)])
        }
    }?;
    Ok(())
}
