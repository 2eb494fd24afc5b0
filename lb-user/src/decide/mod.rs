//! Decides who serves what: events in, effects out, and nothing else.
//!
//! No sockets, no clock, no random source, no map handles. Time comes in as a [`Duration`] on
//! any monotonic scale. [`State::step`] turns a batch of events into at most one plan to publish.
//! Once nothing ramps or is held back, who owns what depends on the configuration, the health and the
//! operator's orders alone, never on the way there; what does is in [`moved`].

mod admin;
mod apply;
pub mod check;
mod first;
pub mod flow;
pub mod freeze;
pub mod group;
pub mod health;
mod host;
mod ids;
pub mod intent;
mod known;
mod leaving;
pub mod model;
pub mod moved;
pub mod notice;
pub mod plan;
pub mod pool;
mod ramp;
pub mod reason;
mod resume;
mod settle;
pub mod share;
mod succeed;
pub mod tables;
mod view;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use lb_common::{ClusterId, NodeId};

use crate::config::{Config, Target};
pub use admin::{Admins, Wish};
pub use check::Violation;
use check::{Checker, Facts};
use first::Before;
use freeze::{Freezer, Sight, Turn};
use group::{Count, GroupMonitor, Hold};
use health::NodeHealth;
pub use health::{Admin, MissReason, NodeMonitor, NodeState, Outcome, Way};
pub use host::{Attached, Host, NextHop, NoWay};
pub use ids::{Ids, Named, OutOfIds};
pub use intent::{Intent, Table, Vip};
pub use model::{Model, Role, Seat};
use moved::{Sweep, Swept, Tracks};
pub use notice::{Notice, ReleasedBy};
pub use plan::{Decision, Planner, Regime, ServicePlan};
pub use pool::{Pool, Pools, TargetId, Variant};
use ramp::Ramps;
pub use resume::{Live, Remembered, Saved, Unfit};
pub use view::View;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A check ended.
    Checked {
        /// What was checked.
        target: TargetId,
        /// What the check found.
        outcome: Outcome,
    },
    /// The way to a node is known, is another one, or is no longer known.
    Resolved {
        /// The node.
        node: NodeId,
        /// The way.
        hop: Option<NextHop>,
    },
    /// This host is known, or is another one.
    Host(Host),
    /// The operator wants a node in or out of service.
    Administer {
        /// The node.
        node: NodeId,
        /// What is wanted.
        admin: Admin,
    },
    /// The operator wants all nodes of a cluster in or out of service.
    AdministerCluster {
        /// Position of the cluster.
        cluster: usize,
        /// What is wanted.
        admin: Admin,
    },
    /// The operator releases a recovered pool that is held back.
    Release(ClusterId),
    /// Pins were looked at.
    Swept(Arc<Swept>),
    /// There is no room for what slots were before: connections without pins go to the owners.
    CloseWindows,
}

/// What to do, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Write this and commit it.
    Publish(Arc<Intent>),
    /// The intended state was wrong: it is not published, and what was stays in force. A defect.
    Refused(Vec<Violation>),
    /// Something that people want to know.
    Notice(Notice),
}

/// All that is known, and what was decided.
#[derive(Debug)]
pub struct State {
    model: Arc<Model>,
    planner: Planner,
    checker: Checker,
    targets: Vec<NodeMonitor>,
    /// Targets whose outcomes are about to change their state.
    undecided: BTreeSet<TargetId>,
    freezer: Freezer,
    admins: Admins,
    /// By position of the node.
    hops: Vec<Option<NextHop>>,
    /// `None`: not known yet.
    host: Option<Host>,
    /// It said so itself; else it is as a plan has it, which may lack what that did not need.
    host_spoke: bool,
    /// No plan is made before this time unless every target has an outcome.
    grace_ends: Duration,
    /// Ids that nobody has now, and pins may name.
    named: Named,
    /// Groups of the configuration before, by pool, until the first plan.
    inherited: Vec<Option<GroupMonitor>>,
    /// The plan of the configuration before, until the first one.
    before: Option<Arc<Before>>,
    ramps: Ramps,
    /// From the first plan on.
    running: Option<Running>,
    /// What was published, over time.
    tracks: Tracks,
    /// What the last sweep found.
    swept: Option<Arc<Swept>>,
    published: Option<Arc<Intent>>,
    refused: Option<Arc<Intent>>,
}

