//! What the client saw, in the order in which it ended.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{clock::Moment, topology::NodeIndex};

/// One request, from the first packet to its end.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Which kind of request.
    pub kind: Kind,
    /// When it began.
    pub start: Moment,
    /// When it ended; at most one request timeout later.
    pub end: Moment,
    /// Who answered, if anybody.
    pub outcome: Outcome,
}

/// Kinds of request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A source port of the kernel's choice.
    New,
    /// One of the fixed flows, by its position.
    Flow(u16),
}

/// How a request ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// This node answered.
    Node(NodeIndex),
    /// It failed.
    Failed(Failure),
}

/// Ways to fail.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Failure {
    /// No answer in time.
    Timeout,
    /// Refused or reset.
    Reset,
    /// An answer that names no node.
    Strange,
    /// The client could not even ask.
    Client,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "no answer in time",
            Self::Reset => "refused or reset",
            Self::Strange => "an answer that names no node",
            Self::Client => "the client could not ask",
        })
    }
}

/// Connections that stay.
#[derive(Clone, Debug, Default)]
pub struct Lasting {
    /// How many are open now.
    pub open: usize,
    /// Lines that came back.
    pub echoes: u64,
    /// Those that broke.
    pub breaks: Vec<Break>,
}

/// A connection that should have stayed, broken.
#[derive(Clone, Copy, Debug)]
pub struct Break {
    /// When the client gave it up.
    pub at: Moment,
    /// Where it was.
    pub node: NodeIndex,
}

/// Everything seen so far.
#[derive(Debug, Default)]
pub struct Log {
    samples: Mutex<Vec<Sample>>,
    lasting: Mutex<Lasting>,
}

/// A count of answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Answered {
    /// New requests.
    pub requests: usize,
    /// Different audited flows.
    pub flows: usize,
}

impl Log {
    /// The requests that have ended.
    pub fn samples(&self) -> MutexGuard<'_, Vec<Sample>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was asked and answered since a moment.
    #[must_use]
    pub fn answered_since(&self, moment: Moment) -> Answered {
        let (mut requests, mut flows) = (0, BTreeSet::new());
        let samples = self.samples();
        let recent = samples.iter().rev().take_while(|sample| sample.end >= moment);
        for sample in recent.filter(|sample| sample.start >= moment) {
            match (sample.kind, sample.outcome) {
                (_, Outcome::Failed(_)) => {}
                (Kind::New, Outcome::Node(_)) => requests += 1,
                (Kind::Flow(flow), Outcome::Node(_)) => drop(flows.insert(flow)),
            }
        }
        Answered { requests, flows: flows.len() }
    }

    /// The connections that stay.
    pub fn lasting(&self) -> MutexGuard<'_, Lasting> {
        self.lasting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
