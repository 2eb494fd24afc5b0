//! The datagrams of a survey: bytes ↔ values, and what of them is refused.
//!
//! UDP; agents listen on port 7411 unless told otherwise. All numbers are big endian.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic: `USVY` |
//! | 4 | 1 | version: 1 |
//! | 5 | 1 | kind: 1 question, 2 answer |
//! | 6 | 2 | question: *spread*, ms over which the answers of many agents are to be spread (0: at once); answer: *sequence*, 0 the answer itself, 1… announcements after it under the same nonce |
//! | 8 | 8 | config epoch: the load balancer's; an answer repeats the question's |
//! | 16 | 8 | nonce, *instance*: drawn at random whenever the load balancer opens its socket |
//! | 24 | 8 | nonce, *round*: grows with each question of an instance; an answer repeats both |
//! | 32 | 2 | count of records; a question has none |
//! | 34 | 2 | reserved: 0 |
//! | 36 | 8 × count | records |
//! | end − 32 | 32 | HMAC-SHA-256 (RFC 2104, FIPS 180-4) of all bytes before it; the key is 32 bytes |
//!
//! A record is the *node monitoring information*: exactly three fields, behind their length.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 1 | length of what follows: 7 |
//! | 1 | 4 | server number |
//! | 5 | 2 | port of the service on that server |
//! | 7 | 1 | state: 1 survival, 0 non-survival |
//!
//! A record of another length has fewer or more fields and is refused by itself; the next one
//! begins behind it. A datagram has at most 1,452 bytes, so that it fits 1,500 bytes of Ethernet
//! also over IPv6: at most 173 records. An agent with more of them answers with several datagrams.
//!
//! Nothing here is a wall-clock time: nonces are random and counted.

use std::{fmt, time::Duration};

use ring::hmac;

use super::Refusal;
use crate::config::{Server, SurveyKey};

/// The longest datagram, in bytes.
pub const MAX_DATAGRAM: usize = 1_452;
/// Records that fit one datagram.
pub const MAX_RECORDS: usize = (MAX_DATAGRAM - HEADER - TAG) / RECORD;

const MAGIC: [u8; 4] = *b"USVY";
const VERSION: u8 = 1;
const QUESTION: u8 = 1;
const ANSWER: u8 = 2;
/// Bytes of a header.
const HEADER: usize = 36;
/// Bytes of a record with its length.
const RECORD: usize = 8;
/// Bytes of a record behind its length.
const FIELDS: u8 = 7;
/// Bytes of an HMAC.
const TAG: usize = 32;

/// One datagram, whose sender holds the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Question or answer.
    pub kind: Kind,
    /// Config epoch of the load balancer.
    pub epoch: u64,
    /// Which question this is, or is the answer to.
    pub nonce: Nonce,
    /// What an answer says.
    pub records: Records<'a>,
}

/// What a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A load balancer asks for all records.
    Question {
        /// Answers are to be spread over this time, in whole ms up to 65,535.
        spread: Duration,
    },
    /// An agent answers (sequence 0), or says unasked what changed (1, 2, …).
    Answer {
        /// Grows with each announcement under one nonce.
        sequence: u16,
    },
}

/// Names a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nonce {
    /// Of one opening of a load balancer's socket: random.
    pub instance: u64,
    /// Grows with each question of the instance.
    pub round: u64,
}

/// Node monitoring information.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Server number and port.
    pub server: Server,
    /// Survival or non-survival.
    pub survival: bool,
}

/// The key that load balancers and agents share. It does not show itself.
#[derive(Clone)]
pub struct Key(hmac::Key);

impl From<&SurveyKey> for Key {
    fn from(key: &SurveyKey) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &key.0))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// Reads a datagram. What it says may be believed if this succeeds: the HMAC was compared, in
