//! The nodes' end of tunnels by sockets: they get packets whole that came in fragments, which no
//! program sees. Over IPv4, for what is IPv4 itself.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    os::fd::OwnedFd,
};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};

/// The port that `gue` comes to.
const GUE_PORT: u16 = 6080;
/// Bytes of GUE's header.
const GUE: usize = 4;
/// Bytes of an IPv4 header without options: all outer ones here.
const IPV4: usize = 20;
/// Where an IPv4 header has its destination.
const DESTINATION: std::ops::Range<usize> = 16..20;

/// An end: what comes in, how much of it is the tunnel's, and where the rest goes on from.
pub struct End {
    tunnel: std::net::UdpSocket,
    headers: usize,
    host: std::net::UdpSocket,
}

impl End {
    /// Those of a node, in the namespace of the calling thread.
    ///
    /// # Errors
    /// If a socket cannot be had.
    pub fn both() -> Result<Vec<Self>> {
        let raw = |number| Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(number)));
        let ipip = raw(libc::IPPROTO_IPIP).context("a raw socket")?;
        let gue = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
        gue.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, GUE_PORT)).into())
            .context("GUE's port")?;
        // A raw socket of IPv4 gets the outer header, too.
        let ends = [(ipip, IPV4), (gue, GUE)].map(|(tunnel, headers)| {
            // What is sent by it has its header already (raw(7)).
            Ok(Self {
                tunnel: datagrams(tunnel)?,
                headers,
                host: datagrams(raw(libc::IPPROTO_RAW)?)?,
            })
        });
        ends.into_iter().collect()
    }

    /// Spawns it on the runtime of the calling thread.
    ///
    /// # Errors
    /// If the runtime does not take the sockets.
    pub fn spawn(self) -> io::Result<()> {
        let tunnel = tokio::net::UdpSocket::from_std(self.tunnel)?;
        let host = tokio::net::UdpSocket::from_std(self.host)?;
        tokio::spawn(async move {
            let mut packet = vec![0; usize::from(u16::MAX)];
            loop {
                let Ok((length, _)) = tunnel.recv_from(&mut packet).await else { return };
                let Some(inner) = packet[..length].get(self.headers..) else { continue };
                if let Some(&[a, b, c, d]) = inner.get(DESTINATION) {
                    // To an address of this host: its stack takes it as it takes any.
                    let _ = host.send_to(inner, (Ipv4Addr::new(a, b, c, d), 0)).await;
                }
            }
        });
        Ok(())
    }
}

/// To the runtime one datagram socket is like another.
fn datagrams(socket: Socket) -> io::Result<std::net::UdpSocket> {
    socket.set_nonblocking(true)?;
    Ok(OwnedFd::from(socket).into())
}
