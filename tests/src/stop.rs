//! When a run ends early: a signal, a panic in any thread, or the user on the screen.

use std::{
    fmt, panic,
    process::ExitCode,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context, Error, Result};
use tokio::signal::unix::{SignalKind, signal};

use crate::clock::Moment;

/// A switch that stays pulled; whoever waits on it wakes at once.
#[derive(Clone, Default, Debug)]
pub struct Stop(Arc<(Mutex<Option<String>>, Condvar)>);

/// The switch was pulled, and why.
#[derive(Debug)]
pub struct Interrupted(String);

impl Stop {
    /// A switch that SIGINT, SIGTERM and SIGHUP pull.
    ///
    /// Handlers, and not a blocked mask: children would inherit the mask. They stay installed, so
    /// that a second signal does not cut the clean-up short.
    ///
    /// # Errors
    /// If no signal handler can be installed.
    pub fn on_signals() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("starting the signal thread")?;
        let (mut interrupt, mut terminate, mut hangup) = {
            let _guard = runtime.enter();
            (
                signal(SignalKind::interrupt()).context("handling SIGINT")?,
                signal(SignalKind::terminate()).context("handling SIGTERM")?,
                signal(SignalKind::hangup()).context("handling SIGHUP")?,
            )
        };
        let this = Self::default();
        let stop = this.clone();
        thread::spawn(move || {
            let name = runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => "SIGINT",
                    _ = terminate.recv() => "SIGTERM",
                    _ = hangup.recv() => "SIGHUP",
                }
            });
            stop.pull(name);
        });
        Ok(this)
    }

    /// A panic in any thread pulls it as well.
    pub fn also_on_panic(&self) {
        let (hook, stop) = (panic::take_hook(), self.clone());
        panic::set_hook(Box::new(move |info| {
            stop.pull("a panic");
            hook(info);
        }));
    }

    /// Ends the run; the first reason stays.
    pub fn pull(&self, reason: &str) {
        self.reason().get_or_insert_with(|| reason.to_owned());
        self.0.1.notify_all();
    }

    /// Whether the run is to end.
    #[must_use]
    pub fn pulled(&self) -> bool {
        self.reason().is_some()
    }

    /// Goes on.
    ///
    /// # Errors
    /// If the switch is pulled.
    pub fn check(&self) -> Result<(), Interrupted> {
        self.wait(Duration::ZERO)
    }

    /// Waits so long.
    ///
    /// # Errors
    /// As soon as the switch is pulled.
    pub fn wait(&self, time: Duration) -> Result<(), Interrupted> {
        let end = Moment::now().after(time);
        let mut reason = self.reason();
        loop {
            if let Some(reason) = reason.as_ref() {
                return Err(Interrupted(reason.clone()));
            }
            let left = end.since(Moment::now());
            if left.is_zero() {
                return Ok(());
            }
            let wait = self.0.1.wait_timeout(reason, left);
            reason = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn reason(&self) -> MutexGuard<'_, Option<String>> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "interrupted by {}", self.0)
    }
}

impl std::error::Error for Interrupted {}

/// Tells people why a program ends, once it has cleaned up; and the shell: 130 if it was interrupted.
#[must_use]
pub fn told(error: &Error) -> ExitCode {
    match error.downcast_ref::<Interrupted>() {
        Some(interrupted) => {
            eprintln!("{interrupted}; everything is cleaned up");
            ExitCode::from(130)
        }
        None => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn who_was_interrupted_in_the_middle_of_something_says_130() {
        let stop = Stop::default();
        assert!(stop.check().is_ok());
        stop.pull("SIGINT");
        stop.pull("SIGTERM");
        let error = stop.check().context("in the middle of something").expect_err("it is pulled");
        assert_eq!(error.root_cause().to_string(), "interrupted by SIGINT");
        assert_eq!(told(&error), ExitCode::from(130));
        assert_eq!(told(&anyhow!("something else")), ExitCode::FAILURE);
    }
}
