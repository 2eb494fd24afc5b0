//! Checks through a VIP find what users would find: two nodes, each on a wire of its own, and a load
//! balancer whose daemon has its program on one of them.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use lb_common::{Forward, NodeRecord};
use lb_user::{
    config::{
        self, Config, DEFAULT_GUE_PORT, Delivery, Exchange, Health, Http, Probe, Protocol, Target,
        ThroughVip, Via,
    },
    decide::{
        MissReason,
        Outcome::{self, Hit},
        Pools,
    },
    nexthop::{News, NextHops},
    probe::Prober,
    vippath::VipPath,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::{Instant, sleep, timeout},
};

use super::small::Small;
use crate::{netns::Netns, owner::Owner, runner::Case};

/// The cases.
pub(super) const CASES: &[Case] = &[
    Case::network("via/a-node-without-the-vip-is-down", without_the_vip),
    Case::network("via/what-is-lost-is-counted", lost),
];

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10));
const VIP6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 10));
/// The nodes: on the wire with the program, and on the other.
const FIRST: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 2));
const SECOND: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 2));
/// The first one's other address.
const FIRST6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2));
const HTTP: u16 = 80;
const ECHO: u16 = 7;
/// Longer than any one packet, so that some are put together on their way.
const BODY: usize = 300_000;
/// What stands behind it.
const END: &str = "the end";
/// A port that nobody listens on.
const CLOSED: u16 = 99;
/// What is found where there is no answer.
const NOTHING: Outcome = Outcome::Miss(MissReason::Timeout);
/// For what must come.
const PATIENCE: Duration = Duration::from_secs(10);
/// For what must not come.
const SILENCE: Duration = Duration::from_millis(700);

/// The network, and the sockets that its nodes listen on.
struct Site {
    small: Small,
    second: Netns,
    listeners: Vec<(TcpListener, std::net::UdpSocket)>,
}

impl Site {
    fn new() -> Result<Self> {
        let small = Small::new()?;
        let made = Netns::create(vec![Owner::this().netns("second")])?.pop();
        let second = made.context("one namespace was asked for")?;
        small.lb.ip(&format!(
            "link add lb1 type veth peer name eth0 netns {}\nlink set lb1 up\n\
             address add 198.51.100.1/24 dev lb1\naddress add {VIP6}/128 dev lo nodad\n",
            second.name()
        ))?;
        second
            .ip(&format!("link set lo up\nlink set eth0 up\naddress add {SECOND}/24 dev eth0\n"))?;
        let mut listeners = Vec::new();
        for node in [&small.client, &second] {
            node.ip(&format!(
                "address add {VIP}/32 dev lo\naddress add {VIP6}/128 dev lo nodad\n"
            ))?;
            listeners.push(node.run(listen)?);
        }
        Ok(Self { small, second, listeners })
    }

    /// Does something in the load balancer's namespace while the nodes serve.
    fn run(
        &mut self,
        work: impl AsyncFnOnce(&mut Small, &Netns) -> Result<()> + Send,
    ) -> Result<()> {
        let (lb, listeners) = (self.small.lb.path(), std::mem::take(&mut self.listeners));
        let (small, second) = (&mut self.small, &self.second);
        let inside = || {
            crate::netns::enter(&lb)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                for (http, echo) in listeners {
                    tokio::spawn(serve_http(tokio::net::TcpListener::from_std(http)?));
                    tokio::spawn(serve_echo(UdpSocket::from_std(echo)?));
                }
                work(small, second).await
            })
        };
        std::thread::scope(|scope| match scope.spawn(inside).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// The nodes as the daemon's configuration would name them, with checks through the VIP.
    fn nodes(&self) -> Result<Config> {
        let path = self.small.configuration(&[("203.0.113.9", "198.51.100.2")])?;
        let checked = config::load(path);
        let mut config = checked.map_err(|errors| anyhow::anyhow!("{errors}"))?.config;
        config.clusters.iter_mut().for_each(|cluster| cluster.health.via = Via::Vip);
        // The second node is behind it.
        let second = config::Interface { name: "lb1".to_owned(), ..config.interfaces[0].clone() };
        config.interfaces.push(second);
        Ok(config)
    }
}

