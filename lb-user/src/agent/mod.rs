//! `understudy agent`: says of the servers of this host, from real checks of them, whether they
//! survive; to load balancers that ask, and unasked to those that did when something changes.
//!
//! One thread, one loop; time is monotonic, and nothing here reads a wall clock. What there is to
//! say is [`state`]'s, who hears it is [`askers`]'.

mod askers;
mod check;
mod link;
mod state;
#[cfg(test)]
mod tests;

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use nix::net::if_::if_nametoindex;
use thiserror::Error;
use tokio::{
    sync::mpsc::{Receiver, Sender, UnboundedReceiver, channel, unbounded_channel},
    task::JoinSet,
    time::{self, Instant, MissedTickBehavior},
};
use tracing::{debug, info, warn};

use crate::{
    config::{
        DEFAULT_AGENT_PORT, Server, SurveyKey,
        agent::{AgentConfig, Check, LocalServer},
    },
    probe::{ProbeError, Prober},
    survey::{
        Refusal, Refusals,
        wire::{self, Key, Kind, MAX_DATAGRAM, Message},
    },
};
use askers::{Askers, Envelope, Peer};
use link::Link;
use state::{Hold, State};

/// How often the drain file and the age of the checks are looked at.
const LOOK: Duration = Duration::from_millis(50);
/// An announcement is sent so often, as datagrams get lost …
const COPIES: u32 = 3;
/// … with so much time between.
const BETWEEN_COPIES: Duration = Duration::from_millis(10);
/// Datagrams that wait for the loop; more wait in the kernel.
const WAITING: usize = 64;
/// How often refusals are logged, if there are new ones.
const TELL_REFUSALS: Duration = Duration::from_secs(60);

/// What an agent is told while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// All servers are non-survival until [`Order::Undrain`].
    Drain,
    /// The checks count again.
    Undrain,
    /// Say non-survival, go on saying it for a while, and end.
    End,
}

/// Why there is no agent.
#[derive(Debug, Error)]
#[allow(missing_docs)]
pub enum AgentError {
    #[error("cannot listen at {at}: {error}")]
    Listen {
        at: SocketAddr,
        #[source]
        error: io::Error,
    },
    #[error("there is no interface {name}: {error}")]
    Interface {
        name: String,
        #[source]
        error: nix::Error,
    },
    #[error("cannot join group {group}: {error}; name its `interface`, and listen in its family")]
    Join {
        group: IpAddr,
        #[source]
        error: io::Error,
    },
    #[error(transparent)]
    Probe(#[from] ProbeError),
}

/// What an agent did and saw since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Questions that were believed.
    pub questions: u64,
    /// Datagrams sent in answer to them.
    pub answers: u64,
    /// Datagrams sent unasked.
    pub announcements: u64,
    /// Datagrams that this host could not send.
    pub unsent: u64,
    /// What was refused.
    pub refused: Refusals,
}

/// A bound agent.
pub struct Agent {
    key: Key,
    links: Vec<Arc<Link>>,
    servers: Vec<LocalServer>,
    prober: Arc<Prober>,
    drain_file: PathBuf,
    /// Server number that its share of a spread follows from.
    number: u32,
    state: State,
    askers: Askers,
    later: JoinSet<Job>,
    counts: Counts,
}

/// What is due at a later time.
enum Job {
    Answer(Envelope),
    /// Once more, so many times.
    Announce(Vec<usize>, u32),
}

/// A datagram that came in.
struct Heard {
    peer: Peer,
    datagram: Vec<u8>,
}

