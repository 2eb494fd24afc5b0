//! Typed ids and the slot: who is member of what, in 16 bits.

use crate::layout::{MAX_CLUSTERS, MAX_NODES, MAX_SERVICES};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(u16);

        impl $name {
            /// The id with this index, or `None` if the maps have no such element.
            pub const fn new(index: usize) -> Option<Self> {
                if index < $max as usize { Some(Self(index as u16)) } else { None }
            }

            /// Position in the maps of one generation.
            pub const fn index(self) -> usize {
                self.0 as usize
            }

            /// As the member of a slot.
            pub const fn raw(self) -> u16 {
                self.0
            }
        }
    };
}

id!(
    /// A service: one VIP, port and protocol.
    ServiceId, MAX_SERVICES
);
id!(
    /// A cluster as one way of checking sees it: a group of nodes that lives or fails together.
    ClusterId, MAX_CLUSTERS
);
id!(
    /// A node: one server address in one cluster.
    NodeId, MAX_NODES
);

/// What a slot went through, in its two top bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum SlotState {
    /// Owner unchanged for long enough: the owner answers, nothing else is read.
    Clean = 0,
    /// Owner changed a short while ago: old connections go to the base.
    Drain = 1,
    /// The drain window has closed; pins may remain.
    Residue = 2,
}

/// One entry of a slot table: a state (2 bits) and a member (14 bits), native endian.
///
/// In a service's table the member is a cluster, in a cluster's table a node. `NONE` means that
/// nobody may serve the slot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(transparent)]
pub struct Slot(u16);

impl Slot {
    const MEMBER_MASK: u16 = 0x3fff;
    /// The member value that stands for nobody.
    pub const NO_MEMBER: u16 = Self::MEMBER_MASK;
    /// A clean slot that nobody serves.
    pub const NONE: Self = Self(Self::NO_MEMBER);

    /// A clean slot owned by a cluster or node with this raw id.
    pub const fn clean(member: u16) -> Self {
        Self(member & Self::MEMBER_MASK)
    }

    /// The same owner in another state.
    pub const fn in_state(self, state: SlotState) -> Self {
        Self(self.0 & Self::MEMBER_MASK | (state as u16) << 14)
    }

    /// From its 16 bits, as they stand in a table.
    pub const fn from_raw(raw: u16) -> Self {
        Self(raw)
    }

    /// Its 16 bits, as they stand in a table.
    pub const fn raw(self) -> u16 {
        self.0
    }

    /// The raw id of the owner, or `None` where nobody serves.
    pub const fn member(self) -> Option<u16> {
        let member = self.0 & Self::MEMBER_MASK;
        if member == Self::NO_MEMBER { None } else { Some(member) }
    }

    /// Whether its owner answers, and nothing else is read.
    #[inline(always)]
    pub const fn is_clean(self) -> bool {
        self.0 >> 14 == 0
    }

    /// The slot's state. The fourth bit pattern is not written by anybody and reads as `Residue`,
    /// the state that trusts the least.
    pub const fn state(self) -> SlotState {
        match self.0 >> 14 {
            0 => SlotState::Clean,
            1 => SlotState::Drain,
            _ => SlotState::Residue,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_end_where_the_maps_end() {
        assert_eq!(ClusterId::new(1023).map(ClusterId::index), Some(1023));
        assert_eq!(ClusterId::new(1024), None);
        assert_eq!(NodeId::new(4096), None);
        assert_eq!(ServiceId::new(1024), None);
        // Every id fits a slot, and none of them means nobody.
        assert!(u32::from(Slot::NO_MEMBER) >= MAX_NODES.max(MAX_CLUSTERS));
    }

    #[test]
    fn a_slot_keeps_member_and_state_apart() {
        assert_eq!(Slot::NONE.member(), None);
        assert_eq!(Slot::NONE.state(), SlotState::Clean);
        for member in [0u16, 1, 4095] {
            let slot = Slot::clean(member);
            assert_eq!((slot.member(), slot.state()), (Some(member), SlotState::Clean));
            let draining = Slot::from_raw(member | 0x4000);
            assert_eq!((draining.member(), draining.state()), (Some(member), SlotState::Drain));
            let residue = Slot::from_raw(member | 0x8000);
            assert_eq!((residue.member(), residue.state()), (Some(member), SlotState::Residue));
        }
    }
}
