//! What this host is and knows of its ways to the nodes, as far as packets need it; and what a way
//! lacks that cannot be used.

use std::net::IpAddr;

use lb_common::Forward;

use super::model::Model;

/// Where packets for a node are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Index of the interface they leave by, not 0.
    pub ifindex: u32,
    /// MAC of that interface.
    pub src_mac: [u8; 6],
    /// MAC of the next hop.
    pub dst_mac: [u8; 6],
    /// MTU of the way, in bytes.
    pub mtu: u16,
    /// VLAN tags that frames leave with, as [`lb_common::NodeRecord`] has them.
    pub tags: [u16; 2],
    /// Address of this host that its own packets to the node are from: those of a tunnel, and with
    /// `nat` those that are answered to the host itself.
    pub source: Option<IpAddr>,
}

/// An interface of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Its index, not 0.
    pub ifindex: u32,
    /// The MAC address that frames to this host have which come in by it; zero: unknown, or several.
    pub mac: [u8; 6],
}

/// What this host is, as far as packets see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// The interfaces of the configuration, as far as they exist.
    pub interfaces: Vec<Attached>,
    /// All of its addresses, sorted.
    pub addresses: Vec<IpAddr>,
    /// It forwards IPv4 packets that are from an address of its own, and so fragments them
    /// (`ip_forward`; `forwarding`, `accept_local` and `rp_filter` of every interface of the
    /// configuration and every VLAN on one).
    pub fragments: bool,
}

/// Why no packet can be sent to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoWay {
    /// This host has no route to it, or does not know who the next hop is.
    NextHop,
    /// The tunnel to it has no source: this host has no address of the node's IP version on the way.
    Source,
}

impl NoWay {
    /// In words.
    pub const fn explain(self) -> &'static str {
        match self {
            Self::NextHop => "its next hop is not known",
            Self::Source => "this host has no address that the tunnel to it could come from",
        }
    }
}

/// The way to a node, with all that its cluster's way of forwarding needs, and no more.
///
/// # Errors
/// What is missing.
pub(super) fn usable(model: &Model, node: usize, hop: Option<NextHop>) -> Result<NextHop, NoWay> {
    let hop = hop.ok_or(NoWay::NextHop)?;
    let to = model.node(node).address;
    match model.config.clusters[model.nodes[node].cluster].forward {
        Forward::L2 | Forward::Nat => Ok(NextHop { source: None, ..hop }),
        Forward::Ipip | Forward::Gue => {
            let source = hop.source.filter(|source| source.is_ipv4() == to.is_ipv4());
            source.map(|_| hop).ok_or(NoWay::Source)
        }
    }
}
