//! What gets a packet whose slots moved a while ago: the node that its connection is pinned to, the
//! slots' old owner, or their new one. Then old connections stay, and new ones go to the new owner.

use lb_common::{
    Directory, FlowHash, FlowKey, NodeRecord, Pin, PinState, Reason, ServiceId, Udp,
    pin::{Tick, affine, tag},
};

use crate::{
    Frame, Tables, Verdict,
    forward::What,
    fragment::{self, Whom},
    parse::{Packet, Part, TCP},
    pin::{self, Hit},
    select::{self, By, Kind, Place, Slots},
    stages::{Job, Next},
};

/// Offset of the flags in a TCP header, one byte behind (RFC 9293, 3.1).
const TCP_FLAGS: usize = 12;
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
const UDP_LEN: usize = 8;
/// Bytes of a QUIC packet up to the end of its version (RFC 8999, 5.1).
const QUIC_VERSION: usize = 5;
const LONG_HEADER: u8 = 0x80;
const QUIC_1: u32 = 1;
/// RFC 9369, 3.1.
const QUIC_2: u32 = 0x6b33_43cf;

/// A packet whose slots moved: what is known of it, and who gets it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct Matter {
    epoch: u64,
    /// Of its flow, as the service tells them apart.
    hash: FlowHash,
    /// The pin of its connection.
    pub(crate) hit: Hit,
    /// Who owns its slots.
    pub(crate) own: Place,
    /// Who owned them before, if one of them drains.
    pub(crate) base: Place,
    pub(crate) to: Place,
    service: ServiceId,
    // These two are written at once, where that is aligned.
    /// A [`By`].
    by: u8,
    /// The [`PinState`] of a connection that has no pin and did not just open; 0: it needs none, what
    /// opens has the same node.
    unpinned: u8,
    /// A [`Kind`].
    kind: u8,
}

impl Matter {
    #[inline(always)]
    pub(crate) const fn new(epoch: u64, service: ServiceId, hash: FlowHash, kind: u8) -> Self {
        let nobody = Place::NOBODY;
        Self {
            epoch,
            hash,
            hit: Hit::none(tag(hash)),
            own: nobody,
            base: nobody,
            to: nobody,
            service,
            kind,
            by: By::Own as u8,
            unpinned: 0,
        }
    }

    /// Why it goes where it goes.
    pub(crate) const fn by(&self) -> By {
        const BASE: u8 = By::Base as u8;
        const PIN: u8 = By::Pin as u8;
        match self.by {
            BASE => By::Base,
            PIN => By::Pin,
            _ => By::Own,
        }
    }

    #[inline(always)]
    const fn is(&self, kind: Kind) -> bool {
        self.kind == kind as u8
    }

    #[inline(always)]
    const fn goes(&mut self, to: Place, by: By) {
        (self.to, self.by) = (to, by as u8);
    }

    /// As [`Packet::forget`].
    #[inline(always)]
    fn forget<T: Tables>(&mut self) {
        let salt = self.epoch;
        self.own.forget::<T>(salt);
        self.base.forget::<T>(salt);
        self.to.forget::<T>(salt);
        self.by = T::forget(u64::from(self.by), salt) as u8;
        self.unpinned = T::forget(u64::from(self.unpinned), salt) as u8;
    }
}

/// What becomes of a packet whose slots moved, where nothing is to be decided: its connection has a pin
/// and goes on, or there is none and nobody had its slots before.
#[derive(Clone, Copy)]
pub(crate) struct Plain {
    pin: Option<(Hit, Pin)>,
    /// Who gets it.
    pub(crate) to: Place,
}

impl Plain {
    /// `None`: something is to be decided. Nothing is done yet.
    #[inline(always)]
    pub(crate) fn of<F: Frame, T: Tables>(
        frame: &F,
        tables: &T,
        packet: &Packet,
        directory: &Directory,
        slots: &Slots,
    ) -> Option<Self> {
        // What a pin is found by is another hash, then.
        if directory.by_source != 0 {
            return None;
        }
        let pin = pin::there(tables, tag(slots.hash))?;
        let to = match pin {
            Some((_, pin)) if kind(frame, packet, directory) == Kind::Other => Place::of(&pin),
            None if !slots.drain() => slots.own,
            _ => return None,
        };
        Some(Self { pin, to })
    }

