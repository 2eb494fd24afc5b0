//! One check of one target, and its outcome. Knows no thresholds and keeps no state of nodes.
//!
//! | kind | a hit | not a hit |
//! |---|---|---|
//! | tcp | the connection is accepted; with `expect`, that is in the first 64 KiB | as below |
//! | http, https | a status that is wanted; with `body`, that is in the first 1 MiB | `Status(n)` |
//! | grpc | SERVING | NOT_SERVING: `NotWorking`; a gRPC status: `Status(code)` |
//! | udp | the first answer holds `expect`; without `expect` any answer, or silence | |
//! | dns | NOERROR with a record of the type; with `expect`, one that equals it | `Status(rcode)` |
//! | icmp | the echo comes back | |
//!
//! An answer that is not what the protocol says is `BadAnswer`, whatever goes wrong in TLS is `Tls`,
//! and what the network says is what `socket` makes of it. One deadline, the check's `timeout`,
//! bounds all of a check: connection, handshake, request and as much of the answer as is needed.

mod dns;
mod grpc;
mod http;
mod icmp;
mod search;
mod socket;
mod tcp;
#[cfg(test)]
mod tests;
mod tls;
mod udp;

use std::{io, net::SocketAddr, sync::Arc};

use tokio::time::timeout;

use crate::{
    config::{Probe, Target},
    decide::{MissReason, Outcome},
    vippath::VipPath,
};
use socket::Way;

/// What the checks of some targets need: how their servers prove who they are. Targets themselves
/// are not kept, and nothing is remembered from one check to the next.
#[derive(Debug)]
pub struct Prober {
    tls: tls::Clients,
    vip_path: Option<Arc<VipPath>>,
}

/// Why targets cannot be checked at all.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The certificates that a check trusts cannot be used.
    #[error("the certificates of `ca` cannot be used: {0}")]
    Authorities(String),
    /// A check trusts this host's authorities, but there are none.
    #[error("this host has no certificates of authorities{0}; give the check a `ca`")]
    NoAuthorities(String),
    /// The TLS library does not take its own defaults.
    #[error("TLS: {0}")]
    Tls(tokio_rustls::rustls::Error),
    /// A name that no TLS server can have.
    #[error("`{0}` is not a name that a TLS server can prove")]
    ServerName(String),
    /// Method, path, host or service make no HTTP request.
    #[error("no request can be made for {at}: {reason}")]
    Request {
        /// The target.
        at: SocketAddr,
        /// What is wrong.
        reason: hyper::http::Error,
    },
    /// A name that cannot be asked for.
    #[error("`{0}` is not a name that DNS can be asked for")]
    Query(String),
    /// No echo request can be made: it takes CAP_NET_RAW.
    #[error("cannot make a raw socket for ICMP (this needs CAP_NET_RAW): {0}")]
    Icmp(io::Error),
}

impl Prober {
    /// Makes ready for checks of `targets`, and says what can be known beforehand to be in their
    /// way. Reads this host's certificate authorities if a target needs them.
    pub fn new(targets: &[Target]) -> Result<Self, ProbeError> {
        for target in targets {
            match &target.health.probe {
                Probe::Http(http) => http::verify(http, target)?,
                Probe::Grpc(grpc) => grpc::verify(grpc, target)?,
                Probe::Dns(dns) => drop(dns::name(dns)?),
                Probe::Icmp => icmp::verify(target)?,
                Probe::Tcp(_) | Probe::Udp(_) | Probe::Survey(_) => {}
            }
        }
        Ok(Self { tls: tls::Clients::new(targets)?, vip_path: None })
    }

    /// Gives it the way that targets with a VIP are checked by. Without one this host cannot check
    /// them.
    #[must_use]
    pub fn with_vip_path(self, path: Arc<VipPath>) -> Self {
        Self { vip_path: Some(path), ..self }
    }

    /// Checks one of the targets, within its `timeout`. Needs a tokio runtime with I/O and time.
    ///
    /// A survey is no check of one target: its outcomes come from the round that asks all of them,
    /// so here it is what this host cannot do.
    pub async fn check(&self, target: &Target) -> Outcome {
        let way = Way::of(target, self.vip_path.as_deref());
        let limit = target.health.timeout;
        // Most checks are TCP's: theirs is the only future that has its place in this one.
        let answer = match &target.health.probe {
            Probe::Tcp(exchange) => timeout(limit, tcp::check(way, exchange)).await,
            Probe::Http(http) => {
                timeout(limit, Box::pin(http::check(way, http, target, &self.tls))).await
            }
            Probe::Grpc(grpc) => {
                timeout(limit, Box::pin(grpc::check(way, grpc, target, &self.tls))).await
            }
            Probe::Udp(exchange) => {
                let mut sent = false;
                let answer = Box::pin(udp::check(way, exchange, &mut sent));
                match timeout(limit, answer).await {
                    // Where nothing was sent yet, silence says nothing.
                    Err(_) if sent => Ok(udp::silence(exchange)),
                    answer => answer,
                }
            }
            Probe::Dns(dns) => timeout(limit, Box::pin(dns::check(way, dns))).await,
            Probe::Icmp => timeout(limit, Box::pin(icmp::check(way, target.at.ip()))).await,
            Probe::Survey(_) => Ok(Err(MissReason::Local)),
        };
        answer.unwrap_or(Err(MissReason::Timeout)).unwrap_or_else(Outcome::Miss)
    }
}

/// What a check found, or why it is a miss.
type Found = Result<Outcome, MissReason>;

/// Where a check goes: to the node, or to the VIP where users go.
fn asked(target: &Target) -> SocketAddr {
    target.vip.map_or(target.at, |vip| vip.at)
}
