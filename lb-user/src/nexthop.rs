//! Next hops of the nodes, from the kernel's routes, links and neighbours, kept current.
//!
//! The kernel resolves neighbours because the checks talk to the nodes; this module only looks.
//! Checks through a VIP go round the kernel's neighbours: for these it asks the kernel to resolve.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    time::Duration,
};

use futures_util::{StreamExt, TryStreamExt};
use lb_common::NodeId;
use rtnetlink::{
    Handle, MulticastGroup, RouteMessageBuilder, new_multicast_connection,
    packet_route::{
        link::LinkAttribute,
        neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourState},
        route::{RouteAddress, RouteAttribute, RouteType},
    },
};
use thiserror::Error;
use tokio::{sync::mpsc::UnboundedSender, time};

use crate::{
    config::{Config, Interface},
    decide::{NextHop, Pools},
};

/// After a change is announced, others that follow at once are taken together.
const SETTLE: Duration = Duration::from_millis(20);
/// Looked at anyway, should an announcement be lost.
const AGAIN: Duration = Duration::from_secs(5);

/// Netlink did not answer.
#[derive(Debug, Error)]
#[allow(missing_docs)]
pub enum NextHopError {
    #[error("cannot open a netlink socket: {0}")]
    Open(#[source] std::io::Error),
    #[error("the netlink socket was closed")]
    Closed,
    #[error("cannot read the kernel's {what}: {source}")]
    Read { what: &'static str, source: rtnetlink::Error },
}

/// A node to find the way to.
#[derive(Clone, Debug)]
struct Target {
    node: NodeId,
    address: IpAddr,
    mac: Option<[u8; 6]>,
    /// Whether checks go to it through a VIP.
    through_vip: bool,
}

/// Follows the next hops of all nodes of a configuration and tells of every change.
pub struct NextHops {
    handle: Handle,
    targets: Vec<Target>,
    interfaces: Vec<Interface>,
    known: HashMap<NodeId, Option<NextHop>>,
}

impl NextHops {
    /// Follows them until the receiver is gone.
    ///
    /// # Errors
    /// No netlink socket, or it was closed, or the first look failed.
    pub async fn follow(
        config: &Config,
        report: &UnboundedSender<(NodeId, Option<NextHop>)>,
    ) -> Result<(), NextHopError> {
        let (connection, handle, mut changes) = new_multicast_connection(&[
            MulticastGroup::Link,
            MulticastGroup::Neigh,
            MulticastGroup::Ipv4Route,
        ])
        .map_err(NextHopError::Open)?;
        tokio::spawn(connection);
        let mut hops = Self {
            handle,
            targets: targets(config),
            interfaces: config.interfaces.clone(),
            known: HashMap::new(),
        };
        hops.look(report).await?;
        while !report.is_closed() {
            if let Ok(None) = time::timeout(AGAIN, changes.next()).await {
                return Err(NextHopError::Closed);
            }
            time::sleep(SETTLE).await;
            while let Ok(Some(_)) = time::timeout(Duration::ZERO, changes.next()).await {}
            if let Err(error) = hops.look(report).await {
                tracing::warn!("{error}");
            }
        }
        Ok(())
    }

    async fn look(
        &mut self,
        report: &UnboundedSender<(NodeId, Option<NextHop>)>,
    ) -> Result<(), NextHopError> {
        let links = links(&self.handle).await?;
        let neighbours = neighbours(&self.handle).await?;
        for target in &self.targets {
            let before = self.known.get(&target.node).copied();
            let found = match route(&self.handle, target.address).await? {
                Some(route) => {
                    if target.through_vip && target.mac.is_none() {
                        resolve(&self.handle, &route, target.address).await?;
                    }
                    self.by_route(target, &route, &links, &neighbours, before.flatten())
                }
                None => None,
            };
            if before != Some(found) {
                self.known.insert(target.node, found);
                // The receiver being gone ends the loop in `follow`.
                let _ = report.send((target.node, found));
            }
        }
        Ok(())
    }

    /// The next hop on a route; `None` while there is none, or none that Ethernet frames can take.
    fn by_route(
        &self,
        target: &Target,
        route: &Route,
        links: &HashMap<u32, Link>,
        neighbours: &HashMap<(u32, IpAddr), [u8; 6]>,
        before: Option<NextHop>,
    ) -> Option<NextHop> {
        let link = links.get(&route.ifindex)?;
        let interface = self.interfaces.iter().find(|i| i.name == link.name);
        let hop = route.gateway.unwrap_or(target.address);
        let gateway_mac = interface.filter(|_| route.gateway.is_some()).and_then(|i| i.gateway_mac);
        // A neighbour that no longer answers keeps its last MAC on the same interface: whether
        // the node lives is for the checks to say.
        let last = before.filter(|hop| hop.ifindex == route.ifindex).map(|hop| hop.dst_mac);
        let dst_mac = target
            .mac
            .or(gateway_mac)
            .or_else(|| neighbours.get(&(route.ifindex, hop)).copied())
            .or(last)?;
        let src_mac = interface.and_then(|i| i.mac).unwrap_or(link.mac);
        Some(NextHop { ifindex: route.ifindex, src_mac, dst_mac, mtu: link.mtu })
    }
}

/// Whether packets to an address are for this host: one of its addresses, or routed as local.
///
/// # Errors
/// Netlink did not answer.
pub async fn is_local(address: IpAddr) -> Result<bool, NextHopError> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(NextHopError::Open)?;
    tokio::spawn(connection);
    Ok(route(&handle, address).await?.is_some_and(|route| route.local))
}

fn targets(config: &Config) -> Vec<Target> {
    let checks = Pools::of(config).targets.into_iter().filter(|check| check.vip.is_some());
    let through_vip: HashSet<IpAddr> = checks.map(|check| check.at.ip()).collect();
    let nodes = config.clusters.iter().flat_map(|cluster| &cluster.nodes);
    nodes
        .enumerate()
        .filter_map(|(index, node)| {
            Some(Target {
                node: NodeId::new(index)?,
                address: node.address,
                mac: node.mac,
                through_vip: through_vip.contains(&node.address),
            })
        })
        .collect()
}

struct Link {
    name: String,
    mac: [u8; 6],
    mtu: u16,
}

struct Route {
    ifindex: u32,
    gateway: Option<IpAddr>,
    local: bool,
}

async fn links(handle: &Handle) -> Result<HashMap<u32, Link>, NextHopError> {
    let read = |source| NextHopError::Read { what: "links", source };
    let mut found = HashMap::new();
    let mut links = Box::pin(handle.link().get().execute());
    while let Some(link) = links.try_next().await.map_err(read)? {
        let (mut name, mut mac, mut mtu) = (String::new(), None, 0);
        for attribute in link.attributes {
            match attribute {
                LinkAttribute::IfName(value) => name = value,
                LinkAttribute::Address(value) => mac = value.try_into().ok(),
                LinkAttribute::Mtu(value) => mtu = u16::try_from(value).unwrap_or(u16::MAX),
                _ => {}
            }
        }
        if let Some(mac) = mac {
            found.insert(link.header.index, Link { name, mac, mtu });
        }
    }
    Ok(found)
}

async fn neighbours(handle: &Handle) -> Result<HashMap<(u32, IpAddr), [u8; 6]>, NextHopError> {
    let read = |source| NextHopError::Read { what: "neighbours", source };
    let mut found = HashMap::new();
    let mut neighbours = Box::pin(handle.neighbours().get().execute());
    while let Some(neighbour) = neighbours.try_next().await.map_err(read)? {
        if matches!(
            neighbour.header.state,
            NeighbourState::Incomplete | NeighbourState::Failed | NeighbourState::None
        ) {
            continue;
        }
        let (mut address, mut mac) = (None, None);
        for attribute in neighbour.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(a)) => {
                    address = Some(IpAddr::V4(a));
                }
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(a)) => {
                    address = Some(IpAddr::V6(a));
                }
                NeighbourAttribute::LinkLayerAddress(value) => mac = value.try_into().ok(),
                _ => {}
            }
        }
        if let (Some(address), Some(mac)) = (address, mac) {
            found.insert((neighbour.header.ifindex, address), mac);
        }
    }
    Ok(found)
}

