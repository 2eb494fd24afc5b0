//! Ends holds that hold nothing back.

use super::{
    group::GroupMonitor,
    model::Model,
    notice::{self, Notice, ReleasedBy},
    plan::{Decision, Planner},
};

/// Ends holds that hold nothing back: their pools have all that they would have without. So a
/// cluster that carries everything because nobody else could is not asked to hand it over to the
/// next one that recovers.
pub(super) fn settle(
    model: &Model,
    planner: &mut Planner,
    groups: &mut [GroupMonitor],
    mut decision: Decision,
    notices: &mut Vec<Notice>,
) -> Decision {
    // The end of one may be that of another, which waited behind it.
    loop {
        let held: Vec<usize> = (0..groups.len()).filter(|&i| groups[i].hold().is_some()).collect();
        let each = held.iter().map(|&cluster| vec![cluster]).collect::<Vec<_>>();
        let mut ended = false;
        for set in std::iter::once(held).chain(each) {
            let mut values = decision.groups.clone();
            set.iter().for_each(|&cluster| values[cluster].held = false);
            if values == decision.groups {
                continue;
            }
            let free = planner.decide(&decision.nodes, &values, Some(&decision));
            let mut plans = free.services.iter().zip(&decision.services);
            if plans.all(|(free, held)| free.deal == held.deal) {
                for cluster in set {
                    groups[cluster].release();
                    notices.extend(notice::released(model, cluster, ReleasedBy::NothingLent));
                }
                decision = free;
                ended = true;
            }
        }
        if !ended {
            return decision;
        }
    }
}
