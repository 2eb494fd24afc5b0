//! Single values of `health`: what is sent, and what must come back.

use std::{
    fs,
    io::{self, Read},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
    sync::Arc,
};

use hickory_proto::rr::Name;
use hyper::{Method, Uri};
use tokio_rustls::rustls::{
    RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use toml::de::DeValue;

use super::{any_text, integer, text as string};
use crate::config::{
    reader::{Fault, Parsed},
    types::DnsRecord,
};

/// What one datagram over IPv4 can hold: 65,535 bytes less the headers of IPv4 and UDP (RFC 768).
const MAX_BYTES: usize = 65_507;
/// More than any real bundle of authorities.
const MAX_CA: u64 = 4 << 20;

/// Text, or a list of byte values.
pub(in crate::config) fn bytes(value: &DeValue<'_>) -> Parsed<Arc<[u8]>> {
    let help = format!(
        "text like \"PING\\r\\n\" or a list of bytes like [0x50, 13, 10], of 1 to {MAX_BYTES} bytes"
    );
    let byte = |value: &DeValue<'_>| integer(0..=255)(value).map(|byte| byte as u8);
    let bytes: Arc<[u8]> = match value {
        DeValue::String(text) => text.as_bytes().into(),
        DeValue::Array(list) => {
            let bytes: Result<Vec<u8>, _> = list.iter().map(|e| byte(e.get_ref())).collect();
            bytes.map_err(|fault| Fault::new(format!("a byte: {}", fault.message), &*help))?.into()
        }
        _ => return Err(Fault::kind("text or a list of bytes", value, help)),
    };
    match bytes.len() {
        0 => Err(Fault::new("empty", format!("{help}; or leave it out"))),
        1..=MAX_BYTES => Ok(bytes),
        length => Err(Fault::new(format!("{length} bytes are too many"), help)),
    }
}

/// How the question of a survey goes out: whether as one for all.
pub(in crate::config) fn is_broadcast(value: &DeValue<'_>) -> Parsed<bool> {
    let help = "how a survey's question goes out: \"unicast\" (one to each node), or \"broadcast\" \
                (one to `group`, a broadcast address or a multicast group)";
    match string(value, help)? {
        "unicast" => Ok(false),
        "broadcast" => Ok(true),
        other => Err(Fault::new(format!("unknown value \"{}\"", other.escape_debug()), help)),
    }
}

/// Text that is not empty.
pub(in crate::config) fn text(value: &DeValue<'_>) -> Parsed<String> {
    let text = any_text(value)?;
    match text.is_empty() {
        true => Err(Fault::new("empty", "some text, or leave it out")),
        false => Ok(text),
    }
}

/// A method: a token (RFC 9110, 9.1).
pub(in crate::config) fn method(value: &DeValue<'_>) -> Parsed<String> {
    let help = "a method like \"GET\" or \"HEAD\"";
    let method = string(value, help)?;
    match Method::from_bytes(method.as_bytes()) {
        Ok(Method::CONNECT) => Err(Fault::new("\"CONNECT\" asks for a tunnel", help)),
        Ok(_) => Ok(method.to_owned()),
        Err(_) => Err(Fault::new(format!("\"{}\" is no method", method.escape_debug()), help)),
    }
}

/// A path with an optional query (RFC 9112, 3.2.1).
pub(in crate::config) fn path(value: &DeValue<'_>) -> Parsed<String> {
    let help = "it begins with \"/\", for example \"/health?full=1\"; spaces and what is not ASCII \
                are written as %20, fragments (#) are not sent";
    let path = string(value, help)?;
    let good = path.starts_with('/') && path.bytes().all(|c| c.is_ascii_graphic() && c != b'#');
    if good && path.parse::<Uri>().is_ok() {
        return Ok(path.to_owned());
    }
    Err(Fault::new(format!("\"{}\" is no path", path.escape_debug()), help))
}

/// A name or an address, and perhaps a port (RFC 9110, 7.2).
pub(in crate::config) fn host(value: &DeValue<'_>) -> Parsed<String> {
    let help = "a DNS name or an IP address, and a port if need be: \"www.example.com\", \
                \"192.0.2.10:8443\", \"[2001:db8::1]\"";
    let host = string(value, help)?;
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let good_port = port.is_none_or(|port| {
        port.bytes().all(|c| c.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    let good_name = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !name.contains(':') && ServerName::try_from(name).is_ok(),
    };
    if good_port && good_name {
        return Ok(host.to_owned());
    }
    Err(Fault::new(format!("\"{}\" is no host", host.escape_debug()), help))
}

/// A status or an inclusive range of them.
pub(in crate::config) fn status(value: &DeValue<'_>) -> Parsed<(u16, u16)> {
    let help = "from 100 to 599: 200, \"200-399\", or a list of such";
    let number = |text: &str| {
        let digits = text.len() == 3 && text.bytes().all(|c| c.is_ascii_digit());
        text.parse::<u16>().ok().filter(|status| digits && (100..=599).contains(status))
    };
    match value {
        DeValue::String(text) => {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            let fault = || Fault::new(format!("\"{}\" will not do", text.escape_debug()), help);
            let (first, last) = number(first).zip(number(last)).ok_or_else(fault)?;
            (first <= last).then_some((first, last)).ok_or_else(fault)
        }
        DeValue::Integer(_) => {
            let status = integer(100..=599)(value).map(|status| (status as u16, status as u16));
            status.map_err(|fault| Fault { help: help.to_owned(), ..fault })
        }
        _ => Err(Fault::kind("a status", value, help)),
    }
}

/// A name that a DNS server can be asked for (RFC 1035, 2.3).
pub(in crate::config) fn dns_name(value: &DeValue<'_>) -> Parsed<String> {
    let help =
        "a DNS name in ASCII, for example \"www.example.com\"; others in their \"xn--\" form";
    let name = string(value, help)?;
    let graphic = !name.is_empty() && name.bytes().all(|c| c.is_ascii_graphic());
    match Name::from_ascii(name) {
        Ok(_) if graphic => Ok(name.to_owned()),
        Ok(_) => Err(Fault::new(format!("\"{}\" is no DNS name", name.escape_debug()), help)),
        Err(error) => {
            let name = name.escape_debug();
            Err(Fault::new(format!("\"{name}\" is no DNS name: {error}"), help))
        }
    }
}

/// What a record must be: addresses in one spelling, others as they are.
pub(in crate::config) fn record(kind: Option<DnsRecord>, value: &DeValue<'_>) -> Parsed<String> {
    let expected = text(value)?;
    let fault = |what: &str, example: &str| {
        let message = format!("\"{}\" is no {what}", expected.escape_debug());
        Fault::new(message, format!("what a record of this type holds, for example \"{example}\""))
    };
    match kind {
        Some(DnsRecord::A) => {
            let address = expected.parse::<Ipv4Addr>();
            address.map(|a| a.to_string()).map_err(|_| fault("IPv4 address", "192.0.2.1"))
        }
        Some(DnsRecord::Aaaa) => {
            let address = expected.parse::<Ipv6Addr>();
            address.map(|a| a.to_string()).map_err(|_| fault("IPv6 address", "2001:db8::1"))
        }
        _ => Ok(expected),
    }
}

/// Where one datagram reaches many: a broadcast address or a multicast group.
pub(in crate::config) fn group(value: &DeValue<'_>) -> Parsed<IpAddr> {
    let help = "the broadcast address of the nodes' network (like \"10.0.1.255\"), \
                \"255.255.255.255\", or a multicast group (like \"239.1.2.3\")";
    let text = string(value, help)?;
    let Ok(address) = text.parse::<IpAddr>() else {
        let help = super::address::unresolved(text, help);
        return Err(Fault::new(format!("\"{}\" is no IP address", text.escape_debug()), help));
    };
    let good = match address {
        IpAddr::V4(a) if a.is_multicast() || a.is_broadcast() => true,
        // The host's part of a broadcast address is all ones, and has two bits or more.
        IpAddr::V4(a) => super::address::station(a.into()).is_ok() && a.octets()[3] & 3 == 3,
        IpAddr::V6(a) => a.is_multicast(),
    };
    match good {
        true => Ok(address),
        false => Err(Fault::new(format!("{address} is the address of one host"), help)),
    }
}

/// A file of certificates in PEM (RFC 7468); in `directory`, if its name does not begin with `/`.
pub(in crate::config) fn authorities(value: &DeValue<'_>, directory: &Path) -> Parsed<Arc<[u8]>> {
    let help = "a file of certificates in PEM; a name without a leading / is looked for beside \
                the configuration";
    let name = text(value).map_err(|fault| Fault { help: help.to_owned(), ..fault })?;
    let path = directory.join(&name);
    let path = path.display();
    let bytes = read(&directory.join(&name))
        .map_err(|error| Fault::new(format!("cannot read {path}: {error}"), help))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        let certificate = certificate
            .map_err(|error| Fault::new(format!("{path} is no good PEM: {error}"), help))?;
        roots
            .add(certificate)
            .map_err(|error| Fault::new(format!("{path}: a certificate: {error}"), help))?;
    }
    match roots.is_empty() {
        true => Err(Fault::new(format!("{path} holds no certificate in PEM"), help)),
        false => Ok(bytes.into()),
    }
}

/// Reads a file of a bearable size; a device or a pipe would have none, or never end.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a file"));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MAX_CA + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MAX_CA {
        true => Err(io::Error::other(format!("longer than {MAX_CA} bytes"))),
        false => Ok(bytes),
    }
}
