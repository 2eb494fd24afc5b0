//! Decides what of the tables' past packets have to know: slot states, bases and windows over time,
//! and which pins end.
//!
//! What the plan says of now comes in, what is published comes out. Nothing else in `decide` depends
//! on the past of the tables, and this depends on nothing but their owners.

mod sweep;
mod track;

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasherDefault, DefaultHasher},
    sync::Arc,
    time::Duration,
};

use lb_common::{ClusterId, NodeId, ServiceId, Slot};

use super::{Decision, Live, Model, Remembered, Unfit};
pub use sweep::{Sweep, Swept};
pub use track::{Limit, Track};

/// All tables over time.
#[derive(Clone, Debug, Default)]
pub struct Tracks {
    /// Changes when one of them does.
    number: u64,
    /// By service id.
    services: Vec<Option<Arc<Track>>>,
    /// By cluster id.
    clusters: Vec<Option<Arc<Track>>>,
}

/// Tables that have become others, so that those with the same history are one again. Addresses stand
/// for what they point to: while this is there, nothing of it goes.
type Known = HashMap<(*const (), *const Slot), Arc<Track>, BuildHasherDefault<DefaultHasher>>;

impl Tracks {
    /// Those that another process left. Windows count from now.
    ///
    /// # Errors
    /// Some slot names what has no id.
    pub(super) fn resumed(model: &Model, live: &Remembered, now: Duration) -> Result<Self, Unfit> {
        let (ids, mut left) = (&model.ids, Left::new());
        let mut tracks = Self::default();
        for (id, table) in live.services.iter().enumerate() {
            // What has no id has no table any more.
            let there = ServiceId::new(id).is_some_and(|id| ids.service_at(id).is_some());
            let table = Some(table).filter(|_| there);
            let limit = |was: Slot, is: Slot| limit(model, was.member().or(is.member()));
            let known = |pool| ids.table_of(pool).is_some();
            tracks.services.push(resume(table, &mut left, None, known, limit, now)?);
        }
        for (id, table) in live.clusters.iter().enumerate() {
            let id = ClusterId::new(id).filter(|id| ids.table_at(*id).is_some());
            let table = Some(table).filter(|_| id.is_some());
            let limit = limit(model, id.map(ClusterId::raw));
            let known = |node| ids.node_of(node).is_some();
            tracks.clusters.push(resume(table, &mut left, Some(limit), known, |_, _| limit, now)?);
        }
        Ok(tracks)
    }

    /// All of them as a decision has them now.
    #[must_use]
    pub fn advance(&self, model: &Model, decision: &Decision, now: Duration) -> Self {
        let (ids, mut known) = (&model.ids, Known::default());
        let services = decision.services.iter().enumerate().map(|(position, plan)| {
            let track = self.service(ids.service(position)?);
            // Of nobody's slots the new owner says it.
            let limit = |was: Slot, is: Slot| limit(model, was.member().or(is.member()));
            Some(advance(track, &plan.deal.slots, &mut known, limit, now))
        });
        let services = ids.by_service(services);
        let clusters = decision.clusters.iter().enumerate().map(|(position, table)| {
            let id = ids.table(position)?;
            let limit = |_: Slot, _: Slot| limit(model, Some(id.raw()));
            Some(advance(self.cluster(id), &table.slots, &mut known, limit, now))
        });
        let clusters = ids.by_table(clusters);
        self.replaced(services, clusters)
    }

    /// All of them after a sweep. `None`: it changes nothing, or was made with others.
    #[must_use]
    pub fn swept(&self, swept: &Swept) -> Option<Self> {
        if swept.number != self.number {
            return None;
        }
        let services = clear(&self.services, &swept.services);
        let clusters = clear(&self.clusters, &swept.clusters);
        let next = self.replaced(services, clusters);
        (next.number != self.number).then_some(next)
    }

    /// All of them with no window open: those are over before their time.
    #[must_use]
    pub fn closed(&self) -> Self {
        let mut known = BTreeMap::new();
        let mut close = |track: &Option<Arc<Track>>| {
            let track = track.as_ref()?;
            let closed = known.entry(Arc::as_ptr(track)).or_insert_with(|| track.closed());
            Some(Arc::clone(closed))
        };
        let services = self.services.iter().map(&mut close).collect();
        let clusters = self.clusters.iter().map(&mut close).collect();
        self.replaced(services, clusters)
    }

    /// All of them where other ids stand for pools.
    #[must_use]
    pub fn renamed(&self, heirs: &BTreeMap<u16, u16>) -> Self {
        let mut known = BTreeMap::new();
        let mut rename = |track: &Arc<Track>| {
            let renamed = known.entry(Arc::as_ptr(track)).or_insert_with(|| track.renamed(heirs));
            Arc::clone(renamed)
        };
        let services = self.services.iter().map(|track| track.as_ref().map(&mut rename));
        self.replaced(services.collect(), self.clusters.clone())
    }

    /// A service's table.
    pub fn service(&self, id: ServiceId) -> Option<&Arc<Track>> {
        self.services.get(id.index())?.as_ref()
    }

    /// A node table.
    pub fn cluster(&self, id: ClusterId) -> Option<&Arc<Track>> {
        self.clusters.get(id.index())?.as_ref()
    }

