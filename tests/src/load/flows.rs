//! The audited flows: the same 5-tuples, asked over and over.

use std::sync::Arc;

use tokio::time::sleep;

use super::{Failure, Kind, Log, Outcome, Rates, ask::ask};
use crate::variant::Variant;

/// Starts one task for each flow, spread over the period.
pub(super) fn spawn(log: &Arc<Log>, variant: Variant, rates: Rates) {
    let period = rates.flow_period;
    for flow in 0..rates.flows {
        let log = Arc::clone(log);
        let first = period * u32::from(flow) / u32::from(rates.flows);
        tokio::spawn(async move {
            sleep(first).await;
            loop {
                let sample = ask(Kind::Flow(flow), variant).await;
                // Nothing was asked; and that a flow gets no answers is seen by itself.
                if sample.outcome != Outcome::Failed(Failure::Taken) {
                    log.samples().push(sample);
                }
                // Always a pause: right after a request that got no answer, what the kernel still
                // sent for it would meet the next one, from the same port, on its way.
                sleep(period).await;
            }
        });
    }
}
