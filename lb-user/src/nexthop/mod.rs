//! Next hops of the nodes, from the kernel's routes, links and neighbours, kept current.
//!
//! The kernel resolves neighbours because the checks talk to the nodes; this module only looks.
//! Checks through a VIP go past the kernel's neighbours: for these it asks the kernel to resolve.
//! It also says whether the own link and the gateway on the way are up: if not, a check that fails
//! says nothing of the node, and its next hop stays what it was.

mod kernel;
mod way;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::IpAddr,
    time::Duration,
};

use futures_util::StreamExt;
use lb_common::NodeId;
use rtnetlink::{Handle, MulticastGroup, new_multicast_connection};
use thiserror::Error;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender},
    time,
};

use crate::{
    config::{Config, Interface},
    decide::{NextHop, Pools},
};
use kernel::{Neighbour, is_about_link, links, lives, neighbours, probe, resolve, route};
pub use way::Way;
use way::{Kernel, Known, Target};

/// After a change is announced, others that follow at once are taken together.
const SETTLE: Duration = Duration::from_millis(20);
/// Looked at anyway, should an announcement be lost.
const AGAIN: Duration = Duration::from_secs(5);

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
    /// The node.
    pub node: NodeId,
    /// Its next hop. While the own link to it is down it stays what it was.
    pub hop: Option<NextHop>,
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
    /// What this host is, new or changed.
    Host(crate::decide::Host),
}

/// Follows the next hops of all nodes of a configuration and tells of every change.
pub struct NextHops {
    targets: Vec<Target>,
    interfaces: Vec<Interface>,
    /// By node; `None`: not looked for yet.
    known: Vec<Option<Known>>,
    /// What was told last.
    told: Vec<Option<Found>>,
    /// Gateways that somebody doubts, and that have not answered yet.
    doubted: BTreeSet<IpAddr>,
}

impl NextHops {
    /// Those of a configuration; `last` are next hops from before, by node id.
    pub fn new(config: &Config, last: &[Option<NextHop>]) -> Self {
        let checks = Pools::of(config).targets.into_iter().filter(|check| check.vip.is_some());
        let through_vip: HashSet<IpAddr> = checks.map(|check| check.at.ip()).collect();
        let nodes = config.clusters.iter().flat_map(|cluster| &cluster.nodes);
        let target = |node: &crate::config::Node| Target {
            address: node.address,
            mac: node.mac,
            through_vip: through_vip.contains(&node.address),
        };
        let targets: Vec<Target> = nodes.map(target).collect();
        let last = last.iter().map(|hop| hop.map(Known::before)).chain(std::iter::repeat(None));
        Self {
            known: last.take(targets.len()).collect(),
            told: vec![None; targets.len()],
            targets,
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
        let (connection, handle, mut changes) = new_multicast_connection(&[
            MulticastGroup::Link,
            MulticastGroup::Neigh,
            MulticastGroup::Ipv4Route,
        ])
        .map_err(NextHopError::Open)?;
        tokio::spawn(connection);
        self.look(&handle, report).await?;
        while !report.is_closed() {
            let looked = tokio::select! {
                change = changes.next() => match change {
                    None => return Err(NextHopError::Closed),
                    Some((message, _)) if is_about_link(&message) => {
                        self.look_at_links(&handle, report).await
                    }
                    Some(_) => Ok(()),
                },
                Some(gateway) = doubted.recv() => self.ask(&handle, gateway).await,
                () = time::sleep(AGAIN) => Ok(()),
            };
            time::sleep(SETTLE).await;
            let mut about_links = false;
            while let Ok(Some((message, _))) = time::timeout(Duration::ZERO, changes.next()).await {
                about_links |= is_about_link(&message);
            }
            let links = match about_links {
                true => self.look_at_links(&handle, report).await,
                false => Ok(()),
            };
            if let Err(error) = looked.and(links).and(self.look(&handle, report).await) {
                tracing::warn!("{error}");
            }
        }
        Ok(())
    }

    /// Has the kernel ask a gateway whether it lives; [`Self::look`] sees what it said.
    async fn ask(&mut self, handle: &Handle, gateway: IpAddr) -> Result<(), NextHopError> {
        let routes = self.known.iter().flatten().filter_map(|known| known.route);
        let through = routes.filter(|route| route.gateway == Some(gateway));
        let links: BTreeSet<u32> = through.map(|route| route.ifindex).collect();
        let entries = neighbours(handle).await?;
        self.doubted.insert(gateway);
        for key in links.into_iter().map(|link| (link, gateway)) {
            probe(handle, key, entries.get(&key).copied()).await?;
        }
        Ok(())
    }

    /// Tells at once which ways lost their link: checks that fail for it are about to end.
    async fn look_at_links(
        &mut self,
        handle: &Handle,
        report: &UnboundedSender<News>,
    ) -> Result<(), NextHopError> {
        let links = links(handle).await?;
        for index in 0..self.targets.len() {
            if let Some(dead) = self.known[index].and_then(|known| known.behind_dead_link(&links)) {
                self.learn(index, dead, report);
            }
        }
        Ok(())
    }

    async fn look(
        &mut self,
        handle: &Handle,
        report: &UnboundedSender<News>,
    ) -> Result<(), NextHopError> {
        let (links, entries) = (links(handle).await?, neighbours(handle).await?);
        self.doubted.retain(|gateway| {
            let said = entries.iter().filter(|((_, address), _)| address == gateway);
            let said: Vec<bool> = said.filter_map(|(_, entry)| lives(*entry)).collect();
            if said.contains(&true) {
                // The receiver being gone ends the loop in `follow`.
                let _ = report.send(News::Answers(*gateway));
            }
            said.is_empty()
        });
        let of = |(key, entry)| Some((key, Neighbour::of(entry)?));
        let neighbours: HashMap<_, _> = entries.into_iter().filter_map(of).collect();
        for index in 0..self.targets.len() {
            let target = self.targets[index];
            let route = route(handle, target.address).await?;
            if let Some(route) = route.filter(|_| target.through_vip && target.mac.is_none()) {
                resolve(handle, &route, target.address).await?;
            }
            // Ways can change while routes are asked for; then there is another look.
            let kernel =
                Kernel { links: &links, neighbours: &neighbours, interfaces: &self.interfaces };
            let found = kernel.find(&target, route, self.known[index].as_ref());
            self.learn(index, found, report);
        }
        Ok(())
    }

    fn learn(&mut self, index: usize, found: Known, report: &UnboundedSender<News>) {
        self.known[index] = Some(found);
        let Some(node) = NodeId::new(index) else { return };
        let gateway = found.route.and_then(|route| route.gateway);
        let news = Found { node, hop: found.hop, way: found.way, gateway };
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
    let (connection, handle, _) = rtnetlink::new_connection().map_err(NextHopError::Open)?;
    tokio::spawn(connection);
    Ok(route(&handle, address).await?.is_some_and(|route| route.local))
}
