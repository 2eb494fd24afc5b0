//! What varies from road to road.

/// How the networks are carried, and what fits.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The network between the router and the load balancer.
    pub front: Link,
    /// The network between the load balancer and the nodes.
    pub back: Link,
    /// Who takes tunnels apart on nodes.
    pub tunnels: Tunnels,
    /// Whether the nodes are behind a gateway on the back network.
    pub gateway: bool,
    /// MTU of the client's link.
    pub client_mtu: u16,
    /// MTU of the back network: with room for a tunnel's headers, or without.
    pub back_mtu: u16,
    /// MTU of the load balancer's IPv4 route to the nodes on its network, where it has one.
    pub route_mtu: Option<u16>,
    /// MTU of the load balancer's own route to the client, if it is less than its device's.
    pub replies_mtu: Option<u16>,
}

/// Who takes tunnels apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tunnels {
    /// Our own program, on any kernel.
    Program,
    /// Sockets of ours, on any kernel: for fragments, which the program does not take.
    Sockets,
    /// The kernel's devices, set up as docs/forwarding.md says.
    Devices,
}

/// One of the load balancer's networks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// The wire that it is on: the load balancer has one for each number in use.
    pub wire: u8,
    /// VLAN tags, outermost first. Of two, the outer one is a service tag (IEEE 802.1ad).
    pub tags: &'static [u16],
}

/// What an ordinary link carries.
pub const MTU: u16 = 1500;
/// What a link carries that has room for tunnels' headers.
pub const WIDE: u16 = 1600;

/// Both networks on one wire, without tags, and room for tunnels.
pub const PLAIN: Shape = Shape {
    front: Link { wire: 0, tags: &[] },
    back: Link { wire: 0, tags: &[] },
    tunnels: Tunnels::Program,
    gateway: false,
    client_mtu: MTU,
    back_mtu: WIDE,
    route_mtu: None,
    replies_mtu: None,
};

impl Shape {
    /// How many wires the load balancer has.
    #[must_use]
    pub fn wires(self) -> u8 {
        1 + self.front.wire.max(self.back.wire)
    }
}

impl Link {
    /// The name of an end's device on this network, over its device on the wire.
    #[must_use]
    pub fn device(self, parent: &str) -> String {
        self.tags.iter().fold(parent.to_owned(), |name, tag| format!("{name}.{tag}"))
    }

    /// The lines of `ip` that make it. The wire's device must be up.
    #[must_use]
    pub fn devices(self, parent: &str) -> String {
        let mut name = parent.to_owned();
        let mut lines = String::new();
        for (position, tag) in self.tags.iter().enumerate() {
            let service = self.tags.len() == 2 && position == 0;
            let protocol = if service { "802.1ad" } else { "802.1Q" };
            let device = format!("{name}.{tag}");
            lines += &format!(
                "link add link {name} name {device} type vlan proto {protocol} id {tag}\n\
                 link set {device} up\n"
            );
            name = device;
        }
        lines
    }
}
