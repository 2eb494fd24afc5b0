//! Which node: one slot of the service's table, one slot of the owning cluster's table. Where both
//! have stood for long enough, nothing else is asked; else `moved` decides.

use lb_common::{
    ClusterId, Directory, FlowHash, FlowKey, GenerationHead, NodeId, Pin, Reason, ServiceId, Slot,
    SlotState, Udp,
};

use crate::{
    Tables, Verdict,
    moved::{self, Matter},
    parse::UDP,
};

/// The way from a flow to its node, as the live tables have it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Choice {
    /// The hash of the flow.
    pub hash: FlowHash,
    /// The flow's slot in the service's table.
    pub service_slot: u32,
    /// The flow's slot in the table of the owner of that slot; 0 if it has none.
    pub node_slot: u32,
    /// The states of both.
    pub states: [SlotState; 2],
    /// The owner of those slots; `None`: nobody may serve new connections.
    pub own: Option<Member>,
    /// Who had them before, where one of them drains; `None`: nobody.
    pub base: Option<Member>,
    /// The connection's pin as it was found, whether its node is up or not.
    pub pin: Option<Pin>,
    /// Which of the three got the packet.
    pub by: By,
    /// Who got it.
    pub to: Member,
    /// The port that `nat` gives the packet; 0: the node's own.
    pub port: u16,
}

/// A node, as a member of a cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
}

/// Why a packet goes where it goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum By {
    /// The owner of its slots.
    Own,
    /// Who owned them before they moved.
    Base,
    /// Its connection's pin.
    Pin,
}

/// What a packet says of its connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// It opens it: TCP with SYN and none of ACK, RST, FIN; QUIC with an Initial or 0-RTT packet.
    Opens,
    /// It is of one that is open.
    Other,
    /// Its sender has nothing more to say.
    Fin,
    /// It is broken.
    Rst,
    /// It is not of it, but about it: an ICMP error. It reads pins, and makes none.
    ReadsOnly,
}

/// Chooses the node of a packet of a flow that is a service's, and makes, moves, keeps alive or ends
/// the connection's pin, as the stages do. `flow` has ports and protocol also where the service tells
/// flows apart by their source alone.
///
/// # Errors
/// The verdict of a packet that nobody gets.
pub fn of_flow<T: Tables>(
    tables: &T,
    epoch: u64,
    service: ServiceId,
    flow: &FlowKey,
    kind: Kind,
) -> Result<Choice, Verdict> {
    let directory = tables.service(epoch, service).ok_or(Verdict::BAD_TABLE)?.table;
    let hash = hash(&*tables.head(epoch).ok_or(Verdict::BAD_TABLE)?, &directory, flow);
    let slots = slots(tables, epoch, &directory, hash)?;
    let states = [slots.first.state(), slots.second.state()];
    // Nothing opens where all flows stay.
    let sticky = flow.protocol == UDP && directory.udp == Udp::Sticky as u8;
    let kind = if sticky && kind == Kind::Opens { Kind::Other } else { kind };
    let mut matter = Matter::new(epoch, service, hash, kind as u8);
    if slots.are_clean() || rehashed(&directory, flow) {
        matter.to = slots.own.somebody()?;
    } else {
        moved::decide(tables, &mut matter, flow)?;
    }
    Ok(Choice {
        hash,
        service_slot: slots.service_slot,
        node_slot: slots.node_slot,
        states,
        own: slots.own.member(),
        base: matter.base.member(),
        pin: matter.hit.pin(),
        by: matter.by(),
        to: matter.to.member().ok_or(Verdict::BAD_TABLE)?,
        port: port(tables, epoch, matter.to)?,
    })
}

/// A [`Member`], or nobody, in two registers.
#[derive(Clone, Copy)]
#[repr(C, align(4))]
pub(crate) struct Place {
    cluster: u16,
    node: u16,
}

impl Place {
    /// Nobody: no cluster.
    pub(crate) const NOBODY: Self = Self { cluster: Slot::NO_MEMBER, node: Slot::NO_MEMBER };

    /// A pin's.
    #[inline(always)]
    pub(crate) const fn of(pin: &Pin) -> Self {
        Self { cluster: pin.cluster.raw(), node: pin.node.raw() }
    }

    #[inline(always)]
    pub(crate) fn node(self) -> Option<NodeId> {
        NodeId::new(usize::from(self.node))
    }

    #[inline(always)]
    pub(crate) fn cluster(self) -> Option<ClusterId> {
        ClusterId::new(usize::from(self.cluster))
    }

    #[inline(always)]
    pub(crate) const fn is_nobody(self) -> bool {
        self.node == Slot::NO_MEMBER
    }

    /// Whether both are the same node.
    #[inline(always)]
    pub(crate) const fn is(self, other: Self) -> bool {
        self.node == other.node
    }

    /// As [`crate::parse::Packet::forget`].
    #[inline(always)]
    pub(crate) fn forget<T: Tables>(&mut self, salt: u64) {
        self.cluster = T::forget(u64::from(self.cluster), salt) as u16;
        self.node = T::forget(u64::from(self.node), salt) as u16;
    }

    fn member(self) -> Option<Member> {
        Some(Member { cluster: self.cluster()?, node: self.node()? })
    }

    /// Somebody, or why there is nobody.
    #[inline(always)]
    pub(crate) fn somebody(self) -> Result<Self, Verdict> {
        if self.cluster == Slot::NO_MEMBER {
            return Err(Verdict::drop(Reason::DropNoCluster));
        }
        if self.node == Slot::NO_MEMBER {
            return Err(Verdict::drop(Reason::DropNoNode));
        }
        Ok(self)
    }
}

