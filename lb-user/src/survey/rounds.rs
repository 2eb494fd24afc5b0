//! Which questions are open, and what of that which comes back is believed. No sockets, no clock.
//!
//! An *answer* (sequence 0) counts for the round that it names, once for each server, while that
//! round is open. Non-survival that is news is passed on with it: the round may be long, as one dead
//! node makes it. Survival is not, as it would count twice. An *announcement* (sequence 1…) may come at any time under a nonce that is not
//! too old; of one server each must be newer, by round and sequence, than the one before. Copies of
//! it that say the same are believed and not passed on again.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use super::{
    Refusal, Refusals,
    wire::{self, Key, Kind, Message, Nonce, Record},
};
use crate::{
    config::Server,
    decide::{MissReason, Outcome},
};

/// What an agent said unasked, or said no to before the round that asked it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Address that it came from: the node's.
    pub from: IpAddr,
    /// The server that it is about.
    pub server: Server,
    /// Survival or non-survival.
    pub survival: bool,
}

/// What an asker did and saw since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Questions sent; one by broadcast counts once.
    pub questions: u64,
    /// Datagrams that were believed.
    pub answers: u64,
    /// Records in them that were believed.
    pub records: u64,
    /// Announcements passed on.
    pub announcements: u64,
    /// What was refused.
    pub refused: Refusals,
}

/// All that an asker knows.
pub(super) struct Rounds {
    epoch: u64,
    instance: u64,
    /// Number of the next question.
    next: u64,
    /// The servers that there are, by address and number.
    servers: HashMap<(IpAddr, u32), Vec<Known>>,
    open: HashMap<u64, Round>,
    /// When questions were asked: the first round of each [`Self::step`] of time.
    asked: VecDeque<(Instant, u64)>,
    /// How old a nonce may be.
    remember: Duration,
    counts: Counts,
}

/// One server on a node.
struct Known {
    port: u16,
    /// Round and sequence of its latest announcement.
    announced: Option<(u64, u16)>,
    /// What was passed on of it last.
    survival: Option<bool>,
}

/// What a round knows of a server.
#[derive(Clone, Copy, Default)]
struct Heard {
    outcome: Option<Outcome>,
    /// Whether its answer came, be it after an announcement that said the same.
    is_answered: bool,
}

/// A question that waits for answers.
struct Round {
    /// The address that it went to; `None`: to a group.
    to: Option<IpAddr>,
    outcomes: HashMap<(IpAddr, Server), Heard>,
    missing: usize,
    done: Option<oneshot::Sender<()>>,
}

impl Rounds {
    pub(super) fn new(
        epoch: u64,
        instance: u64,
        remember: Duration,
        servers: impl IntoIterator<Item = (IpAddr, Server)>,
    ) -> Self {
        let mut known: HashMap<_, Vec<Known>> = HashMap::new();
        for (address, Server { number, port }) in servers {
            let ports = known.entry((address, number)).or_default();
            if ports.iter().all(|known| known.port != port) {
                ports.push(Known { port, announced: None, survival: None });
            }
        }
        Self {
            epoch,
            instance,
            next: 1,
            servers: known,
            open: HashMap::new(),
            asked: VecDeque::new(),
            remember,
            counts: Counts::default(),
        }
    }

    /// Opens a round, which goes to one address or to a group; the receiver hears when nothing is
    /// missing any more.
    pub(super) fn begin(
        &mut self,
        to: Option<IpAddr>,
        expected: &[(IpAddr, Server)],
        now: Instant,
    ) -> (Nonce, oneshot::Receiver<()>) {
        let round = self.next;
        self.next += 1;
        if self.asked.back().is_none_or(|(since, _)| *since + self.step() <= now) {
            self.asked.push_back((now, round));
        }
        self.forget(now);
        let (done, receiver) = oneshot::channel();
        let outcomes: HashMap<_, _> =
            expected.iter().map(|server| (*server, Heard::default())).collect();
        let missing = outcomes.len();
        self.open.insert(round, Round { to, outcomes, missing, done: Some(done) });
        self.counts.questions += 1;
        (Nonce { instance: self.instance, round }, receiver)
    }

    /// Closes a round; what is missing was missed for this reason. `None` if it is closed already.
    pub(super) fn end(
        &mut self,
        round: u64,
        reason: MissReason,
    ) -> Option<HashMap<(IpAddr, Server), Outcome>> {
        let round = self.open.remove(&round)?;
        let outcomes = round.outcomes.into_iter();
        let missed = Outcome::Miss(reason);
        Some(outcomes.map(|(who, heard)| (who, heard.outcome.unwrap_or(missed))).collect())
    }

