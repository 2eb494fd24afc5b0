//! From values that are well-formed by themselves to a configuration that holds together: names
//! resolved, defaults filled in, everything sorted and numbered.

mod addresses;
mod clusters;
mod drains;
mod forward;
mod health;
mod limits;
mod services;
mod warnings;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use lb_common::pin::DEFAULT_PINS;
use toml::Spanned;

use super::{
    raw::{self, Field, Raw},
    report::{Report, Span},
    types::{
        BackupMode, Balance, Cluster, Config, DEFAULT_BPFFS, DEFAULT_DRAIN, DEFAULT_GUE_PORT,
        DEFAULT_SOCKET, Destination, Failback, Fallback, Health, Interface, Lb, Member, Node,
        Panic, Protocol, Ratio, Service, Threshold,
    },
};

/// Half of the nodes.
const DEFAULT_THRESHOLD: Threshold = Threshold::Ratio(Ratio { numerator: 5, denominator: 10 });
const DEFAULT_FREEZE: Duration = Duration::from_secs(10);

/// The clusters by name; of two with one name the first.
type ByName<'a> = BTreeMap<&'a str, &'a raw::Cluster>;

/// The checked configuration, or `None` if anything was noted that makes it unusable.
pub(super) fn check(raw: &Raw, report: &mut Report) -> Option<Config> {
    let interfaces = raw.interfaces.iter().filter_map(|interface| interface.name.as_ref());
    unique_names(report, "interfaces", interfaces);
    let by_name = by_name(raw);
    clusters::check(raw, report);
    services::check(raw, &by_name, report);
    forward::check(raw, &by_name, report);
    addresses::check(raw, report);
    health::check(raw, report);
    limits::check(raw, report);
    if report.is_refused() {
        return None;
    }
    let config = build(raw)?;
    limits::tables(raw, &config, report);
    if report.is_refused() {
        return None;
    }
    warnings::check(raw, &config, report);
    drains::check(raw, &config, report);
    Some(config)
}

fn by_name(raw: &Raw) -> ByName<'_> {
    let mut clusters = ByName::new();
    for cluster in &raw.clusters {
        if let Some(name) = &cluster.name {
            clusters.entry(name.get_ref()).or_insert(cluster);
        }
    }
    clusters
}

/// `None` only if a value that must be there is not; that has been noted when it was read.
fn build(raw: &Raw) -> Option<Config> {
    let clusters = raw.clusters.iter().map(|c| cluster(c, &raw.lb));
    let mut clusters = clusters.collect::<Option<Vec<_>>>()?;
    clusters.sort_by(|a, b| a.name.cmp(&b.name));
    let given = raw.clusters.iter().flat_map(raw::Cluster::nodes).filter_map(|n| value(&n.number));
    number(&mut clusters, given.collect());
    let mut services = Vec::with_capacity(raw.services.len());
    for service in &raw.services {
        services.push(self::service(service, &clusters)?);
    }
    services.sort_by(|a, b| a.name.cmp(&b.name));
    let lb = Lb {
        secret: value(&raw.lb.secret),
        hash: value(&raw.lb.hash).unwrap_or_default(),
        bpffs: value(&raw.lb.bpffs).unwrap_or_else(|| DEFAULT_BPFFS.into()),
        socket: value(&raw.lb.socket).unwrap_or_else(|| DEFAULT_SOCKET.into()),
        freeze: value(&raw.lb.freeze).unwrap_or(DEFAULT_FREEZE),
        pins: value(&raw.lb.pins).unwrap_or(DEFAULT_PINS).next_power_of_two(),
        survey_key: value(&raw.lb.survey_key),
    };
    let interfaces = raw.interfaces.iter().map(interface).collect::<Option<Vec<_>>>()?;
    Some(Config { lb, interfaces, clusters, services })
}

fn interface(raw: &raw::Interface) -> Option<Interface> {
    Some(Interface {
        name: value(&raw.name)?,
        mac: value(&raw.mac),
        gateway_mac: value(&raw.gateway_mac),
        address: value(&raw.address),
        address6: value(&raw.address6),
    })
}

fn cluster(raw: &raw::Cluster, lb: &raw::Lb) -> Option<Cluster> {
    let drain = value(&raw.drain).or(value(&lb.drain)).unwrap_or(DEFAULT_DRAIN);
    // Others' limits may still pin connections to its nodes.
    let pin_idle = if drain.is_zero() { DEFAULT_DRAIN } else { drain };
    let mut nodes = raw.nodes().iter().map(node).collect::<Option<Vec<_>>>()?;
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    let failback = match (value(&raw.failback).unwrap_or_default(), value(&raw.failback_max)) {
        (Failback::After { wait, .. }, Some(max)) => Failback::After { wait, max },
        (failback, _) => failback,
    };
    Some(Cluster {
        name: value(&raw.name)?,
        weight: value(&raw.weight).unwrap_or(1),
        priority: value(&raw.priority).unwrap_or(1),
        threshold: raw.threshold(),
        recover_at: value(&raw.recover_at),
        failback,
        min_services: value(&raw.min_services).unwrap_or(0),
        forward: raw.forward()?,
        gue_port: value(&raw.gue_port).unwrap_or(DEFAULT_GUE_PORT),
        drain,
        drain_hard: value(&raw.drain_hard).unwrap_or(false),
        pin_idle: value(&raw.pin_idle).unwrap_or(pin_idle),
        ramp: value(&raw.ramp).unwrap_or_default(),
        slow_start: value(&raw.slow_start).unwrap_or_default(),
        health: raw.health.as_ref().map_or_else(|| Some(Health::default()), self::health)?,
        nodes,
        leaving: false,
    })
}

