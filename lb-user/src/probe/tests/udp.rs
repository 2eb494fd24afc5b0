//! UDP.

use lb_common::Forward;
use tokio::net::UdpSocket;

use super::*;
use crate::config::{Delivery, ThroughVip};

fn udp(send: Option<&[u8]>, expect: Option<&[u8]>, at: SocketAddr) -> Target {
    target(Probe::Udp(exchange(send, expect)), at)
}

/// A server that answers each datagram with what `answer` makes of it.
pub(super) async fn datagrams(
    bind: &str,
    mut answer: impl FnMut(&[u8]) -> Vec<Vec<u8>> + Send + 'static,
) -> SocketAddr {
    let socket = UdpSocket::bind(bind).await.expect("a free port");
    let address = socket.local_addr().expect("its address");
    tokio::spawn(async move {
        let mut datagram = [0; 65_535];
        // An answer to a check that is over is refused, and that is heard here.
        loop {
            let Ok((length, from)) = socket.recv_from(&mut datagram).await else { continue };
            for answer in answer(&datagram[..length]) {
                let _ = socket.send_to(&answer, from).await;
            }
        }
    });
    address
}

/// A port where nobody listens.
pub(super) async fn closed(bind: &str) -> SocketAddr {
    let socket = UdpSocket::bind(bind).await.expect("a free port");
    socket.local_addr().expect("its address")
}

#[tokio::test]
async fn an_echo_is_a_hit() {
    for bind in ["127.0.0.1:0", "[::1]:0"] {
        let echo = datagrams(bind, |datagram| vec![datagram.to_vec()]).await;
        assert_eq!(check(&udp(Some(b"hello"), Some(b"ell"), echo)).await, Hit);
        assert_eq!(check(&udp(Some(b"hello"), None, echo)).await, Hit);
        assert_eq!(check(&udp(None, None, echo)).await, Hit, "an empty one");
        let long = vec![7; 9000];
        assert_eq!(check(&udp(Some(&long), Some(&long), echo)).await, Hit, "a long one");
        let other = check(&udp(Some(b"hello"), Some(b"world"), echo)).await;
        assert_eq!(other, Miss(MissReason::BadAnswer));
        let empty = check(&udp(None, Some(b"x"), echo)).await;
        assert_eq!(empty, Miss(MissReason::BadAnswer));
    }
}

#[tokio::test]
async fn silence_is_a_hit_unless_an_answer_is_expected() {
    let silent = datagrams("127.0.0.1:0", |_| vec![]).await;
    assert_eq!(check(&hasty(udp(Some(b"hello"), None, silent))).await, Hit);
    let expecting = check(&hasty(udp(Some(b"hello"), Some(b"x"), silent))).await;
    assert_eq!(expecting, Miss(MissReason::Timeout));
}

#[tokio::test]
async fn silence_counts_only_after_a_datagram() {
    let silent = datagrams("127.0.0.1:0", |_| vec![]).await;
    let direct = udp(None, None, silent);
    let by = Delivery { address: silent.ip(), forward: Forward::L2, gue_port: 0, mac: None };
    let nowhere = Target { vip: Some(ThroughVip { at: silent, by }), ..direct.clone() };
    for (target, was_sent) in [(direct, true), (nowhere, false)] {
        let mut sent = false;
        let (way, what) = (Way::of(&target, None), exchange(None, None));
        let check = super::super::udp::check(way, &what, &mut sent);
        assert_eq!(timeout(SHORT, check).await.is_err(), was_sent);
        assert_eq!(sent, was_sent);
    }
}

#[tokio::test]
async fn a_closed_port_is_refused() {
    for bind in ["127.0.0.1:0", "[::1]:0"] {
        let address = closed(bind).await;
        let refused = Miss(MissReason::Refused);
        assert_eq!(check(&udp(None, None, address)).await, refused);
        assert_eq!(check(&udp(Some(b"hello"), Some(b"x"), address)).await, refused);
    }
}

#[tokio::test]
async fn only_the_target_can_answer() {
    // The answer comes from another port of the same host.
    let stranger = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let address = socket.local_addr().expect("its address");
    tokio::spawn(async move {
        let mut datagram = [0; 100];
        let (length, from) = socket.recv_from(&mut datagram).await.expect("a datagram");
        stranger.send_to(&datagram[..length], from).await.expect("sent");
        std::future::pending::<()>().await;
    });
    let outcome = check(&hasty(udp(Some(b"hello"), Some(b"hello"), address))).await;
    assert_eq!(outcome, Miss(MissReason::Timeout));
}

#[tokio::test]
async fn what_cannot_be_sent_is_this_hosts_fault() {
    let at = "127.0.0.1:9".parse().expect("an address");
    let outcome = check(&udp(Some(&vec![0; 70_000]), None, at)).await;
    assert_eq!(outcome, Miss(MissReason::Local));
}
