//! What must work on every road, and who judges it: the content its receiver, checksums the
//! kernels' counters and the tap, drops the load balancer's own counters.

use anyhow::{Context, Result, ensure};

use super::{
    client::{self, Echo},
    counters::{self, Counters},
    network::NODES,
    travel::Travel,
    way::Way,
    wire::Tap,
};
use crate::variant::{Family, Forward};

/// Content of a short transfer, in bytes: all of its packets are looked at.
const SHORT: u64 = 300_000;
/// Lengths of datagrams: within a packet, and in three fragments.
const DATAGRAMS: [usize; 3] = [32, 1200, 4000];
/// What a datagram can have in a packet of 1500 bytes.
const FULL: usize = 1472;
/// How many of these are cut up.
const CUT_UP: u64 = 20;
/// Lengths of pings.
const PINGS: [usize; 2] = [16, 1200];

/// What is different from road to road.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    /// Content of a long transfer, in bytes.
    pub bulk: u64,
    /// How often a datagram may have to be sent until the way's MTU is known.
    pub attempts: usize,
    /// Whether nodes must have found out the MTU of a link to the client.
    pub nodes_learn: bool,
    /// Whether the client must have found out what fits a tunnel.
    pub client_learns: bool,
}

/// Every way, one after the other, whatever became of those before.
///
/// # Errors
/// All that was not right, by way.
pub fn all(travel: &Travel, ways: &[Way], demand: Demand) -> Result<()> {
    let mut problems = Vec::new();
    for way in ways {
        problems.extend(one(travel, *way, demand).err().map(|error| format!("{way}: {error:#}")));
    }
    ensure!(problems.is_empty(), "{}\n{}", problems.join("\n"), travel.daemon_words());
    Ok(())
}

fn one(travel: &Travel, way: Way, demand: Demand) -> Result<()> {
    travel.road.forget_mtus()?;
    let before = State::read(travel, way)?;
    let short = Demand { bulk: SHORT, ..demand };
    let tap = Tap::start(&travel.road)?;
    let traffic = transfers(travel, way, short).and_then(|()| datagrams(travel, way, demand));
    let seen = tap.end()?;
    traffic?;
    ensure!(seen.wrong.is_empty(), "on the wire: {}", seen.wrong.join("\n  "));
    let kinds: Vec<_> = seen.tunnels.keys().cloned().collect();
    let expected = if way.forward.is_tunnel() { vec![way.name()] } else { vec![] };
    ensure!(kinds == expected, "tunnels on the wire: {:?}", seen.tunnels);
    transfers(travel, way, demand)?;
    before.compare(travel, way, demand)
}

/// Content up and down.
fn transfers(travel: &Travel, way: Way, demand: Demand) -> Result<()> {
    let client = &travel.road.client;
    client.run(|| client::upload(way.service(), demand.bulk)).context("upload")?;
    let before = learnt(travel, way.vip)?;
    let node = client.run(|| client::download(way.service(), demand.bulk)).context("download")?;
    let after = learnt(travel, way.vip)?;
    for number in (0..NODES).filter(|number| *number != node) {
        let (before, after) = (before[usize::from(number)], after[usize::from(number)]);
        ensure!(before == after, "node {number} was told of a packet of node {node}'s");
    }
    Ok(())
}

/// Echoes and pings.
fn datagrams(travel: &Travel, way: Way, demand: Demand) -> Result<()> {
    let client = &travel.road.client;
    for length in DATAGRAMS {
        let Echo { attempts, .. } = client
            .run(|| client::echo(way.service(), length))
            .with_context(|| format!("a datagram of {length} bytes"))?;
        ensure!(attempts <= demand.attempts, "{attempts} datagrams of {length} bytes for an echo");
    }
    for length in PINGS {
        let answered = client.run(|| client::ping(way.address(), length)).context("a ping")?;
        ensure!(answered, "no answer to a ping of {length} bytes");
    }
    Ok(())
}

/// Datagrams that do not fit the load balancer's way to the nodes, and may be cut up: its kernel does
/// so, and the node puts them together.
///
/// # Errors
/// All that was not right, by way.
pub fn cut_up(travel: &Travel, ways: &[Way]) -> Result<()> {
    // Sockets of the client allow it.
    travel.road.client.sysctl(&[("ipv4/ip_no_pmtu_disc", "1")])?;
    let one = |way: Way| {
        let before = State::read(travel, way)?;
        let client = &travel.road.client;
        for _ in 0..CUT_UP {
            let echo = client.run(|| client::echo(way.service(), FULL))?;
            ensure!(echo.attempts == 1, "{} datagrams for an echo", echo.attempts);
        }
        before.only_cut_up(travel, way)
    };
    let problems = ways.iter().filter_map(|way| Some((way, one(*way).err()?)));
    let problems: Vec<_> = problems.map(|(way, error)| format!("{way}: {error:#}")).collect();
    ensure!(problems.is_empty(), "{}\n{}", problems.join("\n"), travel.daemon_words());
    Ok(())
}

