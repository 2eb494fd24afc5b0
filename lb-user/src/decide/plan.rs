//! Decides, for a configuration and the health of its nodes and clusters, who serves what.
//!
//! Nothing here remembers: the same health gives the same decision, however it came about. A
//! [`Planner`] only keeps tables that it has already computed, so as not to compute them again.

use std::{collections::BTreeMap, sync::Arc};

use lb_common::Slot;

use super::{
    group::{self, Count, Group, GroupMonitor},
    health::NodeHealth,
    model::{Model, Role, Seat},
    tables::{Bits, NOBODY, Order, Withheld},
};
use crate::config::{Fallback, Panic};

/// What is decided at one health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// By pool, then by position in its cluster's nodes.
    pub nodes: Vec<Vec<NodeHealth>>,
    /// By pool.
    pub groups: Vec<Group>,
    /// Node tables: the pools', then those of clusters that ignore health.
    pub clusters: Vec<NodeTable>,
    /// By position of the service.
    pub services: Vec<ServicePlan>,
}

/// The node table of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeTable {
    /// Who may get flows, by position in the cluster's nodes.
    pub eligible: Bits,
    /// What those who start slowly do not get yet, by the same; empty: nothing.
    pub withheld: Vec<Withheld>,
    /// Ids of nodes. Tables of one cluster in which the same nodes may get flows are one allocation.
    pub slots: Arc<[Slot]>,
}

/// How a service's members become eligible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Regime {
    /// Those that are healthy.
    Normal,
    /// Also standbys with a living node: no standby is healthy, and some master is not (M8).
    LastResort,
    /// No cluster is healthy (M9).
    Panic(Panic),
}

/// Who serves a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePlan {
    /// How members become eligible.
    pub regime: Regime,
    /// Who is eligible, by position in the seats.
    pub eligible: Bits,
    /// Held back: they get what nobody else may serve.
    pub reserve: Bits,
    /// What those who come back in parts do not get yet, by position in the seats; empty: nothing.
    pub withheld: Vec<Withheld>,
    /// Who serves which slots.
    pub deal: Arc<Deal>,
}

/// A service's table with its figures.
#[derive(Debug, PartialEq, Eq)]
pub struct Deal {
    /// Ids of node tables.
    pub slots: Arc<[Slot]>,
    /// Seats, or [`NOBODY`].
    pub owners: Vec<u16>,
    /// Slots by home and owner: row = home seat; the last column = nobody.
    pub flows: Vec<Vec<u32>>,
}

impl Deal {
    /// How many slots are at home at a seat.
    pub fn home(&self, seat: usize) -> u32 {
        self.flows[seat].iter().sum()
    }

    /// How many slots a seat owns.
    pub fn owned(&self, seat: usize) -> u32 {
        self.flows.iter().map(|row| row[seat]).sum()
    }

    /// How many slots nobody owns.
    pub fn dropped(&self) -> u32 {
        self.owners.iter().filter(|&&owner| owner == NOBODY).count() as u32
    }
}

/// Which table of which shape: the shape, who is eligible, who is held, what is withheld, to which
/// tables.
type DealKey = (usize, Bits, Bits, Vec<Withheld>, bool);

/// Makes decisions for one configuration.
#[derive(Debug)]
pub struct Planner {
    model: Arc<Model>,
    deals: BTreeMap<DealKey, Arc<Deal>>,
}

impl Planner {
    /// For this configuration.
    pub fn new(model: Arc<Model>) -> Self {
        Self { model, deals: BTreeMap::new() }
    }

    /// What to do at this health; `before` only saves work.
    pub fn decide(
        &mut self,
        nodes: &[Vec<NodeHealth>],
        groups: &[Group],
        before: Option<&Decision>,
    ) -> Decision {
        let model = Arc::clone(&self.model);
        let clusters = node_tables(&model, nodes, before);
        let services = (0..model.services.len())
            .map(|service| {
                let same = |b: &&Decision| {
                    let seats = model.seats(service);
                    seats.iter().all(|seat| b.groups[seat.pool] == groups[seat.pool])
                };
                match before.filter(same) {
                    Some(before) => before.services[service].clone(),
                    None => self.plan(service, groups),
                }
            })
            .collect();
        let decision =
            Decision { nodes: nodes.to_vec(), groups: groups.to_vec(), clusters, services };
        self.deals.retain(|_, deal| Arc::strong_count(deal) > 1);
        decision
    }

