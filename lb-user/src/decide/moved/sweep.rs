//! Judges the pins: which ones end, and in which slots some are left.
//!
//! Whoever reads the pins does it when what the tables here were published in is in force, and packets
//! that began before have ended: then a pin that is not there is not made any more, where a slot and
//! what stands behind it are both out of their windows. A pin that is to be deleted counts as one that
//! is there, as a packet may renew it meanwhile: the next sweep sees.

use std::time::Duration;

use lb_common::{
    ClusterId, FlowHash, NodeId, NodeRecord, ServiceId, SlotState,
    pin::{BUSY, FREE, Pin, PinEntry, PinState, Tick},
};

use super::{Tracks, track::Track};
use crate::decide::{Intent, Model, Named};

/// What pins are judged by: tables, ports and nodes that are in force.
#[derive(Clone, Debug, Default)]
pub struct Sweep {
    pub(super) tracks: Tracks,
    /// By cluster id: as [`lb_common::Directory`] has it.
    pub(super) ports: Vec<u16>,
    /// By node id; `None`: there is no such node.
    pub(super) nodes: Vec<Option<Node>>,
}

/// A node that connections are pinned to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    /// It may keep them.
    pub(super) up: bool,
    /// So many ticks they may be silent.
    pub(super) idle: u32,
    /// Those that are left after the drain limit move.
    pub(super) hard: bool,
}

/// What a sweep found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Which tables it was made with.
    pub(super) number: u64,
    /// By service id: slots with pins, ascending.
    pub(super) services: Vec<Vec<u32>>,
    /// By cluster id: slots with pins that only these slots lead to, ascending.
    pub(super) clusters: Vec<Vec<u32>>,
    pub(super) nodes: Vec<u32>,
    pub(super) named_services: Vec<u32>,
    pub(super) named_clusters: Vec<u32>,
}

/// Where a pin's connection would go without it.
struct Place<'a> {
    service: &'a Track,
    slot: usize,
    /// The owner of the service's slot, and its own slot.
    behind: Option<(ClusterId, &'a Track, usize)>,
}

impl Sweep {
    /// By what was published last, with these tables.
    pub(in crate::decide) fn of(model: &Model, intent: &Intent, tracks: &Tracks) -> Self {
        let node = |(id, record): (usize, &NodeRecord)| {
            let position = NodeId::new(id).and_then(|id| model.ids.node_at(id))?;
            let cluster = &model.config.clusters[model.nodes[position].cluster];
            let (idle, hard) = (ticks(cluster.pin_idle), cluster.drain_hard);
            Some(Node { up: record.up == 1, idle, hard })
        };
        Self {
            tracks: tracks.clone(),
            ports: intent.clusters.iter().map(|table| table.port).collect(),
            nodes: intent.nodes.iter().enumerate().map(node).collect(),
        }
    }

    /// Judges pins at a time. Of each there is something that it can be found again by; returned are
    /// what was found, and those to be deleted. That is to be done if they are still the same.
    pub fn judge<P>(
        &self,
        pins: impl IntoIterator<Item = (P, PinEntry)>,
        now: Tick,
    ) -> (Swept, Vec<(P, PinEntry)>) {
        let mut swept = Swept { number: self.tracks.number, ..Swept::default() };
        let mut ended = Vec::new();
        for (at, entry) in pins {
            let Some(pin) = read(entry) else { continue };
            count(&mut swept.nodes, pin.node.index());
            count(&mut swept.named_services, pin.service.index());
            count(&mut swept.named_clusters, pin.cluster.index());
            let place = self.place(entry, pin);
            if let Some(place) = &place {
                swept.found(pin.service, place);
            }
            if !place.is_some_and(|place| self.stays(&place, pin, now)) {
                ended.push((at, entry));
            }
        }
        for slots in swept.services.iter_mut().chain(&mut swept.clusters) {
            slots.sort_unstable();
            slots.dedup();
        }
        (swept, ended)
    }

