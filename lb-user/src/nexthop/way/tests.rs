use std::net::{Ipv4Addr, Ipv6Addr};

use lb_common::NodeRecord;
use rtnetlink::packet_route::neighbour::NeighbourState;

use super::{
    super::{
        kernel::{Link, Vlan},
        neighbours::{Entry, asked},
    },
    *,
};

const NODE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9));
const NODE6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9));
const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const LINK_LOCAL: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));
const OWN: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 5));
const OWN6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 5));
const TARGET: Target =
    Target { address: NODE, mac: None, forward: Forward::L2, through_vip: false };
const TUNNEL: Target = Target { forward: Forward::Ipip, ..TARGET };
const NAT: Target = Target { forward: Forward::Nat, ..TARGET };
const TUNNEL6: Target = Target { address: NODE6, forward: Forward::Gue, ..TARGET };
const ON_LINK: Route = route(2, None);
const BY_GATEWAY: Route = route(2, Some(GATEWAY));
const ELSEWHERE: Route = route(3, Some(GATEWAY));
/// Interfaces that are none of the configuration: a VLAN of 2, one of that, one of that, and one
/// that is none.
const VLAN: u32 = 4;
const DOUBLE: u32 = 5;
const TRIPLE: u32 = 6;
const STRANGE: u32 = 7;
/// Their tags.
const OUTER: u16 = NodeRecord::TAG | NodeRecord::SERVICE_TAG | 100;
const INNER: u16 = NodeRecord::TAG | 7;

const fn route(ifindex: u32, gateway: Option<IpAddr>) -> Route {
    Route { ifindex, gateway, local: false, source: None, mtu: None }
}

/// Interfaces, neighbours, and what the configuration says.
struct Says {
    links: Links,
    neighbours: Entries,
    interfaces: Vec<Interface>,
}

impl Says {
    fn kernel(&self) -> Kernel<'_> {
        let Self { links, neighbours, interfaces } = self;
        Kernel { links, neighbours, interfaces }
    }

    fn find(&self, target: &Target, route: Option<Route>, before: Option<&Known>) -> Known {
        self.kernel().find(target, route, before)
    }

    fn hop(&self, target: &Target, route: Route) -> Result<NextHop, Lack> {
        self.find(target, Some(route), None).hop
    }

    /// With something else said of interface 2.
    fn configured(mut self, change: impl FnOnce(&mut Interface)) -> Self {
        change(&mut self.interfaces[0]);
        self
    }
}

/// Interfaces 2 and 3 are configured, and are up or not; what is on them is up.
fn kernel(up: [bool; 2], neighbours: &[(u32, IpAddr, Entry)]) -> Says {
    let link = |index: u32, up, vlan| Link {
        name: format!("eth{index}"),
        mac: Some([index as u8; 6]),
        mtu: 1500,
        up,
        vlan,
        below: vlan.map(|vlan| vlan.parent),
        controller: None,
    };
    let on = |parent, tag| Some(Vlan { parent, tag });
    let links = [
        (2, up[0], None),
        (3, up[1], None),
        (VLAN, true, on(2, OUTER)),
        (DOUBLE, true, on(VLAN, INNER)),
        (TRIPLE, true, on(DOUBLE, INNER)),
        (STRANGE, true, None),
    ];
    let interface = |name: &str| Interface {
        name: name.to_owned(),
        mac: None,
        gateway_mac: None,
        address: None,
        address6: None,
    };
    Says {
        links: links.into_iter().map(|(i, up, vlan)| (i, link(i, up, vlan))).collect(),
        neighbours: neighbours.iter().map(|&(link, at, what)| ((link, at), what)).collect(),
        interfaces: ["eth2", "eth3"].map(interface).into(),
    }
}

fn hop(ifindex: u32, mac: u8) -> NextHop {
    NextHop {
        ifindex,
        src_mac: [ifindex as u8; 6],
        dst_mac: [mac; 6],
        mtu: 1500,
        tags: [0; 2],
        source: None,
    }
}

fn known(route: Route, mac: u8, way: Way) -> Known {
    Known { hop: Ok(hop(route.ifindex, mac)), way, route: Some(route) }
}

const NOTHING: Known = Known { hop: Err(Lack::NoRoute), way: Way::Up, route: None };
const ANSWERS: Entry = (NeighbourState::Reachable, Some([9; 6]));
const FAILED: Entry = (NeighbourState::Failed, None);

