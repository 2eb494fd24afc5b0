//! Decides from what the kernel says where a node's packets go, and whether that way is up. Pure.

use std::net::IpAddr;

use lb_common::Forward;

use super::{
    kernel::{Links, Route},
    neighbours::{Entries, Key, Neighbour},
};
use crate::{config::Interface, decide::NextHop};

/// Whether this host's own way to a node is up, as far as its first hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// It is, or nothing is known against it.
    Up,
    /// The interface is down, has no carrier, or is gone.
    LinkDown {
        /// Its index.
        ifindex: u32,
    },
    /// The gateway does not answer.
    GatewayDown {
        /// Its address.
        gateway: IpAddr,
    },
}

/// Why a node has no next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lack {
    /// The kernel has no route to it.
    NoRoute,
    /// It is this host itself.
    Local,
    /// Its route leaves by an interface that is none of the configuration, nor a VLAN of one.
    Elsewhere {
        /// Its index.
        ifindex: u32,
    },
    /// Its route leaves by an interface under more than two VLAN tags.
    Tags {
        /// Its index.
        ifindex: u32,
    },
    /// Its route leaves by an interface that is not Ethernet.
    NotEthernet {
        /// Its index.
        ifindex: u32,
    },
    /// The node, or the gateway before it, has not said its MAC.
    Silent,
    /// This host has no address that a tunnel to it could be from.
    NoSource,
}

/// A node to find the way to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub address: IpAddr,
    /// Its MAC, if the configuration says it.
    pub mac: Option<[u8; 6]>,
    /// How packets are brought to it.
    pub forward: Forward,
    /// Whether checks go to it through a VIP, and so past the kernel's neighbours.
    pub through_vip: bool,
}

/// What is known of the way to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub hop: Result<NextHop, Lack>,
    pub way: Way,
    /// The way that `hop` takes; `None`: there is none, or only its interface is known.
    pub route: Option<Route>,
}

impl Known {
    /// A next hop from before this process looked.
    pub(super) fn before(hop: NextHop) -> Self {
        Self { hop: Ok(hop), way: Way::Up, route: None }
    }

    /// The link of the way is down: what is known stays, but for that. `None`: it is not.
    pub(super) fn behind_dead_link(&self, links: &Links) -> Option<Self> {
        let by_hop = || self.hop.ok().map(|hop| hop.ifindex);
        let ifindex = self.route.map(|route| route.ifindex).or_else(by_hop)?;
        let ifindex = down(links, ifindex)?;
        Some(Self { way: Way::LinkDown { ifindex }, ..*self })
    }
}

/// The lowest interface that is down, or gone, of those that frames leave by that are sent out of
/// this one.
fn down(links: &Links, ifindex: u32) -> Option<u32> {
    let below = |at: &u32| links.get(at)?.vlan.map(|vlan| vlan.parent);
    let dead = |at: &u32| links.get(at).is_none_or(|link| !link.up);
    std::iter::successors(Some(ifindex), below).filter(dead).last()
}

/// What the kernel says.
pub(super) struct Kernel<'a> {
    pub links: &'a Links,
    pub neighbours: &'a Entries,
    /// What the configuration says instead.
    pub interfaces: &'a [Interface],
}

/// Where frames leave that are sent out of an interface: by one of the configuration, with tags.
struct Port<'a> {
    ifindex: u32,
    tags: [u16; 2],
    interface: &'a Interface,
}

impl<'a> Kernel<'a> {
    /// The way to a node whose route is this now.
    pub(super) fn find(
        &self,
        target: &Target,
        route: Option<Route>,
        before: Option<&Known>,
    ) -> Known {
        if let Some(dead) = before.and_then(|known| known.behind_dead_link(self.links))
            && !route.is_some_and(|route| self.stands_in(target, &route, &dead))
        {
            return dead;
        }
        let Some(route) = route else {
            return Known { hop: Err(Lack::NoRoute), way: Way::Up, route: None };
        };
        let before = before.filter(|known| self.took(known, &route));
        Known {
            hop: self.hop(target, &route, before.and_then(|known| known.hop.ok())),
            way: self.way(&route, before.map(|known| known.way)),
            route: Some(route),
        }
    }

    /// The neighbour that a route leads to, if it is of use to know it.
    pub(super) fn neighbour(&self, target: &Target, route: &Route) -> Option<Key> {
        let port = self.port(route.ifindex).ok().filter(|_| !route.local)?;
        let is_said = target.mac.or_else(|| gateway_mac(&port, route)).is_some();
        let key = (route.ifindex, route.gateway.unwrap_or(target.address));
        (!is_said).then_some(key)
    }

