//! The asker's socket of one address family: questions go out, answers come in, and so does what
//! the network says of questions that it could not deliver.

use std::{
    io::{self, ErrorKind, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsRawFd,
};

use nix::{
    cmsg_space,
    libc::{SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6, SO_EE_ORIGIN_LOCAL, sock_extended_err},
    sys::socket::{
        ControlMessageOwned, MsgFlags, SockaddrIn6, SockaddrStorage, recvmsg, setsockopt, sockopt,
    },
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{io::Interest, net::UdpSocket};

use super::wire::MAX_DATAGRAM;
use crate::{config::Source, decide::MissReason};

/// Bytes that wait in the kernel: answers of thousands of nodes to one question. The kernel grants
/// what it allows.
const BUFFER: usize = 4 << 20;

/// A bound socket.
pub(super) struct Link {
    socket: UdpSocket,
}

/// What came in.
pub(super) enum Incoming<'b> {
    /// A datagram and its sender.
    Datagram(IpAddr, &'b [u8]),
    /// A question did not reach this address; what the network shows of it.
    Undelivered(IpAddr, &'b [u8], MissReason),
}

impl Link {
    /// Opens a socket that asks from `source`.
    pub(super) fn open(domain: Domain, source: Option<&Source>) -> io::Result<Self> {
        let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        let mut local = if domain == Domain::IPV4 {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        } else {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        };
        match source {
            Some(Source::Interface(name)) => socket.bind_device(Some(name.as_bytes()))?,
            Some(Source::Address(address)) => local = *address,
            None => {}
        }
        // Groups and broadcasts are of one link: nothing of this is to be routed.
        if domain == Domain::IPV4 {
            socket.set_broadcast(true)?;
            socket.set_multicast_ttl_v4(1)?;
            if let IpAddr::V4(address) = local {
                socket.set_multicast_if_v4(&address)?;
            }
            setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?;
        } else {
            socket.set_only_v6(true)?;
            socket.set_multicast_hops_v6(1)?;
            setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?;
        }
        // Beyond the system's limit only with CAP_NET_ADMIN, which a load balancer has.
        if setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).is_err() {
            socket.set_recv_buffer_size(BUFFER)?;
        }
        socket.bind(&SocketAddr::new(local, 0).into())?;
        Ok(Self { socket: UdpSocket::from_std(socket.into())? })
    }

    /// Sends a question.
    pub(super) async fn send(&self, question: &[u8], to: SocketAddr) -> Result<(), MissReason> {
        let mut result = self.socket.send_to(question, to).await;
        // With IP_RECVERR the kernel also reports here, once, what became of an earlier datagram.
        if result.as_ref().is_err_and(|error| undelivered(error).is_some()) {
            result = self.socket.send_to(question, to).await;
        }
        match result {
            Ok(_) => Ok(()),
            Err(error) => Err(undelivered(&error).unwrap_or(MissReason::Local)),
        }
    }

    /// Waits for one thing to come in. The buffer holds [`MAX_DATAGRAM`] bytes and one more, so
    /// that a longer datagram is seen to be longer.
    ///
    /// # Errors
    /// The runtime ends.
    pub(super) async fn receive<'b>(
        &self,
        buffer: &'b mut [u8; MAX_DATAGRAM + 1],
    ) -> io::Result<Incoming<'b>> {
        loop {
            let ready = self.socket.ready(Interest::READABLE | Interest::ERROR).await?;
            if ready.is_error() {
                let read = || read_error(&self.socket, buffer);
                // An error here: there is nothing any more.
                if let Ok(Some((to, length, reason))) = self.socket.try_io(Interest::ERROR, read) {
                    return Ok(Incoming::Undelivered(to, &buffer[..length], reason));
                }
            }
            if ready.is_readable() {
                // An error here is an earlier datagram's, as in `send`; or there is nothing yet.
                if let Ok((length, from)) = self.socket.try_recv_from(buffer) {
                    return Ok(Incoming::Datagram(from.ip(), &buffer[..length]));
                }
            }
        }
    }
}

/// One entry of the socket's error queue: the address that was asked, how much there is of the
/// question, and why it did not get there. `None`: an entry that says nothing of a question.
fn read_error(
    socket: &UdpSocket,
    buffer: &mut [u8],
) -> io::Result<Option<(IpAddr, usize, MissReason)>> {
    let mut control = cmsg_space!(sock_extended_err, SockaddrIn6);
    let mut parts = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let entry =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
    let error = entry.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _) => {
            Some(error)
        }
        _ => None,
    });
    let (Some(error), Some(to)) = (error, entry.address.as_ref().and_then(ip)) else {
        return Ok(None);
    };
    let heard = [SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6, SO_EE_ORIGIN_LOCAL];
    let errno = io::Error::from_raw_os_error(error.ee_errno as i32);
    Ok(match undelivered(&errno) {
        Some(reason) if heard.contains(&error.ee_origin) => Some((to, entry.bytes, reason)),
        _ => None,
    })
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
}

/// What an error of the network says of a datagram; `None`: it is this host's.
fn undelivered(error: &io::Error) -> Option<MissReason> {
    match error.kind() {
        ErrorKind::ConnectionRefused => Some(MissReason::Refused),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => Some(MissReason::Unreachable),
        _ => None,
    }
}
