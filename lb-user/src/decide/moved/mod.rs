//! Decides what of the tables' past packets have to know: slot states, bases and windows over time,
//! and which pins end.
//!
//! What the plan says of now comes in, what is published comes out. Nothing else in `decide` depends
//! on the past of the tables, and this depends on nothing but their owners.

mod sweep;
mod track;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    hash::{BuildHasherDefault, DefaultHasher},
    sync::Arc,
    time::Duration,
};

use lb_common::{ClusterId, ServiceId, Slot};

use super::{Decision, Model};
pub use sweep::{Sweep, Swept};
pub use track::{Limit, Track};

/// All tables over time.
#[derive(Clone, Debug, Default)]
pub struct Tracks {
    /// Changes when one of them does.
    number: u64,
    /// By service id.
    services: Vec<Arc<Track>>,
    /// By cluster id.
    clusters: Vec<Arc<Track>>,
}

/// Tables that have become others, so that those with the same history are one again. Addresses stand
/// for what they point to: while this is there, nothing of it goes.
type Known = HashMap<(*const (), *const Slot), Arc<Track>, BuildHasherDefault<DefaultHasher>>;

impl Tracks {
    /// All of them as a decision has them now.
    #[must_use]
    pub fn advance(&self, model: &Model, decision: &Decision, now: Duration) -> Self {
        let mut known = Known::default();
        let services = decision.services.iter().map(|plan| &plan.deal.slots);
        let clusters = decision.clusters.iter().map(|table| &table.slots);
        // Of nobody's slots the new owner says it.
        let service = |was: Slot, is: Slot| limit(model, was.member().or(is.member()));
        let services = advance(&self.services, services, &mut known, |_| service, now);
        let cluster = |id: usize| move |_: Slot, _: Slot| limit(model, Some(id as u16));
        let clusters = advance(&self.clusters, clusters, &mut known, cluster, now);
        self.replaced(services, clusters)
    }

    /// All of them after a sweep; as they are, if it was made with others.
    #[must_use]
    pub fn swept(&self, swept: &Swept) -> Self {
        if swept.number != self.number {
            return self.clone();
        }
        let services = clear(&self.services, &swept.services);
        let clusters = clear(&self.clusters, &swept.clusters);
        self.replaced(services, clusters)
    }

    /// Services' tables, by id.
    pub fn services(&self) -> &[Arc<Track>] {
        &self.services
    }

    /// Node tables, by id.
    pub fn clusters(&self) -> &[Arc<Track>] {
        &self.clusters
    }

    /// A service's table.
    pub fn service(&self, id: ServiceId) -> Option<&Arc<Track>> {
        self.services.get(id.index())
    }

    /// A node table.
    pub fn cluster(&self, id: ClusterId) -> Option<&Arc<Track>> {
        self.clusters.get(id.index())
    }

    /// When the next window closes.
    pub fn ends(&self) -> Option<Duration> {
        self.all().filter_map(|track| track.ends()).min()
    }

    /// Whether some slot waits for a sweep.
    pub fn has_residue(&self) -> bool {
        self.all().any(|track| track.has_residue())
    }

    /// Whether all slots are `CLEAN`.
    pub fn is_clean(&self) -> bool {
        self.all().all(|track| track.is_clean())
    }

    /// Pools that some slot of a service names, or its base.
    pub fn clusters_named(&self) -> BTreeSet<u16> {
        named(&self.services)
    }

    /// Nodes that some slot of a node table names, or its base.
    pub fn nodes_named(&self) -> BTreeSet<u16> {
        named(&self.clusters)
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Track>> {
        self.services.iter().chain(&self.clusters)
    }

    fn replaced(&self, services: Vec<Arc<Track>>, clusters: Vec<Arc<Track>>) -> Self {
        let same = |old: &[Arc<Track>], new: &[Arc<Track>]| {
            old.len() == new.len() && old.iter().zip(new).all(|(old, new)| Arc::ptr_eq(old, new))
        };
        let same = same(&self.services, &services) && same(&self.clusters, &clusters);
        Self { number: self.number + u64::from(!same), services, clusters }
    }
}

/// How long connections stay that a table's cluster had.
fn limit(model: &Model, table: Option<u16>) -> Limit {
    let cluster = table.and_then(|id| model.cluster_of(id.into()));
    cluster.map_or(Limit { drain: Duration::ZERO, hard: false }, |cluster| {
        let cluster = &model.config.clusters[cluster];
        Limit { drain: cluster.drain, hard: cluster.drain_hard }
    })
}

fn advance<'a, L: Fn(Slot, Slot) -> Limit>(
    tracks: &[Arc<Track>],
    decided: impl Iterator<Item = &'a Arc<[Slot]>>,
    known: &mut Known,
    limit: impl Fn(usize) -> L,
    now: Duration,
) -> Vec<Arc<Track>> {
    let advance = |(id, decided): (usize, &Arc<[Slot]>)| {
        let Some(track) = tracks.get(id) else {
            let new = known.entry((std::ptr::null(), decided.as_ptr()));
            return Arc::clone(new.or_insert_with(|| Arc::new(Track::at_rest(decided))));
        };
        // At rest they are one again that differed for a time.
        let was = match track.is_clean() {
            true => track.slots().as_ptr().cast(),
            false => Arc::as_ptr(track).cast(),
        };
        match known.entry((was, decided.as_ptr())) {
            Entry::Occupied(known) => Arc::clone(known.get()),
            Entry::Vacant(new) => Arc::clone(new.insert(track.advance(decided, limit(id), now))),
        }
    };
    decided.enumerate().map(advance).collect()
}

/// Those whose slots without pins are clean.
fn clear(tracks: &[Arc<Track>], pinned: &[Vec<u32>]) -> Vec<Arc<Track>> {
    let mut known: BTreeMap<(*const Track, &[u32]), Arc<Track>> = BTreeMap::new();
    let clear = |(id, track): (usize, &Arc<Track>)| {
        let pinned = pinned.get(id).map_or(&[][..], Vec::as_slice);
        let known = known.entry((Arc::as_ptr(track), pinned));
        Arc::clone(known.or_insert_with(|| track.swept(pinned)))
    };
    tracks.iter().enumerate().map(clear).collect()
}

fn named(tracks: &[Arc<Track>]) -> BTreeSet<u16> {
    let slots = tracks.iter().flat_map(|track| {
        let base = track.base().into_iter().flat_map(|base| base.iter());
        track.slots().iter().chain(base)
    });
    slots.filter_map(|slot| slot.member()).collect()
}

#[cfg(test)]
mod tests;
