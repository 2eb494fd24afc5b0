//! New requests at a steady rate: those that hang do not hold up those that follow, so every
//! moment of a failure is sampled alike.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Semaphore,
    time::{MissedTickBehavior, interval},
};

use super::{Kind, Log, Rates, ask::ask};
use crate::variant::Variant;

/// Requests are sent in small bunches, this often.
const TICK: Duration = Duration::from_millis(5);

/// How many may be under way; more are not sent.
const UNDER_WAY: usize = 8192;

/// Asks for as long as it is polled.
pub(super) async fn steady(log: Arc<Log>, variant: Variant, rates: Rates) {
    let under_way = Arc::new(Semaphore::new(UNDER_WAY));
    let mut ticks = interval(TICK);
    // A machine that is too slow gets fewer, not a burst afterwards.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut credit = Duration::ZERO;
    loop {
        ticks.tick().await;
        credit += TICK * rates.requests;
        while credit >= Duration::from_secs(1) {
            credit -= Duration::from_secs(1);
            let Ok(permit) = Arc::clone(&under_way).try_acquire_owned() else {
                continue;
            };
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                let sample = ask(Kind::New, variant).await;
                log.samples().push(sample);
                drop(permit);
            });
        }
    }
}
