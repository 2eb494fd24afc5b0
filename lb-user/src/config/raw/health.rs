//! `health`: its kind says which other fields there may be, wherever it stands among them.

use std::{net::IpAddr, ops::RangeInclusive, path::Path, time::Duration};

use toml::Spanned;

use super::{Field, HOUR};
use crate::config::{
    reader::{Fault, Fields},
    report::Span,
    types::{self, DnsRecord, Exchange, Probe, Source, SurveySend, Tls, Via},
    values::{self, probe},
};

/// `health` of a cluster or of a service.
pub(in crate::config) struct Health {
    pub(in crate::config) place: Span,
    /// `None`: its word will not do.
    pub(in crate::config) kind: Option<Kind>,
    /// Whether the kind is written, be it good or not, and not the default.
    pub(in crate::config) has_kind: bool,
    /// What the fields of the kind say; `None`: they will not do.
    pub(in crate::config) probe: Option<Probe>,
    pub(in crate::config) port: Field<u16>,
    /// Whether the port is written, be it good or not.
    pub(in crate::config) has_port: bool,
    pub(in crate::config) interval: Field<Duration>,
    pub(in crate::config) fast_interval: Field<Duration>,
    pub(in crate::config) timeout: Field<Duration>,
    pub(in crate::config) fall: Field<u32>,
    pub(in crate::config) rise: Field<u32>,
    pub(in crate::config) source: Field<Source>,
    pub(in crate::config) via: Field<Via>,
    pub(in crate::config) group: Field<IpAddr>,
}

/// Kinds of check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Kind {
    Tcp,
    Http,
    Https,
    Grpc,
    Udp,
    Dns,
    Icmp,
    Survey,
}

use Kind::{Dns, Grpc, Http, Https, Icmp, Survey, Tcp, Udp};

const KINDS: [(&str, Kind); 8] = [
    ("tcp", Tcp),
    ("http", Http),
    ("https", Https),
    ("grpc", Grpc),
    ("udp", Udp),
    ("dns", Dns),
    ("icmp", Icmp),
    ("survey", Survey),
];

/// Fields that not every kind has, and the kinds that have them.
const OWN: [(&str, &[Kind]); 15] = [
    ("port", &[Tcp, Http, Https, Grpc, Udp, Dns, Survey]),
    ("send", &[Tcp, Udp, Survey]),
    ("expect", &[Tcp, Udp, Dns]),
    ("method", &[Http, Https]),
    ("path", &[Http, Https]),
    ("host", &[Http, Https, Grpc]),
    ("status", &[Http, Https]),
    ("body", &[Http, Https]),
    ("verify", &[Https, Grpc]),
    ("ca", &[Https, Grpc]),
    ("service", &[Grpc]),
    ("tls", &[Grpc]),
    ("query", &[Dns]),
    ("type", &[Dns]),
    ("group", &[Survey]),
];

const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(10)..=HOUR;
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=HOUR;
const ROUNDS: RangeInclusive<u32> = 1..=100;

/// Reads a `health`; files that it names without a leading `/` are in `directory`.
pub(in crate::config) fn read(fields: &mut Fields<'_, '_>, directory: &Path) -> Health {
    let has_kind = fields.has("kind");
    let kind = fields.optional("kind", values::choice(&KINDS)).map(Spanned::into_inner);
    let kind = kind.or((!has_kind).then_some(Tcp));
    let via = values::choice(&[("direct", Via::Direct), ("vip", Via::Vip)]);
    let mut health = Health {
        place: fields.place(),
        kind,
        has_kind,
        probe: None,
        interval: fields.optional("interval", values::duration(INTERVAL)),
        fast_interval: fields.optional("fast_interval", values::duration(INTERVAL)),
        timeout: fields.optional("timeout", values::duration(TIMEOUT)),
        fall: fields.optional("fall", values::integer(ROUNDS)),
        rise: fields.optional("rise", values::integer(ROUNDS)),
        source: fields.optional("source", values::address::source),
        via: fields.optional("via", via),
        port: None,
        has_port: fields.has("port"),
        group: None,
    };
    if let Some(kind) = kind {
        if kind != Icmp {
            health.port = fields.optional("port", values::port);
        }
        if kind == Survey {
            health.group = fields.optional("group", probe::group);
        }
        health.probe = own(kind, fields, directory, &health.group);
    }
    refuse_others(kind, has_kind, fields);
    health
}

fn own(
    kind: Kind,
    fields: &mut Fields<'_, '_>,
    directory: &Path,
    group: &Field<IpAddr>,
) -> Option<Probe> {
    Some(match kind {
        Tcp => Probe::Tcp(exchange(fields)),
        Udp => Probe::Udp(exchange(fields)),
        Http => Probe::Http(http(fields, None)),
        Https => {
            let tls = tls(fields, directory);
            Probe::Http(http(fields, Some(tls)))
        }
        Grpc => Probe::Grpc(grpc(fields, directory)),
        Dns => Probe::Dns(dns(fields)?),
        Icmp => Probe::Icmp,
        Survey => Probe::Survey(types::Survey { send: survey(fields, group)? }),
    })
}

fn exchange(fields: &mut Fields<'_, '_>) -> Exchange {
    Exchange {
        send: fields.optional("send", probe::bytes).map(Spanned::into_inner),
        expect: fields.optional("expect", probe::bytes).map(Spanned::into_inner),
    }
}