    /// Whether packets took a route, as far as it is known which they took.
    fn took(&self, known: &Known, route: &Route) -> bool {
        match (known.route, known.hop, self.port(route.ifindex)) {
            (Some(known), ..) => known.is_along(route),
            (None, Ok(hop), Ok(port)) => (hop.ifindex, hop.tags) == (port.ifindex, port.tags),
            _ => false,
        }
    }

    /// Whether a route takes over from one whose link is down. Without its link a node on link
    /// seems to be behind whatever gateway is the default: that one does not take frames for it, but
    /// sends on IP packets to its address.
    fn stands_in(&self, target: &Target, route: &Route, dead: &Known) -> bool {
        let usable = self.port(route.ifindex).is_ok() && down(self.links, route.ifindex).is_none();
        let was_on_link = dead.route.is_none_or(|route| route.gateway.is_none());
        let is_strange = target.forward == Forward::L2 && was_on_link && route.gateway.is_some();
        usable && !is_strange
    }

    fn way(&self, route: &Route, before: Option<Way>) -> Way {
        let ifindex = route.ifindex;
        // One that is not known has been made just now.
        if let Some(ifindex) =
            down(self.links, ifindex).filter(|_| self.links.contains_key(&ifindex))
        {
            return Way::LinkDown { ifindex };
        }
        let Some(gateway) = route.gateway else { return Way::Up };
        match self.says(&(ifindex, gateway)) {
            Some(Neighbour::Failed) => Way::GatewayDown { gateway },
            Some(Neighbour::Answers(_)) => Way::Up,
            // Asked again and again, a dead gateway is not `Failed` all the time.
            None => match before {
                Some(Way::GatewayDown { gateway }) => Way::GatewayDown { gateway },
                _ => Way::Up,
            },
        }
    }

    /// The next hop on a route.
    fn hop(&self, target: &Target, route: &Route, last: Option<NextHop>) -> Result<NextHop, Lack> {
        if route.local {
            return Err(Lack::Local);
        }
        let port = self.port(route.ifindex)?;
        let link = self.links.get(&route.ifindex).ok_or(Lack::NoRoute)?;
        let src_mac = port.interface.mac.or(link.mac);
        let src_mac = src_mac.ok_or(Lack::NotEthernet { ifindex: route.ifindex })?;
        let neighbour = match self.says(&(route.ifindex, route.gateway.unwrap_or(target.address))) {
            Some(Neighbour::Answers(mac)) => Some(mac),
            // A neighbour that no longer answers keeps its last MAC on the same way: whether the
            // node lives is for the checks to say.
            Some(Neighbour::Failed) | None => last.map(|last| last.dst_mac),
        };
        let said = target.mac.or_else(|| gateway_mac(&port, route));
        let source = match target.forward {
            Forward::L2 => None,
            Forward::Nat => route.source,
            Forward::Ipip | Forward::Gue => Some(source(target, &port, route)?),
        };
        Ok(NextHop {
            ifindex: port.ifindex,
            src_mac,
            dst_mac: said.or(neighbour).ok_or(Lack::Silent)?,
            mtu: route.mtu.map_or(link.mtu, |mtu| mtu.min(link.mtu)),
            tags: port.tags,
            source,
        })
    }

    fn says(&self, key: &Key) -> Option<Neighbour> {
        self.neighbours.get(key).copied().and_then(Neighbour::of)
    }

    /// Where frames leave that are sent out of an interface.
    fn port(&self, ifindex: u32) -> Result<Port<'a>, Lack> {
        let (mut at, mut tags) = (ifindex, [0; 2]);
        loop {
            let link = self.links.get(&at).ok_or(Lack::NoRoute)?;
            if let Some(interface) = self.interfaces.iter().find(|i| i.name == link.name) {
                return Ok(Port { ifindex: at, tags, interface });
            }
            let vlan = link.vlan.ok_or(Lack::Elsewhere { ifindex })?;
            if tags[1] != 0 {
                return Err(Lack::Tags { ifindex });
            }
            // What is below puts its tag before that of what is above.
            tags = [vlan.tag, tags[0]];
            at = vlan.parent;
        }
    }
}

fn gateway_mac(port: &Port<'_>, route: &Route) -> Option<[u8; 6]> {
    route.gateway.and(port.interface.gateway_mac)
}

/// The address that tunnel packets are from: what the configuration says, else what the kernel would
/// take for packets of its own.
fn source(target: &Target, port: &Port<'_>, route: &Route) -> Result<IpAddr, Lack> {
    let said = match target.address {
        IpAddr::V4(_) => port.interface.address.map(IpAddr::V4),
        IpAddr::V6(_) => port.interface.address6.map(IpAddr::V6),
    };
    said.or(route.source).ok_or(Lack::NoSource)
}

#[cfg(test)]
mod tests;
