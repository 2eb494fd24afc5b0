//! A check's packet on its way out: whose it is, and the frame that takes it to that node.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use lb_common::{FlowHash, Forward, NodeRecord, Reason};
use lb_ebpf::{
    Action,
    forward::{deliver, most},
};
use nix::sys::socket::LinkAddr;

use crate::{
    config::{Delivery, Protocol},
    packet::Packet,
};

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

/// How packets get to a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hop {
    /// As the data path has it.
    pub(super) record: NodeRecord,
    /// The interface of the record.
    pub(super) link: LinkAddr,
}

/// Why a packet goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// Its source is no check's.
    Unregistered,
    /// The way to the node is not known.
    NoHop,
    /// The way to the node does not take so long a packet, with what its tunnel adds to it.
    TooLong,
}

/// Which node every source of a check stands for, and the ways to the nodes.
///
/// A source is a check's until the kernel gives the port to another one: the end of a connection,
/// and what has to be sent again for it, comes after the check has its outcome.
#[derive(Debug, Default)]
pub(super) struct Outward {
    nodes: HashMap<(Protocol, SocketAddr), Delivery>,
    hops: HashMap<Delivery, Hop>,
}

impl Outward {
    /// Packets from this source are for this node from now on.
    pub(super) fn register(&mut self, protocol: Protocol, source: SocketAddr, to: Delivery) {
        self.nodes.insert((protocol, source), to);
    }

    /// The way to a node from now on.
    pub(super) fn set_hop(&mut self, to: Delivery, hop: Option<Hop>) {
        match hop {
            Some(hop) => self.hops.insert(to, hop),
            None => self.hops.remove(&to),
        };
    }

    /// Whether the way to a node is known.
    pub(super) fn knows(&self, to: Delivery) -> bool {
        self.hops.contains_key(&to)
    }

    /// Bytes of the largest IP packet that fits all ways.
    pub(super) fn fits(&self) -> u16 {
        let fit = |hop: &Hop| Some(most(&hop.record, Forward::from_raw(hop.record.forward)?));
        self.hops.values().filter_map(fit).min().unwrap_or(u16::MAX)
    }

    /// The frame for an IP packet, and where it leaves.
    pub(super) fn frame(&self, packet: &[u8]) -> Result<(Vec<u8>, LinkAddr), Lost> {
        let (protocol, source) = sender(packet).ok_or(Lost::Unregistered)?;
        let node = self.nodes.get(&(protocol, source)).ok_or(Lost::Unregistered)?;
        let hop = self.hops.get(node).ok_or(Lost::NoHop)?;
        let mut frame = Packet::new(ethernet(packet, source.is_ipv4()));
        // Any hash will do: it spreads tunnel packets, and one check's should not change their way.
        match deliver(&mut frame, &hop.record, FlowHash(u64::from(source.port()) << 32)) {
            Ok(verdict) if verdict.action() == Action::Redirect => Ok((frame.bytes, hop.link)),
            Err(verdict) if verdict.reason() == Reason::DropTooBig => Err(Lost::TooLong),
            _ => Err(Lost::NoHop),
        }
    }
}

/// Who sent an IP packet; `None` for a fragment, and for what is neither TCP nor UDP.
fn sender(packet: &[u8]) -> Option<(Protocol, SocketAddr)> {
    let packet = SlicedPacket::from_ip(packet).ok()?;
    let address: IpAddr = match packet.net? {
        NetSlice::Ipv4(ip) => ip.header().source_addr().into(),
        NetSlice::Ipv6(ip) => ip.header().source_addr().into(),
        NetSlice::Arp(_) => return None,
    };
    let (protocol, port) = match packet.transport? {
        TransportSlice::Tcp(tcp) => (Protocol::Tcp, tcp.source_port()),
        TransportSlice::Udp(udp) => (Protocol::Udp, udp.source_port()),
        _ => return None,
    };
    Some((protocol, SocketAddr::new(address, port)))
}

