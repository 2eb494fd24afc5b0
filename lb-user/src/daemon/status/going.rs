//! Who is drained, in maintenance or leaving: since when, what is left on it, and whether it is over.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::Known;
use crate::{
    daemon::orders,
    decide::{Admin, Wish},
};

/// A node or cluster that gets no new flows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Going {
    /// `drained`, `in maintenance` or `leaving`.
    state: String,
    /// For how long, in seconds.
    since_s: f64,
    /// Connections that were seen since and are not over: pins that name it, when they were looked at
    /// last. Absent: nobody has looked yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    flows: Option<u64>,
    /// So many slots have it as owner or as base.
    slots: usize,
    /// The last window of those slots closes in so many seconds. Absent: none is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    closes_s: Option<f64>,
    /// What is left on it is cut in so many seconds. Absent: nothing is to be cut any more, or ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cut_s: Option<f64>,
    /// No window is open and no pin names it: nobody is on it who was not silent all the time.
    done: bool,
}

/// What is said of a node, by position; `None`: it is in service.
pub(super) fn of_node(known: &Known<'_>, node: usize) -> Option<Going> {
    let view = known.state.view();
    let model = view.model;
    let begin = begin(view.admins.node(model, node), known.left.node(model, node))?;
    let closes = model.ids.node(node).and_then(|id| view.tracks.closes_for_node(id));
    let cut = view.admins.cut_at(model, node);
    Some(going(known, begin, view.slots_of(node), closes, cut, node..node + 1))
}

/// What is said of a pool's cluster as a whole; `None`: it is in service.
pub(super) fn of_cluster(known: &Known<'_>, pool: usize) -> Option<Going> {
    let view = known.state.view();
    let (model, at) = (view.model, view.model.pool(pool).cluster);
    let left = known.left.cluster(&model.config.clusters[at].name);
    let begin = begin(view.admins.cluster(at), left)?;
    let closes = model.ids.table(pool).and_then(|id| view.tracks.closes_for_cluster(id));
    let nodes = model.nodes_of(at);
    let cut = nodes.clone().filter_map(|node| view.admins.cut_at(model, node)).max();
    Some(going(known, begin, view.slots_of_pool(pool), closes, cut, nodes))
}

/// In which state somebody is, and since when. Who is leaving may be in maintenance, too.
fn begin(wish: Wish, left: Option<Duration>) -> Option<(&'static str, Duration)> {
    match (wish.admin, left) {
        (Admin::InService | Admin::Drained, Some(since)) => Some(("leaving", since)),
        (Admin::InService, None) => None,
        (admin, _) => Some((orders::word(admin), wish.since)),
    }
}

fn going(
    known: &Known<'_>,
    (state, since): (&str, Duration),
    slots: usize,
    closes: Option<Duration>,
    cut: Option<Duration>,
    mut nodes: std::ops::Range<usize>,
) -> Going {
    let ids = &known.state.view().model.ids;
    let on = |found: &super::Found| {
        let nodes = nodes.by_ref().filter_map(|node| ids.node(node));
        nodes.map(|id| u64::from(found.swept.on_node(id))).sum()
    };
    let flows: Option<u64> = known.found.map(on);
    let left = |at: Duration| at.saturating_sub(known.now).as_secs_f64();
    Going {
        state: state.to_owned(),
        since_s: known.now.saturating_sub(since).as_secs_f64(),
        flows,
        slots,
        closes_s: closes.map(left),
        cut_s: cut.map(left),
        done: closes.is_none() && slots == 0 && known.is_current && flows == Some(0),
    }
}

impl fmt::Display for Going {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |seconds: f64| humantime::format_duration(Duration::from_secs(seconds as u64));
        write!(f, "{} for {}: ", self.state, time(self.since_s))?;
        if self.done {
            return f.write_str("done");
        }
        match self.flows {
            Some(flows) => write!(f, "{flows} flows seen")?,
            None => f.write_str("flows not counted yet")?,
        }
        if let Some(closes) = self.closes_s {
            write!(f, ", window closes in {}", time(closes))?;
        }
        if let Some(cut) = self.cut_s {
            write!(f, ", cut in {}", time(cut))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn told_in_a_line() {
        let going = Going {
            state: "drained".into(),
            since_s: 125.4,
            flows: Some(17),
            slots: 2,
            closes_s: Some(174.6),
            cut_s: None,
            done: false,
        };
        let cases = [
            (going.clone(), "drained for 2m 5s: 17 flows seen, window closes in 2m 54s"),
            (
                Going { flows: None, closes_s: None, cut_s: Some(3.0), ..going.clone() },
                "drained for 2m 5s: flows not counted yet, cut in 3s",
            ),
            (Going { flows: Some(0), done: true, ..going }, "drained for 2m 5s: done"),
        ];
        for (going, expected) in cases {
            assert_eq!(going.to_string(), expected);
        }
    }

    #[test]
    fn who_goes_and_since_when() {
        let (ordered, left) = (Duration::from_secs(2), Duration::from_secs(3));
        let cases = [
            (Admin::InService, None, None),
            (Admin::Drained, None, Some(("drained", ordered))),
            (Admin::Maintenance, None, Some(("in maintenance", ordered))),
            (Admin::InService, Some(left), Some(("leaving", left))),
            (Admin::Drained, Some(left), Some(("leaving", left))),
            (Admin::Maintenance, Some(left), Some(("in maintenance", ordered))),
        ];
        for (admin, left, expected) in cases {
            assert_eq!(begin(Wish { admin, since: ordered }, left), expected, "{admin:?} {left:?}");
        }
    }
}
