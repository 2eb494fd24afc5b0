//! Whether the lab held: what the client saw, measured against what the daemon planned.
//!
//! Pure: from what was recorded to findings, each a plain sentence.

use crate::{
    lab::{
        moves::{self, Moves},
        script::{Change, Phase, Record},
        summary::{ChangeSeen, SharePair, Summary, millis},
    },
    load::{Kind, Lasting, Outcome, Sample},
    topology::{CLUSTERS, NODES, NodeIndex},
};

/// What the plan itself may be off an even split: what the tables guarantee.
const PLAN_TOLERANCE: f64 = 0.005;

/// How exact the shares must be.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// Difference between planned and seen, 0.02 for two points.
    pub share: f64,
}

impl Tolerance {
    /// New requests that a phase needs so that chance alone exceeds the tolerance in fewer than
    /// one of two thousand phases: 3.5 standard deviations of an even split.
    #[must_use]
    pub fn samples(self) -> usize {
        let deviations = 3.5 * 0.5 / self.share;
        (deviations * deviations).ceil() as usize
    }
}

/// Judges a run.
#[must_use]
pub fn judge(
    record: &Record,
    samples: &[Sample],
    lasting: &Lasting,
    tolerance: Tolerance,
) -> Summary {
    let mut problems = Vec::new();
    let mut shares = Vec::new();
    for phase in &record.phases {
        judge_plan(phase, &mut problems);
        shares.extend(judge_phase(phase, samples, tolerance, &mut problems));
    }
    let moves = moves::audit(samples, record);
    judge_moves(moves, &mut problems);
    let failed_outside_windows = judge_failures(record, samples, &mut problems);
    judge_lasting(lasting, record, &mut problems);

    let changes: Vec<_> = seen_changes(record, samples).collect();
    let failure = record.changes.iter().position(|change| change.fails_cluster);
    let failure = failure.and_then(|position| changes.get(position)).cloned();
    let (detect_ms, commit_ms, last_misdirected_ms) =
        failure.map(|f| (f.detect_ms, f.commit_ms, f.last_misdirected_ms)).unwrap_or_default();
    let time = samples.last().zip(samples.first()).map(|(l, f)| l.end.since(f.start));
    let new = samples.iter().filter(|sample| sample.kind == Kind::New).count();
    Summary {
        held: problems.is_empty(),
        shares,
        detect_ms,
        commit_ms,
        last_misdirected_ms,
        failed_outside_windows,
        long_lived_broken: lasting.broken().count(),
        long_lived_ended_with_node: lasting.ended_with_their_node(),
        flows_moved_unasked: moves.unasked,
        flows_audited: moves.audited,
        requests: new,
        requests_per_second: new as f64 / time.unwrap_or_default().as_secs_f64().max(1.0),
        long_lived_open: lasting.open(),
        changes,
        problems,
    }
}

/// The plan is what the script leads to, and stays it.
fn judge_plan(phase: &Phase, problems: &mut Vec<String>) {
    let name = phase.name;
    for cluster in CLUSTERS {
        let planned = phase.plan.cluster(cluster);
        let fair = if phase.carriers.contains(&cluster) { 0.5 } else { 0.0 };
        if (planned - fair).abs() > PLAN_TOLERANCE {
            problems.push(format!(
                "in the phase `{name}` the daemon plans {:.1} % for {cluster} and not {:.1} %",
                planned * 100.0,
                fair * 100.0
            ));
        }
    }
    if phase.plan != phase.plan_at_end {
        problems.push(format!("in the phase `{name}` the plan changed though nothing was done"));
    }
}

