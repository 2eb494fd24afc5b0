//! `understudy agent` on a node, and what passes for it: answers sent again, and forged ones.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
use lb_user::{
    config::{DEFAULT_AGENT_PORT, SurveyKey},
    survey::wire::{self, Key, Kind, Record},
};
use nix::sys::{
    signal::Signal,
    socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, recv, sendto,
        setsockopt, socket, sockopt::ReceiveTimeout,
    },
    time::TimeVal,
};

use super::process::{Running, Start};
use crate::{clock::Moment, daemon::beside, netns::Netns, topology::NodeIndex};

/// The key of all agents and the daemon.
pub const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// How long may be waited for a datagram.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running agent. Dropping it kills it.
#[derive(Debug)]
pub struct Agent {
    running: Running,
    drain: PathBuf,
}

impl Agent {
    /// Starts the agent of a node; `check` is how it checks its one server, at the service's port,
    /// as its configuration says it.
    ///
    /// # Errors
    /// If its files cannot be written or it cannot be started.
    pub fn start(
        netns: &Netns,
        directory: &Path,
        node: NodeIndex,
        port: u16,
        check: &str,
    ) -> Result<Self> {
        let name = node.node().name;
        let file = |what: &str| directory.join(format!("agent-{name}.{what}"));
        let (config, key, drain) = (file("toml"), file("key"), file("drain"));
        let number = node.number();
        let text = format!(
            "drain_file = \"{}\"\nservers = [{{ number = {number}, port = {port}, \
             interval = \"100ms\", timeout = \"300ms\", check = {check} }}]\n",
            drain.display()
        );
        fs::write(&config, text).context("writing an agent's configuration")?;
        fs::write(&key, KEY).context("writing an agent's key")?;
        let running = Start::new(&netns.path(), &beside("understudy")?)
            .args(["agent", "--config"])
            .args([&config])
            .args(["--key-file"])
            .args([&key])
            .spawn(file("log"))?;
        Ok(Self { running, drain })
    }

    /// Makes its drain file, or takes it away.
    ///
    /// # Errors
    /// If it cannot be.
    pub fn set_draining(&self, draining: bool) -> Result<()> {
        if draining { fs::write(&self.drain, "") } else { fs::remove_file(&self.drain) }
            .with_context(|| format!("changing {}", self.drain.display()))
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// If it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.running.signal(signal)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If it does not end.
    pub fn wait(&mut self) -> Result<()> {
        self.running.wait()
    }
}

/// Sees what a node sends, and sends in its place.
#[derive(Debug)]
pub struct Impostor {
    tap: OwnedFd,
    raw: OwnedFd,
}

/// An answer of a node's agent as it was on the wire.
#[derive(Clone, Debug)]
pub struct Answer {
    packet: Vec<u8>,
    from: SocketAddrV4,
    to: SocketAddrV4,
    payload: Vec<u8>,
}

impl Impostor {
    /// One in a node's namespace.
    ///
    /// # Errors
    /// If it cannot have its sockets.
    pub fn on(netns: &Netns) -> Result<Self> {
        netns.run(|| {
            let all = SockProtocol::EthAll;
            let tap = socket(AddressFamily::Packet, SockType::Datagram, SockFlag::empty(), all)?;
            setsockopt(&tap, ReceiveTimeout, &TimeVal::new(1, 0))?;
            let raw = SockProtocol::Raw;
            let raw = socket(AddressFamily::Inet, SockType::Raw, SockFlag::empty(), raw)?;
            Ok(Self { tap, raw })
        })
    }

    /// The next answer that the node's agent sends.
    ///
    /// # Errors
    /// If there is none.
    pub fn overhear(&self) -> Result<Answer> {
        let deadline = Moment::now().after(PATIENCE);
        let mut buffer = [0; 2048];
        while Moment::now() < deadline {
            let Ok(length) = recv(self.tap.as_raw_fd(), &mut buffer, MsgFlags::empty()) else {
                continue;
            };
            if let Some(answer) = answer(&buffer[..length]) {
                return Ok(answer);
            }
        }
        anyhow::bail!("no answer of the agent within {PATIENCE:?}")
    }

    /// Sends an answer again as it was.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn replay(&self, answer: &Answer) -> Result<()> {
        self.send(&answer.packet, answer.to)
    }

    /// Sends what an answer says with every state turned to non-survival, signed with another key.
    ///
    /// # Errors
    /// If the answer cannot be read, or the kernel refuses.
    pub fn forge(&self, answer: &Answer) -> Result<()> {
        let true_key = Key::from(&SurveyKey(std::array::from_fn(|byte| byte as u8)));
        let false_key = Key::from(&SurveyKey([7; 32]));
        let message = wire::decode(&true_key, &answer.payload);
        let message = message.map_err(|refusal| anyhow::anyhow!("overheard: {refusal:?}"))?;
        let records: Vec<Record> =
            message.records.flatten().map(|record| Record { survival: false, ..record }).collect();
        ensure!(!records.is_empty(), "the overheard answer has no records");
        let Kind::Answer { sequence } = message.kind else { anyhow::bail!("overheard a question") };
        let (epoch, nonce) = (message.epoch, message.nonce);
        for datagram in wire::answer(&false_key, epoch, nonce, sequence + 1, &records) {
            let builder =
                PacketBuilder::ipv4(answer.from.ip().octets(), answer.to.ip().octets(), 64)
                    .udp(answer.from.port(), answer.to.port());
            let mut packet = Vec::new();
            builder.write(&mut packet, &datagram)?;
            self.send(&packet, answer.to)?;
        }
        Ok(())
    }

    fn send(&self, packet: &[u8], to: SocketAddrV4) -> Result<()> {
        let to = SockaddrIn::from(to);
        sendto(self.raw.as_raw_fd(), packet, &to, MsgFlags::empty()).context("sending a packet")?;
        Ok(())
    }
}

/// An IPv4 packet, if it is an agent's answer.
fn answer(packet: &[u8]) -> Option<Answer> {
    let sliced = SlicedPacket::from_ip(packet).ok()?;
    let ip = sliced.net.as_ref()?.ipv4_ref()?.header();
    let Some(TransportSlice::Udp(udp)) = &sliced.transport else { return None };
    let at = |address: Ipv4Addr, port| SocketAddrV4::new(address, port);
    (udp.source_port() == DEFAULT_AGENT_PORT).then(|| Answer {
        packet: packet.to_vec(),
        from: at(ip.source_addr(), udp.source_port()),
        to: at(ip.destination_addr(), udp.destination_port()),
        payload: udp.payload().to_vec(),
    })
}
