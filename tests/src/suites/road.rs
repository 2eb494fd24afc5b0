//! Real traffic over every way to forward, on roads of different shapes.

use anyhow::Result;

use crate::{
    road::{
        check::{self, Demand},
        network::NODES,
        shape::{Link, MTU, PLAIN, Shape, Tunnels},
        travel::Travel,
        way::{self, Way},
    },
    runner::{self, Case},
    variant::{Family, Forward},
};

/// The cases.
pub(super) const CASES: &[Case] = &[
    Case::network("road/plain", plain),
    Case::network("road/two-interfaces", two_interfaces),
    Case::network("road/behind-a-gateway", behind_a_gateway),
    Case::network("road/small-link", small_link),
    Case::network("road/no-room-for-tunnels", no_room),
    Case::network("road/the-host-fragments", cut_up),
    Case::network("road/small-way-for-replies", small_replies),
    Case::devices("road/vlans-and-tunnel-devices", vlans),
    Case::devices("road/two-tags-and-tunnel-devices", two_tags),
];

/// Nothing has to be found out.
const DIRECT: Demand =
    Demand { bulk: 20_000_000, attempts: 1, nodes_learn: false, client_learns: false };

/// The same where the processor is emulated.
const EMULATED: Demand = Demand { bulk: 2_000_000, ..DIRECT };

/// A link that is smaller than what its end says of it. IPv6 has 1280 at the least.
const SMALL: u16 = 1300;

/// The nodes' network, where it has a tag.
const TAGGED: Link = Link { wire: 0, tags: &[20] };

/// Also: a VIP without a node falls silent.
fn plain() -> Result<()> {
    let mut travel = Travel::start(PLAIN, &way::ALL, runner::stop()?)?;
    check::all(&travel, &way::ALL, Demand { bulk: 100_000_000, ..DIRECT })?;
    for node in 0..NODES {
        travel.road.set_link(node, false)?;
    }
    travel.until("every node down", |status| {
        status.clusters.iter().flat_map(|c| &c.nodes).all(|node| node.state == "down")
    })?;
    [way::ALL[0], way::ALL[1]].into_iter().try_for_each(|way| check::falls_silent(&travel, way))
}

fn vlans() -> Result<()> {
    let front = Link { wire: 0, tags: &[10] };
    on(Shape { front, back: TAGGED, tunnels: Tunnels::Devices, ..PLAIN }, &way::ALL, EMULATED)
}

fn two_tags() -> Result<()> {
    let front = Link { wire: 0, tags: &[100, 10] };
    on(Shape { front, back: TAGGED, tunnels: Tunnels::Devices, ..PLAIN }, &way::ALL, EMULATED)
}

fn two_interfaces() -> Result<()> {
    let back = Link { wire: 1, tags: &[] };
    on(Shape { back, ..PLAIN }, &way::ALL, DIRECT)
}

/// A MAC address leads to the gateway only, so this is not for `l2`.
fn behind_a_gateway() -> Result<()> {
    let ways: Vec<Way> = way::ALL.into_iter().filter(|way| way.forward != Forward::L2).collect();
    on(Shape { gateway: true, ..PLAIN }, &ways, DIRECT)
}

/// The first of a node's packets that are too big are lost, and their sender is told: the VIP,
/// which is to say the node that they came from.
fn small_link() -> Result<()> {
    let demand = Demand { attempts: 2, nodes_learn: true, ..DIRECT };
    on(Shape { client_mtu: SMALL, ..PLAIN }, &way::ALL, demand)
}

/// The load balancer tells the client what fits a tunnel.
fn no_room() -> Result<()> {
    let demand = Demand { attempts: 2, client_learns: true, ..DIRECT };
    on(Shape { back_mtu: MTU, ..PLAIN }, &way::ALL, demand)
}

/// Only IPv4 is fragmented on its way. Answers of `nat` nodes come back unfragmented: it is only the
/// load balancer's route that is small.
fn cut_up() -> Result<()> {
    let back = Link { wire: 1, tags: &[] };
    let shape = Shape { back, tunnels: Tunnels::Sockets, route_mtu: Some(SMALL), ..PLAIN };
    let over_v4 = |way: &Way| (way.vip, way.nodes) == (Family::V4, Family::V4);
    let ways = way::ALL.into_iter().filter(|way| over_v4(way) && way.forward != Forward::L2);
    let ways: Vec<Way> = ways.collect();
    check::cut_up(&Travel::start(shape, &ways, runner::stop()?)?, &ways)
}

/// What is too big for the load balancer's own way to the client its host tells the node of, whose
/// packet it is.
fn small_replies() -> Result<()> {
    let ways: Vec<Way> = way::ALL.into_iter().filter(|way| way.forward == Forward::Nat).collect();
    let demand = Demand { bulk: 5_000_000, attempts: 2, nodes_learn: true, ..DIRECT };
    on(Shape { replies_mtu: Some(SMALL), ..PLAIN }, &ways, demand)
}

fn on(shape: Shape, ways: &[Way], demand: Demand) -> Result<()> {
    check::all(&Travel::start(shape, ways, runner::stop()?)?, ways, demand)
}
