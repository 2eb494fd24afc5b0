//! DNS.

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record,
        rdata::{A, AAAA, CNAME, MX, NS, SOA, SRV, TXT},
    },
};

use super::{
    super::dns::equal,
    udp::{closed, datagrams},
    *,
};
use crate::config::{Dns, DnsRecord};

pub(super) fn dns(record: DnsRecord, expect: Option<&str>) -> Dns {
    Dns { query: "www.example.org".into(), record, expect: expect.map(Into::into) }
}

pub(super) fn name(name: &str) -> Name {
    name.parse().expect("a name")
}

fn record(of: &str, data: RData) -> Record {
    Record::from_rdata(name(of), 60, data)
}

fn a(last: u8) -> RData {
    RData::A(A::new(192, 0, 2, last))
}

/// An answer to the query in a datagram, with these records.
pub(super) fn answer_to(query: &[u8], records: &[Record]) -> Message {
    let query = Message::from_vec(query).expect("a query");
    assert!(query.metadata.recursion_desired && query.queries.len() == 1, "{query:?}");
    let mut answer = Message::response(query.metadata.id, OpCode::Query);
    answer.add_query(query.queries[0].clone());
    answer.add_answers(records.iter().cloned());
    answer
}

/// What comes of a check by a server that changes what it would answer.
async fn outcome(
    dns: Dns,
    records: Vec<Record>,
    change: impl Fn(&mut Message) + Send + 'static,
) -> Outcome {
    let at = datagrams("127.0.0.1:0", move |query| {
        let mut answer = answer_to(query, &records);
        change(&mut answer);
        vec![answer.to_vec().expect("an answer")]
    });
    check(&target(Probe::Dns(dns), at.await)).await
}

#[tokio::test]
async fn a_record_of_the_type_is_a_hit() {
    let found = vec![record("www.example.org.", a(1)), record("www.example.org.", a(2))];
    assert_eq!(outcome(dns(DnsRecord::A, None), found.clone(), |_| {}).await, Hit);
    assert_eq!(outcome(dns(DnsRecord::A, Some("192.0.2.2")), found.clone(), |_| {}).await, Hit);
    let other = outcome(dns(DnsRecord::A, Some("192.0.2.3")), found.clone(), |_| {}).await;
    assert_eq!(other, Miss(MissReason::BadAnswer));
    let aaaa = outcome(dns(DnsRecord::Aaaa, None), found, |_| {}).await;
    assert_eq!(aaaa, Miss(MissReason::BadAnswer), "another type");
    // An alias, and what it leads to.
    let alias = RData::CNAME(CNAME(name("web.example.org.")));
    let chain = vec![record("www.example.org.", alias), record("web.example.org.", a(1))];
    assert_eq!(outcome(dns(DnsRecord::A, Some("192.0.2.1")), chain.clone(), |_| {}).await, Hit);
    let cname = dns(DnsRecord::Cname, Some("WEB.example.org"));
    assert_eq!(outcome(cname, chain, |_| {}).await, Hit);
    let empty = outcome(dns(DnsRecord::A, None), vec![], |_| {}).await;
    assert_eq!(empty, Miss(MissReason::BadAnswer), "no record");
    let chaos =
        outcome(dns(DnsRecord::A, None), vec![record("www.example.org.", a(1))], |answer| {
            answer.answers[0].dns_class = DNSClass::CH;
        });
    assert_eq!(chaos.await, Miss(MissReason::BadAnswer), "another class");
}

#[tokio::test]
async fn a_code_is_what_it_is() {
    for (code, number) in
        [(ResponseCode::ServFail, 2), (ResponseCode::NXDomain, 3), (ResponseCode::Refused, 5)]
    {
        let with = move |answer: &mut Message| answer.metadata.response_code = code;
        let found = outcome(dns(DnsRecord::A, None), vec![], with).await;
        assert_eq!(found, Miss(MissReason::Status(number)));
        let bare = move |answer: &mut Message| {
            answer.metadata.response_code = code;
            answer.queries.clear();
        };
        let found = outcome(dns(DnsRecord::A, None), vec![], bare).await;
        assert_eq!(found, Miss(MissReason::Status(number)), "without the question");
    }
}

#[tokio::test]
async fn what_is_truncated_counts_with_what_is_there() {
    let truncated = |answer: &mut Message| answer.metadata.truncation = true;
    let found = vec![record("www.example.org.", a(1))];
    assert_eq!(outcome(dns(DnsRecord::A, None), found, truncated).await, Hit);
    let none = outcome(dns(DnsRecord::A, None), vec![], truncated).await;
    assert_eq!(none, Miss(MissReason::BadAnswer));
}

