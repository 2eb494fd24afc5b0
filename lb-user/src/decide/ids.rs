//! Which id everything has in the maps.
//!
//! Positions in a configuration shift whenever it is another one; ids stay with what they name, since
//! pins and tables of before hold them. The first configuration's ids are its positions.

use std::collections::BTreeSet;

use lb_common::{
    ClusterId, NodeId, ServiceId,
    layout::{MAX_CLUSTERS, MAX_NODES, MAX_SERVICES},
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The ids of a configuration's services, node tables (pools, then variants) and nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ids {
    services: Column,
    tables: Column,
    nodes: Column,
}

/// More things than ids: so many have been removed a short while ago that their ids are not free yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no id is free for {0}: those of what was removed are in use until its connections end")]
pub struct OutOfIds(pub &'static str);

/// Ids by position.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<u16>", into = "Vec<u16>")]
struct Column {
    ids: Vec<u16>,
    /// By id; [`Column::NOBODY`]: nobody has it.
    positions: Vec<u16>,
}

/// The ids that things keep, by position in the new configuration; `None`: it is new.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    pub(super) services: Vec<Option<u16>>,
    pub(super) tables: Vec<Option<u16>>,
    pub(super) nodes: Vec<Option<u16>>,
}

/// Ids that something may still name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Services.
    pub services: BTreeSet<u16>,
    /// Node tables.
    pub tables: BTreeSet<u16>,
    /// Nodes.
    pub nodes: BTreeSet<u16>,
}

impl Named {
    /// Those that are in another set, too.
    pub(super) fn retain(&mut self, others: &Self) {
        self.services.retain(|id| others.services.contains(id));
        self.tables.retain(|id| others.tables.contains(id));
        self.nodes.retain(|id| others.nodes.contains(id));
    }
}

impl Ids {
    /// Those of a first configuration with so many services, node tables and nodes.
    pub(super) fn first(services: usize, tables: usize, nodes: usize) -> Self {
        let column = |count: usize, most: u32| Column::of((0..most as u16).take(count).collect());
        Self {
            services: column(services, MAX_SERVICES),
            tables: column(tables, MAX_CLUSTERS),
            nodes: column(nodes, MAX_NODES),
        }
    }

    /// Those of a configuration in which some things keep theirs; others get the lowest free ones.
    pub(super) fn next(kept: &Kept, taken: &Named) -> Result<Self, OutOfIds> {
        let column = |kept: &[Option<u16>], taken: &BTreeSet<u16>, most: u32, what| {
            Column::next(kept, taken, most as u16).ok_or(OutOfIds(what))
        };
        Ok(Self {
            services: column(&kept.services, &taken.services, MAX_SERVICES, "a service")?,
            tables: column(&kept.tables, &taken.tables, MAX_CLUSTERS, "a node table")?,
            nodes: column(&kept.nodes, &taken.nodes, MAX_NODES, "a node")?,
        })
    }

    /// All of them, with those that are in a set already.
    pub(super) fn with(&self, taken: &Named) -> Named {
        let both = |column: &Column, taken: &BTreeSet<u16>| {
            column.ids.iter().chain(taken).copied().collect()
        };
        Named {
            services: both(&self.services, &taken.services),
            tables: both(&self.tables, &taken.tables),
            nodes: both(&self.nodes, &taken.nodes),
        }
    }

    /// Those of a set that nothing here has.
    pub(super) fn without(&self, taken: &Named) -> Named {
        let rest = |column: &Column, taken: &BTreeSet<u16>| {
            taken.iter().copied().filter(|id| column.position(*id).is_none()).collect()
        };
        Named {
            services: rest(&self.services, &taken.services),
            tables: rest(&self.tables, &taken.tables),
            nodes: rest(&self.nodes, &taken.nodes),
        }
    }

    /// Whether there is one for each of so many, and none twice.
    pub(super) fn are_for(&self, services: usize, tables: usize, nodes: usize) -> bool {
        let fits = |column: &Column, count: usize, most: u32| {
            let known = column.positions.iter().filter(|position| **position != Column::NOBODY);
            let in_range = column.ids.iter().all(|id| u32::from(*id) < most);
            column.ids.len() == count && known.count() == count && in_range
        };
        fits(&self.services, services, MAX_SERVICES)
            && fits(&self.tables, tables, MAX_CLUSTERS)
            && fits(&self.nodes, nodes, MAX_NODES)
    }

    /// How long lists by service, node table and node id are.
    pub fn lengths(&self) -> [usize; 3] {
        [&self.services, &self.tables, &self.nodes].map(|column| column.positions.len())
    }

    /// Of the service at a position; `None`: the maps hold no more.
    pub fn service(&self, position: usize) -> Option<ServiceId> {
        ServiceId::new(self.services.id(position)?.into())
    }

    /// Position of the service with an id.
    pub fn service_at(&self, id: ServiceId) -> Option<usize> {
        self.services.position(id.raw())
    }

