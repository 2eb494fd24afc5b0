//! What the suites of health share: the lab's network with other checks, and what the daemon says of
//! pools, nodes and itself.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::{
    clock::Moment,
    configuration::Configuration,
    daemon::Daemon,
    load::{Answered, Held, Load, Rates},
    owner::Owner,
    runner,
    site::Site,
    status::{Plan, Status},
    topology::NodeIndex,
};

/// How long anything may take on a machine that is busy with other things.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);

/// A little load: enough to notice whatever fails.
pub(super) const RATES: Rates = Rates {
    requests: 400,
    flows: 50,
    flow_period: Duration::from_millis(500),
    held: Held::talking(10, Duration::from_millis(200)),
};

/// The node of a name.
pub(super) fn node(name: &str) -> NodeIndex {
    NodeIndex::named(name).expect("a node of the lab")
}

/// A site with a daemon that has everything up, but without agents: the checks may not be a survey.
pub(super) fn site(configuration: Configuration) -> Result<Site> {
    let mut site = Site::build(runner::stop()?, configuration)?;
    site.start_daemon()?;
    Ok(site)
}

/// Waits until a node is in a state.
pub(super) fn until_is(site: &mut Site, node: NodeIndex, state: &str) -> Result<()> {
    let what = format!("{} is {state}", node.node().name);
    site.until(&what, |known| (known.status.as_ref()?.state(node) == state).then_some(()))
}

/// Waits until a node gets new flows, or none.
pub(super) fn until_in_plan(site: &mut Site, node: NodeIndex, allowed: bool) -> Result<()> {
    let what = format!("{} in the plan: {allowed}", node.node().name);
    site.until(&what, |known| {
        (Plan::of(known.status.as_ref()?).allows(node) == allowed).then_some(())
    })
}

/// Waits until so many new requests were answered from now on, and none failed since `start`.
pub(super) fn served(site: &mut Site, load: &Load, number: usize, start: Moment) -> Result<()> {
    let (from, deadline) = (Moment::now(), Moment::now().after(PATIENCE));
    loop {
        let Answered { requests, .. } = load.log.answered_since(from);
        if requests >= number {
            return none_failed(site, load, start);
        }
        ensure!(Moment::now() < deadline, "only {requests} requests were answered");
        site.wait(Duration::from_millis(20))?;
    }
}

/// Whether no request was lost that began at or after a moment.
pub(super) fn none_failed(site: &mut Site, load: &Load, start: Moment) -> Result<()> {
    let lost = site.lost(&load.log, start)?;
    ensure!(lost.is_none(), "a request was lost: {lost:?}");
    Ok(())
}

/// The daemon's answer of now.
pub(super) fn ask() -> Result<Status> {
    Status::ask(&Daemon::socket(Owner::this()))
}

/// A figure of the daemon's checks, by its path like `survey.refused.replay`; absent is 0.
pub(super) fn figure(path: &str) -> Result<u64> {
    let watched = ask()?.watched;
    let value = path.split('.').fold(&watched, |value, key| &value[key]);
    ensure!(watched.is_object(), "the status has no figures of the checks");
    Ok(value.as_u64().unwrap_or_default())
}

/// Waits until a figure is more than it was.
pub(super) fn until_more(site: &mut Site, path: &str, than: u64) -> Result<()> {
    let deadline = Moment::now().after(PATIENCE);
    while figure(path)? <= than {
        ensure!(Moment::now() < deadline, "{path} stays {}", figure(path)?);
        site.wait(Duration::from_millis(20))?;
    }
    Ok(())
}

/// Events of a kind since a moment.
pub(super) fn events(site: &Site, kind: &str, since: Moment) -> Vec<String> {
    let known = site.board.watch.now();
    let of_kind = known.events.iter().filter(|event| event.kind == kind && event.at() >= since);
    of_kind.map(|event| event.text.clone()).collect()
}

/// Fails if a node went down since a moment.
pub(super) fn nobody_went_down(site: &mut Site, since: Moment) -> Result<()> {
    site.catch_up()?;
    let down = events(site, "node_down", since);
    ensure!(down.is_empty(), "{}", down.join("; "));
    let status = ask()?;
    let out = NodeIndex::all().find(|node| status.state(*node) != "up");
    let out = out.map(|node| format!("{} is {}", node.node().name, status.state(node)));
    ensure!(out.is_none(), "{}", out.unwrap_or_default());
    Ok(())
}

/// The share of a cluster in the first service.
pub(super) fn share(status: &Status, cluster: &str) -> f64 {
    Plan::of(status).cluster(cluster)
}

/// What `understudy status` with these arguments prints.
pub(super) fn told(arguments: &[&str]) -> Result<String> {
    let socket = Daemon::socket(Owner::this());
    let output = std::process::Command::new(crate::daemon::beside("understudy")?)
        .args(["status", "--socket"])
        .arg(&socket)
        .args(arguments)
        .output()
        .context("starting understudy")?;
    ensure!(output.status.success(), "status: {}", super::small::said(&output));
    Ok(String::from_utf8(output.stdout)?)
}
