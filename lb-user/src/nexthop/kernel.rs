//! What the kernel says of links and routes, and what its announcements are about.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use futures_util::TryStreamExt;
use lb_common::NodeRecord;
use rtnetlink::{
    Handle, RouteMessageBuilder,
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        link::{
            InfoData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, State,
            VlanProtocol,
        },
        route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType, RouteVia},
    },
};

use super::{
    NextHopError,
    neighbours::{self, Entry, Key},
};

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub name: String,
    /// `None`: it has none, or none of Ethernet.
    pub mac: Option<[u8; 6]>,
    pub mtu: u16,
    /// It is set up, and has a carrier.
    pub up: bool,
    /// What is sent out of it leaves by another one, with a tag.
    pub vlan: Option<Vlan>,
    /// Index of the one below it, of which it is a VLAN or some other part.
    pub below: Option<u32>,
    /// Index of the bridge, bond or other device that takes all that comes in by it.
    pub controller: Option<u32>,
}

/// A VLAN of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Vlan {
    /// Index of that interface.
    pub parent: u32,
    /// As [`NodeRecord::tags`] has them.
    pub tag: u16,
}

/// All interfaces, by index.
pub(super) type Links = HashMap<u32, Link>;

/// A way out of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub ifindex: u32,
    pub gateway: Option<IpAddr>,
    /// To this host itself.
    pub local: bool,
    /// The address that this host's own packets on it are from.
    pub source: Option<IpAddr>,
    /// Largest packet that it takes, in bytes, as far as the route says so.
    pub mtu: Option<u16>,
}

impl Route {
    /// Whether frames on both take the same way.
    pub(super) fn is_along(&self, other: &Self) -> bool {
        (self.ifindex, self.gateway, self.local) == (other.ifindex, other.gateway, other.local)
    }
}

/// What an announcement is about.
pub(super) enum Change {
    /// A link.
    Link,
    /// An address of this host, a rule of routing, or several things whose announcements got lost.
    Anything,
    /// Routes to addresses with this prefix and length.
    Route(IpAddr, u8),
    /// A neighbour; `None`: it is forgotten.
    Neighbour(Key, Option<Entry>),
    /// Nothing that matters.
    Nothing,
}

/// What an announcement is about.
pub(super) fn change(message: NetlinkMessage<RouteNetlinkMessage>) -> Change {
    use RouteNetlinkMessage::{
        DelAddress, DelLink, DelNeighbour, DelRoute, DelRule, NewAddress, NewLink, NewNeighbour,
        NewRoute, NewRule,
    };
    let message = match message.payload {
        NetlinkPayload::InnerMessage(message) => message,
        NetlinkPayload::Overrun(_) => return Change::Anything,
        _ => return Change::Nothing,
    };
    match message {
        NewLink(_) | DelLink(_) => Change::Link,
        NewAddress(_) | DelAddress(_) | NewRule(_) | DelRule(_) => Change::Anything,
        NewRoute(route) | DelRoute(route) => prefix(&route),
        NewNeighbour(message) => neighbours::entry(&message)
            .map_or(Change::Nothing, |(key, entry)| Change::Neighbour(key, Some(entry))),
        DelNeighbour(message) => neighbours::entry(&message)
            .map_or(Change::Nothing, |(key, _)| Change::Neighbour(key, None)),
        _ => Change::Nothing,
    }
}

fn prefix(route: &RouteMessage) -> Change {
    let to = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(a)) => Some(IpAddr::V4(*a)),
        RouteAttribute::Destination(RouteAddress::Inet6(a)) => Some(IpAddr::V6(*a)),
        _ => None,
    });
    // A default route has none.
    let default = || match route.header.address_family {
        AddressFamily::Inet => Some(Ipv4Addr::UNSPECIFIED.into()),
        AddressFamily::Inet6 => Some(Ipv6Addr::UNSPECIFIED.into()),
        _ => None,
    };
    let length = route.header.destination_prefix_length;
    to.or_else(default).map_or(Change::Nothing, |to| Change::Route(to, length))
}

/// All interfaces.
pub(super) async fn links(handle: &Handle) -> Result<Links, NextHopError> {
    let read = |source| NextHopError::Read { what: "links", source };
    let mut found = HashMap::new();
    let mut links = Box::pin(handle.link().get().execute());
    while let Some(message) = links.try_next().await.map_err(read)? {
        found.insert(message.header.index, link(message));
    }
    Ok(found)
}

fn link(message: LinkMessage) -> Link {
    let (mut name, mut mac, mut mtu, mut dead) = (String::new(), None, 0, false);
    let (mut below, mut controller, mut tag, mut is_elsewhere) = (None, None, None, false);
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(value) => name = value,
            LinkAttribute::Address(value) => mac = value.try_into().ok(),
            // Those that know nothing of it are `Unknown`.
            LinkAttribute::OperState(state) => {
                dead = matches!(state, State::Down | State::LowerLayerDown | State::NotPresent);
            }
            LinkAttribute::Mtu(value) => mtu = clamp(value),
            LinkAttribute::Link(index) => below = Some(index),
            LinkAttribute::Controller(index) => controller = Some(index),
            // The index is one of another namespace.
            LinkAttribute::LinkNetNsId(_) => is_elsewhere = true,
            LinkAttribute::LinkInfo(infos) => tag = infos.iter().find_map(vlan_tag),
            _ => {}
        }
    }
    let up = message.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp) && !dead;
    let below = below.filter(|_| !is_elsewhere);
    let vlan = below.zip(tag).map(|(parent, tag)| Vlan { parent, tag });
    Link { name, mac, mtu, up, vlan, below, controller }
}

