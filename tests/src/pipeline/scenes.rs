//! Scenes that nobody wrote: random states, bases and pins.

use lb_common::{
    FlowKey, HashKey, PinState, SlotState, Udp,
    maps::PINS_LEN,
    pin::{self, PIN_WAYS},
};

use super::{
    places::{CLIENT, FAMILIES, Family, SERVED, words},
    random::Numbers,
    scene::{Moved, Pinned, Scene, service_of},
    to::To,
};

/// Whose slots move.
pub(super) const OF: To = To::Tx;
/// Who may have them.
const MEMBERS: [To; 6] = [To::Tx, To::Elsewhere, To::Tag, To::Tags, To::Ipip4, To::Gue6];
/// Milliseconds: far enough from where something ends.
const AGES: [u32; 4] = [0, 4_000, 30_000, 90_000];

/// A scene for the services on the port of [`OF`].
pub(super) fn random(numbers: &mut Numbers, key: &HashKey) -> Scene {
    let clusters = MEMBERS.map(|cluster| (cluster, moved(numbers)));
    let down = MEMBERS.into_iter().filter(|_| numbers.below(4) == 0).collect();
    let udp = [Udp::Rehash, Udp::Sticky, Udp::Quic][numbers.below(3)];
    let mut pins: Vec<Pinned> = Vec::new();
    for family in FAMILIES {
        for (protocol, port) in [(6, 40_000), (17, 40_001)] {
            let buckets = pin::buckets(tag(key, family, protocol, port), PINS_LEN - 1);
            let occupied = if numbers.below(2) == 0 { 1 } else { 2 * PIN_WAYS };
            for turn in 0..occupied {
                let own = turn == 0 && numbers.below(2) == 0;
                let tag = if own { tag(key, family, protocol, port) } else { 100 + turn as u64 };
                let pin = Pinned {
                    bucket: buckets[turn / PIN_WAYS],
                    way: turn % PIN_WAYS,
                    tag,
                    service: service_of(OF, family, protocol == 17),
                    at: (one(numbers), one(numbers)),
                    state: [PinState::Half, PinState::Live, PinState::Closing][numbers.below(3)],
                    age: AGES[numbers.below(AGES.len())],
                };
                pins.push(pin);
            }
        }
    }
    Scene { of: OF, service: moved(numbers), clusters: clusters.to_vec(), down, udp, pins }
}

fn tag(key: &HashKey, family: Family, protocol: u8, port: u32) -> u64 {
    let (source, destination) = (words(CLIENT.of(family)), words(SERVED.of(family)));
    let ports = port << 16 | u32::from(OF.port());
    let v6 = family == Family::V6;
    pin::tag(key.hash(&FlowKey { source, destination, ports, protocol, v6 }))
}

fn one(numbers: &mut Numbers) -> To {
    MEMBERS[numbers.below(MEMBERS.len())]
}

fn moved(numbers: &mut Numbers) -> Moved {
    let somebody = |numbers: &mut Numbers| (numbers.below(8) > 0).then(|| one(numbers));
    let state = [SlotState::Clean, SlotState::Drain, SlotState::Residue][numbers.below(3)];
    // A table has a base also where another slot of it drains.
    let base = (state == SlotState::Drain || numbers.below(2) == 0).then(|| somebody(numbers));
    Moved { state, own: somebody(numbers), base }
}
