//! Next hops of the nodes, from the kernel's routes, links and neighbours, kept current.
//!
//! The kernel resolves neighbours because the checks talk to the nodes; this module only looks.
//! Checks through a VIP go past the kernel's neighbours: for these, and for neighbours that do not
//! answer, it asks the kernel to resolve.
//! It also says whether the own link and the gateway on the way are up: if not, a check that fails
//! says nothing of the node, and its next hop stays what it was.
//!
//! What is announced is looked at, and no more: a route that changes has the routes asked for again
//! of the nodes within it. What is never announced (a path MTU that is learned, a kernel parameter)
//! is found within [`AGAIN`] times [`ROUNDS`].

mod due;
mod host;
mod kernel;
mod neighbours;
mod way;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::IpAddr,
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use rtnetlink::{Handle, MulticastGroup, new_connection, new_multicast_connection};
use thiserror::Error;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender},
    task::JoinSet,
    time::{self, MissedTickBehavior},
};

use crate::{
    config::{self, Config, Interface},
    decide::{Host, NextHop},
};
use due::{Due, within};
use kernel::{Change, Link, Links, Route, change, links, route};
use neighbours::{Entries, Key, Neighbour, asked, lives, neighbours, probe, resolve, still_failed};
use way::{Kernel, Known, Target};
pub use way::{Lack, Way};

/// What is listened to.
const GROUPS: [MulticastGroup; 8] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
];
/// After a change is announced, others that follow at once are taken together.
const SETTLE: Duration = Duration::from_millis(20);
/// Links, neighbours, addresses and some routes are looked at anyway.
const AGAIN: Duration = Duration::from_secs(5);
/// In so many of these all routes were looked at.
const ROUNDS: usize = 12;
/// Routes that are asked for at a time; their answers fit into a socket's buffer.
const AT_ONCE: usize = 32;

/// Netlink did not answer.
#[derive(Debug, Error)]
#[allow(missing_docs)]
pub enum NextHopError {
    #[error("cannot open a netlink socket: {0}")]
    Open(#[source] std::io::Error),
    #[error("the netlink socket was closed")]
    Closed,
    #[error("cannot read the kernel's {what}: {source}")]
    Read { what: &'static str, source: rtnetlink::Error },
}

/// The way to a node, new or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The node: its position among all of the configuration.
    pub node: usize,
    /// Its next hop, or why there is none. While the own link to it is down it stays what it was.
    pub hop: Result<NextHop, Lack>,
    /// Whether the way there is up on this side.
    pub way: Way,
    /// The gateway that packets go through.
    pub gateway: Option<IpAddr>,
}

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The way to a node.
    Way(Found),
    /// A gateway that was asked for answered.
    Answers(IpAddr),
    /// What this host is, at first and whenever it changes.
    Host(Host),
}

/// Follows the next hops of all nodes of a configuration and tells of every change.
pub struct NextHops {
    targets: Vec<Target>,
    interfaces: Vec<Interface>,
    /// Targets by address.
    at: BTreeMap<IpAddr, Vec<usize>>,
    /// What the kernel said last.
    links: Links,
    neighbours: Entries,
    /// Neighbours that did not answer since they were looked at last: whoever sends there has the
    /// kernel ask again, and then they are no longer `Failed`.
    failed: BTreeSet<Key>,
    routes: Vec<Option<Route>>,
    host: Option<Host>,
    /// How many addresses of this round were looked at.
    turn: usize,
    /// By node; `None`: not looked for yet.
    known: Vec<Option<Known>>,
    /// What was told last.
    told: Vec<Option<Found>>,
    /// Gateways that somebody doubts, and that have not answered yet.
    doubted: BTreeSet<IpAddr>,
}

impl NextHops {
    /// Those of a configuration with these targets; `last` are next hops from before, by node id.
    pub fn new(config: &Config, targets: &[config::Target], last: &[Option<NextHop>]) -> Self {
        let through_vip: HashSet<IpAddr> =
            targets.iter().filter(|check| check.vip.is_some()).map(|check| check.at.ip()).collect();
        let target = |forward, node: &config::Node| Target {
            address: node.address,
            mac: node.mac,
            forward,
            through_vip: through_vip.contains(&node.address),
        };
        let nodes = config
            .clusters
            .iter()
            .flat_map(|cluster| cluster.nodes.iter().map(move |node| (cluster.forward, node)));
        let targets: Vec<Target> = nodes.map(|(forward, node)| target(forward, node)).collect();
        let mut at: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (index, target) in targets.iter().enumerate() {
            at.entry(target.address).or_default().push(index);
        }
        let last = last.iter().map(|hop| hop.map(Known::before)).chain(std::iter::repeat(None));
        Self {
            known: last.take(targets.len()).collect(),
            told: vec![None; targets.len()],
            routes: vec![None; targets.len()],
            targets,
            at,
            links: Links::new(),
            neighbours: Entries::new(),
            failed: BTreeSet::new(),
            host: None,
            turn: 0,
            doubted: BTreeSet::new(),
            interfaces: config.interfaces.clone(),
        }
    }

