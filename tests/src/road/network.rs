//! The namespaces of a road and their wires.
//!
//! ```text
//!     client ── router ── [wire 0] ── load balancer ── [wire 0 or 1] ── nodes, or a gateway ── nodes
//! ```
//!
//! The router is on the back network as well: but for `nat`, nodes answer by it, past the load
//! balancer.

use anyhow::{Context, Result};
use aya::programs::links::FdLink;

use super::{
    addresses::{CLIENT, GATEWAY, LB, Network, ROUTER, vips},
    shape::{Link, MTU, Shape, Tunnels},
    way,
};
use crate::{
    netns::Netns,
    offload,
    owner::Owner,
    variant::{Family, Forward},
    xdp::{self, Program},
};

/// How many nodes there are.
pub const NODES: u8 = 2;

/// Both IP versions.
pub const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// The routing table of a packet from a node's own address: an answer to `nat`, or to a check.
const BY_SOURCE: u8 = 100;

/// IPv6 addresses are there at once, and nobody believes whom it should not.
const ALL_SYSCTLS: [(&str, &str); 6] = [
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/router_solicitations", "0"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    // Pings without being root's raw sockets: the kernel checks the answers.
    ("ipv4/ping_group_range", "0 2147483647"),
];
/// Whoever forwards. The VIPs are the load balancer's, too, and come back to it from `nat` nodes.
const FORWARDER_SYSCTLS: [(&str, &str); 5] = [
    ("ipv4/ip_forward", "1"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv4/conf/all/accept_local", "1"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
];
const NODE_SYSCTLS: [(&str, &str); 2] =
    [("ipv4/conf/all/arp_ignore", "1"), ("ipv4/conf/all/arp_announce", "2")];

/// Devices that take any tunnel of theirs apart; `fou add` is what opens GUE's port.
const TUNNEL_DEVICES: &str = "link add ipip-in type ipip external\nlink set ipip-in up\n\
    link set sit0 up\n\
    link add ip6-in type ip6tnl mode any external\nlink set ip6-in up\n\
    fou add port 6080 gue\n";
/// The same for IPv6.
const TUNNEL_DEVICES_V6: &str = "fou add port 6080 gue\n";

/// The namespaces of a road. Dropping it takes them down.
#[derive(Debug)]
pub struct Road {
    /// Where everything is asked.
    pub client: Netns,
    /// Between the client and the rest.
    pub router: Netns,
    /// Where the daemon runs.
    pub lb: Netns,
    /// The bridges, one for each wire and one behind the gateway.
    pub switch: Netns,
    /// The servers.
    pub nodes: Vec<Netns>,
    gateway: Option<Netns>,
    /// What it was built as.
    pub shape: Shape,
    /// Hold the programs on interfaces.
    links: Vec<FdLink>,
}

impl Road {
    /// Builds it, named after the owner.
    ///
    /// # Errors
    /// If something is refused; what was made is removed again.
    pub fn build(owner: Owner, shape: Shape) -> Result<Self> {
        let roles = ["client", "router", "lb", "switch"].map(str::to_owned).into_iter();
        let roles = roles.chain((0..NODES).map(|number| format!("n{number}")));
        let roles = roles.chain(shape.gateway.then(|| "gateway".to_owned()));
        let mut made = Netns::create(roles.map(|role| owner.netns(&role)).collect())?.into_iter();
        let mut next = || made.next().context("a namespace is missing");
        let (client, router, lb, switch) = (next()?, next()?, next()?, next()?);
        let nodes = (0..NODES).map(|_| next()).collect::<Result<_>>()?;
        let gateway = made.next();
        let links = Vec::new();
        let mut road = Self { client, router, lb, switch, nodes, gateway, shape, links };
        road.connect().context("connecting the namespaces")?;
        road.attach()?;
        Ok(road)
    }

    /// Takes a node's link down, or up again.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn set_link(&self, node: u8, up: bool) -> Result<()> {
        let state = if up { "up" } else { "down" };
        self.switch.ip(&format!("link set {} {state}\n", port(&node_role(node), "eth0")))
    }

    /// The network that nodes have their own addresses on.
    #[must_use]
    pub const fn nodes_network(&self) -> Network {
        if self.shape.gateway { Network::Behind } else { Network::Back }
    }

    /// All who send or receive.
    pub fn ends(&self) -> impl Iterator<Item = &Netns> {
        [&self.client, &self.router, &self.lb].into_iter().chain(&self.nodes).chain(&self.gateway)
    }

    /// Makes everybody forget what was found out about the sizes of ways.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn forget_mtus(&self) -> Result<()> {
        self.ends().try_for_each(|end| {
            end.ip("route flush cache\n")?;
            end.ip6("route flush cache\n")
        })
    }

    fn connect(&self) -> Result<()> {
        let Self { router, lb, switch, nodes, gateway, shape, .. } = self;
        for netns in self.ends().chain([switch]) {
            netns.sysctl(&ALL_SYSCTLS)?;
            netns.ip("link set lo up\n")?;
        }
        for netns in [router, lb].into_iter().chain(gateway) {
            netns.sysctl(&FORWARDER_SYSCTLS)?;
        }
        for wire in 0..=shape.wires() {
            switch.ip(&format!(
                "link add br{wire} type bridge stp_state 0 mcast_snooping 0\n\
                 link set br{wire} up\n"
            ))?;
        }
        self.connect_client()?;
        self.connect_router()?;
        self.connect_lb()?;
        if let Some(gateway) = gateway {
            self.connect_gateway(gateway)?;
        }
        (0..NODES).zip(nodes).try_for_each(|(number, node)| self.connect_node(number, node))
    }

    fn connect_client(&self) -> Result<()> {
        let (router, mtu) = (self.router.name(), self.shape.client_mtu);
        self.client.ip(&format!(
            "link add eth0 mtu {mtu} type veth peer name eth0 mtu {mtu} netns {router}\n"
        ))?;
        for (netns, host) in [(&self.client, CLIENT), (&self.router, ROUTER)] {
            netns.run(|| offload::off("eth0"))?;
            netns.ip("link set eth0 up\n")?;
            addressed(netns, "eth0", Network::Outside, host)?;
        }
        // What the client says it can take is what its far end cannot: so its link's size must be
        // found out.
        let says = [(Family::V4, MTU - 40), (Family::V6, MTU - 60)];
        says.into_iter().try_for_each(|(family, advmss)| {
            let router = Network::Outside.host(family, ROUTER);
            self.client.ip(&format!("route add default via {router} advmss {advmss}\n"))
        })
    }

    fn connect_router(&self) -> Result<()> {
        let Shape { front, back, gateway, .. } = self.shape;
        let device = |link: Link| format!("eth{}", 1 + link.wire);
        let mut wires = vec![front.wire, back.wire];
        wires.dedup();
        for wire in wires {
            self.plug(&self.router, "router", &format!("eth{}", 1 + wire), wire)?;
        }
        let front = self.joined(&self.router, front, &device(front))?;
        addressed(&self.router, &front, Network::Front, ROUTER)?;
        let back = self.joined(&self.router, back, &device(back))?;
        addressed(&self.router, &back, Network::Back, ROUTER)?;
        for family in FAMILIES {
            let lb = Network::Front.host(family, LB);
            self.router.ip(&format!("route add {} via {lb}\n", vips(family)))?;
            if gateway {
                self.router.ip(&behind(family))?;
            }
        }
        Ok(())
    }

    fn connect_lb(&self) -> Result<()> {
        let Shape { front, back, gateway, replies_mtu, .. } = self.shape;
        // What is not locked the kernel does not tell the program (`ip_mtu_from_fib_result`, `ip6_mtu_from_fib6`).
        let mtu = replies_mtu.map_or_else(String::new, |mtu| format!(" mtu lock {mtu}"));
        let device = |link: Link| format!("eth{}", link.wire);
        for wire in 0..self.shape.wires() {
            self.plug(&self.lb, "lb", &format!("eth{wire}"), wire)?;
        }
        let front = self.joined(&self.lb, front, &device(front))?;
        addressed(&self.lb, &front, Network::Front, LB)?;
        let back = self.joined(&self.lb, back, &device(back))?;
        addressed(&self.lb, &back, Network::Back, LB)?;
        if let Some(mtu) = self.shape.route_mtu {
            let to = Network::Back.prefix(Family::V4);
            self.lb.ip(&format!("route replace {to} dev {back} scope link mtu {mtu}\n"))?;
        }
        for family in FAMILIES {
            let router = Network::Front.host(family, ROUTER);
            self.lb.ip(&format!("route add default via {router}{mtu}\n"))?;
            if gateway {
                self.lb.ip(&behind(family))?;
            }
        }
        let vips = way::ALL.map(way::Way::address);
        vips.iter().try_for_each(|vip| self.lb.ip(&format!("address add {vip} dev lo\n")))
    }

    fn connect_gateway(&self, gateway: &Netns) -> Result<()> {
        self.plug(gateway, "gateway", "eth0", self.shape.back.wire)?;
        let back = self.joined(gateway, self.shape.back, "eth0")?;
        addressed(gateway, &back, Network::Back, GATEWAY)?;
        self.plug(gateway, "gateway", "eth1", self.shape.wires())?;
        addressed(gateway, "eth1", Network::Behind, GATEWAY)?;
        for family in FAMILIES {
            let (router, lb) = (Network::Back.host(family, ROUTER), Network::Back.host(family, LB));
            let behind = Network::Behind.prefix(family);
            by_source(gateway, family, &behind, &lb.to_string())?;
            gateway.ip(&format!("route add default via {router}\n"))?;
        }
        Ok(())
    }

    fn connect_node(&self, number: u8, node: &Netns) -> Result<()> {
        node.sysctl(&NODE_SYSCTLS)?;
        let network = self.nodes_network();
        let (wire, device) = if self.shape.gateway {
            (self.shape.wires(), None)
        } else {
            (self.shape.back.wire, Some(self.shape.back))
        };
        self.plug(node, &node_role(number), "eth0", wire)?;
        let device = match device {
            Some(link) => self.joined(node, link, "eth0")?,
            None => "eth0".to_owned(),
        };
        for way in way::ALL {
            let (address, prefix) = (way.node(network, number), Network::bits(way.nodes));
            node.ip(&format!("address add {address}/{prefix} dev {device}\n"))?;
        }
        for family in FAMILIES {
            let (router, lb) = if self.shape.gateway { (GATEWAY, GATEWAY) } else { (ROUTER, LB) };
            let (router, lb) = (network.host(family, router), network.host(family, lb));
            by_source(node, family, &network.prefix(family), &lb.to_string())?;
            node.ip(&format!("route add default via {router} mtu {MTU}\n"))?;
        }
        if self.shape.tunnels == Tunnels::Devices {
            node.ip(TUNNEL_DEVICES)?;
            node.ip6(TUNNEL_DEVICES_V6)?;
        }
        let direct = way::ALL.into_iter().filter(|way| way.forward != Forward::Nat);
        direct
            .map(way::Way::address)
            .try_for_each(|vip| node.ip(&format!("address add {vip} dev lo\n")))
    }

    /// A wire from an end to a bridge.
    fn plug(&self, end: &Netns, role: &str, device: &str, wire: u8) -> Result<()> {
        let (port, netns, mtu) = (port(role, device), end.name(), self.wire_mtu());
        self.switch.ip(&format!(
            "link add {port} mtu {mtu} type veth peer name {device} mtu {mtu} netns {netns}\n\
             link set {port} master br{wire} up\n"
        ))?;
        self.switch.run(|| offload::off(&port))?;
        end.run(|| offload::off(device))?;
        end.ip(&format!("link set {device} up\n"))
    }

    /// Makes a device for a network on a wire; its name.
    fn joined(&self, end: &Netns, link: Link, parent: &str) -> Result<String> {
        let device = link.device(parent);
        // Two networks may be on the same device.
        if !link.tags.is_empty() {
            end.ip(&link.devices(parent))?;
            end.ip(&format!("link set {device} mtu {}\n", self.shape.back_mtu))?;
        }
        Ok(device)
    }

    /// What a wire carries: the tags, too.
    fn wire_mtu(&self) -> u16 {
        let tags = self.shape.front.tags.len().max(self.shape.back.tags.len());
        self.shape.back_mtu + 4 * tags as u16
    }

    /// The programs: `pass` on the far ends of the load balancer's wires, `decap` on the nodes.
    fn attach(&mut self) -> Result<()> {
        let mut pass = Program::load(xdp::PASS)?;
        for wire in 0..self.shape.wires() {
            let port = port("lb", &format!("eth{wire}"));
            self.links.push(pass.attach(&self.switch, &port)?);
        }
        if self.shape.tunnels == Tunnels::Program {
            let mut decap = Program::load(xdp::DECAP)?;
            for node in &self.nodes {
                self.links.push(decap.attach(node, "eth0")?);
            }
        }
        Ok(())
    }
}

/// The name of a node's namespace.
fn node_role(number: u8) -> String {
    format!("n{number}")
}

/// The bridge's port for an end's device.
fn port(role: &str, device: &str) -> String {
    format!("{role}-{device}")
}

/// Both addresses of a host on a network.
fn addressed(netns: &Netns, device: &str, network: Network, host: u8) -> Result<()> {
    FAMILIES.into_iter().try_for_each(|family| {
        let address = network.interface(family, host);
        netns.ip(&format!("address add {address} dev {device}\n"))
    })
}

/// The route to the nodes behind the gateway.
fn behind(family: Family) -> String {
    let gateway = Network::Back.host(family, GATEWAY);
    format!("route add {} via {gateway}\n", Network::Behind.prefix(family))
}

/// Sends what comes from a source by a gateway of its own.
fn by_source(netns: &Netns, family: Family, source: &str, gateway: &str) -> Result<()> {
    let rule = format!("rule add from {source} table {BY_SOURCE}\n");
    match family {
        Family::V4 => netns.ip(&rule)?,
        Family::V6 => netns.ip6(&rule)?,
    }
    netns.ip(&format!("route add default via {gateway} mtu {MTU} table {BY_SOURCE}\n"))
}
