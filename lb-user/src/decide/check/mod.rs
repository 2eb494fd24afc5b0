//! Judges an intended state before it is committed.
//!
//! From the configuration, the health and the fixed homes of flows alone: nothing of how the
//! state was made is believed. Everything that is wrong is returned; one violation is enough to
//! refuse the state. Only of what is sound by that it is asked whether it is what was decided.

mod lists;
mod moved;
mod packets;
mod service;

use std::sync::Arc;

use lb_common::{ClusterId, Forward, Slot, SlotState};

use super::{
    Decision, Host, NextHop,
    intent::{Intent, Table},
    model::Model,
    tables::Withheld,
};
use crate::config::{Cluster, Member, Threshold};

/// What an intended state is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The configuration and the homes that follow from it.
    pub model: &'a Model,
    /// By position of the node.
    pub hops: &'a [Option<NextHop>],
    /// This host, if it is known.
    pub host: Option<&'a Host>,
    /// The health, and who was chosen because of it.
    pub decision: &'a Decision,
}

/// What is wrong with an intended state. Members and tables by their positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Violation {
    /// A list has another length than the configuration asks for.
    Length {
        /// Which list.
        list: List,
        /// Its length.
        is: usize,
        /// What it must be.
        must_be: usize,
    },
    /// Something stands under an id that nobody has.
    Stray {
        /// In which list.
        list: List,
        /// The id.
        id: usize,
    },
    /// A VIP does not lead to its service, or another entry is for the same packets.
    Vip {
        /// Position of the entry.
        entry: usize,
    },
    /// No `nat` node of the service sends from there, or another entry is for the same packets.
    Reply {
        /// Position of the entry.
        entry: usize,
    },
    /// Replies of some `nat` node of a service would not be known.
    NoReply {
        /// The service.
        service: usize,
    },
    /// This host's own addresses are others, or nobody needs them.
    Own,
    /// What holds for the whole generation is not what the configuration and this host say.
    Plan,
    /// Port, affinity or address that stand beside a table are not those of the configuration.
    Directory {
        /// The table.
        table: TableId,
    },
    /// A table has another size than its number of members gives.
    TableSize {
        /// The table.
        table: TableId,
        /// Its number of slots.
        slots: usize,
    },
    /// Slots name something that is not a member of the table.
    Foreign {
        /// The table.
        table: TableId,
        /// How many slots.
        slots: u32,
    },
    /// Slots whose old connections go elsewhere have nobody for them, or somebody who is not there;
    /// or others have somebody.
    Base {
        /// The table.
        table: TableId,
    },
    /// Slots are not their owners' that were decided.
    Undecided {
        /// The table.
        table: TableId,
        /// How many slots.
        slots: u32,
    },
    /// Slots name a node or a cluster that may not serve.
    MayNotServe {
        /// The table.
        table: TableId,
        /// The member.
        member: usize,
        /// How many slots.
        slots: u32,
    },
    /// Slots name a member although one of higher priority may serve.
    LowerTier {
        /// The table.
        table: TableId,
        /// The member.
        member: usize,
    },
    /// Slots are served by nobody although somebody may and no policy drops.
    Dropped {
        /// The table.
        table: TableId,
        /// How many slots.
        slots: u32,
    },
    /// A standby is loaded while every master may serve its own flows.
    StandbyLoaded {
        /// The service.
        service: usize,
        /// The standby's pool.
        cluster: usize,
    },
    /// A master that may serve its own flows does not get all of them (M10).
    LostHome {
        /// The service.
        service: usize,
        /// The master's pool.
        cluster: usize,
        /// How many slots it lacks.
        slots: u32,
    },
    /// Flows are carried by one that comes only after others who may serve: a master before
    /// the standbys, or one that is held back.
    OutOfTurn {
        /// The service.
        service: usize,
        /// Who carries: its pool.
        cluster: usize,
    },
    /// A pool is in a group that its nodes do not put it in, or is shown otherwise (M4).
    WrongGroup {
        /// The pool.
        cluster: usize,
    },
    /// A node's record does not say what its configuration, its health and the way to it say.
    NodeRecord {
        /// The node.
        node: usize,
    },
}

/// Lists of an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum List {
    /// VIPs.
    Vips,
    /// Service tables and what is shown of them.
    Services,
    /// Node tables and what is shown of them.
    Clusters,
    /// Node records and what is shown of them.
    Nodes,
}