fn listen() -> Result<(TcpListener, std::net::UdpSocket)> {
    let http = TcpListener::bind((Ipv6Addr::UNSPECIFIED, HTTP))?;
    let echo = std::net::UdpSocket::bind((VIP, ECHO))?;
    http.set_nonblocking(true)?;
    echo.set_nonblocking(true)?;
    Ok((http, echo))
}

async fn serve_http(listener: tokio::net::TcpListener) -> io::Result<()> {
    loop {
        let (mut stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut request = [0; 512];
            if stream.read(&mut request).await? > 0 {
                let length = BODY + END.len();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
                stream.write_all(head.as_bytes()).await?;
                stream.write_all(&[b'x'; BODY]).await?;
                stream.write_all(END.as_bytes()).await?;
            }
            io::Result::Ok(())
        });
    }
}

async fn serve_echo(socket: UdpSocket) -> io::Result<()> {
    let mut datagram = [0; 2000];
    loop {
        let (length, from) = socket.recv_from(&mut datagram).await?;
        socket.send_to(&datagram[..length], from).await?;
    }
}

/// A prober, and the path that its checks take.
struct Checks {
    prober: Prober,
    path: Arc<VipPath>,
}

impl Checks {
    async fn start(vips: &[IpAddr]) -> Result<Self> {
        let path = Arc::new(VipPath::start(vips).await?);
        Ok(Self { prober: Prober::new(&[])?.with_vip_path(Arc::clone(&path)), path })
    }

    /// What a check finds on a node through a VIP.
    async fn check(&self, probe: Probe, vip: SocketAddr, node: IpAddr, limit: Duration) -> Outcome {
        let health = Health {
            probe,
            port: None,
            interval: PATIENCE,
            fast_interval: PATIENCE,
            timeout: limit,
            fall: 1,
            rise: 1,
            source: None,
            via: Via::Vip,
        };
        let at = SocketAddr::new(node, vip.port());
        let vip = Some(ThroughVip { at: vip, by: delivery(node) });
        let target = Target { health: Arc::new(health), at, server: None, vip };
        self.prober.check(&target).await
    }

    /// A request whose answer is longer than any packet.
    async fn http(&self, vip: IpAddr, node: IpAddr, limit: Duration) -> Outcome {
        let http = Http {
            tls: None,
            method: "GET".to_owned(),
            path: "/".to_owned(),
            host: None,
            status: vec![(200, 200)],
            body: Some(END.to_owned()),
        };
        self.check(Probe::Http(http), (vip, HTTP).into(), node, limit).await
    }

    /// A datagram that must come back.
    async fn echo(&self, node: IpAddr, length: usize, limit: Duration) -> Outcome {
        let sent: Arc<[u8]> = vec![b'?'; length].into();
        let exchange = Exchange { send: Some(Arc::clone(&sent)), expect: Some(sent) };
        self.check(Probe::Udp(exchange), (VIP, ECHO).into(), node, limit).await
    }
}

/// How packets come to a node of these suites.
fn delivery(address: IpAddr) -> Delivery {
    Delivery { address, forward: Forward::L2, gue_port: DEFAULT_GUE_PORT, mac: None }
}

/// Through the VIP to a node.
fn through(node: IpAddr) -> ThroughVip {
    ThroughVip { at: (VIP, ECHO).into(), by: delivery(node) }
}

fn expect(what: &str, found: Outcome, expected: Outcome) -> Result<()> {
    ensure!(found == expected, "{what}: {found:?}");
    Ok(())
}

