//! The file's own shape: every field as written, with its place, each value well-formed by itself.
//! What values say together is for [`super::validate`].
//!
//! `None` is a field that was left out, or one whose value will not do and has been noted.

pub(super) mod health;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    time::Duration,
};

use lb_common::{
    Forward, HashAlgorithm,
    layout::{MAX_NODES, MAX_SERVICES},
    pin::{MAX_PINS_LOG2, MIN_PINS_LOG2},
};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    reader::{self, Fault, Fields, note},
    report::{Report, Span},
    types::{
        Affinity, BackupMode, Balance, Destination, Failback, Fallback, Panic, Protocol, Ratio,
        SurveyKey, Threshold, Udp,
    },
    values::{self, address},
};

pub(super) use health::{Health, Kind};

/// A value with its place, if there is a good one.
pub(super) type Field<T> = Option<Spanned<T>>;

/// A whole file.
pub(super) struct Raw {
    pub(super) lb: Lb,
    pub(super) interfaces: Vec<Interface>,
    pub(super) clusters: Vec<Cluster>,
    pub(super) services: Vec<Service>,
}

/// `[lb]`
#[derive(Default)]
pub(super) struct Lb {
    pub(super) place: Span,
    pub(super) secret: Field<[u8; 16]>,
    pub(super) hash: Field<HashAlgorithm>,
    pub(super) bpffs: Field<PathBuf>,
    pub(super) socket: Field<PathBuf>,
    pub(super) freeze: Field<Duration>,
    pub(super) pins: Field<u32>,
    pub(super) drain: Field<Duration>,
    pub(super) survey_key: Field<SurveyKey>,
    pub(super) has_survey_key: bool,
}

/// `[[interface]]`
pub(super) struct Interface {
    pub(super) place: Span,
    pub(super) name: Field<String>,
    pub(super) mac: Field<[u8; 6]>,
    pub(super) gateway_mac: Field<[u8; 6]>,
    pub(super) address: Field<Ipv4Addr>,
    pub(super) address6: Field<Ipv6Addr>,
}

/// `[[cluster]]`
pub(super) struct Cluster {
    pub(super) place: Span,
    pub(super) name: Field<String>,
    pub(super) weight: Field<u32>,
    pub(super) priority: Field<u32>,
    pub(super) min_survival_ratio: Field<Ratio>,
    pub(super) min_survivors: Field<u32>,
    pub(super) recover_at: Field<Threshold>,
    pub(super) failback: Field<Failback>,
    pub(super) failback_max: Field<Duration>,
    pub(super) min_services: Field<u32>,
    pub(super) forward: Field<Forward>,
    pub(super) has_forward: bool,
    pub(super) gue_port: Field<u16>,
    pub(super) drain: Field<Duration>,
    pub(super) drain_hard: Field<bool>,
    pub(super) pin_idle: Field<Duration>,
    pub(super) ramp: Field<Duration>,
    pub(super) slow_start: Field<Duration>,
    pub(super) health: Option<Health>,
    pub(super) nodes: Option<Vec<Node>>,
}

/// One of the `nodes` of a cluster.
pub(super) struct Node {
    pub(super) place: Span,
    pub(super) name: Field<String>,
    pub(super) address: Field<IpAddr>,
    pub(super) port: Field<u16>,
    pub(super) number: Field<u32>,
    pub(super) weight: Field<u32>,
    pub(super) priority: Field<u32>,
    pub(super) mac: Field<[u8; 6]>,
}

/// `[[service]]`
pub(super) struct Service {
    pub(super) place: Span,
    pub(super) name: Field<String>,
    pub(super) address: Field<Destination>,
    pub(super) protocol: Field<Protocol>,
    pub(super) has_protocol: bool,
    pub(super) affinity: Field<Affinity>,
    pub(super) udp: Field<Udp>,
    pub(super) backup: Field<BackupMode>,
    pub(super) has_backup: bool,
    pub(super) masters: Field<Vec<Member>>,
    pub(super) standbys: Field<Vec<Member>>,
    pub(super) balance: Field<Balance>,
    pub(super) fallback: Field<Fallback>,
    pub(super) panic: Field<Panic>,
    pub(super) health: Option<Health>,
}

/// One of the `masters` or `standbys` of a service.
#[derive(Default)]
pub(super) struct Member {
    pub(super) cluster: Field<String>,
    pub(super) weight: Field<u32>,
    pub(super) priority: Field<u32>,
    pub(super) port: Field<u16>,
}

