//! How long a node that has failed, or has said that it will, still gets new requests: measured
//! from the fault to the last request that was sent to it, many times.

use std::{fmt, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde::Serialize;

use crate::{
    checked::agent::Agent,
    clock::Moment,
    configuration::Configuration,
    load::{self, Held, Load, Outcome, Rates},
    site::Site,
    status::Plan,
    stop::Stop,
    topology::NodeIndex,
};

/// How agents check their server.
const CHECK: &str = "\"tcp\"";

/// How a node goes, and how that is found out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// SIGTERM to its agent, and nothing else: the server goes on.
    Announced,
    /// Its cable is pulled; surveys every 200 ms, fall 3.
    Survey,
    /// Its cable is pulled; TCP checks every 100 ms, fall 3.
    Tcp,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Announced, Self::Survey, Self::Tcp];

    /// In words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Announced => "agent announces its stop",
            Self::Survey => "survey 200 ms x 3, blackhole",
            Self::Tcp => "tcp 100 ms x 3, blackhole",
        }
    }

    const fn surveyed(self) -> bool {
        matches!(self, Self::Announced | Self::Survey)
    }

    fn health(self) -> &'static str {
        if self.surveyed() {
            r#"kind = "survey", interval = "200ms", timeout = "150ms", fall = 3, rise = 2"#
        } else {
            r#"kind = "tcp", interval = "100ms", timeout = "100ms", fall = 3, rise = 2"#
        }
    }
}

/// The times of one way, in milliseconds, sorted.
#[derive(Clone, Debug, Serialize)]
pub struct Distribution {
    /// [`Way::name`].
    pub way: &'static str,
    /// One for each trial.
    pub ms: Vec<f64>,
}

impl Distribution {
    /// A quantile, from 0 (the least) to 1 (the greatest), by nearest rank; 0 without trials.
    #[must_use]
    pub fn quantile(&self, part: f64) -> f64 {
        let last = self.ms.len().saturating_sub(1);
        self.ms.get((part * last as f64).round() as usize).copied().unwrap_or_default()
    }
}

/// A row: least, median, nine in ten, greatest, trials.
impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<30}", self.way)?;
        for part in [0.0, 0.5, 0.9, 1.0] {
            write!(f, "{:>9.1}", self.quantile(part))?;
        }
        write!(f, "{:>7}", self.ms.len())
    }
}

/// Measures one way with new requests at a steady rate; trial by trial another node fails.
///
/// # Errors
/// If something cannot be had, or does not come about.
pub fn measure(stop: &Stop, way: Way, trials: usize, rate: u32) -> Result<Distribution> {
    let (mut agents, mut site) = if way.surveyed() {
        Site::surveyed(stop, way.health(), |_| CHECK)?
    } else {
        (Vec::new(), Site::build(stop, Configuration::checked_by(way.health()))?)
    };
    site.start_daemon()?;
    let rates = Rates { requests: rate, flows: 0, held: Held::NONE, ..Rates::default() };
    let load = Load::start(&site.topology, rates)?;
    // Masters only: nobody asks the standby's nodes.
    let masters: Vec<_> = ["A", "B"].into_iter().flat_map(NodeIndex::of_cluster).collect();
    let mut ms = Vec::with_capacity(trials);
    for &node in masters.iter().cycle().take(trials) {
        steady(&mut site, &load, node)?;
        let time = trial(&mut site, &load, way, &mut agents, node);
        ms.push(time.with_context(|| format!("{}: {}", way.name(), node.node().name))?);
    }
    ms.sort_by(f64::total_cmp);
    Ok(Distribution { way: way.name(), ms })
}

/// Waits until everything is up, and requests come to a node.
fn steady(site: &mut Site, load: &Load, node: NodeIndex) -> Result<()> {
    site.until("every node is up and gets requests", |known| {
        let status = known.status.as_ref()?;
        NodeIndex::all().all(|node| status.state(node) == "up").then_some(())?;
        Plan::of(status).allows(node).then_some(())
    })?;
    let since = Moment::now();
    let mut waits = 0;
    while last_accepted(load, node, since).is_none() {
        ensure!(waits < 500, "no requests come to {}", node.node().name);
        waits += 1;
        site.wait(Duration::from_millis(10))?;
    }
    Ok(())
}

/// One fault, from it to the last request that was sent to the node; then all is mended.
fn trial(
    site: &mut Site,
    load: &Load,
    way: Way,
    agents: &mut [Agent],
    node: NodeIndex,
) -> Result<f64> {
    let fault = Moment::now();
    match way {
        Way::Announced => agents[node.index()].signal(Signal::SIGTERM)?,
        Way::Survey | Way::Tcp => site.topology.set_link(node, false)?,
    }
    site.until("the node gets nobody", |known| {
        (!Plan::of(known.status.as_ref()?).allows(node)).then_some(())
    })?;
    // Every request that was under way then has ended, one way or the other.
    site.wait(load::TIMEOUT + Duration::from_millis(200))?;
    let last = match way {
        Way::Announced => last_accepted(load, node, fault),
        Way::Survey | Way::Tcp => last_failed(load, fault),
    };
    match way {
        Way::Announced => {
            let lost = site.lost(&load.log, fault)?;
            ensure!(lost.is_none(), "a request failed during a planned stop: {lost:?}");
            agents[node.index()].wait()?;
            agents[node.index()] = site.agent(node, CHECK)?;
        }
        Way::Survey | Way::Tcp => site.topology.set_link(node, true)?,
    }
    // None at all: it was out before the next request came.
    Ok(last.map_or(0.0, |last| last.since(fault).as_secs_f64() * 1000.0))
}

/// When the last request was made that a node answered, of those since a moment.
fn last_accepted(load: &Load, node: NodeIndex, since: Moment) -> Option<Moment> {
    last(load, since, |outcome| outcome == Outcome::Node(node))
}

/// When the last request was made that failed, of those since a moment. Only one node is bad, so
/// it was sent there.
fn last_failed(load: &Load, since: Moment) -> Option<Moment> {
    last(load, since, |outcome| matches!(outcome, Outcome::Failed(_)))
}

fn last(load: &Load, since: Moment, fits: impl Fn(Outcome) -> bool) -> Option<Moment> {
    let samples = load.log.samples();
    // In the order of their ends: before that, none can have begun since.
    let recent = samples.iter().rev().take_while(|sample| sample.end >= since);
    let fitting = recent.filter(|sample| sample.start >= since && fits(sample.outcome));
    fitting.map(|sample| sample.start).max()
}
