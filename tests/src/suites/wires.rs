//! Three wires to try next hops on: a load balancer with two that are in its configuration and one
//! that is not, to two hosts that are nodes, and the way to nodes.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use lb_user::{
    config::{self, Config},
    decide::{Host, NextHop, Pools},
    nexthop::{Found, Lack, News, NextHops, Way},
};
use nix::net::if_::if_nametoindex;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::timeout,
};

use crate::{clock::Moment, netns::Netns, owner::Owner};

/// For what must come; what is not announced takes more than five seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// The nodes: on the first wire, and behind routers.
pub(super) const NEAR: &str = "203.0.113.2";
pub(super) const NEAR6: &str = "2001:db8:1::2";
pub(super) const FAR: &str = "10.9.0.9";
pub(super) const FAR6: &str = "2001:db8:9::9";
/// One whose MAC is configured.
pub(super) const KNOWN: &str = "203.0.113.50";
/// Nobody is there.
pub(super) const NOBODY: &str = "203.0.113.60";

/// Where something is done.
#[derive(Clone, Copy)]
pub(super) enum Place {
    Lb,
    One,
}

/// What is to be found of a node.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expected {
    /// The interface, the last byte of the MAC, the MTU and the tunnel's source.
    Hop(&'static str, u8, u16, &'static str),
    Lack(Lack),
    /// Its route is out of an interface that nothing can be sent out of.
    Elsewhere(&'static str),
    /// The link is down that its next hop is behind, and that stays.
    Behind(&'static str),
}

/// The network.
pub(super) struct World {
    pub(super) lb: Netns,
    pub(super) one: Netns,
    _two: Netns,
}

impl World {
    pub(super) fn new() -> Result<Self> {
        let names = ["lb", "one", "two"].map(|role| Owner::this().netns(role)).to_vec();
        let mut made = Netns::create(names)?.into_iter();
        let (Some(lb), Some(one), Some(two)) = (made.next(), made.next(), made.next()) else {
            bail!("three namespaces were asked for");
        };
        let (first, second) = (one.name(), two.name());
        lb.ip(&format!(
            "link add lb1 type veth peer name eth0 netns {first}\n\
             link add lb2 type veth peer name eth0 netns {second}\n\
             link add lb3 type veth peer name eth1 netns {second}\n\
             link set lo up\nlink set lb1 up\nlink set lb2 up\nlink set lb3 up\n\
             address add 203.0.113.1/24 dev lb1\naddress add 2001:db8:1::1/64 dev lb1 nodad\n\
             address add 198.51.100.1/24 dev lb2\naddress add 2001:db8:2::1/64 dev lb2 nodad\n\
             address add 192.0.2.1/24 dev lb3\n"
        ))?;
        one.ip("link set lo up\nlink set eth0 address 02:00:00:00:00:a1\nlink set eth0 up\n\
             address add 203.0.113.2/24 dev eth0\naddress add 2001:db8:1::2/64 dev eth0 nodad\n\
             address add fe80::a/64 dev eth0 nodad\n")?;
        // It says so when its MAC changes.
        one.sysctl(&[("ipv4/conf/eth0/arp_notify", "1"), ("ipv6/conf/eth0/ndisc_notify", "1")])?;
        two.ip("link set lo up\nlink set eth0 address 02:00:00:00:00:b1\nlink set eth0 up\n\
             link set eth1 up\naddress add 198.51.100.2/24 dev eth0\n\
             address add 2001:db8:2::2/64 dev eth0 nodad\naddress add fe80::b/64 dev eth0 nodad\n\
             address add 192.0.2.2/24 dev eth1\n")?;
        Ok(Self { lb, one, _two: two })
    }

    pub(super) fn ip(&self, place: Place, script: &str) -> Result<()> {
        match place {
            Place::Lb => self.lb.ip(script),
            Place::One => self.one.ip(script),
        }
    }

    /// Does something in the load balancer's namespace while next hops are followed there.
    pub(super) fn follow(
        &self,
        config: Config,
        work: impl AsyncFnOnce(&Self, &mut Followed) -> Result<()> + Send,
    ) -> Result<()> {
        self.lb.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let nodes = config.clusters.iter().flat_map(|cluster| &cluster.nodes);
                let nodes = nodes.map(|node| node.address).collect();
                let (report, news) = unbounded_channel();
                let (doubts, mut doubted) = unbounded_channel();
                let mut hops = NextHops::new(&config, &Pools::of(&config).targets, &[]);
                let mut followed = Followed {
                    nodes,
                    doubts,
                    news,
                    ways: BTreeMap::new(),
                    host: None,
                    answered: BTreeSet::new(),
                };
                tokio::select! {
                    ended = hops.follow(&report, &mut doubted) => {
                        bail!("they are not followed: {ended:?}")
                    }
                    done = work(self, &mut followed) => done,
                }
            })
        })
    }
}