const WAYS: [(&str, Forward); 4] = {
    let [l2, ipip, gue, nat] = Forward::ALL;
    [(l2.name(), l2), (ipip.name(), ipip), (gue.name(), gue), (nat.name(), nat)]
};
const WEIGHT: std::ops::RangeInclusive<u32> = 0..=1_000_000;
const PRIORITY: std::ops::RangeInclusive<u32> = 0..=1_000_000;
const FAILBACK: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(30 * 24 * 3600);
const FREEZE: std::ops::RangeInclusive<Duration> = Duration::ZERO..=HOUR;
const PINS: std::ops::RangeInclusive<u32> = 1 << MIN_PINS_LOG2..=1 << MAX_PINS_LOG2;
const DRAIN: std::ops::RangeInclusive<Duration> = Duration::ZERO..=*FAILBACK.end();
const PIN_IDLE: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=*FAILBACK.end();
const RAMP: std::ops::RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(24 * 3600);
const HOUR: Duration = Duration::from_secs(3600);

/// Reads a document; what will not do is noted and left out. Files that it names without a leading
/// `/` are in `directory`.
pub(super) fn read(table: &DeTable<'_>, directory: &Path, report: &mut Report) -> Raw {
    reader::document(table, report, |fields| {
        let lb = fields.table("lb", lb).unwrap_or_default();
        let interfaces = fields.tables("interface", interface);
        let clusters = fields.tables("cluster", |fields| cluster(fields, directory));
        fields.expect("service", "a [[service]]: without one there is nothing to do");
        let services = fields.tables("service", |fields| service(fields, directory));
        Raw {
            lb,
            interfaces: interfaces.map_or_else(Vec::new, Spanned::into_inner),
            clusters: clusters.map_or_else(Vec::new, Spanned::into_inner),
            services: services.map_or_else(Vec::new, Spanned::into_inner),
        }
    })
}

fn lb(fields: &mut Fields<'_, '_>) -> Lb {
    for field in ["drain_hard", "pin_idle", "ramp", "slow_start"] {
        stands_in_clusters(fields, field);
    }
    let hash = values::choice(&[
        ("multilinear", HashAlgorithm::Multilinear),
        ("siphash", HashAlgorithm::SipHash),
    ]);
    Lb {
        place: fields.place(),
        secret: fields.optional("secret", values::hex),
        hash: fields.optional("hash", hash),
        bpffs: fields.optional("bpffs", values::path(4000)),
        // sun_path of struct sockaddr_un holds 108 bytes with the closing zero.
        socket: fields.optional("socket", values::path(107)),
        freeze: fields.optional("freeze", values::duration(FREEZE)),
        pins: fields.optional("pins", values::integer(PINS)),
        drain: fields.optional("drain", values::duration(DRAIN)),
        survey_key: fields.optional("survey_key", |value| values::hex(value).map(SurveyKey)),
        has_survey_key: fields.has("survey_key"),
    }
}

fn interface(fields: &mut Fields<'_, '_>) -> Interface {
    Interface {
        place: fields.place(),
        name: fields.required("name", "name = \"eth0\"", values::interface_name),
        mac: fields.optional("mac", values::mac),
        gateway_mac: fields.optional("gateway_mac", values::mac),
        address: fields.optional("address", address::host_v4),
        address6: fields.optional("address6", address::host_v6),
    }
}

fn cluster(fields: &mut Fields<'_, '_>, directory: &Path) -> Cluster {
    fields.later(&["dispatch"]);
    Cluster {
        place: fields.place(),
        name: name(fields, "A"),
        weight: fields.optional("weight", values::integer(WEIGHT)),
        priority: fields.optional("priority", values::integer(PRIORITY)),
        min_survival_ratio: fields.optional("min_survival_ratio", values::ratio),
        min_survivors: fields.optional("min_survivors", values::integer(1..=MAX_NODES)),
        recover_at: fields.optional("recover_at", values::threshold),
        failback: fields.optional("failback", values::failback(FAILBACK)),
        failback_max: fields.optional("failback_max", values::duration(FAILBACK)),
        min_services: fields.optional("min_services", values::integer(0..=MAX_SERVICES)),
        forward: fields.optional("forward", values::choice(&WAYS)),
        has_forward: fields.has("forward"),
        gue_port: fields.optional("gue_port", values::port),
        drain: fields.optional("drain", values::duration(DRAIN)),
        drain_hard: fields.optional("drain_hard", values::boolean),
        pin_idle: fields.optional("pin_idle", values::duration(PIN_IDLE)),
        ramp: fields.optional("ramp", values::duration(RAMP)),
        slow_start: fields.optional("slow_start", values::duration(RAMP)),
        health: fields.table("health", |fields| health::read(fields, directory)),
        nodes: nodes(fields),
    }
}

fn nodes(fields: &mut Fields<'_, '_>) -> Option<Vec<Node>> {
    let example = "nodes = [{ name = \"a1\", address = \"10.0.0.11\" }]";
    fields.expect("nodes", example);
    fields.refuse_empty("nodes", "a cluster needs at least one node", example);
    fields.tables("nodes", node).map(Spanned::into_inner)
}

