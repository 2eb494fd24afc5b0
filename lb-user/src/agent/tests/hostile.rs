//! Datagrams that nobody should believe.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::net::UdpSocket;

use super::{super::*, bench::*};
use crate::{
    config::SurveyKey,
    decide::{MissReason, Outcome},
    survey::{
        Announcement, Asker, Options,
        wire::{Nonce, Record},
    },
};

fn key() -> Key {
    Key::from(&KEY)
}

fn other_key() -> Key {
    Key::from(&SurveyKey([1; 32]))
}

async fn socket() -> UdpSocket {
    UdpSocket::bind((lo(1), 0)).await.expect("a port")
}

/// A question as an agent sees it.
struct Question {
    from: SocketAddr,
    epoch: u64,
    nonce: Nonce,
}

async fn question(socket: &UdpSocket) -> Question {
    let mut buffer = [0; 2_000];
    let (length, from) = within(socket.recv_from(&mut buffer)).await.expect("a datagram");
    let Message { kind, epoch, nonce, .. } =
        wire::decode(&key(), &buffer[..length]).expect("a question");
    assert_eq!(kind, Kind::Question { spread: Duration::ZERO });
    Question { from, epoch, nonce }
}

/// One datagram that says this of a server.
fn says(key: &Key, question: &Question, server: Server, survival: bool) -> Vec<u8> {
    let records = [Record { server, survival }];
    let mut answer = wire::answer(key, question.epoch, question.nonce, 0, &records);
    answer.next().expect("a datagram")
}

#[tokio::test]
async fn an_asker_refuses_and_counts() {
    let agent = socket().await;
    let at = agent.local_addr().expect("its address");
    let other = Server { number: 8, port: 443 };
    let (asker, mut announcements) = asker(&[(lo(1), SERVER), (lo(1), other)], None);
    let lie = async {
        let q = question(&agent).await;
        let send = async |datagram: &[u8]| {
            agent.send_to(datagram, q.from).await.expect("sent");
        };
        let good = says(&key(), &q, SERVER, true);
        send(b"GET / HTTP/1.1\r\n\r\n").await;
        send(&good[..good.len() - 1]).await;
        send(&says(&other_key(), &q, SERVER, false)).await;
        let mut forged = says(&key(), &q, SERVER, false);
        forged[43] ^= 1;
        send(&forged).await;
        send(&says(&key(), &Question { epoch: q.epoch + 1, ..q }, SERVER, false)).await;
        let stale = Nonce { round: q.nonce.round - 1, ..q.nonce };
        send(&says(&key(), &Question { nonce: stale, ..q }, SERVER, false)).await;
        send(&says(&key(), &q, Server { number: 9, port: 443 }, false)).await;
        send(&says(&key(), &q, Server { number: 7, port: 444 }, false)).await;
        // From another host.
        let stranger = UdpSocket::bind((lo(3), 0)).await.expect("a port");
        stranger.send_to(&says(&key(), &q, SERVER, false), q.from).await.expect("sent");
        send(&good).await;
        send(&good).await; // duplicated on its way
        send(&says(&key(), &q, SERVER, false)).await; // changed its mind
        send(&says(&key(), &q, other, false)).await;
    };
    let servers = [SERVER, other];
    let (outcomes, ()) = tokio::join!(asker.ask(at, &servers, LONG), lie);
    assert_eq!(outcomes, [(SERVER, Outcome::Hit), (other, Outcome::NotWorking)]);
    let counts = asker.counts();
    let expected = [
        (Refusal::NotOurs, 1),
        (Refusal::CutOff, 1),
        (Refusal::BadHmac, 2),
        (Refusal::WrongEpoch, 1),
        (Refusal::StaleNonce, 1),
        (Refusal::UnknownServer, 2),
        (Refusal::WrongPort, 1),
        (Refusal::Replay, 2),
    ];
    for (refusal, number) in expected {
        assert_eq!(counts.refused.of(refusal), number, "{refusal:?}: {}", counts.refused);
    }
    assert_eq!(counts.refused.total(), 11, "{}", counts.refused);
    assert_eq!(counts.records, 2);
    let no = Announcement { from: lo(1), server: other, survival: false };
    assert_eq!(announcements.try_recv(), Ok(no));
    assert!(announcements.try_recv().is_err());
}

