//! A node may be up for one service and down for another.

use anyhow::Result;

use super::ward::node;
use crate::{
    checked::fickle::Fickle,
    configuration::{Configuration, service},
    runner::{self, Case},
    site::Site,
    status::Status,
    topology::NodeIndex,
};

/// The cases.
pub(super) const CASES: &[Case] = &[
    Case::network("per-service/a-node-is-out-of-one", one_port),
    Case::network("per-service/min-services", min_services),
];

/// The port of the second service, and its name.
const PORT: u16 = 8088;
const SECOND: &str = "alt";

/// The lab's clusters with a second service on another port of theirs.
fn two_services(cluster: &str) -> Configuration {
    Configuration {
        cluster: cluster.to_owned(),
        services: service(SECOND, PORT),
        ..Configuration::default()
    }
}

/// The site, and the second service's servers by node.
fn start(cluster: &str) -> Result<(Site, Vec<Option<Fickle>>)> {
    let mut site = Site::build(runner::stop()?, two_services(cluster))?;
    let servers = NodeIndex::all().map(|node| server(&site, node).map(Some));
    let servers = servers.collect::<Result<_>>()?;
    site.start_daemon()?;
    Ok((site, servers))
}

fn server(site: &Site, node: NodeIndex) -> Result<Fickle> {
    Fickle::tcp(site.topology.node(node), PORT)
}

/// Waits until the nodes of A are in these states for a service, and A is healthy for it or not.
fn until_a_is(site: &mut Site, service: &str, states: [&str; 3], healthy: bool) -> Result<()> {
    let what = format!("A's nodes {states:?} for {service}, healthy: {healthy}");
    site.until(&what, |known| is_a(known.status.as_ref()?, service, states, healthy).then_some(()))
}

fn is_a(status: &Status, service: &str, states: [&str; 3], healthy: bool) -> bool {
    status.pool("A", service).is_some_and(|pool| {
        pool.healthy == healthy && pool.nodes.iter().map(|node| node.state.as_str()).eq(states)
    })
}

fn one_port() -> Result<()> {
    let (mut site, mut servers) = start("")?;
    let a1 = node("a1");
    servers[a1.index()] = None;
    until_a_is(&mut site, SECOND, ["down", "up", "up"], true)?;
    until_a_is(&mut site, "web", ["up"; 3], true)?;
    servers[node("a2").index()] = None;
    until_a_is(&mut site, SECOND, ["down", "down", "up"], false)?;
    until_a_is(&mut site, "web", ["up"; 3], true)?;
    for name in ["a1", "a2"] {
        servers[node(name).index()] = Some(server(&site, node(name))?);
    }
    until_a_is(&mut site, SECOND, ["up"; 3], true)
}

/// A cluster that must have two healthy services is unhealthy for both when it has one.
fn min_services() -> Result<()> {
    let (mut site, mut servers) = start("min_services = 2")?;
    for name in ["a1", "a2"] {
        servers[node(name).index()] = None;
    }
    until_a_is(&mut site, SECOND, ["down", "down", "up"], false)?;
    until_a_is(&mut site, "web", ["up"; 3], false)?;
    for name in ["a1", "a2"] {
        servers[node(name).index()] = Some(server(&site, node(name))?);
    }
    until_a_is(&mut site, "web", ["up"; 3], true)?;
    until_a_is(&mut site, SECOND, ["up"; 3], true)
}
