//! A contender in its place: the lab's network, servers on it, and what balances between them.
//!
//! All get the same wires: MTU 1,500 to the client, and offloads off at every end, so that frames
//! are as on a wire, whole and with checksums; the load balancer's interface has GRO. The program `pass`
//! is at the far end of its wire, without which `XDP_TX` on a veth goes nowhere; it is there for all,
//! as it is what makes that end receive by NAPI (see [`super::cpu`]). Understudy's own program is in the
//! driver.
//!
//! What this denies the others: a real interface would segment for them what they send in bulk. What it
//! denies Understudy: a real driver hands over its own memory, where a veth mostly copies a socket's
//! packets for the program; those of [`super::flood`] it does not have to.
//!
//! Three nodes serve, those of the lab's cluster A; the others of the lab stand by.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};

use super::{
    cpu::{Receivers, processes_time},
    rivals,
};
use crate::{
    checked::process::Running,
    clock::Moment,
    configuration::Configuration,
    daemon::{Daemon, beside},
    netns::Netns,
    offload,
    owner::{Directories, Owner},
    servers::Servers,
    status::{Plan, Status},
    stop::Stop,
    topology::{INTERFACE, NodeIndex, Topology, port},
    variant::{Family, Forward, Variant},
};

/// How long anything may take to be ready.
const DEADLINE: Duration = Duration::from_secs(10);
/// How often it is looked whether it is.
const PERIOD: Duration = Duration::from_millis(20);
/// Least, first and largest sizes of TCP's buffers, of every host. What is on its way at once in a
/// few bulk transfers then fits into a veth's ring of 256 frames; with the kernel's own, rates are
/// those of recovery from losses.
const BUFFERS: &str = "4096 65536 131072";
/// The cluster whose nodes serve.
const CLUSTER: &str = "A";

/// Who brings requests to nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Contender {
    /// Nobody: the client asks the nodes themselves, one after the other, through the same switch.
    Direct,
    /// Understudy.
    Understudy(Forward),
    /// See [`rivals::nftables`].
    Nftables,
    /// See [`rivals::haproxy`].
    Haproxy,
    /// See [`rivals::nginx`].
    Nginx,
}

impl Contender {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Direct,
        Self::Understudy(Forward::L2),
        Self::Understudy(Forward::Ipip),
        Self::Understudy(Forward::Nat),
        Self::Nftables,
        Self::Haproxy,
        Self::Nginx,
    ];

    /// Its name in the report.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Understudy(Forward::L2) => "understudy l2",
            Self::Understudy(Forward::Ipip) => "understudy ipip",
            Self::Understudy(Forward::Gue) => "understudy gue",
            Self::Understudy(Forward::Nat) => "understudy nat",
            Self::Nftables => "nftables",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx stream",
        }
    }

    /// Whether it forwards packets, and not just bytes of connections that it ends itself.
    #[must_use]
    pub const fn forwards_packets(self) -> bool {
        matches!(self, Self::Understudy(_) | Self::Nftables)
    }

    /// The network that it stands in. To the others the load balancer is the nodes' gateway, as with
    /// `nat`.
    const fn variant(self) -> Variant {
        let forward = match self {
            Self::Direct => Forward::L2,
            Self::Understudy(forward) => forward,
            Self::Nftables | Self::Haproxy | Self::Nginx => Forward::Nat,
        };
        Variant { forward, family: Family::V4 }
    }
}

/// A contender that is ready for load. Dropped in this order: who asks before who answers, the
/// wires and the directories last.
#[derive(Debug)]
pub struct Stage {
    /// Who it is.
    pub contender: Contender,
    /// Where clients ask, in turn.
    pub targets: Vec<SocketAddr>,
    /// Who receives for the load balancer.
    pub receivers: Receivers,
    /// Who receives at the far end of its wire.
    pub far: Receivers,
    daemon: Option<Daemon>,
    _proxy: Option<Running>,
    _servers: Servers,
    /// The network.
    pub topology: Topology,
    _directories: Directories,
}

impl Stage {
    /// Builds it.
    ///
    /// # Errors
    /// If something cannot be had, or the switch is pulled. Nothing is left of it then.
    pub fn build(contender: Contender, stop: &Stop) -> Result<Self> {
        let variant = contender.variant();
        let directories = Directories::create()?;
        let topology = Topology::build(Owner::this(), variant)?;
        let (receivers, far) = tune(&topology)?;
        let servers = Servers::start(&topology)?;
        let nodes = NodeIndex::of_cluster(CLUSTER).map(NodeIndex::node);
        let nodes = nodes.map(|node| SocketAddr::new(variant.node(node), variant.node_port()));
        let (nodes, service): (Vec<_>, _) = (nodes.collect(), variant.service());
        let (lb, path) = (&topology.lb, directories.path());
        let proxy = match contender {
            Contender::Direct | Contender::Understudy(_) => None,
            Contender::Nftables => {
                rivals::nftables(lb, service, &nodes)?;
                None
            }
            Contender::Haproxy => Some(rivals::haproxy(lb, &path, service, &nodes)?),
            Contender::Nginx => Some(rivals::nginx(lb, &path, service, &nodes)?),
        };
        let daemon = match contender {
            Contender::Understudy(_) => Some(start_daemon(lb, variant, stop)?),
            _ => None,
        };
        Ok(Self {
            contender,
            targets: if contender == Contender::Direct { nodes } else { vec![service] },
            receivers,
            far,
            daemon,
            _proxy: proxy,
            _servers: servers,
            topology,
            _directories: directories,
        })
    }

