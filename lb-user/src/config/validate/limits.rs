//! What the maps can take.

use std::collections::BTreeSet;

use lb_common::layout::{
    CHUNK_SHIFT, MAX_CHUNKS, MAX_CLUSTERS, MAX_NODES, MAX_SERVICES, table_log2,
};

use super::value;
use crate::config::{
    raw::{self, Member, Raw},
    report::{Report, Span},
    types::Panic,
};

pub(super) fn check(raw: &Raw, report: &mut Report) {
    let services = raw.services.iter().map(|service| &service.place);
    at_most(MAX_SERVICES, "services", services, "", report);
    let nodes = raw.clusters.iter().flat_map(raw::Cluster::nodes).map(|node| &node.place);
    at_most(MAX_NODES, "nodes", nodes, "", report);
    let panicking = in_panic(raw);
    let again =
        raw.clusters.iter().filter(|c| value(&c.name).is_some_and(|n| panicking.contains(&n)));
    let clusters = raw.clusters.iter().chain(again).map(|cluster| &cluster.place);
    let hint = "; masters of services with panic = \"all\" count twice";
    at_most(MAX_CLUSTERS, "clusters", clusters, hint, report);
    chunks(raw, &panicking, report);
}

/// Names of clusters that need a second table, of all their nodes.
fn in_panic(raw: &Raw) -> BTreeSet<String> {
    let services = raw.services.iter().filter(|s| value(&s.panic) == Some(Panic::All));
    services.flat_map(|service| service.masters()).filter_map(|m| value(&m.cluster)).collect()
}

fn at_most<'a>(
    limit: u32,
    what: &str,
    mut places: impl Iterator<Item = &'a Span>,
    hint: &str,
    report: &mut Report,
) {
    if let Some(place) = places.nth(limit as usize) {
        let message = format!("more than {limit} {what}");
        report.error(place.clone(), message).help(format!("at most {limit} {what}{hint}"));
    }
}

/// Whether one plan fits the slot memory, and whether the next one fits beside it. Services of one
/// shape share a table.
fn chunks(raw: &Raw, panicking: &BTreeSet<String>, report: &mut Report) {
    let key =
        |member: &Member| (value(&member.cluster), value(&member.weight), value(&member.priority));
    let shapes: BTreeSet<_> = raw
        .services
        .iter()
        .map(|service| {
            let masters: BTreeSet<_> = service.masters().iter().map(key).collect();
            let standbys: BTreeSet<_> = service.standbys().iter().map(key).collect();
            let policies = [
                value(&service.backup).map(|mode| mode as u8),
                value(&service.balance).map(|balance| balance as u8),
                value(&service.fallback).map(|fallback| fallback as u8),
                value(&service.panic).map(|panic| panic as u8),
            ];
            (masters, standbys, policies)
        })
        .collect();
    let services = shapes.iter().map(|(masters, standbys, _)| masters.len() + standbys.len());
    let again =
        raw.clusters.iter().filter(|c| value(&c.name).is_some_and(|n| panicking.contains(&n)));
    let clusters = raw.clusters.iter().chain(again).map(|cluster| cluster.nodes().len());
    let chunks: u64 = services.chain(clusters).map(table_chunks).sum();
    let message = format!("the tables need {chunks} chunks of memory, there are {MAX_CHUNKS}");
    let help =
        "fewer members in services, or more services with the same ones (they share a table)";
    if chunks > u64::from(MAX_CHUNKS) {
        report.error(0..0, message).help(help);
    } else if chunks > u64::from(MAX_CHUNKS / 2) {
        let message = format!("{message}: a change of all of them at once has no room beside them");
        report.warning(0..0, message).help(help);
    }
}

fn table_chunks(members: usize) -> u64 {
    1 << (table_log2(members) - CHUNK_SHIFT)
}
