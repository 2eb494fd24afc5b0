//! Whose an address is: services are told apart by theirs, and none is a node's or this host's.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::IpAddr,
};

use super::{unique, value};
use crate::config::{
    raw::{self, Raw},
    report::{Report, Span},
    types::{Ports, Protocol},
};

pub(super) fn check(raw: &Raw, report: &mut Report) {
    let vips = raw.services.iter().filter_map(|service| {
        let vip = service.address.as_ref()?;
        let protocol = value(&service.protocol).unwrap_or(Protocol::Tcp);
        Some(((*vip.get_ref(), protocol), vip.span()))
    });
    let help = "each needs an address, port or protocol of its own";
    unique(report, vips, help, |(vip, _)| format!("two services have the address {vip}"));
    ranges(raw, report);
    owners(raw, report);
}

/// No two ranges of an address and protocol overlap: neither would count before the other.
fn ranges(raw: &Raw, report: &mut Report) {
    let mut ranges: BTreeMap<(IpAddr, Protocol), Vec<&raw::Service>> = BTreeMap::new();
    for service in &raw.services {
        let Some(vip) = value(&service.address) else { continue };
        if !matches!(vip.ports, Ports::Range { .. }) {
            continue;
        }
        let protocol = value(&service.protocol).unwrap_or(Protocol::Tcp);
        let others = ranges.entry((vip.address, protocol)).or_default();
        let overlap = others.iter().find_map(|other| {
            let theirs = other.address.as_ref()?;
            let is = theirs.get_ref().ports;
            (is != vip.ports && is.overlaps(vip.ports)).then_some((other, theirs))
        });
        if let (Some((other, theirs)), Some(own)) = (overlap, &service.address) {
            let message = format!("{vip} and {}, {theirs}, have ports in common", other.called());
            let help = "ranges that do not overlap; one port may lie in a range, and a range in *";
            report.error(own.span(), message).help(help).also(theirs.span(), "the other range");
        }
        others.push(service);
    }
}

/// An address is a service's, a node's, or this host's.
fn owners(raw: &Raw, report: &mut Report) {
    let mut owners: BTreeMap<IpAddr, (&str, &'static str, Span)> = BTreeMap::new();
    for node in raw.clusters.iter().flat_map(raw::Cluster::nodes) {
        if let Some(at) = &node.address {
            owners.entry(*at.get_ref()).or_insert(("a node", "the node", at.span()));
        }
    }
    for vip in raw.services.iter().filter_map(|service| service.address.as_ref()) {
        let address = vip.get_ref().address;
        match owners.entry(address) {
            Entry::Occupied(entry) if entry.get().0 == "a node" => {
                let message = format!("{address} is also the address of a node");
                let help = "a service needs an address that is no node's own";
                report
                    .error(vip.span(), message)
                    .help(help)
                    .also(entry.get().2.clone(), "the node");
            }
            Entry::Occupied(_) => {}
            Entry::Vacant(entry) => {
                entry.insert(("a service", "the service", vip.span()));
            }
        }
    }
    for interface in &raw.interfaces {
        let v4 = interface.address.as_ref().map(|at| (IpAddr::V4(*at.get_ref()), at.span()));
        let v6 = interface.address6.as_ref().map(|at| (IpAddr::V6(*at.get_ref()), at.span()));
        for (address, place) in v4.into_iter().chain(v6) {
            if let Some((owner, label, span)) = owners.get(&address) {
                let message = format!("{address} is also the address of {owner}");
                let help = "this host's own: tunnels to the nodes come from it";
                report.error(place, message).help(help).also(span.clone(), label);
            }
        }
    }
}
