//! What is done to the lab, when, and what must be seen before it goes on.

use std::time::Duration;

use anyhow::Result;

use crate::{
    board::Knowledge,
    clock::Moment,
    lab::stage::Stage,
    load::{Log, Sample},
    site::Site,
    status::Plan,
    topology::{CLUSTERS, NodeIndex},
};

/// A change and the phase that follows it.
struct Step {
    /// What is done.
    change: &'static str,
    /// Links that go down.
    down: &'static [&'static str],
    /// Links that come up again.
    up: &'static [&'static str],
    /// Whether cluster A is healthy then.
    healthy: bool,
    /// Nodes that lose their flows by it.
    leaves: &'static [&'static str],
    /// The phase that follows.
    phase: &'static str,
    /// Clusters that share the traffic then, evenly.
    carriers: [&'static str; 2],
}

/// Before anything is done.
const FIRST: (&str, [&str; 2]) = ("steady", ["A", "B"]);

/// Two of three nodes are needed: A survives the first and not the second.
const STEPS: [Step; 3] = [
    Step {
        change: "the link of a1 goes down",
        down: &["a1"],
        up: &[],
        healthy: true,
        leaves: &["a1"],
        phase: "a1 is down",
        carriers: ["A", "B"],
    },
    Step {
        change: "the link of a2 goes down too",
        down: &["a2"],
        up: &[],
        healthy: false,
        leaves: &["a2", "a3"],
        phase: "A is down",
        carriers: ["S", "B"],
    },
    Step {
        change: "the links of a1 and a2 come up",
        down: &[],
        up: &["a1", "a2"],
        healthy: true,
        leaves: &["s1", "s2", "s3"],
        phase: "steady again",
        carriers: ["A", "B"],
    },
];

/// A change that was made, and when the daemon followed.
#[derive(Clone, Debug)]
pub struct Change {
    /// What was done.
    pub name: &'static str,
    /// Just before it was done.
    pub at: Moment,
    /// The daemon's last verdict about the nodes that it touched.
    pub verdict: Moment,
    /// The commit that followed.
    pub commit: Moment,
    /// Nodes that lose their flows by it.
    pub leaves: Vec<NodeIndex>,
    /// Nodes that get back what they had.
    pub gains: Vec<NodeIndex>,
    /// Whether a cluster fails by it.
    pub fails_cluster: bool,
    /// Whether a node dies by it: only then may requests fail.
    pub kills: bool,
}

impl Change {
    /// Whether a request was under way at some moment from the change to its commit.
    #[must_use]
    pub fn meets(&self, sample: &Sample) -> bool {
        sample.start <= self.commit && sample.end >= self.at
    }
}

/// A time in which nothing changes.
#[derive(Clone, Debug)]
pub struct Phase {
    /// Its name.
    pub name: &'static str,
    /// The commit that began it.
    pub from: Moment,
    /// When the next change was made.
    pub to: Moment,
    /// The daemon's plan at its beginning.
    pub plan: Plan,
    /// The daemon's plan at its end.
    pub plan_at_end: Plan,
    /// Clusters that ought to share the traffic, evenly.
    pub carriers: [&'static str; 2],
}

/// What was done and what the daemon said to it.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// One more than there are changes.
    pub phases: Vec<Phase>,
    /// Each between two phases.
    pub changes: Vec<Change>,
}

/// How a script is played.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long it takes in all.
    pub length: Duration,
    /// New requests that each phase must have.
    pub samples: usize,
    /// Flows that are audited.
    pub flows: usize,
    /// What a phase takes at least, so that each audited flow is seen in it.
    pub phase: Duration,
    /// Something that the script does not know of.
    pub sabotage: Option<Sabotage>,
}

/// What can be broken on purpose, together with the link of a2, to see what comes of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Sabotage {
    /// The link of b1 goes down for good.
    Node,
    /// The lab itself panics.
    Panic,
}

/// A phase is drawn out so far to get its samples.
const PATIENCE: Duration = Duration::from_secs(20);