impl Agent {
    /// Binds to addresses; without any to port 7411 of all of both families, if there is IPv6.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub fn bind(
        config: AgentConfig,
        key: &SurveyKey,
        listen: &[SocketAddr],
    ) -> Result<Self, AgentError> {
        let links = bind(listen)?;
        if let Some(group) = config.group {
            join(&links, group, config.interface.as_deref())?;
        }
        let probes = config.servers.iter().filter_map(|server| match &server.check {
            Check::Probe(target) => Some(target.clone()),
            Check::Command(_) => None,
        });
        let targets: Vec<_> = probes.collect();
        // Until the next check has ended, which begins when its time has come and this one is over.
        let fresh = |s: &LocalServer| (s.server, s.interval.max(s.timeout) + s.timeout);
        let fresh = config.servers.iter().map(fresh);
        Ok(Self {
            key: Key::from(key),
            links: links.into_iter().map(Arc::new).collect(),
            prober: Arc::new(Prober::new(&targets)?),
            drain_file: config.drain_file,
            number: config.servers.first().map_or(0, |server| server.server.number),
            state: State::new(fresh),
            servers: config.servers,
            askers: Askers::default(),
            later: JoinSet::new(),
            counts: Counts::default(),
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.links.iter().map(|link| link.address()).collect()
    }

    /// Checks and answers until it is told to end (or nobody is left who could tell), and then for
    /// `linger` more.
    pub async fn run(mut self, mut orders: Receiver<Order>, linger: Duration) -> Counts {
        let mut tasks = JoinSet::new();
        let mut heard = self.listen(&mut tasks);
        let mut verdicts = self.check(&mut tasks);
        let mut looks = time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = (Instant::now(), 0);
        let mut end = None;
        self.look();
        loop {
            self.announce_changes().await;
            tokio::select! {
                Some(heard) = heard.recv() => self.hear(heard).await,
                Some((server, begin, verdict)) = verdicts.recv() => {
                    self.state.checked(server, begin, verdict);
                }
                Some(Ok(job)) = self.later.join_next() => self.work(job).await,
                order = orders.recv(), if end.is_none() => match order {
                    Some(Order::Drain) => self.state.hold(Hold::Order, true),
                    Some(Order::Undrain) => self.state.hold(Hold::Order, false),
                    Some(Order::End) | None => {
                        self.state.hold(Hold::Ending, true);
                        end = Some(Instant::now() + linger);
                    }
                },
                now = looks.tick() => {
                    self.look();
                    self.tell_refusals(&mut told, now);
                    if end.is_some_and(|end| end <= now) {
                        break;
                    }
                }
            }
        }
        info!(
            "questions {}, answers {}, announcements {}, not sent {}; refused: {}",
            self.counts.questions,
            self.counts.answers,
            self.counts.announcements,
            self.counts.unsent,
            self.counts.refused
        );
        self.counts
    }

    /// Whether the drain file is there: a file, a link to nowhere, whatever.
    fn look(&mut self) {
        self.state.hold(Hold::File, self.drain_file.symlink_metadata().is_ok());
    }

    /// Starts to read from all sockets.
    fn listen(&self, tasks: &mut JoinSet<()>) -> Receiver<Heard> {
        let (sender, receiver) = channel(WAITING);
        for (link, socket) in self.links.iter().enumerate() {
            tasks.spawn(read(link, Arc::clone(socket), sender.clone()));
        }
        receiver
    }

    /// Starts to check all servers.
    fn check(&self, tasks: &mut JoinSet<()>) -> UnboundedReceiver<check::Checked> {
        let (sender, receiver) = unbounded_channel();
        for (index, server) in self.servers.iter().enumerate() {
            let prober = Arc::clone(&self.prober);
            tasks.spawn(check::watch(index, server.clone(), prober, sender.clone()));
        }
        receiver
    }

    /// Judges a datagram; answers it now or later.
    async fn hear(&mut self, Heard { peer, datagram }: Heard) {
        let (envelope, spread) = match self.believe(peer, &datagram) {
            Ok(question) => question,
            Err(refusal) => return self.counts.refused.count(refusal),
        };
        self.counts.questions += 1;
        let delay = share(spread, self.number, envelope.nonce.round);
        if delay.is_zero() {
            self.answer(envelope).await;
        } else {
            self.at(Instant::now() + delay, Job::Answer(envelope));
        }
    }

    fn believe(&mut self, peer: Peer, datagram: &[u8]) -> Result<(Envelope, Duration), Refusal> {
        let Message { kind, epoch, nonce, .. } = wire::decode(&self.key, datagram)?;
        let Kind::Question { spread } = kind else { return Err(Refusal::NotOurs) };
        Ok((self.askers.question(peer, epoch, nonce, Instant::now())?, spread))
    }

    async fn work(&mut self, job: Job) {
        match job {
            Job::Answer(envelope) => self.answer(envelope).await,
            Job::Announce(servers, copies) => self.announce(servers, copies).await,
        }
    }

    /// Says what is the case now, not what was when the question came.
    async fn answer(&mut self, envelope: Envelope) {
        let records = self.state.records(Instant::now());
        self.counts.answers += self.send(envelope, &records).await;
    }

    async fn announce_changes(&mut self) {
        let now = Instant::now();
        let changed = self.state.changes(now);
        if changed.is_empty() {
            return;
        }
        for &server in &changed {
            let Server { number, port } = self.servers[server].server;
            match self.state.obstacle(server, now) {
                None => info!("server {number}, port {port}: survival"),
                Some(reason) => warn!("server {number}, port {port}: non-survival: {reason}"),
            }
        }
        self.announce(changed, COPIES).await;
    }

    /// Says what is the case of some servers, unasked, so many times.
    async fn announce(&mut self, servers: Vec<usize>, copies: u32) {
        let now = Instant::now();
        let records: Vec<_> = servers.iter().map(|&s| self.state.record(s, now)).collect();
        for envelope in self.askers.announce() {
            self.counts.announcements += self.send(envelope, &records).await;
        }
        if copies > 1 {
            self.at(now + BETWEEN_COPIES, Job::Announce(servers, copies - 1));
        }
    }

    /// Sends records in as many datagrams as it takes; returns how many went out.
    async fn send(&mut self, envelope: Envelope, records: &[wire::Record]) -> u64 {
        let Envelope { peer, epoch, nonce, sequence } = envelope;
        let mut sent = 0;
        for datagram in wire::answer(&self.key, epoch, nonce, sequence, records) {
            match self.links[peer.link].send(&datagram, peer.address, peer.local).await {
                Ok(()) => sent += 1,
                Err(error) => {
                    self.counts.unsent += 1;
                    debug!("cannot send to {}: {error}", peer.address);
                }
            }
        }
        sent
    }

    fn at(&mut self, at: Instant, job: Job) {
        self.later.spawn(async move {
            time::sleep_until(at).await;
            job
        });
    }

    /// Logs refusals, if there are more than the last time, and that is long ago.
    fn tell_refusals(&self, told: &mut (Instant, u64), now: Instant) {
        let total = self.counts.refused.total();
        if now - told.0 >= TELL_REFUSALS && total > told.1 {
            warn!("refused since the start: {}", self.counts.refused);
            *told = (now, total);
        }
    }
}

/// A server's place within a spread: another one in each round.
fn share(spread: Duration, number: u32, round: u64) -> Duration {
    let mut hasher = DefaultHasher::new();
    (number, round).hash(&mut hasher);
    let micros = u64::try_from(spread.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(hasher.finish() % micros.saturating_add(1))
}

fn bind(listen: &[SocketAddr]) -> Result<Vec<Link>, AgentError> {
    let bind = |at| Link::bind(at).map_err(|error| AgentError::Listen { at, error });
    if !listen.is_empty() {
        return listen.iter().copied().map(bind).collect();
    }
    let v4 = bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, DEFAULT_AGENT_PORT)))?;
    let at = SocketAddr::from((Ipv6Addr::UNSPECIFIED, DEFAULT_AGENT_PORT));
    match Link::bind(at) {
        Ok(v6) => Ok(vec![v4, v6]),
        Err(error) if error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT) => Ok(vec![v4]),
        Err(error) => Err(AgentError::Listen { at, error }),
    }
}

fn join(links: &[Link], group: IpAddr, interface: Option<&str>) -> Result<(), AgentError> {
    let index = match interface {
        None => 0,
        Some(name) => if_nametoindex(name)
            .map_err(|error| AgentError::Interface { name: name.to_owned(), error })?,
    };
    let failed = |error| AgentError::Join { group, error };
    let mut is_joined = false;
    for link in links {
        if link.address().map_err(failed)?.is_ipv4() == group.is_ipv4() {
            link.join(group, index).map_err(failed)?;
            is_joined = true;
        }
    }
    if is_joined { Ok(()) } else { Err(failed(io::ErrorKind::AddrNotAvailable.into())) }
}

/// Passes on what comes to one socket.
async fn read(number: usize, link: Arc<Link>, heard: Sender<Heard>) {
    let mut buffer = [0; MAX_DATAGRAM + 1];
    loop {
        // An error is an earlier datagram's, or the end of the runtime, which ends this, too.
        let Ok((length, address, local)) = link.receive(&mut buffer).await else {
            tokio::task::yield_now().await;
            continue;
        };
        let peer = Peer { link: number, address, local };
        if heard.send(Heard { peer, datagram: buffer[..length].to_vec() }).await.is_err() {
            return;
        }
    }
}
