//! Every kind of check against real servers: one daemon, a cluster for each check, each with a
//! fault of its own. All are seen, with their reasons, and all recover.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::small::Small;
use crate::{
    checked::{
        certificates::{Authority, Pair},
        dns,
        fickle::{Fickle, Manner},
        firewall::Rules,
        grpc::{self, Grpc},
        nginx::{Nginx, WELL},
        process::Running,
    },
    runner::Case,
};

/// The cases.
pub(super) const CASES: &[Case] = &[Case::network("probes/up-down-up", up_down_up)];

/// The address of a check's node, by its position; all are in one namespace.
fn at(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, 10 + number as u8)
}

/// Where a UDP server stands that one check asks, by its port.
fn udp(checks: &[Check], port: u16) -> Result<SocketAddr> {
    let asks = format!("kind = \"udp\", port = {port},");
    let number = checks.iter().position(|check| check.health.starts_with(&asks));
    Ok((at(number.context("no such check")?), port).into())
}

/// What the good certificate is for.
const NAME: &str = "good.test";

const UP: &str = "up";
const SILENT: &str = "down: no answer in time";
const REFUSED: &str = "down: connection refused";
const CLOSED: &str = "down: connection closed before the answer";
const WRONG: &str = "down: wrong answer";
const UNREACHABLE: &str = "down: unreachable";
const NO_NAME: &str = "down: status 3";
const TLS: &str = "down: TLS failed";

/// A way of checking, what it finds, and what it finds while everything has its fault.
struct Check {
    name: &'static str,
    health: String,
    first: &'static str,
    broken: &'static str,
}

/// Ports of the servers that can misbehave, each with what it does then.
const MANNERS: [(u16, Manner); 8] = [
    (9004, Manner::Hang),
    (9005, Manner::Wrong),
    (9006, Manner::Reset),
    (9007, Manner::Hang),
    (9008, Manner::Reset),
    (9009, Manner::Slow),
    (9010, Manner::Half),
    (9011, Manner::Wrong),
];

