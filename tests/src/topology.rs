//! The lab's network: a switch, and on it a client, the load balancer and nine nodes.
//!
//! All of it is one link, so nodes answer the client directly (direct server return): they have
//! the VIP on `lo` and never say so by ARP. Addresses are from a documentation range (RFC 5737).

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use aya::{
    Ebpf,
    programs::{Xdp, XdpMode, links::FdLink, xdp::XdpLink},
};

use crate::{netns::Netns, offload, owner::Owner};

/// The address that clients ask.
pub const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// Its port, and the nodes'.
pub const PORT: u16 = 80;
/// The client's address.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The load balancer's own address.
pub const LB: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// The interface of every endpoint.
pub const INTERFACE: &str = "eth0";
/// Whoever asks for a MAC in vain asks again so soon. A node whose link was down may just have
/// asked for the client's; with the kernel's second it would be up and yet silent for as long.
const ARP_RETRY_MS: &str = "50";
/// A node neither asks nor answers for the VIP (direct server return), and forgets a connection
/// whose client is silent within a second or two. After an outage it would else meet the next
/// connection from the same port with the rest of the one before.
const NODE_SYSCTLS: [(&str, &str); 4] = [
    ("ipv4/conf/all/arp_ignore", "1"),
    ("ipv4/conf/all/arp_announce", "2"),
    ("ipv4/tcp_synack_retries", "0"),
    ("ipv4/tcp_orphan_retries", "2"),
];
/// Names of the clusters, two masters and a standby.
pub const CLUSTERS: [&str; 3] = ["A", "B", "S"];

/// A server of the lab.
#[derive(Debug)]
pub struct Node {
    /// Its cluster, one of [`CLUSTERS`].
    pub cluster: &'static str,
    /// Its name, unique in the lab.
    pub name: &'static str,
    /// Its own address.
    pub address: Ipv4Addr,
}

/// All servers, by cluster.
pub static NODES: [Node; 9] = [
    node("A", "a1", 21),
    node("A", "a2", 22),
    node("A", "a3", 23),
    node("B", "b1", 31),
    node("B", "b2", 32),
    node("B", "b3", 33),
    node("S", "s1", 41),
    node("S", "s2", 42),
    node("S", "s3", 43),
];

const fn node(cluster: &'static str, name: &'static str, host: u8) -> Node {
    Node { cluster, name, address: Ipv4Addr::new(192, 0, 2, host) }
}

/// Position in [`NODES`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeIndex(u8);

impl NodeIndex {
    /// The node of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|index| index.node().name == name)
    }

    /// Every node.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..NODES.len() as u8).map(Self)
    }

    /// The nodes of a cluster.
    pub fn of_cluster(cluster: &str) -> impl Iterator<Item = Self> {
        Self::all().filter(move |index| index.node().cluster == cluster)
    }

    /// What it stands for.
    #[must_use]
    pub fn node(self) -> &'static Node {
        &NODES[self.index()]
    }

    /// Its number in a survey.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0 as u32 + 1
    }

    /// As an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The namespaces and their wires. Dropping it takes them down.
#[derive(Debug)]
pub struct Topology {
    /// Where the load comes from.
    pub client: Netns,
    /// Where the daemon runs.
    pub lb: Netns,
    switch: Netns,
    nodes: Vec<Netns>,
    /// Holds the pass program on the far end of the load balancer's wire.
    pass: Option<FdLink>,
}

impl Topology {
    /// Builds it, named after the owner.
    ///
    /// # Errors
    /// If something is refused; what was made is removed again.
    pub fn build(owner: Owner) -> Result<Self> {
        let roles = ["client", "lb", "switch"].into_iter();
        let roles = roles.chain(NODES.iter().map(|node| node.name));
        let names = roles.map(|role| owner.netns(role)).collect();
        let mut made = Netns::create(names).context("making namespaces")?.into_iter();
        let mut next = || made.next().context("a namespace is missing");
        let (client, lb, switch) = (next()?, next()?, next()?);
        let this = Self { client, lb, switch, nodes: made.collect(), pass: None };
        this.connect().context("connecting the namespaces")?;
        Ok(this)
    }

