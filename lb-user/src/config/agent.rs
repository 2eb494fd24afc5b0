//! The agent's configuration: which servers this host has, and how each is checked.
//!
//! ```toml
//! servers = [{ number = 7, port = 443, check = "tcp" }]
//! ```
//!
//! `check` is a kind by itself, or a table: `{ kind = "http", path = "/health" }`. The kinds `tcp`,
//! `http`, `https`, `grpc`, `udp` and `dns` have the fields that they have in the `health` of a
//! cluster, and `address`, by default 127.0.0.1; `exec` has `command`, `systemd` has `unit`.
//!
//! A process that hangs, or is stopped, still has its connections accepted by the kernel, and its
//! unit is still active: `tcp` sees that only with something to `expect`, `systemd` not at all. The
//! other kinds see it, as they wait for an answer; so `udp` must have something to `expect` here.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    ConfigErrors, Diagnostic, raw,
    reader::{self, Fault, Fields, Parsed, note},
    report::{Report, Span},
    types::{Exchange, Health, Probe, Server, SurveyKey, Target, Via},
    values,
};

/// Where the agent looks for the drain file if its configuration does not say.
pub const DEFAULT_DRAIN_FILE: &str = "/run/understudy-agent/drain";

/// A checked configuration of the agent.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// At least one, no two the same.
    pub servers: Vec<LocalServer>,
    /// A multicast group that questions may come to.
    pub group: Option<IpAddr>,
    /// The interface on which it is joined; `None`: where the routes say.
    pub interface: Option<String>,
    /// While it is there, all servers are non-survival.
    pub drain_file: PathBuf,
}

/// A server of this host.
#[derive(Clone, Debug)]
pub struct LocalServer {
    /// Number and port, as load balancers know it.
    pub server: Server,
    /// How it is checked.
    pub check: Check,
    /// Time from one check to the next.
    pub interval: Duration,
    /// Time a check may take.
    pub timeout: Duration,
}

/// How a server is checked.
#[derive(Clone, Debug)]
pub enum Check {
    /// As a load balancer would.
    Probe(Target),
    /// By a command with its arguments, at least itself; exit status 0 is survival.
    Command(Vec<String>),
}

const INTERVAL: Duration = Duration::from_millis(200);
const TIMEOUT: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(3600);
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const EXAMPLE: &str = "servers = [{ number = 7, port = 443, check = \"tcp\" }]";

/// Kinds of check.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tcp,
    Other,
    Exec,
    Systemd,
}

const KINDS: [(&str, Kind); 8] = [
    ("tcp", Kind::Tcp),
    ("http", Kind::Other),
    ("https", Kind::Other),
    ("grpc", Kind::Other),
    ("udp", Kind::Other),
    ("dns", Kind::Other),
    ("exec", Kind::Exec),
    ("systemd", Kind::Systemd),
];

/// Reads and checks an agent's configuration file; returns it with its warnings.
///
/// # Errors
/// Everything that is wrong with it, or why it cannot be read.
pub fn load(path: &Path) -> Result<(AgentConfig, Vec<Diagnostic>), ConfigErrors> {
    let text = super::text(path)?;
    parse(&text, &path.display().to_string())
}

/// Checks the text of an agent's configuration file; `file_name` is what messages call it, and
/// files that it names are looked for beside it.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(text: &str, file_name: &str) -> Result<(AgentConfig, Vec<Diagnostic>), ConfigErrors> {
    let mut report = Report::default();
    let (document, syntax) = DeTable::parse_recoverable(text);
    report.syntax(syntax);
    let directory = Path::new(file_name).parent().unwrap_or(Path::new(""));
    let config =
        reader::document(document.get_ref(), &mut report, |fields| agent(fields, directory));
    let (errors, warnings) = report.finish(text, file_name);
    if errors.is_empty() { Ok((config, warnings)) } else { Err(ConfigErrors::new(errors)) }
}