/// All ways of checking; `ca` is the file with the test's own authority.
fn checks(ca: &Path) -> Vec<Check> {
    let ca = ca.display();
    let exchange = r#"send = "ping", expect = "alive""#;
    let page = r#"path = "/health""#;
    let named = format!("{page}, host = \"{NAME}\"");
    let echo = r#"send = "ping", expect = "ping""#;
    let orders = format!("service = \"{}\"", grpc::SERVICE);
    let query = format!("query = \"{}\", expect = \"{}\"", dns::NAME, dns::ADDRESS);
    let rows: Vec<(&str, &str, u16, String, &str, &str)> = vec![
        ("tcp-closed", "tcp", 9001, String::new(), UP, REFUSED),
        ("tcp-blackhole", "tcp", 9002, String::new(), UP, SILENT),
        ("tcp-unreachable", "tcp", 9003, String::new(), UP, UNREACHABLE),
        ("tcp-hang", "tcp", 9004, exchange.into(), UP, SILENT),
        ("tcp-wrong", "tcp", 9005, exchange.into(), UP, WRONG),
        ("tcp-reset", "tcp", 9006, exchange.into(), UP, CLOSED),
        ("tcp-connect", "tcp", 9006, String::new(), UP, UP),
        ("http-hang", "http", 9007, String::new(), UP, SILENT),
        ("http-reset", "http", 9008, String::new(), UP, CLOSED),
        ("http-slow", "http", 9009, String::new(), UP, SILENT),
        ("http-half", "http", 9010, r#"body = "live""#.into(), UP, CLOSED),
        ("http-wrong", "http", 9011, String::new(), UP, WRONG),
        ("http-status", "http", 8080, page.into(), UP, "down: status 503"),
        ("http-any", "http", 8080, format!("{page}, status = [200, \"500-599\"]"), UP, UP),
        (
            "http-body",
            "http",
            8080,
            format!("{page}, status = \"200-599\", body = \"{WELL}\""),
            UP,
            WRONG,
        ),
        (
            "http-missing",
            "http",
            8080,
            r#"path = "/other""#.into(),
            "down: status 404",
            "down: status 404",
        ),
        ("http-stopped", "http", 8081, page.into(), UP, SILENT),
        ("https", "https", 8443, format!("{named}, ca = \"{ca}\""), UP, TLS),
        ("https-expired", "https", 8444, format!("{named}, ca = \"{ca}\""), TLS, UP),
        ("https-other-name", "https", 8445, format!("{named}, ca = \"{ca}\""), TLS, UP),
        ("https-stranger", "https", 8443, named.clone(), TLS, TLS),
        ("https-unverified", "https", 8445, format!("{named}, verify = false"), UP, UP),
        ("grpc", "grpc", 9101, orders.clone(), UP, "not-working"),
        (
            "grpc-unknown",
            "grpc",
            9101,
            r#"service = "nobody""#.into(),
            "down: status 5",
            "down: status 5",
        ),
        ("grpc-closed", "grpc", 9102, orders, UP, REFUSED),
        ("udp-hang", "udp", 9201, echo.into(), UP, SILENT),
        ("udp-wrong", "udp", 9202, echo.into(), UP, WRONG),
        ("udp-closed", "udp", 9203, echo.into(), UP, REFUSED),
        ("dns-stopped", "dns", 5301, query.clone(), UP, SILENT),
        ("dns-closed", "dns", 5302, query, UP, REFUSED),
        ("dns-unknown", "dns", 5301, r#"query = "other.test""#.into(), NO_NAME, NO_NAME),
        ("icmp", "icmp", 0, String::new(), UP, SILENT),
    ];
    let check = |(name, kind, port, more, first, broken): (_, &str, u16, String, _, _)| {
        let port = if port == 0 { String::new() } else { format!(", port = {port}") };
        let more = if more.is_empty() { more } else { format!(", {more}") };
        let times = r#"interval = "500ms", timeout = "400ms", fast_interval = "100ms""#;
        let health = format!("kind = \"{kind}\"{port}{more}, {times}, fall = 2, rise = 1");
        Check { name, health, first, broken }
    };
    rows.into_iter().map(check).collect()
}

/// The servers, all in one namespace.
struct Servers {
    certificates: [Pair; 3],
    nginx: Nginx,
    secure: Nginx,
    stopped_nginx: Nginx,
    tcp: Vec<Fickle>,
    udp: [Fickle; 2],
    grpc: Grpc,
    stopped_dns: Running,
    /// Those that listen to be closed, and where the UDP one is.
    closing_udp: SocketAddr,
    closing: Option<Closing>,
    rules: Option<Rules>,
}

/// Servers whose ports are closed as their fault.
struct Closing {
    _tcp: Fickle,
    _udp: Fickle,
    _grpc: Grpc,
    _dns: Running,
}

impl Servers {
    fn start(small: &Small, checks: &[Check], authority: &Authority) -> Result<Self> {
        let (at, directory) = (&small.client, small.directory());
        let (good, other) = (authority.issue(NAME)?, authority.issue("other.test")?);
        let certificates = [good, authority.issue_expired(NAME)?, other];
        let [good, expired, other] = &certificates;
        let tls = [(8443, good), (8444, expired), (8445, other)];
        let nginx = Nginx::start(at, &directory, 8080, &[])?;
        let secure = Nginx::start(at, &directory, 8082, &tls)?;
        let stopped_nginx = Nginx::start(at, &directory, 8081, &[])?;
        // 9002 and 9003 are behind rules.
        let ports = MANNERS.iter().map(|(port, _)| *port).chain([9002, 9003]);
        let tcp = ports.map(|port| Fickle::tcp(at, port)).collect::<Result<_>>()?;
        let echoes = [udp(checks, 9201)?, udp(checks, 9202)?];
        let udp_servers = [Fickle::udp(at, echoes[0])?, Fickle::udp(at, echoes[1])?];
        let grpc = Grpc::start(at, 9101)?;
        let stopped_dns = dns::start(at, &directory, 5301)?;
        let mut this = Self {
            certificates,
            nginx,
            secure,
            stopped_nginx,
            tcp,
            udp: udp_servers,
            grpc,
            stopped_dns,
            closing_udp: udp(checks, 9203)?,
            closing: None,
            rules: None,
        };
        this.open(small)?;
        Ok(this)
    }

    fn open(&mut self, small: &Small) -> Result<()> {
        let (at, directory) = (&small.client, small.directory());
        self.closing = Some(Closing {
            _tcp: Fickle::tcp(at, 9001)?,
            _udp: Fickle::udp(at, self.closing_udp)?,
            _grpc: Grpc::start(at, 9102)?,
            _dns: dns::start(at, &directory, 5302)?,
        });
        Ok(())
    }

    fn set_certificates(&self, of: [usize; 3]) -> Result<()> {
        for (port, which) in [8443, 8444, 8445].into_iter().zip(of) {
            self.secure.set_certificate(port, &self.certificates[which])?;
        }
        Ok(())
    }

    fn break_all(&mut self, small: &Small) -> Result<()> {
        self.closing = None;
        for (server, (_, manner)) in self.tcp.iter().zip(MANNERS) {
            server.set(manner);
        }
        self.udp[0].set(Manner::Hang);
        self.udp[1].set(Manner::Wrong);
        self.nginx.set_failing(true)?;
        self.set_certificates([1, 0, 0])?;
        self.stopped_nginx.signal(Signal::SIGSTOP)?;
        self.stopped_dns.signal(Signal::SIGSTOP)?;
        self.grpc.set_serving(false)?;
        let rules = [
            "tcp dport 9002 drop",
            "tcp dport 9003 reject with icmp type host-unreachable",
            "icmp type echo-request drop",
        ];
        self.rules = Some(Rules::add(&small.client, "faults", &rules, &[])?);
        Ok(())
    }

    fn mend_all(&mut self, small: &Small) -> Result<()> {
        self.open(small)?;
        self.tcp.iter().chain(&self.udp).for_each(|server| server.set(Manner::Well));
        self.nginx.set_failing(false)?;
        self.set_certificates([0, 1, 2])?;
        self.stopped_nginx.signal(Signal::SIGCONT)?;
        self.stopped_dns.signal(Signal::SIGCONT)?;
        self.grpc.set_serving(true)?;
        self.rules = None;
        Ok(())
    }
}

fn up_down_up() -> Result<()> {
    let mut small = Small::new()?;
    let authority = Authority::new()?;
    let ca = small.directory().join("ca.pem");
    fs::write(&ca, authority.pem())?;
    let checks = checks(&ca);
    let file = small.write(&format!("{}{}", small.heading("freeze = \"0s\""), members(&checks)))?;
    let addresses =
        (0..checks.len()).map(|number| format!("address add {}/24 dev eth0\n", at(number)));
    small.client.ip(&addresses.collect::<String>())?;
    let mut servers = Servers::start(&small, &checks, &authority)?;
    small.start(&file)?;
    all_are(&small, &checks, "at first", |check| check.first)?;
    servers.break_all(&small)?;
    all_are(&small, &checks, "broken", |check| check.broken)?;
    servers.mend_all(&small)?;
    all_are(&small, &checks, "mended", |check| check.first)
}

/// A cluster of one node and a service for each check.
fn members(checks: &[Check]) -> String {
    let member = |(number, check): (usize, &Check)| {
        let (name, health, port) = (check.name, &check.health, 1001 + number);
        let address = at(number);
        format!(
            r#"
[[cluster]]
name = "{name}"
health = {{ {health} }}
nodes = [{{ name = "{name}", address = "{address}" }}]

[[service]]
name = "{name}"
address = "192.0.2.10:{port}"
protocol = "tcp"
masters = ["{name}"]
"#
        )
    };
    checks.iter().enumerate().map(member).collect()
}

/// Waits until every check found what it should.
fn all_are(
    small: &Small,
    checks: &[Check],
    when: &str,
    is: impl Fn(&Check) -> &'static str,
) -> Result<()> {
    let others = |small: &Small| -> Result<Vec<String>> {
        let status = small.status()?;
        let clusters = status["clusters"].as_array().context("clusters")?;
        let mut others = Vec::new();
        for check in checks {
            let cluster = clusters.iter().find(|cluster| cluster["name"] == check.name);
            let seen = seen(&cluster.with_context(|| format!("no {}", check.name))?["nodes"][0]);
            if seen != is(check) {
                others.push(format!("{} is {seen}, not {}", check.name, is(check)));
            }
        }
        Ok(others)
    };
    let waited = small.until(when, |small| Ok(others(small)?.is_empty()));
    let others = others(small)?;
    ensure!(waited.is_ok() || others.is_empty(), "{when}: {}", others.join("; "));
    Ok(())
}

/// A node's state, with the reason if it is down.
fn seen(node: &serde_json::Value) -> String {
    let text = |key: &str| node[key].as_str().unwrap_or_default().to_owned();
    match text("state") {
        state if state == "down" => format!("{state}: {}", text("reason")),
        state => state,
    }
}
