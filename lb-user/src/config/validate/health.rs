//! What the values of a health check must keep to, by themselves and with what it checks.

use toml::Spanned;

use super::value;
use crate::config::{
    raw::{self, Health, Kind, Raw},
    report::Report,
    types::{self, Protocol, Source, Via},
};

/// A check, and what it is for.
struct Check<'a> {
    health: &'a Health,
    services: Vec<&'a raw::Service>,
    nodes: Vec<&'a raw::Node>,
}

pub(super) fn check(raw: &Raw, report: &mut Report) {
    let checks = checks(raw);
    for check in &checks {
        times(check.health, report);
        vip(raw, check, report);
        addresses(check, report);
    }
    raw.services.iter().for_each(|service| explicit(raw, service, report));
    let mut surveys = checks.iter().filter(|check| check.health.kind == Some(Kind::Survey));
    if let Some(survey) = surveys.next()
        && !raw.lb.has_survey_key
    {
        let message = "a survey needs a key that this load balancer shares with the agents";
        let help = "add [lb] survey_key = \"…\", 64 hex digits from `openssl rand -hex 32`";
        report.error(survey.health.place.clone(), message).help(help);
    }
}

/// All of them: those of clusters with the services that have none of their own, then those of
/// services.
fn checks(raw: &Raw) -> Vec<Check<'_>> {
    let of_clusters = raw.clusters.iter().filter_map(|cluster| {
        let health = cluster.health.as_ref()?;
        let services = raw.services.iter();
        let services = services.filter(|s| s.health.is_none() && s.has(cluster)).collect();
        Some(Check { health, services, nodes: cluster.nodes().iter().collect() })
    });
    let of_services = raw.services.iter().filter_map(|service| {
        let health = service.health.as_ref()?;
        let clusters = raw.clusters.iter().filter(|cluster| service.has(cluster));
        let nodes = clusters.flat_map(raw::Cluster::nodes).collect();
        Some(Check { health, services: vec![service], nodes })
    });
    of_clusters.chain(of_services).collect()
}

/// A TCP connection, which is what is tried where no kind is named, says nothing of a UDP service.
fn explicit(raw: &Raw, service: &raw::Service, report: &mut Report) {
    let udp = |protocol: &&Spanned<Protocol>| *protocol.get_ref() == Protocol::Udp;
    let Some(protocol) = service.protocol.as_ref().filter(udp) else { return };
    let names_a_kind = |health: &Option<Health>| health.as_ref().is_some_and(|h| h.has_kind);
    let help = "add health = { kind = \"udp\", … } to the service or to each of its clusters; dns, \
                icmp, survey and every other kind will do";
    if let Some(health) = &service.health {
        if !health.has_kind {
            let message = format!("{} is by UDP, and its health names no kind", service.called());
            report.error(health.place.clone(), message).help(help);
        }
        return;
    }
    let mut clusters = raw.clusters.iter().filter(|cluster| service.has(cluster));
    if let Some(cluster) = clusters.find(|cluster| !names_a_kind(&cluster.health)) {
        let message = format!(
            "{} is by UDP, and nothing says how the nodes of {} are checked",
            service.called(),
            cluster.called()
        );
        report
            .error(protocol.span(), message)
            .help(help)
            .also(cluster.place.clone(), "the cluster");
    }
}

fn times(health: &Health, report: &mut Report) {
    let interval = value(&health.interval).unwrap_or(types::Health::default().interval);
    for (field, time) in [("timeout", &health.timeout), ("fast_interval", &health.fast_interval)] {
        if let Some(time) = time.as_ref().filter(|time| *time.get_ref() > interval) {
            let interval = humantime::format_duration(interval);
            let message = format!("{field}: longer than the interval, {interval}");
            report.error(time.span(), message).help("at most the interval");
        }
    }
}

/// A check on the way of users' packets is one of them: for the service's address and port.
fn vip(raw: &Raw, check: &Check<'_>, report: &mut Report) {
    let health = check.health;
    let Some(via) = health.via.as_ref().filter(|via| *via.get_ref() == Via::Vip) else { return };
    if let Some(kind @ (Kind::Icmp | Kind::Survey)) = health.kind {
        let message = format!("via: \"vip\" does not go with kind = \"{}\"", kind.word());
        let help = "leave it out; tcp, http, https, grpc, udp and dns can be sent to the VIP";
        report.error(via.span(), message).help(help);
        return;
    }
    let vips = raw.services.iter().filter_map(|service| service.address.as_ref());
    if let Some(source) = &health.source
        && let Source::Address(address) = source.get_ref()
        && let Some(vip) = vips.map(|vip| (vip.get_ref().ip(), vip.span())).find(|v| v.0 == address)
    {
        let message =
            format!("source: {address} is a VIP: with via = \"vip\" no answer would come back");
        let help = "an address of this host that is no service's";
        report.error(source.span(), message).help(help).also(vip.1, "the service");
    }
    let Some(port) = &health.port else { return };
    let others = check.services.iter().filter_map(|service| {
        let vip = service.address.as_ref()?;
        (vip.get_ref().port() != *port.get_ref()).then_some((service, vip))
    });
    for (service, vip) in others.take(1) {
        let message = format!(
            "port: {port} is not the port of {}, {}",
            service.called(),
            vip.get_ref().port()
        );
        let help = "leave it out: with via = \"vip\" the service is asked on its own port";
        report.error(port.span(), message).help(help).also(vip.span(), "the service");
    }
}

/// Addresses of the check must go with those of the nodes.
fn addresses(check: &Check<'_>, report: &mut Report) {
    let source = check.health.source.as_ref().and_then(|source| match source.get_ref() {
        Source::Address(address) => Some(("source", *address, source.span())),
        Source::Interface(_) => None,
    });
    let group = check.health.group.as_ref().map(|at| ("group", *at.get_ref(), at.span()));
    let nodes = || check.nodes.iter().filter_map(|node| node.address.as_ref());
    for (field, address, place) in source.into_iter().chain(group) {
        if let Some(node) = nodes().find(|node| node.get_ref().is_ipv4() != address.is_ipv4()) {
            let family = if node.get_ref().is_ipv4() { "IPv4" } else { "IPv6" };
            let message = format!("{field}: {address} cannot reach {node}");
            let help = format!("an {family} address, as the nodes have");
            report.error(place, message).help(help).also(node.span(), "a node");
        } else if let Some(node) = nodes().find(|node| *node.get_ref() == address) {
            let message = format!("{field}: {address} is the address of a node");
            let help = match field {
                "group" => "an address that reaches all nodes: broadcast or multicast",
                _ => "an address of this host",
            };
            report.error(place, message).help(help).also(node.span(), "the node");
        }
    }
}