#[test]
fn a_link_that_is_down_keeps_the_last_hop() {
    let up = kernel([true, true], &[(2, NODE, ANSWERS)]);
    let found = up.find(&TARGET, Some(ON_LINK), None);
    assert_eq!(found, known(ON_LINK, 9, Way::Up));
    let down = Way::LinkDown { ifindex: 2 };
    let dead = kernel([false, true], &[]);
    let kept = known(ON_LINK, 9, down);
    assert_eq!(dead.find(&TARGET, Some(ON_LINK), Some(&found)), kept, "no carrier");
    assert_eq!(dead.find(&TARGET, None, Some(&found)), kept, "set down: the route is gone");
    assert_eq!(dead.find(&TARGET, Some(ELSEWHERE), Some(&found)), kept, "the default route");
    assert_eq!(up.find(&TARGET, None, Some(&kept)), NOTHING, "up, and no route: not its link");
    assert_eq!(up.find(&TARGET, Some(ON_LINK), Some(&kept)), found);
    let mut gone = kernel([true, true], &[]);
    gone.links.remove(&2);
    assert_eq!(gone.find(&TARGET, None, Some(&found)), kept);
    assert_eq!(dead.find(&TARGET, None, None), NOTHING, "nothing was known");
}

#[test]
fn a_second_way_of_the_same_kind_takes_over() {
    let dead = kernel([false, true], &[(3, GATEWAY, ANSWERS)]);
    let was = known(BY_GATEWAY, 9, Way::Up);
    let other = known(ELSEWHERE, 9, Way::Up);
    assert_eq!(dead.find(&TARGET, Some(ELSEWHERE), Some(&was)), other);
    let way = Way::LinkDown { ifindex: 2 };
    let both = kernel([false, false], &[]);
    assert_eq!(both.find(&TARGET, Some(ELSEWHERE), Some(&was)), known(BY_GATEWAY, 9, way));
    let strange = route(STRANGE, Some(GATEWAY));
    let kept = known(BY_GATEWAY, 9, way);
    assert_eq!(dead.find(&TARGET, Some(strange), Some(&was)), kept, "nothing can be sent there");
}

#[test]
fn a_default_route_takes_over_from_a_dead_link_where_packets_are_routed_on() {
    let dead = kernel([false, true], &[(3, GATEWAY, ANSWERS)]);
    let was = known(ON_LINK, 9, Way::Up);
    let kept = known(ON_LINK, 9, Way::LinkDown { ifindex: 2 });
    let route = Route { source: Some(OWN), ..ELSEWHERE };
    for forward in Forward::ALL {
        let found = dead.find(&Target { forward, ..TARGET }, Some(route), Some(&was));
        let expected = match forward {
            Forward::L2 => kept,
            _ => Known { hop: found.hop, way: Way::Up, route: Some(route) },
        };
        assert_eq!(found, expected, "{forward:?}");
        assert_eq!(found.hop.expect("it has one").ifindex, if found == kept { 2 } else { 3 });
    }
}

#[test]
fn a_gateway_is_down_from_failed_until_it_answers() {
    let failed = kernel([true, true], &[(2, GATEWAY, FAILED)]);
    let down = known(BY_GATEWAY, 9, Way::GatewayDown { gateway: GATEWAY });
    let was = known(BY_GATEWAY, 9, Way::Up);
    assert_eq!(failed.find(&TARGET, Some(BY_GATEWAY), Some(&was)), down);
    let asked = kernel([true, true], &[]);
    assert_eq!(asked.find(&TARGET, Some(BY_GATEWAY), Some(&down)), down, "asked again");
    assert_eq!(asked.find(&TARGET, Some(BY_GATEWAY), Some(&was)), was, "being asked");
    let answers = kernel([true, true], &[(2, GATEWAY, ANSWERS)]);
    assert_eq!(answers.find(&TARGET, Some(BY_GATEWAY), Some(&down)), was);
}

#[test]
fn a_next_hop_from_before_is_kept_whatever_its_route_while_a_neighbour_is_asked() {
    let before = Known::before(hop(2, 9));
    let asked = kernel([true, true], &[]);
    for route in [BY_GATEWAY, ON_LINK] {
        let found = asked.find(&TARGET, Some(route), Some(&before));
        assert_eq!(found, known(route, 9, Way::Up));
    }
    for other in [ELSEWHERE, route(VLAN, None)] {
        let found = asked.find(&TARGET, Some(other), Some(&before));
        assert_eq!(found.hop, Err(Lack::Silent), "another interface");
    }
    let tagged = NextHop { tags: [OUTER, 0], src_mac: [4; 6], ..hop(2, 9) };
    let found = asked.find(&TARGET, Some(route(VLAN, None)), Some(&Known::before(tagged)));
    assert_eq!(found.hop, Ok(tagged));
    let dead = kernel([false, true], &[(3, GATEWAY, ANSWERS)]);
    let kept = dead.find(&TARGET, Some(ELSEWHERE), Some(&before));
    assert_eq!((kept.hop, kept.way), (before.hop, Way::LinkDown { ifindex: 2 }));
}

