//! One loop over a closed set of inputs → `decide` → effects. Owns the data plane.

mod commits;
pub mod detach;
pub mod events;
mod graces;
mod left;
mod orders;
mod requests;
mod saved;
mod startup;
pub mod status;
mod sweeps;
mod watch;
mod ways;

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures_util::future::OptionFuture;
use thiserror::Error;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::{self, Instant, MissedTickBehavior},
};
use tracing::{info, warn};

use crate::{
    config::Config,
    control::{Asked, ControlError, Socket},
    dataplane::{self, Dataplane, Opened},
    decide::{Effect, Event, Intent, State, intent, reason},
    engine::{EngineError, pass_on, worst::Worst},
    object::object,
};
use events::{Events, Format};
use left::Left;
use saved::Plans;
use sweeps::{Found, Sweeper};
use watch::{Seen, Watchers};

/// How often the daemon shows in `CONTROL` that it lives.
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(500);

/// Why the daemon did not start, or could not go on.
#[derive(Debug, Error)]
#[allow(missing_docs)]
pub enum DaemonError {
    #[error("built without the data path, use cargo xtask build")]
    NoObject,
    #[error("no interface: name one with [[interface]] in the configuration, or with --iface")]
    NoInterface,
    #[error(transparent)]
    Open(#[from] dataplane::OpenError),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("cannot wait for signals: {0}")]
    Signals(#[source] std::io::Error),
    #[error("the thread of the checks ended; packets go on by the tables in force")]
    NoChecks,
    #[error("the thread that looks at pins ended; packets go on by the tables in force")]
    NoSweeps,
}

/// Everything that the loop reacts to, besides time and signals.
enum Input {
    /// Something that the watchers of a configuration saw.
    Seen(Generation, Seen),
    /// Programs of earlier epochs have ended.
    Graced(u64),
    /// The pins were looked at.
    Swept(Found),
    /// Nobody looks at the pins any more.
    NoSweeps,
    Asked(Asked),
}

/// Counts configurations: events of an earlier one come too late.
type Generation = u64;

struct Daemon {
    /// As the file has it; what is in effect is the state's, with what is leaving.
    config: Arc<Config>,
    /// Where the configuration comes from.
    source: PathBuf,
    generation: Generation,
    /// Those of the configuration in force; there from the start of the loop on.
    watchers: Option<Watchers>,
    /// How late the loop ran.
    lag: Worst,
    inputs: UnboundedSender<Input>,
    state: State,
    dataplane: Dataplane,
    start: Instant,
    /// To be committed as soon as there is room; a later one replaces it.
    pending: Option<Arc<Intent>>,
    /// Told which epoch to wait for.
    grace: std::sync::mpsc::Sender<u64>,
    sweeper: Sweeper,
    left: Left,
    plans: Plans,
    events: Events,
    adopted: bool,
    /// A thread has ended without which there is no going on.
    lost: Option<DaemonError>,
}

/// Runs until SIGTERM or SIGINT. Program, links and tables stay in force then. `source` is the
/// file that the configuration was read from, and is read again by SIGHUP and `reload`. Events go to
/// standard output in this format, a line each.
///
/// # Errors
/// See [`DaemonError`]; nothing half done stays.
pub async fn run(
    config: Config,
    source: PathBuf,
    interfaces: Vec<String>,
    format: Format,
) -> Result<(), DaemonError> {
    if interfaces.is_empty() {
        return Err(DaemonError::NoInterface);
    }
    let mut terminate = signal(SignalKind::terminate()).map_err(DaemonError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(DaemonError::Signals)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(DaemonError::Signals)?;
    let (opened, socket) = open(&config, &interfaces)?;
    startup::raise_descriptor_limit();
    startup::report_attached(&opened, config.lb.pins);
    startup::warn_about_vips(&config).await;

    let (send, mut inputs) = unbounded_channel();
    let (asked, requests) = unbounded_channel();
    tokio::spawn(socket.serve(asked));
    let inputs_of = send.clone();
    tokio::spawn(pass_on(requests, move |asked| inputs_of.send(Input::Asked(asked)).is_ok()));
    let mut daemon = Daemon::new(Arc::new(config), source, opened, send, format);
    if let Err(error) = daemon.watch() {
        let (config, adopted) = (Arc::clone(&daemon.config), daemon.adopted);
        drop(daemon);
        startup::undo(&config, adopted);
        return Err(error.into());
    }
    let mut heartbeat = time::interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let deadline = daemon.state.deadline().map(|at| daemon.start + at);
        tokio::select! {
            // Signals first: a flood of inputs, taken in batches, does not hold them up.
            biased;
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            Some(()) = hang_up.recv() => {
                // Said in the log by `reload` itself.
                let _ = daemon.reload();
            }
            due = heartbeat.tick() => daemon.beat(due),
            Some(input) = inputs.recv() => daemon.take(input, &mut inputs),
            Some(()) = OptionFuture::from(deadline.map(time::sleep_until)) => daemon.step(&[]),
        }
        // Nothing would be noticed any more; whoever supervises starts another one.
        if let Some(lost) = daemon.lost.take() {
            return Err(lost);
        }
    }
    info!("stopping; program, links and tables stay in force (`understudy detach` removes them)");
    Ok(())
}

/// The data plane and the control socket; nothing stays if one of them cannot be had.
fn open(config: &Config, interfaces: &[String]) -> Result<(Opened, Socket), DaemonError> {
    let opened = Dataplane::open(&dataplane::Options {
        object: object().ok_or(DaemonError::NoObject)?,
        bpffs: &config.lb.bpffs,
        interfaces,
        secret: config.lb.secret,
        hash: config.lb.hash,
        pins: config.lb.pins,
    })?;
    // After the lock is taken: before that the socket could be a living daemon's.
    match Socket::listen(&config.lb.socket) {
        Ok(socket) => Ok((opened, socket)),
        Err(error) => {
            let adopted = opened.adopted;
            drop(opened);
            startup::undo(config, adopted);
            Err(error.into())
        }
    }
}

impl Daemon {
    fn new(
        config: Arc<Config>,
        source: PathBuf,
        opened: Opened,
        inputs: UnboundedSender<Input>,
        format: Format,
    ) -> Self {
        let Opened { mut dataplane, grace, adopted, ebpf, .. } = opened;
        startup::log_of_the_program(ebpf);
        let (epochs, waited_for) = std::sync::mpsc::channel();
        let done = inputs.clone();
        std::thread::spawn(move || graces::wait_for(grace, &waited_for, &done));
        let plans = Plans::beside(&config.lb.socket, &config.lb.bpffs);
        let begin = saved::begin(&config, &plans, &mut dataplane, adopted, Duration::ZERO);
        let mut events = Events::written(format);
        startup::tell(&begin, dataplane.epoch(), &mut events);
        Self {
            state: begin.state,
            config,
            source,
            generation: 0,
            watchers: None,
            lag: Worst::new(Duration::ZERO),
            sweeper: Sweeper::start(Arc::clone(dataplane.memory()), inputs.clone()),
            left: Left::default(),
            inputs,
            dataplane,
            start: Instant::now(),
            pending: None,
            grace: epochs,
            plans,
            events,
            adopted,
            lost: None,
        }
    }

    /// Starts the watchers of the state's configuration, and ends others. Returns the names of what was
    /// leaving and is not in it.
    fn watch(&mut self) -> Result<Vec<String>, EngineError> {
        let (generation, inputs) = (self.generation + 1, self.inputs.clone());
        let send = move |seen| inputs.send(Input::Seen(generation, seen)).is_ok();
        self.watchers = Some(Watchers::start(&self.state.view(), generation, send)?);
        self.generation = generation;
        Ok(self.left.update(self.state.view().model, self.start.elapsed()))
    }

    /// Goes on with the state of another configuration, as [`Daemon::watch`].
    fn go_on_with(&mut self, next: State) -> Result<Vec<String>, EngineError> {
        let before = std::mem::replace(&mut self.state, next);
        self.watch().inspect_err(|_| self.state = before)
    }

    /// Shows that the daemon lives, and how late.
    fn beat(&mut self, due: Instant) {
        self.lag.record(self.start.elapsed(), due.elapsed());
        self.dataplane.heartbeat();
        self.sweep();
    }

    /// Takes an input, and with it all others that wait already: one batch, one commit.
    fn take(&mut self, first: Input, inputs: &mut UnboundedReceiver<Input>) {
        let mut batch = Vec::new();
        // Those that come meanwhile are for the next turn: signals are looked at in between.
        let mut waiting = inputs.len();
        let mut next = Some(first);
        while let Some(input) = next {
            match input {
                Input::Seen(generation, seen) if generation == self.generation => {
                    self.see(seen, &mut batch);
                }
                Input::Seen(..) => {}
                Input::Graced(epoch) => self.graced(epoch),
                Input::Swept(found) => {
                    // What came before it is of a configuration that it may replace.
                    self.step(&std::mem::take(&mut batch));
                    self.swept(found);
                }
                Input::NoSweeps => {
                    let (epoch, lost) = (self.dataplane.epoch(), DaemonError::NoSweeps);
                    self.events.add(epoch, "no_sweeps", "", lost.to_string());
                    self.lost = Some(lost);
                }
                Input::Asked((request, reply)) => {
                    // What came before the request is in its answer, and not of a configuration
                    // that it replaces.
                    self.step(&std::mem::take(&mut batch));
                    // Whoever asked may have gone away.
                    let _ = reply.send(self.answer(&request));
                }
            }
            next = if waiting > 0 { inputs.try_recv().ok() } else { None };
            waiting = waiting.saturating_sub(1);
        }
        if !batch.is_empty() {
            self.step(&batch);
        }
    }

    /// Turns what watchers saw into events, and says what people want to know of it.
    fn see(&mut self, seen: Seen, batch: &mut Vec<Event>) {
        let epoch = self.dataplane.epoch();
        match seen {
            Seen::Checked(outcomes) => {
                let checked = |(target, outcome)| Event::Checked { target, outcome };
                batch.extend(outcomes.into_iter().map(checked));
            }
            Seen::Way(found) => {
                let (watchers, model) = (self.watchers.as_mut(), self.state.view().model);
                let hop = found.hop.ok();
                let way = model.ids.node(found.node).map(|node| Event::Resolved { node, hop });
                batch.extend(way);
                for change in watchers.map_or(Vec::new(), |w| w.way(model, &found)) {
                    warn!("{change}");
                    let subject = ways::name(change.cause);
                    self.events.add(epoch, change.kind(), &subject, change.to_string());
                }
            }
            Seen::Host(host) => {
                let left_out = intent::left_out(self.state.view().model, &host);
                if left_out > 0 {
                    let text = reason::explain_left_out(left_out);
                    warn!("{text}");
                    self.events.add(epoch, "too_many_addresses", "", text);
                }
                batch.push(Event::Host(host));
            }
            Seen::Ended => {
                self.events.add(epoch, "no_checks", "", DaemonError::NoChecks.to_string());
                self.lost = Some(DaemonError::NoChecks);
            }
            Seen::GatewayAnswers(gateway) => {
                let watchers = self.watchers.as_ref();
                watchers.into_iter().for_each(|watchers| watchers.gateway_answers(gateway));
            }
            Seen::Alarm(alarm) => {
                warn!("{alarm}");
                self.events.add(epoch, alarm.kind(), "", alarm.to_string());
            }
        }
    }

    fn step(&mut self, batch: &[Event]) {
        for effect in self.state.step(self.start.elapsed(), batch) {
            match effect {
                Effect::Publish(intent) => {
                    self.save_plan();
                    self.pending = Some(intent);
                    self.commit();
                }
                Effect::Refused(violations) => {
                    let model = self.state.view().model;
                    let text = violations.iter().map(|v| reason::explain_violation(model, v));
                    let text = text.collect::<Vec<_>>().join("; ");
                    let text = format!("a plan was refused, the one in force stays: {text}");
                    self.events.add(self.dataplane.epoch(), "refused", "", text);
                }
                Effect::Notice(notice) => {
                    let (epoch, model) = (self.dataplane.epoch(), self.state.view().model);
                    self.events.notice(epoch, model, &notice);
                }
            }
        }
        if self.pending.is_none() && !self.state.is_undecided() {
            self.events.close();
        }
    }
}

/// The interfaces to attach to: those of the configuration, and the one of the command line.
#[must_use]
pub fn interfaces(config: &Config, more: Option<String>) -> Vec<String> {
    let mut names: Vec<String> = config.interfaces.iter().map(|i| i.name.clone()).collect();
    names.extend(more.filter(|name| !names.contains(name)));
    names
}