    /// Whether a node may have it.
    #[inline(always)]
    pub(crate) const fn may_go_to(&self, record: &NodeRecord) -> bool {
        self.pin.is_none() || record.up == 1
    }

    /// It went there.
    #[inline(always)]
    pub(crate) fn went<T: Tables>(&self, tables: &T) {
        tables.note(Reason::PinLookedFor);
        if let Some((hit, pin)) = &self.pin {
            pin::touch(tables, hit, *pin, after(Kind::Other as u8, pin.state));
        }
    }
}

/// Chooses the node of a packet whose slots moved.
#[inline(never)]
pub(crate) fn moved<F: Frame, T: Tables>(frame: &mut F, tables: &T, job: &mut Job) -> Next {
    let next = chosen(frame, tables, job);
    job.then(next)
}

#[inline(always)]
fn chosen<F: Frame, T: Tables>(frame: &F, tables: &T, job: &mut Job) -> Result<Next, Verdict> {
    let kind = kind_of(frame, tables, job);
    let mut matter = Matter::new(job.epoch, job.service, job.to.hash, kind);
    decide(tables, &mut matter, &job.flow)?;
    job.to.port = select::port(tables, job.epoch, matter.to)?;
    job.to.node = matter.to.node().ok_or(Verdict::BAD_TABLE)?;
    if job.packet.part() == Part::First {
        fragment::remember(tables, job.epoch, &job.packet, Whom::Node(job.to.node))?;
    }
    Ok(Next::Forward)
}

/// The state of a connection's pin behind a packet of a [`Kind`].
#[inline(always)]
const fn after(kind: u8, state: PinState) -> PinState {
    if kind == Kind::Fin as u8 || kind == Kind::Rst as u8 {
        return PinState::Closing;
    }
    match state {
        PinState::Half if kind == Kind::Other as u8 => PinState::Live,
        _ => state,
    }
}

/// Who gets a packet whose slots are not both clean: the rules, one after the other.
///
/// # Errors
/// The verdict if that is nobody.
#[inline(always)]
pub(crate) fn decide<T: Tables>(
    tables: &T,
    matter: &mut Matter,
    flow: &FlowKey,
) -> Result<(), Verdict> {
    if !owners(tables, matter, flow) {
        return Err(Verdict::BAD_TABLE);
    }
    pin::find(tables, &mut matter.hit)?;
    if !settle(tables, matter) {
        return Err(Verdict::BAD_TABLE);
    }
    // Nobody gets it only if nobody owns its slots, which says why.
    if matter.to.is_nobody() {
        matter.own.somebody()?;
    }
    Ok(())
}

/// Who has the slots, who had them, and what a pin is found by. False: the tables are broken.
#[inline(never)]
fn owners<T: Tables>(tables: &T, matter: &mut Matter, flow: &FlowKey) -> bool {
    let found = owned(tables, matter, flow);
    matter.forget::<T>();
    found.is_some()
}

#[inline(always)]
fn owned<T: Tables>(tables: &T, matter: &mut Matter, flow: &FlowKey) -> Option<()> {
    let Matter { epoch, hash, .. } = *matter;
    let directory = &tables.service(epoch, matter.service)?.table;
    let slots = select::slots(tables, epoch, directory, hash).ok()?;
    let own = slots.own;
    (matter.own, matter.to) = (own, own);
    if slots.drain() {
        let (base, port) = select::base(tables, epoch, directory, &slots).ok()?;
        matter.base = base;
        // With `nat` another port of the same node is another server.
        if !base.is(own) || port != slots.port {
            matter.unpinned = PinState::Live as u8;
            if is_up(tables, epoch, base)? {
                matter.goes(base, By::Base);
            } else if flow.protocol == TCP {
                // Its node is gone, and it nearly always with it: what uses its ports next is another.
                matter.unpinned = PinState::Closing as u8;
            }
        }
    }
    if directory.by_source != 0 {
        let connection = tables.head(matter.epoch)?.key.hash(flow);
        matter.hit.tag = tag(affine(hash, connection));
    }
    Some(())
}

/// What the pin says, if there is one, and what becomes of it. False: the tables are broken.
#[inline(never)]
fn settle<T: Tables>(tables: &T, matter: &mut Matter) -> bool {
    settled(tables, matter).is_some()
}