#[test]
fn a_node_that_does_not_answer_is_no_matter_of_the_way() {
    let failed = kernel([true, true], &[(2, NODE, FAILED)]);
    let was = known(ON_LINK, 9, Way::Up);
    assert_eq!(failed.find(&TARGET, Some(ON_LINK), Some(&was)), was);
    let fresh = failed.find(&TARGET, Some(ON_LINK), None);
    assert_eq!((fresh.hop, fresh.way), (Err(Lack::Silent), Way::Up));
}

#[test]
fn frames_for_a_vlan_leave_by_the_interface_below_with_its_tags() {
    let ways = [VLAN, DOUBLE, TRIPLE, STRANGE, 2].map(|link| (link, NODE, ANSWERS));
    let kernel = kernel([true, true], &ways);
    let tagged = |link: u32, tags| Ok(NextHop { src_mac: [link as u8; 6], tags, ..hop(2, 9) });
    let table = [
        (2, Ok(hop(2, 9))),
        (VLAN, tagged(VLAN, [OUTER, 0])),
        (DOUBLE, tagged(DOUBLE, [OUTER, INNER])),
        (TRIPLE, Err(Lack::Tags { ifindex: TRIPLE })),
        (STRANGE, Err(Lack::Elsewhere { ifindex: STRANGE })),
        (99, Err(Lack::NoRoute)),
    ];
    for (link, expected) in table {
        assert_eq!(kernel.hop(&TARGET, route(link, None)), expected, "out of {link}");
    }
}

#[test]
fn a_vlan_is_down_with_the_interface_below() {
    let up = kernel([true, true], &[(DOUBLE, NODE, ANSWERS)]);
    let found = up.find(&TARGET, Some(route(DOUBLE, None)), None);
    let dead = kernel([false, true], &[]);
    let mut middle = kernel([true, true], &[]);
    middle.links.remove(&VLAN);
    for (kernel, ifindex) in [(dead, 2), (middle, VLAN)] {
        let kept = Known { way: Way::LinkDown { ifindex }, ..found };
        assert_eq!(kernel.find(&TARGET, Some(route(DOUBLE, None)), Some(&found)), kept);
        assert_eq!(kernel.find(&TARGET, None, None).way, Way::Up, "nothing was known");
        let fresh = kernel.find(&TARGET, Some(route(DOUBLE, None)), None);
        assert_eq!(fresh.way, Way::LinkDown { ifindex }, "down from the start");
    }
}

#[test]
fn neighbours_are_looked_for_on_the_interface_of_the_route_whatever_their_version() {
    let kernel = kernel([true, true], &[(2, NODE6, ANSWERS), (2, LINK_LOCAL, ANSWERS)]);
    let node6 = Target { address: NODE6, ..TARGET };
    let by_link_local = |ifindex| route(ifindex, Some(LINK_LOCAL));
    let table = [
        (node6, ON_LINK, Ok(hop(2, 9))),
        (node6, by_link_local(2), Ok(hop(2, 9))),
        // An IPv4 route through an IPv6 gateway (RFC 5549).
        (TARGET, by_link_local(2), Ok(hop(2, 9))),
        (node6, by_link_local(3), Err(Lack::Silent)),
        (node6, route(3, None), Err(Lack::Silent)),
        (node6, Route { local: true, ..ON_LINK }, Err(Lack::Local)),
    ];
    for (target, route, expected) in table {
        assert_eq!(kernel.hop(&target, route), expected, "{} by {route:?}", target.address);
    }
}

