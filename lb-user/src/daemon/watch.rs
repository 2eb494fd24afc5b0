//! Watches the nodes: when each is checked, and where outcomes go.

use std::time::Duration;

use lb_common::NodeId;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender},
    task::JoinSet,
    time::{self, Instant},
};

use crate::{
    config::{Config, ProbeKind},
    decide::Event,
    probe,
};

/// The first checks of all nodes are spread over so much time.
const FIRST_CHECKS: Duration = Duration::from_millis(100);

/// Starts the checks of all nodes, each with a phase of its own; they end when `send` says so.
pub(super) fn start_probes(
    config: &Config,
    watchers: &mut JoinSet<()>,
    send: impl Fn(Event) -> bool + Clone + Send + 'static,
) {
    let clusters = config.clusters.iter().enumerate();
    let nodes = clusters.flat_map(|(i, c)| c.nodes.iter().map(move |node| (i, c, node)));
    for (index, (position, cluster, node)) in nodes.enumerate() {
        let Some(id) = NodeId::new(index) else { continue };
        // Without a service to serve nobody needs to know how the cluster's nodes are.
        let Some(port) = config.health_port(position, node) else { continue };
        let (health, send) = (cluster.health.clone(), send.clone());
        let target = (node.address, port).into();
        watchers.spawn(async move {
            // A phase of its own spreads the checks over the interval, the first ones over less:
            // the first plan waits for them.
            let spread = |over: Duration| {
                let over = over.as_nanos() as u64;
                Duration::from_nanos(lb_common::hash::mix(index as u64 + 1) % over)
            };
            let start = Instant::now();
            let mut next = start + spread(health.interval);
            time::sleep_until(start + spread(FIRST_CHECKS.min(health.interval))).await;
            loop {
                let outcome = match health.kind {
                    ProbeKind::Tcp => probe::tcp(target, health.timeout).await,
                };
                if !send(Event::Checked { node: id, outcome }) {
                    return;
                }
                time::sleep_until(next).await;
                // Checks that were missed, by a pause of this host, are not made up for in a burst:
                // misses in a row mean misses over time.
                next = (next + health.interval).max(Instant::now());
            }
        });
    }
}

/// Passes values on from one channel to another until either is gone.
pub(super) async fn pass_on<T, U>(
    mut from: UnboundedReceiver<T>,
    to: UnboundedSender<U>,
    wrap: impl Fn(T) -> U,
) {
    while let Some(value) = from.recv().await {
        if to.send(wrap(value)).is_err() {
            return;
        }
    }
}
