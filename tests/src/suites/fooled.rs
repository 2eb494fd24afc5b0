//! The daemon does not fool itself: what it saw while it did not run, or while its own link was
//! down, does not count, and that most of two clusters are gone at once is believed late.

use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;

use super::ward::{
    PATIENCE, RATES, ask, events, figure, nobody_went_down, none_failed, share, site, until_more,
};
use crate::{
    checked::firewall::Rules, clock::Moment, configuration::Configuration, load::Load,
    runner::Case, site::Site, status::Plan, topology::NodeIndex,
};

/// The cases.
pub(super) const CASES: &[Case] = &[
    Case::network("fooled/daemon-stopped", daemon_stopped),
    Case::network("fooled/own-link-down", own_link_down),
    Case::network("fooled/two-clusters-at-once", two_clusters_at_once),
    Case::network("fooled/one-cluster-alone", one_cluster_alone),
];

const INTERVAL: Duration = Duration::from_millis(200);
const FALL: u32 = 5;
/// So long a plan is frozen here.
const FREEZE: Duration = Duration::from_secs(4);
/// Checks that the network before the load balancer swallows; users' packets pass.
const SWALLOW_A: &str = "tcp sport 80 ip saddr { 192.0.2.21-192.0.2.23 } drop";
const SWALLOW_A_AND_B: &str = "tcp sport 80 ip saddr { 192.0.2.21-192.0.2.33 } drop";
const SWALLOW_ALL: &str = "tcp sport 80 drop";

fn checked() -> Result<Site> {
    let interval = humantime::format_duration(INTERVAL);
    site(Configuration {
        lb: format!("freeze = \"{}\"\n", humantime::format_duration(FREEZE)),
        ..Configuration::checked_by(&format!(
            "kind = \"tcp\", interval = \"{interval}\", timeout = \"150ms\", fall = {FALL}, rise = 2"
        ))
    })
}

/// It stands still for twice the time in which it would give up a node, with checks under way that
/// nobody answers.
fn daemon_stopped() -> Result<()> {
    let mut site = checked()?;
    let (since, starved) = (Moment::now(), figure("starved")?);
    let swallow = Rules::add(&site.topology.lb, "swallow", &[SWALLOW_ALL], &[])?;
    // So that some are under way; too short for a fall.
    site.wait(INTERVAL)?;
    site.signal_daemon(Signal::SIGSTOP)?;
    site.wait(INTERVAL * FALL * 2)?;
    site.signal_daemon(Signal::SIGCONT)?;
    drop(swallow);
    until_more(&mut site, "starved", starved)?;
    a_fall_passes(&mut site)?;
    nobody_went_down(&mut site, since)
}

/// First the cable, then the interface itself.
fn own_link_down() -> Result<()> {
    let mut site = checked()?;
    let since = Moment::now();
    let before = figure("path_down")?;
    site.topology.set_carrier(false)?;
    down_for_a_fall(&mut site, "path_down", before)?;
    site.topology.set_carrier(true)?;
    way_is_back(&mut site)?;
    nobody_went_down(&mut site, since)?;

    // Without a route this host cannot even ask.
    let before = figure("local")?;
    site.topology.lb.ip("link set eth0 down\n")?;
    down_for_a_fall(&mut site, "local", before)?;
    site.topology.lb.ip("link set eth0 up\n")?;
    way_is_back(&mut site)?;
    nobody_went_down(&mut site, since)
}

/// Every node missed more checks than would make it down, and none of them counted.
fn down_for_a_fall(site: &mut Site, why: &str, before: u64) -> Result<()> {
    let nodes = NodeIndex::all().count() as u64;
    until_more(site, why, before + nodes * u64::from(FALL))?;
    ensure!(figure("ways_down")? > 0, "the status shows no way down: {:?}", ask()?.watched);
    Ok(())
}

fn way_is_back(site: &mut Site) -> Result<()> {
    let deadline = Moment::now().after(PATIENCE);
    while figure("ways_down")? > 0 {
        ensure!(Moment::now() < deadline, "the way stays down: {:?}", ask()?.watched);
        site.wait(INTERVAL)?;
    }
    a_fall_passes(site)
}

/// Waits until every node was checked more often than would make it down.
fn a_fall_passes(site: &mut Site) -> Result<()> {
    let nodes = NodeIndex::all().count() as u64;
    let hits = figure("hits")?;
    until_more(site, "hits", hits + nodes * u64::from(FALL + 1))
}

/// Both masters vanish: first they come back in time, then they do not.
fn two_clusters_at_once() -> Result<()> {
    let mut site = checked()?;
    let load = Load::start(&site.topology, RATES)?;
    let start = Moment::now();
    let swallow = Rules::add(&site.topology.lb, "swallow", &[SWALLOW_A_AND_B], &[])?;
    until_event(&mut site, "frozen", start)?;
    stays_home(&mut site)?;
    drop(swallow);
    until_event(&mut site, "freeze_ended", start)?;
    site.until("all are up again", |known| {
        let status = known.status.as_ref()?;
        NodeIndex::all().all(|node| status.state(node) == "up").then_some(())
    })?;
    stays_home(&mut site)?;
    // When the first of them fell the others were on their way: it was noticed before anything moved.
    ensure!(events(&site, "commit", start).is_empty(), "something was committed meanwhile");
    none_failed(&mut site, &load, start)?;

    let again = Moment::now();
    // Who is believed dead loses his connections.
    let masters = ["A", "B"].into_iter().flat_map(NodeIndex::of_cluster);
    masters.for_each(|node| site.topology.deaths.dies(node));
    let _swallow = Rules::add(&site.topology.lb, "swallow", &[SWALLOW_A_AND_B], &[])?;
    let frozen = until_event(&mut site, "frozen", again)?;
    let believed = until_event(&mut site, "freeze_ended", frozen)?;
    let (waited, margin) = (believed.since(frozen), Duration::from_millis(100));
    ensure!(waited + margin >= FREEZE, "believed after {waited:?}");
    site.until("S carries both", |known| {
        (share(known.status.as_ref()?, "S") == 1.0).then_some(())
    })?;
    none_failed(&mut site, &load, start)
}

/// The masters serve all that is theirs, each node its part.
fn stays_home(site: &mut Site) -> Result<()> {
    site.until("all flows are at home", |known| {
        let plan = Plan::of(known.status.as_ref()?);
        let at_home = |name| NodeIndex::of_cluster(name).all(|node| plan.allows(node));
        (at_home("A") && at_home("B") && plan.cluster("S") == 0.0).then_some(())
    })
}

/// One cluster alone is given up at once.
fn one_cluster_alone() -> Result<()> {
    let mut site = checked()?;
    let start = Moment::now();
    let _swallow = Rules::add(&site.topology.lb, "swallow", &[SWALLOW_A], &[])?;
    let unhealthy = until_event(&mut site, "cluster_unhealthy", start)?;
    let carried = until_event(&mut site, "carried", start)?;
    let waited = carried.since(unhealthy);
    ensure!(waited < FREEZE / 2, "it waited {waited:?}");
    ensure!(events(&site, "frozen", start).is_empty(), "the plan was frozen");
    site.until("S carries A", |known| (share(known.status.as_ref()?, "A") == 0.0).then_some(()))
}

/// When the first event of a kind happened since a moment; waited for.
fn until_event(site: &mut Site, kind: &str, since: Moment) -> Result<Moment> {
    let what = format!("an event {kind}");
    site.until(&what, |known| known.event(kind, None, since).map(|event| event.at()))
}
