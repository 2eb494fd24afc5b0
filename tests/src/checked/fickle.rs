//! Servers with a manner that a test changes while they run: they answer well, or misbehave.

use std::{
    future::Future,
    net::{SocketAddr, TcpListener as StdListener, UdpSocket as StdSocket},
    sync::mpsc,
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    runtime::{Builder, Handle},
    sync::{oneshot, watch},
    time::sleep,
};

use crate::netns::Netns;

/// What a well-mannered TCP server says: an HTTP response, and good enough for anybody else.
const RESPONSE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nalive\n";

/// How a server treats who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// It answers: HTTP over TCP, an echo over UDP.
    Well,
    /// It takes what comes and says nothing.
    Hang,
    /// It resets the connection as soon as it stands. (TCP)
    Reset,
    /// It sends the response a byte at a time, and not to its end before long. (TCP)
    Slow,
    /// It closes in the middle of the response. (TCP)
    Half,
    /// It answers something else.
    Wrong,
}

/// A server with a manner. Dropping it closes its socket.
#[derive(Debug)]
pub struct Fickle {
    manner: watch::Sender<Manner>,
    _hosted: Hosted,
}

impl Fickle {
    /// A TCP server in a namespace.
    ///
    /// # Errors
    /// If the port is taken or no runtime can be had.
    pub fn tcp(netns: &Netns, port: u16) -> Result<Self> {
        let socket = netns.run(|| {
            let socket = StdListener::bind(SocketAddr::from(([0; 4], port)))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        })?;
        let (manner, is) = watch::channel(Manner::Well);
        let hosted = Hosted::start("fickle-tcp", async move {
            let listener = TcpListener::from_std(socket).context("a server's socket")?;
            tokio::spawn(async move {
                loop {
                    // An error here is a client that went away before it was accepted.
                    if let Ok((stream, _)) = listener.accept().await {
                        let manner = *is.borrow();
                        // One that breaks off is no concern of the server.
                        tokio::spawn(async move { drop(serve(stream, manner).await) });
                    }
                }
            });
            Ok(())
        })?;
        Ok(Self { manner, _hosted: hosted })
    }

    /// A UDP server in a namespace. Its answers come from its address, so that must be one.
    ///
    /// # Errors
    /// If the port is taken or no runtime can be had.
    pub fn udp(netns: &Netns, at: SocketAddr) -> Result<Self> {
        let socket = netns.run(|| {
            let socket = StdSocket::bind(at)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        })?;
        let (manner, is) = watch::channel(Manner::Well);
        let hosted = Hosted::start("fickle-udp", async move {
            let socket = UdpSocket::from_std(socket).context("a server's socket")?;
            tokio::spawn(async move {
                let mut buffer = [0; 2048];
                loop {
                    // An error here is an ICMP message about an answer that nobody awaits.
                    let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
                    let manner = *is.borrow();
                    let _ = match manner {
                        Manner::Well => socket.send_to(&buffer[..length], from).await,
                        Manner::Wrong => socket.send_to(b"something else", from).await,
                        _ => continue,
                    };
                }
            });
            Ok(())
        })?;
        Ok(Self { manner, _hosted: hosted })
    }

    /// How it treats those who come from now on.
    pub fn set(&self, manner: Manner) {
        self.manner.send_replace(manner);
    }
}

/// One connection, to its end.
async fn serve(mut stream: TcpStream, manner: Manner) -> std::io::Result<()> {
    if manner == Manner::Reset {
        return stream.set_zero_linger();
    }
    if stream.read(&mut [0; 2048]).await? == 0 {
        return Ok(());
    }
    match manner {
        Manner::Well => stream.write_all(RESPONSE.as_bytes()).await,
        Manner::Wrong => stream.write_all(b"HTTP/9 what?\r\n\r\n").await,
        Manner::Half => stream.write_all(&RESPONSE.as_bytes()[..RESPONSE.len() - 4]).await,
        Manner::Slow => {
            for byte in RESPONSE.bytes() {
                stream.write_all(&[byte]).await?;
                sleep(Duration::from_millis(100)).await;
            }
            Ok(())
        }
        Manner::Hang | Manner::Reset => loop {
            if stream.read(&mut [0; 2048]).await? == 0 {
                return Ok(());
            }
        },
    }
}

/// A runtime on a thread of its own; its tasks end with the value.
#[derive(Debug)]
pub(super) struct Hosted {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Hosted {
    /// Starts it with a beginning, which may start tasks; it is done when this returns.
    pub(super) fn start(
        name: &str,
        begin: impl Future<Output = Result<()>> + Send + 'static,
    ) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("starting a server's runtime")?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = mpsc::sync_channel(1);
        let thread = thread::Builder::new().name(name.into()).spawn(move || {
            runtime.block_on(async {
                let _ = ready.send(begin.await);
                // Also ends when the sender is dropped.
                let _ = stopped.await;
            });
        });
        let thread = Some(thread.context("starting a thread")?);
        let this = Self { handle, stop: Some(stop), thread };
        is_ready.recv().map_err(|_| anyhow!("a server's thread died"))??;
        Ok(this)
    }

    /// Does something on its thread, and waits for it.
    pub(super) fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T> {
        let (done, is_done) = mpsc::sync_channel(1);
        self.handle.spawn(async move { drop(done.send(work.await)) });
        is_done.recv().map_err(|_| anyhow!("a server's thread died"))
    }
}

impl Drop for Hosted {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
