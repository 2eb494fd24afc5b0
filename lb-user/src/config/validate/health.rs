//! What the values of a health check must keep to, by themselves and with what it checks.

use std::net::IpAddr;

use lb_common::Forward;
use toml::Spanned;

use super::value;
use crate::config::{
    raw::{self, Health, Kind, Raw},
    report::{Report, Span},
    types::{self, Protocol, Source, Via},
};

/// A check, and what it is for.
struct Check<'a> {
    health: &'a Health,
    services: Vec<&'a raw::Service>,
    clusters: Vec<&'a raw::Cluster>,
}

pub(super) fn check(raw: &Raw, report: &mut Report) {
    let checks = checks(raw);
    for check in &checks {
        times(check.health, report);
        vip(raw, check, report);
        addresses(check, report);
    }
    for service in &raw.services {
        kind_is_explicit(raw, service, report);
        port_is_explicit(raw, service, report);
    }
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
        Some(Check { health, services, clusters: vec![cluster] })
    });
    let of_services = raw.services.iter().filter_map(|service| {
        let health = service.health.as_ref()?;
        let clusters = raw.clusters.iter().filter(|cluster| service.has(cluster)).collect();
        Some(Check { health, services: vec![service], clusters })
    });
    of_clusters.chain(of_services).collect()
}

/// A TCP connection, which is what is tried where no kind is named, says nothing of a UDP service.
fn kind_is_explicit(raw: &Raw, service: &raw::Service, report: &mut Report) {
    let udp = |protocol: &&Spanned<Protocol>| *protocol.get_ref() == Protocol::Udp;
    let Some(protocol) = service.protocol.as_ref().filter(udp) else { return };
    let help = "add health = { kind = \"udp\", … } to the service or to each of its clusters; dns, \
                icmp, survey and every other kind will do";
    match lacks(raw, service, |health| health.has_kind) {
        None => {}
        Some(Lacks::Own(health)) => {
            let message = format!("{} is by UDP, and its health names no kind", service.called());
            report.error(health.place.clone(), message).help(help);
        }
        Some(Lacks::Of(cluster)) => {
            let message = format!(
                "{} is by UDP, and nothing says how the nodes of {} are checked",
                service.called(),
                cluster.called()
            );
            let problem = report.error(protocol.span(), message);
            problem.help(help).also(cluster.place.clone(), "the cluster");
        }
    }
}

/// Which of several ports a check asks is nothing to guess.
fn port_is_explicit(raw: &Raw, service: &raw::Service, report: &mut Report) {
    let Some(vip) = service.address.as_ref().filter(|vip| vip.get_ref().ports.one().is_none())
    else {
        return;
    };
    // A survey speaks of the service as a whole; what cannot be read has an error already.
    let without = |health: &Health| matches!(health.kind, None | Some(Kind::Icmp | Kind::Survey));
    let help = "add health = { port = …, … } to the service or to each of its clusters; kind = \
                \"icmp\" and \"survey\" need none";
    match lacks(raw, service, |health| health.has_port || without(health)) {
        None => {}
        Some(Lacks::Own(health)) => {
            let message =
                format!("{} is on several ports, and its health names none", service.called());
            report.error(health.place.clone(), message).help(help);
        }
        Some(Lacks::Of(cluster)) => {
            let message = format!(
                "{} is on several ports, and nothing says on which the nodes of {} are checked",
                service.called(),
                cluster.called()
            );
            let problem = report.error(vip.span(), message);
            problem.help(help).also(cluster.place.clone(), "the cluster");
        }
    }
}

