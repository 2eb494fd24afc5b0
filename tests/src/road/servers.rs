//! What runs on a road's nodes: a server of transfers (TCP) and an echo (UDP), on the VIPs and on
//! the nodes' own addresses.
//!
//! A transfer begins with [`UP`] or [`DOWN`] and a length, 8 bytes in network order. Up: the client
//! sends so much content, and gets the node's number and whether it was right. Down: the client gets
//! the node's number and so much content. An echo is the datagram with the node's number in place
//! of its first byte.

use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
};

use anyhow::{Context, Result};
use socket2::{Domain, Socket, Type};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    ends::End,
    network::Road,
    pattern,
    shape::Tunnels,
    way::{NODE_PORT, PORT, Way},
};
use crate::{background::Background, variant::Forward};

/// The client sends.
pub const UP: u8 = b'u';
/// The node sends.
pub const DOWN: u8 = b'd';
/// All content was right.
pub const RIGHT: u8 = 1;
const WRONG: u8 = 0;
/// Longest datagram that is echoed.
pub const LONGEST: usize = 60_000;
const BACKLOG: i32 = 128;

/// All servers. Dropping it stops them.
#[derive(Debug)]
pub struct Servers {
    _background: Background,
}

/// What a node listens with.
struct Sockets {
    node: u8,
    transfers: Vec<TcpListener>,
    echoes: Vec<UdpSocket>,
    tunnels: Vec<End>,
}

impl Servers {
    /// Starts them for these ways; they listen when this returns.
    ///
    /// # Errors
    /// If a socket or the runtime cannot be had.
    pub fn start(road: &Road, ways: &[Way]) -> Result<Self> {
        let sockets = (0..).zip(&road.nodes).map(|(node, netns)| {
            let addresses = addresses(road, node, ways);
            netns.run(|| sockets(node, &addresses, road.shape.tunnels))
        });
        let sockets = sockets.collect::<Result<Vec<_>>>().context("starting the servers")?;
        let serve_all = || Ok(sockets.into_iter().try_for_each(serve)?);
        Ok(Self { _background: Background::start("road-servers", serve_all)? })
    }
}

/// Where a node listens: each address by itself, so that an echo leaves from where it was asked.
fn addresses(road: &Road, node: u8, ways: &[Way]) -> Vec<SocketAddr> {
    let network = road.nodes_network();
    let own = ways.iter().map(|way| SocketAddr::new(way.node(network, node), NODE_PORT));
    let direct = ways.iter().filter(|way| way.forward != Forward::Nat);
    own.chain(direct.map(|way| SocketAddr::new(way.address(), PORT))).collect()
}

/// Sockets in the namespace of the calling thread.
fn sockets(node: u8, addresses: &[SocketAddr], tunnels: Tunnels) -> Result<Sockets> {
    let bound = |address: &SocketAddr, kind| -> Result<Socket> {
        let socket = Socket::new(Domain::for_address(*address), kind, None)?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_address(true)?;
        socket.bind(&(*address).into()).with_context(|| format!("binding {address}"))?;
        Ok(socket)
    };
    let transfer = |address| {
        let socket = bound(address, Type::STREAM)?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    let transfers = addresses.iter().map(transfer).collect::<Result<_>>()?;
    let echoes = addresses.iter().map(|address| Ok(bound(address, Type::DGRAM)?.into()));
    let tunnels = if tunnels == Tunnels::Sockets { End::both()? } else { Vec::new() };
    Ok(Sockets { node, transfers, echoes: echoes.collect::<Result<_>>()?, tunnels })
}

fn serve(sockets: Sockets) -> io::Result<()> {
    let node = sockets.node;
    sockets.tunnels.into_iter().try_for_each(End::spawn)?;
    for listener in sockets.transfers {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        tokio::spawn(async move {
            loop {
                // An error here is a client that went away before it was accepted.
                if let Ok((stream, _)) = listener.accept().await {
                    // Checks, and clients that give up, end in an error: whoever asked sees it.
                    tokio::spawn(async move { drop(transfer(stream, node).await) });
                }
            }
        });
    }
    for socket in sockets.echoes {
        let socket = tokio::net::UdpSocket::from_std(socket)?;
        tokio::spawn(async move {
            let mut datagram = vec![0; LONGEST];
            loop {
                // An error is what an ICMP message said of an answer before.
                if let Ok((length, from)) = socket.recv_from(&mut datagram).await {
                    datagram[0] = node;
                    let _ = socket.send_to(&datagram[..length], from).await;
                }
            }
        });
    }
    Ok(())
}

/// One transfer, to its end.
async fn transfer(mut stream: TcpStream, node: u8) -> io::Result<()> {
    let direction = stream.read_u8().await?;
    let length = stream.read_u64().await?;
    let mut offset = 0;
    if direction == DOWN {
        stream.write_u8(node).await?;
        while offset < length {
            let most = usize::try_from(length - offset).unwrap_or(pattern::MOST);
            let bytes = pattern::bytes(offset, most);
            stream.write_all(bytes).await?;
            offset += bytes.len() as u64;
        }
        return stream.shutdown().await;
    }
    let mut buffer = vec![0; pattern::MOST];
    let mut right = true;
    while offset < length {
        let seen = stream.read(&mut buffer).await?;
        if seen == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        right &= pattern::is_right(offset, &buffer[..seen]);
        offset += seen as u64;
    }
    stream.write_all(&[node, if right { RIGHT } else { WRONG }]).await?;
    stream.shutdown().await
}
