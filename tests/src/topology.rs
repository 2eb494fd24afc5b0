//! The lab's network: a switch, and on it a client, the load balancer and nine nodes.
//!
//! All of it is one link. But for `nat`, nodes answer the client directly (direct server return):
//! they have the VIP on `lo` and never say so by ARP.

use std::net::IpAddr;

use anyhow::{Context, Result};
use aya::programs::links::FdLink;

use crate::{
    deaths::Deaths,
    netns::Netns,
    offload,
    owner::Owner,
    variant::{Family, Forward, Variant},
    xdp::{self, Program},
};

/// The port of the service.
pub const PORT: u16 = 80;
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
/// A load balancer that is its nodes' gateway. What comes back from them through the kernel has
/// the VIP as its source, which is local there.
const GATEWAY_SYSCTLS: [(&str, &str); 6] = [
    ("ipv4/ip_forward", "1"),
    ("ipv4/conf/all/accept_local", "1"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/eth0/send_redirects", "0"),
    ("ipv6/conf/all/forwarding", "1"),
];
/// What a frame carries at most.
const MTU: u16 = 1500;
/// The same where tunnels are, with room for their headers.
const TUNNEL_MTU: u16 = 1600;
/// Names of the clusters, two masters and a standby.
pub const CLUSTERS: [&str; 3] = ["A", "B", "S"];

/// A server of the lab.
#[derive(Debug)]
pub struct Node {
    /// Its cluster, one of [`CLUSTERS`].
    pub cluster: &'static str,
    /// Its name, unique in the lab.
    pub name: &'static str,
    /// The last number of its own address.
    pub host: u8,
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
    Node { cluster, name, host }
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
    /// What connects them.
    pub switch: Netns,
    nodes: Vec<Netns>,
    /// Which network this is.
    pub variant: Variant,
    /// What [`Topology::set_link`] did.
    pub deaths: Deaths,
    /// Hold the programs of [`Topology::attach`].
    links: Vec<FdLink>,
}

impl Topology {
    /// Builds it, named after the owner.
    ///
    /// # Errors
    /// If something is refused; what was made is removed again.
    pub fn build(owner: Owner, variant: Variant) -> Result<Self> {
        let roles = ["client", "lb", "switch"].into_iter();
        let roles = roles.chain(NODES.iter().map(|node| node.name));
        let names = roles.map(|role| owner.netns(role)).collect();
        let mut made = Netns::create(names).context("making namespaces")?.into_iter();
        let mut next = || made.next().context("a namespace is missing");
        let (client, lb, switch) = (next()?, next()?, next()?);
        let nodes = made.collect();
        let mut this = Self {
            client,
            lb,
            switch,
            nodes,
            variant,
            deaths: Deaths::default(),
            links: Vec::new(),
        };
        this.connect().context("connecting the namespaces")?;
        this.attach()?;
        Ok(this)
    }

    /// The namespace of a node.
    #[must_use]
    pub fn node(&self, node: NodeIndex) -> &Netns {
        &self.nodes[node.index()]
    }

    /// Takes the programs off again, for a load balancer that has none either.
    pub fn detach(&mut self) {
        self.links.clear();
    }

    /// Takes a node's link down, or up again: as if its cable were pulled, without a word to
    /// anybody.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn set_link(&self, node: NodeIndex, up: bool) -> Result<()> {
        if !up {
            self.deaths.dies(node);
        }
        self.set_port(node.node().name, up)?;
        if up {
            self.deaths.returns(node);
        }
        Ok(())
    }

    /// Cuts the client off, or brings it back: all its connections are silent meanwhile.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn set_client(&self, up: bool) -> Result<()> {
        self.set_port("client", up)
    }

    /// Takes the load balancer's carrier away, or gives it back: its cable is pulled.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn set_carrier(&self, up: bool) -> Result<()> {
        self.set_port("lb", up)
    }

    fn set_port(&self, endpoint: &str, up: bool) -> Result<()> {
        let state = if up { "up" } else { "down" };
        self.switch.ip(&format!("link set {} {state}\n", port(endpoint)))
    }

    /// The programs on the far end of the load balancer's wire, and on nodes behind tunnels.
    fn attach(&mut self) -> Result<()> {
        self.links.push(Program::load(xdp::PASS)?.attach(&self.switch, &port("lb"))?);
        if self.variant.forward.is_tunnel() {
            let mut decap = Program::load(xdp::DECAP)?;
            for node in &self.nodes {
                self.links.push(decap.attach(node, INTERFACE)?);
            }
        }
        Ok(())
    }

    fn connect(&self) -> Result<()> {
        // The source ports of new requests; the audited flows have theirs below.
        self.client.sysctl(&[("ipv4/ip_local_port_range", "16384 65535")])?;
        let nodes = || self.nodes.iter().zip(&NODES);
        let ends = || [(&self.client, "client"), (&self.lb, "lb")].into_iter();
        let ends = || ends().chain(nodes().map(|(netns, node)| (netns, node.name)));
        for (netns, _) in ends().chain([(&self.switch, "switch")]) {
            netns.sysctl(family_sysctls(self.variant.family))?;
        }
        let wires: String = ends().map(|(netns, name)| wire(netns, name, self.mtu(name))).collect();
        let bridge = "link add br0 type bridge stp_state 0 mcast_snooping 0\nlink set br0 up\n";
        self.switch.ip(&format!("{bridge}{wires}"))?;

        self.connect_client()?;
        self.connect_lb()?;
        nodes().try_for_each(|(netns, node)| self.connect_node(netns, node))?;
        for (netns, _) in ends() {
            netns.sysctl(&[
                (&format!("ipv4/neigh/{INTERFACE}/retrans_time_ms"), ARP_RETRY_MS),
                (&format!("ipv6/neigh/{INTERFACE}/retrans_time_ms"), ARP_RETRY_MS),
            ])?;
            netns.run(|| offload::off(INTERFACE))?;
        }
        Ok(())
    }

    fn connect_client(&self) -> Result<()> {
        let Variant { forward, family } = self.variant;
        self.client.ip(&self.end(&[self.variant.client()]))?;
        if forward == Forward::Nat {
            let vip = host(self.variant.vip(), family);
            self.client.ip(&format!("route add {vip} dev {INTERFACE}\n"))?;
        }
        Ok(())
    }

    fn connect_lb(&self) -> Result<()> {
        let addresses: Vec<_> =
            [self.variant.lb()].into_iter().chain(self.variant.lb_outside()).collect();
        self.lb.ip(&self.end(&addresses))?;
        self.lb.ip(&self.vip_on(INTERFACE))?;
        if self.variant.forward == Forward::Nat {
            self.lb.sysctl(&GATEWAY_SYSCTLS)?;
        }
        Ok(())
    }

    fn connect_node(&self, netns: &Netns, node: &Node) -> Result<()> {
        let Variant { forward, family } = self.variant;
        netns.sysctl(&NODE_SYSCTLS)?;
        netns.ip(&self.end(&[self.variant.node(node)]))?;
        if forward == Forward::Nat {
            return netns.ip(&format!("route add default via {}\n", self.variant.lb()));
        }
        netns.ip(&self.vip_on("lo"))?;
        if forward.is_tunnel() {
            // Its own link has room for the tunnel's headers, the client's has not.
            let client = host(self.variant.client(), family);
            netns.ip(&format!("route add {client} dev {INTERFACE} mtu {MTU}\n"))?;
        }
        Ok(())
    }

    /// The lines that give an end its addresses.
    fn end(&self, addresses: &[IpAddr]) -> String {
        let prefix = self.variant.prefix();
        let lines = addresses.iter().map(|a| format!("address add {a}/{prefix} dev {INTERFACE}\n"));
        format!("link set lo up\nlink set {INTERFACE} up\n{}", lines.collect::<String>())
    }

    /// The line that puts the VIP on an interface.
    fn vip_on(&self, interface: &str) -> String {
        let vip = host(self.variant.vip(), self.variant.family);
        // No host speaks of itself by it: IPv6 would choose it as a source by its prefix alone.
        let never = if self.variant.family == Family::V6 { " preferred_lft 0" } else { "" };
        format!("address add {vip} dev {interface}{never}\n")
    }

    /// What a frame of an end may carry, and of its port.
    fn mtu(&self, end: &str) -> u16 {
        let inside = self.variant.forward.is_tunnel() && end != "client";
        if inside { TUNNEL_MTU } else { MTU }
    }
}

/// An address as a network of its own.
fn host(address: IpAddr, family: Family) -> String {
    format!("{address}/{}", family.bits())
}

/// Kernel parameters of every namespace: IPv6 without delays, or none at all.
const fn family_sysctls(family: Family) -> &'static [(&'static str, &'static str)] {
    match family {
        Family::V4 => {
            &[("ipv6/conf/all/disable_ipv6", "1"), ("ipv6/conf/default/disable_ipv6", "1")]
        }
        Family::V6 => &[
            ("ipv6/conf/all/accept_dad", "0"),
            ("ipv6/conf/default/accept_dad", "0"),
            ("ipv6/conf/default/router_solicitations", "0"),
        ],
    }
}

/// The switch's port for an endpoint: `client`, `lb`, or a node by its name.
#[must_use]
pub fn port(endpoint: &str) -> String {
    format!("port-{endpoint}")
}

/// The lines that give an endpoint its wire.
fn wire(netns: &Netns, name: &str, mtu: u16) -> String {
    let (port, netns) = (port(name), netns.name());
    format!(
        "link add {port} mtu {mtu} type veth peer name {INTERFACE} mtu {mtu} netns {netns}\n\
         link set {port} master br0 up\n"
    )
}