/// As the daemon does: tells the path of the nodes' next hops until it knows both nodes'.
async fn hops(path: &VipPath, config: Config) -> Result<()> {
    let addresses: Vec<IpAddr> =
        config.clusters.iter().flat_map(|cluster| &cluster.nodes).map(|n| n.address).collect();
    let (report, mut found): (_, UnboundedReceiver<_>) = unbounded_channel();
    let follower = tokio::spawn(async move {
        let (_doubts, mut doubted) = unbounded_channel();
        NextHops::new(&config, &Pools::of(&config).targets, &[]).follow(&report, &mut doubted).await
    });
    let mut known = Vec::new();
    while !(known.contains(&FIRST) && known.contains(&SECOND)) {
        let next = timeout(PATIENCE, found.recv()).await.context("no next hops")?;
        let News::Way(next) = next.context("the follower ended")? else { continue };
        let Ok(hop) = next.hop else { continue };
        let record = NodeRecord {
            dst_mac: hop.dst_mac,
            src_mac: hop.src_mac,
            ifindex: hop.ifindex,
            forward: Forward::L2 as u8,
            ..NodeRecord::default()
        };
        let address = addresses[next.node];
        path.set_hop(delivery(address), Some(record))?;
        known.push(address);
        if address == FIRST {
            path.set_hop(delivery(FIRST6), Some(record))?;
        }
    }
    follower.abort();
    Ok(())
}

fn without_the_vip() -> Result<()> {
    let mut site = Site::new()?;
    // The daemon is to have the VIP, and to send nothing to the nodes by itself.
    let nobody = site.small.configuration(&[("203.0.113.2", "203.0.113.7")])?;
    site.small.start(&nobody)?;
    let nodes = site.nodes()?;
    site.run(async |small, second| {
        ensure!(small.attached()?, "no program is attached");
        let checks = Checks::start(&[VIP, VIP6]).await?;
        hops(&checks.path, nodes).await?;
        both_serve(&checks).await?;

        small.client.ip(&format!("address del {VIP}/32 dev lo\n"))?;
        only_the_second_serves(&checks).await?;
        // Nor if it sends on what is not for it: the way leads back to the load balancer.
        small.client.sysctl(&[("ipv4/ip_forward", "1")])?;
        only_the_second_serves(&checks).await?;
        small.client.ip(&format!("address add {VIP}/32 dev lo\n"))?;
        second.ip(&format!("address del {VIP}/32 dev lo\n"))?;
        expect("with the VIP again", checks.http(VIP, FIRST, PATIENCE).await, Hit)?;
        expect("the second without", checks.http(VIP, SECOND, SILENCE).await, NOTHING)?;

        ensure!(resets()? == 0, "the host's own stack answered what was for a check");
        // By IPv6 it does answer, but to itself, which has the VIP: the node hears nothing of it.
        expect("IPv6", checks.http(VIP6, FIRST6, PATIENCE).await, Hit)?;
        nothing_came_back(&small.status()?)
    })
}

async fn both_serve(checks: &Checks) -> Result<()> {
    for node in [FIRST, SECOND] {
        let tcp = Probe::Tcp(Exchange::default());
        expect("TCP", checks.check(tcp, (VIP, HTTP).into(), node, PATIENCE).await, Hit)?;
        expect("HTTP", checks.http(VIP, node, PATIENCE).await, Hit)?;
        expect("UDP", checks.echo(node, 4, PATIENCE).await, Hit)?;
        // A node that has the VIP says itself that nobody listens there.
        for closed in [Probe::Tcp(Exchange::default()), Probe::Udp(Exchange::default())] {
            let found = checks.check(closed, (VIP, CLOSED).into(), node, PATIENCE).await;
            expect("a closed port", found, Outcome::Miss(MissReason::Refused))?;
        }
    }
    Ok(())
}

async fn only_the_second_serves(checks: &Checks) -> Result<()> {
    expect("HTTP without the VIP", checks.http(VIP, FIRST, SILENCE).await, NOTHING)?;
    expect("UDP without the VIP", checks.echo(FIRST, 4, SILENCE).await, NOTHING)?;
    expect("HTTP with it", checks.http(VIP, SECOND, PATIENCE).await, Hit)?;
    for node in [FIRST, SECOND] {
        let direct = timeout(PATIENCE, TcpStream::connect(SocketAddr::new(node, HTTP))).await;
        ensure!(matches!(direct, Ok(Ok(_))), "{node} itself: {direct:?}");
    }
    Ok(())
}

