//! Judges the lists of an intended state: as long as they have to be, and nothing that nobody has.

use lb_common::{
    ClusterId, NodeId, ServiceId,
    layout::{MAX_CLUSTERS, MAX_NODES, MAX_SERVICES},
};

use super::{List, Violation};
use crate::decide::{intent::Intent, model::Model};

/// Lists are as long as the ids make them.
pub(super) fn lengths(model: &Model, intent: &Intent) -> Vec<Violation> {
    let [services, clusters, nodes] = model.ids.lengths();
    let all = [model.config.services.len(), model.tables(), model.nodes.len()];
    let most = [MAX_SERVICES, MAX_CLUSTERS, MAX_NODES].map(|most| most as usize);
    [
        (List::Vips, intent.vips.len(), all[0]),
        (List::Services, intent.services.len(), services),
        (List::Services, intent.addresses.len(), services),
        (List::Services, intent.service_info.len(), services),
        (List::Clusters, intent.clusters.len(), clusters),
        (List::Clusters, intent.cluster_info.len(), clusters),
        (List::Clusters, all[1].min(most[1]), all[1]),
        (List::Nodes, intent.nodes.len(), nodes),
        (List::Nodes, intent.node_info.len(), nodes),
        (List::Nodes, all[2].min(most[2]), all[2]),
        (List::Services, all[0].min(most[0]), all[0]),
    ]
    .into_iter()
    .filter(|(_, is, must_be)| is != must_be)
    .map(|(list, is, must_be)| Violation::Length { list, is, must_be })
    .collect()
}

/// Under ids that nobody has there is nothing.
pub(super) fn strays(model: &Model, intent: &Intent, found: &mut Vec<Violation>) {
    fn filled<T: Default + PartialEq>(list: &[T], id: usize) -> bool {
        list[id] != T::default()
    }
    let nobody = |known: Option<usize>| known.is_none();
    let services = (0..intent.services.len()).filter(|&id| {
        nobody(ServiceId::new(id).and_then(|id| model.ids.service_at(id)))
            && (filled(&intent.services, id)
                || filled(&intent.addresses, id)
                || filled(&intent.service_info, id))
    });
    let clusters = (0..intent.clusters.len()).filter(|&id| {
        nobody(ClusterId::new(id).and_then(|id| model.ids.table_at(id)))
            && (filled(&intent.clusters, id) || filled(&intent.cluster_info, id))
    });
    let nodes = (0..intent.nodes.len()).filter(|&id| {
        nobody(NodeId::new(id).and_then(|id| model.ids.node_at(id)))
            && (filled(&intent.nodes, id) || filled(&intent.node_info, id))
    });
    let stray = |list| move |id| Violation::Stray { list, id };
    found.extend(services.map(stray(List::Services)));
    found.extend(clusters.map(stray(List::Clusters)));
    found.extend(nodes.map(stray(List::Nodes)));
}