/// constant time.
///
/// # Errors
/// [`Refusal::NotOurs`], [`Refusal::CutOff`], [`Refusal::BadHmac`], in this order.
pub fn decode<'a>(key: &Key, datagram: &'a [u8]) -> Result<Message<'a>, Refusal> {
    if !datagram.starts_with(&MAGIC) {
        return Err(Refusal::NotOurs);
    }
    let (signed, tag) = datagram.split_last_chunk::<TAG>().ok_or(Refusal::CutOff)?;
    let mut rest = signed;
    let _magic: [u8; 4] = take(&mut rest)?;
    let [version, kind] = take(&mut rest)?;
    let number = u16::from_be_bytes(take(&mut rest)?);
    let epoch = u64::from_be_bytes(take(&mut rest)?);
    let instance = u64::from_be_bytes(take(&mut rest)?);
    let round = u64::from_be_bytes(take(&mut rest)?);
    let count = u16::from_be_bytes(take(&mut rest)?);
    let reserved = u16::from_be_bytes(take(&mut rest)?);
    let kind = match (version, kind, reserved) {
        (VERSION, QUESTION, 0) => Kind::Question { spread: Duration::from_millis(number.into()) },
        (VERSION, ANSWER, 0) => Kind::Answer { sequence: number },
        _ => return Err(Refusal::NotOurs),
    };
    let records = Records { rest };
    let fits = datagram.len() <= MAX_DATAGRAM && records.are(count);
    if !fits || (count > 0 && matches!(kind, Kind::Question { .. })) {
        return Err(Refusal::CutOff);
    }
    hmac::verify(&key.0, signed, tag).map_err(|_| Refusal::BadHmac)?;
    Ok(Message { kind, epoch, nonce: Nonce { instance, round }, records })
}

/// The next bytes.
fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Refusal> {
    let (taken, after) = rest.split_first_chunk().ok_or(Refusal::CutOff)?;
    *rest = after;
    Ok(*taken)
}

/// The records of an answer, one by one: each is good, or refused by itself as
/// [`Refusal::BadRecord`] or [`Refusal::BadState`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    /// The bytes behind the next length.
    fn next_fields(&mut self) -> Option<&'a [u8]> {
        let (&length, rest) = self.rest.split_first()?;
        let (fields, rest) = rest.split_at_checked(length.into())?;
        self.rest = rest;
        Some(fields)
    }

    /// Whether these are so many records and nothing else.
    fn are(mut self, count: u16) -> bool {
        (0..count).all(|_| self.next_fields().is_some()) && self.rest.is_empty()
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Record, Refusal>;

    fn next(&mut self) -> Option<Self::Item> {
        let fields = self.next_fields()?;
        let Ok([n0, n1, n2, n3, p0, p1, state]) = <[u8; FIELDS as usize]>::try_from(fields) else {
            return Some(Err(Refusal::BadRecord));
        };
        let number = u32::from_be_bytes([n0, n1, n2, n3]);
        let server = Server { number, port: u16::from_be_bytes([p0, p1]) };
        Some(match state {
            0 => Ok(Record { server, survival: false }),
            1 => Ok(Record { server, survival: true }),
            _ => Err(Refusal::BadState),
        })
    }
}

/// A question. `spread` is cut to whole ms, at most 65,535.
#[must_use]
pub fn question(key: &Key, epoch: u64, nonce: Nonce, spread: Duration) -> Vec<u8> {
    let spread = u16::try_from(spread.as_millis()).unwrap_or(u16::MAX);
    datagram(key, QUESTION, spread, epoch, nonce, &[])
}

/// An answer or an announcement, in as many datagrams as it takes; no records, no datagram.
pub fn answer<'a>(
    key: &'a Key,
    epoch: u64,
    nonce: Nonce,
    sequence: u16,
    records: &'a [Record],
) -> impl Iterator<Item = Vec<u8>> + 'a {
    let parts = records.chunks(MAX_RECORDS);
    parts.map(move |part| datagram(key, ANSWER, sequence, epoch, nonce, part))
}

/// At most [`MAX_RECORDS`] are asked for.
fn datagram(
    key: &Key,
    kind: u8,
    number: u16,
    epoch: u64,
    nonce: Nonce,
    records: &[Record],
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + records.len() * RECORD + TAG);
    bytes.extend(MAGIC);
    bytes.extend([VERSION, kind]);
    bytes.extend(number.to_be_bytes());
    bytes.extend(epoch.to_be_bytes());
    bytes.extend(nonce.instance.to_be_bytes());
    bytes.extend(nonce.round.to_be_bytes());
    bytes.extend((records.len() as u16).to_be_bytes());
    bytes.extend([0; 2]);
    for record in records {
        bytes.push(FIELDS);
        bytes.extend(record.server.number.to_be_bytes());
        bytes.extend(record.server.port.to_be_bytes());
        bytes.push(record.survival.into());
    }
    let tag = hmac::sign(&key.0, &bytes);
    bytes.extend(tag.as_ref());
    bytes
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
