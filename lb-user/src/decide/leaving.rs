//! What is no longer in the file stays in the *effective* configuration as leaving, as long as
//! connections may be on it: with weight 0 it is in no order and no count, and keeps its checks, its
//! next hop, its table and its ids.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::Slot;

use super::{Model, State, Variant, ids::Named, intent::Intent, pool::nat_port};
use crate::config::{Cluster, Config, Member, Node, Service};

/// The configuration of the file, and what was in effect before and is not in it.
pub(super) fn effective(before: &Config, file: &Config) -> Config {
    let mut next = file.clone();
    for was in &before.clusters {
        match next.clusters.iter_mut().find(|cluster| cluster.name == was.name) {
            Some(cluster) => {
                let gone = was.nodes.iter().filter(|node| !has(cluster, node)).map(leaving_node);
                let gone: Vec<Node> = gone.collect();
                cluster.nodes.extend(gone);
                sort_nodes(cluster);
            }
            None => {
                let nodes = was.nodes.iter().map(leaving_node).collect();
                next.clusters.push(Cluster { nodes, weight: 0, leaving: true, ..was.clone() });
            }
        }
    }
    next.clusters.sort_by(|a, b| a.name.cmp(&b.name));
    let places = places(file, &next);
    for service in &mut next.services {
        members(service).for_each(|member| member.cluster = places[&member.cluster]);
        if let Some(was) = before.services.iter().find(|was| was.name == service.name) {
            keep_members(service, was, before, &next.clusters);
        }
    }
    next
}

impl State {
    /// The configuration in effect without those leaving things that nothing names any more: no slot
    /// of a table that was published last, no base, and no pin. `None`: all have to stay.
    pub(super) fn without_gone(&self, pins: &Named) -> Option<Config> {
        let config = &self.model.config;
        if !is_leaving(config) {
            return None;
        }
        let named = Names::of(&self.model, self.published.as_deref()?, pins);
        let mut next = Config::clone(config);
        for (position, service) in next.services.iter_mut().enumerate() {
            let stays = |member: &Member| !member.leaving || named.member(position, member);
            service.masters.retain(stays);
            service.standbys.retain(stays);
        }
        for (position, cluster) in next.clusters.iter_mut().enumerate() {
            let first = self.model.nodes_of(position).start;
            let mut stays = (first..).map(|node| named.node(node));
            // One of a leaving cluster goes with it: no slot of its table is ever looked at.
            let all = cluster.leaving;
            cluster.nodes.retain(|node| stays.next().unwrap_or(true) || !node.leaving || all);
        }
        let used = |position: usize| {
            let mut members = next.services.iter().flat_map(Service::members);
            members.any(|member| member.cluster == position)
        };
        let goes = |position: usize| {
            let mut nodes = self.model.nodes_of(position);
            config.clusters[position].leaving
                && !used(position)
                && !nodes.any(|node| named.pinned_node(node))
        };
        let gone: Vec<bool> = (0..config.clusters.len()).map(goes).collect();
        let mut goes = gone.iter();
        next.clusters.retain(|_| !goes.next().copied().unwrap_or(false));
        for member in next.services.iter_mut().flat_map(members) {
            member.cluster -= gone[..member.cluster].iter().filter(|gone| **gone).count();
        }
        (next != **config).then_some(next)
    }
}

/// What is named, by position.
struct Names<'a> {
    model: &'a Model,
    pins: &'a Named,
    /// By service: the clusters whose tables its slots name, with the tables' ports.
    clusters: Vec<BTreeSet<Variant>>,
    /// Nodes that slots of node tables name.
    nodes: Vec<bool>,
}

impl<'a> Names<'a> {
    fn of(model: &'a Model, intent: &Intent, pins: &'a Named) -> Self {
        let clusters = (0..model.config.services.len()).map(|service| {
            let table = model.ids.service(service).and_then(|id| intent.services.get(id.index()));
            let members = table.into_iter().flat_map(|table| table.members());
            members.filter_map(|id| model.table_of(model.ids.table_of(id)?)).collect()
        });
        let mut nodes = vec![false; model.nodes.len()];
        for member in intent.clusters.iter().flat_map(|table| table.members()) {
            model.ids.node_of(member).into_iter().for_each(|node| nodes[node] = true);
        }
        Self { model, pins, clusters: clusters.collect(), nodes }
    }