    /// Follows them until the receiver is gone. Gateways that come from `doubted` are asked whether
    /// they live; one that does not answer is told as the way to what is behind it.
    ///
    /// # Errors
    /// No netlink socket, or it was closed, or the first look failed.
    pub async fn follow(
        &mut self,
        report: &UnboundedSender<News>,
        doubted: &mut UnboundedReceiver<IpAddr>,
    ) -> Result<(), NextHopError> {
        // They end with it.
        let mut connections = JoinSet::new();
        let (listening, _none, mut changes) =
            new_multicast_connection(&GROUPS).map_err(NextHopError::Open)?;
        connections.spawn(listening);
        // Apart from the announcements, so that an answer finds room however many they are.
        let (asking, handle, _) = new_connection().map_err(NextHopError::Open)?;
        connections.spawn(asking);
        let mut due = Due { all: true, ..Due::default() };
        self.look(&handle, &mut due, report).await?;
        let mut again = time::interval_at(time::Instant::now() + AGAIN, AGAIN);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !report.is_closed() {
            tokio::select! {
                message = changes.next() => {
                    let (message, _) = message.ok_or(NextHopError::Closed)?;
                    self.hear(change(message), &mut due);
                }
                Some(gateway) = doubted.recv() => {
                    due.neighbours = true;
                    self.ask(&handle, gateway).await.unwrap_or_else(|error| tracing::warn!("{error}"));
                }
                _ = again.tick() => due.again = true,
            }
            if !due.is_something() {
                continue;
            }
            let links = self.look_at_links(&handle, &mut due, report).await;
            time::sleep(SETTLE).await;
            while let Some(Some((message, _))) = changes.next().now_or_never() {
                self.hear(change(message), &mut due);
            }
            match links.and(self.look(&handle, &mut due, report).await) {
                Ok(()) => due = Due::default(),
                Err(error) => {
                    tracing::warn!("{error}");
                    due.all = true;
                }
            }
        }
        Ok(())
    }

    /// Takes in an announcement.
    fn hear(&mut self, change: Change, due: &mut Due) {
        match change {
            Change::Nothing => {}
            Change::Link => due.links = true,
            Change::Anything => due.all = true,
            Change::Route(prefix, length) => {
                due.routes
                    .extend(self.at.range(within(prefix, length)).map(|(address, _)| address));
            }
            Change::Neighbour(key, entry) => {
                if entry.and_then(Neighbour::of) == Some(Neighbour::Failed) {
                    self.failed.insert(key);
                }
                let was = match entry {
                    Some(entry) => self.neighbours.insert(key, entry),
                    None => self.neighbours.remove(&key),
                };
                let means_another = was.and_then(Neighbour::of) != entry.and_then(Neighbour::of);
                due.neighbours |= means_another || self.doubted.contains(&key.1);
            }
        }
    }

    /// Has the kernel ask a gateway whether it lives; [`Self::look`] sees what it said.
    async fn ask(&mut self, handle: &Handle, gateway: IpAddr) -> Result<(), NextHopError> {
        let routes = self.known.iter().flatten().filter_map(|known| known.route);
        let through = routes.filter(|route| route.gateway == Some(gateway));
        let links: BTreeSet<u32> = through.map(|route| route.ifindex).collect();
        let entries = neighbours(handle).await?;
        self.doubted.insert(gateway);
        for key in links.into_iter().map(|link| (link, gateway)) {
            // What was said before is no answer to this.
            self.failed.remove(&key);
            probe(handle, key, entries.get(&key).copied()).await?;
        }
        Ok(())
    }

    /// Tells at once which ways lost their link: checks that fail for it are about to end.
    async fn look_at_links(
        &mut self,
        handle: &Handle,
        due: &mut Due,
        report: &UnboundedSender<News>,
    ) -> Result<(), NextHopError> {
        if !std::mem::take(&mut due.links) {
            return Ok(());
        }
        let links = links(handle).await?;
        // Routes on a link that goes down, comes back or gets another MTU change without a word.
        due.all |= self.links.iter().any(|(index, link)| links.get(index) != Some(link));
        // One that is made is of interest if it is in the configuration, or on top of one that may be;
        // routes of others are announced.
        let is_ours = |link: &Link| self.interfaces.iter().any(|ours| ours.name == link.name);
        let is_new = |index: &u32| !self.links.contains_key(index);
        let matters = |link: &Link| is_ours(link) || link.below.is_some();
        due.all |= links.iter().any(|(index, link)| is_new(index) && matters(link));
        self.links = links;
        for index in 0..self.targets.len() {
            let known = self.known[index];
            if let Some(dead) = known.and_then(|known| known.behind_dead_link(&self.links)) {
                self.learn(index, dead, report);
            }
        }
        Ok(())
    }

