//! Judges what packets need besides the slots: destinations, where replies come from, this host, what
//! stands beside the tables, and the records of the nodes.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr},
};

use lb_common::{Forward, NodeRecord, PlanRecord, layout::MAX_INTERFACES};

use super::{Facts, TableId, Violation};
use crate::{
    config::{Affinity, Member, Ports},
    decide::{
        intent::{Intent, MOST_OWN, Vip},
        model::NodePlace,
    },
};

pub(super) fn judge(facts: &Facts<'_>, intent: &Intent, found: &mut Vec<Violation>) {
    vips(facts, intent, found);
    replies(facts, intent, found);
    host(facts, intent, found);
    directories(facts, intent, found);
    for node in 0..facts.model.nodes.len() {
        let Some(id) = facts.model.ids.node(node) else { continue };
        if !record_is_right(facts, node, &intent.nodes[id.index()]) {
            found.push(Violation::NodeRecord { node });
        }
    }
}

fn vips(facts: &Facts<'_>, intent: &Intent, found: &mut Vec<Violation>) {
    let services = &facts.model.config.services;
    let wrong = |vip: &Vip| {
        let at = facts.model.ids.service_at(vip.service);
        at.map(|at| &services[at]).is_none_or(|service| {
            vip.address != words(service.address)
                || (vip.ports, vip.protocol) != (service.ports, service.protocol.number())
        })
    };
    // One port beats a range, and that all ports: only among equals it would be unclear.
    let kind = |ports: Ports| match ports {
        Ports::One(_) => 0,
        Ports::Range { .. } => 1,
        Ports::All => 2,
    };
    let mut entries: BTreeSet<usize> = overlapping(&intent.vips, kind).collect();
    entries.extend((0..intent.vips.len()).filter(|&entry| wrong(&intent.vips[entry])));
    found.extend(entries.into_iter().map(|entry| Violation::Vip { entry }));
}

fn replies(facts: &Facts<'_>, intent: &Intent, found: &mut Vec<Violation>) {
    let config = &facts.model.config;
    // Those of what is leaving may be there, where nobody else has the ports.
    let (mut wanted, mut required) = (BTreeSet::new(), BTreeSet::new());
    for (service, value) in config.services.iter().enumerate() {
        for member in value.members() {
            let nat = config.clusters[member.cluster].forward == Forward::Nat;
            for node in facts.model.nodes_of(member.cluster).filter(|_| nat) {
                let at = facts.model.node(node);
                let ports = value.ports_of(member, at);
                let reply = (words(at.address), value.protocol.number(), ports, service);
                wanted.insert(reply);
                if !member.leaving && !at.leaving {
                    required.insert(reply);
                }
            }
        }
    }
    let at = |id| facts.model.ids.service_at(id).unwrap_or(usize::MAX);
    let key = |entry: &Vip| (entry.address, entry.protocol, entry.ports, at(entry.service));
    let mut entries: BTreeSet<usize> = overlapping(&intent.replies, |_| 0).collect();
    let strange = |&entry: &usize| !wanted.contains(&key(&intent.replies[entry]));
    entries.extend((0..intent.replies.len()).filter(strange));
    found.extend(entries.into_iter().map(|entry| Violation::Reply { entry }));
    let there: BTreeSet<_> = intent.replies.iter().map(key).collect();
    let missing: BTreeSet<usize> = required.difference(&there).map(|reply| reply.3).collect();
    found.extend(missing.into_iter().map(|service| Violation::NoReply { service }));
}

/// Entries that are for packets which one before them is for, too; `kind`: only such are compared.
fn overlapping(list: &[Vip], kind: impl Fn(Ports) -> u8) -> impl Iterator<Item = usize> {
    let group = |entry: &Vip| (entry.address, entry.protocol, kind(entry.ports));
    let mut order: Vec<usize> = (0..list.len()).collect();
    order.sort_by_key(|&entry| (group(&list[entry]), list[entry].ports.first(), entry));
    let mut before = None;
    let mut clashes = Vec::new();
    for entry in order {
        let (is, ports) = (group(&list[entry]), list[entry].ports);
        let last = before.filter(|(group, _)| *group == is).map_or(0, |(_, last)| last);
        if ports.first() <= last {
            clashes.push(entry);
        }
        before = Some((is, ports.last().max(last)));
    }
    clashes.into_iter()
}

