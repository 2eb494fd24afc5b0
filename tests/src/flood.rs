//! A flood from the client: packets of connections that nobody has.

use std::{
    net::{IpAddr, SocketAddrV4},
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use etherparse::PacketBuilder;
use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
    },
};

use crate::{clock::Moment, topology::Topology};

/// What is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Openings.
    Syn,
    /// Packets in the middle of a connection.
    Ack,
}

/// Packets are sent in bunches, this often.
const TICK: Duration = Duration::from_millis(5);

/// A running flood. Dropping it ends it.
#[derive(Debug)]
pub struct Flood {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<u64>>>,
}

impl Flood {
    /// Starts it: so many packets a second, each of a connection of its own.
    ///
    /// # Errors
    /// If there is no raw socket to be had, or the service is not by IPv4.
    pub fn start(topology: &Topology, kind: Kind, rate: u32) -> Result<Self> {
        let service = topology.variant.service();
        let IpAddr::V4(vip) = service.ip() else { bail!("floods are of IPv4") };
        let (service, end) =
            (SocketAddrV4::new(vip, service.port()), Arc::new(AtomicBool::new(false)));
        let (ends, bunch) = (Arc::clone(&end), rate * TICK.as_millis() as u32 / 1000);
        // Its headers are ours, the sender's address included.
        let raw = || {
            let (family, kind) = (AddressFamily::Inet, SockType::Raw);
            Ok(socket(family, kind, SockFlag::empty(), SockProtocol::Raw)?)
        };
        let socket = topology.client.run(raw).context("opening a raw socket")?;
        let to = SockaddrIn::from(service);
        let flood = move || {
            let (mut sent, mut next) = (0, Moment::now());
            while !ends.load(Ordering::Acquire) {
                for _ in 0..bunch {
                    let packet = packet(kind, sent as u32, service)?;
                    match sendto(socket.as_raw_fd(), &packet, &to, MsgFlags::empty()) {
                        // A full queue loses some.
                        Ok(_) | Err(Errno::ENOBUFS) => sent += 1,
                        Err(errno) => return Err(errno).context("sending"),
                    }
                }
                // What a busy machine did not send in time is not made up for.
                next = next.after(TICK).max(Moment::now());
                thread::sleep(next.since(Moment::now()).max(TICK / 4));
            }
            Ok(sent)
        };
        let thread = thread::Builder::new().name("flood".into()).spawn(flood);
        Ok(Self { end, thread: Some(thread.context("starting a thread")?) })
    }

    /// Ends it: how many packets were sent.
    ///
    /// # Errors
    /// If it could not send.
    pub fn end(mut self) -> Result<u64> {
        self.end.store(true, Ordering::Release);
        let thread = self.thread.take().context("the flood has no thread")?;
        thread.join().map_err(|_| anyhow!("the flood's thread died"))?.context("the flood")
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The packet of a number, of one of 2^24 connections. No node has a way to its sender, so nothing
/// comes of the answers.
fn packet(kind: Kind, number: u32, to: SocketAddrV4) -> Result<Vec<u8>> {
    let [_, high, low, host] = number.to_be_bytes();
    // The low byte is that of the address (RFC 5737), the other two are the port.
    let source = ([203, 0, 113, host], u16::from_be_bytes([high, low]) | 1 << 15);
    let tcp =
        PacketBuilder::ipv4(source.0, to.ip().octets(), 64).tcp(source.1, to.port(), 7, 64_240);
    let tcp = match kind {
        Kind::Syn => tcp.syn(),
        Kind::Ack => tcp.ack(9),
    };
    let mut packet = Vec::with_capacity(40);
    tcp.write(&mut packet, &[]).context("building a packet")?;
    Ok(packet)
}