/// How many resets the calling thread's namespace has sent.
fn resets() -> Result<u64> {
    let text = fs::read_to_string("/proc/thread-self/net/snmp")?;
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (lines.next(), lines.next());
    let mut columns = names.unwrap_or("").split(' ').zip(values.unwrap_or("").split(' '));
    let found = columns.find(|(name, _)| *name == "OutRsts").context("no count of resets")?;
    Ok(found.1.parse()?)
}

/// Whether the program saw nothing to the VIP: what nodes do not take, they drop.
fn nothing_came_back(status: &serde_json::Value) -> Result<()> {
    let counters = status["counters"].as_object().context("no counters")?;
    ensure!(counters.values().any(|count| count.as_u64() > Some(0)), "the program saw nothing");
    for (reason, count) in counters {
        let of_the_vip = ["forward_", "drop_", "pass_no_service"];
        let seen = of_the_vip.iter().any(|prefix| reason.starts_with(prefix));
        ensure!(!seen || count == 0, "{reason}: {count}");
    }
    Ok(())
}

fn lost() -> Result<()> {
    let mut site = Site::new()?;
    let nodes = site.nodes()?;
    site.run(async |small, _| {
        let checks = Checks::start(&[VIP]).await?;
        let path = Arc::clone(&checks.path);
        let local = Outcome::Miss(MissReason::Local);
        expect("no way yet", checks.echo(FIRST, 4, SILENCE).await, local)?;
        hops(&path, nodes).await?;
        both_serve(&checks).await?;

        let before = path.counts();
        expect("room for it", checks.echo(SECOND, 1200, PATIENCE).await, Hit)?;
        small.lb.ip("link set lb1 mtu 1000\n")?;
        expect("no room for it", checks.echo(SECOND, 1200, SILENCE).await, NOTHING)?;
        let after = path.counts();
        ensure!((before.too_long, after.too_long) == (0, 1), "{after:?}");
        ensure!(after.sent > before.sent && after.answers > before.answers, "{after:?}");
        ensure!(after.refused == 0, "{after:?}");

        let socket = path.socket(Protocol::Udp, through(FIRST), None).await?;
        path.set_hop(delivery(FIRST), None)?;
        expect("no way any more", checks.echo(FIRST, 4, SILENCE).await, local)?;
        socket.connect(&SocketAddr::new(VIP, 9).into())?;
        socket.send(b"too late")?;
        let deadline = Instant::now() + PATIENCE;
        while path.counts().no_hop == 0 {
            ensure!(Instant::now() < deadline, "{:?}", path.counts());
            sleep(Duration::from_millis(5)).await;
        }
        let strange = NodeRecord { ifindex: u32::MAX >> 1, ..NodeRecord::default() };
        ensure!(
            path.set_hop(delivery(FIRST), Some(strange)).is_err(),
            "there is no such interface"
        );

        let own = config::Source::Address(VIP);
        let refused = path.socket(Protocol::Tcp, through(FIRST), Some(&own)).await;
        ensure!(refused.is_err_and(|e| e.kind() == io::ErrorKind::AddrNotAvailable), "its source");
        let strange = config::Source::Address(FIRST);
        let refused = path.socket(Protocol::Tcp, through(FIRST), Some(&strange)).await;
        ensure!(refused.is_err_and(|e| e.kind() == io::ErrorKind::AddrNotAvailable), "not its own");
        ensure!(threads()? == 1, "its thread");
        drop((checks, path));
        ensure!(threads()? == 0, "its thread is there still");
        Ok(())
    })
}

/// How many threads of private namespaces there are.
fn threads() -> Result<usize> {
    let tasks = fs::read_dir("/proc/self/task")?.flatten();
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    Ok(names.filter(|name| name.trim() == "vip-checks").count())
}