/// What there is from the first plan on.
#[derive(Debug)]
struct Running {
    groups: Vec<GroupMonitor>,
    /// The groups as they were before the first of those vanished that the freezer remembers.
    calm: Vec<GroupMonitor>,
    decision: Decision,
    /// When the carriers of each service's seats last changed.
    since: Vec<Vec<Duration>>,
}

impl State {
    /// Nothing is known yet.
    pub fn new(config: Arc<Config>, now: Duration) -> Self {
        Self::with_model(Arc::new(Model::new(config)), now)
    }

    /// Nothing is known yet; the orders are there already.
    pub fn with_model(model: Arc<Model>, now: Duration) -> Self {
        let first_outcome = |target: &Target| target.health.interval + target.health.timeout;
        let grace = model.pools.targets.iter().map(first_outcome).max().unwrap_or_default();
        Self {
            planner: Planner::new(Arc::clone(&model)),
            checker: Checker::default(),
            undecided: BTreeSet::new(),
            freezer: Freezer::new(model.config.lb.freeze),
            targets: vec![NodeMonitor::new(); model.pools.targets.len()],
            admins: Admins::new(&model),
            hops: vec![None; model.nodes.len()],
            host: None,
            host_spoke: false,
            grace_ends: now + grace,
            named: Named::default(),
            inherited: vec![None; model.pools.pools.len()],
            before: None,
            ramps: Ramps::new(&model),
            running: None,
            tracks: Tracks::default(),
            swept: None,
            published: None,
            refused: None,
            model,
        }
    }

    /// Takes a batch of events, and the time, into account.
    pub fn step(&mut self, now: Duration, events: &[Event]) -> Vec<Effect> {
        let mut notices = Vec::new();
        let mut news = self.running.is_none() || self.deadline().is_some_and(|at| at <= now);
        let was_quiet = self.freezer.is_quiet();
        for event in events {
            news |= self.apply(now, event, &mut notices);
        }
        news |= self.freeze(now, was_quiet, &mut notices);
        let mut effects = Vec::new();
        if news && !self.waiting(now) {
            self.decide(now, &mut notices);
            effects = self.publish(now);
        }
        notices.into_iter().map(Effect::Notice).chain(effects).collect()
    }

    /// When to call [`State::step`] again if no event comes first.
    pub fn deadline(&self) -> Option<Duration> {
        let holds = self.running.as_ref().map(|running| {
            let holds = running.groups.iter().filter_map(|group| match group.hold() {
                Some(Hold::Until(at)) => Some(at),
                Some(Hold::UntilReleased) | None => None,
            });
            holds.min()
        });
        let next = holds.unwrap_or(Some(self.grace_ends));
        // What was refused once is not tried again for the sake of a window.
        let published = self.running.is_some() && self.refused.is_none();
        let windows = self.tracks.ends().filter(|_| published);
        let cut = self.running.as_ref().and_then(|_| self.admins.deadline(&self.model));
        let step = self.running.as_ref().and_then(|_| self.ramps.deadline());
        let own = [self.freezer.until(), windows, cut, step];
        next.into_iter().chain(own.into_iter().flatten()).min()
    }

    /// Whether a plan may follow from what is known by now: there is none yet, outcomes are about to
    /// change what is known of some node, or what is known is not believed.
    pub fn is_undecided(&self) -> bool {
        let frozen = self.freezer.until().is_some();
        self.running.is_none() || !self.undecided.is_empty() || frozen
    }

    /// What pins are judged by, once what was published last is in force, and packets that began
    /// before have ended. What it finds is to come back as [`Event::Swept`]. `None`: nothing is
    /// published yet.
    pub fn sweep(&self) -> Option<Sweep> {
        Some(Sweep::of(&self.model, self.published.as_ref()?, &self.tracks))
    }