/// The shares of a phase, and where they are off.
fn judge_phase(
    phase: &Phase,
    samples: &[Sample],
    tolerance: Tolerance,
    problems: &mut Vec<String>,
) -> Vec<SharePair> {
    let name = phase.name;
    let within = |sample: &&Sample| sample.start >= phase.from && sample.end <= phase.to;
    let mut new = [0_usize; NODES.len()];
    let (mut outside, mut of_flows) = (0, 0);
    for sample in samples.iter().filter(within) {
        if let Outcome::Node(node) = sample.outcome {
            new[node.index()] += usize::from(sample.kind == Kind::New);
            if !phase.plan.allows(node) {
                outside += 1;
                of_flows += usize::from(sample.kind != Kind::New);
            }
        }
    }
    let all: usize = new.iter().sum();
    if all < tolerance.samples() {
        problems.push(format!(
            "in the phase `{name}` only {all} new requests were answered; shares can be judged \
             from {} on: give it more time",
            tolerance.samples()
        ));
    }
    if outside > 0 {
        problems.push(format!(
            "in the phase `{name}` {outside} requests were answered by nodes that the plan \
             gives nothing, {of_flows} of them of audited flows"
        ));
    }
    let pair = |cluster: &'static str| {
        let count: usize = NodeIndex::of_cluster(cluster).map(|node| new[node.index()]).sum();
        let seen = count as f64 / (all as f64).max(1.0);
        let planned = phase.plan.cluster(cluster);
        SharePair { phase: name.into(), cluster: cluster.into(), planned, seen, requests: count }
    };
    let shares: Vec<_> = CLUSTERS.into_iter().map(pair).collect();
    for share in shares.iter().filter(|s| (s.planned - s.seen).abs() > tolerance.share) {
        problems.push(format!(
            "in the phase `{name}` cluster {} got {:.1} % and not the planned {:.1} %",
            share.cluster,
            share.seen * 100.0,
            share.planned * 100.0
        ));
    }
    shares
}

fn judge_moves(moves: Moves, problems: &mut Vec<String>) {
    let Moves { audited, unseen, unasked, of_b, not_back } = moves;
    let mut finding = |bad: bool, sentence: String| problems.extend(bad.then_some(sentence));
    finding(audited == 0, "no flow was audited".to_owned());
    finding(unseen > 0, format!("{unseen} of {audited} flows were not answered in each phase"));
    finding(unasked > 0, format!("{unasked} of {audited} flows changed their node unasked"));
    finding(of_b > 0, format!("{of_b} flows of B changed their node when A failed or came back"));
    finding(not_back > 0, format!("{not_back} flows are not back on their first node"));
}

/// Counts the failed requests that no dead node excuses: none of those sent after the commit that
/// takes it out, and none at all when nobody dies.
fn judge_failures(record: &Record, samples: &[Sample], problems: &mut Vec<String>) -> usize {
    let excused =
        |sample: &Sample| record.changes.iter().any(|change| change.kills && change.meets(sample));
    let failures = samples.iter().filter_map(|sample| match sample.outcome {
        Outcome::Failed(failure) if !excused(sample) => Some((sample, failure)),
        _ => None,
    });
    let failures: Vec<_> = failures.collect();
    let begin = samples.first().map(|sample| sample.start).unwrap_or_default();
    if let Some((first, failure)) = failures.first() {
        let (count, start) = (failures.len(), first.start.since(begin).as_secs_f64());
        let kind = match first.kind {
            Kind::New => "a new one".to_owned(),
            Kind::Flow(flow) => format!("one of flow {flow}"),
        };
        problems.push(format!(
            "{count} requests failed outside the time from a node's death to its commit; the first, \
             {kind} sent {start:.2} s after the start: {failure}"
        ));
    }
    failures.len()
}

/// A connection may end with its node, and for no other reason.
fn judge_lasting(lasting: &Lasting, record: &Record, problems: &mut Vec<String>) {
    let begin = record.phases.first().map(|phase| phase.from).unwrap_or_default();
    if let Some(first) = lasting.broken().next() {
        let (count, time) = (lasting.broken().count(), first.at.since(begin).as_secs_f64());
        problems.push(format!(
            "{count} long-lived connections broke although their node lived; the first, {time:.2} s \
             after the start: {first}"
        ));
    }
}

/// What each change cost.
fn seen_changes(record: &Record, samples: &[Sample]) -> impl Iterator<Item = ChangeSeen> {
    let phases = record.phases.iter().skip(1);
    record.changes.iter().zip(phases).map(|(change, phase)| {
        let during = |sample: &&Sample| sample.start >= change.at && sample.start < phase.to;
        let wrong = samples.iter().filter(during).filter(|sample| match sample.outcome {
            Outcome::Failed(_) => true,
            Outcome::Node(node) => !phase.plan.allows(node),
        });
        let last = wrong.map(|sample| sample.start).max();
        ChangeSeen {
            change: change.name.into(),
            detect_ms: millis(change.verdict.since(change.at)),
            commit_ms: millis(change.commit.since(change.verdict)),
            last_misdirected_ms: millis(last.unwrap_or(change.at).since(change.at)),
            failed: failed_in_window(samples, change),
        }
    })
}

/// Requests that failed before a change was committed.
fn failed_in_window(samples: &[Sample], change: &Change) -> usize {
    let failed = |sample: &&Sample| matches!(sample.outcome, Outcome::Failed(_));
    samples.iter().filter(failed).filter(|sample| change.meets(sample)).count()
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