    /// The network says that a question did not reach this address. `question` is what it shows of
    /// it; less than all of it proves nothing, and all of it proves something only if nobody else
    /// was asked with it: everyone on the link knows what went to a group.
    pub(super) fn undelivered(
        &mut self,
        key: &Key,
        to: IpAddr,
        question: &[u8],
        reason: MissReason,
    ) {
        let Ok(Message { nonce, .. }) = wire::decode(key, question) else { return };
        if nonce.instance != self.instance {
            return;
        }
        if let Some(round) = self.open.get_mut(&nonce.round)
            && round.to == Some(to)
        {
            let there: Vec<_> =
                round.outcomes.keys().filter(|(at, _)| *at == to).copied().collect();
            for who in there {
                round.found(who, Outcome::Miss(reason), false);
            }
        }
    }

    /// Judges a datagram; returns what is to be passed on.
    pub(super) fn hear(
        &mut self,
        key: &Key,
        from: IpAddr,
        datagram: &[u8],
        now: Instant,
    ) -> Vec<Announcement> {
        let mut announcements = Vec::new();
        match self.believe(key, datagram, now) {
            Err(refusal) => self.counts.refused.count(refusal),
            Ok((nonce, sequence, records)) => {
                self.counts.answers += 1;
                for record in records {
                    let heard = record.and_then(|r| self.record(from, nonce.round, sequence, r));
                    match heard {
                        Err(refusal) => self.counts.refused.count(refusal),
                        Ok(heard) => {
                            self.counts.records += 1;
                            announcements.extend(heard);
                        }
                    }
                }
            }
        }
        self.counts.announcements += announcements.len() as u64;
        announcements
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// The envelope.
    fn believe<'a>(
        &mut self,
        key: &Key,
        datagram: &'a [u8],
        now: Instant,
    ) -> Result<(Nonce, u16, wire::Records<'a>), Refusal> {
        let Message { kind, epoch, nonce, records } = wire::decode(key, datagram)?;
        let Kind::Answer { sequence } = kind else { return Err(Refusal::NotOurs) };
        if epoch != self.epoch {
            return Err(Refusal::WrongEpoch);
        }
        self.forget(now);
        let oldest = self.asked.front().map_or(self.next, |(_, round)| *round);
        let in_time = match sequence {
            0 => self.open.contains_key(&nonce.round),
            _ => (oldest..self.next).contains(&nonce.round),
        };
        if nonce.instance != self.instance || !in_time {
            return Err(Refusal::StaleNonce);
        }
        Ok((nonce, sequence, records))
    }

    /// One record under a good nonce.
    fn record(
        &mut self,
        from: IpAddr,
        round: u64,
        sequence: u16,
        Record { server, survival }: Record,
    ) -> Result<Option<Announcement>, Refusal> {
        let ports = self.servers.get_mut(&(from, server.number)).ok_or(Refusal::UnknownServer)?;
        let known = ports.iter_mut().find(|known| known.port == server.port);
        let known = known.ok_or(Refusal::WrongPort)?;
        let outcome = if survival { Outcome::Hit } else { Outcome::NotWorking };
        let open = self.open.get_mut(&round);
        let found = open.map(|open| open.found((from, server), outcome, sequence == 0));
        if sequence == 0 {
            // An agent tells of all its servers: one that was not asked for says nothing here.
            return match found {
                Some(Found::Late) => Err(Refusal::Replay),
                Some(Found::InTime) => {
                    let before = known.survival.replace(survival);
                    let is_news = !survival && before != Some(false);
                    Ok(is_news.then_some(Announcement { from, server, survival }))
                }
                _ => Ok(None),
            };
        }
        if known.announced.is_some_and(|latest| latest >= (round, sequence)) {
            return Err(Refusal::Replay);
        }
        known.announced = Some((round, sequence));
        let before = known.survival.replace(survival);
        Ok((before != Some(survival)).then_some(Announcement { from, server, survival }))
    }

    /// Nonces that grew too old.
    fn forget(&mut self, now: Instant) {
        // Every round of an entry was asked within a step after it began.
        let age = self.remember + self.step();
        while self.asked.front().is_some_and(|(since, _)| *since + age < now) {
            self.asked.pop_front();
        }
    }

    /// How exactly the age of a nonce is known.
    fn step(&self) -> Duration {
        self.remember / 16
    }
}

/// What an outcome meant to a round.
enum Found {
    /// The first of that server.
    InTime,
    /// There was another one, or an answer already.
    Late,
    /// What was announced already, or of a server that the round does not ask for.
    Nothing,
}

impl Round {
    fn found(&mut self, who: (IpAddr, Server), outcome: Outcome, is_answer: bool) -> Found {
        let Some(heard) = self.outcomes.get_mut(&who) else { return Found::Nothing };
        let is_answered = heard.is_answered;
        heard.is_answered |= is_answer;
        match heard.outcome.replace(heard.outcome.unwrap_or(outcome)) {
            None => {}
            Some(before) if before == outcome && !is_answered => return Found::Nothing,
            Some(_) => return Found::Late,
        }
        self.missing -= 1;
        if self.missing == 0
            && let Some(done) = self.done.take()
        {
            // Nobody listens if the question was given up.
            let _ = done.send(());
        }
        Found::InTime
    }
}

#[cfg(test)]
#[path = "rounds_tests.rs"]
mod tests;
