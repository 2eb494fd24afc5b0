//! The load balancer's side of the survey: asks agents, and hears what they say unasked.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use socket2::Domain;
use thiserror::Error;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::{self, JoinSet},
    time::{self, Instant},
};

use super::{
    link::{Incoming, Link},
    rounds::{Announcement, Counts, Rounds},
    wire::{self, Key, MAX_DATAGRAM},
};
use crate::{
    config::{Server, Source, SurveyKey},
    decide::{MissReason, Outcome},
};

/// Answers of broadcasts are spread so that one comes in so much time on average …
const SPREAD_PER_NODE: Duration = Duration::from_micros(200);

/// What an asker is opened with.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// The key that the agents have, too.
    pub key: &'a SurveyKey,
    /// Names the configuration; answers to another one are refused.
    pub epoch: u64,
    /// Where questions come from; `None`: as the kernel's routes say.
    pub source: Option<Source>,
    /// All servers that may be asked for or heard of, each at its node's address.
    pub servers: &'a [(IpAddr, Server)],
    /// How long after a question announcements under its nonce are believed. More than a few
    /// intervals: an agent knows only the nonce of the last question that reached it.
    pub remember: Duration,
}

/// Why there is no asker.
#[derive(Debug, Error)]
#[allow(missing_docs)]
pub enum SurveyError {
    #[error("survey: no random numbers for the nonce: {0}")]
    Random(getrandom::Error),
    #[error("survey: cannot open a socket for {family}{}: {error}", from(.source_of))]
    Socket {
        family: &'static str,
        source_of: Option<Source>,
        #[source]
        error: io::Error,
    },
}

fn from(source: &Option<Source>) -> String {
    match source {
        Some(Source::Address(address)) => format!(" from {address}"),
        Some(Source::Interface(name)) => format!(" on {name}"),
        None => String::new(),
    }
}

/// Asks agents: one socket for each address family, one random instance. Ends with its value.
///
/// Its time is the runtime's, which is monotonic; nonces are counted. A step of the wall clock
/// changes nothing.
pub struct Asker {
    shared: Arc<Shared>,
    /// They end with it.
    _readers: JoinSet<()>,
}

struct Shared {
    key: Key,
    epoch: u64,
    v4: Option<Link>,
    v6: Option<Link>,
    /// Held for as long as one datagram takes, never while waiting.
    rounds: Mutex<Rounds>,
}

impl Asker {
    /// Opens sockets for the families of `servers`. The receiver hears what agents say unasked.
    /// Within a tokio runtime only.
    ///
    /// # Errors
    /// A socket cannot be opened or bound to the source; there is no randomness.
    pub fn open(
        options: Options<'_>,
    ) -> Result<(Self, UnboundedReceiver<Announcement>), SurveyError> {
        let Options { key, epoch, source, servers, remember } = options;
        let link = |domain, family, wanted: fn(&IpAddr) -> bool| {
            if !servers.iter().any(|(address, _)| wanted(address)) {
                return Ok(None);
            }
            Link::open(domain, source.as_ref()).map(Some).map_err(|error| SurveyError::Socket {
                family,
                source_of: source.clone(),
                error,
            })
        };
        let shared = Arc::new(Shared {
            key: Key::from(key),
            epoch,
            v4: link(Domain::IPV4, "IPv4", IpAddr::is_ipv4)?,
            v6: link(Domain::IPV6, "IPv6", IpAddr::is_ipv6)?,
            rounds: Mutex::new(Rounds::new(
                epoch,
                getrandom::u64().map_err(SurveyError::Random)?,
                remember,
                servers.iter().copied(),
            )),
        });
        let (announcements, heard) = unbounded_channel();
        let mut readers = JoinSet::new();
        for family in [Shared::v4, Shared::v6] {
            readers.spawn(Arc::clone(&shared).read(family, announcements.clone()));
        }
        Ok((Self { shared, _readers: readers }, heard))
    }

