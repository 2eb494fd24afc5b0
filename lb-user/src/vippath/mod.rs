//! The way of checks with `via = "vip"`: to the VIP, forwarded to one node as users' packets are.
//!
//! A check is an ordinary connection of the kernel, so that every kind of check goes this way. But
//! on this host the VIP is local: a connection to it would never leave. So the sockets are made in
//! a private network namespace, where all that leaves falls into a TUN device ([`place`]). From
//! there each packet is forwarded by the data path's own stage to the node that its source port
//! stands for ([`outward`]). Answers come from the VIP to this host's address; they are taken from
//! the wire ([`wire`], [`filter`]) and put into the TUN device. This host's own network stack drops
//! them: their source is one of its own addresses.

mod checksum;
mod filter;
mod outward;
mod place;
mod wire;

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

use lb_common::NodeRecord;
use nix::sys::socket::LinkAddr;
use serde::{Deserialize, Serialize};
use socket2::Socket;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use crate::config::{Delivery, Protocol, Source, ThroughVip};
use outward::Hop;
use place::{Place, Request};

/// Why there is no way to check through VIPs.
#[derive(Debug, Error)]
#[allow(missing_docs)]
pub enum VipPathError {
    #[error("cannot open a packet socket (needs CAP_NET_RAW): {0}")]
    Wire(#[source] io::Error),
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
    #[error("cannot make a network namespace (needs CAP_SYS_ADMIN): {0}")]
    Namespace(#[source] nix::Error),
    #[error("cannot make a TUN device (needs CAP_NET_ADMIN and /dev/net/tun): {0}")]
    Tun(#[source] io::Error),
    #[error("cannot open a netlink socket: {0}")]
    Netlink(#[source] io::Error),
    #[error("cannot set {what} in the private namespace: {source}")]
    Setup { what: &'static str, source: rtnetlink::Error },
    #[error("the thread of the private namespace ended")]
    Ended,
}

/// What became of the packets of checks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Sent to a node.
    pub sent: u64,
    /// Answers that were given to the check.
    pub answers: u64,
    /// Lost: to a node whose next hop is no longer known.
    pub no_hop: u64,
    /// Lost: longer than what the way to the node takes.
    pub too_long: u64,
    /// Lost: not a TCP or UDP packet of a check, or a fragment.
    pub unregistered: u64,
    /// Lost: the kernel did not take it, of either direction.
    pub refused: u64,
}

/// The way through VIPs. Dropping it ends it; sockets that it gave out lead nowhere then.
#[derive(Debug)]
pub struct VipPath {
    requests: mpsc::UnboundedSender<Request>,
    vips: Vec<IpAddr>,
    /// Addresses for packet sockets, by interface.
    links: Mutex<HashMap<u32, LinkAddr>>,
    counts: Arc<Mutex<Counts>>,
    thread: Option<JoinHandle<()>>,
}

impl VipPath {
    /// Makes the way from the calling thread's network namespace. `vips`: every VIP that checks
    /// are to go to.
    ///
    /// # Errors
    /// See [`VipPathError`]; nothing stays then.
    pub async fn start(vips: &[IpAddr]) -> Result<Self, VipPathError> {
        let counts = Arc::default();
        let (requests, inbox) = mpsc::unbounded_channel();
        let (ready, is_ready) = oneshot::channel();
        // Before the thread leaves this namespace: these sockets belong here.
        let place = Place {
            wire: wire::Wire::open(vips).map_err(VipPathError::Wire)?,
            ipv6: vips.iter().any(IpAddr::is_ipv6),
            inbox,
            counts: Arc::clone(&counts),
        };
        let thread = std::thread::Builder::new()
            .name("vip-checks".to_owned())
            .spawn(move || place.run(ready))
            .map_err(VipPathError::Thread)?;
        let (vips, links, thread) = (vips.to_vec(), Mutex::default(), Some(thread));
        let path = Self { requests, vips, links, counts, thread };
        is_ready.await.map_err(|_| VipPathError::Ended)??;
        Ok(path)
    }

    /// Says how users' packets get to a node; `None`: not known (any more).
    /// Only for the namespace in which the way was started.
    ///
    /// # Errors
    /// The record's interface is not there; the node has no next hop then.
    pub fn set_hop(&self, to: Delivery, record: Option<NodeRecord>) -> io::Result<()> {
        let found = record.map(|record| Ok(Hop { record, link: self.link(record.ifindex)? }));
        let (hop, result) = match found.transpose() {
            Ok(hop) => (hop, Ok(())),
            Err(error) => (None, Err(error)),
        };
        // If the thread has ended, checks are told so.
        let _ = self.requests.send(Request::Hop { to, hop });
        result
    }

    /// What became of the packets so far.
    pub fn counts(&self) -> Counts {
        *locked(&self.counts)
    }

    /// A socket for one check of a node through a VIP: does not block, is bound, and is to be
    /// connected to the VIP. Its packets go to this node.
    ///
    /// # Errors
    /// Those of the kernel, for example that it knows no way to the node; `AddrNotAvailable` if
    /// nothing can be sent from the source to this VIP, or the next hop of the node is not known.
    pub async fn socket(
        &self,
        protocol: Protocol,
        ThroughVip { at, by: to }: ThroughVip,
        source: Option<&Source>,
    ) -> io::Result<Socket> {
        let vip = at.ip();
        let source = wire::source(vip, to.address, source, &self.vips)?;
        if source.is_ipv4() != vip.is_ipv4() || self.vips.contains(&source) {
            let why = format!("a check from {source} to the VIP {vip} would get no answer");
            return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, why));
        }
        let ended = || io::Error::other(VipPathError::Ended);
        let (reply, answer) = oneshot::channel();
        let request = Request::Socket { protocol, source, to, reply };
        self.requests.send(request).map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }

    /// The packet address of an interface. An index is never used for another interface.
    fn link(&self, ifindex: u32) -> io::Result<LinkAddr> {
        let mut links = locked(&self.links);
        if !links.contains_key(&ifindex) {
            *links = wire::links()?;
        }
        links.get(&ifindex).copied().ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("there is no interface {ifindex}"))
        })
    }
}

impl Drop for VipPath {
    fn drop(&mut self) {
        // An error says that it has ended already.
        let _ = self.requests.send(Request::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What is behind a lock holds whole values at any time, even if its holder panicked.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
