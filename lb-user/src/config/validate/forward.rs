//! What the ways of forwarding need: of a cluster, of its nodes, and of the services it is in.

use std::{collections::BTreeMap, net::IpAddr};

use lb_common::Forward;
use toml::Spanned;

use super::{ByName, value};
use crate::config::{
    raw::{self, Member, Raw, Service},
    report::{Report, Span},
    types::{Destination, Ports, Protocol},
};

pub(super) fn check(raw: &Raw, clusters: &ByName<'_>, report: &mut Report) {
    for cluster in &raw.clusters {
        if let Some(port) = &cluster.gue_port
            && cluster.forward().is_some_and(|way| way != Forward::Gue)
        {
            let message = format!("gue_port: {} does not forward by gue", cluster.called());
            report.error(port.span(), message).help("leave it out, or add forward = \"gue\"");
        }
    }
    let seats = seats(raw, clusters);
    versions(&seats, report);
    node_ports(&seats, report);
    replies(&seats, report);
}

impl raw::Cluster {
    /// Its way of forwarding; `None`: its word will not do.
    pub(super) fn forward(&self) -> Option<Forward> {
        value(&self.forward).or((!self.has_forward).then_some(Forward::L2))
    }
}

/// A cluster in a service, both with what this is about.
struct Seat<'a> {
    service: &'a Service,
    vip: &'a Spanned<Destination>,
    member: &'a Member,
    cluster: &'a raw::Cluster,
    forward: Forward,
}

/// All whose values can be judged.
fn seats<'a>(raw: &'a Raw, clusters: &ByName<'a>) -> Vec<Seat<'a>> {
    let members = raw.services.iter().flat_map(|s| s.members().map(move |member| (s, member)));
    members
        .filter_map(|(service, member)| {
            let vip = service.address.as_ref()?;
            let cluster = *clusters.get(member.cluster.as_ref()?.get_ref().as_str())?;
            Some(Seat { service, vip, member, cluster, forward: cluster.forward()? })
        })
        .collect()
}

/// Only a tunnel brings packets of one IP version to a node of the other. Said once of a cluster.
fn versions(seats: &[Seat<'_>], report: &mut Report) {
    let mut wrong = BTreeMap::new();
    for seat in seats.iter().filter(|s| matches!(s.forward, Forward::L2 | Forward::Nat)) {
        let vip = seat.vip.get_ref().address;
        let nodes = seat.cluster.nodes().iter().filter_map(|node| node.address.as_ref());
        let mut others = nodes.filter(|node| node.get_ref().is_ipv4() != vip.is_ipv4());
        if let Some(node) = others.next() {
            wrong.entry(seat.cluster.place.start).or_insert((seat, node));
        }
    }
    for (seat, node) in wrong.into_values() {
        let version = |v4: bool| if v4 { "IPv4" } else { "IPv6" };
        let (is, wants) = (node.get_ref().is_ipv4(), seat.vip.get_ref().address.is_ipv4());
        let service = seat.service.called();
        let message = format!("{node} is {}, and {service} is {}", version(is), version(wants));
        let help = format!(
            "with forward = \"{}\" nodes have the IP version of the service; \"ipip\" and \"gue\" \
             take both",
            seat.forward.name()
        );
        report.error(node.span(), message).help(help).also(seat.vip.span(), "the service");
    }
}

/// Whether each port of a node goes with each service that it is for. Said once of a port.
fn node_ports(seats: &[Seat<'_>], report: &mut Report) {
    let mut wrong = BTreeMap::new();
    for seat in seats {
        // The service's own word for the cluster's nodes counts before theirs.
        let nodes = seat.cluster.nodes().iter().filter(|_| seat.member.port.is_none());
        let nodes = nodes.filter_map(|node| node.port.as_ref());
        for port in seat.member.port.iter().chain(nodes) {
            let fits = match seat.vip.get_ref().ports.one() {
                Some(one) => one == *port.get_ref() || seat.forward == Forward::Nat,
                None => false,
            };
            if !fits {
                wrong.entry(port.span().start).or_insert((port, seat));
            }
        }
    }
    for (port, seat) in wrong.into_values() {
        let (service, ports) = (seat.service.called(), seat.vip.get_ref().ports);
        let (message, help) = match ports.one() {
            Some(_) => (
                format!("port: {port} is not the port of {service}, {ports}"),
                "leave it out, or write the service's; only forward = \"nat\" can change the port",
            ),
            None => (
                format!("port: {service} is on several ports, {ports}, and packets keep theirs"),
                "leave it out; the port of a check is health = { port = … }",
            ),
        };
        report.error(port.span(), message).help(help).also(seat.vip.span(), "the service");
    }
}

/// Ports of one node, by the first: the last, and where the service names the cluster.
type Taken<'a> = BTreeMap<u16, (u16, &'a Service, Span)>;

/// What a node in a `nat` cluster sends from a port is for the clients of one service.
fn replies<'a>(seats: &[Seat<'a>], report: &mut Report) {
    let mut taken: BTreeMap<(IpAddr, Protocol), Taken<'a>> = BTreeMap::new();
    let mut told: Vec<(usize, usize)> = Vec::new();
    for seat in seats.iter().filter(|seat| seat.forward == Forward::Nat) {
        let protocol = value(&seat.service.protocol).unwrap_or(Protocol::Tcp);
        let Some(place) = seat.member.cluster.as_ref().map(Spanned::span) else { continue };
        for node in seat.cluster.nodes() {
            let Some(address) = value(&node.address) else { continue };
            if address.is_ipv4() != seat.vip.get_ref().address.is_ipv4() {
                continue; // it gets nothing of this service; noted as that
            }
            let own = value(&seat.member.port).or(value(&node.port));
            let ports = own.map_or(seat.vip.get_ref().ports, Ports::One);
            let taken = taken.entry((address, protocol)).or_default();
            let before = taken.range(..=ports.last()).next_back();
            let Some((_, (_, other, first))) = before.filter(|b| b.1.0 >= ports.first()) else {
                taken.insert(ports.first(), (ports.last(), seat.service, place.clone()));
                continue;
            };
            let pair = (other.place.start, seat.service.place.start);
            if pair.0 == pair.1 || told.contains(&pair) {
                continue; // the same server twice, or said already of another node
            }
            told.push(pair);
            let at = Destination { address, ports };
            let message = format!(
                "{at} would serve {} and {}: with forward = \"nat\" nobody could tell whose a \
                 reply is",
                other.called(),
                seat.service.called()
            );
            let help = "another port in one of them, like { cluster = \"A\", port = 8080 }, if \
                        both have one port; or other nodes";
            report.error(place.clone(), message).help(help).also(first.clone(), "the other one");
        }
    }
}