    /// `None`: there is no such service.
    fn place(&self, entry: PinEntry, pin: Pin) -> Option<Place<'_>> {
        // The top bits of both halves of a tag are those of the flow's hash.
        let hash = FlowHash(entry.tag);
        let service = self.tracks.service(pin.service)?;
        let slot = hash.service_slot(service.log2()) as usize;
        let owner = service.slots()[slot].member();
        let behind = owner.and_then(|id| ClusterId::new(id.into())).and_then(|id| {
            let cluster = self.tracks.cluster(id)?;
            Some((id, cluster.as_ref(), hash.node_slot(cluster.log2()) as usize))
        });
        Some(Place { service, slot, behind })
    }

    fn stays(&self, place: &Place<'_>, pin: Pin, now: Tick) -> bool {
        let Some(Some(node)) = self.nodes.get(pin.node.index()) else { return false };
        let drain = place.is(SlotState::Drain);
        if !place.is(SlotState::Residue) {
            // Where all is clean nobody would look for it.
            return drain;
        }
        let silent = || now.since(pin.last) >= node.idle;
        if !node.up || pin.has_ended(now) {
            return false;
        }
        let over = place.is_cut() && node.hard || pin.state == PinState::Live && silent();
        drain || !over && !self.is_owner(place, pin)
    }

    /// Whether a connection without the pin would be treated as it is with it.
    fn is_owner(&self, place: &Place<'_>, pin: Pin) -> bool {
        // Packets find no port where there is no such pool.
        let port = |id: ClusterId| self.ports.get(id.index()).copied().unwrap_or_default();
        place.behind.as_ref().is_some_and(|&(id, track, slot)| {
            track.slots()[slot].member() == Some(pin.node.raw()) && port(id) == port(pin.cluster)
        })
    }
}

impl Place<'_> {
    fn is(&self, state: SlotState) -> bool {
        let of = |track: &Track, slot: usize| track.slots()[slot].state() == state;
        let behind = self.behind.as_ref().is_some_and(|&(_, track, slot)| of(track, slot));
        of(self.service, self.slot) || behind
    }

    fn is_cut(&self) -> bool {
        let behind = self.behind.as_ref().is_some_and(|&(_, track, slot)| track.is_cut(slot));
        self.service.is_cut(self.slot) || behind
    }
}

impl Swept {
    /// The ids that pins name.
    pub fn named(&self) -> Named {
        let some = |counts: &[u32]| {
            let named = (0..).zip(counts).filter(|(_, count)| **count > 0);
            named.map(|(id, _)| id).collect()
        };
        Named {
            services: some(&self.named_services),
            tables: some(&self.named_clusters),
            nodes: some(&self.nodes),
        }
    }

    /// So many pins name a node.
    pub fn on_node(&self, id: NodeId) -> u32 {
        self.nodes.get(id.index()).copied().unwrap_or(0)
    }

    fn found(&mut self, service: ServiceId, place: &Place<'_>) {
        note(&mut self.services, service.index(), place.slot);
        // As long as the service's slot is not clean, packets look for the pin because of that.
        if let Some((id, _, slot)) = place.behind
            && place.service.slots()[place.slot].state() == SlotState::Clean
        {
            note(&mut self.clusters, id.index(), slot);
        }
    }
}

/// A way's pin, if somebody has it.
fn read(entry: PinEntry) -> Option<Pin> {
    if matches!(entry.tag, FREE | BUSY) { None } else { Pin::from_raw(entry.value) }
}

fn count(counts: &mut Vec<u32>, index: usize) {
    if counts.len() <= index {
        counts.resize(index + 1, 0);
    }
    counts[index] += 1;
}

fn note(slots: &mut Vec<Vec<u32>>, index: usize, slot: usize) {
    if slots.len() <= index {
        slots.resize_with(index + 1, Vec::new);
    }
    slots[index].push(slot as u32);
}

/// At least so long a time, in ticks.
pub(super) fn ticks(time: Duration) -> u32 {
    Tick::of_ms(time.as_millis().try_into().unwrap_or(u32::MAX))
}
