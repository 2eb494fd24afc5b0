//! Watches the targets: when each is checked, and where outcomes go.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender},
    task::JoinSet,
    time::{self, Instant},
};

use crate::{
    config::Target,
    decide::{Event, TargetId},
    probe::Prober,
};

/// The first checks of all targets are spread over so much time.
const FIRST_CHECKS: Duration = Duration::from_millis(100);

/// Starts the checks of all targets, each with a phase of its own; they end when `send` says so.
pub(super) fn start_probes(
    targets: &[Target],
    watchers: &mut JoinSet<()>,
    send: impl Fn(Event) -> bool + Clone + Send + 'static,
) {
    let prober = match Prober::new(targets) {
        Ok(prober) => Arc::new(prober),
        Err(error) => return tracing::error!("nothing is checked: {error}"),
    };
    for (id, target) in (0..).zip(targets) {
        let (prober, target, send) = (Arc::clone(&prober), target.clone(), send.clone());
        watchers.spawn(async move {
            let health = &target.health;
            // A phase of its own spreads the checks over the interval, the first ones over less:
            // the first plan waits for them.
            let spread = |over: Duration| {
                let over = over.as_nanos() as u64;
                Duration::from_nanos(lb_common::hash::mix(u64::from(id) + 1) % over)
            };
            let start = Instant::now();
            let mut next = start + spread(health.interval);
            time::sleep_until(start + spread(FIRST_CHECKS.min(health.interval))).await;
            loop {
                let outcome = prober.check(&target).await;
                if !send(Event::Checked { target: TargetId(id), outcome }) {
                    return;
                }
                next = due(next, Instant::now(), health.interval);
                time::sleep_until(next).await;
                next += health.interval;
            }
        });
    }
}

/// When the next check is due that was planned for a time. Checks that a pause of this host made
/// miss their time are not made up for in a burst: misses in a row mean misses over time.
fn due(planned: Instant, now: Instant, interval: Duration) -> Instant {
    if planned + interval <= now { now + interval } else { planned }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_not_followed_by_a_burst() {
        let interval = Duration::from_millis(1000);
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        assert_eq!(due(at(1000), at(400), interval), at(1000), "in time");
        assert_eq!(due(at(1000), at(1002), interval), at(1000), "a little late: at once");
        // After a pause of more than an interval: one check an interval again, from now on.
        let (mut planned, mut now, mut checks) = (at(1000), at(9000), 0);
        while now < at(12_500) {
            now = now.max(due(planned, now, interval));
            planned = due(planned, now, interval) + interval;
            checks += 1;
        }
        assert!(checks <= 4, "{checks} checks in 3.5 s");
    }
}
