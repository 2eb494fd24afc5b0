//! Who must get a packet whose slots moved, and what pin must stand behind it: the rules once more
//! (ARCHITECTURE, "A packet's way"), from a scene, the pins and the frame's bytes. Nothing here is taken
//! from the stages; only the hash, and where pins stand, is what both have from `lb-common`.

use std::net::IpAddr;

use lb_common::{
    FlowKey, HashKey, PinState, SlotState, Udp,
    maps::PINS_LEN,
    pin::{affine, buckets, tag},
};

use super::{
    oracle::{Carried, Seen, must, see},
    packets::protocol,
    places::{FAMILIES, SERVED, words},
    runners::Outcome,
    scene::{Moved, Pinned, Scene},
    to::To,
};
use PinState::{Closing, Half, Live};

/// A node, and the cluster that it was found by.
type At = (To, To);

/// A packet of a connection.
struct Packet {
    /// Its service is one of those on this port.
    of: To,
    udp: bool,
    kind: Kind,
    /// What its connection's pin is found by.
    tag: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Opens,
    Other,
    Fin,
    Rst,
    /// An ICMP error, which is not the connection's own.
    Reads,
}

/// What must become of a packet.
struct Answer {
    /// Who gets it; `None`: nobody.
    to: Option<At>,
    /// Pins have to do with it.
    looks: bool,
    pin: Change,
}

/// What must become of its connection's pin.
enum Change {
    Nothing,
    /// It has this state, and is fresh.
    Touched(PinState),
    /// Its place is free.
    Freed,
    /// It is at a node. Without room for it the packet goes to the other one, and nothing changes.
    Put(At, PinState, Option<At>),
}

/// Judges what became of a frame, by the pins before and after it.
///
/// # Errors
/// What does not hold.
pub(super) fn judge(
    scene: &Scene,
    key: &HashKey,
    frame: &[u8],
    outcome: &Outcome,
    pins: [&[Pinned]; 2],
) -> Result<(), String> {
    let [before, after] = pins;
    let counters = &outcome.counters;
    let looked = counters.pin_looked_for > 0;
    must(looked || same(before, after), "pins changed, but nobody looked for one")?;
    let chosen = counters.forward_tx + counters.forward_redirect + counters.forward_icmp > 0;
    let nobody = counters.drop_no_cluster + counters.drop_no_node > 0;
    let Some(packet) = packet(scene, key, frame) else {
        return Ok(());
    };
    if !looked && !chosen && !nobody {
        // It ended before anybody asked whose it is.
        return Ok(());
    }
    let own = before.iter().find(|pin| pin.tag == packet.tag);
    let answer = answer(scene, own, &packet);
    must(looked == answer.looks, "pins were looked for, or not, and should not have been")?;
    let (to, made, refused) = match answer.pin {
        Change::Put(at, state, refused) => {
            let room = own.is_some() || has_room(before, packet.tag, state);
            if room {
                put(before, after, own, packet.tag, (at, state))?;
            } else {
                must(same(before, after), "there was no room for a pin, and pins changed")?;
            }
            (if room { answer.to } else { refused }, u64::from(room), u64::from(!room))
        }
        Change::Nothing => {
            must(same(before, after), "pins changed")?;
            (answer.to, 0, 0)
        }
        Change::Touched(state) => {
            let own = own.ok_or("no pin can be touched")?;
            let now = Pinned { state, age: 0, ..*own };
            must(same(&with(before, now), after), "the pin is not as it must be")?;
            must(after.contains(&now), "the pin was not touched")?;
            (answer.to, 0, 0)
        }
        Change::Freed => {
            let rest: Vec<_> = before.iter().filter(|pin| pin.tag != packet.tag).copied().collect();
            must(same(&rest, after), "the pin is not free")?;
            (answer.to, 0, 0)
        }
    };
    must((counters.pin_made, counters.pin_refused) == (made, refused), "pins made, and refused")?;
    match to {
        None => must(nobody, "nobody may get it, but it was not dropped for that"),
        Some(_) if !chosen => must(!nobody, "dropped for nobody, but there is somebody"),
        Some((node, _)) => {
            let sent = To::ALL.iter().find(|to| outcome.frame.starts_with(&to.link().to));
            must(sent == Some(&node), &format!("sent to {sent:?}, not to {node:?}"))
        }
    }
}

/// The slots of the services on somebody's port, and what becomes of flows over UDP. Others than the
/// scene's have clusters in common with it.
fn service(scene: &Scene, of: To) -> (Moved, Udp) {
    if of == scene.of { (scene.service, scene.udp) } else { (Moved::clean(of), Udp::Rehash) }
}

