//! TCP.

use super::*;

fn tcp(send: Option<&[u8]>, expect: Option<&[u8]>, at: SocketAddr) -> Target {
    target(Probe::Tcp(exchange(send, expect)), at)
}

#[tokio::test]
async fn an_accepted_connection_is_a_hit() {
    let target = tcp(None, None, server(vec![Act::Hang]).await);
    assert_eq!(check(&target).await, Hit);
    let listener = TcpListener::bind("[::1]:0").await.expect("a free port");
    assert_eq!(check(&tcp(None, None, listener.local_addr().expect("one"))).await, Hit);
}

#[tokio::test]
async fn the_connection_ends_with_a_reset() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let target = tcp(None, None, listener.local_addr().expect("its address"));
    assert_eq!(check(&target).await, Hit);
    let (mut stream, _) = within(listener.accept()).await.expect("a connection");
    let error = within(stream.read(&mut [0])).await.expect_err("no ordinary end");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn silence_is_a_timeout() {
    // A listener with a full backlog does not answer further connections.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let listener = socket.listen(1).expect("a listener");
    let address = listener.local_addr().expect("its address");
    let mut held = Vec::new();
    while let Ok(stream) = timeout(SHORT, TcpStream::connect(address)).await {
        held.push(stream.expect("a connection"));
        assert!(held.len() < 16, "the backlog never fills");
    }
    assert_eq!(check(&hasty(tcp(None, None, address))).await, Miss(MissReason::Timeout));
}

#[tokio::test]
async fn an_answer_holds_what_is_expected() {
    let banner = Act::Say { after_reading: false, what: b"220 mail ESMTP\r\n".to_vec() };
    let at = server(vec![banner, Act::Hang]).await;
    assert_eq!(check(&tcp(None, Some(b"mail"), at)).await, Hit);
    assert_eq!(check(&hasty(tcp(None, Some(b"421"), at))).await, Miss(MissReason::Timeout));

    let pieces = ["+PO", "NG\r", "\n"].map(|what| answer(what.as_bytes()));
    let at = server(pieces[..1].to_vec()).await;
    let wrong = check(&tcp(Some(b"PING\r\n"), Some(b"+PONG"), at)).await;
    assert_eq!(wrong, Miss(MissReason::BadAnswer), "hangs up after another answer");
    let say = |what: &str| Act::Say { after_reading: false, what: what.into() };
    let at = server(vec![answer("+PO"), say("NG\r"), say("\n"), Act::Hang]).await;
    assert_eq!(check(&tcp(Some(b"PING\r\n"), Some(b"+PONG\r\n"), at)).await, Hit);
}

#[tokio::test]
async fn whoever_hangs_up_before_the_answer_closed() {
    let expecting = |at| tcp(Some(b"hello"), Some(b"x"), at);
    let closes = server(vec![answer(""), Act::Close]).await;
    assert_eq!(check(&expecting(closes)).await, Miss(MissReason::Closed));
    let resets = server(vec![answer(""), Act::Reset]).await;
    assert_eq!(check(&expecting(resets)).await, Miss(MissReason::Closed));
    let resets = server(vec![Act::Reset]).await;
    assert_eq!(check(&tcp(None, Some(b"x"), resets)).await, Miss(MissReason::Closed));
}

#[tokio::test]
async fn only_the_beginning_of_an_answer_is_looked_at() {
    let limit = super::super::tcp::LIMIT;
    let mut what = vec![b'.'; limit - 1];
    what.extend_from_slice(b"xy");
    let say = Act::Say { after_reading: false, what };
    let at = server(vec![say, Act::Hang]).await;
    assert_eq!(check(&tcp(None, Some(b".x"), at)).await, Hit);
    assert_eq!(check(&tcp(None, Some(b"xy"), at)).await, Miss(MissReason::BadAnswer));
}
