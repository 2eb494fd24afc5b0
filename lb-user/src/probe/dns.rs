//! DNS over UDP (RFC 1035): a query is answered, with a record that is as it should be.
//!
//! An answer counts if its id and its question are the query's (RFC 5452); others are ignored. One
//! that was truncated counts with what is there.

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, Name, RData, RecordType},
};

use super::{
    Found, ProbeError,
    socket::{Way, heard},
    udp::receive,
};
use crate::{
    config::{Dns, DnsRecord},
    decide::{MissReason, Outcome},
};

/// Asks, and judges the answer.
pub(super) async fn check(way: Way<'_>, dns: &Dns) -> Found {
    let question = Query::query(name(dns).map_err(|_| MissReason::Local)?, record_type(dns.record));
    let id = (getrandom::u32().map_err(|_| MissReason::Local)? >> 16) as u16;
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(question.clone());
    let socket = way.datagram(&message.to_vec().map_err(|_| MissReason::Local)?)?;
    loop {
        let datagram = receive(&socket).await.map_err(|error| heard(&error))?;
        if let Some(found) = judge(&datagram, id, &question, dns) {
            return found;
        }
    }
}

/// The name that is asked for.
pub(super) fn name(dns: &Dns) -> Result<Name, ProbeError> {
    let wrong = |_| ProbeError::Query(dns.query.clone());
    let mut name = Name::from_str_relaxed(&dns.query).map_err(wrong)?;
    name.set_fqdn(true);
    Ok(name)
}

/// What a datagram says; `None`: it is no answer to the question.
pub(super) fn judge(datagram: &[u8], id: u16, question: &Query, dns: &Dns) -> Option<Found> {
    if !datagram.starts_with(&id.to_be_bytes()) {
        return None;
    }
    let Ok(answer) = Message::from_vec(datagram) else {
        return Some(Err(MissReason::BadAnswer));
    };
    let code = answer.metadata.response_code;
    // A server that did not understand the question need not repeat it.
    let same = match &answer.queries[..] {
        [one] => one == question,
        [] => code != ResponseCode::NoError,
        _ => false,
    };
    let is_answer = answer.metadata.message_type == MessageType::Response
        && answer.metadata.op_code == OpCode::Query;
    if !same || !is_answer {
        return None;
    }
    if code != ResponseCode::NoError {
        return Some(Err(MissReason::Status(code.into())));
    }
    let wanted = answer.answers.iter().any(|record| {
        record.dns_class == DNSClass::IN
            && record.record_type() == question.query_type
            && dns.expect.as_deref().is_none_or(|expect| equal(&record.data, expect))
    });
    Some(if wanted { Ok(Outcome::Hit) } else { Err(MissReason::BadAnswer) })
}

/// Whether a record's data is what is expected, in the presentation format. Names are the same with
/// and without the last dot and in either case, addresses however they are written, and a text
/// however it is split into strings and with or without quotes.
pub(super) fn equal(data: &RData, expect: &str) -> bool {
    let expect = expect.trim();
    match data {
        RData::A(address) => expect.parse() == Ok(address.0),
        RData::AAAA(address) => expect.parse() == Ok(address.0),
        RData::TXT(text) => {
            let quoted = expect.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            text.txt_data.concat() == quoted.unwrap_or(expect).as_bytes()
        }
        // Numbers and names.
        _ => {
            let shown = data.to_string();
            let alike = |(a, b): (&str, &str)| {
                let [a, b] = [a, b].map(|word| word.strip_suffix('.').unwrap_or(word));
                a.eq_ignore_ascii_case(b)
            };
            shown.split_whitespace().count() == expect.split_whitespace().count()
                && shown.split_whitespace().zip(expect.split_whitespace()).all(alike)
        }
    }
}

fn record_type(record: DnsRecord) -> RecordType {
    match record {
        DnsRecord::A => RecordType::A,
        DnsRecord::Aaaa => RecordType::AAAA,
        DnsRecord::Cname => RecordType::CNAME,
        DnsRecord::Mx => RecordType::MX,
        DnsRecord::Ns => RecordType::NS,
        DnsRecord::Ptr => RecordType::PTR,
        DnsRecord::Soa => RecordType::SOA,
        DnsRecord::Srv => RecordType::SRV,
        DnsRecord::Txt => RecordType::TXT,
    }
}