/// A check that does not say what a service needs.
enum Lacks<'a> {
    /// The service's own.
    Own(&'a Health),
    /// That of a cluster, or one that is not written.
    Of(&'a raw::Cluster),
}

/// The first check of a service that does not say it.
fn lacks<'a>(
    raw: &'a Raw,
    service: &'a raw::Service,
    says: impl Fn(&Health) -> bool,
) -> Option<Lacks<'a>> {
    if let Some(health) = &service.health {
        return (!says(health)).then_some(Lacks::Own(health));
    }
    let mut clusters = raw.clusters.iter().filter(|cluster| service.has(cluster));
    clusters.find(|cluster| !cluster.health.as_ref().is_some_and(&says)).map(Lacks::Of)
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
    let mut nat = check.clusters.iter().filter(|c| c.forward() == Some(Forward::Nat));
    if let Some(cluster) = nat.next() {
        let message = format!(
            "via: \"vip\" does not go with forward = \"nat\": nodes of {} do not have the VIP",
            cluster.called()
        );
        let help = "leave it out: via = \"direct\" asks a node's own address";
        let problem = report.error(via.span(), message);
        problem.help(help).also(cluster.place.clone(), "the cluster");
        return;
    }
    let vips = raw.services.iter().filter_map(|service| service.address.as_ref());
    if let Some(source) = &health.source
        && let Source::Address(address) = source.get_ref()
        && let Some(vip) =
            vips.map(|vip| (vip.get_ref().address, vip.span())).find(|v| v.0 == *address)
    {
        let message =
            format!("source: {address} is a VIP: with via = \"vip\" no answer would come back");
        let help = "an address of this host that is no service's";
        report.error(source.span(), message).help(help).also(vip.1, "the service");
    }
    let Some(port) = &health.port else { return };
    let others = check.services.iter().filter_map(|service| {
        let vip = service.address.as_ref()?;
        (!vip.get_ref().ports.contains(*port.get_ref())).then_some((service, vip))
    });
    for (service, vip) in others.take(1) {
        let message = format!(
            "port: {port} is not the port of {}, {}",
            service.called(),
            vip.get_ref().ports
        );
        let help =
            "with via = \"vip\" the service is asked on its own port; leave it out if it is one";
        report.error(port.span(), message).help(help).also(vip.span(), "the service");
    }
}

/// Addresses of the check must go with those that are asked.
fn addresses(check: &Check<'_>, report: &mut Report) {
    let source = check.health.source.as_ref().and_then(|source| match source.get_ref() {
        Source::Address(address) => Some(("source", *address, source.span())),
        Source::Interface(_) => None,
    });
    let group = check.health.group.as_ref().map(|at| ("group", *at.get_ref(), at.span()));
    let nodes = check.clusters.iter().flat_map(|cluster| cluster.nodes());
    let nodes =
        nodes.filter_map(|node| Some((value(&node.address)?, node.address.as_ref()?.span())));
    let nodes: Vec<(IpAddr, Span)> = nodes.collect();
    let through_vip = value(&check.health.via) == Some(Via::Vip);
    let vips = check.services.iter().filter(|_| through_vip).filter_map(|s| s.address.as_ref());
    let vips: Vec<_> = vips.map(|vip| (vip.get_ref().address, vip.span())).collect();
    let (asked, who) = if through_vip { (&vips, "service") } else { (&nodes, "node") };
    for (field, address, place) in source.into_iter().chain(group) {
        let other_version = |at: &&(IpAddr, Span)| at.0.is_ipv4() != address.is_ipv4();
        if let Some((at, its_place)) = asked.iter().find(other_version) {
            let version = if at.is_ipv4() { "IPv4" } else { "IPv6" };
            let message = format!("{field}: {address} cannot reach {at}");
            let help = format!("an {version} address, as the {who} has");
            report.error(place, message).help(help).also(its_place.clone(), "what is asked");
        } else if let Some((_, node)) = nodes.iter().find(|node| node.0 == address) {
            let message = format!("{field}: {address} is the address of a node");
            let help = match field {
                "group" => "an address that reaches all nodes: broadcast or multicast",
                _ => "an address of this host",
            };
            report.error(place, message).help(help).also(node.clone(), "the node");
        }
    }
}
