//! What runs on the nodes: real listeners, each in its node's namespace, on one runtime.
//!
//! A client says `one`, gets the node's name and the node closes; or it says `stay`, and every
//! further line comes back with the node's name behind it; or it says `tell`, and is told numbers with
//! the node's name behind them, for as long as it is there, even if it has nothing more to say; or it
//! says `give`, and gets bytes; or `take`, and sends some.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use anyhow::{Context, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{
    background::Background,
    topology::{NodeIndex, Topology},
};

/// The request that is answered once.
pub const ONE: &str = "one\n";
/// The request that is answered for as long as the client goes on.
pub const STAY: &str = "stay\n";
/// The request that is answered by numbers, two a second, beginning with 0.
pub const TELL: &str = "tell\n";
/// The request that is answered by bytes for as long as the client takes them.
pub const GIVE: &str = "give\n";
/// The request that is followed by bytes, which are not answered.
pub const TAKE: &str = "take\n";
/// Bytes that are given or taken at a time.
pub const BLOCK: usize = 1 << 16;

/// Time between two numbers.
const TELL_PERIOD: Duration = Duration::from_millis(500);

/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(1);

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// The servers of all nodes. Dropping it stops them.
#[derive(Debug)]
pub struct Servers {
    _background: Background,
}

impl Servers {
    /// Starts them; they listen when this returns.
    ///
    /// # Errors
    /// If a socket or the runtime cannot be had.
    pub fn start(topology: &Topology) -> Result<Self> {
        raise_descriptor_limit()?;
        let variant = topology.variant;
        let at = SocketAddr::new(variant.family.any(), variant.node_port());
        let listeners = NodeIndex::all()
            .map(|node| Ok((node, topology.node(node).run(|| listener(at))?)))
            .collect::<Result<Vec<_>>>()
            .context("starting the servers")?;
        let background = Background::start("servers", || start_all(listeners))?;
        Ok(Self { _background: background })
    }
}

/// Allows this process as many descriptors as it may have: it has both ends of all connections.
fn raise_descriptor_limit() -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("raising the limit of open files")
}

/// A listening socket in the namespace of the calling thread.
fn listener(at: SocketAddr) -> Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&at.into()).context("binding the server's port")?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn start_all(listeners: Vec<(NodeIndex, TcpListener)>) -> Result<()> {
    for (node, listener) in listeners {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        tokio::spawn(async move {
            loop {
                // An error here is a client that went away before it was accepted.
                if let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, node.node().name));
                }
            }
        });
    }
    Ok(())
}

/// One connection, to its end. Health checks say nothing at all.
async fn serve(stream: TcpStream, name: &str) {
    let mut stream = BufReader::with_capacity(64, stream);
    let mut line = String::new();
    let read = timeout(PATIENCE, stream.read_line(&mut line)).await;
    if !matches!(read, Ok(Ok(1..))) {
        return;
    }
    // What goes wrong here is the client's end, and the client tells it.
    let _ = match line.as_str() {
        // The close that follows is the server's.
        ONE => stream.write_all(name.as_bytes()).await,
        STAY => echo(&mut stream, name).await,
        TELL => tell(&mut stream, name).await,
        GIVE => give(&mut stream).await,
        TAKE => take(&mut stream).await,
        _ => Ok(()),
    };
}

async fn echo(stream: &mut BufReader<TcpStream>, name: &str) -> io::Result<()> {
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        stream.write_all(format!("{} {name}\n", line.trim_end()).as_bytes()).await?;
        line.clear();
    }
    Ok(())
}

async fn tell(stream: &mut BufReader<TcpStream>, name: &str) -> io::Result<()> {
    for number in 0_u64.. {
        stream.write_all(format!("{number} {name}\n").as_bytes()).await?;
        sleep(TELL_PERIOD).await;
    }
    Ok(())
}

async fn give(stream: &mut BufReader<TcpStream>) -> io::Result<()> {
    let block = vec![0; BLOCK];
    loop {
        stream.write_all(&block).await?;
    }
}

async fn take(stream: &mut BufReader<TcpStream>) -> io::Result<()> {
    let mut block = vec![0; BLOCK];
    while stream.read(&mut block).await? > 0 {}
    Ok(())
}
