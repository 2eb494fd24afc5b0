//! No connection breaks but with its node: whatever happens to nodes, clusters, the configuration and
//! the daemon itself. And no new one fails, but on a dead node that is not yet missed.

mod daemons;
mod drains;
mod failures;
mod floods;
mod reloads;
mod scene;

use crate::runner::Case;

/// The cases.
pub(super) const CASES: &[Case] = &[
    Case::network("connections/node-death", failures::node_death),
    Case::network("connections/node-return", failures::node_return),
    Case::network("connections/cluster-failure", failures::cluster_failure),
    Case::network("connections/cluster-return", failures::cluster_return),
    Case::network("connections/cluster-flap", failures::cluster_flap),
    Case::network("connections/ramp", failures::ramp),
    Case::network("connections/overlapping", failures::overlapping),
    Case::network("connections/drain", drains::drain),
    Case::network("connections/drain-cluster", drains::drain_cluster),
    Case::network("connections/drain-eight-thousand", drains::drain_eight_thousand),
    Case::network("connections/undrain", drains::undrain),
    Case::network("connections/maintain", drains::maintain),
    Case::network("connections/drain-hard", drains::drain_hard),
    Case::network("connections/steady-again", drains::steady_again),
    Case::network("connections/weight-change", reloads::weight_change),
    Case::network("connections/node-added", reloads::node_added),
    Case::network("connections/node-removed", reloads::node_removed),
    Case::network("connections/service-added", reloads::service_added),
    Case::network("connections/200-reloads", reloads::two_hundred),
    Case::network("connections/kill-9", daemons::kill_9),
    Case::network("connections/plan-lost", daemons::plan_lost),
    Case::network("connections/stop-and-start", daemons::stop_and_start),
    Case::network("connections/start-with-changes", daemons::start_with_changes),
    Case::network("connections/upgrade", daemons::upgrade),
    Case::network("connections/second-daemon", daemons::second),
    Case::network("connections/syn-flood", floods::syn),
    Case::network("connections/ack-flood", floods::ack),
];
