//! How nodes are checked: checked values.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use lb_common::Forward;
use serde::{Deserialize, Serialize};

use super::{
    saved,
    types::{Cluster, Node},
};

/// UDP port of the agent where the configuration names none.
pub const DEFAULT_AGENT_PORT: u16 = 7411;

/// How a node is seen to live. Equal values with equal targets are one check.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Health {
    /// What is asked, and what answer is expected.
    pub probe: Probe,
    /// Port that is asked; `None`: the member's, else the node's, else the service's; for a survey
    /// [`DEFAULT_AGENT_PORT`].
    pub port: Option<u16>,
    /// Time from one check to the next.
    pub interval: Duration,
    /// Time from one check to the next while its outcomes are about to change the node's state;
    /// at most the interval.
    pub fast_interval: Duration,
    /// Time a check may take; at most the interval. It may be longer than the fast interval, since
    /// one check is in flight at most.
    pub timeout: Duration,
    /// Misses in a row that make a node down, 1 or more.
    pub fall: u32,
    /// Hits in a row that make a node up, 1 or more.
    pub rise: u32,
    /// Where checks come from; `None`: as the kernel's routes say.
    pub source: Option<Source>,
    /// The way that checks take.
    pub via: Via,
}

/// A TCP connection each second.
impl Default for Health {
    fn default() -> Self {
        Self {
            probe: Probe::Tcp(Exchange::default()),
            port: None,
            interval: Duration::from_secs(1),
            fast_interval: Duration::from_secs(1),
            timeout: Duration::from_millis(500),
            fall: 3,
            rise: 2,
            source: None,
            via: Via::Direct,
        }
    }
}

/// Where checks come from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Source {
    /// An address of this host.
    Address(IpAddr),
    /// An interface (SO_BINDTODEVICE).
    Interface(String),
}

/// The way that checks take.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Via {
    /// To the node's own address.
    #[default]
    Direct,
    /// To the VIP, forwarded to the node as users' packets are.
    Vip,
}

/// Kinds of check, with what is their own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Probe {
    /// A TCP connection is accepted; and an exchange over it, if there is one.
    Tcp(Exchange),
    /// A request by HTTP/1.1.
    Http(Http),
    /// The standard health service of gRPC (grpc.health.v1.Health/Check) says SERVING.
    Grpc(Grpc),
    /// A datagram is answered; without `expect` by anything, or by nothing but silence.
    Udp(Exchange),
    /// A DNS query over UDP is answered.
    Dns(Dns),
    /// An echo request is answered (ICMP, ICMPv6).
    Icmp,
    /// The node's agent says so.
    Survey(Survey),
}

impl Probe {
    /// Its word in the configuration.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Tcp(_) => "tcp",
            Self::Http(Http { tls: None, .. }) => "http",
            Self::Http(Http { tls: Some(_), .. }) => "https",
            Self::Grpc(_) => "grpc",
            Self::Udp(_) => "udp",
            Self::Dns(_) => "dns",
            Self::Icmp => "icmp",
            Self::Survey(_) => "survey",
        }
    }
}

/// What is sent, and what must come back.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Exchange {
    /// Sent first; `None`: nothing (UDP: an empty datagram).
    #[serde(with = "saved::bytes")]
    pub send: Option<Arc<[u8]>>,
    /// The answer must contain this.
    #[serde(with = "saved::bytes")]
    pub expect: Option<Arc<[u8]>>,
}

/// An HTTP check.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Http {
    /// `https`: how the server proves who it is.
    pub tls: Option<Tls>,
    /// Method, a token of RFC 9110.
    pub method: String,
    /// Path with an optional query, begins with `/`.
    pub path: String,
    /// Host header, and the name in TLS; `None`: the address that is asked.
    pub host: Option<String>,
    /// Statuses that are hits: inclusive ranges.
    pub status: Vec<(u16, u16)>,
    /// The body must contain this.
    pub body: Option<String>,
}

/// How a server proves who it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tls {
    /// Whether it must at all.
    pub verify: bool,
    /// Certificates of the authorities that are trusted, as PEM that was checked to hold some;
    /// `None`: those of this host.
    #[serde(with = "saved::bytes")]
    pub ca: Option<Arc<[u8]>>,
}

/// A gRPC check.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Grpc {
    /// The service that is asked for; empty: the server as a whole.
    pub service: String,
    /// `:authority`, and the name in TLS; `None`: the address that is asked.
    pub host: Option<String>,
    /// Over TLS; `None`: in the clear.
    pub tls: Option<Tls>,
}

/// A DNS check. The answer must be NOERROR and, unless `expect` is there, hold a record of the type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Dns {
    /// The name that is asked for.
    pub query: String,
    /// Type of the record.
    pub record: DnsRecord,
    /// One of the records must be this, in the presentation format of its type (RFC 1035).
    pub expect: Option<String>,
}

/// Types of DNS records that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum DnsRecord {
    A,
    Aaaa,
    Cname,
    Mx,
    Ns,
    Ptr,
    Soa,
    Srv,
    Txt,
}

/// A survey of agents.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Survey {
    /// How the question goes out.
    pub send: SurveySend,
}

/// How the question of a survey goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SurveySend {
    /// One datagram to each node.
    Unicast,
    /// One datagram to all nodes of a cluster: to a broadcast address of their network, or to a
    /// multicast group that their agents joined.
    Broadcast(IpAddr),
}

/// A shared key of 256 bits. It does not show itself.
#[derive(Clone, PartialEq, Eq)]
pub struct SurveyKey(pub [u8; 32]);

impl std::fmt::Debug for SurveyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SurveyKey(…)")
    }
}

/// One thing to ask: what is behind one address and port, by one kind of check. Checked once,
/// however many services and nodes want to know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// How it is checked.
    pub health: Arc<Health>,
    /// The node's address with the port that is asked; port 0 where there are none (ICMP).
    pub at: SocketAddr,
    /// Survey: the server that the agent must speak of.
    pub server: Option<Server>,
    /// `via = "vip"`: where the check is sent, to be forwarded to the node.
    pub vip: Option<ThroughVip>,
}

/// Where a check through a VIP is sent, and how it comes to its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ThroughVip {
    /// The VIP, with the port that is asked.
    pub at: SocketAddr,
    /// As users' packets come to it.
    pub by: Delivery,
}

/// How users' packets come to a node, as far as the configuration says so. Servers on one host may be
/// nodes of several clusters, and get theirs in different ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Delivery {
    /// The node's address.
    pub address: IpAddr,
    /// Its cluster's way of forwarding.
    pub forward: Forward,
    /// `gue`: the UDP port that the tunnel ends at.
    pub gue_port: u16,
    /// MAC of its next hop, if the kernel is not to be asked.
    pub mac: Option<[u8; 6]>,
}

impl Delivery {
    /// That of a cluster's node.
    pub fn to(node: &Node, cluster: &Cluster) -> Self {
        let &Node { address, mac, .. } = node;
        let &Cluster { forward, gue_port, .. } = cluster;
        Self { address, forward, gue_port, mac }
    }
}

/// A server in the words of a survey.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Server {
    /// The node's number.
    pub number: u32,
    /// The port of the service on it.
    pub port: u16,
}