/// The rules.
fn answer(scene: &Scene, pin: Option<&Pinned>, packet: &Packet) -> Answer {
    let first = service(scene, packet.of).0;
    let behind = |cluster: To| {
        let known = scene.clusters.iter().find(|(of, _)| *of == cluster);
        known.map_or(Moved::clean(cluster), |(_, moved)| *moved)
    };
    let up = |at: At| !scene.down.contains(&at.0);
    let in_cluster = |cluster: To, node: Option<To>| node.map(|node| (node, cluster));
    let second = first.own.map(behind);
    let own = first.own.and_then(|cluster| in_cluster(cluster, behind(cluster).own));
    let states = [Some(first.state), second.map(|moved| moved.state)];
    let any = |state| states.contains(&Some(state));
    let moved = any(SlotState::Drain) || any(SlotState::Residue);
    if !moved || packet.udp && service(scene, packet.of).1 == Udp::Rehash {
        return Answer { to: own, looks: false, pin: Change::Nothing };
    }
    let drain = any(SlotState::Drain);
    let mut base = own;
    if drain {
        let owner = |moved: Moved| match moved.state {
            SlotState::Drain => moved.base.flatten(),
            SlotState::Clean | SlotState::Residue => moved.own,
        };
        base = owner(first).and_then(|cluster| in_cluster(cluster, owner(behind(cluster))));
    }
    let base_is_up = base.is_some_and(up);
    let to = if base_is_up { base } else { own };
    let there = |pin: &Pinned| Some(pin.at);
    let live = pin.filter(|pin| up(pin.at));
    let done = |to, pin| Answer { to, looks: true, pin };
    if packet.kind == Kind::Reads {
        return done(live.map_or(to, there), Change::Nothing);
    }
    let opens = packet.kind == Kind::Opens;
    if let Some(pin) = live.filter(|pin| !(opens && pin.state == Closing)) {
        let state = match (packet.kind, pin.state) {
            (Kind::Fin | Kind::Rst, _) => Closing,
            (Kind::Other, Half) => Live,
            (_, state) => state,
        };
        return done(there(pin), Change::Touched(state));
    }
    // With `nat` another port is another owner.
    let arrives = |at: Option<At>| at.map(|(node, cluster)| (node, cluster.cluster_port()));
    if opens {
        let Some(own) = own else {
            return done(None, if pin.is_some() { Change::Freed } else { Change::Nothing });
        };
        if arrives(base) == arrives(Some(own)) && pin.is_none() {
            return done(Some(own), Change::Nothing);
        }
        return done(Some(own), Change::Put(own, Half, to));
    }
    let mut change = Change::Nothing;
    if let Some(at) = to
        && drain
        && arrives(base) != arrives(own)
        && packet.kind != Kind::Rst
    {
        // Of a connection whose node is gone nearly nothing is left: what follows it ends soon.
        let ends = packet.kind == Kind::Fin || !base_is_up && !packet.udp;
        change = Change::Put(at, if ends { Closing } else { Live }, to);
    }
    done(to, change)
}

/// Whether a pin's time has passed.
fn ended(pin: &Pinned) -> bool {
    match pin.state {
        Half => pin.age >= 10_000,
        Closing => pin.age >= 60_000,
        Live => false,
    }
}

/// Whether a pin whose time has not passed may go for another one.
fn yields(pin: &Pinned) -> bool {
    pin.state == Half && pin.age >= 1_000 && !ended(pin)
}

/// Whether one of a tag's two buckets has a place for it.
fn has_room(pins: &[Pinned], tag: u64, state: PinState) -> bool {
    const WAYS: usize = 4;
    const MOST_HALF: usize = 2;
    buckets(tag, PINS_LEN - 1).iter().any(|bucket| {
        let here = || pins.iter().filter(|pin| pin.bucket == *bucket && !ended(pin));
        let half = here().filter(|pin| pin.state == Half).count();
        let free = here().count() < WAYS && (state != Half || half < MOST_HALF);
        free || here().any(yields)
    })
}

/// A pin was put in the place of its connection's old one, or where there was room.
fn put(
    before: &[Pinned],
    after: &[Pinned],
    own: Option<&Pinned>,
    tag: u64,
    (at, state): (At, PinState),
) -> Result<(), String> {
    let mut its = after.iter().filter(|pin| pin.tag == tag);
    let (Some(new), None) = (its.next(), its.next()) else {
        return Err("not one pin of the connection".to_owned());
    };
    must((new.at, new.state, new.age) == (at, state, 0), &format!("a wrong pin: {new:?}"))?;
    let here = |pin: &&Pinned| (pin.bucket, pin.way) == (new.bucket, new.way);
    match own {
        Some(own) => must(here(&own), "not in its connection's place")?,
        None => {
            must(buckets(tag, PINS_LEN - 1).contains(&new.bucket), "in no bucket of its own")?;
            must(
                before.iter().find(here).is_none_or(|pin| ended(pin) || yields(pin)),
                "in the place of another",
            )?;
        }
    }
    must(same(&with(before, *new), after), "others changed")
}