#[test]
fn what_the_configuration_says_counts_before_what_the_kernel_says() {
    let node = Target { mac: Some([7; 6]), ..TARGET };
    let own = |interface: &mut Interface| interface.mac = Some([8; 6]);
    let gateway = |interface: &mut Interface| interface.gateway_mac = Some([6; 6]);
    for link in [2, VLAN] {
        let tags = if link == VLAN { [OUTER, 0] } else { [0; 2] };
        let is = |src: u8, dst| Ok(NextHop { src_mac: [src; 6], tags, ..hop(2, dst) });
        let src = link as u8;
        for (address, router) in [(NODE, GATEWAY), (NODE6, LINK_LOCAL)] {
            let (node, plain) = (Target { address, ..node }, Target { address, ..TARGET });
            let silent = || kernel([true, true], &[]);
            let (direct, routed) = (route(link, None), route(link, Some(router)));
            assert_eq!(silent().hop(&node, direct), is(src, 7));
            assert_eq!(silent().hop(&node, routed), is(src, 7));
            let with = silent().configured(gateway);
            assert_eq!(with.hop(&plain, routed), is(src, 6));
            assert_eq!(with.hop(&plain, direct), Err(Lack::Silent), "no gateway");
            assert_eq!(with.hop(&node, routed), is(src, 7), "the node's own is closer");
            assert_eq!(silent().configured(own).hop(&node, direct), is(8, 7));
            let asks = |says: &Says, target, route| says.kernel().neighbour(target, &route);
            assert_eq!(asks(&silent(), &plain, direct), Some((link, address)));
            assert_eq!(asks(&silent(), &plain, routed), Some((link, router)));
            assert_eq!(asks(&with, &plain, routed), None);
            assert_eq!(asks(&with, &plain, direct), Some((link, address)));
            assert_eq!(asks(&silent(), &node, direct), None);
        }
    }
}

#[test]
fn a_packet_of_its_own_is_from_the_address_that_is_said_for_tunnels_or_that_the_route_prefers() {
    let [said, said6] = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 6)];
    let said6 = said6.to_ipv6_mapped();
    let configured = |interface: &mut Interface| {
        (interface.address, interface.address6) = (Some(said), Some(said6));
    };
    let neighbours = [(2, NODE, ANSWERS), (2, NODE6, ANSWERS), (VLAN, NODE, ANSWERS)];
    let plain = || kernel([true, true], &neighbours);
    let from = |source| Route { source: Some(source), ..ON_LINK };
    let table = [
        (plain(), TUNNEL, from(OWN), Ok(Some(OWN))),
        (plain(), TUNNEL6, from(OWN6), Ok(Some(OWN6))),
        (plain(), TUNNEL, ON_LINK, Err(Lack::NoSource)),
        (plain(), TARGET, from(OWN), Ok(None)),
        (plain().configured(configured), NAT, from(OWN), Ok(Some(OWN))),
        (plain(), NAT, ON_LINK, Ok(None)),
        (plain().configured(configured), TUNNEL, from(OWN), Ok(Some(said.into()))),
        (plain().configured(configured), TUNNEL, route(VLAN, None), Ok(Some(said.into()))),
        (plain().configured(configured), TUNNEL6, ON_LINK, Ok(Some(said6.into()))),
    ];
    for (case, (says, target, route, expected)) in table.into_iter().enumerate() {
        let source = says.hop(&target, route).map(|hop| hop.source);
        assert_eq!(source, expected, "case {case}");
    }
}

#[test]
fn the_mtu_is_the_least_that_is_known() {
    let kernel = kernel([true, true], &[(2, NODE, ANSWERS)]);
    for (mtu, expected) in [(None, 1500), (Some(1400), 1400), (Some(9000), 1500)] {
        let hop = kernel.hop(&TARGET, Route { mtu, ..ON_LINK });
        assert_eq!(hop.map(|hop| hop.mtu), Ok(expected), "{mtu:?}");
    }
}

#[test]
fn a_change_of_source_or_mtu_is_no_other_way() {
    let silent = kernel([true, true], &[]);
    let was = known(ON_LINK, 9, Way::Up);
    let route = Route { mtu: Some(1400), source: Some(OWN), ..ON_LINK };
    let found = silent.find(&TARGET, Some(route), Some(&was));
    assert_eq!(found.hop, Ok(NextHop { mtu: 1400, ..hop(2, 9) }));
}

#[test]
fn the_kernel_is_asked_for_what_it_does_not_find_out_by_itself() {
    use NeighbourState::{Delay, Failed, Incomplete, None as Nothing, Permanent, Probe, Stale};
    let mac = Some([9; 6]);
    let begun = Some((Incomplete, None));
    let table = [
        (None, begun, begun),
        (Some((Nothing, None)), begun, begun),
        (Some((Failed, None)), begun, begun),
        (Some((Incomplete, None)), None, None),
        (Some((Stale, mac)), None, Some((Delay, mac))),
        (Some((Delay, mac)), None, None),
        (Some((Probe, mac)), None, None),
        (Some(ANSWERS), None, None),
        (Some((Permanent, mac)), None, None),
    ];
    for (entry, used, unused) in table {
        assert_eq!((asked(entry, false), asked(entry, true)), (used, unused), "{entry:?}");
    }
}
