//! What is legal and unwise. Nothing here changes whether a configuration is taken.

use toml::Spanned;

use super::value;
use crate::config::{
    raw::{self, Raw},
    report::Report,
    types::{
        BackupMode, Balance, Cluster, Config, Failback, Fallback, Health, Member, Probe, Service,
    },
};

pub(super) fn check(raw: &Raw, config: &Config, report: &mut Report) {
    if config.lb.secret.is_none() {
        let message = "no secret: this load balancer makes one of its own";
        let help = "several that share traffic need the same: [lb] secret = \"…\", 32 hex digits \
                    from `openssl rand -hex 16`";
        report.warning(raw.lb.place.clone(), message).help(help);
    }
    let is_survey = |health: &Health| matches!(health.probe, Probe::Survey(_));
    let own = config.services.iter().filter_map(|service| service.health.as_ref());
    let mut checks = config.clusters.iter().map(|cluster| &cluster.health).chain(own);
    if let Some(key) = &raw.lb.survey_key
        && !checks.any(is_survey)
    {
        let message = "survey_key: without effect, since no check is a survey";
        report.warning(key.span(), message).help("leave it out, or use kind = \"survey\"");
    }
    let healths = raw.clusters.iter().map(|cluster| &cluster.health);
    let healths = healths.chain(raw.services.iter().map(|service| &service.health));
    healths.flatten().for_each(|health| silence(health, report));
    for raw in &raw.clusters {
        let name = value(&raw.name).unwrap_or_default();
        if let Some(index) = config.clusters.iter().position(|cluster| cluster.name == name) {
            threshold(raw, &config.clusters[index], report);
            usage(raw, config, index, report);
        }
    }
    for raw in &raw.services {
        let name = value(&raw.name).unwrap_or_default();
        if let Some(service) = config.services.iter().find(|service| service.name == name) {
            standbys(raw, config, service, report);
            no_effect(raw, service, report);
        }
    }
}

/// A host that is dead is as silent as a server with nothing to say.
fn silence(health: &raw::Health, report: &mut Report) {
    if let Some(Probe::Udp(exchange)) = &health.probe
        && exchange.expect.is_none()
    {
        let message = "silence counts as a hit: only a port that refuses is found, no dead host";
        let help =
            "add expect = \"…\", what the answer contains, and send = \"…\", what asks for it";
        report.warning(health.place.clone(), message).help(help);
    }
}

fn counted(cluster: &Cluster) -> u32 {
    cluster.nodes.iter().filter(|node| node.weight > 0).count() as u32
}

fn threshold(raw: &raw::Cluster, cluster: &Cluster, report: &mut Report) {
    let (total, name) = (counted(cluster), &cluster.name);
    let needed = cluster.threshold.needed(total);
    if total > 1 && needed == total {
        let given = raw.min_survival_ratio.as_ref().map(Spanned::span);
        let given = given.or(raw.min_survivors.as_ref().map(Spanned::span));
        let message =
            format!("one dead node makes cluster \"{name}\" fail: {needed} of {total} needed");
        let help = format!("a threshold that {} of {total} nodes reach", total - 1);
        report.warning(given.unwrap_or(raw.place.clone()), message).help(help);
    }
    if let Some(max) = &raw.failback_max
        && !matches!(cluster.failback, Failback::After { .. })
    {
        let message = "failback_max: without effect";
        report.warning(max.span(), message).help("it limits a timed failback, like \"60s\"");
    }
}

fn usage(raw: &raw::Cluster, config: &Config, index: usize, report: &mut Report) {
    let cluster = &config.clusters[index];
    let uses = |service: &Service| service.members().any(|member| member.cluster == index);
    if !config.services.iter().any(uses) {
        let message = format!("no service uses cluster \"{}\"", cluster.name);
        report.warning(raw.place.clone(), message).help("name it in a service, or remove it");
    }
}

fn standbys(raw: &raw::Service, config: &Config, service: &Service, report: &mut Report) {
    let nodes = |member: &Member| counted(&config.clusters[member.cluster]);
    let place = || raw.standbys.as_ref().map_or(raw.place.clone(), Spanned::span);
    for (member, raw) in service.standbys.iter().zip(raw.standbys()) {
        if member.weight == 0 {
            let name = &config.clusters[member.cluster].name;
            let message = format!("standby \"{name}\" has weight 0: it never carries anything");
            let place = raw.cluster.as_ref().map_or_else(place, Spanned::span);
            report.warning(place, message).help("give it a weight above 0");
        }
    }
    let useful = || service.standbys.iter().filter(|member| member.weight > 0);
    let Some(best) = useful().map(|member| member.priority).max() else { return };
    let first_tier: u32 = useful().filter(|member| member.priority == best).map(nodes).sum();
    let masters = service.masters.iter().filter(|member| member.weight > 0);
    let Some(largest) = masters.max_by_key(|member| nodes(member)) else { return };
    if first_tier < nodes(largest) {
        let message = format!(
            "the standby side of service \"{}\" is smaller than a master it may carry: {} against \
             the {} of \"{}\"",
            service.name,
            many(first_tier),
            many(nodes(largest)),
            config.clusters[largest.cluster].name
        );
        report.warning(place(), message).help("as many nodes as the largest master has");
    }
}

fn many(nodes: u32) -> String {
    if nodes == 1 { "1 node".to_owned() } else { format!("{nodes} nodes") }
}

/// Settings that change nothing where they stand.
fn no_effect(raw: &raw::Service, service: &Service, report: &mut Report) {
    if let Some(fallback) = &raw.fallback
        && service.fallback == Fallback::LastResort
        && service.standbys.is_empty()
    {
        let message = "fallback: \"last-resort\" without a standby is the same as \"masters\"";
        report.warning(fallback.span(), message).help("write \"masters\", or add a standby");
    }
    let shares = matches!(service.mode, BackupMode::MultiStandby | BackupMode::MultiMaster);
    if let Some(balance) = &raw.balance
        && service.balance == Balance::Equal
        && !shares
    {
        let message =
            "balance: \"equal\" without effect, since no two clusters share what they carry";
        report.warning(balance.span(), message).help("leave it out");
    }
}
