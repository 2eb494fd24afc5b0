//! A configuration that has been checked: every value in range, every name resolved.
//!
//! Clusters, nodes and services are sorted by name, so that ids (their positions) depend on
//! names only and never on the order of the file.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    time::Duration,
};

use lb_common::Forward;
pub use lb_common::Udp;
use serde::{Deserialize, Serialize};

use super::saved;
pub use super::{destination::*, health::*};

/// Directory of the pins where the configuration names none.
pub const DEFAULT_BPFFS: &str = "/sys/fs/bpf/understudy";
/// Control socket where the configuration names none.
pub const DEFAULT_SOCKET: &str = "/run/understudy/control.sock";
/// UDP port of GUE where the configuration names none (draft-ietf-intarea-gue-09, 3.1).
pub const DEFAULT_GUE_PORT: u16 = 6080;

/// How long connections stay where they are after a change, where nothing else is said.
pub const DEFAULT_DRAIN: Duration = Duration::from_secs(300);

/// A whole configuration. It is written without its secrets.
///
/// The next release reads what this one wrote. So a field that is added, here or in what is in it, has
/// a `#[serde(default)]`: the value that it has where a configuration says nothing of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// `[lb]`
    pub lb: Lb,
    /// `[[interface]]`, in the order of the file.
    pub interfaces: Vec<Interface>,
    /// `[[cluster]]`, by name.
    pub clusters: Vec<Cluster>,
    /// `[[service]]`, by name. Position = [`lb_common::ServiceId`].
    pub services: Vec<Service>,
}

/// Settings of the load balancer itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lb {
    /// 128-bit secret of the flow hash; `None`: the daemon makes one and keeps it with the maps.
    #[serde(skip)]
    pub secret: Option<[u8; 16]>,
    /// Function of the flow hash.
    #[serde(with = "saved::HashWord")]
    pub hash: lb_common::HashAlgorithm,
    /// Directory in the bpf filesystem for maps and links.
    pub bpffs: PathBuf,
    /// Path of the control socket.
    pub socket: PathBuf,
    /// How long it is not believed that most nodes of several clusters vanished at once; 0: not
    /// at all.
    pub freeze: Duration,
    /// How many connections can be pinned: a power of two.
    pub pins: u32,
    /// Shared key of surveys; there if any check is one.
    #[serde(skip)]
    pub survey_key: Option<SurveyKey>,
}

/// An interface to attach to, with what may be said of it instead of asking the kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interface {
    /// Name, as `ip link` shows it.
    pub name: String,
    /// Source MAC of packets sent out of it.
    pub mac: Option<[u8; 6]>,
    /// MAC of the gateway for nodes that are not on link.
    pub gateway_mac: Option<[u8; 6]>,
    /// Source of tunnels to IPv4 nodes.
    pub address: Option<Ipv4Addr>,
    /// Source of tunnels to IPv6 nodes.
    pub address6: Option<Ipv6Addr>,
}

/// A group of nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    /// Unique name.
    pub name: String,
    /// Share among clusters of equal priority; 0 takes part in nothing.
    pub weight: u32,
    /// Higher wins.
    pub priority: u32,
    /// How many nodes must live.
    pub threshold: Threshold,
    /// How many nodes must live for it to come back, at least as many; `None`: the threshold.
    pub recover_at: Option<Threshold>,
    /// When a recovered cluster takes back what it lent (M11).
    pub failback: Failback,
    /// How many of the services that it is in must be healthy on it for it to be healthy for any;
    /// 0: each service by itself.
    pub min_services: u32,
    /// Way of forwarding. With `l2` and `nat` the nodes have the IP version of each service.
    #[serde(with = "saved::ForwardWord")]
    pub forward: Forward,
    /// `gue`: UDP port of the nodes that the tunnel ends at.
    pub gue_port: u16,
    /// How long connections stay where they are after a change; 0: not at all.
    pub drain: Duration,
    /// Those that are not silent until then move, too.
    pub drain_hard: bool,
    /// After how much silence a pinned connection is forgotten, once the drain limit has passed.
    pub pin_idle: Duration,
    /// How long it takes to get its flows back after it failed, in steps; 0: at once.
    pub ramp: Duration,
    /// How long one of its nodes takes, likewise.
    pub slow_start: Duration,
    /// How its nodes are checked, where a service says nothing else.
    pub health: Health,
    /// Its nodes, by name.
    pub nodes: Vec<Node>,
    /// It is no longer in the file, and stays as long as connections may be on it.
    pub leaving: bool,
}

/// How many nodes of a cluster must live for it to be healthy (M2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Threshold {
    /// `max(1, ceil(total * numerator / denominator))`, exact.
    Ratio(Ratio),
    /// A number of nodes, 1 or more.
    Survivors(u32),
}

