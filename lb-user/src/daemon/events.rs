//! What happened lately, told as stories: for `status`, for whoever follows it, and line by line on
//! standard output.
//!
//! A story is a number that the events of one chain have in common: what was seen, the verdict, the
//! group, the plan, the commit. It opens with the first event that may lead to a commit while none
//! is open, and ends with the commit, or when nothing is under way any more and no commit follows.
//! What happens at the same time is in the same story: one commit takes all of it.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
};

use lb_common::{ClusterId, NodeId, ServiceId};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::{
    dataplane::monotonic_ns,
    decide::{Model, NodeState, Notice, freeze, reason},
};

/// How many events are kept.
const KEPT: usize = 1024;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// CLOCK_MONOTONIC, in nanoseconds.
    pub at_ns: u64,
    /// Wall time, RFC 3339 in UTC, to the millisecond.
    pub time: String,
    /// The epoch in force when it happened; of a commit: the new one.
    pub epoch: u64,
    /// The story that it belongs to; none: it cannot lead to a commit, and no story is open.
    pub story: Option<u64>,
    /// What kind of event, for machines.
    pub kind: String,
    /// What it happened to: `CLUSTER/NODE`, `CLUSTER`, a service, or nothing.
    pub subject: String,
    /// A sentence.
    pub text: String,
}

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `TIME [epoch N] story K: kind subject: text`
    Text,
    /// One JSON object a line.
    Json,
}

impl Event {
    /// One line, without its end.
    pub fn line(&self, format: Format) -> String {
        if format == Format::Json {
            // Strings and numbers: nothing in it can fail to be JSON.
            return serde_json::to_string(self).unwrap_or_default();
        }
        let Self { time, epoch, kind, subject, text, .. } = self;
        let story = self.story.map_or(String::new(), |story| format!(" story {story}:"));
        let subject = if subject.is_empty() { String::new() } else { format!(" {subject}") };
        format!("{time} [epoch {epoch}]{story} {kind}{subject}: {text}")
    }
}

/// The last events, oldest first.
#[derive(Debug, Default)]
pub struct Events {
    kept: VecDeque<Event>,
    /// Stories so far; the last one may be open.
    stories: u64,
    open: bool,
    lines: Option<Lines>,
}

impl Events {
    /// Events that are also written to standard output.
    pub fn written(format: Format) -> Self {
        Self { lines: Some(Lines::start(format)), ..Self::default() }
    }

    /// Keeps an event that happens now; it is of the story that is open, if one is.
    pub fn add(&mut self, epoch: u64, kind: &str, subject: &str, text: String) {
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        let event = Event {
            at_ns: monotonic_ns(),
            time: format!("{:.3}", jiff::Timestamp::now()),
            epoch,
            story: self.open.then_some(self.stories),
            kind: kind.to_owned(),
            subject: subject.to_owned(),
            // Some messages have several lines; an event is one.
            text: text.lines().collect::<Vec<_>>().join("; "),
        };
        if let Some(lines) = &mut self.lines {
            lines.write(&event);
        }
        self.kept.push_back(event);
    }

    /// Keeps an event that happens now and may lead to a commit.
    pub fn tell(&mut self, epoch: u64, kind: &str, subject: &str, text: String) {
        if !self.open {
            self.stories += 1;
            self.open = true;
        }
        self.add(epoch, kind, subject, text);
    }

    /// Keeps a notice.
    pub fn notice(&mut self, epoch: u64, model: &Model, notice: &Notice) {
        let (kind, subject) = place(model, notice);
        self.tell(epoch, kind, &subject, reason::explain_notice(model, notice));
    }

    /// The story that is open, if any, has come to its end.
    pub fn close(&mut self) {
        self.open = false;
    }

    /// Those that are kept.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Event> {
        self.kept.iter()
    }
}

