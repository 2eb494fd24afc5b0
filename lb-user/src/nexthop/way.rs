//! Decides from what the kernel says where a node's packets go, and whether that way is up. Pure.

use std::{collections::HashMap, net::IpAddr};

use super::kernel::{Link, Neighbour, Route};
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

/// A node to find the way to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub address: IpAddr,
    /// Its MAC, if the configuration says it.
    pub mac: Option<[u8; 6]>,
    /// Whether checks go to it through a VIP, and so past the kernel's neighbours.
    pub through_vip: bool,
}

/// What is known of the way to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub hop: Option<NextHop>,
    pub way: Way,
    /// The way that `hop` takes; `None`: there is none, or only its interface is known.
    pub route: Option<Route>,
}

impl Known {
    /// A next hop from before this process looked.
    pub(super) fn before(hop: NextHop) -> Self {
        Self { hop: Some(hop), way: Way::Up, route: None }
    }

    /// Whether packets took a route, as far as it is known which they took.
    fn took(&self, route: &Route) -> bool {
        match self.route {
            Some(known) => known == *route,
            None => self.hop.is_some_and(|hop| hop.ifindex == route.ifindex),
        }
    }

    /// The link of the way is down: what is known stays, but for that. `None`: it is not.
    pub(super) fn behind_dead_link(&self, links: &HashMap<u32, Link>) -> Option<Self> {
        let by_hop = || self.hop.map(|hop| hop.ifindex);
        let ifindex = self.route.map(|route| route.ifindex).or_else(by_hop)?;
        let dead = links.get(&ifindex).is_none_or(|link| !link.up);
        dead.then_some(Self { way: Way::LinkDown { ifindex }, ..*self })
    }
}

/// What the kernel says.
pub(super) struct Kernel<'a> {
    pub links: &'a HashMap<u32, Link>,
    pub neighbours: &'a HashMap<(u32, IpAddr), Neighbour>,
    /// What the configuration says instead.
    pub interfaces: &'a [Interface],
}

