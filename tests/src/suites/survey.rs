//! The survey, with real agents on the nodes: what they say is believed at once, what is lost is
//! asked again, and what others say in their place is refused and counted.
//!
//! Nothing here steps the clock: CLOCK_REALTIME is the whole machine's. That nothing depends on it
//! follows from the code: nonces are random and counted, and time is the runtime's, which is
//! monotonic.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;

use super::ward::{
    RATES, ask, figure, nobody_went_down, node, none_failed, served, until_in_plan, until_is,
    until_more,
};
use crate::{
    checked::{agent::Impostor, firewall::Rules, nginx::Nginx},
    clock::Moment,
    load::Load,
    owner::Owner,
    runner::{self, Case},
    site::Site,
    topology::NodeIndex,
    variant::Variant,
};

/// The cases.
pub(super) const CASES: &[Case] = &[
    Case::network("survey/unicast", unicast),
    Case::network("survey/broadcast", broadcast),
    Case::network("survey/loss", loss),
    Case::network("survey/strangers", strangers),
];

/// How most agents check their server.
const CHECK: &str = "\"tcp\"";
/// How a1's does: a server of its own beside the one that users ask.
const PAGE: &str = r#"{ kind = "http", port = 8080, path = "/health" }"#;
const PAGE_PORT: u16 = 8080;

const TIMES: &str = r#"interval = "200ms", timeout = "150ms", fall = 3, rise = 2"#;

fn unicast() -> Result<()> {
    life(&format!("kind = \"survey\", {TIMES}"))
}

/// Everybody on the link is asked by one datagram.
fn broadcast() -> Result<()> {
    let group = Ipv4Addr::new(192, 0, 2, 255);
    life(&format!("kind = \"survey\", send = \"broadcast\", group = \"{group}\", {TIMES}"))
}

/// Servers fail and hang, agents end and are killed, nodes are drained; no user ever notices.
fn life(health: &str) -> Result<()> {
    let (a1, a2) = (node("a1"), node("a2"));
    let page = |of: NodeIndex| if of == a1 { PAGE } else { CHECK };
    let (mut agents, mut site) = Site::surveyed(runner::stop()?, health, page)?;
    let nginx = page_server(&site, a1)?;
    site.start_daemon()?;
    let load = Load::start(&site.topology, RATES)?;
    let start = Moment::now();
    served(&mut site, &load, 100, start)?;

    nginx.signal(Signal::SIGSTOP)?;
    until_is(&mut site, a1, "not-working")?;
    until_in_plan(&mut site, a1, false)?;
    nginx.signal(Signal::SIGCONT)?;
    until_is(&mut site, a1, "up")?;
    drop(nginx);
    until_is(&mut site, a1, "not-working")?;
    let nginx = page_server(&site, a1)?;
    until_is(&mut site, a1, "up")?;
    nginx.set_failing(true)?;
    until_is(&mut site, a1, "not-working")?;
    nginx.set_failing(false)?;
    until_is(&mut site, a1, "up")?;

    // Without a word it is taken for dead, although its server lives.
    site.topology.deaths.dies(a1);
    agents[a1.index()].signal(Signal::SIGKILL)?;
    until_is(&mut site, a1, "down")?;
    agents[a1.index()] = site.agent(a1, PAGE)?;
    until_is(&mut site, a1, "up")?;
    site.topology.deaths.returns(a1);
    let broken = load.log.lasting().broken().count();
    ensure!(broken == 0, "{broken} connections broke that were on another node");

    agents[a2.index()].set_draining(true)?;
    stop_new_service_of(&mut site, &load, a2, start)?;
    agents[a2.index()].set_draining(false)?;
    until_is(&mut site, a2, "up")?;

    agents[a2.index()].signal(Signal::SIGTERM)?;
    stop_new_service_of(&mut site, &load, a2, start)?;
    agents[a2.index()].wait()?;
    // Who said its end and is silent is down in the end.
    until_is(&mut site, a2, "down")?;
    agents[a2.index()] = site.agent(a2, CHECK)?;
    until_is(&mut site, a2, "up")?;
    until_in_plan(&mut site, a2, true)?;
    served(&mut site, &load, 100, start)
}

