//! The load: what the client of the lab asks, and what it saw.
//!
//! Three kinds, all from the client's namespace, on one thread: new requests at a steady rate;
//! a fixed set of flows asked over and over, so that the node of each exact 5-tuple is known at
//! every time, whether it ended by a close or a reset; and connections that stay.

mod ask;
mod flows;
mod lasting;
mod log;
mod requests;

use std::{sync::Arc, time::Duration};

use anyhow::Result;

pub use ask::TIMEOUT;
pub use lasting::Held;
pub use log::{Answered, Break, Failure, How, Kind, Lasting, Log, Outcome, Sample};

use crate::{background::Background, netns, topology::Topology};

/// How much is asked.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// New requests a second, whatever becomes of those before.
    pub requests: u32,
    /// Flows that are asked over and over.
    pub flows: u16,
    /// Time between two requests of one such flow.
    pub flow_period: Duration,
    /// Connections that stay.
    pub held: Held,
}

impl Default for Rates {
    fn default() -> Self {
        Self::of(2000)
    }
}

impl Rates {
    /// So many new requests a second, and the rest in proportion.
    #[must_use]
    pub fn of(requests: u32) -> Self {
        let part = |per_mille: u32, most| (requests * per_mille / 1000).clamp(30, most) as u16;
        Self {
            requests,
            flows: part(150, 300),
            flow_period: Duration::from_millis(600),
            held: Held::talking(part(75, 150), Duration::from_millis(100)),
        }
    }
}

/// The running load. Dropping it stops it.
#[derive(Debug)]
pub struct Load {
    /// What it saw so far.
    pub log: Arc<Log>,
    _background: Background,
}

impl Load {
    /// Starts it in the client's namespace.
    ///
    /// # Errors
    /// If the namespace cannot be entered or the runtime started.
    pub fn start(topology: &Topology, rates: Rates) -> Result<Self> {
        let log = Arc::new(Log::default());
        let (namespace, seen) = (topology.client.path(), Arc::clone(&log));
        let (variant, deaths) = (topology.variant, topology.deaths.clone());
        let background = Background::start("load", move || {
            // Sockets belong to the namespace that their thread is in.
            netns::enter(&namespace)?;
            tokio::spawn(requests::steady(Arc::clone(&seen), variant, rates));
            flows::spawn(&seen, variant, rates);
            lasting::spawn(&seen, variant, &deaths, rates.held);
            Ok(())
        })?;
        Ok(Self { log, _background: background })
    }
}
