//! What the daemon says, kept up to date: its latest status and every event it ever told.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{
    clock::Moment,
    deaths::Death,
    status::{Event, Status},
    stop::Stop,
};

/// How often the daemon is asked.
const PERIOD: Duration = Duration::from_millis(50);

/// What is known of the daemon.
#[derive(Clone, Debug, Default)]
pub struct Knowledge {
    /// Its latest answer; `None` while nobody answers.
    pub status: Option<Status>,
    /// Every event it told, by time.
    pub events: BTreeSet<Event>,
}

impl Knowledge {
    /// The first event of a kind at or after a moment, about a subject if one is given.
    #[must_use]
    pub fn event(&self, kind: &str, subject: Option<&str>, since: Moment) -> Option<&Event> {
        let matches = |event: &&Event| {
            event.kind == kind && event.at() >= since && subject.is_none_or(|s| s == event.subject)
        };
        self.events.iter().find(matches)
    }

    /// When a dead node got no new flows any more: by the commit that follows its death, or, if it was
    /// never missed, by its return. `None` before that.
    #[must_use]
    pub fn out_after(&self, death: &Death) -> Option<Moment> {
        let node = death.node.node();
        let subject = format!("{}/{}", node.cluster, node.name);
        let verdict = self.event("node_down", Some(&subject), death.from);
        let commit = verdict.and_then(|verdict| self.event("commit", None, verdict.at()));
        commit.map(Event::at).or(death.to)
    }
}

/// Asks the daemon again and again. Dropping it ends that.
#[derive(Debug)]
pub struct Board {
    /// What it learns.
    pub watch: Watch,
    thread: Option<JoinHandle<()>>,
}

/// Where what is known can be read, from any thread.
#[derive(Clone, Debug, Default)]
pub struct Watch(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    knowledge: Mutex<Knowledge>,
    changed: Condvar,
    end: Stop,
}

impl Board {
    /// Starts asking at a control socket, whether or not somebody listens there yet.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn watch(socket: PathBuf) -> Result<Self> {
        let watch = Watch::default();
        let to = Arc::clone(&watch.0);
        let thread = thread::Builder::new().name("board".into()).spawn(move || {
            while to.end.wait(PERIOD).is_ok() {
                to.learn(Status::ask(&socket).ok());
            }
        });
        Ok(Self { watch, thread: Some(thread.context("starting a thread")?) })
    }
}

impl Watch {
    /// What is known now.
    #[must_use]
    pub fn now(&self) -> Knowledge {
        self.0.knowledge().clone()
    }

    /// Waits a moment for news.
    pub fn wait_for_news(&self) {
        let wait = self.0.changed.wait_timeout(self.0.knowledge(), PERIOD * 2);
        drop(wait.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Shared {
    fn knowledge(&self) -> MutexGuard<'_, Knowledge> {
        self.knowledge.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn(&self, mut status: Option<Status>) {
        let mut knowledge = self.knowledge();
        if let Some(status) = &mut status {
            knowledge.events.extend(std::mem::take(&mut status.events));
        }
        knowledge.status = status;
        self.changed.notify_all();
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        self.watch.0.end.pull("the end");
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