    async fn look(
        &mut self,
        handle: &Handle,
        due: &mut Due,
        report: &UnboundedSender<News>,
    ) -> Result<(), NextHopError> {
        due.links |= due.all || due.again;
        self.look_at_links(handle, due, report).await?;
        if due.all || due.again || !self.doubted.is_empty() {
            self.neighbours = neighbours(handle).await?;
        }
        for &key in &self.failed {
            self.neighbours.entry(key).and_modify(still_failed);
        }
        if due.all || due.again {
            let host = host::host(handle, &self.interfaces, &self.links).await?;
            if self.host.as_ref() != Some(&host) {
                self.host = Some(host.clone());
                // The receiver being gone ends the loop in `follow`.
                let _ = report.send(News::Host(host));
            }
        }
        self.look_at_routes(handle, due).await?;
        self.hear_gateways(report);
        let wanted = self.find(report);
        self.failed.clear();
        for key in wanted {
            resolve(handle, key).await?;
        }
        Ok(())
    }

    async fn look_at_routes(&mut self, handle: &Handle, due: &mut Due) -> Result<(), NextHopError> {
        if due.all {
            due.routes = self.at.keys().copied().collect();
        } else if due.again {
            let part = self.at.len().div_ceil(ROUNDS);
            due.routes.extend(self.at.keys().skip(self.turn).take(part));
            self.turn = if self.turn + part < self.at.len() { self.turn + part } else { 0 };
        }
        let ask = |address| async move { Ok((address, route(handle, address).await?)) };
        let asked = stream::iter(due.routes.iter().copied()).map(ask).buffer_unordered(AT_ONCE);
        let routes: Vec<(IpAddr, Option<Route>)> = asked.try_collect().await?;
        for (address, route) in routes {
            for &index in self.at.get(&address).into_iter().flatten() {
                self.routes[index] = route;
            }
        }
        Ok(())
    }

    /// Tells which of the doubted gateways answered.
    fn hear_gateways(&mut self, report: &UnboundedSender<News>) {
        let entries = &self.neighbours;
        self.doubted.retain(|gateway| {
            let said = entries.iter().filter(|((_, address), _)| address == gateway);
            let said: Vec<bool> = said.filter_map(|(_, entry)| lives(*entry)).collect();
            if said.contains(&true) {
                // See above.
                let _ = report.send(News::Answers(*gateway));
            }
            said.is_empty()
        });
    }

    /// Decides all ways anew; returns the neighbours that are to be asked for.
    fn find(&mut self, report: &UnboundedSender<News>) -> Vec<Key> {
        // What becomes of their entries: not before all nodes have seen what these are.
        let mut wanted = BTreeMap::new();
        for index in 0..self.targets.len() {
            let (target, route) = (self.targets[index], self.routes[index]);
            // Ways can change while routes are asked for; then there is another look.
            let kernel = Kernel {
                links: &self.links,
                neighbours: &self.neighbours,
                interfaces: &self.interfaces,
            };
            let found = kernel.find(&target, route, self.known[index].as_ref());
            let neighbour = route.and_then(|route| kernel.neighbour(&target, &route));
            self.learn(index, found, report);
            if let Some(key) = neighbour
                && let Some(entry) = asked(self.neighbours.get(&key).copied(), target.through_vip)
            {
                wanted.insert(key, entry);
            }
        }
        self.neighbours.extend(&wanted);
        wanted.into_keys().collect()
    }

    fn learn(&mut self, index: usize, found: Known, report: &UnboundedSender<News>) {
        self.known[index] = Some(found);
        let gateway = found.route.and_then(|route| route.gateway);
        let news = Found { node: index, hop: found.hop, way: found.way, gateway };
        if self.told[index].replace(news) != Some(news) {
            // See above.
            let _ = report.send(News::Way(news));
        }
    }
}

/// Whether packets to an address are for this host: one of its addresses, or routed as local.
///
/// # Errors
/// Netlink did not answer.
pub async fn is_local(address: IpAddr) -> Result<bool, NextHopError> {
    let (connection, handle, _) = new_connection().map_err(NextHopError::Open)?;
    tokio::spawn(connection);
    Ok(route(&handle, address).await?.is_some_and(|route| route.local))
}