impl Kernel<'_> {
    /// The way to a node whose route is this now.
    pub(super) fn find(
        &self,
        target: &Target,
        route: Option<Route>,
        before: Option<&Known>,
    ) -> Known {
        if let Some(dead) = before.and_then(|known| known.behind_dead_link(self.links))
            && !route.is_some_and(|route| self.stands_in(&route, &dead))
        {
            return dead;
        }
        let Some(route) = route else { return Known { hop: None, way: Way::Up, route: None } };
        let before = before.filter(|known| known.took(&route));
        Known {
            hop: self.hop(target, &route, before.and_then(|known| known.hop)),
            way: self.way(&route, before.map(|known| known.way)),
            route: Some(route),
        }
    }

    /// Whether a route takes over from one whose link is down. Without its link a node on link
    /// seems to be behind whatever gateway is the default: frames for it are not for that one.
    fn stands_in(&self, route: &Route, dead: &Known) -> bool {
        let up = self.links.get(&route.ifindex).is_some_and(|link| link.up);
        let was_on_link = dead.route.is_none_or(|route| route.gateway.is_none());
        up && !(was_on_link && route.gateway.is_some())
    }

    fn way(&self, route: &Route, before: Option<Way>) -> Way {
        let ifindex = route.ifindex;
        if self.links.get(&ifindex).is_some_and(|link| !link.up) {
            return Way::LinkDown { ifindex };
        }
        let Some(gateway) = route.gateway else { return Way::Up };
        match self.neighbours.get(&(ifindex, gateway)) {
            Some(Neighbour::Failed) => Way::GatewayDown { gateway },
            Some(Neighbour::Answers(_)) => Way::Up,
            // Asked again and again, a dead gateway is not `Failed` all the time.
            None => match before {
                Some(Way::GatewayDown { gateway }) => Way::GatewayDown { gateway },
                _ => Way::Up,
            },
        }
    }

    /// The next hop on a route; `None` while there is none that Ethernet frames can take.
    fn hop(&self, target: &Target, route: &Route, last: Option<NextHop>) -> Option<NextHop> {
        let link = self.links.get(&route.ifindex)?;
        let interface = self.interfaces.iter().find(|i| i.name == link.name);
        let hop = route.gateway.unwrap_or(target.address);
        let gateway_mac = interface.filter(|_| route.gateway.is_some()).and_then(|i| i.gateway_mac);
        let neighbour = match self.neighbours.get(&(route.ifindex, hop)) {
            Some(Neighbour::Answers(mac)) => Some(*mac),
            // A neighbour that no longer answers keeps its last MAC on the same way: whether the
            // node lives is for the checks to say.
            Some(Neighbour::Failed) | None => last.map(|last| last.dst_mac),
        };
        let dst_mac = target.mac.or(gateway_mac).or(neighbour)?;
        let src_mac = interface.and_then(|i| i.mac).or(link.mac)?;
        Some(NextHop {
            ifindex: route.ifindex,
            src_mac,
            dst_mac,
            mtu: link.mtu,
            tags: [0; 2],
            source: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9));
    const GATEWAY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const TARGET: Target = Target { address: NODE, mac: None, through_vip: false };
    const ON_LINK: Route = Route { ifindex: 2, gateway: None, local: false };
    const BY_GATEWAY: Route = Route { ifindex: 2, gateway: Some(GATEWAY), local: false };
    const ELSEWHERE: Route = Route { ifindex: 3, gateway: Some(GATEWAY), local: false };

    /// Interfaces 2 and 3 and whether they are up, and neighbours.
    struct Says {
        links: HashMap<u32, Link>,
        neighbours: HashMap<(u32, IpAddr), Neighbour>,
    }

    impl Says {
        fn find(&self, target: &Target, route: Option<Route>, before: Option<&Known>) -> Known {
            let Self { links, neighbours } = self;
            Kernel { links, neighbours, interfaces: &[] }.find(target, route, before)
        }
    }

    fn kernel(up: [bool; 2], neighbours: &[(u32, IpAddr, Neighbour)]) -> Says {
        let link = |up| Link { name: String::new(), mac: Some([2; 6]), mtu: 1500, up };
        Says {
            links: [(2, link(up[0])), (3, link(up[1]))].into(),
            neighbours: neighbours.iter().map(|&(link, at, what)| ((link, at), what)).collect(),
        }
    }

    fn known(route: Route, mac: u8, way: Way) -> Known {
        let ifindex = route.ifindex;
        let hop = NextHop {
            ifindex,
            src_mac: [2; 6],
            dst_mac: [mac; 6],
            mtu: 1500,
            tags: [0; 2],
            source: None,
        };
        Known { hop: Some(hop), way, route: Some(route) }
    }

    const NOTHING: Known = Known { hop: None, way: Way::Up, route: None };
    const ANSWERS: Neighbour = Neighbour::Answers([9; 6]);

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
        let both = kernel([false, false], &[]);
        let way = Way::LinkDown { ifindex: 2 };
        assert_eq!(both.find(&TARGET, Some(ELSEWHERE), Some(&was)), known(BY_GATEWAY, 9, way));
    }

    #[test]
    fn a_gateway_is_down_from_failed_until_it_answers() {
        let failed = kernel([true, true], &[(2, GATEWAY, Neighbour::Failed)]);
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
        let NextHop { ifindex, .. } = known(BY_GATEWAY, 9, Way::Up).hop.expect("it has one");
        let before = Known::before(known(BY_GATEWAY, 9, Way::Up).hop.expect("it has one"));
        let asked = kernel([true, true], &[]);
        for route in [BY_GATEWAY, ON_LINK] {
            let found = asked.find(&TARGET, Some(route), Some(&before));
            assert_eq!(found, known(route, 9, Way::Up));
        }
        let elsewhere = asked.find(&TARGET, Some(ELSEWHERE), Some(&before));
        assert_eq!(elsewhere.hop, None, "another interface");
        let dead = kernel([false, true], &[(3, GATEWAY, ANSWERS)]);
        let kept = dead.find(&TARGET, Some(ELSEWHERE), Some(&before));
        assert_eq!((kept.hop, kept.way), (before.hop, Way::LinkDown { ifindex }));
    }

    #[test]
    fn a_node_that_does_not_answer_is_no_matter_of_the_way() {
        let failed = kernel([true, true], &[(2, NODE, Neighbour::Failed)]);
        let was = known(ON_LINK, 9, Way::Up);
        assert_eq!(failed.find(&TARGET, Some(ON_LINK), Some(&was)), was);
        let fresh = failed.find(&TARGET, Some(ON_LINK), None);
        assert_eq!((fresh.hop, fresh.way), (None, Way::Up));
    }
}
