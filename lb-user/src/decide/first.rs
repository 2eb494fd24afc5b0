//! The first plan under a configuration, and what it takes over from the plan of the one before.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    Count, Decision, GroupMonitor, Model, NodeHealth, Notice, Running, State,
    group::{self, Group},
    notice,
};

/// What was decided last under an earlier configuration.
#[derive(Debug)]
pub(super) struct Before {
    model: Arc<Model>,
    decision: Decision,
    /// As [`Running::since`].
    since: Vec<Vec<Duration>>,
}

impl State {
    /// What a state under another configuration takes over.
    pub(super) fn before(&self) -> Option<Arc<Before>> {
        let Some(Running { decision, since, .. }) = &self.running else {
            return self.before.clone();
        };
        let (model, decision) = (Arc::clone(&self.model), decision.clone());
        Some(Arc::new(Before { model, decision, since: since.clone() }))
    }

    /// Makes the first plan.
    pub(super) fn begin(
        &mut self,
        mut nodes: Vec<Vec<NodeHealth>>,
        counts: &[Count],
        now: Duration,
        notices: &mut Vec<Notice>,
    ) {
        let model = Arc::clone(&self.model);
        let mut groups = group::begin(&model, counts);
        let inherited = std::mem::take(&mut self.inherited);
        let kept = groups.iter_mut().zip(inherited);
        kept.for_each(|(group, was)| *group = was.unwrap_or(*group));
        group::update(&model, &mut groups, counts, now);
        let mut values: Vec<Group> = groups.iter().map(GroupMonitor::group).collect();
        let before = self.before.take();
        let was = match &before {
            Some(before) => before.health(&model, (&nodes, &values)),
            None => (nodes.clone(), values.clone()),
        };
        self.ramps.turn(&model, (&was.0, &was.1), (&nodes, &values), now);
        self.ramps.withhold(&mut nodes, &mut values);
        let decision = self.planner.decide(&nodes, &values, None);
        notices.extend(notice::first(&model, &decision));
        let since = 0..model.config.services.len();
        let since = since.map(|service| match &before {
            Some(before) => before.since(&model, &decision, service, now),
            None => vec![now; model.seats(service).len()],
        });
        let since = since.collect();
        self.running = Some(Running { calm: groups.clone(), groups, decision, since });
    }
}

impl Before {
    /// What the nodes and pools of a later model were; those that are new were what they are.
    fn health(
        &self,
        later: &Model,
        (nodes, groups): (&[Vec<NodeHealth>], &[Group]),
    ) -> (Vec<Vec<NodeHealth>>, Vec<Group>) {
        let (mut nodes, mut groups) = (nodes.to_vec(), groups.to_vec());
        for pool in 0..groups.len() {
            let Some(was) = self.model.predecessor(later, pool) else { continue };
            groups[pool] = self.decision.groups[was];
            let [now_at, then_at] = [(later, pool), (&*self.model, was)]
                .map(|(model, pool)| model.nodes_of(model.pool(pool).cluster));
            for (health, node) in nodes[pool].iter_mut().zip(now_at) {
                let was_at = later.ids.node(node).and_then(|id| self.model.ids.node_at(id));
                if let Some(at) = was_at.filter(|at| then_at.contains(at)) {
                    *health = self.decision.nodes[was][at - then_at.start];
                }
            }
        }
        (nodes, groups)
    }

    /// When the carriers of a service's seats last changed.
    fn since(
        &self,
        later: &Model,
        decision: &Decision,
        service: usize,
        now: Duration,
    ) -> Vec<Duration> {
        let name = &later.config.services[service].name;
        let was = self.model.config.services.iter().position(|was| was.name == *name);
        let seats = later.seats(service).iter().enumerate().map(|(seat, is)| {
            let cluster = &later.config.clusters[is.cluster].name;
            let mut seats = self.model.seats(was?).iter();
            let at = seats.position(|was| self.model.config.clusters[was.cluster].name == *cluster);
            let same = carriers(&self.model, &self.decision, was?, at?)
                == carriers(later, decision, service, seat);
            Some(self.since[was?][at?]).filter(|_| same)
        });
        seats.map(|since| since.unwrap_or(now)).collect()
    }
}

/// How many slots of a seat each cluster has; `None`: nobody.
fn carriers<'a>(
    model: &'a Model,
    decision: &Decision,
    service: usize,
    seat: usize,
) -> BTreeMap<Option<&'a str>, u32> {
    let name = |at: usize| {
        let seat = model.seats(service).get(at)?;
        Some(model.config.clusters[seat.cluster].name.as_str())
    };
    let slots = decision.services[service].deal.flows[seat].iter().enumerate();
    slots.filter(|(_, slots)| **slots > 0).map(|(at, slots)| (name(at), *slots)).collect()
}