    fn pinned_node(&self, node: usize) -> bool {
        self.model.ids.node(node).is_some_and(|id| self.pins.nodes.contains(&id.raw()))
    }

    fn node(&self, node: usize) -> bool {
        self.nodes[node] || self.pinned_node(node)
    }

    /// A cluster in a service: by a slot of its table, or by a pin of a table of its own with the same
    /// port. That may be one of another service; it stays then, too, since that one may go before the pin.
    fn member(&self, service: usize, member: &Member) -> bool {
        let (cluster, model) = (member.cluster, self.model);
        let is = Variant { cluster, port: nat_port(&model.config.clusters, member) };
        let tables = model.pools_of(cluster).chain(model.variants_of(cluster));
        let tables = tables.filter(|&table| model.table_of(table) == Some(is));
        let mut ids = tables.filter_map(|table| model.ids.table(table));
        self.clusters[service].contains(&is) || ids.any(|id| self.pins.tables.contains(&id.raw()))
    }
}

impl super::Table {
    /// How many of its slots name an id, and how many of its base.
    pub(super) fn slots_naming(&self, id: u16) -> usize {
        self.all_slots().filter(|slot| slot.member() == Some(id)).count()
    }

    fn all_slots(&self) -> impl Iterator<Item = Slot> {
        let base = self.base.iter().flat_map(|base| base.iter());
        self.slots.iter().chain(base).copied()
    }

    /// The ids that its slots name, and its base.
    pub(super) fn members(&self) -> impl Iterator<Item = u16> {
        let mut members: Vec<u16> = self.all_slots().filter_map(Slot::member).collect();
        members.sort_unstable();
        members.dedup();
        members.into_iter()
    }
}

/// Whether anything is. Most of the time nothing is, and then tables need not be looked through.
fn is_leaving(config: &Config) -> bool {
    let node = |cluster: &Cluster| cluster.nodes.iter().any(|node| node.leaving);
    let member = |service: &Service| service.members().any(|member| member.leaving);
    config.clusters.iter().any(|cluster| cluster.leaving || node(cluster))
        || config.services.iter().any(member)
}

/// Whether a cluster has a node of this name and address, and not as leaving.
fn has(cluster: &Cluster, node: &Node) -> bool {
    cluster.nodes.iter().any(|known| identity(known) == identity(node))
}

/// What makes a node of a cluster the same.
pub(super) fn identity(node: &Node) -> (&str, std::net::IpAddr, Option<u16>) {
    (&node.name, node.address, node.port)
}

fn leaving_node(node: &Node) -> Node {
    Node { weight: 0, leaving: true, ..node.clone() }
}

/// By name; of those of one name the one of the file first.
fn sort_nodes(cluster: &mut Cluster) {
    let order = |node: &Node| (node.name.clone(), node.leaving, node.address, node.port);
    cluster.nodes.sort_by_key(order);
}

/// Where the clusters of one configuration stand in another.
fn places(from: &Config, to: &Config) -> BTreeMap<usize, usize> {
    let place = |(position, cluster): (usize, &Cluster)| {
        Some((position, to.clusters.iter().position(|other| other.name == cluster.name)?))
    };
    from.clusters.iter().enumerate().filter_map(place).collect()
}

fn members(service: &mut Service) -> impl Iterator<Item = &mut Member> {
    service.masters.iter_mut().chain(&mut service.standbys)
}

fn keep_members(service: &mut Service, was: &Service, before: &Config, clusters: &[Cluster]) {
    let gone = |old: &Member| {
        let name = &before.clusters[old.cluster].name;
        let cluster = clusters.iter().position(|cluster| cluster.name == *name)?;
        let leaving = Member { cluster, weight: 0, leaving: true, ..*old };
        // With another port it is another one: connections keep theirs.
        let is_it = |member: &Member| {
            member.cluster == cluster && nat_port(clusters, member) == nat_port(clusters, &leaving)
        };
        (!service.members().any(is_it)).then_some(leaving)
    };
    let masters: Vec<Member> = was.masters.iter().filter_map(gone).collect();
    let standbys: Vec<Member> = was.standbys.iter().filter_map(gone).collect();
    service.masters.extend(masters);
    service.standbys.extend(standbys);
}