#[tokio::test]
async fn answers_to_other_questions_are_ignored() {
    let wrongs: [fn(&mut Message); 6] = [
        |answer| answer.metadata.id ^= 1,
        |answer| answer.metadata.message_type = MessageType::Query,
        |answer| answer.metadata.op_code = OpCode::Status,
        |answer| answer.queries.clear(),
        |answer| answer.queries[0].name = name("www.example.com."),
        |answer| answer.queries.push(Query::new()),
    ];
    for (position, wrong) in wrongs.into_iter().enumerate() {
        let right_after = move |query: &[u8]| {
            let mut answer = answer_to(query, &[record("www.example.org.", a(9))]);
            let right = answer_to(query, &[record("www.example.org.", a(1))]);
            wrong(&mut answer);
            [answer, right].iter().map(|a| a.to_vec().expect("an answer")).collect()
        };
        let at = datagrams("127.0.0.1:0", right_after).await;
        let dns = Probe::Dns(dns(DnsRecord::A, Some("192.0.2.1")));
        assert_eq!(check(&target(dns.clone(), at)).await, Hit, "{position}");
        let only = move |query: &[u8]| {
            let mut answer = answer_to(query, &[record("www.example.org.", a(1))]);
            wrong(&mut answer);
            vec![answer.to_vec().expect("an answer")]
        };
        let at = datagrams("127.0.0.1:0", only).await;
        let outcome = check(&hasty(target(dns, at))).await;
        assert_eq!(outcome, Miss(MissReason::Timeout), "{position}");
    }
}

#[tokio::test]
async fn what_is_no_dns_is_a_bad_answer_or_ignored() {
    let cut = |query: &[u8]| vec![query[..7].to_vec()];
    let probe = || Probe::Dns(dns(DnsRecord::A, None));
    let at = datagrams("127.0.0.1:0", cut).await;
    assert_eq!(check(&target(probe(), at)).await, Miss(MissReason::BadAnswer));
    let empty = datagrams("127.0.0.1:0", |_| vec![vec![]]).await;
    assert_eq!(check(&hasty(target(probe(), empty))).await, Miss(MissReason::Timeout));
    let closed = closed("127.0.0.1:0").await;
    assert_eq!(check(&target(probe(), closed)).await, Miss(MissReason::Refused));
}

#[test]
fn a_name_must_be_one() {
    let at = "127.0.0.1:53".parse().expect("an address");
    for query in ["a..b", &"x".repeat(64), &"a.".repeat(200)] {
        let probe = Probe::Dns(Dns { query: query.into(), ..dns(DnsRecord::A, None) });
        let made = Prober::new(&[target(probe, at)]);
        assert!(matches!(made, Err(ProbeError::Query(_))), "{query}");
    }
}

#[test]
fn records_equal_their_presentation() {
    let host = || name("Mail.example.org.");
    let soa = SOA::new(host(), name("root.example.org."), 7, 3600, 600, 86_400, 60);
    let text = TXT::new(vec!["v=spf1 ".into(), "-all".into()]);
    for (data, same, other) in [
        (a(1), vec!["192.0.2.1", " 192.0.2.1 "], vec!["192.0.2.10", "192.0.2", "x", ""]),
        (
            RData::AAAA(AAAA("2001:db8::1".parse().expect("an address"))),
            vec!["2001:db8::1", "2001:DB8:0:0::1"],
            vec!["2001:db8::2", "192.0.2.1"],
        ),
        (
            RData::NS(NS(host())),
            vec!["mail.example.org", "MAIL.EXAMPLE.ORG."],
            vec!["example.org", "mail.example.org..", "mail.example.org x"],
        ),
        (
            RData::MX(MX::new(10, host())),
            vec!["10 mail.example.org.", "10  mail.example.org"],
            vec!["20 mail.example.org.", "mail.example.org.", "10"],
        ),
        (
            RData::SRV(SRV::new(1, 2, 443, host())),
            vec!["1 2 443 mail.example.org."],
            vec!["1 2 444 mail.example.org."],
        ),
        (
            RData::SOA(soa),
            vec!["mail.example.org. root.example.org. 7 3600 600 86400 60"],
            vec!["mail.example.org. root.example.org. 8 3600 600 86400 60"],
        ),
        (
            RData::TXT(text),
            vec!["v=spf1 -all", "\"v=spf1 -all\""],
            vec!["v=spf1", "V=spf1 -all", "\"v=spf1 -all"],
        ),
    ] {
        for expect in same {
            assert!(equal(&data, expect), "{data} is {expect}");
        }
        for expect in other {
            assert!(!equal(&data, expect), "{data} is not {expect}");
        }
    }
}
