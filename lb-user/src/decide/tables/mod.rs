//! Decides, for every slot of a table, in which fixed order its members are asked to serve it.
//!
//! An [`Order`] is made from the configuration alone. A slot's owner is the first *eligible*
//! member of its order, so a change of health moves exactly the slots that must move, and they
//! come back to where they were, whatever happened in between.

mod bits;
mod deal;
mod maglev;
mod ramped;

use std::hash::Hasher;

use lb_common::{hash::mix, layout::table_log2};
use siphasher::sip::SipHasher13;

pub use bits::Bits;
pub use maglev::quotas;
pub use ramped::{CLASSES, Withheld, allowed};

/// Marks a slot that no member may serve.
pub const NOBODY: u16 = u16::MAX;

/// Tiers of more members than this may be dealt by probing (see `deal`).
const LARGE_TIER: usize = 32;

/// The order of the members of one table, for every slot, fixed by the configuration.
#[derive(Debug, PartialEq, Eq)]
pub struct Order {
    /// Keys of all members, by their positions.
    keys: Vec<u64>,
    /// The member that comes first, by slot.
    home: Vec<u16>,
    /// Who is asked after home, stage by stage.
    stages: Vec<Stage>,
    log2: u32,
}

/// Members that are asked together, each for its part.
#[derive(Debug, PartialEq, Eq)]
struct Stage {
    /// In the order of their keys.
    members: Vec<Share>,
    /// Only for large tiers: a Maglev table of the stage's own.
    table: Option<Vec<u16>>,
}

/// A member and its weight among the others of its tier or stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Share {
    /// Position of the member.
    pub member: u16,
    /// Its weight there, 1 or more.
    pub weight: u32,
}

/// All that an [`Order`] is made from. Equal specifications give equal orders.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OrderSpec {
    /// Key of each configured member, by position, also of those that take part in nothing.
    pub keys: Vec<u64>,
    /// How many of them the size of the table is for.
    pub members: usize,
    /// Those among whom homes are shared.
    pub home: Vec<Share>,
    /// Who follows, stage by stage. A member may stand in several; the first counts.
    pub stages: Vec<Vec<Share>>,
}

impl Order {
    /// The order that a specification gives.
    pub fn new(spec: &OrderSpec) -> Self {
        let log2 = table_log2(spec.members);
        let by_key = |shares: &[Share]| {
            let mut shares = shares.to_vec();
            shares.retain(|share| share.weight > 0);
            shares
                .sort_unstable_by_key(|share| (spec.keys[usize::from(share.member)], share.member));
            shares
        };
        let first = by_key(&spec.home);
        let home = maglev::table(&spec.keys, &first, log2);
        let stages = spec.stages.iter().map(|stage| {
            let members = by_key(stage);
            let table = (members.len() > LARGE_TIER).then(|| {
                if members == first {
                    home.clone()
                } else {
                    maglev::table(&spec.keys, &members, log2)
                }
            });
            Stage { members, table }
        });
        let stages = stages.collect();
        Self { keys: spec.keys.clone(), home, stages, log2 }
    }

    /// First member of each slot's order: whose flows they are while it may serve them.
    pub fn home(&self) -> &[u16] {
        &self.home
    }

    /// log2 of the number of slots.
    pub fn log2(&self) -> u32 {
        self.log2
    }
}

/// Key of a cluster: depends on its name only.
pub fn cluster_key(cluster: &str) -> u64 {
    key(&[cluster.as_bytes()])
}

/// Key of a node: depends on the names of its cluster and itself only.
pub fn node_key(cluster: &str, node: &str) -> u64 {
    key(&[cluster.as_bytes(), b"\0", node.as_bytes()])
}

fn key(parts: &[&[u8]]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(0, 0);
    parts.iter().for_each(|part| hasher.write(part));
    hasher.finish()
}

/// Hash of two words; a bijection of the second for every first.
const fn chain(first: u64, second: u64) -> u64 {
    mix(mix(first) ^ second.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

#[cfg(test)]
mod tests;