fn node(fields: &mut Fields<'_, '_>) -> Node {
    Node {
        place: fields.place(),
        name: name(fields, "a1"),
        address: fields.required("address", "address = \"10.0.0.11\"", address::node),
        port: fields.optional("port", values::port),
        number: fields.optional("number", values::integer(1..=u32::MAX)),
        weight: fields.optional("weight", values::integer(WEIGHT)),
        priority: fields.optional("priority", values::integer(PRIORITY)),
        mac: fields.optional("mac", values::mac),
    }
}

fn service(fields: &mut Fields<'_, '_>, directory: &Path) -> Service {
    for field in ["drain", "drain_hard", "pin_idle"] {
        stands_in_clusters(fields, field);
    }
    let place = fields.place();
    let name = name(fields, "web");
    let address = fields.required("address", "address = \"192.0.2.10:443\"", address::vip);
    let protocol = values::choice(&[("tcp", Protocol::Tcp), ("udp", Protocol::Udp)]);
    let protocol = fields.optional("protocol", protocol);
    let has_protocol = fields.has("protocol");
    let affinity = values::choice(&[("flow", Affinity::Flow), ("source", Affinity::Source)]);
    let affinity = fields.optional("affinity", affinity);
    let udp =
        values::choice(&[("rehash", Udp::Rehash), ("sticky", Udp::Sticky), ("quic", Udp::Quic)]);
    let udp = fields.optional("udp", udp);
    let example = "masters = [\"A\"], with the name of a cluster";
    fields.expect("masters", example);
    fields.refuse_empty("masters", "a service needs at least one master", example);
    let masters = fields.list("masters", |report, value| Some(member(report, "masters", value)));
    let standbys = fields.list("standbys", |report, value| Some(member(report, "standbys", value)));
    let has_backup = fields.has("backup");
    let (backup, balance, fallback, panic) = policies(fields);
    Service {
        place,
        name,
        address,
        protocol,
        has_protocol,
        affinity,
        udp,
        backup,
        has_backup,
        masters,
        standbys,
        balance,
        fallback,
        panic,
        health: fields.table("health", |fields| health::read(fields, directory)),
    }
}

/// Notes a field that is said of clusters, not here.
fn stands_in_clusters(fields: &mut Fields<'_, '_>, field: &'static str) {
    let message = format!("`{field}` is said of clusters");
    fields.elsewhere(field, Some(Fault::new(message, "move it to the [[cluster]]")));
}

type Policies = (Field<BackupMode>, Field<Balance>, Field<Fallback>, Field<Panic>);

fn policies(fields: &mut Fields<'_, '_>) -> Policies {
    let backup = values::choice(&[
        ("one-standby", BackupMode::OneStandby),
        ("multi-standby", BackupMode::MultiStandby),
        ("multi-master", BackupMode::MultiMaster),
        ("none", BackupMode::None),
    ]);
    let balance = values::choice(&[("weight", Balance::Weight), ("equal", Balance::Equal)]);
    let fallback = values::choice(&[
        ("masters", Fallback::Masters),
        ("last-resort", Fallback::LastResort),
        ("drop", Fallback::Drop),
    ]);
    let panic =
        values::choice(&[("alive", Panic::Alive), ("drop", Panic::Drop), ("all", Panic::All)]);
    (
        fields.optional("backup", backup),
        fields.optional("balance", balance),
        fields.optional("fallback", fallback),
        fields.optional("panic", panic),
    )
}

/// A cluster in a service's list: its name, or a table that overrides its weight, priority or port.
fn member(report: &mut Report, list: &str, value: &Spanned<DeValue<'_>>) -> Member {
    let place = value.span();
    match value.get_ref() {
        DeValue::String(name) => {
            Member { cluster: Some(Spanned::new(place, name.to_string())), ..Member::default() }
        }
        DeValue::Table(table) => reader::element(report, table, place, |fields| Member {
            cluster: fields.required("cluster", "cluster = \"A\"", values::any_text),
            weight: fields.optional("weight", values::integer(WEIGHT)),
            priority: fields.optional("priority", values::integer(PRIORITY)),
            port: fields.optional("port", values::port),
        }),
        other => {
            let help = "write \"A\" or { cluster = \"A\", weight = 3 }";
            note(report, list, place, Fault::kind("the name of a cluster", other, help));
            Member::default()
        }
    }
}

/// A `name`. One that will not do is noted and still kept, so that what refers to it is found.
fn name(fields: &mut Fields<'_, '_>, example: &str) -> Field<String> {
    let name = fields.required("name", &format!("name = \"{example}\""), values::any_text)?;
    if !values::is_name(name.get_ref()) {
        let message = format!("name: \"{}\" will not do", name.get_ref().escape_debug());
        let problem = fields.report().error(name.span(), message);
        problem.help("1 to 64 letters, digits, `-`, `_`, `.`");
    }
    Some(name)
}