/// What is said of this host, and whether replies are looked for.
fn host(facts: &Facts<'_>, intent: &Intent, found: &mut Vec<Violation>) {
    let model = facts.model;
    let uses = |way: Forward| {
        let mut members = model.config.services.iter().flat_map(|service| service.members());
        members.any(|member| model.config.clusters[member.cluster].forward == way)
    };
    let nat = uses(Forward::Nat) && facts.host.is_some();
    let all_l2 = ![Forward::Nat, Forward::Ipip, Forward::Gue].into_iter().any(uses);
    let fragments = !all_l2 && facts.host.is_some_and(|host| host.fragments);
    let flag = |set: bool, flag: u32| if set { flag } else { 0 };
    let flags = flag(nat, PlanRecord::NAT) | flag(fragments, PlanRecord::HOST_FRAGMENTS);
    let written = intent.plan.interfaces.iter().copied().zip(intent.plan.macs);
    let ours = facts.host.map_or(&[][..], |host| &host.interfaces).iter();
    let ours = ours.map(|own| (own.ifindex, own.mac)).chain(std::iter::repeat((0, [0; 6])));
    if intent.plan.flags != flags || !written.eq(ours.take(MAX_INTERFACES)) {
        found.push(Violation::Plan);
    }
    let is_vip = |address: &IpAddr| model.config.services.iter().any(|s| s.address == *address);
    let own = facts.host.filter(|_| nat).into_iter().flat_map(|host| &host.addresses);
    let own: BTreeSet<_> = own.filter(|address| !is_vip(address)).map(|a| words(*a)).collect();
    let is: BTreeSet<_> = intent.own.iter().copied().collect();
    // Of too many it is those that nodes answer to.
    let nat =
        |node: usize| model.config.clusters[model.nodes[node].cluster].forward == Forward::Nat;
    let from = facts.hops.iter().enumerate().filter(|(node, _)| nat(*node));
    let from = from.filter_map(|(_, hop)| hop.as_ref()?.source).map(words);
    let from: BTreeSet<_> = from.filter(|address| own.contains(address)).collect();
    let right = is.is_subset(&own)
        && is.len() == own.len().min(MOST_OWN)
        && (from.len() > MOST_OWN || from.is_subset(&is));
    if !right || is.len() != intent.own.len() {
        found.push(Violation::Own);
    }
}

/// What stands in the tables' directories beside their slots, and the services' addresses.
fn directories(facts: &Facts<'_>, intent: &Intent, found: &mut Vec<Violation>) {
    let ids = &facts.model.ids;
    for (at, config) in facts.model.config.services.iter().enumerate() {
        let Some(id) = ids.service(at) else { continue };
        let (table, address) = (&intent.services[id.index()], &intent.addresses[id.index()]);
        let port = if let Ports::One(port) = config.ports { port } else { 0 };
        let right = *address == words(config.address)
            && table.port == port
            && table.by_source == (config.affinity == Affinity::Source)
            && table.udp == config.udp;
        if !right {
            found.push(Violation::Directory { table: TableId::Service(at) });
        }
    }
    // A service's packets get the port that it says, and flows are told apart by services only.
    let table = |at: usize| ids.table(at).map(|id| &intent.clusters[id.index()]);
    let by_source = |at: &usize| table(*at).is_some_and(|table| table.by_source);
    let mut wrong: BTreeSet<usize> = (0..facts.model.tables()).filter(by_source).collect();
    for (service, config) in facts.model.config.services.iter().enumerate() {
        for seat in facts.model.seats(service) {
            let nat = facts.model.config.clusters[seat.cluster].forward == Forward::Nat;
            // Those that are leaving may have had other ports.
            let alike = |m: &&Member| (m.cluster, m.leaving) == (seat.cluster, seat.leaving);
            let members = config.members().filter(alike);
            let ports: Vec<u16> =
                members.map(|member| member.port.filter(|_| nat).unwrap_or(0)).collect();
            let tables = [Some(seat.pool), facts.model.variant_of(seat.pool)];
            let tables = tables.into_iter().flatten();
            wrong.extend(
                tables.filter(|&at| table(at).is_none_or(|table| !ports.contains(&table.port))),
            );
        }
    }
    let wrong = wrong.into_iter().map(TableId::Cluster);
    found.extend(wrong.map(|table| Violation::Directory { table }));
}

