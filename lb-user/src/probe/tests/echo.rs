//! ICMP echo. Needs CAP_NET_RAW, and fails without it.

use etherparse::IcmpEchoHeader;

use super::{super::icmp::Echo, *};

#[tokio::test]
async fn loopback_answers() {
    for to in ["127.0.0.1", "127.1.2.3", "::1"] {
        let to = SocketAddr::new(to.parse().expect("an address"), 0);
        assert_eq!(check(&target(Probe::Icmp, to)).await, Hit, "{to}");
    }
}

#[tokio::test]
async fn many_at_once_are_told_apart() {
    let to = "127.0.0.1:0".parse().expect("an address");
    let target = target(Probe::Icmp, to);
    let prober = Prober::new(std::slice::from_ref(&target)).expect("a prober");
    let checks = (0..200).map(|_| prober.check(&target));
    let outcomes = futures_util::future::join_all(checks).await;
    assert!(outcomes.iter().all(|&outcome| outcome == Hit), "{outcomes:?}");
}

/// Not only the type must be right, but all that was sent.
#[test]
fn only_the_own_echo_is_an_answer() {
    let echo =
        Echo { header: IcmpEchoHeader { id: 0x0102, seq: 0x0304 }, payload: *b"0123456789abcdef" };
    let mut v4 = vec![0x46, 0, 0, 48, 0, 0, 0, 0, 64, 1, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1];
    v4.extend_from_slice(&[1, 1, 1, 1]);
    let reply = |kind: u8| {
        let mut message = vec![kind, 0, 0, 0, 1, 2, 3, 4];
        message.extend_from_slice(b"0123456789abcdef");
        message
    };
    let with_header = |message: Vec<u8>| [v4.clone(), message].concat();
    assert!(echo.is_answer(&with_header(reply(0)), true));
    assert!(echo.is_answer(&reply(129), false));
    assert!(!echo.is_answer(&with_header(reply(8)), true), "the request itself");
    assert!(!echo.is_answer(&reply(128), false), "the request itself");
    for at in [4, 5, 6, 7, 8, 23] {
        let mut other = reply(0);
        other[at] ^= 1;
        assert!(!echo.is_answer(&with_header(other), true), "byte {at}");
        let mut other = reply(129);
        other[at] ^= 1;
        assert!(!echo.is_answer(&other, false), "byte {at}");
    }
    for length in 0..reply(0).len() {
        assert!(!echo.is_answer(&with_header(reply(0)[..length].to_vec()), true));
        assert!(!echo.is_answer(&reply(129)[..length], false));
        assert!(!echo.is_answer(&v4[..length.min(v4.len())], true));
    }
}
