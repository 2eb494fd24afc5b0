//! The private network namespace, and the thread that lives in it: makes the sockets of checks and
//! carries packets between the TUN device, where all that they send ends up, and the wire.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
};
use rtnetlink::{Handle, RouteMessageBuilder, packet_route::address::AddressHeaderFlags};
use socket2::{Domain, Socket, Type};
use tokio::{
    net::UdpSocket,
    sync::{mpsc, oneshot},
};
use tun_rs::{AsyncDevice, DeviceBuilder};

use crate::config::{Delivery, Protocol};

use super::{
    Counts, VipPathError, checksum, locked,
    outward::{Hop, Lost, Outward},
    wire::Wire,
};

/// The longest IP packet there is.
const PACKET: usize = 65_535;
/// What a check sends fits into an Ethernet frame, with what tunnels add to it. What it receives may
/// be longer: the kernel puts packets together, and does not compare them with this.
const MTU: u16 = 1500;
/// With less there is no IPv6 (RFC 8200, 5).
const LEAST_MTU: u16 = 1280;
/// A node takes packets for its own addresses however little time they have left, and forwards none
/// that have no more. One without the VIP could else send a check back here, and the data path
/// would find another node that answers.
const TIME_TO_LIVE: u32 = 1;

/// What the thread is asked for.
#[derive(Debug)]
pub(super) enum Request {
    /// How packets get to a node from now on.
    Hop { to: Delivery, hop: Option<Hop> },
    /// A socket bound to an address, whose packets go to a node.
    Socket {
        protocol: Protocol,
        source: IpAddr,
        to: Delivery,
        reply: oneshot::Sender<io::Result<Socket>>,
    },
    /// To end.
    End,
}

/// What the thread begins with.
pub(super) struct Place {
    pub(super) wire: Wire,
    /// Whether any VIP is of IPv6.
    pub(super) ipv6: bool,
    pub(super) inbox: mpsc::UnboundedReceiver<Request>,
    pub(super) counts: Arc<Mutex<Counts>>,
}

impl Place {
    /// The whole life of the thread. Says once whether it has become what it should.
    pub(super) fn run(self, ready: oneshot::Sender<Result<(), VipPathError>>) {
        let runtime = || {
            // All that follows, and only this thread, is in a namespace of its own.
            unshare(CloneFlags::CLONE_NEWNET).map_err(VipPathError::Namespace)?;
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.enable_io().build().map_err(VipPathError::Thread)
        };
        match runtime() {
            Ok(runtime) => runtime.block_on(async {
                match Carrier::new(self).await {
                    Ok(carrier) => {
                        // Whoever asked has gone; then there will be no requests either.
                        let _ = ready.send(Ok(()));
                        carrier.carry().await;
                    }
                    Err(error) => drop(ready.send(Err(error))),
                }
            }),
            Err(error) => drop(ready.send(Err(error))),
        }
    }
}

struct Carrier {
    wire: Wire,
    /// The addresses of the TUN device: all that checks came from so far.
    sources: Vec<IpAddr>,
    inbox: mpsc::UnboundedReceiver<Request>,
    counts: Arc<Mutex<Counts>>,
    tun: Arc<AsyncDevice>,
    /// Index of the TUN device.
    index: u32,
    /// Its MTU.
    mtu: u16,
    netlink: Handle,
    outward: Outward,
}

impl Carrier {
    async fn new(place: Place) -> Result<Self, VipPathError> {
        let Place { wire, ipv6, inbox, counts } = place;
        let tun = DeviceBuilder::new().mtu(MTU).build_async().map_err(VipPathError::Tun)?;
        let index = tun.if_index().map_err(VipPathError::Tun)?;
        let (connection, netlink, _) =
            rtnetlink::new_connection().map_err(VipPathError::Netlink)?;
        tokio::spawn(connection);
        let everything = RouteMessageBuilder::<Ipv4Addr>::new().output_interface(index).build();
        let routed = netlink.route().add(everything).execute().await;
        routed.map_err(|source| VipPathError::Setup { what: "the IPv4 route", source })?;
        if ipv6 {
            let everything = RouteMessageBuilder::<Ipv6Addr>::new().output_interface(index).build();
            let routed = netlink.route().add(everything).execute().await;
            routed.map_err(|source| VipPathError::Setup { what: "the IPv6 route", source })?;
        }
        let tun = Arc::new(tun);
        for socket in wire.answers() {
            // To the runtime one datagram socket is like another.
            let socket = socket.try_clone().and_then(|socket| UdpSocket::from_std(socket.into()));
            let socket = socket.map_err(VipPathError::Wire)?;
            tokio::spawn(take_answers(socket, Arc::clone(&tun), Arc::clone(&counts)));
        }
        let (sources, outward) = (Vec::new(), Outward::default());
        Ok(Self { wire, sources, inbox, counts, tun, index, mtu: MTU, netlink, outward })
    }

