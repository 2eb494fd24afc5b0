//! Next hops of the nodes, from the kernel's routes, links and neighbours, kept current.
//!
//! The kernel resolves neighbours because the checks talk to the nodes; this module only looks.
//! Checks through a VIP go past the kernel's neighbours: for these it asks the kernel to resolve.
//! It also says whether the own link and the gateway on the way are up: if not, a check that fails
//! says nothing of the node, and its next hop stays what it was.

mod kernel;
mod way;

use std::{collections::HashSet, net::IpAddr, time::Duration};

use futures_util::StreamExt;
use lb_common::NodeId;
use rtnetlink::{Handle, MulticastGroup, new_multicast_connection};
use thiserror::Error;
use tokio::{sync::mpsc::UnboundedSender, time};

use crate::{
    config::{Config, Interface},
    decide::{NextHop, Pools},
};
use kernel::{is_about_link, links, neighbours, resolve, route};
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
}

/// Follows the next hops of all nodes of a configuration and tells of every change.
pub struct NextHops {
    targets: Vec<Target>,
    interfaces: Vec<Interface>,
    /// By node; `None`: not looked for yet.
    known: Vec<Option<Known>>,
    /// What was told last.
    told: Vec<Option<(Option<NextHop>, Way)>>,
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
            interfaces: config.interfaces.clone(),
        }
    }

    /// Follows them until the receiver is gone.
    ///
    /// # Errors
    /// No netlink socket, or it was closed, or the first look failed.
    pub async fn follow(&mut self, report: &UnboundedSender<Found>) -> Result<(), NextHopError> {
        let (connection, handle, mut changes) = new_multicast_connection(&[
            MulticastGroup::Link,
            MulticastGroup::Neigh,
            MulticastGroup::Ipv4Route,
        ])
        .map_err(NextHopError::Open)?;
        tokio::spawn(connection);
        self.look(&handle, report).await?;
        while !report.is_closed() {
            let looked = match time::timeout(AGAIN, changes.next()).await {
                Ok(None) => return Err(NextHopError::Closed),
                Ok(Some((message, _))) if is_about_link(&message) => {
                    self.look_at_links(&handle, report).await
                }
                Ok(Some(_)) | Err(_) => Ok(()),
            };
            time::sleep(SETTLE).await;
            while let Ok(Some(_)) = time::timeout(Duration::ZERO, changes.next()).await {}
            if let Err(error) = looked.and(self.look(&handle, report).await) {
                tracing::warn!("{error}");
            }
        }
        Ok(())
    }

    /// Tells at once which ways lost their link: checks that fail for it are about to end.
    async fn look_at_links(
        &mut self,
        handle: &Handle,
        report: &UnboundedSender<Found>,
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
        report: &UnboundedSender<Found>,
    ) -> Result<(), NextHopError> {
        let (links, neighbours) = (links(handle).await?, neighbours(handle).await?);
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

    fn learn(&mut self, index: usize, found: Known, report: &UnboundedSender<Found>) {
        self.known[index] = Some(found);
        let Some(node) = NodeId::new(index) else { return };
        let news = Some((found.hop, found.way));
        if std::mem::replace(&mut self.told[index], news) != news {
            // The receiver being gone ends the loop in `follow`.
            let _ = report.send(Found { node, hop: found.hop, way: found.way });
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
