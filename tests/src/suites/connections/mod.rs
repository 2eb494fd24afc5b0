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
    Case::network("connections/node-death-and-return", failures::node_death_and_return),
    Case::network("connections/cluster-failure-and-return", failures::cluster_failure_and_return),
    Case::network("connections/cluster-flap", failures::cluster_flap),
    Case::network("connections/ramp", failures::ramp),
    Case::network("connections/overlapping", failures::overlapping),
    Case::network("connections/drain-cluster", drains::drain_cluster),
    Case::network("connections/drain-eight-thousand", drains::drain_eight_thousand),
    Case::network("connections/drain-and-undrain", drains::drain_and_undrain),
    Case::network("connections/maintain", drains::maintain),
    Case::network("connections/drain-hard", drains::drain_hard),
    Case::network("connections/steady-again", drains::steady_again),
    Case::network("connections/nodes-added-and-removed", reloads::nodes_added_and_removed),
    Case::network("connections/clusters-added-and-removed", reloads::clusters_added_and_removed),
    Case::network("connections/addresses-change", reloads::addresses_change),
    Case::network("connections/mode-changes", reloads::mode_changes),
    Case::network("connections/service-added-and-removed", reloads::service_added_and_removed),
    Case::network("connections/200-reloads-of-weights", reloads::two_hundred),
    Case::network("connections/kill-9", daemons::kill_9),
    Case::network("connections/plan-lost", daemons::plan_lost),
    Case::network("connections/start-with-changes", daemons::start_with_changes),
    Case::network(
        "connections/second-daemon-stop-and-upgrade",
        daemons::second_daemon_stop_and_upgrade,
    ),
    Case::network("connections/syn-flood", floods::syn),
    Case::network("connections/ack-flood", floods::ack),
];