/// A packet behind an Ethernet header whose addresses are yet to be written.
fn ethernet(packet: &[u8], ipv4: bool) -> Vec<u8> {
    let kind = if ipv4 { libc::ETH_P_IP } else { libc::ETH_P_IPV6 } as u16;
    let mut frame = Vec::with_capacity(ETHERNET + packet.len());
    frame.extend([0; ETHERNET - 2]);
    frame.extend(kind.to_be_bytes());
    frame.extend(packet);
    frame
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, sync::Arc};

    use etherparse::PacketBuilder;
    use lb_common::{HashAlgorithm, ServiceId, Slot, VipKey, layout::MIN_TABLE_LOG2};

    use super::*;
    use crate::{
        config::Ports,
        dataplane::{memory::Memory, writer::Writer},
        decide::{Intent, Table, Vip},
        secret,
        vippath::wire,
    };

    const VIP: [u8; 4] = [192, 0, 2, 10];
    const SOURCE: [u8; 4] = [198, 51, 100, 7];
    const VIP6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10];
    const SOURCE6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];

    /// A record that leads out of the loopback interface, which there always is.
    fn record() -> NodeRecord {
        NodeRecord {
            dst_mac: [2, 0, 0, 0, 0, 7],
            src_mac: [2, 0, 0, 0, 0, 1],
            ifindex: 1,
            up: 1,
            forward: Forward::L2 as u8,
            ..NodeRecord::default()
        }
    }

    fn outward(record: NodeRecord) -> Outward {
        let mut outward = Outward::default();
        let link = wire::links().expect("interfaces")[&1];
        outward.set_hop(node(), Some(Hop { record, link }));
        outward.register(Protocol::Tcp, (SOURCE, 40_000).into(), node());
        outward.register(Protocol::Tcp, (SOURCE6, 40_000).into(), node());
        outward
    }

    /// As [`record`], by a tunnel to a node of this IP version on a way with this MTU.
    fn tunnel(forward: Forward, v6: bool, mtu: u16) -> NodeRecord {
        let [source, address] = match v6 {
            true => [SOURCE6, VIP6],
            false => {
                [[10, 0, 0, 1], [10, 0, 0, 2]].map(|a| Ipv4Addr::from(a).to_ipv6_mapped().octets())
            }
        };
        let (forward, v6) = (forward as u8, u8::from(v6));
        NodeRecord { forward, v6, source, address, mtu, port_be: [0x17, 0xc0], ..record() }
    }

    fn node() -> Delivery {
        let (address, forward) = ([198, 51, 100, 21].into(), Forward::L2);
        Delivery { address, forward, gue_port: 6080, mac: None }
    }

    /// Other nodes: another host, and the same one in clusters that reach it otherwise.
    fn others() -> [Delivery; 4] {
        [
            Delivery { address: [198, 51, 100, 22].into(), ..node() },
            Delivery { forward: Forward::Ipip, ..node() },
            Delivery { gue_port: 6081, ..node() },
            Delivery { mac: Some([2, 0, 0, 0, 0, 9]), ..node() },
        ]
    }

    fn syn(port: u16) -> Vec<u8> {
        let mut packet = Vec::new();
        let builder = PacketBuilder::ipv4(SOURCE, VIP, 64).tcp(port, 80, 7, 64_240).syn();
        builder.write(&mut packet, &[]).expect("a Vec takes everything");
        packet
    }

    fn syn6(port: u16) -> Vec<u8> {
        let mut packet = Vec::new();
        let builder = PacketBuilder::ipv6(SOURCE6, VIP6, 64).tcp(port, 80, 7, 64_240).syn();
        builder.write(&mut packet, &[]).expect("a Vec takes everything");
        packet
    }

    /// What becomes of a user's frame where this node is the only one.
    fn users_frame(record: NodeRecord, packet: &[u8]) -> (Packet, lb_ebpf::Verdict) {
        let slot = || Slot::clean(0);
        let slots: Arc<[Slot]> = (0..1 << MIN_TABLE_LOG2).map(|_| slot()).collect();
        let table = || Table { slots: Arc::clone(&slots), healthy: true, ..Table::default() };
        let service = ServiceId::new(0).expect("an id");
        let vip6 = u128::from_be_bytes(VIP6);
        let vip6 = [96, 64, 32, 0].map(|shift| (vip6 >> shift) as u32);
        let (ports, protocol) = (Ports::One(80), Protocol::Tcp.number());
        let vip = |address| Vip { address, ports, protocol, service };
        let intent = Intent {
            vips: [VipKey::v4(u32::from_be_bytes(VIP), 0, 0).address, vip6].map(vip).to_vec(),
            addresses: vec![[0; 4]],
            services: vec![table()],
            clusters: vec![table()],
            nodes: vec![record],
            ..Intent::default()
        };
        let memory = Memory::anonymous().expect("memory");
        memory.secret.set(0, secret::expand(&[1; 16], HashAlgorithm::default()));
        Writer::adopt(&memory).commit(&memory, &intent).expect("a plan");
        let kind = if packet[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] };
        let mut frame = Packet::new([&[8; 12][..], &kind, packet].concat());
        let verdict = lb_ebpf::process(&mut frame, &memory);
        (frame, verdict)
    }

    #[test]
    fn a_checks_frame_is_a_users_frame() {
        let tagged = NodeRecord { tags: [NodeRecord::TAG | 7, 0], ..record() };
        let [ipip, gue] = [Forward::Ipip, Forward::Gue].map(|way| tunnel(way, false, 1500));
        for record in [record(), tagged, ipip, gue] {
            for packet in [syn(40_000), syn6(40_000)] {
                let (mut ours, link) = outward(record).frame(&packet).expect("a way");
                let (mut users, verdict) = users_frame(record, &packet);
                assert_eq!((verdict.action(), verdict.ifindex()), (Action::Redirect, 1));
                if record == gue {
                    // The tunnel's source port is of the flow's hash.
                    ours[34..36].fill(0);
                    users.bytes[34..36].fill(0);
                }
                assert_eq!((ours, link.ifindex()), (users.bytes, 1), "{record:?}");
            }
        }
        // To IPv6 nodes the flow's hash is in the flow label.
        for (way, inner) in [(Forward::Ipip, 54), (Forward::Gue, 66)] {
            for packet in [syn(40_000), syn6(40_000)] {
                let (frame, _) = outward(tunnel(way, true, 1500)).frame(&packet).expect("a way");
                assert_eq!((&frame[38..54], &frame[inner..]), (&VIP6[..], &packet[..]));
            }
        }
    }

    #[test]
    fn what_does_not_fit_the_tunnel_is_too_long() {
        for (way, v6, more) in [
            (Forward::Ipip, false, 20),
            (Forward::Ipip, true, 40),
            (Forward::Gue, false, 32),
            (Forward::Gue, true, 52),
        ] {
            let packet = syn(40_000);
            let least = packet.len() as u16 + more;
            let (fits, not) =
                (outward(tunnel(way, v6, least)), outward(tunnel(way, v6, least - 1)));
            assert_eq!((fits.frame(&packet).err(), fits.fits()), (None, packet.len() as u16));
            assert_eq!(not.frame(&packet).err(), Some(Lost::TooLong));
        }
        let mut several = outward(tunnel(Forward::Gue, true, 1500));
        let link = wire::links().expect("interfaces")[&1];
        let hop = Hop { record: NodeRecord { mtu: 1400, ..record() }, link };
        several.set_hop(others()[0], Some(hop));
        assert_eq!(several.fits(), 1400);
        several.set_hop(others()[0], None);
        assert_eq!(several.fits(), 1448);
        assert_eq!(Outward::default().fits(), u16::MAX);
    }

    #[test]
    fn what_users_packets_cannot_do_checks_cannot() {
        let unresolved = NodeRecord { ifindex: 0, ..record() };
        let strange = NodeRecord { forward: 200, ..record() };
        for (record, reason) in
            [(unresolved, Reason::DropUnresolved), (strange, Reason::DropBadTable)]
        {
            assert_eq!(outward(record).frame(&syn(40_000)).err(), Some(Lost::NoHop));
            assert_eq!(users_frame(record, &syn(40_000)).1.reason(), reason);
        }
    }

    #[test]
    fn a_source_is_one_nodes_and_the_last_to_get_it_has_it() {
        let mut outward = outward(record());
        let lost = |outward: &Outward, packet: &[u8]| outward.frame(packet).err();
        assert_eq!(lost(&outward, &syn(40_000)), None);
        assert_eq!(lost(&outward, &syn(40_001)), Some(Lost::Unregistered));
        assert_eq!(lost(&outward, &[0x45, 0]), Some(Lost::Unregistered));
        let mut fragment = syn(40_000);
        fragment[6] = 0x20;
        assert_eq!(lost(&outward, &fragment), Some(Lost::Unregistered));
        // The same port of UDP is another one.
        let mut udp = Vec::new();
        let builder = PacketBuilder::ipv4(SOURCE, VIP, 64).udp(40_000, 80);
        builder.write(&mut udp, b"?").expect("a Vec takes everything");
        assert_eq!(lost(&outward, &udp), Some(Lost::Unregistered));

        for other in others() {
            outward.register(Protocol::Tcp, (SOURCE, 40_000).into(), other);
            assert_eq!(lost(&outward, &syn(40_000)), Some(Lost::NoHop));
            outward.set_hop(other, None);
        }
        outward.register(Protocol::Tcp, (SOURCE, 40_000).into(), node());
        assert_eq!(lost(&outward, &syn(40_000)), None);
        outward.set_hop(node(), None);
        assert_eq!(lost(&outward, &syn(40_000)), Some(Lost::NoHop));
    }
}
