//! The program that takes tunnels apart on test nodes: what it opens, and what it leaves to the
//! kernel.

use anyhow::{Context, Result, ensure};
use aya::programs::{TestRun, TestRunOptions};
use etherparse::{IpNumber, PacketBuilder, PacketBuilderStep, VlanHeader, VlanId};

use crate::{
    runner::Case,
    xdp::{self, Program},
};

/// The cases.
pub(super) const CASES: &[Case] = &[Case::new("decap/opens-what-is-right", opens)];

const XDP_PASS: u32 = 2;
const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];
/// IANA's port for GUE.
const GUE: u16 = 6080;
/// Where the IP header of an untagged frame is.
const IP: usize = 14;

/// What goes around a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outer {
    Ip,
    Gue,
}

/// A tunnel's packet, by IP versions.
#[derive(Clone, Copy, Debug)]
struct Tunnel {
    outer: Outer,
    outer_v6: bool,
    inner_v6: bool,
    tagged: bool,
}

impl Tunnel {
    /// Every one.
    fn all() -> impl Iterator<Item = Self> {
        (0..16).map(|bits: u8| Self {
            outer: if bits & 1 == 0 { Outer::Ip } else { Outer::Gue },
            outer_v6: bits & 2 != 0,
            inner_v6: bits & 4 != 0,
            tagged: bits & 8 != 0,
        })
    }

    fn inner_protocol(self) -> IpNumber {
        if self.inner_v6 { IpNumber::IPV6 } else { IpNumber::IPV4 }
    }

    /// The packet inside.
    fn inner(self) -> Result<Vec<u8>> {
        let builder = match self.inner_v6 {
            true => PacketBuilder::ipv6([1; 16], [2; 16], 64),
            false => PacketBuilder::ipv4([192, 0, 2, 1], [192, 0, 2, 10], 64),
        };
        written(|out| builder.udp(4000, 53).write(out, b"what is inside"))
    }

    /// The frame with the tunnel around the packet.
    fn frame(self) -> Result<Vec<u8>> {
        let inner = self.inner()?;
        match self.outer {
            Outer::Ip => written(|out| self.addressed().write(out, self.inner_protocol(), &inner)),
            Outer::Gue => {
                let gue = [&[0, self.inner_protocol().0, 0, 0], &inner[..]].concat();
                written(|out| self.addressed().udp(50_000, GUE).write(out, &gue))
            }
        }
    }

    /// The frame that it is to become.
    fn opened(self) -> Result<Vec<u8>> {
        let kind: u16 = if self.inner_v6 { 0x86dd } else { 0x0800 };
        let tag: &[u8] = if self.tagged { &[0x81, 0, 0, 20] } else { &[] };
        Ok([&MACS[1][..], &MACS[0], tag, &kind.to_be_bytes(), &self.inner()?].concat())
    }

    fn addressed(self) -> PacketBuilderStep<etherparse::IpHeaders> {
        let ethernet = PacketBuilder::ethernet2(MACS[0], MACS[1]);
        let (source, destination) = ([203, 0, 113, 1], [203, 0, 113, 2]);
        match (self.tagged, self.outer_v6) {
            (true, true) => ethernet.vlan(tag()).ipv6([3; 16], [4; 16], 64),
            (true, false) => ethernet.vlan(tag()).ipv4(source, destination, 64),
            (false, true) => ethernet.ipv6([3; 16], [4; 16], 64),
            (false, false) => ethernet.ipv4(source, destination, 64),
        }
    }
}

fn tag() -> VlanHeader {
    let vlan_id = VlanId::try_new(20).unwrap_or(VlanId::ZERO);
    VlanHeader::Single(etherparse::SingleVlanHeader { vlan_id, ..Default::default() })
}

fn opens() -> Result<()> {
    let mut decap = Program::load(xdp::DECAP)?;
    for tunnel in Tunnel::all() {
        let frame = tunnel.frame()?;
        let becomes = run(&mut decap, &frame)?;
        ensure!(becomes == tunnel.opened()?, "{tunnel:?}: {frame:02x?} became {becomes:02x?}");
    }
    for (name, frame) in wrong()? {
        let becomes = run(&mut decap, &frame)?;
        ensure!(becomes == frame, "{name}: {frame:02x?} became {becomes:02x?}");
    }
    Ok(())
}

/// What is left as it is: each is right but for one thing.
fn wrong() -> Result<Vec<(&'static str, Vec<u8>)>> {
    let v4 = Tunnel { outer: Outer::Ip, outer_v6: false, inner_v6: false, tagged: false };
    let v6 = Tunnel { outer_v6: true, ..v4 };
    let gue = Tunnel { outer: Outer::Gue, ..v4 };
    let changed = |tunnel: Tunnel, at: usize, by: u8| -> Result<Vec<u8>> {
        let mut frame = tunnel.frame()?;
        frame[at] ^= by;
        Ok(frame)
    };
    let mut cut = v4.frame()?;
    cut.pop();
    let fragment = |flags: u8| -> Result<Vec<u8>> {
        let mut frame = v4.frame()?;
        // The checksum goes on being right: what one word gains, it loses (RFC 1624).
        let sum = u16::from_be_bytes([frame[IP + 10], frame[IP + 11]]);
        let old = u16::from(frame[IP + 6]) << 8;
        let new = u32::from(!sum) + u32::from(!old) + (u32::from(flags) << 8);
        let sum = !((new & 0xffff) + (new >> 16)) as u16;
        frame[IP + 6] = flags;
        frame[IP + 10..IP + 12].copy_from_slice(&sum.to_be_bytes());
        Ok(frame)
    };
    Ok(vec![
        ("a wrong outer checksum", changed(v4, IP + 10, 1)?),
        ("an outer TTL that the checksum does not know", changed(v4, IP + 8, 1)?),
        ("a frame that ends before its packet", cut),
        ("more fragments", fragment(0x20)?),
        ("an inner version of another protocol", changed(v4, IP + 20, 0x20)?),
        ("an inner length that does not fill its room", changed(v4, IP + 20 + 3, 1)?),
        ("an outer IPv6 payload too long for the frame", changed(v6, IP + 5, 0x40)?),
        ("an outer IPv6 payload too short for the packet", changed(v6, IP + 5, 1)?),
        ("another port", changed(gue, IP + 20 + 3, 1)?),
        ("a UDP length that is not the packet's", changed(gue, IP + 20 + 5, 1)?),
        ("GUE variant 1", changed(gue, IP + 28, 0x40)?),
        ("a GUE control message", changed(gue, IP + 28, 0x20)?),
        ("GUE with flags", changed(gue, IP + 30, 1)?),
        ("GUE of another protocol", changed(gue, IP + 29, 8)?),
        ("no tunnel", written(|out| v4.addressed().udp(1, 53).write(out, b"a question"))?),
        ("no IP", [&MACS[1][..], &MACS[0], &[8, 6], &[0; 28]].concat()),
    ])
}

fn written<E: Into<anyhow::Error>>(
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    write(&mut bytes).map_err(Into::into)?;
    Ok(bytes)
}

/// What the kernel's run of the program makes of a frame, which must be passed.
fn run(decap: &mut Program, frame: &[u8]) -> Result<Vec<u8>> {
    let mut out = vec![0; frame.len()];
    let mut options = TestRunOptions::new();
    options.data_in = Some(frame);
    options.data_out = Some(&mut out);
    let result = decap.xdp()?.test_run(options).context("running the program")?;
    ensure!(result.return_value == XDP_PASS, "{frame:02x?}: it returned {}", result.return_value);
    out.truncate(result.data_size_out as usize);
    Ok(out)
}