/// Pins with another one in its place.
fn with(pins: &[Pinned], pin: Pinned) -> Vec<Pinned> {
    let elsewhere = |other: &&Pinned| (other.bucket, other.way) != (pin.bucket, pin.way);
    let mut pins: Vec<Pinned> = pins.iter().filter(elsewhere).copied().collect();
    pins.push(pin);
    pins.sort_by_key(|pin| (pin.bucket, pin.way));
    pins
}

/// Whether these are the same but for their ages.
fn same(one: &[Pinned], other: &[Pinned]) -> bool {
    let ageless = |pin: &Pinned| Pinned { age: 0, ..*pin };
    one.iter().map(ageless).eq(other.iter().map(ageless))
}

/// The packet in a frame, if it is of or about a connection of a service.
fn packet(scene: &Scene, key: &HashKey, frame: &[u8]) -> Option<Packet> {
    let seen = see(frame)?;
    let carried = seen.carried().filter(|carried| !carried.is_later)?;
    let icmp = if seen.v6 { protocol::ICMPV6 } else { protocol::ICMP };
    if carried.protocol == icmp {
        let quoted = about(&seen, &carried)?;
        let inner = quoted.carried().filter(|inner| !inner.is_later)?;
        let [from, to] = ports(&inner)?;
        let ends = [(quoted.to, to), (quoted.from, from)];
        return connection(key, inner.protocol, ends, |_| Some(Kind::Reads));
    }
    let [from, to] = ports(&carried)?;
    connection(key, carried.protocol, [(seen.from, from), (seen.to, to)], |of| {
        let quic = || service(scene, of).1 == Udp::Quic && initial(carried.body);
        match carried.protocol {
            protocol::TCP => tcp(&carried),
            _ if quic() => Some(Kind::Opens),
            _ => Some(Kind::Other),
        }
    })
}

/// The packet that an ICMP error is about.
fn about<'a>(seen: &Seen<'a>, carried: &Carried<'a>) -> Option<Seen<'a>> {
    let errors: &[u8] = if seen.v6 { &[1, 2, 3, 4] } else { &[3, 11, 12] };
    errors.contains(carried.body.first()?).then_some(())?;
    let bytes = carried.body.get(8..)?;
    // Less is quoted than there was.
    Some(Seen { length: bytes.len(), ..Seen::of(seen.link.clone(), bytes, seen.v6)? })
}

fn ports(carried: &Carried<'_>) -> Option<[u16; 2]> {
    matches!(carried.protocol, protocol::TCP | protocol::UDP).then_some(())?;
    let &[a, b, c, d, ..] = carried.body else { return None };
    Some([u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])])
}

/// `ends`: the client's, then the service's.
fn connection(
    key: &HashKey,
    protocol: u8,
    ends: [(IpAddr, u16); 2],
    kind: impl Fn(To) -> Option<Kind>,
) -> Option<Packet> {
    let [(client, from), (address, port)] = ends;
    let mut good = To::ALL.iter().filter(|to| to.number() <= To::NatRange6.number());
    let of = *good.find(|to| to.port() == port)?;
    FAMILIES.iter().any(|&family| SERVED.of(family) == address).then_some(())?;
    let flow = FlowKey {
        source: words(client),
        destination: words(address),
        ports: u32::from(from) << 16 | u32::from(port),
        protocol,
        v6: address.is_ipv6(),
    };
    let hash = match of {
        To::BySource => {
            affine(key.hash(&FlowKey { ports: 0, protocol: 0, ..flow }), key.hash(&flow))
        }
        _ => key.hash(&flow),
    };
    Some(Packet { of, udp: protocol == protocol::UDP, kind: kind(of)?, tag: tag(hash) })
}

/// What the flags of a TCP segment say.
fn tcp(carried: &Carried<'_>) -> Option<Kind> {
    let flags = carried.body.get(13)?;
    let [fin, syn, rst, ack] = [1, 2, 4, 16].map(|flag| flags & flag != 0);
    Some(match (syn, ack, rst, fin) {
        (true, false, false, false) => Kind::Opens,
        (_, _, true, _) => Kind::Rst,
        (_, _, false, true) => Kind::Fin,
        _ => Kind::Other,
    })
}

/// Whether a UDP datagram is a QUIC packet that a client begins with.
fn initial(datagram: &[u8]) -> bool {
    let Some(&[first, a, b, c, d]) = datagram.get(8..13).and_then(|quic| quic.first_chunk()) else {
        return false;
    };
    let long = first & 0x80 != 0;
    let kind = first >> 4 & 3;
    long && match [a, b, c, d] {
        [0, 0, 0, 0] => false,
        [0, 0, 0, 1] => matches!(kind, 0 | 1),
        [0x6b, 0x33, 0x43, 0xcf] => matches!(kind, 1 | 2),
        _ => true,
    }
}
