//! A runtime on a thread of its own, for clients that ask and servers that answer while a test looks on.

use std::{
    sync::mpsc,
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result, anyhow};
use tokio::{runtime::Builder, sync::oneshot};

/// The thread. Dropping it ends all that runs there.
#[derive(Debug)]
pub struct Background {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Starts it. `spawn` is called on its runtime and spawns what is to run; when this returns, it has.
    ///
    /// # Errors
    /// If a thread or the runtime cannot be had, and what `spawn` says.
    pub fn start(name: &str, spawn: impl FnOnce() -> Result<()> + Send + 'static) -> Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = mpsc::sync_channel(1);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            let runtime = match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready.send(Err(error.into()))),
            };
            runtime.block_on(async {
                let started = spawn();
                let failed = started.is_err();
                let _ = ready.send(started);
                if !failed {
                    // Also ends when the sender is dropped.
                    let _ = stopped.await;
                }
            });
        });
        let this = Self { stop: Some(stop), thread: Some(thread.context("starting a thread")?) };
        is_ready.recv().map_err(|_| anyhow!("the thread of {name} died"))??;
        Ok(this)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
