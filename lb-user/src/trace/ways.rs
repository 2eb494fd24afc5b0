//! The ways to the nodes, and back to the clients, from what the configuration overrides: nothing is
//! asked of the kernel, so that a trace is the same everywhere.
//!
//! Of what the configuration says nothing at all, something stands for it. What it says of some
//! nodes only, the others do not have: the way to them is not resolved.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::{Forward, NodeRecord};
use lb_ebpf::{Hop, Mac, Routed};

use crate::{
    config::{Interface, Node},
    decide::{Attached, Host, Intent, Model, NextHop},
};

/// Index of the one interface: frames come in by it, and go out of it. `BPF_PROG_TEST_RUN` says so
/// too, as this is the loopback interface's.
pub const INTERFACE: u32 = 1;
/// The largest IP packet of the way to any node, in bytes: Ethernet's.
pub const MTU: u16 = 1500;
/// Stands for the interface's own MAC.
pub const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Stands for the MAC of next hops.
pub const NEXT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// Stands for the source of tunnels to IPv4 nodes (the dummy address of RFC 7600).
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);
/// Stands for the source of tunnels to IPv6 nodes (the dummy prefix of RFC 9780).
pub const ADDRESS6: Ipv6Addr = Ipv6Addr::new(0x100, 0, 0, 1, 0, 0, 0, 8);

/// How many nodes a note lists.
const LISTED: usize = 20;

/// Where packets go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ways {
    /// By node id, those that are not resolved included.
    hops: Vec<NextHop>,
    /// By node id: why it is not resolved.
    missing: Vec<Option<Missing>>,
    /// This host: it has that interface, the addresses that are its tunnels', and does not fragment.
    pub host: Host,
    /// Where replies of `nat` nodes go.
    pub reply: Routed,
    /// What people should know of this.
    pub notes: Vec<String>,
}

/// Which override a way lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    Mac,
    Address,
    Address6,
}

impl Missing {
    const ALL: [Self; 3] = [Self::Mac, Self::Address, Self::Address6];

    const fn why(self) -> &'static str {
        match self {
            Self::Mac => "they have no `mac`, nor the first [[interface]] a `gateway_mac`",
            Self::Address => "the first [[interface]] has no `address` for tunnels to them",
            Self::Address6 => "the first [[interface]] has no `address6` for tunnels to them",
        }
    }
}

impl Ways {
    /// What a configuration says.
    #[must_use]
    pub fn of(model: &Model) -> Self {
        let known = Known::of(model);
        let ways = (0..model.nodes.len()).map(|id| {
            let forward = model.config.clusters[model.nodes[id].cluster].forward;
            known.hop(model.node(id), forward)
        });
        let (hops, missing): (Vec<_>, Vec<_>) = ways.unzip();
        let hop =
            |mac| Hop { dst_mac: Mac::new(mac), src_mac: Mac::new(known.mac), ifindex: INTERFACE };
        let addresses = known.address.map(IpAddr::from).into_iter();
        let host = Host {
            // Frames to any MAC are for it.
            interfaces: vec![Attached { ifindex: INTERFACE, mac: [0; 6] }],
            addresses: addresses.chain(known.address6.map(IpAddr::from)).collect(),
            fragments: false,
        };
        let mut notes = known.notes;
        for what in Missing::ALL {
            let nodes = (0..hops.len()).filter(|id| missing[*id] == Some(what));
            let names: Vec<String> = nodes.map(|id| name(model, id)).collect();
            notes.extend(note(what, &names));
        }
        let reply = known.gateway.map_or(Routed::ByHost, |mac| Routed::To(hop(mac)));
        Self { host, reply, hops, missing, notes }
    }

    /// The way to a node, taken as found if it is not resolved: who serves a flow does not depend on it.
    #[must_use]
    pub fn hop(&self, node: usize) -> NextHop {
        self.hops[node]
    }

    /// Takes from a plan the ways that are not resolved.
    pub fn unresolve(&self, intent: &mut Intent) {
        for (record, missing) in intent.nodes.iter_mut().zip(&self.missing) {
            if missing.is_some() {
                *record = NodeRecord { ifindex: 0, dst_mac: [0; 6], src_mac: [0; 6], ..*record };
            }
        }
    }
}

/// What is known of all ways.
struct Known {
    mac: [u8; 6],
    gateway: Option<[u8; 6]>,
    address: Option<Ipv4Addr>,
    address6: Option<Ipv6Addr>,
    notes: Vec<String>,
}

impl Known {
    fn of(model: &Model) -> Self {
        let config = &model.config;
        let first = config.interfaces.first();
        let of = |clusters: fn(Forward) -> bool| {
            config.clusters.iter().filter(move |cluster| clusters(cluster.forward))
        };
        let mut notes = Vec::new();
        let mut stands = |what: &str, value: String| {
            notes.push(format!("{what}: {value} here"));
        };
        let mac = first.and_then(|interface| interface.mac).unwrap_or_else(|| {
            stands("the first [[interface]] has no `mac`", print_mac(MAC));
            MAC
        });
        let mut gateway = first.and_then(|interface| interface.gateway_mac);
        let any_mac = of(|_| true).flat_map(|cluster| &cluster.nodes).any(|n| n.mac.is_some());
        if gateway.is_none() && !any_mac {
            stands("no `mac` of a node, and no `gateway_mac`", print_mac(NEXT_MAC));
            gateway = Some(NEXT_MAC);
        }
        let addresses = |interface: &Interface| (interface.address, interface.address6);
        let (mut address, mut address6) = first.map(addresses).unwrap_or_default();
        if address.is_none() && address6.is_none() {
            if of(tunnels).next().is_some() {
                let value = format!("tunnels are from {ADDRESS} and {ADDRESS6}");
                stands("the first [[interface]] has no `address` and no `address6`", value);
            }
            (address, address6) = (Some(ADDRESS), Some(ADDRESS6));
        }
        Self { mac, gateway, address, address6, notes }
    }

    /// The way to a node, and what is missing of it.
    fn hop(&self, node: &Node, forward: Forward) -> (NextHop, Option<Missing>) {
        let mac = node.mac.or(self.gateway);
        let (source, no_source) = match node.address {
            _ if !tunnels(forward) => (None, None),
            IpAddr::V4(_) => {
                let source = self.address.unwrap_or(ADDRESS);
                (Some(source.into()), self.address.is_none().then_some(Missing::Address))
            }
            IpAddr::V6(_) => {
                let source = self.address6.unwrap_or(ADDRESS6);
                (Some(source.into()), self.address6.is_none().then_some(Missing::Address6))
            }
        };
        let dst_mac = mac.unwrap_or(NEXT_MAC);
        let hop = NextHop {
            ifindex: INTERFACE,
            src_mac: self.mac,
            dst_mac,
            mtu: MTU,
            tags: [0; 2],
            source,
        };
        (hop, mac.is_none().then_some(Missing::Mac).or(no_source))
    }
}

/// `CLUSTER/NODE`.
fn name(model: &Model, node: usize) -> String {
    let cluster = &model.config.clusters[model.nodes[node].cluster].name;
    format!("{cluster}/{}", model.node(node).name)
}

const fn tunnels(forward: Forward) -> bool {
    matches!(forward, Forward::Ipip | Forward::Gue)
}

fn note(missing: Missing, names: &[String]) -> Option<String> {
    let listed = &names[..names.len().min(LISTED)];
    let more = match names.len() - listed.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let why = missing.why();
    (!names.is_empty()).then(|| format!("not resolved, as {why}: {}{more}", listed.join(", ")))
}

/// A MAC address as people write it.
pub(super) fn print_mac(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