    /// Asks one agent for some of its servers: returns when it has spoken of all of them, or the
    /// network says that it cannot be reached, or `timeout` has passed. Outcomes are in the order
    /// of `expected`.
    ///
    /// Survival is a hit; non-survival is [`Outcome::NotWorking`]. Giving up (dropping the future)
    /// is fine; a late answer is refused.
    pub async fn ask(
        &self,
        to: SocketAddr,
        expected: &[Server],
        timeout: Duration,
    ) -> Vec<(Server, Outcome)> {
        let expected: Vec<_> = expected.iter().map(|server| (to.ip(), *server)).collect();
        let outcomes = self.round(to, &expected, None, timeout).await;
        outcomes.into_iter().map(|((_, server), outcome)| (server, outcome)).collect()
    }

    /// Asks all agents behind a broadcast address or multicast group with one datagram; they answer
    /// by unicast, from the addresses in `expected`, spread over at most half of `timeout`.
    pub async fn ask_all(
        &self,
        group: SocketAddr,
        expected: &[(IpAddr, Server)],
        timeout: Duration,
    ) -> Vec<((IpAddr, Server), Outcome)> {
        let nodes = u32::try_from(expected.len()).unwrap_or(u32::MAX);
        let spread = SPREAD_PER_NODE.saturating_mul(nodes).min(timeout / 2);
        self.round(group, expected, Some(spread), timeout).await
    }

    /// What was done and seen so far.
    pub fn counts(&self) -> Counts {
        self.shared.rounds().counts()
    }

    /// One with a spread goes to a group.
    async fn round(
        &self,
        to: SocketAddr,
        expected: &[(IpAddr, Server)],
        spread: Option<Duration>,
        timeout: Duration,
    ) -> Vec<((IpAddr, Server), Outcome)> {
        if expected.is_empty() {
            return Vec::new();
        }
        let shared = &self.shared;
        let one = spread.is_none().then_some(to.ip());
        let (nonce, done) = shared.rounds().begin(one, expected, Instant::now());
        let open = Open { shared, round: nonce.round };
        let exchange = async {
            let link = if to.is_ipv4() { shared.v4() } else { shared.v6() };
            let question =
                wire::question(&shared.key, shared.epoch, nonce, spread.unwrap_or_default());
            link.ok_or(MissReason::Local)?.send(&question, to).await?;
            // Its sender is there until the round ends.
            let _ = done.await;
            Ok(())
        };
        let reason = match time::timeout(timeout, exchange).await {
            Ok(Err(reason)) => reason,
            Ok(Ok(())) | Err(_) => MissReason::Timeout,
        };
        let outcomes = open.close(reason);
        expected.iter().filter_map(|who| Some((*who, *outcomes.get(who)?))).collect()
    }
}

impl Shared {
    fn v4(&self) -> Option<&Link> {
        self.v4.as_ref()
    }

    fn v6(&self) -> Option<&Link> {
        self.v6.as_ref()
    }

    fn rounds(&self) -> MutexGuard<'_, Rounds> {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what comes to one socket.
    async fn read(
        self: Arc<Self>,
        link: fn(&Self) -> Option<&Link>,
        announcements: UnboundedSender<Announcement>,
    ) {
        let Some(link) = link(&self) else { return };
        let mut buffer = [0; MAX_DATAGRAM + 1];
        while let Ok(incoming) = link.receive(&mut buffer).await {
            match incoming {
                Incoming::Datagram(from, datagram) => {
                    let heard = self.rounds().hear(&self.key, from, datagram, Instant::now());
                    for announcement in heard {
                        // Whoever does not listen does not care.
                        let _ = announcements.send(announcement);
                    }
                }
                Incoming::Undelivered(to, question, reason) => {
                    self.rounds().undelivered(&self.key, to, question, reason);
                }
            }
            // A flood of datagrams must leave time to others on this thread.
            task::consume_budget().await;
        }
    }
}

/// A round that ends with this value, also when nobody waits for it any more.
struct Open<'a> {
    shared: &'a Shared,
    round: u64,
}

impl Open<'_> {
    fn close(self, reason: MissReason) -> std::collections::HashMap<(IpAddr, Server), Outcome> {
        self.shared.rounds().end(self.round, reason).unwrap_or_default()
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.shared.rounds().end(self.round, MissReason::Timeout);
    }
}