/// Has the kernel find out who the neighbour on the way to an address is, or ask whether that is
/// still so, as if it had to send something.
async fn resolve(handle: &Handle, route: &Route, address: IpAddr) -> Result<(), NextHopError> {
    let neighbour = route.gateway.unwrap_or(address);
    let request = handle.neighbours().add(route.ifindex, neighbour).replace();
    let request = request.state(NeighbourState::None).flags(NeighbourFlags::Use);
    match request.execute().await {
        // Refused for an interface without neighbours.
        Ok(()) | Err(rtnetlink::Error::NetlinkError(_)) => Ok(()),
        Err(source) => Err(NextHopError::Read { what: "neighbours", source }),
    }
}

/// The kernel's route to an address, `None` where it has none.
async fn route(handle: &Handle, address: IpAddr) -> Result<Option<Route>, NextHopError> {
    let length = if address.is_ipv4() { 32 } else { 128 };
    let request = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(address, length)
        .map_err(|error| std::io::Error::other(error.to_string()))
        .map_err(NextHopError::Open)?
        .build();
    let mut answers = Box::pin(handle.route().get(request).execute());
    let route = match answers.try_next().await {
        Ok(Some(route)) => route,
        // The kernel has no way to it: ENETUNREACH and the like.
        Ok(None) | Err(rtnetlink::Error::NetlinkError(_)) => return Ok(None),
        Err(source) => return Err(NextHopError::Read { what: "routes", source }),
    };
    let (mut ifindex, mut gateway) = (0, None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => ifindex = *index,
            RouteAttribute::Gateway(RouteAddress::Inet(a)) => gateway = Some(IpAddr::V4(*a)),
            RouteAttribute::Gateway(RouteAddress::Inet6(a)) => gateway = Some(IpAddr::V6(*a)),
            _ => {}
        }
    }
    Ok(Some(Route { ifindex, gateway, local: route.header.kind == RouteType::Local }))
}