/// Once a node gets nobody new, its server may take nobody new; no request fails, and connections that
/// it has stay.
fn stop_new_service_of(site: &mut Site, load: &Load, of: NodeIndex, start: Moment) -> Result<()> {
    until_in_plan(site, of, false)?;
    // What was on its way then is answered.
    served(site, load, 100, start)?;
    let refuse = ["tcp dport 80 tcp flags & (syn | ack) == syn reject with tcp reset"];
    let stopped = Rules::add(site.topology.node(of), "stopped", &refuse, &[])?;
    // The audited flows moved as well.
    served(site, load, 200, start)?;
    let broken = load.log.lasting().broken().count();
    ensure!(broken == 0, "{broken} connections broke although their nodes lived");
    drop(stopped);
    none_failed(site, load, start)
}

fn page_server(site: &Site, of: NodeIndex) -> Result<Nginx> {
    Nginx::start(site.topology.node(of), &Owner::this().directory(), PAGE_PORT, &[])
}

/// Answers get lost on the load balancer's link: three in ten, as `tc netem loss 30%` would.
///
/// A lost answer is a miss, and so is a lost confirmation: each outcome is a miss with a
/// probability of 0.3, and 16 in a row with one of 0.3¹⁶ = 4e-9. Some 1,300 outcomes are seen here:
/// below 1e-5, so it does not happen. (With a fall of 3 it would, every 40 outcomes.)
fn loss() -> Result<()> {
    let health = r#"kind = "survey", interval = "100ms", timeout = "80ms", fall = 16, rise = 1"#;
    let (_agents, mut site) = Site::surveyed(runner::stop()?, health, |_| CHECK)?;
    site.start_daemon()?;
    let lossy = ["udp sport 7411 numgen random mod 100 < 30 drop"];
    let before = (figure("confirmations")?, figure("survey.answers")?);
    let since = Moment::now();
    let lossy = Rules::add(&site.topology.lb, "lossy", &lossy, &[])?;
    // 100 rounds of 9 nodes, 70 % of whose answers come.
    until_more(&mut site, "survey.answers", before.1 + 630)?;
    drop(lossy);
    let lost = figure("confirmations")? - before.0;
    ensure!(lost > 100, "only {lost} confirmations: nothing was lost");
    nobody_went_down(&mut site, since)
}

/// Duplicates, replays and forgeries of one node's answers.
fn strangers() -> Result<()> {
    let health = format!("kind = \"survey\", {TIMES}");
    let (_agents, mut site) = Site::surveyed(runner::stop()?, &health, |_| CHECK)?;
    site.start_daemon()?;
    let (a1, since) = (node("a1"), Moment::now());
    let impostor = Impostor::on(site.topology.node(a1))?;
    let old = impostor.overhear()?;

    let refused = |why: &str| figure(&format!("survey.refused.{why}"));
    let (replay, stale, forged) =
        (refused("replay")?, refused("stale-nonce")?, refused("bad-hmac")?);
    let twice = format!("udp sport 7411 dup to {}", Variant::default().lb());
    let duplicating = Rules::add(site.topology.node(a1), "twice", &[], &[&twice])?;
    until_more(&mut site, "survey.refused.replay", replay + 5)?;
    drop(duplicating);

    let answers = figure("survey.answers")?;
    until_more(&mut site, "survey.answers", answers + 90)?;
    for _ in 0..20 {
        impostor.replay(&old)?;
        impostor.forge(&old)?;
        impostor.forge(&impostor.overhear()?)?;
    }
    until_more(&mut site, "survey.refused.bad-hmac", forged + 39)?;
    let seen = refused("stale-nonce")? + refused("replay")?;
    ensure!(seen >= stale + replay + 25, "replays were believed: {:?}", ask()?.watched);
    nobody_went_down(&mut site, since)?;
    ensure!(super::ward::events(&site, "node_up", since).is_empty(), "a node had been out");
    Ok(())
}
