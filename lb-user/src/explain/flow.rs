//! A flow as people write it, `PROTO SRC:PORT DST:PORT`, and the packet that opens it.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use etherparse::{IpHeaders, PacketBuilder, PacketBuilderStep};
use thiserror::Error;

use super::Asked;
use crate::{config::Protocol, packet::Packet};

/// How an Initial packet of QUIC version 1 begins (RFC 9000, 17.2.2).
const QUIC_INITIAL: [u8; 6] = [0xc0, 0, 0, 0, 1, 0];
/// How packets of an open connection begin (RFC 9000, 17.3).
const QUIC_SHORT: [u8; 6] = [0x40, 0, 0, 0, 1, 0];

/// A flow: who talks to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    protocol: Protocol,
    source: SocketAddr,
    destination: SocketAddr,
}

/// A text is no flow.
#[derive(Debug, Error, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum FlowError {
    #[error("{0} words instead of PROTO SRC:PORT DST:PORT")]
    Words(usize),
    #[error("unknown protocol \"{0}\": tcp or udp")]
    Protocol(String),
    #[error("\"{0}\" is not ADDRESS:PORT, for example 198.51.100.7:40000 or [2001:db8::1]:443")]
    Address(String),
    #[error("source and destination are of different IP versions")]
    Versions,
}

impl Flow {
    /// A flow of one IP version.
    ///
    /// # Errors
    /// [`FlowError::Versions`].
    pub fn new(
        protocol: Protocol,
        source: SocketAddr,
        destination: SocketAddr,
    ) -> Result<Self, FlowError> {
        match source.is_ipv4() == destination.is_ipv4() {
            true => Ok(Self { protocol, source, destination }),
            false => Err(FlowError::Versions),
        }
    }

    /// Whom it is to.
    pub const fn destination(&self) -> SocketAddr {
        self.destination
    }

    /// A packet of it as it comes in. It opens: a SYN, or a datagram that QUIC begins with; or it does
    /// not: an ACK, or a datagram that QUIC goes on with.
    pub fn packet(&self, asked: Asked) -> Packet {
        let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let network = match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                link.ipv4(source.octets(), destination.octets(), 64)
            }
            (source, destination) => link.ipv6(octets(source), octets(destination), 64),
        };
        let (source, destination) = (self.source.port(), self.destination.port());
        let mut bytes = Vec::new();
        let tcp = |network: PacketBuilderStep<IpHeaders>| network.tcp(source, destination, 0, 0);
        let written = match (self.protocol, asked) {
            (Protocol::Tcp, Asked::Opener) => tcp(network).syn().write(&mut bytes, &[]),
            (Protocol::Tcp, Asked::Established) => tcp(network).ack(0).write(&mut bytes, &[]),
            (Protocol::Udp, _) => {
                let data = if asked == Asked::Opener { QUIC_INITIAL } else { QUIC_SHORT };
                network.udp(source, destination).write(&mut bytes, &data)
            }
        };
        debug_assert!(written.is_ok(), "a Vec takes what an empty packet has");
        Packet::new(bytes)
    }
}

impl FromStr for Flow {
    type Err = FlowError;

    fn from_str(text: &str) -> Result<Self, FlowError> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [protocol, source, destination] = words[..] else {
            return Err(FlowError::Words(words.len()));
        };
        let protocol = [Protocol::Tcp, Protocol::Udp]
            .into_iter()
            .find(|known| known.name().eq_ignore_ascii_case(protocol))
            .ok_or_else(|| FlowError::Protocol(protocol.to_owned()))?;
        let end = |text: &str| text.parse().map_err(|_| FlowError::Address(text.to_owned()));
        Self::new(protocol, end(source)?, end(destination)?)
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.protocol.name(), self.source, self.destination)
    }
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_comes_back_and_what_is_none_is_named() {
        let bad = |text: &str| FlowError::Address(text.to_owned());
        let v4 = "tcp 198.51.100.7:40000 192.0.2.10:443";
        let cases = [
            (v4, Ok(v4)),
            ("  TCP\t198.51.100.7:40000  192.0.2.10:443 ", Ok(v4)),
            ("udp [2001:db8::1]:1 [2001:db8::2]:53", Ok("udp [2001:db8::1]:1 [2001:db8::2]:53")),
            ("", Err(FlowError::Words(0))),
            ("tcp 198.51.100.7:40000", Err(FlowError::Words(2))),
            ("tcp 198.51.100.7:40000 192.0.2.10:443 x", Err(FlowError::Words(4))),
            ("icmp 198.51.100.7:0 192.0.2.10:0", Err(FlowError::Protocol("icmp".into()))),
            ("tcp 198.51.100.7 192.0.2.10:443", Err(bad("198.51.100.7"))),
            ("tcp 198.51.100.7:1 192.0.2.10:65536", Err(bad("192.0.2.10:65536"))),
            ("tcp 198.51.100.7:1 www:443", Err(bad("www:443"))),
            ("tcp 198.51.100.7:1 [2001:db8::2]:53", Err(FlowError::Versions)),
        ];
        for (text, expected) in cases {
            let flow = text.parse::<Flow>().map(|flow| flow.to_string());
            assert_eq!(flow, expected.map(str::to_owned), "{text}");
        }
    }
}
