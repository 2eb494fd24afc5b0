//! Addresses of nodes, services and this host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use toml::de::DeValue;

use super::{interface_name, text};
use crate::config::{
    reader::{Fault, Parsed},
    types::{Destination, Ports, Source},
};

/// A service's address with its ports.
pub(in crate::config) fn vip(value: &DeValue<'_>) -> Parsed<Destination> {
    let help = "an address with a port, a range or all, for example \"192.0.2.10:443\", \
                \"[2001:db8::1]:443\", \"192.0.2.10:8000-8010\" or \"192.0.2.10:*\"";
    let text = text(value, help)?;
    let missing = || Fault::new(format!("\"{text}\" has no port"), help);
    let bare = |host: &str| {
        let message = format!("\"{text}\": an IPv6 address stands in brackets before its port");
        Fault::new(message, format!("for example \"[{host}]:443\""))
    };
    match text.parse() {
        Ok(IpAddr::V4(_)) => return Err(missing()),
        Ok(IpAddr::V6(_)) => return Err(bare(text)),
        Err(_) => {}
    }
    if in_brackets(text).is_some() {
        return Err(missing());
    }
    let malformed = || Fault::new(format!("\"{text}\" is no address and port"), help);
    let (host, port) = text.rsplit_once(':').ok_or_else(malformed)?;
    let address = match (host.parse(), in_brackets(host)) {
        (Ok(IpAddr::V4(address)), _) => IpAddr::V4(address),
        (_, Some(address)) => IpAddr::V6(address),
        (Ok(IpAddr::V6(_)), None) => return Err(bare(host)),
        (Err(_), None) => return Err(malformed()),
    };
    if port.is_empty() {
        return Err(missing());
    }
    let ports = ports(port).map_err(|message| Fault::new(message, help))?;
    Ok(Destination { address: station(address)?, ports })
}

/// An IPv6 address in brackets, as before a port (RFC 3986, 3.2.2).
fn in_brackets(text: &str) -> Option<Ipv6Addr> {
    text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// What stands behind the address of a service, or why it will not do. A range of one port is that
/// port.
fn ports(text: &str) -> Result<Ports, String> {
    let number = |text: &str| {
        let digits = text.bytes().all(|digit| digit.is_ascii_digit());
        text.parse::<u16>().ok().filter(|port| digits && *port > 0)
    };
    if text == "*" {
        return Ok(Ports::All);
    }
    let Some((first, last)) = text.split_once('-') else {
        let port = number(text).map(Ports::One);
        return port.ok_or_else(|| format!("{text} is no port from 1 to 65535"));
    };
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first == last => Ok(Ports::One(first)),
        (Some(first), Some(last)) if first < last => Ok(Ports::Range { first, last }),
        _ => Err(format!("{text} is no range of ports from 1 to 65535, the first one first")),
    }
}

/// A server's address.
pub(in crate::config) fn node(value: &DeValue<'_>) -> Parsed<IpAddr> {
    let help = "an IP address, for example \"10.0.0.11\" or \"2001:db8::11\"";
    let text = text(value, help)?;
    if let Ok(address) = text.parse() {
        return station(address);
    }
    let help = match text.parse::<SocketAddr>() {
        Ok(both) => format!(
            "the port has its own field: address = \"{}\", port = {}",
            both.ip(),
            both.port()
        ),
        Err(_) => unresolved(text, help),
    };
    Err(Fault::new(format!("\"{text}\" is no IP address"), help))
}

/// An IPv4 address of this host.
pub(in crate::config) fn host_v4(value: &DeValue<'_>) -> Parsed<Ipv4Addr> {
    let help = "an IPv4 address of this host; its IPv6 address is `address6`";
    match host(value, "IPv4", help)? {
        (IpAddr::V4(address), _) => Ok(address),
        (IpAddr::V6(_), text) => Err(Fault::new(format!("\"{text}\" is no IPv4 address"), help)),
    }
}

/// An IPv6 address of this host.
pub(in crate::config) fn host_v6(value: &DeValue<'_>) -> Parsed<Ipv6Addr> {
    let help = "an IPv6 address of this host; its IPv4 address is `address`";
    match host(value, "IPv6", help)? {
        (IpAddr::V6(address), _) => Ok(address),
        (IpAddr::V4(_), text) => Err(Fault::new(format!("\"{text}\" is no IPv6 address"), help)),
    }
}

/// An address of this host, with its text.
fn host<'v>(value: &'v DeValue<'_>, family: &str, help: &str) -> Parsed<(IpAddr, &'v str)> {
    let text = text(value, help)?;
    let address = text.parse().map_err(|_| {
        Fault::new(format!("\"{text}\" is no {family} address"), unresolved(text, help))
    })?;
    Ok((station(address)?, text))
}

/// An address of this host, or an interface.
pub(in crate::config) fn source(value: &DeValue<'_>) -> Parsed<Source> {
    let help = "an address of this host, or the name of an interface as `ip link` shows it";
    let text = text(value, help)?;
    if let Ok(address) = text.parse() {
        return station(address).map(Source::Address);
    }
    // The kernel would take such names for an interface, but nobody means one: "10.0.0.256", or
    // "lb.example.com", where that of a VLAN like "eth0.100" ends in a number.
    let is_address = text.bytes().all(|c| c.is_ascii_digit() || c == b'.');
    let is_host = text
        .rsplit_once('.')
        .is_some_and(|(_, last)| last.len() >= 2 && last.bytes().all(|c| c.is_ascii_alphabetic()));
    match interface_name(value) {
        Ok(name) if !is_address && !is_host => Ok(Source::Interface(name)),
        _ => {
            let message = format!("\"{}\" is no IP address and no interface", text.escape_debug());
            Err(Fault::new(message, unresolved(text, help)))
        }
    }
}

/// An address that packets from elsewhere can be for.
pub(in crate::config) fn station(address: IpAddr) -> Parsed<IpAddr> {
    let mut help = "the unicast address of a host".to_owned();
    let kind = match address {
        IpAddr::V4(v4) if v4.octets()[0] == 0 => "unspecified",
        IpAddr::V4(v4) if v4.octets()[0] >= 240 => "reserved or broadcast",
        _ if address.is_unspecified() => "unspecified",
        _ if address.is_loopback() => "a loopback address, which no packet from elsewhere has",
        _ if address.is_multicast() => "a multicast address",
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            "a link-local address, which no router forwards"
        }
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            None => return Ok(address),
            Some(v4) => {
                help = format!("write \"{v4}\"");
                "an IPv4-mapped address, which no packet has"
            }
        },
        IpAddr::V4(_) => return Ok(address),
    };
    Err(Fault::new(format!("{address} is {kind}"), help))
}

/// The help for an address; where a DNS name was found, how to get one from it.
pub(in crate::config) fn unresolved(found: &str, help: &str) -> String {
    let label = |label: &str| {
        let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        (1..=63).contains(&label.len()) && label.chars().all(good) && !label.starts_with('-')
    };
    let is_name = found.strip_suffix('.').unwrap_or(found).split('.').all(label);
    match is_name && found.contains(|c: char| c.is_ascii_alphabetic()) {
        true => format!("{help}. Names are not resolved; `getent ahosts {found}` shows addresses"),
        false => help.to_owned(),
    }
}