    /// Until the end is asked for.
    async fn carry(mut self) {
        let tun = Arc::clone(&self.tun);
        let mut packet = [0; PACKET];
        loop {
            tokio::select! {
                // The last words of a socket are there before its port is given to another check.
                biased;
                received = tun.recv(&mut packet) => match received {
                    Ok(length) => self.send(&packet[..length]),
                    Err(error) => {
                        tracing::error!("checks through VIPs end, their TUN device failed: {error}");
                        return;
                    }
                },
                request = self.inbox.recv() => match request {
                    Some(Request::Hop { to, hop }) => self.set_hop(to, hop),
                    Some(Request::Socket { protocol, source, to, reply }) => {
                        // A check that has ended meanwhile drops its socket.
                        let _ = reply.send(self.socket(protocol, source, to).await);
                    }
                    Some(Request::End) | None => return,
                },
            }
        }
    }

    /// The way to a node from now on. What checks send fits all ways: there is nobody who could tell
    /// them that it does not.
    fn set_hop(&mut self, to: Delivery, hop: Option<Hop>) {
        self.outward.set_hop(to, hop);
        let mtu = self.outward.fits().clamp(LEAST_MTU, MTU);
        if mtu != self.mtu {
            match self.tun.set_mtu(mtu) {
                Ok(()) => self.mtu = mtu,
                Err(error) => tracing::warn!("checks through VIPs: no MTU of {mtu}: {error}"),
            }
        }
    }

    fn send(&self, packet: &[u8]) {
        let sent = self.outward.frame(packet).map(|(frame, link)| self.wire.send(&frame, &link));
        let mut counts = locked(&self.counts);
        let counter = match sent {
            Ok(Ok(())) => &mut counts.sent,
            Ok(Err(Errno::EMSGSIZE)) | Err(Lost::TooLong) => &mut counts.too_long,
            Ok(Err(_)) => &mut counts.refused,
            Err(Lost::NoHop) => &mut counts.no_hop,
            Err(Lost::Unregistered) => &mut counts.unregistered,
        };
        *counter += 1;
    }

    async fn socket(
        &mut self,
        protocol: Protocol,
        source: IpAddr,
        to: Delivery,
    ) -> io::Result<Socket> {
        if !self.outward.knows(to) {
            let why = format!("the next hop of {} is not known", to.address);
            return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, why));
        }
        if !self.sources.contains(&source) {
            self.add_source(source).await?;
        }
        let socket = bound(protocol, source)?;
        let source = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        self.outward.register(protocol, source, to);
        Ok(socket)
    }

    /// Lets checks come from another address.
    async fn add_source(&mut self, source: IpAddr) -> io::Result<()> {
        let length = if source.is_ipv4() { 32 } else { 128 };
        // It may be there from a time when the filter was refused.
        let mut add = self.netlink.address().add(self.index, source, length).replace();
        // Nobody else can have it, and it is needed now.
        add.message_mut().header.flags = AddressHeaderFlags::Nodad;
        add.execute().await.map_err(io::Error::other)?;
        let sources = [&self.sources[..], &[source]].concat();
        self.wire.take(&sources)?;
        self.sources = sources;
        Ok(())
    }
}

/// A socket of the calling thread's namespace, bound to an address and a port that is free.
fn bound(protocol: Protocol, source: IpAddr) -> io::Result<Socket> {
    let address = SocketAddr::new(source, 0);
    let (kind, number) = match protocol {
        Protocol::Tcp => (Type::STREAM, socket2::Protocol::TCP),
        Protocol::Udp => (Type::DGRAM, socket2::Protocol::UDP),
    };
    let socket = Socket::new(Domain::for_address(address), kind, Some(number))?;
    socket.set_nonblocking(true)?;
    match source {
        IpAddr::V4(_) => socket.set_ttl_v4(TIME_TO_LIVE)?,
        IpAddr::V6(_) => socket.set_unicast_hops_v6(TIME_TO_LIVE)?,
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Gives answers to the checks, for as long as there are any.
async fn take_answers(wire: UdpSocket, tun: Arc<AsyncDevice>, counts: Arc<Mutex<Counts>>) {
    let mut packet = [0; PACKET];
    loop {
        let taken = match wire.recv(&mut packet).await {
            Ok(length) => {
                checksum::complete(&mut packet[..length]);
                tun.send(&packet[..length]).await
            }
            // That of an interface that went down, for example; reading it has cleared it.
            Err(error) => Err(error),
        };
        let mut counts = locked(&counts);
        match taken {
            Ok(_) => counts.answers += 1,
            Err(_) => counts.refused += 1,
        }
    }
}
