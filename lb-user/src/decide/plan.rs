//! Decides, for a configuration and the health of its nodes and clusters, who serves what.
//!
//! Nothing here remembers: the same health gives the same decision, however it came about. A
//! [`Planner`] only keeps tables that it has already computed, so as not to compute them again.

use std::{collections::BTreeMap, sync::Arc};

use lb_common::Slot;

use super::{
    group::{Count, Group, GroupMonitor},
    health::NodeHealth,
    model::{Model, Role, Seat},
    tables::{Bits, NOBODY, Order},
};
use crate::config::{Fallback, Panic};

/// What is decided at one health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// By node id.
    pub nodes: Vec<NodeHealth>,
    /// By position of the cluster.
    pub groups: Vec<Group>,
    /// Node tables by cluster id: the configured clusters', then those that ignore health.
    pub clusters: Vec<NodeTable>,
    /// By service id.
    pub services: Vec<ServicePlan>,
}

/// The node table of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeTable {
    /// Who may get flows, by position in the cluster's nodes.
    pub eligible: Bits,
    /// Node ids.
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
    /// Who serves which slots.
    pub deal: Arc<Deal>,
}

/// A service's table with its figures.
#[derive(Debug, PartialEq, Eq)]
pub struct Deal {
    /// Cluster ids.
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

/// Which table of which order: the order, who is eligible, who is held, to which ids.
type DealKey = (usize, Bits, Bits, bool);

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
        nodes: &[NodeHealth],
        groups: &[Group],
        before: Option<&Decision>,
    ) -> Decision {
        let model = Arc::clone(&self.model);
        let clusters = node_tables(&model, nodes, before);
        let services = (0..model.services.len())
            .map(|service| {
                let same = |b: &&Decision| {
                    let seats = model.seats(service);
                    seats.iter().all(|seat| b.groups[seat.cluster] == groups[seat.cluster])
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
            NodeHealth { in_service: true, eligible: up, up }
        };
        let nodes: Vec<NodeHealth> = (0..self.model.nodes.len()).map(health).collect();
        let groups: Vec<Group> = (0..self.model.config.clusters.len())
            .map(|c| {
                let count = count(&self.model, c, &nodes);
                GroupMonitor::new(&self.model.config.clusters[c], count).group()
            })
            .collect();
        self.decide(&nodes, &groups, None)
    }

    fn plan(&mut self, service: usize, groups: &[Group]) -> ServicePlan {
        let model = Arc::clone(&self.model);
        let seats = model.seats(service);
        let config = &model.config.services[service];
        let order = model.services[service].order;
        let (regime, eligible, reserve) = eligibility(
            seats,
            |seat| groups[seat.cluster],
            model.service_orders[order].home(),
            config.fallback,
            config.panic,
        );
        let ignore_health = regime == Regime::Panic(Panic::All);
        let key = (order, eligible.clone(), reserve.clone(), ignore_health);
        let deal = self.deals.entry(key).or_insert_with(|| {
            let ids: Vec<usize> = seats
                .iter()
                .map(|seat| match ignore_health {
                    true => model.variant_of(seat.cluster).unwrap_or(seat.cluster),
                    false => seat.cluster,
                })
                .collect();
            Arc::new(deal(&model.service_orders[order], &eligible, &reserve, &ids))
        });
        ServicePlan { regime, eligible, reserve, deal: Arc::clone(deal) }
    }
}

/// How many nodes of a cluster count and live.
pub fn count(model: &Model, cluster: usize, nodes: &[NodeHealth]) -> Count {
    let mut count = Count::default();
    for node in model.nodes_of(cluster).filter(|&node| model.node(node).weight > 0) {
        count.total += u32::from(nodes[node].in_service);
        count.alive += u32::from(nodes[node].in_service && nodes[node].eligible);
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

/// Gives each slot to the first eligible seat of its order, else to the first one in reserve.
fn deal(order: &Order, eligible: &Bits, reserve: &Bits, ids: &[usize]) -> Deal {
    let mut owners = order.owners(eligible);
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
        seat => Slot::clean(ids[usize::from(seat)] as u16),
    };
    Deal { slots: owners.iter().map(slot).collect(), owners, flows }
}

fn node_tables(model: &Model, nodes: &[NodeHealth], before: Option<&Decision>) -> Vec<NodeTable> {
    let table = |id: usize, cluster: usize, able: &dyn Fn(&NodeHealth) -> bool| {
        let ids = model.nodes_of(cluster);
        let eligible = Bits::of(ids.len(), |i| {
            let node = ids.start + i;
            model.node(node).weight > 0 && nodes[node].in_service && able(&nodes[node])
        });
        if let Some(same) = before.map(|b| &b.clusters[id]).filter(|t| t.eligible == eligible) {
            return same.clone();
        }
        let owners = model.cluster_orders[cluster].owners(&eligible);
        let slot = |&owner: &u16| match owner {
            NOBODY => Slot::NONE,
            node => Slot::clean((ids.start + usize::from(node)) as u16),
        };
        NodeTable { eligible, slots: owners.iter().map(slot).collect() }
    };
    let count = model.config.clusters.len();
    let configured = (0..count).map(|cluster| table(cluster, cluster, &|node| node.eligible));
    let variants = model.variants.iter().enumerate();
    configured.chain(variants.map(|(i, &c)| table(count + i, c, &|_| true))).collect()
}
