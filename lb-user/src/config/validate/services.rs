//! What the values of a service, and those of all services together, must keep to.

use std::collections::BTreeMap;

use super::{ByName, called, unique_names, value};
use crate::config::{
    raw::{self, Member, Raw, Service},
    reader::nearest,
    report::{Report, Span},
    types::{BackupMode, Protocol},
};

pub(super) fn check(raw: &Raw, clusters: &ByName<'_>, report: &mut Report) {
    unique_names(report, "services", raw.services.iter().filter_map(|s| s.name.as_ref()));
    for service in &raw.services {
        members(service, clusters, report);
        shape(service, report);
        weights(service, clusters, report);
        datagrams(service, report);
    }
}

impl Service {
    pub(super) fn masters(&self) -> &[Member] {
        self.masters.as_ref().map_or(&[], |list| list.get_ref())
    }

    pub(super) fn standbys(&self) -> &[Member] {
        self.standbys.as_ref().map_or(&[], |list| list.get_ref())
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &Member> {
        self.masters().iter().chain(self.standbys())
    }

    /// Whether a cluster is one of its masters or standbys.
    pub(super) fn has(&self, cluster: &raw::Cluster) -> bool {
        let Some(cluster) = &cluster.name else { return false };
        let mut names = self.members().filter_map(|member| member.cluster.as_ref());
        names.any(|name| name.get_ref() == cluster.get_ref())
    }

    /// Its name, for messages.
    pub(super) fn called(&self) -> String {
        called("service", &self.name)
    }
}

fn members(service: &Service, clusters: &ByName<'_>, report: &mut Report) {
    let mut seen: BTreeMap<&str, (Span, bool)> = BTreeMap::new();
    let masters = service.masters().iter().map(|member| (member, true));
    let standbys = service.standbys().iter().map(|member| (member, false));
    for (member, is_master) in masters.chain(standbys) {
        let Some(cluster) = &member.cluster else { continue };
        let name = cluster.get_ref().as_str();
        if !clusters.contains_key(name) {
            let help = match nearest(name, clusters.keys().copied()) {
                Some(known) => format!("did you mean \"{known}\"?"),
                None => format!(
                    "add a [[cluster]] with name = \"{name}\"; there are {}",
                    some(clusters)
                ),
            };
            report.error(cluster.span(), format!("there is no cluster \"{name}\"")).help(help);
        }
        let Some((first, was_master)) = seen.get(name) else {
            seen.insert(name, (cluster.span(), is_master));
            continue;
        };
        let service = service.called();
        let (message, help) = if *was_master == is_master {
            (format!("\"{name}\" is twice in one list of {service}"), "name it once")
        } else {
            let help = "in one service a cluster is a master or a standby, not both";
            (format!("\"{name}\" is master and standby of {service}"), help)
        };
        report.error(cluster.span(), message).help(help).also(first.clone(), "the first one");
    }
}

/// The first few names.
fn some(clusters: &ByName<'_>) -> String {
    let names: Vec<_> = clusters.keys().take(8).copied().collect();
    match clusters.len() {
        0 => "none".to_owned(),
        count if count > names.len() => format!("{}, …", names.join(", ")),
        _ => names.join(", "),
    }
}

/// Whether the backup mode fits the number of masters and standbys.
fn shape(service: &Service, report: &mut Report) {
    let (masters, standbys) = (service.masters().len(), service.standbys().len());
    if masters == 0 {
        return; // noted when it was read
    }
    let have = format!("{} and {}", count(masters, "master"), count(standbys, "standby"));
    let modes = [
        BackupMode::OneStandby,
        BackupMode::MultiStandby,
        BackupMode::MultiMaster,
        BackupMode::None,
    ];
    let fitting = modes.into_iter().filter(|mode| fits(*mode, masters, standbys));
    let fitting: Vec<_> = fitting.map(|mode| format!("backup = \"{}\"", mode.name())).collect();
    let fitting = match fitting.is_empty() {
        true => format!("no mode fits {have}: several standbys need several masters"),
        false => format!("with {have}: {}", fitting.join(" or ")),
    };
    match &service.backup {
        None if service.has_backup || (masters, standbys) == (1, 0) => {}
        None => {
            let message = format!("{} has {have}, and `backup` is missing", service.called());
            report.error(service.place.clone(), message).help(fitting);
        }
        Some(mode) if fits(*mode.get_ref(), masters, standbys) => {}
        Some(mode) => {
            let needs = match mode.get_ref() {
                BackupMode::OneStandby => "at least 1 master and exactly 1 standby",
                BackupMode::MultiStandby => "at least 2 masters and 2 standbys",
                BackupMode::MultiMaster => "at least 2 masters and no standby",
                BackupMode::None => "masters only, no standby",
            };
            let word = mode.get_ref().name();
            let message = format!("backup: \"{word}\" needs {needs}; here are {have}");
            report.error(mode.span(), message).help(fitting);
        }
    }
}

/// Only datagrams leave open what is one flow.
fn datagrams(service: &Service, report: &mut Report) {
    if let Some(udp) = &service.udp
        && (value(&service.protocol) == Some(Protocol::Tcp) || !service.has_protocol)
    {
        let message = format!("udp: {} is by TCP", service.called());
        let help = "leave it out: what becomes of TCP connections follows from drain; or add \
                    protocol = \"udp\"";
        report.error(udp.span(), message).help(help);
    }
}

fn fits(mode: BackupMode, masters: usize, standbys: usize) -> bool {
    match mode {
        BackupMode::OneStandby => standbys == 1,
        BackupMode::MultiStandby => masters >= 2 && standbys >= 2,
        BackupMode::MultiMaster => masters >= 2 && standbys == 0,
        BackupMode::None => standbys == 0,
    }
}

fn count(number: usize, what: &str) -> String {
    match (number, what) {
        (0, _) => format!("no {what}"),
        (1, _) => format!("1 {what}"),
        (_, "standby") => format!("{number} standbys"),
        _ => format!("{number} {what}s"),
    }
}

fn weights(service: &Service, clusters: &ByName<'_>, report: &mut Report) {
    let is_zero = |member: &Member| {
        let cluster =
            member.cluster.as_ref().and_then(|name| clusters.get(name.get_ref().as_str()));
        let of_cluster = || cluster.and_then(|cluster| value(&cluster.weight));
        value(&member.weight).or_else(of_cluster) == Some(0)
    };
    let Some(masters) = service.masters.as_ref().filter(|list| !list.get_ref().is_empty()) else {
        return;
    };
    if masters.get_ref().iter().all(is_zero) {
        let message = format!("all masters of {} have weight 0", service.called());
        report.error(masters.span(), message).help("give one of them a weight above 0");
    }
}
