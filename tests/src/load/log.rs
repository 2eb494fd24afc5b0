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
    /// Nor this time: its last connection from the same port is not closed yet.
    Taken,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "no answer in time",
            Self::Reset => "refused or reset",
            Self::Strange => "an answer that names no node",
            Self::Client => "the client could not ask",
            Self::Taken => "the port is still taken",
        })
    }
}

/// Connections that stay.
#[derive(Clone, Debug, Default)]
pub struct Lasting {
    /// Lines that came as they should.
    pub echoes: u64,
    /// Those that ended.
    pub breaks: Vec<Break>,
    /// By number, when one was last heard of; `None` while it does not stand.
    heard: Vec<Option<Moment>>,
}

/// A connection that should have stayed, ended.
#[derive(Clone, Copy, Debug)]
pub struct Break {
    /// When the client gave it up.
    pub at: Moment,
    /// When all was well for the last time.
    pub heard: Moment,
    /// Where it was.
    pub node: NodeIndex,
    /// How it ended.
    pub how: How,
    /// Whether its node was dead meanwhile: then nobody could have saved it.
    pub with_its_node: bool,
}

/// Ways of a connection to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// It was reset.
    Reset,
    /// Its server closed it.
    Closed,
    /// Nothing was heard in time.
    Silent,
    /// What was heard is not what should have been.
    Wrong,
    /// Another node went on with it.
    Moved(NodeIndex),
}

impl Lasting {
    /// How many stand now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.heard.iter().flatten().count()
    }

    /// Those that broke although their node lived.
    pub fn broken(&self) -> impl Iterator<Item = &Break> {
        self.breaks.iter().filter(|end| !end.with_its_node)
    }

    /// How many ended with their node.
    #[must_use]
    pub fn ended_with_their_node(&self) -> usize {
        self.breaks.len() - self.broken().count()
    }

    /// How many are not known to have been well at or after a moment.
    #[must_use]
    pub fn not_heard_since(&self, moment: Moment) -> usize {
        self.heard.iter().filter(|heard| heard.is_none_or(|heard| heard < moment)).count()
    }

    /// There will be so many.
    pub(super) fn expect(&mut self, number: usize) {
        self.heard = vec![None; number];
    }

    /// One of them is well: now.
    pub(super) fn hears(&mut self, number: u16) -> Moment {
        let now = Moment::now();
        self.heard[usize::from(number)] = Some(now);
        self.echoes += 1;
        now
    }

    /// One of them is no more.
    pub(super) fn ended(&mut self, number: u16, end: Break) {
        self.heard[usize::from(number)] = None;
        self.breaks.push(end);
    }
}

/// What there is to see of them, on a line.
impl fmt::Display for Lasting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, broken, ended) =
            (self.open(), self.broken().count(), self.ended_with_their_node());
        write!(
            f,
            "{open} open, {broken} broken (not on a dead node), {ended} ended with their node"
        )
    }
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = self.node.node().name;
        let silence = self.at.since(self.heard).as_secs_f64();
        match self.how {
            How::Reset => write!(f, "one on {node} was reset"),
            How::Closed => write!(f, "one on {node} was closed by its server"),
            How::Silent => write!(f, "one on {node} fell silent"),
            How::Wrong => write!(f, "one on {node} brought wrong bytes"),
            How::Moved(to) => write!(f, "one on {node} was gone on with by {}", to.node().name),
        }?;
        write!(f, ", {silence:.2} s after its last good line")
    }
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
