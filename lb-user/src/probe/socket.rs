//! Makes the sockets of checks, and decides what an error of one says, and of whom.
//!
//! What the kernel answers *at once* when a socket is made, bound, connected or first sent on is
//! about this host: no descriptor or port is left, the address or interface is not here, a filter
//! forbids it, there is no route. A missing route says nothing of the node, so all of it is `Local`.
//! What comes *later* is about the node or the way to it, as [`heard`] says.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpStream, UdpSocket};

use super::tls;
use crate::{
    config::{self, Source, Target, ThroughVip},
    decide::MissReason,
    vippath::VipPath,
};

/// The way that a check takes.
#[derive(Clone, Copy)]
pub(super) enum Way<'a> {
    /// To the node's own address.
    Direct(SocketAddr, Option<&'a Source>),
    /// To the VIP, forwarded to the node as users' packets are.
    Vip(&'a Target, ThroughVip, Option<&'a VipPath>),
}

impl<'a> Way<'a> {
    /// That of a target.
    pub(super) fn of(target: &'a Target, path: Option<&'a VipPath>) -> Self {
        match target.vip {
            None => Self::Direct(target.at, target.health.source.as_ref()),
            Some(vip) => Self::Vip(target, vip, path),
        }
    }

    /// Connects by TCP. Whenever the connection is dropped it ends with a reset: thousands of checks
    /// a second must not leave sockets in TIME_WAIT behind.
    pub(super) async fn connect(self) -> Result<TcpStream, MissReason> {
        let stream = self.start(Type::STREAM, Protocol::TCP, |socket, _| {
            socket.set_linger(Some(std::time::Duration::ZERO))
        });
        let stream = stream.await.and_then(|socket| TcpStream::from_std(socket.into()));
        let stream = stream.map_err(local)?;
        // The kernel makes the socket writable when it is connected, or knows that it will not be.
        stream.writable().await.map_err(local)?;
        match stream.take_error().map_err(local)? {
            None => Ok(stream),
            Some(error) => Err(heard(&error)),
        }
    }

    /// Sends a first datagram by UDP, with a socket that hears only whom it was sent to.
    pub(super) async fn datagram(self, first: &[u8]) -> Result<UdpSocket, MissReason> {
        self.send(Protocol::UDP, Type::DGRAM, first).await
    }

    /// Sends an ICMP message. What is read from the socket begins with the IP header where that is
    /// IPv4; ICMPv6 checksums are the kernel's work.
    pub(super) async fn icmp(self, message: &[u8]) -> Result<UdpSocket, MissReason> {
        let protocol = match self.to() {
            SocketAddr::V4(_) => Protocol::ICMPV4,
            SocketAddr::V6(_) => Protocol::ICMPV6,
        };
        self.send(protocol, Type::RAW, message).await
    }

    async fn send(
        self,
        protocol: Protocol,
        kind: Type,
        first: &[u8],
    ) -> Result<UdpSocket, MissReason> {
        // Without this option only a closed port is heard of; not that a router or the neighbour
        // table knows no way to the host.
        let socket = self.start(kind, protocol, |socket, to| match to {
            SocketAddr::V4(_) => Ok(setsockopt(socket, sockopt::Ipv4RecvErr, &true)?),
            SocketAddr::V6(_) => Ok(setsockopt(socket, sockopt::Ipv6RecvErr, &true)?),
        });
        let socket = socket.await.map_err(local)?;
        socket.send(first).map_err(local)?;
        UdpSocket::from_std(socket.into()).map_err(local)
    }

    /// A socket whose connection to the target has begun.
    async fn start(
        self,
        kind: Type,
        protocol: Protocol,
        set: impl FnOnce(&Socket, &SocketAddr) -> io::Result<()>,
    ) -> io::Result<Socket> {
        let to = self.to();
        let socket = match self {
            Self::Direct(_, source) => {
                let domain = Domain::for_address(to);
                let socket = Socket::new(domain, kind.nonblocking(), Some(protocol))?;
                if let Some(source) = source {
                    bind(&socket, source, protocol == Protocol::TCP)?;
                }
                socket
            }
            // Not to take room in the future of every check.
            Self::Vip(target, vip, path) => {
                Box::pin(through_vip(target, vip, path, protocol)).await?
            }
        };
        set(&socket, &to)?;
        match socket.connect(&to.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
            _ => Ok(socket),
        }
    }

    fn to(self) -> SocketAddr {
        match self {
            Self::Direct(to, _) => to,
            Self::Vip(_, vip, _) => vip.at,
        }
    }
}

/// A socket whose packets reach the target's node through the VIP.
async fn through_vip(
    target: &Target,
    vip: ThroughVip,
    path: Option<&VipPath>,
    protocol: Protocol,
) -> io::Result<Socket> {
    let protocol = match protocol {
        Protocol::TCP => config::Protocol::Tcp,
        Protocol::UDP => config::Protocol::Udp,
        _ => return Err(io::ErrorKind::Unsupported.into()),
    };
    let path = path.ok_or(io::ErrorKind::Unsupported)?;
    path.socket(protocol, vip, target.health.source.as_ref()).await
}

fn bind(socket: &Socket, source: &Source, tcp: bool) -> io::Result<()> {
    match source {
        Source::Interface(name) => socket.bind_device(Some(name.as_bytes())),
        Source::Address(address) => {
            if tcp {
                // The port is chosen when it is known whereto, so that one address has as many
                // connections to each target as there are ports, not to all of them together.
                setsockopt(socket, sockopt::IpBindAddressNoPort, &true)?;
            }
            socket.bind(&SocketAddr::new(*address, 0).into())
        }
    }
}

/// What is in the way on this host.
fn local(error: io::Error) -> MissReason {
    tracing::debug!(%error, "a check could not be made");
    MissReason::Local
}

/// What an error of a socket in use says.
pub(super) fn heard(error: &io::Error) -> MissReason {
    use io::ErrorKind::*;
    match error.kind() {
        ConnectionRefused => MissReason::Refused,
        ConnectionReset | ConnectionAborted | BrokenPipe | NotConnected | UnexpectedEof => {
            MissReason::Closed
        }
        TimedOut => MissReason::Timeout,
        // The last is what ICMPv6's "administratively prohibited" becomes.
        HostUnreachable | NetworkUnreachable | PermissionDenied => MissReason::Unreachable,
        _ if tls::is_at_fault(error) => MissReason::Tls,
        _ => match error.raw_os_error() {
            // Other ICMP errors: host unknown, host isolated, protocol unreachable.
            Some(libc::EHOSTDOWN | libc::ENONET | libc::ENOPROTOOPT) => MissReason::Unreachable,
            Some(_) => MissReason::Local,
            // Not the kernel's: a library's words for an answer that it does not understand.
            None => MissReason::BadAnswer,
        },
    }
}

/// Whether this host may make raw sockets for ICMP.
pub(super) fn may_icmp(to: IpAddr) -> io::Result<()> {
    let protocol = if to.is_ipv4() { Protocol::ICMPV4 } else { Protocol::ICMPV6 };
    Socket::new(Domain::for_address((to, 0).into()), Type::RAW, Some(protocol)).map(drop)
}