/// A flow's two slots.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct Slots {
    pub(crate) hash: FlowHash,
    pub(crate) service_slot: u32,
    pub(crate) node_slot: u32,
    pub(crate) first: Slot,
    pub(crate) second: Slot,
    /// Who owns them.
    pub(crate) own: Place,
    /// The port of the owning cluster.
    pub(crate) port: u16,
}

impl Slots {
    /// Both have stood for long enough.
    #[inline(always)]
    pub(crate) const fn are_clean(&self) -> bool {
        self.first.is_clean() && self.second.is_clean()
    }

    /// One of them drains.
    #[inline(always)]
    pub(crate) fn drain(&self) -> bool {
        let drains = |slot: Slot| slot.state() == SlotState::Drain;
        drains(self.first) || drains(self.second)
    }
}

/// The hash that a flow's slots are of.
#[inline(always)]
pub(crate) fn hash(head: &GenerationHead, directory: &Directory, flow: &FlowKey) -> FlowHash {
    head.key.hash(&affine(directory, *flow))
}

/// A flow's slots.
#[inline(always)]
pub(crate) fn slots<T: Tables>(
    tables: &T,
    epoch: u64,
    directory: &Directory,
    hash: FlowHash,
) -> Result<Slots, Verdict> {
    let memory = tables.slots().ok_or(Verdict::BAD_TABLE)?;
    let service_slot = hash.service_slot(u32::from(directory.log2));
    let first = slot(tables, memory, directory.first, service_slot)?;
    let mut slots = Slots {
        hash,
        service_slot,
        node_slot: 0,
        first,
        second: Slot::NONE,
        own: Place::NOBODY,
        port: 0,
    };
    if let Some(cluster) = first.member() {
        let id = ClusterId::new(usize::from(cluster)).ok_or(Verdict::BAD_TABLE)?;
        let directory = tables.cluster(epoch, id).ok_or(Verdict::BAD_TABLE)?;
        slots.node_slot = hash.node_slot(u32::from(directory.log2));
        slots.second = slot(tables, memory, directory.first, slots.node_slot)?;
        slots.own = place(cluster, slots.second)?;
        slots.port = directory.port;
    }
    Ok(slots)
}

/// Who had a flow's slots before they moved, and the port that `nat` gave its packets then.
#[inline(always)]
pub(crate) fn base<T: Tables>(
    tables: &T,
    epoch: u64,
    directory: &Directory,
    slots: &Slots,
) -> Result<(Place, u16), Verdict> {
    let memory = tables.slots().ok_or(Verdict::BAD_TABLE)?;
    let first = before(tables, memory, directory, slots.service_slot, slots.first)?;
    let Some(cluster) = first.member() else { return Ok((Place::NOBODY, 0)) };
    let id = ClusterId::new(usize::from(cluster)).ok_or(Verdict::BAD_TABLE)?;
    let directory = tables.cluster(epoch, id).ok_or(Verdict::BAD_TABLE)?;
    let at = slots.hash.node_slot(u32::from(directory.log2));
    let now = slot(tables, memory, directory.first, at)?;
    Ok((place(cluster, before(tables, memory, &directory, at, now)?)?, directory.port))
}

/// Whether a service's flows move with their slots, as UDP may.
#[inline(always)]
pub(crate) const fn rehashed(directory: &Directory, flow: &FlowKey) -> bool {
    flow.protocol == UDP && directory.udp == Udp::Rehash as u8
}

/// The port that `nat` gives the packets of somebody.
#[inline(always)]
pub(crate) fn port<T: Tables>(tables: &T, epoch: u64, of: Place) -> Result<u16, Verdict> {
    let directory = of.cluster().and_then(|id| tables.cluster(epoch, id));
    Ok(directory.ok_or(Verdict::BAD_TABLE)?.port)
}

/// What is hashed where a service tells flows apart by their source alone: neither ports nor
/// protocol, so that its clients find the same node with both.
#[inline(always)]
pub fn affine(directory: &Directory, flow: FlowKey) -> FlowKey {
    // All ones or none: without the branches that there would be for each field.
    let kept = u32::from(directory.by_source & 1).wrapping_sub(1);
    FlowKey { ports: flow.ports & kept, protocol: flow.protocol & kept as u8, ..flow }
}

/// A slot as it was before it moved, if it drains.
#[inline(always)]
fn before<T: Tables>(
    tables: &T,
    memory: T::Slots<'_>,
    directory: &Directory,
    at: u32,
    now: Slot,
) -> Result<Slot, Verdict> {
    if now.state() != SlotState::Drain {
        return Ok(now);
    }
    if directory.base == Directory::NO_BASE {
        return Err(Verdict::BAD_TABLE);
    }
    slot(tables, memory, directory.base, at)
}

#[inline(always)]
fn place(cluster: u16, slot: Slot) -> Result<Place, Verdict> {
    let node = slot.member().unwrap_or(Slot::NO_MEMBER);
    if node != Slot::NO_MEMBER && NodeId::new(usize::from(node)).is_none() {
        return Err(Verdict::BAD_TABLE);
    }
    Ok(Place { cluster, node })
}

#[inline(always)]
fn slot<T: Tables>(
    tables: &T,
    memory: T::Slots<'_>,
    first: u32,
    slot: u32,
) -> Result<Slot, Verdict> {
    tables.slot(memory, first, slot).ok_or(Verdict::BAD_TABLE)
}
