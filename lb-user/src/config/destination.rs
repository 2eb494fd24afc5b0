//! What packets of a service are for: an address, and one port of it, a range or all.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use serde::{Deserialize, Serialize};

/// Ports of an address; 0 is none. Where a packet is for several services, one port counts before
/// a range, and a range before all ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Ports {
    /// One.
    One(u16),
    /// Two or more in a row.
    Range {
        /// The first one.
        first: u16,
        /// The last one, more than the first.
        last: u16,
    },
    /// 1 to 65535.
    All,
}

impl Ports {
    /// The port, if it is one.
    pub const fn one(self) -> Option<u16> {
        match self {
            Self::One(port) => Some(port),
            Self::Range { .. } | Self::All => None,
        }
    }

    /// The first one.
    pub const fn first(self) -> u16 {
        match self {
            Self::One(first) | Self::Range { first, .. } => first,
            Self::All => 1,
        }
    }

    /// The last one.
    pub const fn last(self) -> u16 {
        match self {
            Self::One(last) | Self::Range { last, .. } => last,
            Self::All => u16::MAX,
        }
    }

    /// Whether a port is among them.
    pub const fn contains(self, port: u16) -> bool {
        self.first() <= port && port <= self.last()
    }

    /// Whether a port is among both.
    pub const fn overlaps(self, other: Self) -> bool {
        self.first() <= other.last() && other.first() <= self.last()
    }
}

/// As in the configuration: `443`, `8000-8010`, `*`.
impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(port) => write!(f, "{port}"),
            Self::Range { first, last } => write!(f, "{first}-{last}"),
            Self::All => f.write_str("*"),
        }
    }
}

/// An address with its ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination {
    /// The address.
    pub address: IpAddr,
    /// Its ports.
    pub ports: Ports,
}

/// As in the configuration: `192.0.2.10:443`, `[2001:db8::1]:8000-8010`.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.address, self.ports) {
            (address, Ports::One(port)) => SocketAddr::new(address, port).fmt(f),
            (IpAddr::V4(address), ports) => write!(f, "{address}:{ports}"),
            (IpAddr::V6(address), ports) => write!(f, "[{address}]:{ports}"),
        }
    }
}
