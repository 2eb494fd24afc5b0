//! Has the pins looked at, about once a second while there may be something to see. A thread reads
//! them, deletes what has ended, and tells what the rest of them names.
//!
//! What a sweep finds holds for the tables that it was made with: it begins when they are in force and
//! packets that began before have ended, deletes nothing once others are in force, and counts for
//! nothing then.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use lb_common::pin::{BUSY, FREE, PIN_WAYS, PinEntry, Tick};
use lb_ebpf::Tables;
use tokio::{sync::mpsc::UnboundedSender, time::Instant};
use tracing::error;

use super::{Daemon, Generation, Input};
use crate::{
    dataplane::memory::Memory,
    decide::{
        Event, Intent,
        moved::{Sweep, Swept},
    },
};

/// From the end of a sweep to the next one.
const PAUSE: Duration = Duration::from_secs(1);

/// A bucket and a way in it.
type Place = (u32, usize);

/// Who looks at pins, and what was found last.
pub(super) struct Sweeper {
    jobs: mpsc::Sender<Job>,
    /// When the next sweep may begin; `None`: one is under way.
    next: Option<Instant>,
    /// `None`: nobody has looked yet.
    last: Option<Found>,
    /// What is in force.
    in_force: Option<Arc<Intent>>,
    /// Packets that began before this epoch have ended.
    graced: u64,
}

/// A sweep to be made.
struct Job {
    generation: Generation,
    epoch: u64,
    sweep: Sweep,
}

/// What a sweep found.
pub(super) struct Found {
    generation: Generation,
    epoch: u64,
    /// By what pins name.
    pub(super) swept: Arc<Swept>,
    /// How many there were, those that have ended included.
    pub(super) pins: u64,
}

impl Sweeper {
    /// Ways that somebody writes by now are looked at again before the first sweep: after a grace period
    /// it can only have been a daemon that died.
    pub(super) fn start(memory: Arc<Memory>, inputs: UnboundedSender<Input>) -> Self {
        let (jobs, waiting) = mpsc::channel::<Job>();
        let busy = |&(_, entry): &(Place, PinEntry)| entry.tag == BUSY;
        let mut stale: Vec<Place> = all(&memory).filter(busy).map(|(place, _)| place).collect();
        thread::spawn(move || {
            for job in waiting {
                for (bucket, way) in stale.drain(..) {
                    memory.claim_pin(bucket, way, BUSY, FREE);
                }
                if inputs.send(Input::Swept(look(&memory, &job))).is_err() {
                    return;
                }
            }
        });
        Self { jobs, next: Some(Instant::now()), last: None, in_force: None, graced: 0 }
    }

    /// What was published is in force.
    pub(super) fn committed(&mut self, intent: Arc<Intent>) {
        self.in_force = Some(intent);
    }

    /// A grace period begun under an epoch has ended.
    pub(super) fn graced(&mut self, epoch: u64) {
        self.graced = epoch;
    }

    /// What was found last.
    pub(super) fn last(&self) -> Option<&Found> {
        self.last.as_ref()
    }
}

impl Daemon {
    /// Has the pins looked at, if it is time and there may be something to see.
    pub(super) fn sweep(&mut self) {
        let due = self.sweeper.next.is_some_and(|at| at <= Instant::now());
        if !due || !self.is_settled() || self.is_swept() {
            return;
        }
        let Some(sweep) = self.state.sweep() else { return };
        let job = Job { generation: self.generation, epoch: self.dataplane.epoch(), sweep };
        // The thread ends only with the process.
        let _ = self.sweeper.jobs.send(job);
        self.sweeper.next = None;
    }

    /// Takes in what a sweep found: slots without pins are clean, ids that none names are free, and what
    /// is leaving goes if nothing names it.
    pub(super) fn swept(&mut self, found: Found) {
        self.sweeper.next = Some(Instant::now() + PAUSE);
        if !self.is_settled() || !self.is_of_now(&found) {
            return;
        }
        let named = found.swept.named();
        self.state.named(&named);
        let next = self.state.dismiss(&named, self.start.elapsed());
        match next.map_or(Ok(Vec::new()), |next| self.go_on_with(next)) {
            Ok(gone) => gone.into_iter().for_each(|name| {
                let text = format!("{name} has left: no connection was seen on it any more");
                self.events.add(found.epoch, "left", &name, text);
            }),
            Err(error) => {
                error!("what nothing names any more stays in the configuration for now: {error}");
            }
        }
        let swept = Event::Swept(Arc::clone(&found.swept));
        self.sweeper.last = Some(found);
        self.step(&[swept]);
    }