#[inline(always)]
fn settled<T: Tables>(tables: &T, matter: &mut Matter) -> Option<()> {
    if let Some(pin) = matter.hit.pin() {
        // What opens behind the end of a connection is another one.
        let another = matter.is(Kind::Opens) && pin.state == PinState::Closing;
        if !another && is_up(tables, matter.epoch, Place::of(&pin))? {
            matter.goes(Place::of(&pin), By::Pin);
            if !matter.is(Kind::ReadsOnly) {
                pin::touch(tables, &matter.hit, pin, after(matter.kind, pin.state));
            }
            return Some(());
        }
    }
    if matter.is(Kind::Opens) {
        return open(tables, matter);
    }
    let lasts = matter.is(Kind::Other) || matter.is(Kind::Fin);
    if lasts && matter.unpinned != 0 && !matter.to.is_nobody() {
        let ends = matter.unpinned == PinState::Closing as u8;
        let state = if ends { PinState::Closing } else { PinState::Live };
        // Without room for a pin, what comes next is answered in the same way.
        put(tables, matter, matter.to, after(matter.kind, state))?;
    }
    Some(())
}

/// A connection begins that no live pin knows: with the new owner, if that can be remembered.
#[inline(always)]
fn open<T: Tables>(tables: &T, matter: &mut Matter) -> Option<()> {
    let own = matter.own;
    if own.is_nobody() {
        pin::free(tables, &matter.hit);
        matter.to = own;
        return Some(());
    }
    let needed = matter.unpinned != 0 || matter.hit.value != 0;
    let refused = needed && !put(tables, matter, own, PinState::Half)?;
    if !refused {
        matter.goes(own, By::Own);
    }
    Some(())
}

#[inline(always)]
fn put<T: Tables>(tables: &T, matter: &Matter, at: Place, state: PinState) -> Option<bool> {
    let (node, cluster) = (at.node()?, at.cluster()?);
    let last = Tick::at(tables.now());
    let pin = Pin { node, service: matter.service, cluster, state, last };
    pin::put(tables, &matter.hit, pin).ok()
}

/// Whether a node may keep what it has.
#[inline(always)]
fn is_up<T: Tables>(tables: &T, epoch: u64, place: Place) -> Option<bool> {
    let Some(node) = place.node() else { return Some(false) };
    Some(tables.node(epoch, node)?.up == 1)
}

/// The [`Kind`] of a packet.
#[inline(never)]
fn kind_of<F: Frame, T: Tables>(frame: &F, tables: &T, job: &Job) -> u8 {
    let record = tables.service(job.epoch, job.service);
    let kind = match (job.to.what(), record) {
        (What::Flow, Some(record)) => kind(frame, &job.packet, &record.table),
        _ => Kind::ReadsOnly,
    };
    F::forget(kind as u64, job.epoch) as u8
}

/// What a packet of a service says of its connection.
#[inline(always)]
pub(crate) fn kind<F: Frame>(frame: &F, packet: &Packet, directory: &Directory) -> Kind {
    let at = usize::from(packet.l4);
    if packet.protocol == TCP {
        let Some([_, flags]): Option<[u8; 2]> = frame.read(at + TCP_FLAGS) else {
            return Kind::Other;
        };
        return match flags & (SYN | ACK | RST | FIN) {
            SYN => Kind::Opens,
            flags if flags & RST != 0 => Kind::Rst,
            flags if flags & FIN != 0 => Kind::Fin,
            _ => Kind::Other,
        };
    }
    let quic = directory.udp == Udp::Quic as u8 && packet.l4_length() >= UDP_LEN + QUIC_VERSION;
    if quic && begins(frame, at + UDP_LEN) { Kind::Opens } else { Kind::Other }
}

/// Whether a QUIC packet begins a connection: Initial or 0-RTT (RFC 9000, 17.2; RFC 9369, 3.2), or of a
/// version that says that in a way not known here.
#[inline(always)]
fn begins<F: Frame>(frame: &F, at: usize) -> bool {
    let (Some([first, _]), Some(version)) = (frame.read::<[u8; 2]>(at), frame.read(at + 1)) else {
        return false;
    };
    if first & LONG_HEADER == 0 {
        return false;
    }
    let kind = first >> 4 & 3;
    match u32::from_be_bytes(version) {
        // Version negotiation, which only servers send.
        0 => false,
        QUIC_1 => kind <= 1,
        QUIC_2 => kind == 1 || kind == 2,
        _ => true,
    }
}
