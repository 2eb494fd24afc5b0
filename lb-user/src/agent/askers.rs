//! The load balancers that ask: which of their questions are new, and who hears of changes.
//!
//! Whoever holds an old question cannot get an answer with it, nor have a load balancer forgotten:
//! a question counts once at each address of this host, its sender's address says nothing, and only
//! new questions renew an entry.
//! Entries outlive their load balancer for as long as there is room, so that its questions stay
//! old ones. A restarted load balancer is another instance, and so another entry.

use std::net::{IpAddr, SocketAddr};

use tokio::time::Instant;

use crate::survey::{Refusal, wire::Nonce};

/// At most so many; the one that has not asked for longest goes.
const ROOM: usize = 64;
/// Rounds that may overtake each other.
const WINDOW: u64 = 64;

/// Where a load balancer is heard, and answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    /// Number of the socket.
    pub(super) link: usize,
    /// Its address.
    pub(super) address: SocketAddr,
    /// The address of this host that it asked, if that can be a sender's.
    pub(super) local: Option<IpAddr>,
}

/// What an answer or announcement is addressed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Envelope {
    pub(super) peer: Peer,
    pub(super) epoch: u64,
    pub(super) nonce: Nonce,
    pub(super) sequence: u16,
}

/// All that asked.
#[derive(Default)]
pub(super) struct Askers(Vec<Asker>);

struct Asker {
    /// Its latest question; `sequence` counts the announcements after that.
    latest: Envelope,
    /// Bit n: round `latest.round − n` was asked.
    asked: u64,
    heard: Instant,
}

impl Askers {
    /// Takes in a question; returns how it is to be answered.
    ///
    /// # Errors
    /// [`Refusal::Replay`]: it was asked before, or is older than many that were.
    pub(super) fn question(
        &mut self,
        peer: Peer,
        epoch: u64,
        nonce: Nonce,
        now: Instant,
    ) -> Result<Envelope, Refusal> {
        let envelope = Envelope { peer, epoch, nonce, sequence: 0 };
        let same = |asker: &&mut Asker| {
            asker.latest.nonce.instance == nonce.instance && asker.latest.peer.local == peer.local
        };
        if let Some(asker) = self.0.iter_mut().find(same) {
            asker.question(envelope, now)?;
            return Ok(envelope);
        }
        // To another address of this host an old question is no newer.
        let others = self.0.iter().map(|asker| asker.latest.nonce);
        let mut others = others.filter(|latest| latest.instance == nonce.instance);
        if others.any(|latest| latest.round.saturating_sub(nonce.round) >= WINDOW) {
            return Err(Refusal::Replay);
        }
        if self.0.len() >= ROOM {
            let oldest = self.0.iter().enumerate().min_by_key(|(_, asker)| asker.heard);
            if let Some((oldest, _)) = oldest {
                self.0.swap_remove(oldest);
            }
        }
        self.0.push(Asker { latest: envelope, asked: 1, heard: now });
        Ok(envelope)
    }

    /// An envelope for an announcement to everyone who asked, however long ago: some ask once an
    /// hour, and one that is gone costs a few datagrams.
    pub(super) fn announce(&mut self) -> Vec<Envelope> {
        let next = self.0.iter_mut().filter_map(|asker| {
            // After 65,535 of them under one nonce a new question must come first.
            asker.latest.sequence = asker.latest.sequence.checked_add(1)?;
            Some(asker.latest)
        });
        next.collect()
    }
}