/// What was told so far.
pub(super) struct Followed {
    nodes: Vec<IpAddr>,
    pub(super) doubts: UnboundedSender<IpAddr>,
    news: UnboundedReceiver<News>,
    pub(super) ways: BTreeMap<IpAddr, Found>,
    pub(super) host: Option<Host>,
    /// Gateways that answered.
    pub(super) answered: BTreeSet<IpAddr>,
}

impl Followed {
    /// Waits until something is so.
    pub(super) async fn until(
        &mut self,
        what: &str,
        holds: impl Fn(&Self) -> Result<bool>,
    ) -> Result<()> {
        let deadline = Moment::now().after(PATIENCE);
        while !holds(self)? {
            let left = deadline.since(Moment::now());
            let Ok(news) = timeout(left, self.news.recv()).await else {
                bail!("{what}: not within {PATIENCE:?}: {:#?}, {:?}", self.ways, self.host);
            };
            match news.context("nobody follows")? {
                News::Way(found) => {
                    self.ways.insert(self.nodes[found.node], found);
                }
                News::Host(host) => self.host = Some(host),
                News::Answers(gateway) => {
                    self.answered.insert(gateway);
                }
            }
        }
        Ok(())
    }

    pub(super) fn is(&self, node: &str, expected: Expected) -> Result<bool> {
        let Some(found) = self.ways.get(&node.parse()?) else { return Ok(false) };
        let down = |name| Ok::<_, anyhow::Error>(Way::LinkDown { ifindex: if_nametoindex(name)? });
        Ok(match expected {
            Expected::Hop(name, mac, mtu, source) => {
                let hop = NextHop {
                    ifindex: if_nametoindex(name)?,
                    src_mac: own_mac(name)?,
                    dst_mac: [2, 0, 0, 0, 0, mac],
                    mtu,
                    tags: [0; 2],
                    source: Some(source.parse()?),
                };
                (found.hop, found.way) == (Ok(hop), Way::Up)
            }
            Expected::Lack(lack) => found.hop == Err(lack),
            Expected::Elsewhere(name) => {
                found.hop == Err(Lack::Elsewhere { ifindex: if_nametoindex(name)? })
            }
            Expected::Behind(name) => found.hop.is_ok() && found.way == down(name)?,
        })
    }
}

/// The MAC of an interface of the calling thread's namespace.
fn own_mac(name: &str) -> Result<[u8; 6]> {
    let address = nix::ifaddrs::getifaddrs()?
        .filter(|interface| interface.interface_name == name)
        .find_map(|interface| interface.address?.as_link_addr()?.addr());
    address.with_context(|| format!("{name} has no MAC"))
}

/// Tunnels to all nodes; `interface` is what is said of the first one.
pub(super) fn configuration(interface: &str) -> Result<Config> {
    let addresses = [NEAR, NEAR6, FAR, FAR6, NOBODY];
    let nodes = addresses.iter().enumerate();
    let nodes: String = nodes
        .map(|(i, address)| format!("{{ name = \"n{i}\", address = \"{address}\" }}, "))
        .collect();
    let text = format!(
        r#"[lb]
[[interface]]
name = "lb1"
{interface}
[[interface]]
name = "lb2"
[[cluster]]
name = "T"
forward = "ipip"
nodes = [{nodes}{{ name = "known", address = "{KNOWN}", mac = "02:00:00:00:00:cc" }}]
[[service]]
name = "web"
address = "192.0.2.10:80"
protocol = "tcp"
masters = ["T"]
"#
    );
    let checked = config::parse(&text, "hops.toml");
    Ok(checked.map_err(|errors| anyhow::anyhow!("{errors}"))?.config)
}
