//! A configuration in force: the state that decides, and the maps of a loaded program.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use lb_common::{
    HashAlgorithm,
    pin::{PinBucket, Tick},
};
use lb_ebpf::Action;
use lb_user::{
    config,
    dataplane::memory::Memory,
    decide::{Event, Intent, MissReason, NextHop, Outcome, State},
};

use super::Shape;
use crate::{
    bench::published,
    pipeline::{KernelRunner, frames, run_repeated, world::INGRESS},
};

/// Longer than windows are open.
const LONG: Duration = Duration::from_secs(3600);

/// A state, and a program with maps of its own. The state's time is not the world's: windows close
/// when they are told to.
pub struct Bed {
    pub state: State,
    pub runner: KernelRunner,
    shape: Shape,
    now: Duration,
    flows: u32,
}

impl Bed {
    /// Nothing is known of any node, and no plan is in force.
    pub fn new(shape: Shape) -> Result<Self> {
        let config = config::parse(&shape.text(), "benchmark").context("the configuration")?;
        let state = State::new(Arc::new(config.config), Duration::ZERO);
        let runner = KernelRunner::new(&Intent::default(), HashAlgorithm::default())?;
        Ok(Self { state, runner, shape, now: Duration::from_secs(1), flows: 0 })
    }

    /// The maps.
    pub fn memory(&self) -> Arc<Memory> {
        Arc::clone(self.runner.opened.dataplane.memory())
    }

    /// All nodes answer: the first plan.
    pub fn first(&mut self) -> Result<Arc<Intent>> {
        let nodes = 0..self.shape.nodes();
        let mut events =
            nodes.clone().map(|node| self.resolved(node)).collect::<Result<Vec<_>>>()?;
        for node in nodes {
            events.push(self.checked(node, true)?);
        }
        self.decide(&events)
    }

    /// The plan that the state makes of events.
    pub fn decide(&mut self, events: &[Event]) -> Result<Arc<Intent>> {
        self.step(events)?.context("no plan came of it")
    }

    fn step(&mut self, events: &[Event]) -> Result<Option<Arc<Intent>>> {
        published(self.state.step(self.now, events))
    }

    /// The event that a node answers, or no longer does.
    pub fn checked(&self, node: usize, answers: bool) -> Result<Event> {
        let model = self.state.view().model;
        let place = model.nodes.get(node).context("a node")?;
        let pool = model.pool(model.pools_of(place.cluster).start);
        let target = *pool.targets.get(place.index).context("a target")?;
        let outcome = match answers {
            true => Outcome::Hit,
            false => Outcome::Miss(MissReason::Timeout),
        };
        Ok(Event::Checked { target, outcome })
    }

    fn resolved(&self, node: usize) -> Result<Event> {
        let id = self.state.view().model.ids.node(node).context("a node's id")?;
        let hop = NextHop {
            ifindex: INGRESS,
            src_mac: frames::LB_MAC,
            dst_mac: mac(node),
            mtu: 1500,
            tags: [0; 2],
            source: None,
        };
        Ok(Event::Resolved { node: id, hop: Some(hop) })
    }

    /// The plan once all windows have closed and nobody's connections are elsewhere: no slot has moved.
    pub fn settled(&mut self) -> Result<Arc<Intent>> {
        self.now += LONG;
        // No plan comes of it where no window was open.
        self.step(&[])?;
        let memory = self.memory();
        for bucket in 0..memory.pins.len() {
            if memory.pins.get(bucket) != Some(PinBucket::default()) {
                memory.pins.set(bucket, PinBucket::default());
            }
        }
        let sweep = self.state.sweep().context("a plan")?;
        let (swept, _) = sweep.judge(std::iter::empty::<((), _)>(), Tick::at(0));
        self.decide(&[Event::Swept(Arc::new(swept))])
    }

    /// The first packet of a connection to a service that no packet was of before.
    pub fn flow(&mut self, service: usize) -> Vec<u8> {
        self.flows += 1;
        let [_, a, b, c] = (self.flows >> 15).to_be_bytes();
        // Ports from 0x8000 on: none is zero.
        let port = 0x8000 | (self.flows & 0x7fff) as u16;
        frames::tcp(([11, a, b, c], port), (self.shape.vip(service), 80))
    }

    /// The node that a frame is sent to.
    pub fn owner(&self, frame: &[u8]) -> Result<usize> {
        let ((action, sent), _) = run_repeated(&self.runner.opened.ebpf, frame, 1)?;
        ensure!(action == Action::Tx, "a frame for a service ended so: {action:?}");
        node(&sent).context("a frame to nobody's MAC")
    }
}

/// A node's MAC address.
fn mac(node: usize) -> [u8; 6] {
    let [high, low] = (node as u16).to_be_bytes();
    [2, 0xbe, 0, 0, high, low]
}

/// The node whose MAC a frame is sent to.
fn node(frame: &[u8]) -> Option<usize> {
    match frame.get(..6)? {
        [2, 0xbe, 0, 0, high, low] => Some(usize::from(u16::from_be_bytes([*high, *low]))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_tell_their_node() {
        for number in [0, 255, 256, 4095] {
            assert_eq!(node(&mac(number)), Some(number));
        }
        assert_eq!(node(&frames::LB_MAC), None);
        assert_eq!(node(&[2, 0xbe]), None);
    }
}