/// The tag of a VLAN's interface.
fn vlan_tag(info: &LinkInfo) -> Option<u16> {
    let LinkInfo::Data(InfoData::Vlan(infos)) = info else { return None };
    let (mut id, mut kind) = (None, 0);
    for info in infos {
        match info {
            InfoVlan::Id(value) => id = Some(*value),
            InfoVlan::Protocol(VlanProtocol::Ieee8021Ad) => kind = NodeRecord::SERVICE_TAG,
            _ => {}
        }
    }
    id.map(|id| NodeRecord::TAG | kind | id)
}

/// The kernel's route to an address, `None` where it has none. Of several ways at once it is the
/// one that the kernel's hash of the addresses chooses.
pub(super) async fn route(handle: &Handle, address: IpAddr) -> Result<Option<Route>, NextHopError> {
    let length = if address.is_ipv4() { 32 } else { 128 };
    let request = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(address, length)
        .map_err(|error| std::io::Error::other(error.to_string()))
        .map_err(NextHopError::Open)?
        .build();
    let mut answers = Box::pin(handle.route().get(request).execute());
    match answers.try_next().await {
        Ok(message) => Ok(message.as_ref().and_then(usable)),
        // The kernel has no way to it: ENETUNREACH and the like.
        Err(rtnetlink::Error::NetlinkError(_)) => Ok(None),
        Err(source) => Err(NextHopError::Read { what: "routes", source }),
    }
}

/// A route that packets can take.
fn usable(message: &RouteMessage) -> Option<Route> {
    let local = match message.header.kind {
        RouteType::Unicast => false,
        RouteType::Local => true,
        _ => return None,
    };
    let mut route = Route { ifindex: 0, gateway: None, local, source: None, mtu: None };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => route.ifindex = *index,
            RouteAttribute::Gateway(RouteAddress::Inet(a))
            | RouteAttribute::Via(RouteVia::Inet(a)) => route.gateway = Some((*a).into()),
            RouteAttribute::Gateway(RouteAddress::Inet6(a))
            | RouteAttribute::Via(RouteVia::Inet6(a)) => route.gateway = Some((*a).into()),
            RouteAttribute::PrefSource(RouteAddress::Inet(a)) => route.source = Some((*a).into()),
            RouteAttribute::PrefSource(RouteAddress::Inet6(a)) => route.source = Some((*a).into()),
            RouteAttribute::Metrics(metrics) => {
                route.mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(clamp(*mtu)),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    Some(route)
}

/// No IP packet is longer.
fn clamp(mtu: u32) -> u16 {
    u16::try_from(mtu).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::link::InfoKind;

    use super::*;

    /// What a link with these attributes besides a name is taken for.
    fn vlan_of(attributes: &[LinkAttribute]) -> Option<Vlan> {
        let mut message = LinkMessage::default();
        message.attributes = attributes.to_vec();
        link(message).vlan
    }

    fn info(data: Vec<InfoVlan>) -> LinkAttribute {
        let data = LinkInfo::Data(InfoData::Vlan(data));
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Vlan), data])
    }

    #[test]
    fn a_vlan_is_known_by_its_kind_and_its_parent() {
        let tagged = |tag| Some(Vlan { parent: 4, tag });
        let parent = LinkAttribute::Link(4);
        let customer = info(vec![InfoVlan::Id(7), InfoVlan::Protocol(VlanProtocol::Ieee8021Q)]);
        let service = info(vec![InfoVlan::Protocol(VlanProtocol::Ieee8021Ad), InfoVlan::Id(4094)]);
        let veth = LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth)]);
        let table = [
            (vec![parent.clone(), customer.clone()], tagged(0x8007)),
            (vec![service, parent.clone()], tagged(0xcffe)),
            (vec![customer.clone()], None),
            (vec![parent.clone(), veth], None),
            (vec![parent, LinkAttribute::LinkNetNsId(0), customer], None),
        ];
        for (attributes, expected) in table {
            assert_eq!(vlan_of(&attributes), expected, "{attributes:?}");
        }
    }

    #[test]
    fn a_route_is_read_with_its_gateway_of_either_version() {
        let (node4, node6) = (Ipv4Addr::new(10, 0, 0, 1), Ipv6Addr::LOCALHOST);
        let with = |gateway| Route {
            ifindex: 3,
            gateway,
            local: false,
            source: Some(node4.into()),
            mtu: Some(1400),
        };
        let table = [
            (None, None),
            (Some(RouteAttribute::Gateway(RouteAddress::Inet(node4))), Some(node4.into())),
            (Some(RouteAttribute::Gateway(RouteAddress::Inet6(node6))), Some(node6.into())),
            (Some(RouteAttribute::Via(RouteVia::Inet6(node6))), Some(node6.into())),
        ];
        for (attribute, gateway) in table {
            let mut message = RouteMessage::default();
            message.header.kind = RouteType::Unicast;
            message.attributes = vec![
                RouteAttribute::Oif(3),
                RouteAttribute::PrefSource(RouteAddress::Inet(node4)),
                RouteAttribute::Metrics(vec![RouteMetric::Hoplimit(9), RouteMetric::Mtu(1400)]),
            ];
            message.attributes.extend(attribute);
            assert_eq!(usable(&message), Some(with(gateway)));
            message.header.kind = RouteType::BlackHole;
            assert_eq!(usable(&message), None);
        }
    }
}