    /// What to do when these nodes are down and all others up, without any history.
    pub fn decide_down(&mut self, down: impl Fn(usize) -> bool) -> Decision {
        let health = |node: usize| {
            let up = !down(node);
            NodeHealth { in_service: true, eligible: up, up, ..NodeHealth::default() }
        };
        let pools = &self.model.pools.pools;
        let nodes: Vec<Vec<NodeHealth>> =
            pools.iter().map(|p| self.model.nodes_of(p.cluster).map(health).collect()).collect();
        let counts = nodes.iter().enumerate().map(|(pool, nodes)| count(&self.model, pool, nodes));
        let groups = group::begin(&self.model, &counts.collect::<Vec<_>>());
        let groups: Vec<Group> = groups.iter().map(GroupMonitor::group).collect();
        self.decide(&nodes, &groups, None)
    }

    fn plan(&mut self, service: usize, groups: &[Group]) -> ServicePlan {
        let model = Arc::clone(&self.model);
        let seats = model.seats(service);
        let config = &model.config.services[service];
        let super::model::ServiceModel { order, shape, .. } = model.services[service];
        let (regime, eligible, reserve) = eligibility(
            seats,
            |seat| groups[seat.pool],
            model.service_orders[order].home(),
            config.fallback,
            config.panic,
        );
        let ignore_health = regime == Regime::Panic(Panic::All);
        let withheld = parts(seats.iter().map(|seat| groups[seat.pool].withheld));
        let key = (shape, eligible.clone(), reserve.clone(), withheld.clone(), ignore_health);
        let deal = self.deals.entry(key).or_insert_with(|| {
            let table = |seat: &Seat| match ignore_health {
                true => model.variant_of(seat.pool).unwrap_or(seat.pool),
                false => seat.pool,
            };
            let slot =
                |table| model.ids.table(table).map_or(Slot::NONE, |id| Slot::clean(id.raw()));
            let ids: Vec<Slot> = seats.iter().map(|seat| slot(table(seat))).collect();
            Arc::new(deal(&model.service_orders[order], (&eligible, &withheld), &reserve, &ids))
        });
        ServicePlan { regime, eligible, reserve, withheld, deal: Arc::clone(deal) }
    }
}

/// What is withheld from whom; empty where nothing is.
fn parts(withheld: impl Iterator<Item = Withheld>) -> Vec<Withheld> {
    let all: Vec<Withheld> = withheld.collect();
    if all.iter().all(|one| *one == Withheld::default()) { Vec::new() } else { all }
}

/// How many nodes of a pool count and live; `health` by position in its cluster's nodes.
pub fn count(model: &Model, pool: usize, health: &[NodeHealth]) -> Count {
    let mut count = Count::default();
    let nodes = model.cluster(pool).nodes.iter().zip(health);
    for (_, health) in nodes.filter(|(node, _)| node.weight > 0) {
        count.total += u32::from(health.in_service);
        count.alive += u32::from(health.in_service && health.eligible);
    }
    count
}

