//! What of a survey is refused, and how often.

use std::fmt;

/// Why a datagram, or one record of it, is refused. The first six refuse the datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// Another magic, version or kind than this side reads.
    NotOurs,
    /// Too short, too long, or not as long as it says.
    CutOff,
    /// Not signed with our key.
    BadHmac,
    /// An answer to the load balancer's earlier or later configuration.
    WrongEpoch,
    /// An answer to a question that was not asked, or whose time is over.
    StaleNonce,
    /// Said already: an answer or announcement that is not newer than what is known, a question
    /// that was asked before.
    Replay,
    /// A record with fewer or more than three fields.
    BadRecord,
    /// A record of a server that is not at the sender's address.
    UnknownServer,
    /// A record of a known server with a port that is not its own.
    WrongPort,
    /// A state other than survival and non-survival.
    BadState,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::NotOurs,
        Self::CutOff,
        Self::BadHmac,
        Self::WrongEpoch,
        Self::StaleNonce,
        Self::Replay,
        Self::BadRecord,
        Self::UnknownServer,
        Self::WrongPort,
        Self::BadState,
    ];

    /// Its name in status and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotOurs => "not-ours",
            Self::CutOff => "cut-off",
            Self::BadHmac => "bad-hmac",
            Self::WrongEpoch => "wrong-epoch",
            Self::StaleNonce => "stale-nonce",
            Self::Replay => "replay",
            Self::BadRecord => "bad-record",
            Self::UnknownServer => "unknown-server",
            Self::WrongPort => "wrong-port",
            Self::BadState => "bad-state",
        }
    }
}

/// How often each was refused since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals([u64; Refusal::ALL.len()]);

impl Refusals {
    /// One more.
    pub fn count(&mut self, refusal: Refusal) {
        self.0[refusal as usize] += 1;
    }

    /// How many.
    #[must_use]
    pub fn of(&self, refusal: Refusal) -> u64 {
        self.0[refusal as usize]
    }

    /// How many of all kinds.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// `bad-hmac 3, replay 1`, or `none`.
impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let some = Refusal::ALL.into_iter().filter(|refusal| self.of(*refusal) > 0);
        let list: Vec<_> = some.map(|r| format!("{} {}", r.name(), self.of(r))).collect();
        f.write_str(if list.is_empty() { "none" } else { "" })?;
        f.write_str(&list.join(", "))
    }
}
