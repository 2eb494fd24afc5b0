//! What the values of a cluster, and those of all clusters together, must keep to.

use std::{collections::BTreeMap, net::IpAddr};

use toml::Spanned;

use super::{unique, unique_names, value};
use crate::config::{
    raw::{self, Raw},
    report::{Report, Span},
    types::{Failback, Threshold},
};

pub(super) fn check(raw: &Raw, report: &mut Report) {
    unique_names(report, "clusters", raw.clusters.iter().filter_map(|c| c.name.as_ref()));
    for cluster in &raw.clusters {
        let names = cluster.nodes().iter().filter_map(|node| node.name.as_ref());
        unique_names(report, &format!("nodes of {}", cluster.called()), names);
        threshold(cluster, report);
        failback(cluster, report);
    }
    let nodes = raw.clusters.iter().flat_map(raw::Cluster::nodes);
    let numbers =
        nodes.filter_map(|node| Some((value(&node.number)?, node.number.as_ref()?.span())));
    let help = "each needs a number of its own, or none: then one is assigned";
    unique(report, numbers, help, |number| format!("two nodes have the number {number}"));
    addresses(raw, report);
    min_services(raw, report);
}

fn threshold(cluster: &raw::Cluster, report: &mut Report) {
    if let (Some(ratio), Some(count)) = (&cluster.min_survival_ratio, &cluster.min_survivors) {
        let message = format!("{} has two thresholds", cluster.called());
        let help = "keep min_survival_ratio or min_survivors, not both";
        report.error(count.span(), message).help(help).also(ratio.span(), "the other one");
    }
    // Without nodes, or with some that could not be read, there is nothing to compare with.
    let Some(nodes) = cluster.nodes.as_ref().filter(|nodes| !nodes.is_empty()) else { return };
    let counted = cluster.counted();
    if counted == 0 {
        let message = format!("all nodes of {} have weight 0", cluster.called());
        let help = "give one of them a weight above 0; a cluster without use has weight 0 itself";
        let place = nodes[0].weight.as_ref().map_or(cluster.place.clone(), Spanned::span);
        report.error(place, message).help(help);
        return;
    }
    let recover = cluster.recover_at.as_ref();
    let survivors =
        cluster.min_survivors.as_ref().map(|n| ("min_survivors", *n.get_ref(), n.span()));
    let back = recover.and_then(|at| match at.get_ref() {
        Threshold::Survivors(n) => Some(("recover_at", *n, at.span())),
        Threshold::Ratio(_) => None,
    });
    for (field, count, span) in survivors.into_iter().chain(back) {
        if count > counted {
            let message = format!("{field}: {count} is more than the {counted} nodes that count");
            report.error(span, message).help(format!("a number from 1 to {counted}"));
        }
    }
    let threshold = cluster.threshold();
    if let Some(at) = recover.filter(|at| below(*at.get_ref(), threshold, counted)) {
        let message = "recover_at: below the threshold at which the cluster fails";
        let at_least = threshold.needed(counted);
        let help = format!("at least what keeps it healthy, here {at_least} of {counted} nodes");
        report.error(at.span(), message).help(help);
    }
}

/// Whether `a` asks for less than `b`: as written if both are of one kind, else in nodes of `total`.
fn below(a: Threshold, b: Threshold, total: u32) -> bool {
    match (a, b) {
        (Threshold::Ratio(a), Threshold::Ratio(b)) => {
            let product = |x: u64, y: u64| u128::from(x) * u128::from(y);
            product(a.numerator, b.denominator) < product(b.numerator, a.denominator)
        }
        (Threshold::Survivors(a), Threshold::Survivors(b)) => a < b,
        _ => a.needed(total) < b.needed(total),
    }
}

fn failback(cluster: &raw::Cluster, report: &mut Report) {
    if let (Some(Failback::After { wait: first, .. }), Some(max)) =
        (value(&cluster.failback), &cluster.failback_max)
        && *max.get_ref() < first
    {
        let first = humantime::format_duration(first);
        let message = format!("failback_max: shorter than failback, {first}");
        report.error(max.span(), message).help("at least failback");
    }
}

/// A node is an address and a port; no two are the same.
fn addresses(raw: &Raw, report: &mut Report) {
    let mut seen: BTreeMap<IpAddr, Vec<(usize, Option<u16>, Span)>> = BTreeMap::new();
    let nodes = raw.clusters.iter().enumerate();
    let nodes = nodes.flat_map(|(i, cluster)| cluster.nodes().iter().map(move |node| (i, node)));
    for (cluster, node) in nodes {
        let Some(address) = &node.address else { continue };
        let port = value(&node.port);
        let others = seen.entry(*address.get_ref()).or_default();
        let same = others.iter().find(|(other, theirs, _)| match (port, *theirs) {
            (None, Some(theirs)) => has_port(raw, cluster, theirs),
            (Some(port), None) => has_port(raw, *other, port),
            (port, theirs) => port == theirs,
        });
        if let Some((other, _, first)) = same {
            let at = address.get_ref();
            let at = port.map_or(at.to_string(), |port| format!("{at}:{port}"));
            let (message, help) = if *other == cluster {
                (format!("two nodes have the address {at}"), "each needs its own address or port")
            } else {
                let other = raw.clusters[*other].called();
                let help = "a node is in one cluster; if these are two servers on one host, \
                            give each its port";
                (format!("{at} is also a node of {other}"), help)
            };
            report.error(address.span(), message).help(help).also(first.clone(), "the first one");
        }
        others.push((cluster, port, address.span()));
    }
}

/// Whether a node of this cluster without a port of its own can get this one, from a service.
fn has_port(raw: &Raw, cluster: usize, port: u16) -> bool {
    let Some(name) = &raw.clusters[cluster].name else { return false };
    raw.services.iter().any(|service| {
        let its_name =
            |member: &&raw::Member| value(&member.cluster).as_ref() == Some(name.get_ref());
        let mut members = service.members().filter(its_name);
        let vip = service.address.as_ref();
        members.any(|member| match &member.port {
            Some(given) => *given.get_ref() == port,
            None => vip.is_some_and(|vip| vip.get_ref().ports.contains(port)),
        })
    })
}

fn min_services(raw: &Raw, report: &mut Report) {
    if raw.services.iter().any(|service| service.masters.is_none()) {
        return; // what could not be read may name the cluster
    }
    for cluster in &raw.clusters {
        let Some(least) = &cluster.min_services else { continue };
        let services = raw.services.iter().filter(|service| service.has(cluster)).count();
        if *least.get_ref() as usize > services {
            let called = cluster.called();
            let message =
                format!("min_services: {least} is more than the services of {called}, {services}");
            report.error(least.span(), message).help(format!("a number from 0 to {services}"));
        }
    }
}
