//! What the maps can take.

use std::{collections::BTreeSet, net::IpAddr};

use lb_common::{
    Forward,
    layout::{
        CHUNK_SHIFT, MAX_CHUNKS, MAX_CLUSTERS, MAX_INTERFACES, MAX_NODES, MAX_SERVICES,
        REPLY_PLACES, REPLY_RANGES, table_log2,
    },
};

use super::value;
use crate::{
    config::{
        raw::{self, Raw},
        report::{Report, Span},
        types::{Config, Member, Ports, Protocol, Service},
    },
    decide::{Pools, pool::nat_port},
};

/// What can be counted in the text.
pub(super) fn check(raw: &Raw, report: &mut Report) {
    let interfaces = raw.interfaces.iter().map(|interface| &interface.place);
    at_most(MAX_INTERFACES as u32, "interfaces", interfaces, report);
    let services = raw.services.iter().map(|service| &service.place);
    at_most(MAX_SERVICES, "services", services, report);
    let nodes = raw.clusters.iter().flat_map(raw::Cluster::nodes).map(|node| &node.place);
    at_most(MAX_NODES, "nodes", nodes, report);
}

fn at_most<'a>(
    limit: u32,
    what: &str,
    mut places: impl Iterator<Item = &'a Span>,
    report: &mut Report,
) {
    if let Some(place) = places.nth(limit as usize) {
        let message = format!("more than {limit} {what}");
        report.error(place.clone(), message).help(format!("at most {limit} {what}"));
    }
}

/// Tables: how many there are of nodes, and whether all fit their memory.
pub(super) fn tables(raw: &Raw, config: &Config, report: &mut Report) {
    let pools = Pools::of(config);
    if pools.tables() > MAX_CLUSTERS as usize {
        let message = format!("more than {MAX_CLUSTERS} node tables");
        report.error(goes_over(raw, config), message).help(
            "a table for each cluster and way of checking it (with nat also for each port that \
             services give it), one more for masters of services with panic = \"all\"; services \
             that check a cluster alike share its table, for example by health = { port = … } in \
             the cluster",
        );
    } else {
        chunks(config, &pools, report);
    }
    replies(raw, config, report);
}

/// What replies of `nat` nodes are found by.
#[derive(Default)]
struct Replies {
    /// Places of the table: single ports, and once each address with ports in a row (port 0).
    places: BTreeSet<(IpAddr, Protocol, u16)>,
    /// Ports in a row.
    ranges: BTreeSet<(IpAddr, Protocol, Ports)>,
}

/// Whether the ports of all `nat` nodes fit their table, at most half of which is used.
fn replies(raw: &Raw, config: &Config, report: &mut Report) {
    let mut replies = Replies::default();
    for raw in &raw.services {
        let name = value(&raw.name).unwrap_or_default();
        let Some(service) = config.services.iter().find(|service| service.name == name) else {
            continue;
        };
        replies.add(config, service);
        for (is, limit, what) in [
            (replies.places.len(), REPLY_PLACES / 2, "ports"),
            (replies.ranges.len(), REPLY_RANGES, "ranges of ports"),
        ] {
            if is > limit as usize {
                let message = format!("more than {limit} {what} of nodes in nat clusters");
                let help = "each port of a node counts once for each protocol, and so do ranges; \
                            other ways of forwarding have no such limit";
                report.error(raw.place.clone(), message).help(help);
                return;
            }
        }
    }
}

impl Replies {
    fn add(&mut self, config: &Config, service: &Service) {
        for member in service.members() {
            let cluster = &config.clusters[member.cluster];
            for node in cluster.nodes.iter().filter(|_| cluster.forward == Forward::Nat) {
                let (at, protocol) = (node.address, service.protocol);
                let ports = service.ports_of(member, node);
                self.places.insert((at, protocol, ports.one().unwrap_or(0)));
                if matches!(ports, Ports::Range { .. }) {
                    self.ranges.insert((at, protocol, ports));
                }
            }
        }
    }
}

/// The first service of the file with which there are too many tables, or cluster without any.
fn goes_over(raw: &Raw, config: &Config) -> Span {
    let fits = |count: usize| {
        let first = raw.services[..count].iter().filter_map(|service| value(&service.name));
        let first: BTreeSet<String> = first.collect();
        let mut part = config.clone();
        part.services.retain(|service| first.contains(&service.name));
        Pools::of(&part).tables() <= MAX_CLUSTERS as usize
    };
    // One service more is never fewer tables.
    let counts: Vec<usize> = (0..raw.services.len()).collect();
    let most = counts.partition_point(|&count| fits(count));
    match most.checked_sub(1).and_then(|last| raw.services.get(last)) {
        Some(service) => service.place.clone(),
        None => raw.clusters.get(MAX_CLUSTERS as usize).map_or(0..0, |c| c.place.clone()),
    }
}

/// Whether one plan fits the slot memory, and whether those fit beside it that may follow at once: when
/// all tables move, each has a base beside what it was; and the same again while that window is open.
/// Services of one shape share a table; pools of one cluster may each need their own.
fn chunks(config: &Config, pools: &Pools, report: &mut Report) {
    let shapes = (0..config.services.len()).map(|position| shape(config, pools, position));
    let shapes: BTreeSet<_> = shapes.collect();
    let services = shapes.iter().map(|(masters, standbys, _)| masters.len() + standbys.len());
    let variants = pools.variants.iter().map(|variant| variant.cluster);
    let clusters = pools.pools.iter().map(|pool| pool.cluster).chain(variants);
    let nodes = clusters.map(|cluster| config.clusters[cluster].nodes.len());
    let chunks: u64 = services.chain(nodes).map(table_chunks).sum();
    let message = format!("the tables need {chunks} chunks of memory, there are {MAX_CHUNKS}");
    let help = "fewer members in services, or more services with the same ones that check them \
                alike (they share a table)";
    if chunks > u64::from(MAX_CHUNKS) {
        report.error(0..0, message).help(help);
    } else if chunks > u64::from(MAX_CHUNKS / PLANS) {
        let message = format!(
            "{message}: if most of them change, there may be no room to remember what they were, and \
             connections move with their slots"
        );
        report.warning(0..0, message).help(help);
    }
}

/// So much room the tables need at most: those in force and their bases, the next ones and theirs.
const PLANS: u32 = 4;

/// Pools with their weights and priorities.
type Seats = BTreeSet<(Option<usize>, u32, u32)>;

/// What a service's table follows from.
fn shape(config: &Config, pools: &Pools, position: usize) -> (Seats, Seats, [u8; 4]) {
    let seats = |members: &[Member]| -> Seats {
        let seat = members.iter();
        let pool = |m: &Member| pools.seen_by(position, m.cluster, nat_port(&config.clusters, m));
        seat.map(|m| (pool(m), m.weight, m.priority)).collect()
    };
    let service = &config.services[position];
    let Service { mode, balance, fallback, panic, .. } = service;
    let policies = [*mode as u8, *balance as u8, *fallback as u8, *panic as u8];
    (seats(&service.masters), seats(&service.standbys), policies)
}

fn table_chunks(members: usize) -> u64 {
    1 << (table_log2(members) - CHUNK_SHIFT)
}