    /// When the next window closes.
    pub fn ends(&self) -> Option<Duration> {
        self.all().filter_map(|track| track.ends()).min()
    }

    /// When the last window closes of slots that were a node's.
    pub fn closes_for_node(&self, id: NodeId) -> Option<Duration> {
        self.clusters.iter().flatten().filter_map(|track| track.closes_for(id.raw())).max()
    }

    /// When the last window closes of services' slots that a node table stood behind.
    pub fn closes_for_cluster(&self, id: ClusterId) -> Option<Duration> {
        self.services.iter().flatten().filter_map(|track| track.closes_for(id.raw())).max()
    }

    /// Whether all slots are `CLEAN`.
    pub fn is_clean(&self) -> bool {
        self.all().all(|track| track.is_clean())
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Track>> {
        self.services.iter().chain(&self.clusters).flatten()
    }

    fn replaced(
        &self,
        services: Vec<Option<Arc<Track>>>,
        clusters: Vec<Option<Arc<Track>>>,
    ) -> Self {
        let same = |old: &[Option<Arc<Track>>], new: &[Option<Arc<Track>>]| {
            let each = |track: &Option<Arc<Track>>| track.as_ref().map(Arc::as_ptr);
            old.iter().map(each).eq(new.iter().map(each))
        };
        let same = same(&self.services, &services) && same(&self.clusters, &clusters);
        Self { number: self.number + u64::from(!same), services, clusters }
    }
}

/// Tables that were left, by the addresses of their slots and base, and how long a node table's
/// connections stay: those that are one allocation stay one.
type Left = BTreeMap<(*const Slot, Option<*const Slot>, Option<Limit>), Arc<Track>>;

fn resume(
    live: Option<&Live>,
    left: &mut Left,
    whose: Option<Limit>,
    known: impl Fn(u16) -> bool,
    limit: impl Fn(Slot, Slot) -> Limit,
    now: Duration,
) -> Result<Option<Arc<Track>>, Unfit> {
    let Some(live) = live.filter(|live| !live.slots.is_empty()) else { return Ok(None) };
    let base = live.base.as_deref();
    let key = (live.slots.as_ptr(), base.map(<[Slot]>::as_ptr), whose);
    if let Some(track) = left.get(&key) {
        return Ok(Some(Arc::clone(track)));
    }
    let all = live.slots.iter().chain(base.into_iter().flatten());
    if !all.filter_map(|slot| slot.member()).all(known) {
        return Err(Unfit);
    }
    let track = Arc::new(Track::resumed(&live.slots, base, limit, now));
    left.insert(key, Arc::clone(&track));
    Ok(Some(track))
}

/// How long connections stay that a table's cluster had.
fn limit(model: &Model, table: Option<u16>) -> Limit {
    let cluster = table.and_then(|id| model.cluster_of(model.ids.table_of(id)?));
    cluster.map_or(Limit { drain: Duration::ZERO, hard: false }, |cluster| {
        let cluster = &model.config.clusters[cluster];
        Limit { drain: cluster.drain, hard: cluster.drain_hard }
    })
}

fn advance(
    track: Option<&Arc<Track>>,
    decided: &Arc<[Slot]>,
    known: &mut Known,
    limit: impl Fn(Slot, Slot) -> Limit,
    now: Duration,
) -> Arc<Track> {
    let was = match track {
        None => std::ptr::null(),
        // At rest they are one again that differed for a time.
        Some(track) if track.is_clean() => track.slots().as_ptr().cast(),
        Some(track) => Arc::as_ptr(track).cast(),
    };
    let is = known.entry((was, decided.as_ptr())).or_insert_with(|| match track {
        None => Arc::new(Track::at_rest(decided)),
        Some(track) => track.advance(decided, limit, now),
    });
    Arc::clone(is)
}

/// Those whose slots without pins are clean. Tables that are one stay one: where some of their services
/// has a pin, all of them look for pins yet. Else each would soon be another, and the slot memory full.
fn clear(tracks: &[Option<Arc<Track>>], pinned: &[Vec<u32>]) -> Vec<Option<Arc<Track>>> {
    let mut waiting: BTreeMap<*const Track, (&Arc<Track>, Vec<u32>)> = BTreeMap::new();
    for (id, track) in tracks.iter().enumerate() {
        let Some(track) = track.as_ref().filter(|track| !track.is_clean()) else { continue };
        let (_, slots) = waiting.entry(Arc::as_ptr(track)).or_insert((track, Vec::new()));
        slots.extend(pinned.get(id).into_iter().flatten());
    }
    let clear = |(at, (track, mut slots)): (*const Track, (&Arc<Track>, Vec<u32>))| {
        slots.sort_unstable();
        slots.dedup();
        (at, track.swept(&slots))
    };
    let cleared: BTreeMap<*const Track, Arc<Track>> = waiting.into_iter().map(clear).collect();
    let now = |track: &Arc<Track>| {
        let cleared = cleared.get(&Arc::as_ptr(track));
        Arc::clone(cleared.unwrap_or(track))
    };
    tracks.iter().map(|track| track.as_ref().map(now)).collect()
}

#[cfg(test)]
mod tests;