#[tokio::test]
async fn an_agent_refuses_and_counts() {
    let node = Node::start(lo(1), Duration::ZERO);
    let lb = socket().await;
    let nonce = |round| Nonce { instance: 5, round };
    let asked = |round| wire::question(&key(), 3, nonce(round), Duration::ZERO);
    let send = async |datagram: &[u8]| {
        lb.send_to(datagram, node.at).await.expect("sent");
    };
    let answered = async || {
        let mut buffer = [0; 2_000];
        let (length, from) = within(lb.recv_from(&mut buffer)).await.expect("an answer");
        assert_eq!(from, node.at);
        let message = wire::decode(&key(), &buffer[..length]).expect("a good answer");
        (message.epoch, message.nonce)
    };
    // Each but the last is refused, so the answers are to the first and to the last.
    send(&asked(10)).await;
    assert_eq!(answered().await, (3, nonce(10)));
    send(&asked(10)).await; // replayed
    let thief = UdpSocket::bind((lo(1), 0)).await.expect("a port");
    thief.send_to(&asked(10), node.at).await.expect("sent");
    send(&wire::question(&other_key(), 3, nonce(11), Duration::ZERO)).await;
    send(&asked(11)[..67]).await;
    send(b"?").await;
    let records = [Record { server: SERVER, survival: true }];
    for answer in wire::answer(&key(), 3, nonce(11), 0, &records) {
        send(&answer).await;
    }
    send(&asked(12)).await;
    // What is between them would be announcements of the first check.
    within(async { while answered().await != (3, nonce(12)) {} }).await;
    let mut buffer = [0; 2_000];
    assert!(thief.try_recv(&mut buffer).is_err(), "an old question got an answer");
    let counts = node.end().await;
    assert_eq!(counts.refused.of(Refusal::Replay), 2);
    assert_eq!(counts.refused.of(Refusal::BadHmac), 1);
    assert_eq!(counts.refused.of(Refusal::CutOff), 1);
    assert_eq!(counts.refused.of(Refusal::NotOurs), 2);
    assert_eq!((counts.refused.total(), counts.questions), (6, 2));
}

#[tokio::test]
async fn another_key_gets_no_answer() {
    let node = Node::start(lo(1), Duration::ZERO);
    let key = SurveyKey([1; 32]);
    let servers = &[(lo(1), SERVER)];
    let options = Options { key: &key, epoch: 3, source: None, servers, remember: LONG };
    let (asker, _announcements) = Asker::open(options).expect("an asker");
    let outcome = ask(&asker, node.at, Duration::from_millis(100)).await;
    assert_eq!(outcome, Outcome::Miss(MissReason::Timeout));
    let counts = node.end().await;
    assert_eq!((counts.refused.of(Refusal::BadHmac), counts.questions), (1, 0));
}

#[tokio::test]
async fn a_flood_of_forged_datagrams_does_not_stop_rounds() {
    let agent = socket().await;
    let at = agent.local_addr().expect("its address");
    let (asker, _announcements) = asker(&[(lo(1), SERVER)], None);
    // The first round shows where the asker is.
    let first = async {
        let q = question(&agent).await;
        agent.send_to(&says(&key(), &q, SERVER, true), q.from).await.expect("sent");
        q
    };
    let (outcome, q) = tokio::join!(ask(&asker, at, LONG), first);
    assert_eq!(outcome, Outcome::Hit);
    let is_over = Arc::new(AtomicBool::new(false));
    let flood = std::thread::spawn({
        let (is_over, forged) = (Arc::clone(&is_over), says(&other_key(), &q, SERVER, false));
        let socket = std::net::UdpSocket::bind((lo(1), 0)).expect("a port");
        move || {
            while !is_over.load(Ordering::Relaxed) {
                // A full buffer is what it is for.
                let _ = socket.send_to(&forged, q.from);
            }
        }
    });
    let answer = tokio::spawn(async move {
        loop {
            let q = question(&agent).await;
            agent.send_to(&says(&key(), &q, SERVER, true), q.from).await.expect("sent");
        }
    });
    // The kernel may drop answers among so many, but some come through, and no round hangs.
    let timeout = Duration::from_millis(200);
    let rounds = async {
        let mut hits = 0;
        while hits < 5 || asker.counts().refused.of(Refusal::BadHmac) < 10_000 {
            let outcome = time::timeout(timeout + LONG / 4, ask(&asker, at, timeout)).await;
            match outcome.expect("the round ends") {
                Outcome::Hit => hits += 1,
                other => assert_eq!(other, Outcome::Miss(MissReason::Timeout)),
            }
        }
    };
    let done = time::timeout(LONG, rounds).await;
    is_over.store(true, Ordering::Relaxed);
    flood.join().expect("no panic");
    answer.abort();
    done.expect("hits in spite of the flood");
}