    /// The CPU time of the load balancer so far.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn lb_time(&self) -> Result<Duration> {
        Ok(self.receivers.time()? + processes_time(&self.topology.lb)?)
    }

    /// How much more that is now.
    ///
    /// # Errors
    /// If it cannot be read; or is less, as after the end of a thread, whose time is lost.
    pub fn lb_time_since(&self, before: Duration) -> Result<Duration> {
        self.lb_time()?.checked_sub(before).context("a thread of the load balancer has ended")
    }

    /// Fails if the daemon, if there is one, has ended.
    ///
    /// # Errors
    /// If it has.
    pub fn check(&mut self) -> Result<()> {
        self.daemon.as_mut().map_or(Ok(()), Daemon::check)
    }

    /// The nodes that are to answer.
    pub fn nodes() -> impl Iterator<Item = NodeIndex> {
        NodeIndex::of_cluster(CLUSTER)
    }
}

/// Sets offloads and threads at both ends of the load balancer's wire, and buffers everywhere.
fn tune(topology: &Topology) -> Result<(Receivers, Receivers)> {
    let Topology { client, lb, switch, .. } = topology;
    let wire = &port("lb");
    switch.run(|| {
        // What it sends by then the load balancer receives by NAPI, with or without a program.
        offload::off(wire)?;
        // The program brings it; but what is put together in a tunnel `decap` does not take apart.
        offload::set(wire, &[offload::GRO], false)
    })?;
    lb.run(|| offload::set(INTERFACE, &[offload::GRO], true))?;
    for host in [client, lb].into_iter().chain(NodeIndex::all().map(|node| topology.node(node))) {
        host.sysctl(&[("ipv4/tcp_rmem", BUFFERS), ("ipv4/tcp_wmem", BUFFERS)])?;
    }
    Ok((Receivers::of(lb, INTERFACE)?, Receivers::of(switch, wire)?))
}

/// Starts Understudy, and waits until its plan has every node.
fn start_daemon(netns: &Netns, variant: Variant, stop: &Stop) -> Result<Daemon> {
    let owner = Owner::this();
    let checks = r#"kind = "tcp", interval = "1s", timeout = "500ms", fall = 3, rise = 1"#;
    let configuration = Configuration {
        variant,
        health: checks.to_owned(),
        masters: vec![CLUSTER],
        ..Configuration::default()
    };
    Daemon::configure(owner, &configuration.text(owner))?;
    let program: &Path = &beside("understudy")?;
    let mut daemon = Daemon::start(owner, netns, program)?;
    let deadline = Moment::now().after(DEADLINE);
    while !Status::ask(&Daemon::socket(owner)).is_ok_and(|status| all_serve(&status)) {
        daemon.check()?;
        ensure!(Moment::now() < deadline, "no plan with every node; {}", daemon.last_words());
        stop.wait(PERIOD)?;
    }
    Ok(daemon)
}

fn all_serve(status: &Status) -> bool {
    let plan = Plan::of(status);
    let up = |node: NodeIndex| status.state(node) == "up" && plan.allows(node);
    Stage::nodes().all(up)
}

/// Packets that an interface of a namespace has received and sent, as the namespace counts them.
///
/// # Errors
/// If there is no such interface.
pub fn packets(netns: &Netns, interface: &str) -> Result<(u64, u64)> {
    netns.run(|| {
        let text = std::fs::read_to_string("/proc/thread-self/net/dev")?;
        counted(&text, interface).with_context(|| format!("no interface {interface}"))
    })
}

/// From the text of `/proc/net/dev`: the second number of each direction, of eight.
fn counted(text: &str, interface: &str) -> Option<(u64, u64)> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let (_, numbers) = lines.find(|(name, _)| name.trim() == interface)?;
    let numbers: Vec<u64> =
        numbers.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    Some((*numbers.get(1)?, *numbers.get(9)?))
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn packets_are_read_by_interface() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes packets |bytes packets\n\
                    \x20   lo: 1 2 0 0 0 0 0 0 3 4 0 0 0 0 0 0\n\
                    \x20 eth0: 10 20 0 0 0 0 0 0 30 40 0 0 0 0 0 0\n";
        assert_eq!(counted(text, "eth0"), Some((20, 40)));
        assert_eq!(counted(text, "lo"), Some((2, 4)));
        assert_eq!(counted(text, "eth1"), None);
        assert_eq!(counted("eth0: 1 2 x\n", "eth0"), None);
    }
}