    /// The namespace of a node.
    #[must_use]
    pub fn node(&self, node: NodeIndex) -> &Netns {
        &self.nodes[node.index()]
    }

    /// Takes a node's link down, or up again: as if its cable were pulled, without a word to
    /// anybody.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn set_link(&self, node: NodeIndex, up: bool) -> Result<()> {
        let state = if up { "up" } else { "down" };
        self.switch.ip(&format!("link set {} {state}\n", port(node.node().name)))
    }

    /// Takes the load balancer's carrier away, or gives it back: its cable is pulled.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn set_carrier(&self, up: bool) -> Result<()> {
        let state = if up { "up" } else { "down" };
        self.switch.ip(&format!("link set {} {state}\n", port("lb")))
    }

    /// Gives the far end of the load balancer's wire a program that passes everything: without
    /// one, what the near end sends by `XDP_TX` vanishes.
    ///
    /// # Errors
    /// If the object has no such program, or the kernel refuses it.
    pub fn receive_xdp_tx(&mut self, object: &[u8]) -> Result<()> {
        let attach = || -> Result<FdLink> {
            let mut object = Ebpf::load(object).context("loading the XDP object")?;
            let program = object.program_mut("pass").context("it has no program `pass`")?;
            let program: &mut Xdp = program.try_into()?;
            program.load()?;
            let link = program.attach(&port("lb"), XdpMode::Driver)?;
            let link: XdpLink = program.take_link(link)?;
            Ok(link.try_into()?)
        };
        self.pass = Some(self.switch.run(attach).context("the pass program on the switch")?);
        Ok(())
    }

    fn connect(&self) -> Result<()> {
        let quiet = [("ipv6/conf/all/disable_ipv6", "1"), ("ipv6/conf/default/disable_ipv6", "1")];
        let endpoints = || {
            let nodes = self.nodes.iter().zip(&NODES);
            let nodes = nodes.map(|(netns, node)| (netns, node.name, node.address));
            [(&self.client, "client", CLIENT), (&self.lb, "lb", LB)].into_iter().chain(nodes)
        };
        // The source ports of new requests; the audited flows have theirs below.
        self.client.sysctl(&[("ipv4/ip_local_port_range", "16384 65535")])?;
        for netns in endpoints().map(|(netns, ..)| netns).chain([&self.switch]) {
            netns.sysctl(&quiet)?;
        }
        let wires: String = endpoints().map(|(netns, name, _)| wire(netns, name)).collect();
        let bridge = "link add br0 type bridge stp_state 0 mcast_snooping 0\nlink set br0 up\n";
        self.switch.ip(&format!("{bridge}{wires}"))?;

        let vip = |interface| format!("address add {VIP}/32 dev {interface}\n");
        for (netns, name, address) in endpoints() {
            let vip = match name {
                "client" => String::new(),
                "lb" => vip(INTERFACE),
                _ => vip("lo"),
            };
            if name != "client" && name != "lb" {
                netns.sysctl(&NODE_SYSCTLS)?;
            }
            netns.ip(&format!(
                "link set lo up\naddress add {address}/24 dev {INTERFACE}\n{vip}\
                 link set {INTERFACE} up\n"
            ))?;
            netns.sysctl(&[(&format!("ipv4/neigh/{INTERFACE}/retrans_time_ms"), ARP_RETRY_MS)])?;
            netns.run(|| offload::checksum_in_software(INTERFACE))?;
        }
        Ok(())
    }
}

/// The switch's port for an endpoint.
fn port(endpoint: &str) -> String {
    format!("port-{endpoint}")
}

/// The lines that give an endpoint its wire.
fn wire(netns: &Netns, name: &str) -> String {
    let (port, netns) = (port(name), netns.name());
    format!(
        "link add {port} type veth peer name {INTERFACE} netns {netns}\n\
         link set {port} master br0 up\n"
    )
}