    /// Whether the tables in force are those of the last sweep, and it saw all that there will be: no
    /// pin, and no slot that makes any.
    pub(super) fn is_swept(&self) -> bool {
        let nothing =
            self.sweeper.last().is_some_and(|last| last.pins == 0 && self.is_of_now(last));
        nothing && self.state.view().tracks.is_clean()
    }

    /// Whether what a sweep found holds for the tables in force.
    pub(super) fn is_of_now(&self, found: &Found) -> bool {
        (found.generation, found.epoch) == (self.generation, self.dataplane.epoch())
    }

    /// What was published last is in force, and packets that began before have ended.
    fn is_settled(&self) -> bool {
        let both = self.state.view().published.zip(self.sweeper.in_force.as_ref());
        let in_force = both.is_some_and(|(published, is)| Arc::ptr_eq(published, is));
        self.pending.is_none() && in_force && self.sweeper.graced == self.dataplane.epoch()
    }
}

/// Looks at all pins, and deletes what has ended.
fn look(memory: &Memory, job: &Job) -> Found {
    let mut pins = 0;
    let taken = all(memory).filter(|(_, entry)| !matches!(entry.tag, FREE | BUSY));
    let (swept, ended) = job.sweep.judge(taken.inspect(|_| pins += 1), Tick::at(memory.now()));
    for (place, entry) in ended {
        if memory.epoch() != job.epoch {
            break;
        }
        delete(memory, place, entry);
    }
    Found { generation: job.generation, epoch: job.epoch, swept: Arc::new(swept), pins }
}

fn all(memory: &Memory) -> impl Iterator<Item = (Place, PinEntry)> {
    let places =
        (0..memory.pins.len()).flat_map(|bucket| (0..PIN_WAYS).map(move |way| (bucket, way)));
    places.filter_map(|(bucket, way)| Some(((bucket, way), memory.pin(bucket, way)?)))
}

/// Frees a way if it has this pin yet: packets may renew and replace it at any time.
fn delete(memory: &Memory, (bucket, way): Place, entry: PinEntry) {
    if memory.pin(bucket, way) != Some(entry) || !memory.claim_pin(bucket, way, entry.tag, BUSY) {
        return;
    }
    let same = memory.pin(bucket, way).is_some_and(|now| now.value == entry.value);
    memory.claim_pin(bucket, way, BUSY, if same { FREE } else { entry.tag });
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = (3, 2);
    const PIN: PinEntry = PinEntry { tag: 77, value: 1 << 62 };

    /// Memory in which one way has this.
    fn with(entry: PinEntry) -> Memory {
        let memory = Memory::anonymous().expect("memory");
        assert!(memory.claim_pin(PLACE.0, PLACE.1, FREE, entry.tag));
        assert!(memory.renew_pin(PLACE.0, PLACE.1, 0, entry.value));
        memory
    }

    #[test]
    fn only_the_pin_that_was_judged_is_deleted() {
        let cases = [
            (PIN, FREE),
            (PinEntry { value: PIN.value + 1, ..PIN }, PIN.tag),
            (PinEntry { tag: 78, ..PIN }, 78),
            (PinEntry { tag: BUSY, ..PIN }, BUSY),
        ];
        for (there, left) in cases {
            let memory = with(there);
            delete(&memory, PLACE, PIN);
            let found: Vec<_> = all(&memory).filter(|(_, entry)| entry.tag != FREE).collect();
            let expected: Vec<_> = if left == FREE { vec![] } else { vec![(PLACE, there)] };
            assert_eq!(found, expected, "{there:?}");
        }
    }

    #[test]
    fn all_ways_are_looked_at() {
        let memory = with(PIN);
        assert_eq!(all(&memory).count(), memory.pins.len() as usize * PIN_WAYS);
    }
}