/// The kind of a notice, and whom it is about.
fn place(model: &Model, notice: &Notice) -> (&'static str, String) {
    let cluster = |id: ClusterId| model.name_of_pool(id).to_owned();
    let service = |id: ServiceId| model.name_of_service(id).to_owned();
    let node = |id: NodeId, target| model.name_of_node(id, target);
    match notice {
        Notice::Seen { node: id, target, .. } => ("seen", node(*id, Some(*target))),
        Notice::Node { node: id, target, state } => {
            let kind = if *state == NodeState::Up { "node_up" } else { "node_down" };
            (kind, node(*id, Some(*target)))
        }
        Notice::Freeze(freeze::Turn::Frozen { .. }) => ("frozen", String::new()),
        Notice::Freeze(_) => ("freeze_ended", String::new()),
        Notice::Administered { node: id, .. } => ("administered", node(*id, None)),
        Notice::ClusterAdministered { cluster, .. } => {
            let name = model.config.clusters.get(*cluster).map(|cluster| cluster.name.clone());
            ("administered", name.unwrap_or_default())
        }
        Notice::ClusterHealthy { cluster: id, .. } => ("cluster_healthy", cluster(*id)),
        Notice::ClusterUnhealthy { cluster: id, .. } => ("cluster_unhealthy", cluster(*id)),
        Notice::Released { cluster: id, .. } => ("released", cluster(*id)),
        Notice::Carried { service: id, .. } => ("carried", service(*id)),
        Notice::Regime { service: id, .. } => ("regime", service(*id)),
    }
}

/// Standard output. A thread writes it, so that a reader who does not read stops nobody else; lines
/// for which there is no room are counted and left out.
#[derive(Debug)]
struct Lines {
    format: Format,
    to: SyncSender<String>,
    left_out: u64,
}

impl Lines {
    fn start(format: Format) -> Self {
        let (to, lines) = sync_channel(KEPT);
        std::thread::spawn(move || {
            if let Err(error) = write_all(&lines) {
                warn!("events are no longer written to standard output: {error}");
            }
        });
        Self { format, to, left_out: 0 }
    }

    fn write(&mut self, event: &Event) {
        if self.left_out > 0 {
            let text = format!("{} events were not written: nobody read them", self.left_out);
            let (kind, subject) = ("left_out".to_owned(), String::new());
            let lost = Event { kind, subject, text, story: None, ..event.clone() };
            if self.to.try_send(lost.line(self.format)).is_ok() {
                self.left_out = 0;
            }
        }
        if let Err(TrySendError::Full(_)) = self.to.try_send(event.line(self.format)) {
            self.left_out += 1;
        }
    }
}

fn write_all(lines: &Receiver<String>) -> io::Result<()> {
    let mut out = io::stdout();
    for line in lines {
        writeln!(out, "{line}")?;
        out.flush()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kinds and stories of what is kept.
    fn told(events: &Events) -> Vec<(&str, Option<u64>)> {
        events.iter().map(|event| (event.kind.as_str(), event.story)).collect()
    }

    #[test]
    fn a_story_ends_with_its_commit_or_with_nothing() {
        let mut events = Events::default();
        let text = || "text".to_owned();
        events.add(0, "alarm", "", text());
        events.tell(0, "seen", "A/a1", text());
        events.tell(0, "seen", "A/a1", text());
        events.add(0, "alarm", "", text());
        events.tell(1, "commit", "", text());
        events.close();
        events.add(1, "alarm", "", text());
        events.tell(1, "seen", "A/a1", text());
        events.close();
        events.tell(1, "commit", "", text());
        let one = Some(1);
        assert_eq!(
            told(&events),
            [
                ("alarm", None),
                ("seen", one),
                ("seen", one),
                ("alarm", one),
                ("commit", one),
                ("alarm", None),
                ("seen", Some(2)),
                ("commit", Some(3)),
            ]
        );
    }

    #[test]
    fn lines_hold_everything_and_the_oldest_go() {
        let mut events = Events::default();
        for epoch in 0..KEPT as u64 + 10 {
            events.add(epoch, "commit", "", "text".to_owned());
        }
        assert_eq!((events.iter().len(), events.iter().next().map(|e| e.epoch)), (KEPT, Some(10)));
        let event = Event {
            at_ns: 7,
            time: "2026-11-22T20:48:49.123Z".into(),
            epoch: 3,
            story: Some(2),
            kind: "node_down".into(),
            subject: "A/a1".into(),
            text: "node A/a1 is down: no answer in time".into(),
        };
        assert_eq!(
            event.line(Format::Text),
            "2026-11-22T20:48:49.123Z [epoch 3] story 2: node_down A/a1: node A/a1 is down: no answer \
             in time"
        );
        let again: Event = serde_json::from_str(&event.line(Format::Json)).expect("JSON");
        assert_eq!(again, event);
        let alone = Event { story: None, subject: String::new(), ..event };
        let line = alone.line(Format::Text);
        assert!(line.starts_with("2026-11-22T20:48:49.123Z [epoch 3] node_down: node"), "{line}");
        // Wall time is in UTC, to the millisecond.
        let time = &events.iter().last().expect("an event").time;
        assert_eq!((time.len(), &time[10..11], &time[19..20], &time[23..]), (24, "T", ".", "Z"));
    }
}