fn http(fields: &mut Fields<'_, '_>, tls: Option<Tls>) -> types::Http {
    let method = fields.optional("method", probe::method).map(Spanned::into_inner);
    let path = fields.optional("path", probe::path).map(Spanned::into_inner);
    let host = fields.optional("host", probe::host).map(Spanned::into_inner);
    let status = fields.one_or_more("status", probe::status).map(Spanned::into_inner);
    fields.refuse_empty("status", "status: no status would be good", "leave it out: 200-399");
    let mut status = status.unwrap_or_else(|| vec![(200, 399)]);
    status.sort_unstable();
    status.dedup();
    let body = fields.optional("body", probe::text);
    if let Some(body) = &body
        && method.as_deref() == Some("HEAD")
    {
        let problem = fields.report().error(body.span(), "body: an answer to HEAD has none");
        problem.help("leave it out, or ask with GET");
    }
    let method = method.unwrap_or_else(|| "GET".to_owned());
    let path = path.unwrap_or_else(|| "/".to_owned());
    types::Http { tls, method, path, host, status, body: body.map(Spanned::into_inner) }
}

fn grpc(fields: &mut Fields<'_, '_>, directory: &Path) -> types::Grpc {
    let service = fields.optional("service", values::any_text).map(Spanned::into_inner);
    let host = fields.optional("host", probe::host).map(Spanned::into_inner);
    let is_tls = fields.optional("tls", values::boolean).map(Spanned::into_inner);
    let tls = match is_tls {
        Some(true) => Some(tls(fields, directory)),
        _ => {
            for field in ["verify", "ca"] {
                let fault = Fault::new(
                    format!("`{field}` is about TLS, and this check goes without"),
                    "add tls = true",
                );
                // If `tls` is there and no boolean, that says enough.
                let is_off = is_tls.is_some() || !fields.has("tls");
                fields.elsewhere(field, is_off.then_some(fault));
            }
            None
        }
    };
    types::Grpc { service: service.unwrap_or_default(), host, tls }
}

fn tls(fields: &mut Fields<'_, '_>, directory: &Path) -> Tls {
    let verify = fields.optional("verify", values::boolean).map(Spanned::into_inner);
    let ca = fields.optional("ca", |value| probe::authorities(value, directory));
    if let Some(ca) = &ca
        && verify == Some(false)
    {
        let problem = fields.report().warning(ca.span(), "ca: without effect");
        problem.help("nothing is compared with it while verify = false; leave one of them out");
    }
    Tls { verify: verify.unwrap_or(true), ca: ca.map(Spanned::into_inner) }
}

fn dns(fields: &mut Fields<'_, '_>) -> Option<types::Dns> {
    let query = fields.required("query", "query = \"www.example.com\"", probe::dns_name);
    let record = values::choice(&[
        ("A", DnsRecord::A),
        ("AAAA", DnsRecord::Aaaa),
        ("CNAME", DnsRecord::Cname),
        ("MX", DnsRecord::Mx),
        ("NS", DnsRecord::Ns),
        ("PTR", DnsRecord::Ptr),
        ("SOA", DnsRecord::Soa),
        ("SRV", DnsRecord::Srv),
        ("TXT", DnsRecord::Txt),
    ]);
    let has_type = fields.has("type");
    let record = fields.optional("type", record).map(Spanned::into_inner);
    let record = record.or((!has_type).then_some(DnsRecord::A));
    let expect = fields.optional("expect", |value| probe::record(record, value));
    let (query, expect) = (query?.into_inner(), expect.map(Spanned::into_inner));
    Some(types::Dns { query, record: record?, expect })
}

/// How the question goes out; `None` if that will not do.
fn survey(fields: &mut Fields<'_, '_>, group: &Field<IpAddr>) -> Option<SurveySend> {
    let has_send = fields.has("send");
    let is_broadcast = fields.optional("send", probe::is_broadcast).map(Spanned::into_inner);
    match is_broadcast.or((!has_send).then_some(false))? {
        true => {
            let example = "group = \"10.0.1.255\": the broadcast address of the nodes' network, \
                           255.255.255.255, or a multicast group that the agents joined";
            fields.expect("group", example);
            group.as_ref().map(|group| SurveySend::Broadcast(*group.get_ref()))
        }
        false => {
            if let Some(group) = group {
                let message = "group: the question goes to each node by itself";
                let help = "add send = \"broadcast\", or leave the group out";
                fields.report().error(group.span(), message).help(help);
            }
            Some(SurveySend::Unicast)
        }
    }
}

/// Notes the fields that only other kinds have.
fn refuse_others(kind: Option<Kind>, has_kind: bool, fields: &mut Fields<'_, '_>) {
    for (field, kinds) in OWN {
        let Some(kind) = kind else {
            fields.elsewhere(field, None); // nobody knows what belongs here
            continue;
        };
        if kinds.contains(&kind) {
            continue;
        }
        let word = kind.word();
        let kinds: Vec<_> = kinds.iter().map(|kind| format!("\"{}\"", kind.word())).collect();
        let message = format!("`{field}` belongs to kind = {}, not to \"{word}\"", either(&kinds));
        let own = OWN.iter().filter(|(_, kinds)| kinds.contains(&kind)).map(|(field, _)| *field);
        let own: Vec<_> = own.collect();
        let help = match own.is_empty() {
            _ if !has_kind => format!("add kind = {}; without it is \"{word}\"", kinds[0]),
            true => format!("\"{word}\" has no fields of its own"),
            false => format!("\"{word}\" has {}", own.join(", ")),
        };
        fields.elsewhere(field, Some(Fault::new(message, help)));
    }
}

/// "a", "a or b", "a, b or c".
fn either(words: &[String]) -> String {
    match words {
        [words @ .., last] if !words.is_empty() => format!("{} or {last}", words.join(", ")),
        words => words.concat(),
    }
}

impl Kind {
    /// Its word in the file.
    pub(in crate::config) fn word(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self).map_or("", |(word, _)| word)
    }
}