/// Reads the key from the text of its file: 64 hex digits, with space around them.
///
/// # Errors
/// What is wrong with it; the text does not show it.
pub fn key(text: &str) -> Result<SurveyKey, String> {
    let value = DeValue::String(text.trim().into());
    values::hex(&value).map(SurveyKey).map_err(|fault| format!("{}; {}", fault.message, fault.help))
}

fn agent(fields: &mut Fields<'_, '_>, directory: &Path) -> AgentConfig {
    fields.expect("servers", EXAMPLE);
    fields.refuse_empty("servers", "an agent needs at least one server", EXAMPLE);
    let mut seen = HashSet::new();
    let servers = fields.tables("servers", |fields| server(fields, directory, &mut seen));
    let group = fields.optional("group", group).map(Spanned::into_inner);
    let interface = fields.optional("interface", values::interface_name);
    if let Some(interface) = &interface
        && !fields.has("group")
    {
        let problem = fields.report().error(interface.span(), "interface: there is no group");
        problem.help("add the group that is to be joined there, or leave it out");
    }
    let drain_file = fields.optional("drain_file", values::path(4000)).map(Spanned::into_inner);
    AgentConfig {
        servers: servers.into_iter().flat_map(Spanned::into_inner).flatten().collect(),
        group,
        interface: interface.map(Spanned::into_inner),
        drain_file: drain_file.unwrap_or_else(|| PathBuf::from(DEFAULT_DRAIN_FILE)),
    }
}

/// `None`: something is wrong, and was noted.
fn server(
    fields: &mut Fields<'_, '_>,
    directory: &Path,
    seen: &mut HashSet<Server>,
) -> Option<LocalServer> {
    let time = || values::duration(Duration::from_millis(10)..=LONGEST);
    let number = fields.required("number", "number = 7", values::integer(1..=u32::MAX));
    let port = fields.required("port", "port = 443", values::port);
    let interval = fields.optional("interval", time()).map_or(INTERVAL, Spanned::into_inner);
    let timeout = fields.optional("timeout", time()).map_or(TIMEOUT, Spanned::into_inner);
    fields.expect("check", "check = \"tcp\"");
    let place = fields.place();
    let here =
        Here { directory, port: port.as_ref().map(|port| *port.get_ref()), interval, timeout };
    let check = fields.find("check").and_then(|(report, value)| check(report, value, &here));
    let server = Server { number: number?.into_inner(), port: port?.into_inner() };
    if !seen.insert(server) {
        let message = format!("server {} with port {} is there twice", server.number, server.port);
        fields.report().error(place, message).help("leave one of them out");
    }
    Some(LocalServer { server, check: check?, interval, timeout })
}

/// What a check is read beside.
struct Here<'a> {
    directory: &'a Path,
    port: Option<u16>,
    interval: Duration,
    timeout: Duration,
}

fn check(report: &mut Report, value: &Spanned<DeValue<'_>>, here: &Here<'_>) -> Option<Check> {
    let place = value.span();
    let table = match value.get_ref() {
        DeValue::Table(table) => table,
        word => {
            // Only this kind needs nothing more.
            return match kind(report, word, place.clone())? {
                Kind::Tcp => Some(here.target(Probe::Tcp(Exchange::default()), LOOPBACK, None)),
                _ => {
                    let help = "for example check = { kind = \"http\", path = \"/health\" } or \
                                { kind = \"systemd\", unit = \"nginx.service\" }";
                    report.error(place, "check: this kind has fields").help(help);
                    None
                }
            };
        }
    };
    let Some(word) = table.get("kind") else {
        report.error(place, "`kind` is missing").help("add kind = \"http\"");
        return None;
    };
    let kind = kind(report, word.get_ref(), word.span())?;
    reader::element(report, table, place, |fields| match kind {
        Kind::Exec => command(fields),
        Kind::Systemd => systemd(fields),
        Kind::Tcp | Kind::Other => probe(fields, here),
    })
}

