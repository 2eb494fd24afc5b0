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

/// By what a sweep is to be judged.
pub(super) struct Now<'a> {
    generation: Generation,
    /// In force.
    epoch: u64,
    published: Option<&'a Arc<Intent>>,
    /// Something published waits for its commit.
    pending: bool,
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
        Self::with(memory, inputs, look)
    }

    fn with(
        memory: Arc<Memory>,
        inputs: UnboundedSender<Input>,
        look: impl Fn(&Memory, &Job) -> Found + Send + 'static,
    ) -> Self {
        let (jobs, waiting) = mpsc::channel::<Job>();
        let busy = |&(_, entry): &(Place, PinEntry)| entry.tag == BUSY;
        let mut stale: Vec<Place> = all(&memory).filter(busy).map(|(place, _)| place).collect();
        let ends = Ends(inputs.clone());
        thread::spawn(move || {
            let _ends = ends;
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

    /// What this daemon put in force last.
    pub(super) fn in_force(&self) -> Option<&Arc<Intent>> {
        self.in_force.as_ref()
    }

    /// A grace period begun under an epoch has ended.
    pub(super) fn graced(&mut self, epoch: u64) {
        self.graced = epoch;
    }

    /// What was found last.
    pub(super) fn last(&self) -> Option<&Found> {
        self.last.as_ref()
    }

    /// Whether what was found last holds now, and for what was ordered and decided, too.
    pub(super) fn is_current(&self, now: &Now<'_>) -> bool {
        self.last().is_some_and(|last| last.is_of(now)) && self.is_settled(now)
    }

    /// What was published last is in force, and packets that began before have ended.
    fn is_settled(&self, now: &Now<'_>) -> bool {
        let both = now.published.zip(self.in_force.as_ref());
        let in_force = both.is_some_and(|(published, is)| Arc::ptr_eq(published, is));
        !now.pending && in_force && self.graced == now.epoch
    }

    /// Whether there was no pin.
    fn saw_none(&self, now: &Now<'_>) -> bool {
        self.last().is_some_and(|last| last.pins == 0 && last.is_of(now))
    }

    /// A sweep has ended. If not all came of it that should have, there has to be another one.
    fn keep(&mut self, found: Found, all: bool) {
        if all {
            self.last = Some(found);
        }
    }
}

impl Found {
    /// Whether it holds for the tables in force.
    fn is_of(&self, now: &Now<'_>) -> bool {
        (self.generation, self.epoch) == (now.generation, now.epoch)
    }
}

/// Says that the thread that has it has ended, however that came.
struct Ends(UnboundedSender<Input>);

impl Drop for Ends {
    fn drop(&mut self) {
        // Nobody listens where the whole process ends.
        let _ = self.0.send(Input::NoSweeps);
    }
}

impl Daemon {
    /// Has the pins looked at, if it is time and there may be something to see.
    pub(super) fn sweep(&mut self) {
        let due = self.sweeper.next.is_some_and(|at| at <= Instant::now());
        let now = self.now();
        let is_swept = self.sweeper.saw_none(&now) && self.state.view().tracks.is_clean();
        // It saw all that there will be, if no slot makes pins.
        if !due || !self.sweeper.is_settled(&now) || is_swept {
            return;
        }
        let Some(sweep) = self.state.sweep() else { return };
        let job = Job { generation: self.generation, epoch: self.dataplane.epoch(), sweep };
        // If the thread has ended, that is an input.
        let _ = self.sweeper.jobs.send(job);
        self.sweeper.next = None;
    }

    /// Takes in what a sweep found: slots without pins are clean, ids that none names are free, and what
    /// is leaving goes if nothing names it.
    pub(super) fn swept(&mut self, found: Found) {
        self.sweeper.next = Some(Instant::now() + PAUSE);
        let now = self.now();
        if !self.sweeper.is_settled(&now) || !found.is_of(&now) {
            return;
        }
        let named = found.swept.named();
        self.state.named(&named);
        let next = self.state.dismiss(&named, self.start.elapsed());
        let went = next.map_or(Ok(Vec::new()), |next| self.go_on_with(next));
        let (swept, all) = (Event::Swept(Arc::clone(&found.swept)), went.is_ok());
        match went {
            Ok(gone) => gone.into_iter().for_each(|name| {
                let text = format!("{name} has left: no connection was seen on it any more");
                self.events.add(found.epoch, "left", &name, text);
            }),
            Err(error) => {
                error!("what nothing names any more stays in the configuration for now: {error}");
            }
        }
        self.sweeper.keep(found, all);
        self.step(&[swept]);
    }

    /// By what a sweep is to be judged now.
    pub(super) fn now(&self) -> Now<'_> {
        Now {
            generation: self.generation,
            epoch: self.dataplane.epoch(),
            published: self.state.view().published,
            pending: self.pending.is_some(),
        }
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
    use tokio::sync::mpsc::unbounded_channel;

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

    /// One that found no pin with what is in force.
    fn swept(in_force: &Arc<Intent>) -> Sweeper {
        let memory = Arc::new(Memory::anonymous().expect("memory"));
        let mut sweeper = Sweeper::start(memory, unbounded_channel().0);
        sweeper.committed(Arc::clone(in_force));
        sweeper.graced(EPOCH);
        sweeper.keep(found(), true);
        sweeper
    }

    const EPOCH: u64 = 5;

    fn found() -> Found {
        Found { generation: 1, epoch: EPOCH, swept: Arc::default(), pins: 0 }
    }

    fn now(published: &Arc<Intent>) -> Now<'_> {
        Now { generation: 1, epoch: EPOCH, published: Some(published), pending: false }
    }

    #[test]
    fn what_was_found_is_current_only_if_what_was_published_is_in_force() {
        let (is, other) = (Arc::<Intent>::default(), Arc::default());
        let sweeper = swept(&is);
        let cases = [
            ("all is in force", now(&is), true),
            ("it waits for a commit", Now { pending: true, ..now(&is) }, false),
            ("its commit was refused", now(&other), false),
            ("nothing is published yet", Now { published: None, ..now(&is) }, false),
            ("another plan is in force", Now { epoch: EPOCH + 1, ..now(&is) }, false),
            ("another configuration", Now { generation: 2, ..now(&is) }, false),
        ];
        for (what, now, current) in cases {
            assert_eq!(sweeper.is_current(&now), current, "{what}");
        }
    }

    #[test]
    fn a_sweep_of_which_not_all_came_is_not_the_last_one() {
        let is = Arc::default();
        let mut sweeper = swept(&is);
        assert!(sweeper.saw_none(&now(&is)));
        sweeper.last = None;
        sweeper.keep(found(), false);
        assert!(!sweeper.saw_none(&now(&is)) && sweeper.is_settled(&now(&is)));
    }

    #[test]
    fn the_end_of_the_thread_is_told() {
        let memory = Arc::new(Memory::anonymous().expect("memory"));
        let (inputs, mut told) = unbounded_channel();
        let sweeper = Sweeper::with(memory, inputs, |_, _| panic!("a sweep fails"));
        let state = crate::decide::moved::Sweep::default();
        let job = Job { generation: 0, epoch: 0, sweep: state };
        sweeper.jobs.send(job).expect("a thread");
        assert!(matches!(told.blocking_recv(), Some(Input::NoSweeps)));
    }
}