impl Threshold {
    /// How many of `total` nodes that count must live: at least 1, and never more than there are.
    pub fn needed(self, total: u32) -> u32 {
        let needed = match self {
            Self::Survivors(survivors) => survivors,
            Self::Ratio(Ratio { numerator, denominator }) => {
                let product = u128::from(total) * u128::from(numerator);
                product.div_ceil(u128::from(denominator)).try_into().unwrap_or(total)
            }
        };
        needed.min(total).max(1)
    }
}

/// When a recovered cluster takes back what it lent (M11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failback {
    /// At once.
    #[default]
    Auto,
    /// When it has stayed recovered for a time.
    After {
        /// That time, more than zero.
        wait: Duration,
        /// The longest it becomes by doubling at each flap; at least `wait`.
        max: Duration,
    },
    /// When somebody releases it.
    Manual,
}

/// A decimal fraction between 0 and 1, kept exactly as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ratio {
    /// Digits of the decimal text as a number.
    pub numerator: u64,
    /// A power of ten.
    pub denominator: u64,
}

/// A server address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Name, unique in its cluster.
    pub name: String,
    /// Address; unique with its port.
    pub address: IpAddr,
    /// Port; `None`: the service's.
    pub port: Option<u16>,
    /// Number, unique in the configuration; assigned from the order of (cluster, node) names where none is given.
    pub number: u32,
    /// Share among nodes of equal priority; 0 takes part in nothing.
    pub weight: u32,
    /// Higher wins.
    pub priority: u32,
    /// MAC of its next hop, instead of asking the kernel.
    pub mac: Option<[u8; 6]>,
    /// It is no longer in the file, and stays as long as connections may be on it: its weight is 0.
    pub leaving: bool,
}

/// A VIP, its ports, a protocol, and who serves it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Unique name.
    pub name: String,
    /// The VIP.
    pub address: IpAddr,
    /// Its ports.
    pub ports: Ports,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Which packets are one flow.
    pub affinity: Affinity,
    /// What becomes of its flows in slots that move; matters by UDP only.
    #[serde(with = "saved::UdpWord")]
    pub udp: Udp,
    /// What happens to the share of a failed master (M7).
    pub mode: BackupMode,
    /// Masters, by cluster name.
    pub masters: Vec<Member>,
    /// Standbys, by cluster name.
    pub standbys: Vec<Member>,
    /// How carriers share.
    pub balance: Balance,
    /// Who serves when no carrier can (M8).
    pub fallback: Fallback,
    /// What happens when no cluster is healthy (M9).
    pub panic: Panic,
    /// How nodes are checked for this service; `None`: as each cluster says.
    pub health: Option<Health>,
}

impl Service {
    /// Its address with its ports.
    pub const fn destination(&self) -> Destination {
        Destination { address: self.address, ports: self.ports }
    }

    /// The ports of a node in this service: what it says of the node's port counts before what the
    /// node says. Where they are not the service's, `nat` changes them.
    pub fn ports_of(&self, member: &Member, node: &Node) -> Ports {
        member.port.or(node.port).map_or(self.ports, Ports::One)
    }

    /// Masters, then standbys.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.masters.iter().chain(&self.standbys)
    }
}

/// A cluster in its role in one service, the service's overrides applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Position in [`Config::clusters`].
    pub cluster: usize,
    /// Its weight in this service.
    pub weight: u32,
    /// Its priority in this service.
    pub priority: u32,
    /// Port of its nodes in this service, instead of their own; only where the service has one.
    pub port: Option<u16>,
    /// It is no longer in the file, and stays as long as connections may be on it: its weight is 0.
    pub leaving: bool,
}

/// Transport protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// IP protocol number (IANA).
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    /// Its word in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// Which packets of a service are one flow, and so go to one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Affinity {
    /// Those of one connection: addresses, ports and protocol.
    #[default]
    Flow,
    /// All from one source address.
    Source,
}

/// Who carries the share of an unhealthy master (M7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BackupMode {
    /// Nobody: only the fallback.
    None,
    /// The one standby.
    OneStandby,
    /// The standbys of the best tier.
    MultiStandby,
    /// The other masters of the best tier.
    MultiMaster,
}

impl BackupMode {
    /// Its word in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::OneStandby => "one-standby",
            Self::MultiStandby => "multi-standby",
            Self::MultiMaster => "multi-master",
        }
    }
}

/// How carriers share what they carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Balance {
    /// By weight.
    Weight,
    /// Evenly.
    Equal,
}

/// Who serves while some cluster is healthy but no carrier is eligible (M8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fallback {
    /// The eligible masters.
    Masters,
    /// The standbys' live nodes, as if their thresholds were 1; with none, the masters.
    LastResort,
    /// Nobody.
    Drop,
}

/// What happens while no cluster of the service is healthy (M9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Panic {
    /// As if every threshold were 1.
    Alive,
    /// Packets are dropped.
    Drop,
    /// All configured master nodes, whatever their health.
    All,
}
