//! Settings of how connections are kept that change nothing where they stand.

use std::time::Duration;

use toml::Spanned;

use super::value;
use crate::config::{
    raw::{self, Raw},
    report::Report,
    types::{Cluster, Config, Udp},
};

pub(super) fn check(raw: &Raw, config: &Config, report: &mut Report) {
    if let Some(drain) = &raw.lb.drain
        && raw.clusters.iter().all(|cluster| cluster.drain.is_some())
    {
        let message = "drain: without effect, since every cluster has its own";
        report.warning(drain.span(), message).help("leave it out");
    }
    if let Some(pins) = &raw.lb.pins
        && config.clusters.iter().all(|cluster| cluster.drain.is_zero())
    {
        let message = "pins: without effect, since every cluster has drain = \"0s\"";
        report.warning(pins.span(), message).help("leave it out, or give a cluster a drain limit");
    }
    for raw in &raw.clusters {
        let name = value(&raw.name).unwrap_or_default();
        if let Some(index) = config.clusters.iter().position(|cluster| cluster.name == name) {
            cluster(raw, config, index, report);
        }
    }
    for raw in &raw.services {
        let name = value(&raw.name).unwrap_or_default();
        let Some(service) = config.services.iter().find(|service| service.name == name) else {
            continue;
        };
        let moves = |cluster: usize| config.clusters[cluster].drain.is_zero();
        if let Some(udp) = &raw.udp
            && service.udp != Udp::Rehash
            && service.members().all(|member| moves(member.cluster))
        {
            let message = "udp: without effect, since every cluster here has drain = \"0s\"";
            let help = "leave it out, or give the clusters a drain limit";
            report.warning(udp.span(), message).help(help);
        }
    }
}

fn cluster(raw: &raw::Cluster, config: &Config, index: usize, report: &mut Report) {
    let Cluster { drain, drain_hard, nodes, .. } = &config.clusters[index];
    if let Some(hard) = raw.drain_hard.as_ref().filter(|_| *drain_hard && drain.is_zero()) {
        let message = "drain_hard: without effect, since drain is \"0s\": everything moves at once";
        report.warning(hard.span(), message).help("leave it out, or set a drain limit");
    }
    let counts = |time: &Option<Spanned<Duration>>| value(time).filter(|t| !t.is_zero()).is_some();
    let alone = config.services.iter().all(|service| {
        let is_in = service.members().any(|member| member.cluster == index);
        !is_in || service.members().filter(|member| member.weight > 0).count() < 2
    });
    if let Some(ramp) = raw.ramp.as_ref().filter(|_| alone && counts(&raw.ramp)) {
        let message = "ramp: without effect, since no other cluster serves where this one does";
        report.warning(ramp.span(), message).help("leave it out");
    }
    let alone = nodes.iter().filter(|node| node.weight > 0).count() < 2;
    if let Some(slow) = raw.slow_start.as_ref().filter(|_| alone && counts(&raw.slow_start)) {
        let message = "slow_start: without effect, since no other node of the cluster serves";
        report.warning(slow.span(), message).help("leave it out");
    }
}
