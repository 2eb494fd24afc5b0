//! Servers that answer anything: no check panics, none takes longer than it may, and none is a hit
//! that should not be.

use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query},
    rr::{RData, Record, RecordType, rdata::A},
};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use tokio::runtime::Runtime;

use super::*;
use crate::config::DnsRecord;

const CASES: u32 = 200;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() })
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..300)
}

/// What comes of a check by a server that answers with `said` and hangs up.
fn outcome(runtime: &Runtime, probe: Probe, said: &[u8]) -> Outcome {
    runtime.block_on(async {
        let at = server(vec![answer(said), Act::Close]).await;
        check(&target(probe, at)).await
    })
}

#[test]
fn http() {
    let runtime = runtime();
    // Answers, most of them, with some bytes changed.
    let good = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 4\r\n\r\nwell";
    let changed = prop::collection::vec((0..good.len(), any::<u8>()), 0..4).prop_map(|changes| {
        let mut said = good.to_vec();
        changes.into_iter().for_each(|(at, byte)| said[at] = byte);
        said
    });
    let any = prop_oneof![1 => bytes(), 3 => changed];
    let http = crate::config::Http { body: Some("well".into()), ..super::http::plain() };
    let hits = AtomicUsize::new(0);
    let property = |said: Vec<u8>| {
        let outcome = outcome(&runtime, Probe::Http(http.clone()), &said);
        hits.fetch_add(usize::from(outcome == Hit), Ordering::Relaxed);
        let there = said.starts_with(b"HTTP/1.") && said.windows(4).any(|w| w == b"well");
        prop_assert!(outcome != Hit || there, "{:?}", said);
        prop_assert_ne!(outcome, Miss(MissReason::Timeout));
        prop_assert_ne!(outcome, Miss(MissReason::Local));
        Ok(())
    };
    runner(CASES).run(&any, property).expect("no check is fooled");
    assert!(hits.into_inner() > 0, "some changes leave a good answer");
}

#[test]
fn grpc() {
    let runtime = runtime();
    // After the settings: random frames, or random bytes.
    let frame = (0_u8..10, any::<u8>(), 0_u8..4, prop::collection::vec(any::<u8>(), 0..40));
    let frame = frame.prop_map(|(kind, flags, stream, payload)| {
        [&[0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream], &payload[..]].concat()
    });
    let frames = prop::collection::vec(frame, 0..6).prop_map(|frames| frames.concat());
    let property = |said: Vec<u8>| {
        let said = [&[0, 0, 0, 4, 0, 0, 0, 0, 0], &said[..]].concat();
        let outcome = outcome(&runtime, super::grpc::health(""), &said);
        prop_assert!(!matches!(outcome, Hit | NotWorking), "{:?}", said);
        prop_assert_ne!(outcome, Miss(MissReason::Timeout));
        prop_assert_ne!(outcome, Miss(MissReason::Local));
        Ok(())
    };
    runner(CASES).run(&prop_oneof![bytes(), frames], property).expect("no check is fooled");
}

#[test]
fn tls() {
    let runtime = runtime();
    let property = |said: Vec<u8>| {
        // Like a record of the handshake, else nothing is looked at.
        let said = [&[22, 3, 3, 0, said.len().min(255) as u8], &said[..]].concat();
        let outcome = outcome(&runtime, super::tls::https(false, None, None), &said);
        prop_assert_eq!(outcome, Miss(MissReason::Tls));
        Ok(())
    };
    runner(CASES).run(&bytes(), property).expect("no check is fooled");
}

#[test]
fn tcp() {
    let runtime = runtime();
    let property = |said: Vec<u8>| {
        let probe = Probe::Tcp(exchange(Some(b"?"), Some(b"\x01\x00")));
        let outcome = outcome(&runtime, probe, &said);
        let expected = match said.windows(2).any(|w| w == b"\x01\x00") {
            true => Hit,
            false if said.is_empty() => Miss(MissReason::Closed),
            false => Miss(MissReason::BadAnswer),
        };
        prop_assert_eq!(outcome, expected);
        Ok(())
    };
    let few = prop::collection::vec(0_u8..4, 0..20);
    runner(CASES).run(&few, property).expect("as it should be");
}

/// The parser alone, so that there can be many cases.
#[test]
fn dns() {
    let question = Query::query(super::dns::name("www.example.org."), RecordType::A);
    let wanted = super::dns::dns(DnsRecord::A, Some("192.0.2.1"));
    let mut query = Message::new(0x1234, MessageType::Query, OpCode::Query);
    query.metadata.recursion_desired = true;
    query.add_query(question.clone());
    let record = Record::from_rdata(question.name.clone(), 60, RData::A(A::new(192, 0, 2, 1)));
    let good = super::dns::answer_to(&query.to_vec().expect("a query"), &[record]);
    let good = good.to_vec().expect("an answer");
    let judge = |said: &[u8]| super::super::dns::judge(said, 0x1234, &question, &wanted);
    assert_eq!(judge(&good), Some(Ok(Hit)));
    let hits = AtomicUsize::new(0);
    let changes = prop::collection::vec((0..good.len(), any::<u8>()), 0..4);
    let property = |(changes, length, noise): (Vec<(usize, u8)>, usize, Vec<u8>)| {
        let mut said = good.clone();
        changes.into_iter().for_each(|(at, byte)| said[at] = byte);
        said.truncate(length);
        if judge(&said) == Some(Ok(Hit)) {
            hits.fetch_add(1, Ordering::Relaxed);
            prop_assert!(said.starts_with(&[0x12, 0x34]) && said[2] & 0x80 != 0);
            prop_assert!(said.ends_with(&[192, 0, 2, 1]), "{:?}", said);
        }
        prop_assert!(judge(&noise).is_none() || noise.starts_with(&[0x12, 0x34]));
        let with_id = [&[0x12, 0x34], &noise[..]].concat();
        prop_assert_ne!(judge(&with_id), Some(Ok(Hit)));
        Ok(())
    };
    let cases = (changes, good.len() - 20..=good.len() + 20, bytes());
    runner(20_000).run(&cases, property).expect("no answer fools it");
    assert!(hits.into_inner() > 0, "some changes leave a good answer");
}