    /// Of the node table at a position: the pools', then the variants'.
    pub fn table(&self, position: usize) -> Option<ClusterId> {
        ClusterId::new(self.tables.id(position)?.into())
    }

    /// Position of the node table with an id.
    pub fn table_at(&self, id: ClusterId) -> Option<usize> {
        self.tables.position(id.raw())
    }

    /// Of the node at a position.
    pub fn node(&self, position: usize) -> Option<NodeId> {
        NodeId::new(self.nodes.id(position)?.into())
    }

    /// Position of the node with an id.
    pub fn node_at(&self, id: NodeId) -> Option<usize> {
        self.nodes.position(id.raw())
    }

    /// Position of the node table that a slot of a service's table names.
    pub fn table_of(&self, member: u16) -> Option<usize> {
        self.tables.position(member)
    }

    /// Position of the node that a slot of a cluster's table names.
    pub fn node_of(&self, member: u16) -> Option<usize> {
        self.nodes.position(member)
    }

    /// Values by service id, from those by position; holes have the default.
    pub fn by_service<T: Default>(&self, values: impl IntoIterator<Item = T>) -> Vec<T> {
        self.services.spread(values)
    }

    /// The same for node tables.
    pub fn by_table<T: Default>(&self, values: impl IntoIterator<Item = T>) -> Vec<T> {
        self.tables.spread(values)
    }

    /// The same for nodes.
    pub fn by_node<T: Default>(&self, values: impl IntoIterator<Item = T>) -> Vec<T> {
        self.nodes.spread(values)
    }
}

impl Column {
    const NOBODY: u16 = u16::MAX;

    fn of(ids: Vec<u16>) -> Self {
        let len = ids.iter().map(|id| usize::from(*id) + 1).max().unwrap_or(0);
        let mut positions = vec![Self::NOBODY; len];
        for (position, &id) in (0..).zip(&ids) {
            positions[usize::from(id)] = position;
        }
        Self { ids, positions }
    }

    fn next(kept: &[Option<u16>], taken: &BTreeSet<u16>, most: u16) -> Option<Self> {
        let known: BTreeSet<u16> = kept.iter().flatten().copied().collect();
        let mut free = (0..most).filter(|id| !known.contains(id) && !taken.contains(id));
        let ids = kept.iter().map(|kept| kept.or_else(|| free.next()));
        ids.collect::<Option<Vec<u16>>>().map(Self::of)
    }

    fn id(&self, position: usize) -> Option<u16> {
        self.ids.get(position).copied()
    }

    fn position(&self, id: u16) -> Option<usize> {
        let position = self.positions.get(usize::from(id)).copied()?;
        (position != Self::NOBODY).then_some(position.into())
    }

    fn spread<T: Default>(&self, values: impl IntoIterator<Item = T>) -> Vec<T> {
        let mut list: Vec<T> = self.positions.iter().map(|_| T::default()).collect();
        for (value, &id) in values.into_iter().zip(&self.ids) {
            list[usize::from(id)] = value;
        }
        list
    }
}

impl From<Vec<u16>> for Column {
    fn from(ids: Vec<u16>) -> Self {
        Self::of(ids)
    }
}

impl From<Column> for Vec<u16> {
    fn from(column: Column) -> Self {
        column.ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ids that are kept, ids that are taken, and all ids then.
    type Case<'a> = (&'a [Option<u16>], &'a [u16], Option<&'a [u16]>);

    #[test]
    fn what_stays_keeps_its_id_and_new_things_get_free_ones() {
        let cases: [Case<'_>; 6] = [
            (&[Some(0), Some(1)], &[0, 1], Some(&[0, 1])),
            (&[Some(1), None], &[0, 1], Some(&[1, 2])),
            (&[None, Some(1), None], &[1], Some(&[0, 1, 2])),
            (&[None, Some(3)], &[0, 1, 2, 3], None),
            (&[None; 4], &[], Some(&[0, 1, 2, 3])),
            (&[None; 5], &[], None),
        ];
        for (kept, taken, expected) in cases {
            let found = Column::next(kept, &taken.iter().copied().collect(), 4);
            assert_eq!(found.map(|column| column.ids), expected.map(<[u16]>::to_vec), "{kept:?}");
        }
    }

    #[test]
    fn there_and_back() {
        let column = Column::of(vec![4, 0, 2]);
        assert_eq!(column.spread(["a", "b", "c"]), ["b", "", "c", "", "a"]);
        let positions: Vec<_> = (0..6).map(|id| column.position(id)).collect();
        assert_eq!(positions, [Some(1), None, Some(2), None, Some(0), None]);
        let ids = Ids::first(2, 1, 3);
        let text = serde_json::to_string(&ids).expect("JSON");
        assert_eq!(serde_json::from_str::<Ids>(&text).expect("ids"), ids);
        assert_eq!((ids.service(1).map(ServiceId::index), ids.service(2)), (Some(1), None));
        assert_eq!(Ids::first(0, 5000, 0).table(1023).map(ClusterId::index), Some(1023));
        assert_eq!(Ids::first(0, 5000, 0).table(1024), None);
    }
}