/// A table of an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TableId {
    /// Of a service.
    Service(usize),
    /// A node table.
    Cluster(usize),
}

/// Checks intents of one configuration. Remembers what it counted in tables that it has seen,
/// which are most of them after a change.
#[derive(Debug, Default)]
pub struct Checker {
    services: Vec<Option<(Arc<[Slot]>, service::Flows)>>,
    clusters: Vec<Option<(Arc<[Slot]>, Counts)>>,
    moved: moved::Sound,
}

impl Checker {
    /// Everything that is wrong with an intent.
    pub fn check(&mut self, facts: &Facts<'_>, intent: &Intent) -> Vec<Violation> {
        let mut found = lists::lengths(facts.model, intent);
        if !found.is_empty() {
            return found;
        }
        lists::strays(facts.model, intent, &mut found);
        packets::judge(facts, intent, &mut found);
        let model = facts.model;
        self.services.resize_with(model.config.services.len(), || None);
        self.clusters.resize_with(model.tables(), || None);
        for (at, known) in self.clusters.iter_mut().enumerate() {
            let (Some(id), Some(cluster)) = (model.ids.table(at), model.cluster_of(at)) else {
                continue;
            };
            group(facts, at, id, intent, &mut found);
            let (table, nodes) = (&intent.clusters[id.index()], model.nodes_of(cluster));
            let position = |member| {
                let node = model.ids.node_of(member).filter(|node| nodes.contains(node))?;
                Some(node - nodes.start)
            };
            let counts = remember(known, table, || Counts::of(&table.slots, position));
            node_table(facts, at, cluster, table, counts, &mut found);
        }
        for (at, known) in self.services.iter_mut().enumerate() {
            let Some(id) = model.ids.service(at) else { continue };
            let table = &intent.services[id.index()];
            let flows = remember(known, table, || service::Flows::of(model, at, &table.slots));
            service::judge(facts, at, table, flows, &mut found);
        }
        if found.is_empty() {
            self.moved.judge(facts, intent, &mut found);
        }
        found
    }
}

/// What was counted in a table, counted anew only if it is another one.
fn remember<'a, T>(
    known: &'a mut Option<(Arc<[Slot]>, T)>,
    table: &Table,
    count: impl FnOnce() -> T,
) -> &'a T {
    if known.as_ref().is_some_and(|(slots, _)| !Arc::ptr_eq(slots, &table.slots)) {
        *known = None;
    }
    &known.get_or_insert_with(|| (Arc::clone(&table.slots), count())).1
}

/// Slots by member.
#[derive(Debug)]
struct Counts {
    members: Vec<u32>,
    nobody: u32,
    foreign: u32,
}

impl Counts {
    fn of(slots: &[Slot], position: impl Fn(u16) -> Option<usize>) -> Self {
        let mut counts = Self { members: Vec::new(), nobody: 0, foreign: 0 };
        for &slot in slots {
            match slot.member().map(&position) {
                None => counts.nobody += 1,
                Some(None) => counts.foreign += 1,
                Some(Some(position)) => {
                    if counts.members.len() <= position {
                        counts.members.resize(position + 1, 0);
                    }
                    counts.members[position] += 1;
                }
            }
        }
        counts
    }
}

/// Size of any table. One that moves may be as large as it was.
fn table_shape(name: TableId, table: &Table, members: usize, found: &mut Vec<Violation>) {
    let (slots, least) = (table.slots.len(), 512 * members);
    let moves = || table.slots.iter().any(|slot| slot.state() != SlotState::Clean);
    let fits = slots.is_power_of_two()
        && (least.clamp(1024, 262_144)..=262_144).contains(&slots)
        && (slots == 1024 || slots < 2 * least || moves());
    if !fits {
        found.push(Violation::TableSize { table: name, slots });
    }
}

