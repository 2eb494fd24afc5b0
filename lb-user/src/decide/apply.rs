//! What each kind of event changes.

use std::{sync::Arc, time::Duration};

use super::{Admin, Event, GroupMonitor, Notice, Outcome, ReleasedBy, State, TargetId, notice};

impl State {
    /// Takes an event into account; returns whether a plan could come of it.
    pub(super) fn apply(
        &mut self,
        now: Duration,
        event: &Event,
        notices: &mut Vec<Notice>,
    ) -> bool {
        match event {
            &Event::Checked { target, outcome } => self.observe(now, target, outcome, notices),
            &Event::Resolved { node, hop } => {
                let at = self.model.ids.node_at(node);
                let Some(known) = at.and_then(|at| self.hops.get_mut(at)) else { return false };
                std::mem::replace(known, hop) != hop
            }
            Event::Host(host) => {
                self.host_spoke = true;
                self.host.replace(host.clone()).as_ref() != Some(host)
            }
            &Event::Administer { node, admin } => {
                let Some(at) = self.model.ids.node_at(node) else { return false };
                let changed =
                    self.administer(|admins, model| admins.set_node(model, at, admin, now));
                notices.extend(changed.then_some(Notice::Administered { node, admin }));
                changed
            }
            &Event::AdministerCluster { cluster, admin } => {
                let changed =
                    self.administer(|admins, model| admins.set_cluster(model, cluster, admin, now));
                notices.extend(changed.then_some(Notice::ClusterAdministered { cluster, admin }));
                changed
            }
            &Event::Release(cluster) => {
                let groups = self.running.as_mut().map(|running| &mut running.groups);
                let at = self.model.ids.table_at(cluster);
                let group = groups.and_then(|groups| groups.get_mut(at?));
                let released = group.is_some_and(GroupMonitor::release);
                let by = ReleasedBy::Operator;
                notices.extend(released.then_some(Notice::Released { cluster, by }));
                released
            }
            Event::Swept(swept) => {
                self.swept = Some(Arc::clone(swept));
                let Some(tracks) = self.tracks.swept(swept) else { return false };
                self.tracks = tracks;
                true
            }
            Event::CloseWindows => {
                self.tracks = self.tracks.closed();
                true
            }
        }
    }

    fn observe(
        &mut self,
        now: Duration,
        target: TargetId,
        outcome: Outcome,
        notices: &mut Vec<Notice>,
    ) -> bool {
        // What was under way when maintenance began says nothing of the node.
        let effective = self.admins.effective();
        let rests = |node: &usize| effective[*node] == Admin::Maintenance;
        let Some(monitor) = self.targets.get_mut(target.index()) else { return false };
        if self.model.nodes_at(target).iter().all(rests) {
            return false;
        }
        let before = monitor.state();
        let seen = monitor.observe(outcome, &self.model.pools.targets[target.index()].health);
        let after = monitor.state();
        notices.extend(
            seen.into_iter().flat_map(|way| notice::seen(&self.model, target, outcome, way)),
        );
        match monitor.is_undecided() {
            true => self.undecided.insert(target),
            false => self.undecided.remove(&target),
        };
        if before == after {
            return false;
        }
        self.hear();
        notices.extend(notice::verdict(&self.model, target, after));
        // Before the very first plan there is nothing that could stay as it was.
        if self.running.is_some() || self.inherited.iter().any(Option::is_some) {
            self.freezer.see(target, before, after, now);
        }
        true
    }
}
