//! Finds out which targets live: a thread of its own that makes all checks.
//!
//! [`schedule`] decides when each is made and which outcomes count; this file only gives it time
//! and makes what it starts. Nothing here knows what an outcome leads to.

mod alarm;
mod ask;
mod figures;
pub mod schedule;
#[cfg(test)]
mod tests;
pub mod worst;

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use lb_common::NodeRecord;
use thiserror::Error;
use tokio::{
    runtime,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::{unconstrained, yield_now},
    time,
};

use crate::{
    config::{Delivery, SurveyKey, Target},
    decide::{NodeMonitor, Outcome, TargetId},
};
pub use alarm::Alarm;
use ask::{Asking, Check, Heard};
use figures::Counted;
pub use figures::{Figures, Survey};
use schedule::Schedule;

/// Ends of checks that are taken together, at most.
const BATCH: usize = 256;
/// How often figures are brought up to date.
const FIGURES: Duration = Duration::from_millis(100);
/// How long a way that is down excuses misses although other nodes are reached, where the
/// configuration freezes nothing.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there are no checks.
#[derive(Debug, Error)]
#[allow(missing_docs)]
pub enum EngineError {
    #[error("cannot start the thread of the checks: {0}")]
    Thread(#[source] std::io::Error),
    #[error(transparent)]
    Ask(#[from] ask::AskError),
}

/// What checks are made with, besides targets.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `freeze` of the configuration: for so long a way that is down on this side excuses misses
    /// although other nodes are reached; 0: 10 s.
    pub freeze: Duration,
    /// Key of surveys; there if any target is surveyed.
    pub survey_key: Option<SurveyKey>,
    /// Names the configuration in surveys.
    pub epoch: u64,
    /// What is known of targets already, by position; empty: nothing.
    pub known: Vec<NodeMonitor>,
}

/// What an engine tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// Outcomes as they count, oldest first; never empty.
    Checked(Vec<(TargetId, Outcome)>),
    /// Something that people want to know.
    Alarm(Alarm),
    /// Misses wait for a word whether this gateway lives: [`Engine::gateway_answers`], or
    /// [`Engine::path`] for what is behind it. After 4 s they count without it.
    Doubt(IpAddr),
    /// There are no more checks: the engine was dropped, or failed. The last one.
    Ended,
}

/// What an engine is told while it runs.
#[derive(Debug)]
enum Told {
    Rest(BTreeSet<TargetId>),
    Path { address: IpAddr, up: bool },
    Gateway { address: IpAddr, gateway: Option<IpAddr> },
    Answers { gateway: IpAddr },
    Hop { to: Delivery, record: Option<NodeRecord> },
}

/// Checks targets for as long as it lives.
#[derive(Debug)]
pub struct Engine {
    /// Its end ends the thread. `None` only while it is dropped.
    told: Option<UnboundedSender<Told>>,
    figures: Arc<Mutex<Counted>>,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Checks all of `targets` from now on; [`TargetId`]s are their positions. `send` is called by
    /// the engine's own thread and must not wait; once it returns false there are no more checks.
    ///
    /// # Errors
    /// See [`EngineError`]; nothing is checked then.
    pub fn start(
        targets: Vec<Target>,
        settings: Settings,
        send: impl Fn(Report) -> bool + Send + 'static,
    ) -> Result<Self, EngineError> {
        let (told, news) = unbounded_channel();
        let figures = Arc::new(Mutex::new(Counted::default()));
        let shown = Arc::clone(&figures);
        let (ready, started) = mpsc::channel();
        let body = move || {
            let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready.send(Err(EngineError::Thread(error)))),
            };
            runtime.block_on(async {
                let (heard, announcements) = unbounded_channel();
                let asking = match Asking::new(&targets, &settings, heard).await {
                    Ok(asking) => asking,
                    Err(error) => return drop(ready.send(Err(error.into()))),
                };
                // Whoever started it waits for this.
                let _ = ready.send(Ok(()));
                let patience = match settings.freeze {
                    Duration::ZERO => PATIENCE,
                    freeze => freeze,
                };
                let longest = targets.iter().map(|target| target.health.interval).max();
                let last_word = LastWord(send);
                let mut turns = Turns {
                    begin: Instant::now(),
                    schedule: Schedule::new(&targets, &settings.known, patience, Duration::ZERO),
                    asking: &asking,
                    shown: &shown,
                    alarms: alarm::Watch::new(longest.unwrap_or_default()),
                    figures_at: Duration::ZERO,
                };
                turns.run(news, announcements, &last_word.0).await;
            });
        };
        let thread = thread::Builder::new().name("checks".to_owned()).spawn(body);
        let thread = thread.map_err(EngineError::Thread)?;
        let engine = Self { told: Some(told), figures, thread: Some(thread) };
        started
            .recv()
            .unwrap_or_else(|_| Err(EngineError::Thread(std::io::Error::other("it ended"))))?;
        Ok(engine)
    }

    /// These targets are not to be asked from now on, and all others are.
    pub fn rest(&self, resting: BTreeSet<TargetId>) {
        self.tell(Told::Rest(resting));
    }

    /// The own way to an address is up or down from now on.
    pub fn path(&self, address: IpAddr, up: bool) {
        self.tell(Told::Path { address, up });
    }

    /// An address is behind a gateway from now on; `None`: it is on link.
    pub fn gateway(&self, address: IpAddr, gateway: Option<IpAddr>) {
        self.tell(Told::Gateway { address, gateway });
    }

    /// A gateway answered after it was doubted ([`Report::Doubt`]).
    pub fn gateway_answers(&self, gateway: IpAddr) {
        self.tell(Told::Answers { gateway });
    }

    /// Packets for a node are sent so from now on; `None`: nobody knows how.
    /// Only checks through a VIP want to know.
    pub fn hop(&self, to: Delivery, record: Option<NodeRecord>) {
        self.tell(Told::Hop { to, record });
    }

    fn tell(&self, news: Told) {
        if let Some(told) = &self.told {
            // An engine that ended of itself said so.
            let _ = told.send(news);
        }
    }

    /// What was done and seen so far, at most some 100 ms old.
    pub fn figures(&self) -> Figures {
        let counted = lock(&self.figures).clone();
        counted.into()
    }
}