fn node_table(
    facts: &Facts<'_>,
    at: usize,
    cluster: usize,
    table: &Table,
    counts: &Counts,
    found: &mut Vec<Violation>,
) {
    let name = TableId::Cluster(at);
    let first = facts.model.nodes_of(cluster).start;
    let (pool, ignores_health) = pool_of(facts.model, at, cluster);
    let nodes = &facts.model.config.clusters[cluster].nodes;
    let members = nodes.iter().filter(|node| !node.leaving).count();
    table_shape(name, table, members, found);
    if counts.foreign > 0 {
        found.push(Violation::Foreign { table: name, slots: counts.foreign });
    }
    let may_serve = |position: usize| {
        let health = facts.decision.nodes[pool][position];
        let able = health.eligible || ignores_health;
        nodes[position].weight > 0 && health.in_service && able
    };
    let able = || (0..nodes.len()).filter(|&position| may_serve(position));
    // While better ones start slowly, others serve part of theirs.
    let whole = |p: &usize| facts.decision.nodes[pool][*p].withheld == Withheld::default();
    let priority = |position: usize| nodes[position].priority;
    let best = able().filter(whole).map(priority).max().or_else(|| able().map(priority).max());
    if best.is_some() && counts.nobody > 0 {
        found.push(Violation::Dropped { table: name, slots: counts.nobody });
    }
    for (position, &slots) in counts.members.iter().enumerate().filter(|(_, slots)| **slots > 0) {
        let member = first + position;
        if !may_serve(position) {
            found.push(Violation::MayNotServe { table: name, member, slots });
        } else if Some(nodes[position].priority) < best {
            found.push(Violation::LowerTier { table: name, member });
        }
    }
}

/// The pool whose health a table is made from, and whether it ignores it but for who is in service.
fn pool_of(model: &Model, table: usize, cluster: usize) -> (usize, bool) {
    let pools = model.pools.pools.len();
    if table < pools { (table, false) } else { (model.pools_of(cluster).start, true) }
}

/// M2 to M4: what the nodes say, what the group is, and what is written, are one.
fn group(facts: &Facts<'_>, at: usize, id: ClusterId, intent: &Intent, found: &mut Vec<Violation>) {
    let Some(cluster) = facts.model.cluster_of(at) else { return };
    let (pool, _) = pool_of(facts.model, at, cluster);
    let config = facts.model.cluster(pool);
    let (mut alive, mut total) = (0, 0);
    for (node, health) in config.nodes.iter().zip(&facts.decision.nodes[pool]) {
        let counts = node.weight > 0 && health.in_service;
        total += u32::from(counts);
        alive += u32::from(counts && health.eligible);
    }
    let group = facts.decision.groups[pool];
    let enough = match group.enough {
        true => alive > 0 && reaches(config.threshold, alive, total),
        false => alive == 0 || !recovers(config, alive, total),
    };
    // `min_services`: so many of the services on the cluster have enough.
    let carried = facts.model.pools_of(cluster);
    let nat = config.forward == Forward::Nat;
    let stays = |service: &usize, pool: usize| {
        let mut members = facts.model.config.services[*service].members();
        let port = |member: &Member| member.port.filter(|_| nat).unwrap_or(0);
        members
            .any(|m| m.cluster == cluster && port(m) == facts.model.pool(pool).port && !m.leaving)
    };
    let carried = carried.flat_map(|pool| {
        let services = facts.model.pool(pool).services.iter();
        services.filter(move |service| stays(service, pool)).map(move |_| pool)
    });
    let (well, ill): (Vec<usize>, Vec<usize>) =
        carried.partition(|&p| facts.decision.groups[p].enough);
    let suffice = ill.is_empty() || well.len() >= config.min_services as usize;
    let right = enough && group.healthy == (group.enough && suffice);
    let (table, info) = (&intent.clusters[id.index()], &intent.cluster_info[id.index()]);
    let shown = (info.healthy == 1, info.alive, info.total) == (group.healthy, alive, total)
        && (table.healthy, table.held) == (group.healthy, group.held);
    if !right || !shown || (group.count.alive, group.count.total) != (alive, total) {
        found.push(Violation::WrongGroup { cluster: pool });
    }
}

fn reaches(threshold: Threshold, alive: u32, total: u32) -> bool {
    alive == total
        || match threshold {
            Threshold::Survivors(survivors) => alive >= survivors,
            Threshold::Ratio(ratio) => {
                let (alive, total) = (u128::from(alive), u128::from(total));
                alive * u128::from(ratio.denominator) >= total * u128::from(ratio.numerator)
            }
        }
}

fn recovers(cluster: &Cluster, alive: u32, total: u32) -> bool {
    let higher = cluster.recover_at.is_none_or(|threshold| reaches(threshold, alive, total));
    higher && reaches(cluster.threshold, alive, total)
}

#[cfg(test)]
mod tests;
