//! One run of the lab, from nothing to its summary.

use std::{
    io::{IsTerminal, stdout},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{
    board::Watch,
    lab::{
        judge::{Tolerance, judge},
        lines, screen,
        script::{self, Options, Sabotage},
        stage::Stage,
        summary::Summary,
    },
    load::{Load, Log, Rates, TIMEOUT},
    site::Site,
    stop::Stop,
    variant::Variant,
};

/// What can be chosen.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long the script takes.
    pub length: Duration,
    /// The network.
    pub variant: Variant,
    /// How exact the shares must be.
    pub tolerance: Tolerance,
    /// New requests a second.
    pub requests: u32,
    /// Break something on purpose.
    pub sabotage: Option<Sabotage>,
}

/// Runs it.
///
/// # Errors
/// If something cannot be had, the daemon does not follow the script, or the switch is pulled.
/// Nothing is left of it then, as after success.
pub fn run(settings: Settings, stop: &Stop) -> Result<Summary> {
    let variant = settings.variant;
    println!("{variant}: building the network, starting the servers and the daemon");
    let mut site = Site::start(stop, variant)?;
    let rates = Rates::of(settings.requests);
    let load = Load::start(&site.topology, rates)?;
    let options = Options {
        length: settings.length,
        samples: settings.tolerance.samples(),
        flows: rates.flows.into(),
        phase: rates.flow_period * 2 + TIMEOUT,
        sabotage: settings.sabotage,
    };
    let stage = Stage::begin();
    let display = Display::start(&stage, &load.log, &site.board.watch, stop)?;
    let played = script::play(&mut site, &load.log, &stage, options);
    drop(display);
    let record = played?;
    let samples = std::mem::take(&mut *load.log.samples());
    let lasting = load.log.lasting().clone();
    let summary = judge(&record, &samples, &lasting, settings.tolerance);
    if !summary.held {
        eprintln!("the daemon: {}", site.daemon_words());
    }
    Ok(summary)
}

/// Shows the run while it lasts: a screen on a terminal, else lines.
struct Display {
    end: Stop,
    thread: Option<JoinHandle<()>>,
}

impl Display {
    fn start(stage: &Stage, log: &Arc<Log>, watch: &Watch, stop: &Stop) -> Result<Self> {
        let end = Stop::default();
        let (stage, log, watch) = (stage.clone(), Arc::clone(log), watch.clone());
        let (until, stop) = (end.clone(), stop.clone());
        let show = move || {
            if stdout().is_terminal() {
                screen::draw(&stage, &log, &watch, &until, &stop);
            } else {
                lines::print(&stage, &log, &watch, &until);
            }
        };
        let thread = thread::Builder::new().name("display".into()).spawn(show);
        Ok(Self { end, thread: Some(thread.context("starting a thread")?) })
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.end.pull("the end");
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
