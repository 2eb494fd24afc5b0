//! What is said, and warned of, when the daemon comes up.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::time;
use tracing::{error, info, warn};

use super::{events::Events, saved::Begin};
use crate::{
    config::Config,
    dataplane::{self, Opened, attach::Attached},
    nexthop,
};

/// How often the program's own log, if it has one, is read.
const LOG_POLL: Duration = Duration::from_millis(200);

/// Allows this process as many descriptors as it may have: each check takes one.
pub(super) fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        warn!("cannot raise the limit of open files, checks may fail: {error}");
    }
}

/// Takes back what a start did that failed later; an earlier daemon's work stays.
pub(super) fn undo(config: &Config, adopted: bool) {
    if !adopted && let Err(left) = dataplane::detach(&config.lb.bpffs) {
        error!("cannot undo the start: {left}");
    }
}

/// Says how the program came to each interface, and warns if another number of `pins` is in force than
/// the configuration has.
pub(super) fn report_attached(opened: &Opened, pins: u32) {
    for (target, how) in &opened.attached {
        match how {
            Attached::Native => info!("attached to {} in native mode", target.name),
            Attached::Adopted => {
                info!("adopted {}; its program was replaced in place", target.name)
            }
            Attached::Generic => warn!(
                "attached to {} in generic mode, which is slow: its driver has no native XDP, or \
                 not at this MTU",
                target.name
            ),
        }
    }
    if opened.adopted {
        info!("adopted epoch {}, which stays in force", opened.dataplane.epoch());
        let there = opened.dataplane.pins();
        if there != pins {
            warn!(
                "the map of pins in force has room for {there}, not for {pins} as the configuration \
                 says: its size changes only after `understudy detach`"
            );
        }
    }
}

/// Says what a daemon goes on from.
pub(super) fn tell(begin: &Begin, epoch: u64, events: &mut Events) {
    match &begin.told {
        None => {}
        Some(Ok(text)) => {
            info!("{text}");
            events.add(epoch, "resumed", "", text.clone());
        }
        Some(Err(lost)) => {
            let text = format!(
                "of the plan in force nothing is known but its tables: {lost}. Packets go by them \
                 until every node has been checked; then all pins are forgotten, and connections \
                 break that are elsewhere than the new plan says. Orders are forgotten, too: what was \
                 drained or in maintenance is in service again"
            );
            warn!("{text}");
            events.add(epoch, "plan_lost", "", text);
        }
    }
}

/// Warns of VIPs whose packets would not come here by themselves, once of each address.
pub(super) async fn warn_about_vips(config: &Config) {
    let mut vips: BTreeMap<IpAddr, (&str, usize)> = BTreeMap::new();
    for service in &config.services {
        vips.entry(service.address).or_insert((&service.name, 0)).1 += 1;
    }
    for (address, (first, services)) in vips {
        let services = match services {
            1 => format!("service {first}"),
            more => format!("service {first} and {} more", more - 1),
        };
        let (asks, length) =
            if address.is_ipv4() { ("ARP", 32) } else { ("neighbour discovery", 128) };
        match nexthop::is_local(address).await {
            Ok(true) => {}
            Ok(false) => warn!(
                "{services}: {address} is neither an address of this host nor routed to it: nobody \
                 here answers {asks} for it. `ip address add {address}/{length} dev lo` makes it one",
            ),
            Err(error) => warn!("cannot tell whether {address} is local: {error}"),
        }
    }
}

/// The program's own log lines, if it was built with them (feature `log`).
pub(super) fn log_of_the_program(mut ebpf: aya::Ebpf) {
    if ebpf.map("AYA_LOGS").is_none() {
        return;
    }
    match aya_log::EbpfLogger::init(&mut ebpf) {
        Ok(mut logger) => {
            tokio::spawn(async move {
                let _keep = ebpf;
                let mut again = time::interval(LOG_POLL);
                loop {
                    again.tick().await;
                    logger.flush();
                }
            });
        }
        Err(error) => warn!("the program's log cannot be read: {error}"),
    }
}
