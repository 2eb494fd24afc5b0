//! What this host is and knows of its ways to the nodes, as far as packets need it; and what a way
//! lacks that cannot be used.

use std::net::{IpAddr, Ipv6Addr};

use lb_common::{Forward, NodeRecord, PlanRecord};

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

impl NextHop {
    /// The one that a node's record has; of `nat` without its source, which no packet needs.
    pub(super) fn written(record: &NodeRecord) -> Option<Self> {
        let &NodeRecord { ifindex, src_mac, dst_mac, mtu, tags, source, .. } = record;
        let source = (source != [0; 16]).then(|| Ipv6Addr::from(source).to_canonical());
        (ifindex != 0).then_some(Self { ifindex, src_mac, dst_mac, mtu, tags, source })
    }
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

impl Host {
    /// As much of it as a plan needed that is in force; `own`: its own addresses that stand there.
    /// `None`: the plan knew nothing of it.
    pub(super) fn written(plan: &PlanRecord, own: &[[u32; 4]]) -> Option<Self> {
        let interfaces = plan.interfaces.iter().zip(plan.macs);
        let interfaces = interfaces.map(|(&ifindex, mac)| Attached { ifindex, mac });
        let interfaces: Vec<_> = interfaces.take_while(|own| own.ifindex != 0).collect();
        let address = |words: &[u32; 4]| {
            let bits = words.iter().fold(0, |bits, &word| bits << 32 | u128::from(word));
            Ipv6Addr::from(bits).to_canonical()
        };
        let mut addresses: Vec<IpAddr> = own.iter().map(address).collect();
        addresses.sort_unstable();
        let fragments = plan.flags & PlanRecord::HOST_FRAGMENTS != 0;
        let known = plan.flags != 0 || !interfaces.is_empty();
        known.then_some(Self { interfaces, addresses, fragments })
    }
}

/// Whether plans of one model need to know no more of the host than those of another.
pub(super) fn needs_no_more(of: &Model, than: &Model) -> bool {
    let needs = |model: &Model| {
        let ways = model.ways().map(|way| match way {
            Forward::L2 => 0,
            // Whether it fragments.
            Forward::Ipip | Forward::Gue => 1,
            // Its addresses, too.
            Forward::Nat => 2,
        });
        ways.max().unwrap_or(0)
    };
    needs(of) <= needs(than)
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