impl Drop for Engine {
    /// Ends all checks before it returns.
    fn drop(&mut self) {
        self.told = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the checks panicked");
        }
    }
}

fn lock(figures: &Mutex<Counted>) -> MutexGuard<'_, Counted> {
    figures.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says at the end of the engine's thread, also by a panic, that it has ended.
struct LastWord<F: Fn(Report) -> bool>(F);

impl<F: Fn(Report) -> bool> Drop for LastWord<F> {
    fn drop(&mut self) {
        // Nobody listens any more if it was dropped.
        let _ = (self.0)(Report::Ended);
    }
}

/// Passes values on until either side is gone; `to` says whether its side is there.
pub(crate) async fn pass_on<T>(mut from: UnboundedReceiver<T>, to: impl Fn(T) -> bool) {
    while let Some(value) = from.recv().await {
        if !to(value) {
            return;
        }
    }
}

/// The engine's loop.
struct Turns<'a> {
    begin: Instant,
    schedule: Schedule,
    asking: &'a Asking<'a>,
    shown: &'a Mutex<Counted>,
    alarms: alarm::Watch,
    /// When figures are due.
    figures_at: Duration,
}

impl Turns<'_> {
    async fn run(
        &mut self,
        mut news: UnboundedReceiver<Told>,
        mut announcements: UnboundedReceiver<Heard>,
        send: &impl Fn(Report) -> bool,
    ) {
        let asking = self.asking;
        let mut flights: FuturesUnordered<Check<'_>> = FuturesUnordered::new();
        let mut wake = Box::pin(time::sleep(Duration::ZERO));
        let mut counted = Vec::new();
        loop {
            // All checks are one task of tokio's: its budget would let them wait for each other.
            // Instead sockets and timers are looked at between turns.
            yield_now().await;
            wake.as_mut().reset((self.begin + self.schedule.wake_at()).into());
            tokio::select! {
                told = news.recv() => match told {
                    Some(told) => self.take(told),
                    None => return,
                },
                Some(heard) = announcements.recv() => self.hear(&heard, &mut counted),
                Some(ended) = unconstrained(flights.next()) => {
                    let (mut next, mut room) = (Some(ended), BATCH);
                    while let Some((job, outcomes)) = next {
                        let now = self.begin.elapsed();
                        counted.extend(self.schedule.ended(job, now, &outcomes));
                        room -= 1;
                        let more = (room > 0).then(|| unconstrained(flights.next()).now_or_never());
                        next = more.flatten().flatten();
                    }
                }
                () = &mut wake => {}
            }
            for start in self.schedule.poll(self.begin.elapsed()) {
                flights.push(asking.make(start));
            }
            let alarms = self.show();
            counted.extend(self.schedule.released());
            let checked =
                (!counted.is_empty()).then(|| Report::Checked(std::mem::take(&mut counted)));
            let doubts = self.schedule.doubted().into_iter().map(Report::Doubt);
            let alarms = alarms.into_iter().map(Report::Alarm);
            if !checked.into_iter().chain(alarms).chain(doubts).all(send) {
                return;
            }
        }
    }

    fn take(&mut self, told: Told) {
        match told {
            Told::Rest(resting) => self.schedule.rest(resting),
            Told::Path { address, up } => self.schedule.path(address, up, self.begin.elapsed()),
            Told::Gateway { address, gateway } => self.schedule.gateway(address, gateway),
            Told::Answers { gateway } => {
                self.schedule.gateway_answers(gateway, self.begin.elapsed());
            }
            Told::Hop { to, record } => {
                self.asking.set_hop(to, record);
                if record.is_some() {
                    self.schedule.can_be_made(to.address, self.begin.elapsed());
                }
            }
        }
    }

    fn hear(&mut self, heard: &Heard, counted: &mut Vec<(TargetId, Outcome)>) {
        let now = self.begin.elapsed();
        for target in self.asking.about(heard) {
            let outcome = self.schedule.announced(target, heard.said.survival, now);
            // They are older.
            counted.extend(self.schedule.released());
            counted.push((target, outcome));
        }
    }

    /// Shows figures, if it is time; returns what is worth a word.
    fn show(&mut self) -> Vec<Alarm> {
        let now = self.begin.elapsed();
        if now < self.figures_at {
            return Vec::new();
        }
        self.figures_at = now + FIGURES;
        let checked = self.schedule.figures();
        let alarms = self.alarms.look(&checked, now).collect();
        let (surveyed, via_vip) = (self.asking.surveyed().collect(), self.asking.vip_path());
        *lock(self.shown) = Counted { checked, surveyed, via_vip };
        alarms
    }
}
