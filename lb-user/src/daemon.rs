//! One loop over a closed set of inputs → `decide` → effects. Owns the data plane.

mod events;
pub mod status;

use std::{sync::Arc, time::Duration};

use futures_util::future::OptionFuture;
use lb_common::NodeId;
use thiserror::Error;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::{self, Instant, MissedTickBehavior},
};
use tracing::{error, info, warn};

use crate::{
    config::{Config, ProbeKind},
    control::{Asked, ControlError, Request, Socket},
    dataplane::{self, Dataplane, Opened, attach::Attached, grace::Grace, writer::CommitError},
    decide::{Effect, Event, Intent, State},
    explain::{self, FlowError, Source},
    nexthop::{self, NextHopError, NextHops},
    object::object,
    probe,
};
use events::Events;

/// How often the daemon shows in `CONTROL` that it lives.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// How often the program's own log, if it has one, is read.
const LOG_POLL: Duration = Duration::from_millis(200);

/// Why the daemon did not start.
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
    NextHop(#[from] NextHopError),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("cannot wait for signals: {0}")]
    Signals(#[source] std::io::Error),
}

/// Everything that the loop reacts to, besides time and signals.
enum Input {
    Event(Event),
    /// Programs of earlier epochs have ended.
    Graced(u64),
    Asked(Asked),
}

struct Daemon {
    config: Arc<Config>,
    state: State,
    dataplane: Dataplane,
    start: Instant,
    /// To be committed as soon as there is room; a later one replaces it.
    pending: Option<Arc<Intent>>,
    /// Told which epoch to wait for.
    grace: std::sync::mpsc::Sender<u64>,
    events: Events,
    adopted: bool,
}

/// Runs until SIGTERM or SIGINT. Program, links and tables stay in force then.
///
/// # Errors
/// See [`DaemonError`]; nothing half done stays.
pub async fn run(config: Config, interfaces: Vec<String>) -> Result<(), DaemonError> {
    if interfaces.is_empty() {
        return Err(DaemonError::NoInterface);
    }
    let mut terminate = signal(SignalKind::terminate()).map_err(DaemonError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(DaemonError::Signals)?;
    let opened = Dataplane::open(&dataplane::Options {
        object: object().ok_or(DaemonError::NoObject)?,
        bpffs: &config.lb.bpffs,
        interfaces: &interfaces,
        secret: config.lb.secret,
        hash: config.lb.hash,
    })?;
    report_attached(&opened);
    warn_about_vips(&config).await?;

    let config = Arc::new(config);
    let (send, mut inputs) = unbounded_channel();
    let socket = Socket::listen(&config.lb.socket)?;
    let (asked, requests) = unbounded_channel();
    tokio::spawn(socket.serve(asked));
    tokio::spawn(pass_on(requests, send.clone(), Input::Asked));
    let (hops, found) = unbounded_channel();
    NextHops::follow(&config, hops).await?;
    tokio::spawn(pass_on(found, send.clone(), |(node, hop)| {
        Input::Event(Event::Resolved { node, hop: Some(hop) })
    }));
    start_probes(&config, &send);
    let mut daemon = Daemon::new(config, opened, send);
    let mut heartbeat = time::interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let deadline = daemon.state.deadline().map(|at| daemon.start + at);
        tokio::select! {
            // Without a bias a flood of inputs could starve the signals; with one it cannot.
            biased;
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = heartbeat.tick() => daemon.dataplane.heartbeat(),
            Some(input) = inputs.recv() => daemon.take(input, &mut inputs),
            Some(()) = OptionFuture::from(deadline.map(time::sleep_until)) => daemon.step(&[]),
        }
    }
    info!("stopping; program, links and tables stay in force (`understudy detach` removes them)");
    Ok(())
}

impl Daemon {
    fn new(config: Arc<Config>, opened: Opened, send: UnboundedSender<Input>) -> Self {
        let Opened { dataplane, grace, adopted, ebpf, .. } = opened;
        log_of_the_program(ebpf);
        let (epochs, waited_for) = std::sync::mpsc::channel();
        std::thread::spawn(move || wait_for_grace(grace, &waited_for, &send));
        Self {
            state: State::new(Arc::clone(&config), Duration::ZERO),
            config,
            dataplane,
            start: Instant::now(),
            pending: None,
            grace: epochs,
            events: Events::default(),
            adopted,
        }
    }

    /// Takes an input, and with it all others that wait already: one batch, one commit.
    fn take(&mut self, first: Input, inputs: &mut UnboundedReceiver<Input>) {
        let mut batch = Vec::new();
        let mut next = Some(first);
        while let Some(input) = next {
            match input {
                Input::Event(event) => batch.push(event),
                Input::Graced(epoch) => {
                    self.dataplane.graced(epoch);
                    self.commit();
                }
                Input::Asked((Request::Status, reply)) => {
                    // Whoever asked may have gone away.
                    let _ = reply.send(self.status());
                }
                Input::Asked((Request::Explain { flows }, reply)) => {
                    let _ = reply.send(self.explain(&flows));
                }
            }
            next = inputs.try_recv().ok();
        }
        if !batch.is_empty() {
            self.step(&batch);
        }
    }

    fn step(&mut self, batch: &[Event]) {
        for effect in self.state.step(self.start.elapsed(), batch) {
            match effect {
                Effect::Publish(intent) => {
                    self.pending = Some(intent);
                    self.commit();
                }
                Effect::Refused(violations) => {
                    let text: Vec<_> = violations.iter().map(|v| format!("{v:?}")).collect();
                    error!("a plan was refused, the one in force stays: {}", text.join("; "));
                    self.events.add(self.dataplane.epoch(), "refused", "", text.join("; "));
                }
                Effect::Notice(notice) => {
                    let event = events::render(&self.config, &self.state, &notice);
                    info!("{}: {}", event.subject, event.text);
                    self.events.push(self.dataplane.epoch(), event);
                }
            }
        }
    }

    /// Commits what is pending, if there is room.
    fn commit(&mut self) {
        let Some(intent) = self.pending.take() else { return };
        let begin = Instant::now();
        match self.dataplane.commit(&intent) {
            Ok(epoch) => {
                let text = format!("epoch {epoch} in force, written in {:?}", begin.elapsed());
                info!("{text}");
                self.events.add(epoch, "commit", "", text);
                self.adopted = false;
                // The thread ends only with the process.
                let _ = self.grace.send(epoch);
                if let Err(error) = self.dataplane.show(&intent) {
                    error!("cannot update the maps for people: {error}");
                }
            }
            // Tried again after the grace period that is under way.
            Err(CommitError::Busy) => self.pending = Some(intent),
            Err(refused) => {
                error!("cannot commit, the plan in force stays: {refused}");
                self.events.add(self.dataplane.epoch(), "refused", "", refused.to_string());
            }
        }
    }

    /// Where flows go by the tables in force: a list of [`explain::Answer`], or a refusal.
    fn explain(&self, flows: &[String]) -> String {
        let view = self.state.view();
        let one = |flow: &String| -> Result<_, FlowError> {
            Ok(explain::answer(&view, &**self.dataplane.memory(), Source::Daemon, &flow.parse()?))
        };
        match flows.iter().map(one).collect::<Result<Vec<_>, _>>() {
            Ok(answers) => serde_json::json!(answers),
            Err(error) => serde_json::json!({ "error": error.to_string() }),
        }
        .to_string()
    }

    fn status(&self) -> String {
        status::render(&self.state, &self.dataplane, &self.events, self.adopted)
    }
}

/// Waits for a grace period after each epoch, off the loop's way; several epochs need one only.
fn wait_for_grace(
    mut grace: Grace,
    epochs: &std::sync::mpsc::Receiver<u64>,
    done: &UnboundedSender<Input>,
) {
    while let Ok(mut epoch) = epochs.recv() {
        while let Ok(later) = epochs.try_recv() {
            epoch = later;
        }
        match grace.wait() {
            Ok(()) => {
                if done.send(Input::Graced(epoch)).is_err() {
                    return;
                }
            }
            // Nothing is freed then: commits go on until the generations are used up, and stop.
            Err(error) => error!("cannot wait for a grace period: {error}"),
        }
    }
}

/// The program's own log lines, if it was built with them (feature `log`).
fn log_of_the_program(mut ebpf: aya::Ebpf) {
    if ebpf.map("AYA_LOGS").is_none() {
        return;
    }
    match aya_log::EbpfLogger::init(&mut ebpf) {
        Ok(mut logger) => {
            tokio::spawn(async move {
                let _keep = ebpf;
                let mut again = time::interval(LOG_POLL);
                loop {
                    again.tick().await;
                    logger.flush();
                }
            });
        }
        Err(error) => warn!("the program's log cannot be read: {error}"),
    }
}

async fn pass_on<T>(
    mut from: UnboundedReceiver<T>,
    to: UnboundedSender<Input>,
    wrap: impl Fn(T) -> Input,
) {
    while let Some(value) = from.recv().await {
        if to.send(wrap(value)).is_err() {
            return;
        }
    }
}

fn report_attached(opened: &Opened) {
    for (target, how) in &opened.attached {
        match how {
            Attached::Native => info!("attached to {} in native mode", target.name),
            Attached::Adopted => {
                info!("adopted {}; its program was replaced in place", target.name)
            }
            Attached::Generic => warn!(
                "attached to {} in generic mode, which is slow: its driver has no native XDP, or \
                 not at this MTU",
                target.name
            ),
        }
    }
    if opened.adopted {
        info!("adopted epoch {}, which stays in force", opened.dataplane.epoch());
    }
}

/// Warns of VIPs whose packets would not come here by themselves.
async fn warn_about_vips(config: &Config) -> Result<(), DaemonError> {
    for service in &config.services {
        if !nexthop::is_local(service.address).await? {
            warn!(
                "service {}: {} is neither an address of this host nor routed to it: nobody here \
                 answers ARP for it. `ip address add {}/32 dev lo` makes it one",
                service.name, service.address, service.address
            );
        }
    }
    Ok(())
}

/// Starts the checks of all nodes, each with a phase of its own.
fn start_probes(config: &Config, send: &UnboundedSender<Input>) {
    let clusters = config.clusters.iter().enumerate();
    let nodes = clusters.flat_map(|(i, c)| c.nodes.iter().map(move |node| (i, c, node)));
    for (index, (position, cluster, node)) in nodes.enumerate() {
        let Some(id) = NodeId::new(index) else { continue };
        // Without a service to serve nobody needs to know how the cluster's nodes are.
        let Some(port) = config.health_port(position, node) else { continue };
        let health = cluster.health.clone();
        let target = (node.address, port).into();
        let send = send.clone();
        tokio::spawn(async move {
            // The first check at once; the next ones spread over the interval.
            let phase = lb_common::hash::mix(index as u64) % health.interval.as_nanos() as u64;
            let mut next = Instant::now() + Duration::from_nanos(phase);
            loop {
                let outcome = match health.kind {
                    ProbeKind::Tcp => probe::tcp(target, health.timeout).await,
                };
                if send.send(Input::Event(Event::Checked { node: id, outcome })).is_err() {
                    return;
                }
                time::sleep_until(next).await;
                next += health.interval;
            }
        });
    }
}

/// The interfaces to attach to: those of the configuration, and the one of the command line.
#[must_use]
pub fn interfaces(config: &Config, more: Option<String>) -> Vec<String> {
    let mut names: Vec<String> = config.interfaces.iter().map(|i| i.name.clone()).collect();
    names.extend(more.filter(|name| !names.contains(name)));
    names
}