/// Plays the script.
///
/// # Errors
/// If the daemon does not follow, or the switch is pulled.
pub fn play(site: &mut Site, log: &Log, stage: &Stage, options: Options) -> Result<Record> {
    let mut record = Record::default();
    stage.enter("the first requests");
    warm_up(site, log, options)?;
    let start = Moment::now();
    let quarter = options.length / 4;
    let plan = Plan::of(&site.status()?);
    let mut open = Phase::open(FIRST.0, start, plan, FIRST.1);
    for (step, number) in STEPS.iter().zip(1..) {
        record.phases.push(hold(site, log, stage, open, start.after(quarter * number), options)?);
        stage.enter(step.change);
        let (change, plan) = apply(site, step, options.sabotage)?;
        open = Phase::open(step.phase, change.commit, plan, step.carriers);
        record.changes.push(change);
    }
    record.phases.push(hold(site, log, stage, open, start.after(options.length), options)?);
    Ok(record)
}

impl Phase {
    fn open(name: &'static str, from: Moment, plan: Plan, carriers: [&'static str; 2]) -> Self {
        Self { name, from, to: from, plan_at_end: plan.clone(), plan, carriers }
    }
}

/// Waits until each audited flow was answered: the first packets also find the neighbours.
fn warm_up(site: &mut Site, log: &Log, options: Options) -> Result<()> {
    let start = Moment::now();
    site.until("an answer for each audited flow", |_| {
        (log.answered_since(start).flows >= options.flows).then_some(())
    })
}

/// Lets a phase last until it is over and has its samples.
fn hold(
    site: &mut Site,
    log: &Log,
    stage: &Stage,
    mut phase: Phase,
    end: Moment,
    options: Options,
) -> Result<Phase> {
    stage.enter(phase.name);
    let end = end.max(phase.from.after(options.phase));
    loop {
        let now = Moment::now();
        let patient = now < end.after(PATIENCE);
        if now >= end && !(patient && log.answered_since(phase.from).requests < options.samples) {
            break;
        }
        let left = end.since(now);
        site.wait(left.clamp(Duration::from_millis(20), Duration::from_millis(200)))?;
    }
    phase.plan_at_end = Plan::of(&site.status()?);
    phase.to = Moment::now();
    Ok(phase)
}

/// Makes a change and waits until the daemon's plan follows it.
fn apply(site: &mut Site, step: &Step, sabotage: Option<Sabotage>) -> Result<(Change, Plan)> {
    let (down, up) = (named(step.down), named(step.up));
    let at = Moment::now();
    for (nodes, state) in [(&down, false), (&up, true)] {
        for node in nodes {
            site.topology.set_link(*node, state)?;
        }
    }
    match sabotage.filter(|_| !step.healthy) {
        Some(Sabotage::Node) => {
            named(&["b1"]).iter().try_for_each(|b1| site.topology.set_link(*b1, false))?;
        }
        Some(Sabotage::Panic) => panic!("asked to panic"),
        None => {}
    }
    let (verdict, commit, plan) = site
        .until(&format!("a plan that fits: {}", step.change), |known| followed(known, step, at))?;
    let leaves = named(step.leaves);
    let (name, fails_cluster) = (step.change, !step.healthy);
    let kills = !down.is_empty();
    let change = Change { name, at, verdict, commit, leaves, gains: up, fails_cluster, kills };
    Ok((change, plan))
}

/// The daemon's last verdict, its commit and its plan, once they are what the step leads to.
fn followed(known: &Knowledge, step: &Step, at: Moment) -> Option<(Moment, Moment, Plan)> {
    let status = known.status.as_ref()?;
    let verdict = |name: &&str, kind| known.event(kind, Some(&format!("A/{name}")), at);
    let verdicts = step.down.iter().map(|name| verdict(name, "node_down"));
    let verdicts = verdicts.chain(step.up.iter().map(|name| verdict(name, "node_up")));
    let verdicts: Option<Vec<_>> = verdicts.collect();
    let last = verdicts?.iter().map(|event| event.at()).max()?;
    let commit = known.event("commit", None, last)?.at();
    let plan = Plan::of(status);
    let carries = |cluster: &str| plan.cluster(cluster) > 0.0;
    let expected =
        CLUSTERS.iter().all(|cluster| carries(cluster) == step.carriers.contains(cluster));
    let healthy = status.cluster("A")?.healthy == step.healthy;
    (expected && healthy).then_some((last, commit, plan))
}

fn named(names: &[&str]) -> Vec<NodeIndex> {
    names.iter().filter_map(|name| NodeIndex::named(name)).collect()
}