    /// What is known and decided.
    pub fn view(&self) -> View<'_> {
        let running = self.running.as_ref();
        View {
            model: &self.model,
            targets: &self.targets,
            freezer: &self.freezer,
            admins: &self.admins,
            hops: &self.hops,
            host: self.host.as_ref(),
            groups: running.map_or(&[], |r| &r.groups),
            decision: running.map(|r| &r.decision),
            since: running.map_or(&[], |r| &r.since),
            published: self.published.as_ref(),
            tracks: &self.tracks,
            swept: self.swept.as_deref(),
        }
    }

    /// Begins or ends a freeze; returns whether a plan could come of it. `was_quiet`: nothing had
    /// vanished before this step.
    fn freeze(&mut self, now: Duration, was_quiet: bool, notices: &mut Vec<Notice>) -> bool {
        let Self { model, targets, admins, .. } = self;
        if was_quiet
            && !self.freezer.is_quiet()
            && let Some(running) = &mut self.running
        {
            running.calm.clone_from(&running.groups);
        }
        let admins = admins.effective();
        let turn = self.freezer.judge(Sight { model, targets, admins }, now);
        if let (Some(Turn::Frozen { .. }), Some(running)) = (&turn, &mut self.running) {
            // What happened to them since has not happened: no failure, no recovery, no hold.
            running.groups.clone_from(&running.calm);
        }
        let news = turn.is_some();
        notices.extend(turn.map(Notice::Freeze));
        news
    }

    /// Brings groups and decision up to date.
    fn decide(&mut self, now: Duration, notices: &mut Vec<Notice>) {
        let model = Arc::clone(&self.model);
        self.admins.expire(&model, now);
        let pools = 0..model.pools.pools.len();
        let mut nodes: Vec<Vec<NodeHealth>> =
            pools.clone().map(|pool| self.health_in(pool)).collect();
        let counts = pools.map(|pool| plan::count(&model, pool, &nodes[pool]));
        let counts: Vec<Count> = counts.collect();
        let Some(running) = &mut self.running else {
            return self.begin(nodes, &counts, now, notices);
        };
        let turns = group::update(&model, &mut running.groups, &counts, now);
        for (pool, turn) in turns.into_iter().enumerate() {
            notices.extend(notice::turn(&model, &running.groups, pool, turn));
            if running.groups[pool].expire(now) {
                notices.extend(notice::released(&model, pool, ReleasedBy::Time));
            }
        }
        let values = running.groups.iter().map(GroupMonitor::group);
        let mut groups: Vec<group::Group> = values.collect();
        let before = (&*running.decision.nodes, &*running.decision.groups);
        self.ramps.turn(&model, before, (&nodes, &groups), now);
        self.ramps.withhold(&mut nodes, &mut groups);
        if groups == running.decision.groups && nodes == running.decision.nodes {
            return;
        }
        let decision = self.planner.decide(&nodes, &groups, Some(&running.decision));
        let decision =
            settle::settle(&model, &mut self.planner, &mut running.groups, decision, notices);
        notices.extend(notice::changes(&model, &running.decision, &decision));
        for (service, since) in running.since.iter_mut().enumerate() {
            notice::touch(&running.decision, &decision, service, since, now);
        }
        running.decision = decision;
    }

    fn publish(&mut self, now: Duration) -> Vec<Effect> {
        let Some(running) = &self.running else { return Vec::new() };
        let tracks = self.tracks.advance(&self.model, &running.decision, now);
        let intent = Intent::new(&self.view(), &running.decision, &tracks);
        if self.refused.as_deref() == Some(&intent) {
            return Vec::new();
        }
        if self.published.as_deref() == Some(&intent) {
            self.tracks = tracks;
            return Vec::new();
        }
        let intent = Arc::new(intent);
        let decision = &running.decision;
        let (model, hops, host) = (&*self.model, &self.hops, self.host.as_ref());
        let facts = Facts { model, hops, host, decision };
        let violations = self.checker.check(&facts, &intent);
        if !violations.is_empty() {
            self.refused = Some(intent);
            return vec![Effect::Refused(violations)];
        }
        self.refused = None;
        self.tracks = tracks;
        self.published = Some(Arc::clone(&intent));
        vec![Effect::Publish(intent)]
    }
}

#[cfg(test)]
pub(crate) mod tests;