fn kind(report: &mut Report, value: &DeValue<'_>, place: Span) -> Option<Kind> {
    values::choice(&KINDS)(value).map_err(|fault| note(report, "check", place, fault)).ok()
}

/// A check that a load balancer could make, too; what is said of times there is said beside it
/// here.
fn probe(fields: &mut Fields<'_, '_>, here: &Here<'_>) -> Option<Check> {
    let address = fields.optional("address", address).map_or(LOOPBACK, Spanned::into_inner);
    for field in ["interval", "timeout"] {
        refuse(fields, field, "stands beside `check`, not in it");
    }
    for field in ["fast_interval", "fall", "rise", "source", "via"] {
        refuse(fields, field, "is for load balancers: an agent says what each check says");
    }
    let health = raw::health::read(fields, here.directory);
    if let Some(Probe::Udp(_)) = &health.probe {
        let why = "what the answer contains; of a server that hangs there is only silence";
        fields.expect("expect", &format!("expect = \"…\", {why}"));
    }
    let port = health.port.map(Spanned::into_inner);
    Some(here.target(health.probe?, address, port))
}

fn refuse(fields: &mut Fields<'_, '_>, field: &'static str, why: &str) {
    let fault = Fault::new(format!("`{field}` {why}"), "leave it out here");
    fields.elsewhere(field, Some(fault));
}

impl Here<'_> {
    fn target(&self, probe: Probe, address: IpAddr, port: Option<u16>) -> Check {
        // Without a port of the server there is an error already.
        let port = port.or(self.port).unwrap_or_default();
        let health = Health {
            probe,
            port: Some(port),
            interval: self.interval,
            fast_interval: self.interval,
            timeout: self.timeout,
            fall: 1,
            rise: 1,
            source: None,
            via: Via::Direct,
        };
        let at = SocketAddr::new(address, port);
        Check::Probe(Target { health: Arc::new(health), at, server: None, vip: None })
    }
}

fn command(fields: &mut Fields<'_, '_>) -> Option<Check> {
    let example = "command = [\"/usr/lib/myapp/check\", \"--quick\"]";
    fields.optional("kind", values::any_text);
    fields.expect("command", example);
    fields.refuse_empty("command", "command: there is none", example);
    let words = fields.list("command", |report, word| {
        let place = word.span();
        let word = values::any_text(word.get_ref());
        word.map_err(|fault| note(report, "command", place, fault)).ok()
    })?;
    Some(Check::Command(words.into_inner()))
}

fn systemd(fields: &mut Fields<'_, '_>) -> Option<Check> {
    fields.optional("kind", values::any_text);
    let unit = fields.required("unit", "unit = \"nginx.service\"", unit)?.into_inner();
    let words = ["systemctl", "is-active", "--quiet", "--", &unit];
    Some(Check::Command(words.map(str::to_owned).to_vec()))
}

/// The name of a unit; a pattern would be several.
fn unit(value: &DeValue<'_>) -> Parsed<String> {
    let name = values::any_text(value)?;
    let good = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    if (1..256).contains(&name.len()) && name.chars().all(good) {
        return Ok(name);
    }
    let message = format!("\"{}\" is no name of a unit", name.escape_debug());
    Err(Fault::new(message, "as systemctl shows it, for example \"nginx.service\""))
}

fn address(value: &DeValue<'_>) -> Parsed<IpAddr> {
    let text = values::any_text(value)?;
    text.parse().map_err(|_| {
        let message = format!("\"{}\" is no IP address", text.escape_debug());
        Fault::new(message, "an address of this host, for example \"127.0.0.1\" or \"::1\"")
    })
}

fn group(value: &DeValue<'_>) -> Parsed<IpAddr> {
    let group = address(value)?;
    if group.is_multicast() {
        return Ok(group);
    }
    let help = "for example \"239.255.74.11\"; broadcasts need no group";
    Err(Fault::new(format!("{group} is no multicast group"), help))
}

#[cfg(test)]
#[path = "agent_tests.rs"]
mod tests;