fn health(raw: &raw::Health) -> Option<Health> {
    let default = Health::default();
    let interval = value(&raw.interval).unwrap_or(default.interval);
    Some(Health {
        probe: raw.probe.clone()?,
        port: value(&raw.port),
        interval,
        fast_interval: value(&raw.fast_interval).unwrap_or(interval),
        timeout: value(&raw.timeout).unwrap_or(default.timeout.min(interval)),
        fall: value(&raw.fall).unwrap_or(default.fall),
        rise: value(&raw.rise).unwrap_or(default.rise),
        source: value(&raw.source),
        via: value(&raw.via).unwrap_or(default.via),
    })
}

fn node(raw: &raw::Node) -> Option<Node> {
    Some(Node {
        name: value(&raw.name)?,
        address: value(&raw.address)?,
        port: value(&raw.port),
        number: value(&raw.number).unwrap_or(0),
        weight: value(&raw.weight).unwrap_or(1),
        priority: value(&raw.priority).unwrap_or(1),
        mac: value(&raw.mac),
        leaving: false,
    })
}

/// Numbers the nodes that have none (0 until now), in the order of names, past what is taken.
fn number(clusters: &mut [Cluster], taken: BTreeSet<u32>) {
    let mut free = (1..).filter(|number| !taken.contains(number));
    for node in clusters.iter_mut().flat_map(|cluster| &mut cluster.nodes) {
        if node.number == 0 {
            node.number = free.next().unwrap_or(0);
        }
    }
}

fn service(raw: &raw::Service, clusters: &[Cluster]) -> Option<Service> {
    let Destination { address, ports } = value(&raw.address)?;
    let members = |list: &Field<Vec<raw::Member>>| -> Option<Vec<Member>> {
        let list = list.as_ref().map_or(&[][..], |list| list.get_ref());
        list.iter().map(|raw| member(raw, clusters)).collect()
    };
    let health = match &raw.health {
        Some(health) => Some(self::health(health)?),
        None => None,
    };
    Some(Service {
        name: value(&raw.name)?,
        address,
        ports,
        protocol: value(&raw.protocol).unwrap_or(Protocol::Tcp),
        affinity: value(&raw.affinity).unwrap_or_default(),
        udp: value(&raw.udp).unwrap_or_default(),
        mode: value(&raw.backup).unwrap_or(BackupMode::None),
        masters: members(&raw.masters)?,
        standbys: members(&raw.standbys)?,
        balance: value(&raw.balance).unwrap_or(Balance::Weight),
        fallback: value(&raw.fallback).unwrap_or(Fallback::Masters),
        panic: value(&raw.panic).unwrap_or(Panic::Alive),
        health,
    })
}

fn member(raw: &raw::Member, clusters: &[Cluster]) -> Option<Member> {
    let name = raw.cluster.as_ref()?.get_ref();
    let cluster = clusters.binary_search_by(|cluster| cluster.name.cmp(name)).ok()?;
    Some(Member {
        cluster,
        weight: value(&raw.weight).unwrap_or(clusters[cluster].weight),
        priority: value(&raw.priority).unwrap_or(clusters[cluster].priority),
        port: value(&raw.port),
        leaving: false,
    })
}

impl raw::Cluster {
    fn nodes(&self) -> &[raw::Node] {
        self.nodes.as_deref().unwrap_or_default()
    }

    /// Nodes that count: those of weight 0 do not.
    fn counted(&self) -> u32 {
        self.nodes().iter().filter(|node| value(&node.weight) != Some(0)).count() as u32
    }

    fn threshold(&self) -> Threshold {
        let ratio = value(&self.min_survival_ratio).map(Threshold::Ratio);
        let survivors = value(&self.min_survivors).map(Threshold::Survivors);
        ratio.or(survivors).unwrap_or(DEFAULT_THRESHOLD)
    }

    /// Its name, for messages.
    fn called(&self) -> String {
        called("cluster", &self.name)
    }
}

fn value<T: Clone>(field: &Field<T>) -> Option<T> {
    field.as_ref().map(|value| value.get_ref().clone())
}

fn called(kind: &str, name: &Field<String>) -> String {
    match name {
        Some(name) => format!("{kind} \"{}\"", name.get_ref()),
        None => format!("this {kind}"),
    }
}

fn unique_names<'a>(
    report: &mut Report,
    what: &str,
    names: impl IntoIterator<Item = &'a Spanned<String>>,
) {
    let names = names.into_iter().map(|name| (name.get_ref(), name.span()));
    let help = "each needs a name of its own";
    unique(report, names, help, |name| format!("two {what} are named \"{name}\""));
}

/// Notes every key that was there before, and where.
fn unique<K: Ord>(
    report: &mut Report,
    items: impl IntoIterator<Item = (K, Span)>,
    help: &str,
    message: impl Fn(&K) -> String,
) {
    let mut seen = BTreeMap::new();
    for (key, span) in items {
        match seen.get(&key) {
            Some(first) => {
                let problem = report.error(span, message(&key));
                problem.help(help).also(Span::clone(first), "the first one");
            }
            None => {
                seen.insert(key, span);
            }
        }
    }
}