/// Who may serve a service: the regime, the eligible seats, and those held in reserve.
fn eligibility(
    seats: &[Seat],
    group: impl Fn(&Seat) -> Group,
    home: &[u16],
    fallback: Fallback,
    panic: Panic,
) -> (Regime, Bits, Bits) {
    let those = |able: &dyn Fn(&Seat, Group) -> bool| {
        Bits::of(seats.len(), |i| seats[i].weight > 0 && able(&seats[i], group(&seats[i])))
    };
    let able = those(&|_, g| g.healthy && !g.held);
    let held = those(&|_, g| g.healthy && g.held);
    if able.is_empty() && held.is_empty() {
        let eligible = match panic {
            Panic::Alive => those(&|_, g| g.count.alive > 0),
            Panic::All => those(&|seat, g| seat.role == Role::Master && g.count.total > 0),
            Panic::Drop => Bits::none(seats.len()),
        };
        return (Regime::Panic(panic), eligible, held);
    }
    let standby = |i: u16| seats[usize::from(i)].role == Role::Standby;
    let homeless = home.iter().any(|&home| home != NOBODY && !able.contains(home));
    if fallback == Fallback::LastResort && homeless && !able.iter().any(standby) {
        let alive = those(&|seat, g| seat.role == Role::Standby && g.count.alive > 0);
        if !alive.is_empty() {
            let masters = those(&|seat, g| seat.role == Role::Master && g.healthy && g.held);
            return (Regime::LastResort, able.union(&alive), masters);
        }
    }
    (Regime::Normal, able, held)
}

/// Gives each slot to the first eligible seat of its order, else to the first one in reserve. `ids`:
/// what stands for the seats in slots.
fn deal(
    order: &Order,
    (eligible, withheld): (&Bits, &[Withheld]),
    reserve: &Bits,
    ids: &[Slot],
) -> Deal {
    let mut owners = order.owners_in_part(eligible, withheld);
    if !reserve.is_empty() && owners.contains(&NOBODY) {
        let reserve = order.owners(reserve);
        for (owner, spare) in owners.iter_mut().zip(reserve).filter(|(owner, _)| **owner == NOBODY)
        {
            *owner = spare;
        }
    }
    let mut flows = vec![vec![0; ids.len() + 1]; ids.len()];
    for (&home, &owner) in order.home().iter().zip(&owners).filter(|(home, _)| **home != NOBODY) {
        flows[usize::from(home)][usize::from(owner).min(ids.len())] += 1;
    }
    let slot = |&owner: &u16| match owner {
        NOBODY => Slot::NONE,
        seat => ids[usize::from(seat)],
    };
    Deal { slots: owners.iter().map(slot).collect(), owners, flows }
}

fn node_tables(
    model: &Model,
    nodes: &[Vec<NodeHealth>],
    before: Option<&Decision>,
) -> Vec<NodeTable> {
    let pools = &model.pools.pools;
    let mut tables: Vec<NodeTable> = Vec::with_capacity(model.tables());
    for id in 0..model.tables() {
        let (cluster, health, minds) = match pools.get(id) {
            Some(pool) => (pool.cluster, &nodes[id], true),
            None => {
                let cluster = model.pools.variants[id - pools.len()].cluster;
                (cluster, &nodes[model.pools_of(cluster).start], false)
            }
        };
        let config = &model.config.clusters[cluster].nodes;
        let eligible = Bits::of(config.len(), |i| {
            config[i].weight > 0 && health[i].in_service && (health[i].eligible || !minds)
        });
        let slow = parts(health.iter().map(|node| node.withheld).filter(|_| minds));
        // Its own table of before comes first, then those of the cluster's other pools: so all
        // that are equal are one, and stay it.
        let others = model.pools_of(cluster).chain(model.variants_of(cluster));
        let ids = std::iter::once(id).chain(others);
        let known = before.into_iter().flat_map(|b| ids.clone().map(|id| &b.clusters[id]));
        let known = known.chain(ids.clone().filter_map(|id| tables.get(id)));
        let mut known = known.into_iter();
        let same =
            known.find(|table| table.eligible == eligible && table.withheld == slow).cloned();
        tables.push(same.unwrap_or_else(|| node_table(model, cluster, eligible, slow)));
    }
    tables
}

fn node_table(model: &Model, cluster: usize, eligible: Bits, withheld: Vec<Withheld>) -> NodeTable {
    let first = model.nodes_of(cluster).start;
    let owners = model.cluster_orders[cluster].owners_in_part(&eligible, &withheld);
    let slot = |&owner: &u16| match owner {
        NOBODY => Slot::NONE,
        node => {
            let id = model.ids.node(first + usize::from(node));
            id.map_or(Slot::NONE, |id| Slot::clean(id.raw()))
        }
    };
    NodeTable { slots: owners.iter().map(slot).collect(), eligible, withheld }
}