fn record_is_right(facts: &Facts<'_>, node: usize, record: &NodeRecord) -> bool {
    let NodePlace { cluster: of, index } = facts.model.nodes[node];
    let (config, cluster) = (facts.model.node(node), &facts.model.config.clusters[of]);
    let pools = || facts.model.pools_of(of).map(|pool| facts.decision.nodes[pool][index]);
    let (up, eligible) = (pools().any(|node| node.up), pools().any(|node| node.eligible));
    let tunnel = matches!(cluster.forward, Forward::Ipip | Forward::Gue);
    let port = match cluster.forward {
        Forward::Nat => config.port.unwrap_or(0),
        Forward::Gue => cluster.gue_port,
        Forward::L2 | Forward::Ipip => 0,
    };
    let hop = facts.hops[node].filter(|hop| {
        !tunnel || hop.source.is_some_and(|source| source.is_ipv6() == config.address.is_ipv6())
    });
    let source = hop.and_then(|hop| hop.source).filter(|_| tunnel);
    let way = hop.map(|hop| (hop.ifindex, hop.dst_mac, hop.src_mac, hop.mtu, hop.tags));
    let is = (record.ifindex, record.dst_mac, record.src_mac, record.mtu, record.tags);
    record.up == u8::from(up)
        && record.address == octets(config.address)
        && record.forward == cluster.forward as u8
        && record.v6 == u8::from(config.address.is_ipv6())
        && record.port_be == port.to_be_bytes()
        && is == way.unwrap_or_default()
        && (record.ifindex != 0 || !eligible)
        && record.source == source.map_or([0; 16], octets)
        && record.checksum_seed == source.map_or(0, |source| sum(source, config.address))
        && tags_are_right(record.tags)
}

/// From the outermost on, and nothing in them but what there is (IEEE 802.1Q, 9.6).
fn tags_are_right([outer, inner]: [u16; 2]) -> bool {
    const NONE: u16 = 0;
    const RESERVED: u16 = 0x0fff;
    let right = |tag: u16| {
        let rest = tag & !(NodeRecord::TAG | NodeRecord::SERVICE_TAG);
        tag == NONE || tag & NodeRecord::TAG != 0 && rest < RESERVED
    };
    right(outer) && right(inner) && (outer != NONE || inner == NONE)
}

/// The words of two addresses of one IP version in ones' complement arithmetic (RFC 1071).
fn sum(one: IpAddr, other: IpAddr) -> u16 {
    let halves = |address: IpAddr| {
        let all = words(address);
        let own = if address.is_ipv4() { 3 } else { 0 };
        all.into_iter().skip(own).map(|word| (word >> 16) + (word & 0xffff)).sum::<u32>()
    };
    let total = halves(one) + halves(other);
    // Its remainder by 0xffff, where nothing but zero is zero.
    if total == 0 { 0 } else { ((total - 1) % 0xffff + 1) as u16 }
}

fn octets(address: IpAddr) -> [u8; 16] {
    mapped(address).octets()
}

fn words(address: IpAddr) -> [u32; 4] {
    let [a, b, c, d, e, f, g, h] = mapped(address).segments().map(u32::from);
    [a << 16 | b, c << 16 | d, e << 16 | f, g << 16 | h]
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

#[cfg(test)]
#[path = "packets_tests.rs"]
mod tests;