/// How often each node was told that a packet of its was too big.
fn learnt(travel: &Travel, family: Family) -> Result<Vec<u64>> {
    travel.road.nodes.iter().map(|node| counters::too_big(node, family)).collect()
}

/// What was counted until some time.
struct State {
    balancer: Counters,
    /// What is wrong, by namespace.
    wrong: Vec<(String, Counters)>,
    /// How often was told that a packet was too big: all nodes, and the client.
    nodes: u64,
    client: u64,
    /// How many packets nodes put together.
    whole: u64,
}

impl State {
    fn read(travel: &Travel, way: Way) -> Result<Self> {
        let wrong = travel.road.ends();
        let wrong = wrong.map(|end| Ok((end.name().to_owned(), counters::wrong(end)?)));
        Ok(Self {
            balancer: travel.counters()?,
            wrong: wrong.collect::<Result<_>>()?,
            nodes: learnt(travel, way.vip)?.iter().sum(),
            client: counters::too_big(&travel.road.client, way.vip)?,
            whole: travel.road.nodes.iter().map(counters::put_together).sum::<Result<_>>()?,
        })
    }

    /// What happened since then is what the way's traffic leads to.
    fn compare(&self, travel: &Travel, way: Way, demand: Demand) -> Result<()> {
        let now = Self::read(travel, way)?;
        let grown = self.grown(&now)?;
        // Routers quote later fragments of IPv6 in "packet too big", too: these say nobody's ports.
        let quoted = demand.nodes_learn && way.vip == Family::V6;
        let expected = |reason: &str| quoted && reason == "drop_icmp";
        let mut dropped = grown.keys().filter(|reason| reason.starts_with("drop_"));
        ensure!(dropped.all(|reason| expected(reason)), "the load balancer dropped: {grown:?}");
        let counted = |reason| grown.get(reason).copied().unwrap_or_default();
        let one_wire = travel.road.shape.wires() == 1;
        let mut expected = vec![
            (if one_wire { "forward_tx" } else { "forward_redirect" }, 100),
            ("answer_echo", PINGS.len() as u64),
            // The last datagram is in three fragments.
            ("forward_fragment", 2),
        ];
        // The kernel's way to a client is out of its VLAN device, which is no interface of ours.
        let tagged = !travel.road.shape.front.tags.is_empty();
        let replied = if tagged { "reply_to_host" } else { "reply_sent" };
        expected.extend((way.forward == Forward::Nat).then_some((replied, 100)));
        // Who tells nodes: a router behind the load balancer, or itself.
        let told = travel.road.shape.replies_mtu.map_or("forward_icmp", |_| "answer_too_big");
        expected.extend(demand.nodes_learn.then_some((told, 1)));
        let too_big = demand.client_learns && way.overhead() > 0;
        expected.extend(too_big.then_some(("answer_too_big", 1)));
        for (reason, least) in expected {
            ensure!(counted(reason) >= least, "{reason} is not {least}: {grown:?}");
        }
        ensure!(now.nodes > self.nodes || !demand.nodes_learn, "no node was told: {grown:?}");
        ensure!(now.client > self.client || !too_big, "the client was not told: {grown:?}");
        Ok(())
    }
    /// What happened since then is that the host cut up all datagrams, and nodes put them together.
    fn only_cut_up(&self, travel: &Travel, way: Way) -> Result<()> {
        let now = Self::read(travel, way)?;
        let grown = self.grown(&now)?;
        ensure!(grown.get("pass_too_big") == Some(&CUT_UP), "not so many were cut up: {grown:?}");
        let dropped = grown.keys().find(|reason| reason.starts_with("drop_"));
        ensure!(dropped.is_none(), "the load balancer dropped: {grown:?}");
        let whole = now.whole - self.whole;
        ensure!(whole == CUT_UP, "{whole} were put together instead of {CUT_UP}");
        Ok(())
    }

    /// What the load balancer counted until `now`; an error if anybody counted what is wrong.
    fn grown(&self, now: &Self) -> Result<Counters> {
        for ((name, before), (_, after)) in self.wrong.iter().zip(&now.wrong) {
            let grown = counters::grown(before, after);
            ensure!(grown.is_empty(), "{name} counted {grown:?}");
        }
        Ok(counters::grown(&self.balancer, &now.balancer))
    }
}

/// Pings a way's VIP until it answers no more.
///
/// # Errors
/// If it goes on answering.
pub fn falls_silent(travel: &Travel, way: Way) -> Result<()> {
    let answered = travel.road.client.run(|| client::ping(way.address(), PINGS[0]))?;
    ensure!(!answered, "{way}: a ping is answered although no node is left");
    Ok(())
}
