//! What the kernel says of links, neighbours and routes.

use std::{collections::HashMap, net::IpAddr};

use futures_util::TryStreamExt;
use rtnetlink::{
    Handle, NeighbourAddRequest, RouteMessageBuilder,
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::{
        RouteNetlinkMessage,
        link::{LinkAttribute, LinkFlags, State},
        neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourState},
        route::{RouteAddress, RouteAttribute, RouteType},
    },
};

use super::NextHopError;

/// An interface.
pub(super) struct Link {
    pub name: String,
    /// `None`: it has none, or none of Ethernet.
    pub mac: Option<[u8; 6]>,
    pub mtu: u16,
    /// It is set up, and has a carrier.
    pub up: bool,
}

/// What the kernel knows of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Neighbour {
    /// It answers, or did when it was last needed.
    Answers([u8; 6]),
    /// It was asked and did not answer.
    Failed,
}

/// A way out of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub ifindex: u32,
    pub gateway: Option<IpAddr>,
    /// To this host itself.
    pub local: bool,
}

/// Whether an announcement is about a link.
pub(super) fn is_about_link(message: &NetlinkMessage<RouteNetlinkMessage>) -> bool {
    use RouteNetlinkMessage::{DelLink, NewLink};
    matches!(&message.payload, NetlinkPayload::InnerMessage(NewLink(_) | DelLink(_)))
}

/// All interfaces, by index.
pub(super) async fn links(handle: &Handle) -> Result<HashMap<u32, Link>, NextHopError> {
    let read = |source| NextHopError::Read { what: "links", source };
    let mut found = HashMap::new();
    let mut links = Box::pin(handle.link().get().execute());
    while let Some(link) = links.try_next().await.map_err(read)? {
        let (mut name, mut mac, mut mtu, mut dead) = (String::new(), None, 0, false);
        for attribute in link.attributes {
            match attribute {
                LinkAttribute::IfName(value) => name = value,
                LinkAttribute::Address(value) => mac = value.try_into().ok(),
                // Those that know nothing of it are `Unknown`.
                LinkAttribute::OperState(state) => {
                    dead = matches!(state, State::Down | State::LowerLayerDown | State::NotPresent);
                }
                LinkAttribute::Mtu(value) => mtu = u16::try_from(value).unwrap_or(u16::MAX),
                _ => {}
            }
        }
        let wanted = LinkFlags::Up | LinkFlags::LowerUp;
        let up = link.header.flags.contains(wanted) && !dead;
        found.insert(link.header.index, Link { name, mac, mtu, up });
    }
    Ok(found)
}

/// What the kernel has of a neighbour: its state, and its MAC if it is known.
pub(super) type Entry = (NeighbourState, Option<[u8; 6]>);

/// All neighbours, by interface and address.
pub(super) async fn neighbours(
    handle: &Handle,
) -> Result<HashMap<(u32, IpAddr), Entry>, NextHopError> {
    let read = |source| NextHopError::Read { what: "neighbours", source };
    let mut found = HashMap::new();
    let mut neighbours = Box::pin(handle.neighbours().get().execute());
    while let Some(neighbour) = neighbours.try_next().await.map_err(read)? {
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
        if let Some(address) = address {
            let key = (neighbour.header.ifindex, address);
            found.insert(key, (neighbour.header.state, mac));
        }
    }
    Ok(found)
}

impl Neighbour {
    /// What an entry says; `None`: it is being asked.
    pub(super) fn of((state, mac): Entry) -> Option<Self> {
        match state {
            NeighbourState::Incomplete | NeighbourState::None => None,
            NeighbourState::Failed => Some(Self::Failed),
            _ => mac.map(Self::Answers),
        }
    }
}

/// What an entry says of whether a neighbour that was [`probe`]d lives; `None`: it has not answered.
pub(super) fn lives((state, _): Entry) -> Option<bool> {
    match state {
        // The latter two are never asked.
        NeighbourState::Reachable | NeighbourState::Permanent | NeighbourState::Noarp => Some(true),
        NeighbourState::Failed => Some(false),
        _ => None,
    }
}

/// Has the kernel ask a neighbour at once whether it lives, however sure it is.
pub(super) async fn probe(
    handle: &Handle,
    (ifindex, address): (u32, IpAddr),
    entry: Option<Entry>,
) -> Result<(), NextHopError> {
    use NeighbourState::{Delay, Probe, Reachable, Stale};
    let request = handle.neighbours().add(ifindex, address).replace();
    let request = match entry {
        Some((Reachable | Stale | Delay | Probe, Some(mac))) => {
            request.state(Probe).link_layer_address(&mac)
        }
        // It is being asked, or will be now; a static one stays as it is.
        _ => request.state(NeighbourState::None).flags(NeighbourFlags::Use),
    };
    executed(request).await
}

/// Has the kernel find out who the neighbour on the way to an address is, or ask whether that is
/// still so, as if it had to send something.
pub(super) async fn resolve(
    handle: &Handle,
    route: &Route,
    address: IpAddr,
) -> Result<(), NextHopError> {
    let neighbour = route.gateway.unwrap_or(address);
    let request = handle.neighbours().add(route.ifindex, neighbour).replace();
    executed(request.state(NeighbourState::None).flags(NeighbourFlags::Use)).await
}

async fn executed(request: NeighbourAddRequest) -> Result<(), NextHopError> {
    match request.execute().await {
        // Refused for an interface without neighbours.
        Ok(()) | Err(rtnetlink::Error::NetlinkError(_)) => Ok(()),
        Err(source) => Err(NextHopError::Read { what: "neighbours", source }),
    }
}

/// The kernel's route to an address, `None` where it has none.
pub(super) async fn route(handle: &Handle, address: IpAddr) -> Result<Option<Route>, NextHopError> {
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
