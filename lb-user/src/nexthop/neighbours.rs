//! What the kernel says of neighbours, and what it is asked to find out of them.

use std::{collections::HashMap, net::IpAddr};

use futures_util::TryStreamExt;
use rtnetlink::{
    Handle, NeighbourAddRequest,
    packet_route::neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
    },
};

use super::NextHopError;

/// Index of an interface, and an address behind it.
pub(super) type Key = (u32, IpAddr);

/// What the kernel has of a neighbour: its state, and its MAC if it is known.
pub(super) type Entry = (NeighbourState, Option<[u8; 6]>);

/// All neighbours.
pub(super) type Entries = HashMap<Key, Entry>;

/// What the kernel knows of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Neighbour {
    /// It answers, or did when it was last needed.
    Answers([u8; 6]),
    /// It was asked and did not answer.
    Failed,
}

impl Neighbour {
    /// What an entry says; `None`: it is being asked.
    pub(super) fn of((state, mac): Entry) -> Option<Self> {
        match state {
            NeighbourState::Incomplete | NeighbourState::None => None,
            NeighbourState::Failed => Some(Self::Failed),
            _ => mac.map(Self::Answers),
        }
    }
}

/// All neighbours.
pub(super) async fn neighbours(handle: &Handle) -> Result<Entries, NextHopError> {
    let read = |source| NextHopError::Read { what: "neighbours", source };
    let mut found = HashMap::new();
    let mut neighbours = Box::pin(handle.neighbours().get().execute());
    while let Some(neighbour) = neighbours.try_next().await.map_err(read)? {
        found.extend(entry(&neighbour));
    }
    Ok(found)
}

/// What a message says; `None`: it is of no IP neighbour.
pub(super) fn entry(message: &NeighbourMessage) -> Option<(Key, Entry)> {
    let (mut address, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(a)) => {
                address = Some(IpAddr::V4(*a));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(a)) => {
                address = Some(IpAddr::V6(*a));
            }
            NeighbourAttribute::LinkLayerAddress(value) => mac = value.as_slice().try_into().ok(),
            _ => {}
        }
    }
    Some(((message.header.ifindex, address?), (message.header.state, mac)))
}

/// What an entry says of whether a neighbour that was [`probe`]d lives; `None`: it has not answered.
pub(super) fn lives((state, _): Entry) -> Option<bool> {
    match state {
        // The latter two are never asked.
        NeighbourState::Reachable | NeighbourState::Permanent | NeighbourState::Noarp => Some(true),
        NeighbourState::Failed => Some(false),
        _ => None,
    }
}

/// Takes back that a neighbour that has failed is being asked again.
pub(super) const fn still_failed(entry: &mut Entry) {
    if matches!(entry.0, NeighbourState::Incomplete) {
        entry.0 = NeighbourState::Failed;
    }
}

/// Has the kernel ask a neighbour at once whether it lives, however sure it is.
pub(super) async fn probe(
    handle: &Handle,
    (ifindex, address): Key,
    entry: Option<Entry>,
) -> Result<(), NextHopError> {
    use NeighbourState::{Delay, Probe, Reachable, Stale};
    let request = handle.neighbours().add(ifindex, address).replace();
    let request = match entry {
        Some((Reachable | Stale | Delay | Probe, Some(mac))) => {
            request.state(Probe).link_layer_address(&mac)
        }
        // It is being asked, or will be now; a static one stays as it is.
        _ => request.state(NeighbourState::None).flags(NeighbourFlags::Use),
    };
    executed(request).await
}

/// What a neighbour's entry becomes if [`resolve`] is of use; `None`: it is not. Checks that go past
/// the kernel's neighbours (`unused`) do not have it ask again whether a neighbour is still there.
pub(super) fn asked(entry: Option<Entry>, unused: bool) -> Option<Entry> {
    match entry {
        None | Some((NeighbourState::None | NeighbourState::Failed, _)) => {
            Some((NeighbourState::Incomplete, None))
        }
        Some((NeighbourState::Stale, mac)) if unused => Some((NeighbourState::Delay, mac)),
        Some(_) => None,
    }
}

/// Has the kernel find out who a neighbour is, or ask whether that is still so, as if it had to
/// send something.
pub(super) async fn resolve(handle: &Handle, (ifindex, address): Key) -> Result<(), NextHopError> {
    let request = handle.neighbours().add(ifindex, address).replace();
    executed(request.state(NeighbourState::None).flags(NeighbourFlags::Use)).await
}

async fn executed(request: NeighbourAddRequest) -> Result<(), NextHopError> {
    match request.execute().await {
        // Refused for an interface without neighbours.
        Ok(()) | Err(rtnetlink::Error::NetlinkError(_)) => Ok(()),
        Err(source) => Err(NextHopError::Read { what: "neighbours", source }),
    }
}
