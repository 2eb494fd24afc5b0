//! Which audited flows changed their node, and whether anything that was done explains it.

use std::collections::BTreeMap;

use crate::{
    lab::script::{Change, Record},
    load::{Kind, Outcome, Sample},
    topology::NodeIndex,
};

/// The findings about the audited flows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Moves {
    /// Flows that were seen at all.
    pub audited: usize,
    /// Flows that were not answered in each phase.
    pub unseen: usize,
    /// Flows that changed their node although nothing done to the lab explains it.
    pub unasked: usize,
    /// Flows of B that changed their node, whenever.
    pub of_b: usize,
    /// Flows that are not back on their first node at the end.
    pub not_back: usize,
}

/// Looks at every answer that every flow got.
#[must_use]
pub fn audit(samples: &[Sample], record: &Record) -> Moves {
    let mut moves = Moves::default();
    for answers in histories(samples).values() {
        let Some((first, last)) = answers.first().zip(answers.last()) else {
            continue;
        };
        let moved = || answers.windows(2).filter(|pair| pair[0].1 != pair[1].1);
        let in_each_phase = record.phases.iter().all(|phase| {
            answers.iter().any(|(sample, _)| sample.start >= phase.from && sample.end <= phase.to)
        });
        moves.audited += 1;
        moves.unseen += usize::from(!in_each_phase);
        moves.unasked += usize::from(moved().any(|pair| !explained(pair, &record.changes)));
        moves.of_b += usize::from(first.1.node().cluster == "B" && moved().next().is_some());
        moves.not_back += usize::from(first.1 != last.1);
    }
    moves
}

/// An answered request and its node.
type Answer = (Sample, NodeIndex);

/// What each flow was answered, in order.
fn histories(samples: &[Sample]) -> BTreeMap<u16, Vec<Answer>> {
    let mut histories: BTreeMap<u16, Vec<Answer>> = BTreeMap::new();
    for sample in samples {
        if let (Kind::Flow(flow), Outcome::Node(node)) = (sample.kind, sample.outcome) {
            histories.entry(flow).or_default().push((*sample, node));
        }
    }
    histories
}

/// Whether some change, made and committed between the two answers, takes flows from the first
/// node or gives them back to the second.
fn explained(pair: &[Answer], changes: &[Change]) -> bool {
    let [(before, from), (after, to)] = pair else {
        return false;
    };
    changes.iter().any(|change| {
        let between = before.start <= change.commit && change.at <= after.end;
        between && (change.leaves.contains(from) || change.gains.contains(to))
    })
}
