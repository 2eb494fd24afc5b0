//! What the tables are during a measurement: configurations like an operator's, decided about by the
//! daemon's own code with every node up; and windows in them.

use std::{fmt::Write, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use lb_common::{FlowHash, FlowKey, Forward, NodeId, Slot, SlotState};
use lb_user::{
    config,
    decide::{Attached, Event, Host, Intent, NextHop, Outcome, State, Table, TargetId},
};

use super::frames::{CLIENT_V4, NODE_PORT, PORT, VIP_V4, node, vip};
use crate::{
    bench::published,
    pipeline::{frames::LB_MAC, world::INGRESS},
};

/// A configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How packets get to nodes.
    pub forward: Forward,
    /// Services and nodes are of IPv6.
    pub v6: bool,
    /// Services are of UDP.
    pub udp: bool,
    /// Services, each on a port of its own.
    pub services: usize,
    /// Clusters, of which each service has two as masters if there are so many.
    pub clusters: usize,
    /// Nodes of each cluster.
    pub nodes: usize,
    /// What moved lately.
    pub moved: Moved,
}

/// Which slots of the clusters' tables moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// None.
    Nothing,
    /// All drain: their connections belong to other nodes so far.
    All,
    /// All have drained, and nobody has looked at the pins since.
    Residue,
    /// All drain but those of this flow.
    AllBut(FlowHash),
}

impl Plan {
    /// One service of IPv4 and TCP on ten nodes.
    pub const ONE: Self = Self {
        forward: Forward::Ipip,
        v6: false,
        udp: false,
        services: 1,
        clusters: 1,
        nodes: 10,
        moved: Moved::Nothing,
    };

    /// What it is to be in the maps; `out` is the interface that replies leave by.
    ///
    /// # Errors
    /// Those that are defects: the configuration is not valid, or nothing comes of it.
    pub fn intent(&self, out: u32) -> Result<Intent> {
        let config = config::parse(&self.text(), "benchmark").context("the configuration")?.config;
        let mut state = State::new(Arc::new(config), Duration::ZERO);
        let all = self.clusters * self.nodes;
        let attached = |ifindex| Attached { ifindex, mac: LB_MAC };
        let host = Host {
            interfaces: vec![attached(INGRESS), attached(out)],
            addresses: Vec::new(),
            fragments: false,
        };
        let mut events = vec![Event::Host(host)];
        for number in 0..all {
            let id = NodeId::new(number).context("more nodes than the maps have")?;
            events.push(Event::Resolved { node: id, hop: Some(self.hop(number as u16)) });
            let target = TargetId(number as u32);
            events.push(Event::Checked { target, outcome: Outcome::Hit });
        }
        let intent = published(state.step(Duration::from_secs(1), &events))?;
        let intent = intent.context("nothing was published")?;
        Ok(self.move_slots(Arc::unwrap_or_clone(intent)))
    }

    fn hop(&self, number: u16) -> NextHop {
        let [high, low] = number.to_be_bytes();
        NextHop {
            ifindex: INGRESS,
            src_mac: LB_MAC,
            dst_mac: [2, 0, 0, 1, high, low],
            mtu: 1500,
            tags: [0; 2],
            source: Some(node(self.v6, u16::MAX)),
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for cluster in 0..self.clusters {
            let node = |place: usize| {
                let number = (cluster * self.nodes + place) as u16;
                let address = node(self.v6, number);
                let nat = self.forward == Forward::Nat;
                let port = if nat { format!(", port = {NODE_PORT}") } else { String::new() };
                format!("{{ name = \"n{place:04}\", address = \"{address}\"{port} }}")
            };
            let nodes: Vec<String> = (0..self.nodes).map(node).collect();
            let _ = writeln!(
                text,
                "[[cluster]]\nname = \"C{cluster:04}\"\nweight = {}\nforward = \"{}\"\n\
                 health = {{ kind = \"tcp\", port = 80, fall = 1 }}\nnodes = [{}]",
                1 + cluster % 3,
                self.forward.name(),
                nodes.join(", ")
            );
        }
        for service in 0..self.services {
            let (first, second) = (service % self.clusters, (service * 7 + 1) % self.clusters);
            let mut masters = vec![format!("\"C{first:04}\"")];
            if second != first {
                masters.push(format!("\"C{second:04}\""));
            }
            let address = match vip(self.v6) {
                std::net::IpAddr::V6(address) => format!("[{address}]"),
                std::net::IpAddr::V4(address) => address.to_string(),
            };
            let _ = writeln!(
                text,
                "[[service]]\nname = \"s{service:04}\"\naddress = \"{address}:{}\"\n\
                 protocol = \"{}\"\nbackup = \"none\"\nmasters = [{}]",
                PORT + service as u16,
                if self.udp { "udp" } else { "tcp" },
                masters.join(", ")
            );
        }
        text
    }

    /// As if the owners of slots had been others a moment ago.
    fn move_slots(&self, mut intent: Intent) -> Intent {
        let drain = |table: &mut Table, state: SlotState, but: Option<usize>| {
            let own = table.slots.clone();
            // Each node's slots were the next one's.
            let was = |slot: &Slot| match slot.member() {
                Some(member) => Slot::clean((member + 1) % self.nodes as u16),
                None => *slot,
            };
            let moved = |(at, slot): (usize, &Slot)| match but {
                Some(place) if place == at => *slot,
                _ => slot.in_state(state),
            };
            table.slots = own.iter().enumerate().map(moved).collect();
            if state == SlotState::Drain {
                table.base = Some(own.iter().map(was).collect());
            }
        };
        for table in &mut intent.clusters {
            let log2 = table.slots.len().trailing_zeros();
            match self.moved {
                Moved::Nothing => {}
                Moved::All => drain(table, SlotState::Drain, None),
                Moved::Residue => drain(table, SlotState::Residue, None),
                Moved::AllBut(hash) => {
                    drain(table, SlotState::Drain, Some(hash.node_slot(log2) as usize));
                }
            }
        }
        intent
    }
}

/// The flow of IPv4 and TCP that frames are of where there is one.
#[must_use]
pub fn flow_zero() -> FlowKey {
    FlowKey::v4(CLIENT_V4.into(), VIP_V4.into(), u32::from(PORT), 6)
}