impl Asker {
    fn question(&mut self, envelope: Envelope, now: Instant) -> Result<(), Refusal> {
        let (round, latest) = (envelope.nonce.round, self.latest.nonce.round);
        if round > latest {
            let shift = u32::try_from(round - latest).unwrap_or(u32::MAX);
            self.asked = self.asked.checked_shl(shift).unwrap_or(0) | 1;
            self.latest = envelope;
        } else {
            let bit = 1_u64 << (latest - round).min(WINDOW - 1);
            if latest - round >= WINDOW || self.asked & bit != 0 {
                return Err(Refusal::Replay);
            }
            self.asked |= bit;
        }
        self.heard = now;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn peer(port: u16) -> Peer {
        let local = Some(IpAddr::from([10, 0, 0, 1]));
        Peer { link: 0, address: SocketAddr::from(([10, 0, 0, 99], port)), local }
    }

    fn ask(
        askers: &mut Askers,
        port: u16,
        instance: u64,
        round: u64,
        now: Instant,
    ) -> Result<(), Refusal> {
        let nonce = Nonce { instance, round };
        askers.question(peer(port), 1, nonce, now).map(|envelope| {
            assert_eq!(envelope, Envelope { peer: peer(port), epoch: 1, nonce, sequence: 0 });
        })
    }

    const AGAIN: Result<(), Refusal> = Err(Refusal::Replay);

    #[test]
    fn a_question_counts_once() {
        let (mut askers, now) = (Askers::default(), Instant::now());
        for round in [100, 102, 101, 99, 300, 237, 299] {
            assert_eq!(ask(&mut askers, 1, 1, round, now), Ok(()), "round {round}");
            // From wherever it comes.
            assert_eq!(ask(&mut askers, 2, 1, round, now), AGAIN, "round {round}");
        }
        for round in [100, 101, 236, 0] {
            assert_eq!(ask(&mut askers, 1, 1, round, now), AGAIN, "round {round}");
        }
        assert_eq!(ask(&mut askers, 1, 1, u64::MAX, now), Ok(()));
        assert_eq!(ask(&mut askers, 1, 1, 301, now), AGAIN);
        assert_eq!(askers.0.len(), 1);
    }

    /// A VIP on the loopback interface is an address that no load balancer asks.
    #[test]
    fn an_old_question_is_old_at_every_address() {
        let (mut askers, now) = (Askers::default(), Instant::now());
        let mut at = |local, round| {
            let peer = Peer { local: Some(IpAddr::from([10, 0, 0, local])), ..peer(1) };
            askers.question(peer, 1, Nonce { instance: 1, round }, now).map(|_| ())
        };
        for round in 1..=100 {
            assert_eq!(at(1, round), Ok(()));
        }
        assert_eq!(at(2, 1), AGAIN);
        assert_eq!(at(2, 36), AGAIN);
        // What may just have been overtaken is answered, and so is what is newer.
        assert_eq!(at(2, 37), Ok(()));
        assert_eq!(at(2, 1_000), Ok(()));
        assert_eq!(at(1, 101), Ok(()), "each address has its own window");
        assert_eq!(at(3, 102), AGAIN);
    }

    #[test]
    fn announcements_follow_the_latest_question() {
        let (mut askers, now) = (Askers::default(), Instant::now());
        assert_eq!(ask(&mut askers, 1, 1, 5, now), Ok(()));
        assert_eq!(ask(&mut askers, 1, 1, 4, now), Ok(()));
        let announce = |askers: &mut Askers| {
            let envelopes = askers.announce().into_iter();
            let parts = envelopes.map(|e| (e.peer.address.port(), e.nonce.round, e.sequence));
            parts.collect::<Vec<_>>()
        };
        assert_eq!(announce(&mut askers), [(1, 5, 1)]);
        assert_eq!(announce(&mut askers), [(1, 5, 2)]);
        // A restarted load balancer, and a late question of the former one.
        assert_eq!(ask(&mut askers, 2, 2, 1, now), Ok(()));
        assert_eq!(ask(&mut askers, 2, 1, 5, now), AGAIN);
        assert_eq!(announce(&mut askers), [(1, 5, 3), (2, 1, 1)]);
        // The one asks each second, the other once an hour.
        let later = now + Duration::from_secs(3_599);
        assert_eq!(ask(&mut askers, 2, 2, 2, later), Ok(()));
        assert_eq!(announce(&mut askers), [(1, 5, 4), (2, 2, 1)]);
    }

    #[test]
    fn the_one_that_asked_last_goes_last() {
        let (mut askers, now) = (Askers::default(), Instant::now());
        assert_eq!(ask(&mut askers, 1, 1, 1, now), Ok(()));
        for instance in 2..200 {
            let now = now + Duration::from_millis(instance);
            assert_eq!(ask(&mut askers, 9, instance, 1, now), Ok(()));
            assert_eq!(ask(&mut askers, 1, 1, instance, now), Ok(()));
        }
        assert_eq!(askers.0.len(), ROOM);
    }

    #[test]
    fn after_the_last_sequence_there_is_silence() {
        let (mut askers, now) = (Askers::default(), Instant::now());
        assert_eq!(ask(&mut askers, 1, 1, 1, now), Ok(()));
        for _ in 0..u16::MAX {
            assert_eq!(askers.announce().len(), 1);
        }
        assert_eq!(askers.announce(), []);
    }
}
