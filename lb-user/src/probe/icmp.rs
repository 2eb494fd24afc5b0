//! ICMP echo (RFC 792) and ICMPv6 echo (RFC 4443, 4): what was sent comes back.
//!
//! Each check has a raw socket of its own, connected to the target: dead neighbours fill their own
//! send buffers and not one that all share, and what routers say of the target is an error of the
//! socket (`Unreachable`; a target that does not answer in silence is a `Timeout`).

use std::net::IpAddr;

use etherparse::{
    IcmpEchoHeader, Icmpv4Header, Icmpv4Slice, Icmpv4Type, Icmpv6Header, Icmpv6Slice, Icmpv6Type,
    Ipv4HeaderSlice,
};

use super::{
    Found, ProbeError,
    socket::{self, Way, heard},
    udp::receive,
};
use crate::{
    config::Target,
    decide::{MissReason, Outcome},
};

/// What is sent: nobody can answer it who has not seen it.
#[derive(Clone, Copy)]
pub(super) struct Echo {
    pub(super) header: IcmpEchoHeader,
    pub(super) payload: [u8; 16],
}

/// Sends an echo request and waits for it to come back.
pub(super) async fn check(way: Way<'_>, to: IpAddr) -> Found {
    let echo = Echo::random().map_err(|_| MissReason::Local)?;
    let socket = way.icmp(&echo.request(to.is_ipv4()))?;
    loop {
        let packet = receive(&socket).await.map_err(|error| heard(&error))?;
        // Others' messages from the same host come here too.
        if echo.is_answer(&packet, to.is_ipv4()) {
            return Ok(Outcome::Hit);
        }
    }
}

/// Whether this host may send echo requests.
pub(super) fn verify(target: &Target) -> Result<(), ProbeError> {
    socket::may_icmp(target.at.ip()).map_err(ProbeError::Icmp)
}

impl Echo {
    fn random() -> Result<Self, getrandom::Error> {
        let mut payload = [0; 16];
        getrandom::fill(&mut payload)?;
        let [a, b, c, d, ..] = payload;
        let header =
            IcmpEchoHeader { id: u16::from_be_bytes([a, b]), seq: u16::from_be_bytes([c, d]) };
        Ok(Self { header, payload })
    }

    fn request(&self, ipv4: bool) -> Vec<u8> {
        let mut message = match ipv4 {
            true => {
                let kind = Icmpv4Type::EchoRequest(self.header);
                Icmpv4Header::with_checksum(kind, &self.payload).to_bytes().to_vec()
            }
            // Its checksum is the kernel's work.
            false => Icmpv6Header::new(Icmpv6Type::EchoRequest(self.header)).to_bytes().to_vec(),
        };
        message.extend_from_slice(&self.payload);
        message
    }

    /// Whether a packet is the reply: from an IPv4 header on, or from the header of ICMPv6 on.
    pub(super) fn is_answer(&self, packet: &[u8], ipv4: bool) -> bool {
        let reply = match ipv4 {
            true => reply_v4(packet),
            false => Icmpv6Slice::from_slice(packet).ok().and_then(|message| {
                let Icmpv6Type::EchoReply(header) = message.icmp_type() else { return None };
                Some((header, message.payload()))
            }),
        };
        reply == Some((self.header, &self.payload))
    }
}

fn reply_v4(packet: &[u8]) -> Option<(IcmpEchoHeader, &[u8])> {
    let header = Ipv4HeaderSlice::from_slice(packet).ok()?;
    let message = Icmpv4Slice::from_slice(packet.get(header.slice().len()..)?).ok()?;
    let Icmpv4Type::EchoReply(header) = message.icmp_type() else { return None };
    Some((header, message.payload()))
}
