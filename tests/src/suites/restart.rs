//! The daemon is killed and started again under traffic: the data path goes on by itself, and
//! the new daemon goes on where the old one was.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    clock::Moment,
    daemon::Daemon,
    load::{Answered, Held, Kind, Load, Log, Outcome, Rates},
    owner::Owner,
    runner::{self, Case},
    site::Site,
    status::{Plan, Status},
    topology::NodeIndex,
    variant::Variant,
};

/// The cases.
pub(super) const CASES: &[Case] =
    &[Case::network("restart/kill-9-under-traffic", kill_under_traffic)];

const RATES: Rates = Rates {
    requests: 1000,
    flows: 300,
    flow_period: Duration::from_millis(500),
    held: Held::talking(100, Duration::from_millis(100)),
};

/// How long may be waited for traffic.
const PATIENCE: Duration = Duration::from_secs(30);

fn kill_under_traffic() -> Result<()> {
    let mut site = Site::start(runner::stop()?, Variant::default())?;
    let load = Load::start(&site.topology, RATES)?;
    traffic(&mut site, &load.log, "with the first daemon")?;
    // The maps are the first daemon's and the second's: so are the counts.
    let before = ask()?;

    site.kill_daemon()?;
    traffic(&mut site, &load.log, "without a daemon")?;

    site.start_daemon()?;
    let adopted = ask()?;
    let (is, was) = (adopted.epoch, before.epoch);
    ensure!(is >= was, "epoch {is} after the restart, {was} before");
    no_packet_lost(&before, &adopted)?;
    traffic(&mut site, &load.log, "with the second daemon")?;
    no_packet_lost(&before, &ask()?)?;
    undisturbed(&load.log)?;

    // It goes on: a failure is seen, and its flows move.
    let a1 = NodeIndex::named("a1").context("a node a1")?;
    ensure!(flows_of(&load.log, a1) > 0, "no audited flow is on a1");
    site.topology.set_link(a1, false)?;
    site.until("a1 out of the plan", |known| {
        (!Plan::of(known.status.as_ref()?).allows(a1)).then_some(())
    })?;
    traffic(&mut site, &load.log, "after a failure")?;
    ensure!(flows_of(&load.log, a1) == 0, "flows are still on a1 after its failure");
    Ok(())
}

/// The daemon's answer of now, not the board's latest.
fn ask() -> Result<Status> {
    Status::ask(&Daemon::socket(Owner::this()))
}

/// Packets were forwarded in between, and none was dropped. Requests alone would not show it: TCP
/// repairs losses.
fn no_packet_lost(before: &Status, after: &Status) -> Result<()> {
    let mut forwarded = 0;
    ensure!(after.counters.keys().any(|name| name.starts_with("drop_")), "no drops are counted");
    for (name, is) in &after.counters {
        let was = before.counters.get(name).with_context(|| format!("no {name} before"))?;
        ensure!(is >= was, "{name} went from {was} to {is}");
        ensure!(is == was || !name.starts_with("drop_"), "{} packets: {name}", is - was);
        forwarded += if name.starts_with("forward_") { is - was } else { 0 };
    }
    // `traffic` saw a thousand requests answered meanwhile, each of several packets.
    ensure!(forwarded > 1000, "only {forwarded} packets were forwarded meanwhile");
    Ok(())
}

/// Waits until every flow, every long-lived connection and a thousand new requests were
/// answered from now on.
fn traffic(site: &mut Site, log: &Log, when: &str) -> Result<()> {
    let start = Moment::now();
    let echoes = log.lasting().echoes;
    let deadline = start.after(PATIENCE);
    loop {
        let Answered { requests, flows } = log.answered_since(start);
        let echoed = log.lasting().echoes - echoes;
        let all_flows = flows == usize::from(RATES.flows);
        if all_flows && requests >= 1000 && echoed >= u64::from(RATES.held.number) * 5 {
            return Ok(());
        }
        if deadline < Moment::now() {
            bail!("{when}: only {flows} flows, {requests} new requests, {echoed} echoes");
        }
        site.wait(Duration::from_millis(50))?;
    }
}

/// Nothing failed, moved or broke since the load began.
fn undisturbed(log: &Log) -> Result<()> {
    let mut homes: BTreeMap<u16, NodeIndex> = BTreeMap::new();
    for sample in log.samples().iter() {
        let node = match sample.outcome {
            Outcome::Failed(failure) => bail!("a request failed: {failure}"),
            Outcome::Node(node) => node,
        };
        if let Kind::Flow(flow) = sample.kind {
            let home = *homes.entry(flow).or_insert(node);
            let (was, is) = (home.node().name, node.node().name);
            ensure!(home == node, "flow {flow} moved from {was} to {is}");
        }
    }
    let broken = log.lasting().broken().count();
    ensure!(broken == 0, "{broken} long-lived connections broke");
    Ok(())
}

/// How many audited flows were last answered by a node.
fn flows_of(log: &Log, node: NodeIndex) -> usize {
    let mut last = BTreeMap::new();
    for sample in log.samples().iter() {
        if let (Kind::Flow(flow), Outcome::Node(node)) = (sample.kind, sample.outcome) {
            last.insert(flow, node);
        }
    }
    last.values().filter(|at| **at == node).count()
}
