//! HTTP/1.1 in the clear.

use super::*;
use crate::config::Http;

pub(super) fn plain() -> Http {
    Http {
        tls: None,
        method: "GET".into(),
        path: "/".into(),
        host: None,
        status: vec![(200, 399)],
        body: None,
    }
}

pub(super) fn get() -> Probe {
    Probe::Http(plain())
}

fn with_body(body: &str) -> Probe {
    Probe::Http(Http { body: Some(body.into()), ..plain() })
}

async fn outcome(probe: Probe, said: &str, then: Act) -> Outcome {
    check(&target(probe, server(vec![answer(said), then]).await)).await
}

async fn hasty_outcome(probe: Probe, said: &str) -> Outcome {
    check(&hasty(target(probe, server(vec![answer(said), Act::Hang]).await))).await
}

#[tokio::test]
async fn the_status_decides() {
    for (said, outcome_of_it) in [
        ("HTTP/1.1 200 OK\r\n\r\n", Hit),
        ("HTTP/1.0 204 No Content\r\n\r\n", Hit),
        ("HTTP/1.1 301 Moved\r\nLocation: http://192.0.2.1/\r\n\r\n", Hit),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", Hit),
        ("HTTP/1.1 404 Not Found\r\n\r\n", Miss(MissReason::Status(404))),
        ("HTTP/1.1 503 Service Unavailable\r\n\r\n", Miss(MissReason::Status(503))),
        ("HTTP/1.1 2000 OK\r\n\r\n", Miss(MissReason::BadAnswer)),
        ("SSH-2.0-OpenSSH_9.2\r\n", Miss(MissReason::BadAnswer)),
    ] {
        assert_eq!(outcome(get(), said, Act::Hang).await, outcome_of_it, "{said}");
    }
    let narrow = Http { status: vec![(200, 200), (418, 418)], ..plain() };
    let teapot = "HTTP/1.1 418 I'm a teapot\r\n\r\n";
    assert_eq!(outcome(Probe::Http(narrow.clone()), teapot, Act::Hang).await, Hit);
    let other = outcome(Probe::Http(narrow), "HTTP/1.1 204 No Content\r\n\r\n", Act::Hang).await;
    assert_eq!(other, Miss(MissReason::Status(204)));
}

#[tokio::test]
async fn the_request_is_what_was_asked_for() {
    for (http, first) in [
        (plain(), "GET / HTTP/1.1"),
        (
            Http {
                method: "HEAD".into(),
                path: "/health?deep=1".into(),
                host: Some("www.example.org".into()),
                ..plain()
            },
            "HEAD /health?deep=1 HTTP/1.1",
        ),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.expect("more of the request"));
            }
            // What answers HEAD says how long the body would be, and sends none.
            let said = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n";
            stream.write_all(said).await.expect("written");
            String::from_utf8(request).expect("text").to_lowercase()
        });
        let host = http.host.clone().unwrap_or(address.to_string());
        assert_eq!(check(&target(Probe::Http(http), address)).await, Hit);
        let request = within(served).await.expect("a request");
        let agent = format!("user-agent: understudy/{}", env!("CARGO_PKG_VERSION"));
        let wanted = [first.to_lowercase(), format!("host: {host}"), agent];
        for line in wanted.iter().map(String::as_str).chain(["connection: close"]) {
            assert!(request.lines().any(|l| l == line), "{line} in\n{request}");
        }
    }
}

#[tokio::test]
async fn a_body_holds_what_is_expected() {
    let chunks = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nall\r\n6\r\n is we\r\n2\r\nll\r\n0\r\n\r\n";
    let whole = "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nall is well";
    let to_the_end = "HTTP/1.1 200 OK\r\n\r\nall is well";
    for said in [chunks, whole, to_the_end] {
        assert_eq!(outcome(with_body("l is well"), said, Act::Close).await, Hit, "{said}");
        let other = outcome(with_body("fine"), said, Act::Close).await;
        assert_eq!(other, Miss(MissReason::BadAnswer), "{said}");
    }
    // As much as is needed is read, and no more.
    let endless = "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nall is well";
    assert_eq!(outcome(with_body("well"), endless, Act::Hang).await, Hit);
    assert_eq!(outcome(get(), endless, Act::Hang).await, Hit);
}

#[tokio::test]
async fn a_body_is_looked_at_up_to_a_limit() {
    let limit = super::super::http::LIMIT;
    let said = format!("HTTP/1.1 200 OK\r\n\r\n{}xy", ".".repeat(limit - 1));
    assert_eq!(outcome(with_body(".x"), &said, Act::Hang).await, Hit);
    let beyond = outcome(with_body("xy"), &said, Act::Hang).await;
    assert_eq!(beyond, Miss(MissReason::BadAnswer));
}

#[tokio::test]
async fn whoever_hangs_up_before_the_answer_is_whole_closed() {
    let closed = Miss(MissReason::Closed);
    for end in [Act::Close, Act::Reset] {
        assert_eq!(outcome(get(), "", end.clone()).await, closed);
        assert_eq!(outcome(get(), "HTTP/1.1 200 OK\r\nServer", end.clone()).await, closed);
        let short = "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nall is";
        assert_eq!(outcome(with_body("well"), short, end.clone()).await, closed);
        let chunks = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nall\r\n6\r\n is";
        assert_eq!(outcome(with_body("well"), chunks, end).await, closed);
    }
}

#[tokio::test]
async fn slow_answers_are_timeouts() {
    let timeout = Miss(MissReason::Timeout);
    assert_eq!(hasty_outcome(get(), "").await, timeout, "nothing");
    assert_eq!(hasty_outcome(get(), "HTTP/1.1 200 OK\r\nServer: x\r\n").await, timeout, "head");
    let body = "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nall is";
    assert_eq!(hasty_outcome(with_body("well"), body).await, timeout, "body");
    // A server that always says a little more is not waited for forever.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        stream.write_all(b"HTTP/1.1 200 OK\r\n").await.expect("written");
        let mut ticks = tokio::time::interval(SHORT / 20);
        while stream.write_all(b"a").await.is_ok() {
            ticks.tick().await;
        }
    });
    assert_eq!(check(&hasty(target(get(), address))).await, timeout, "drop by drop");
}

#[tokio::test]
async fn heads_and_chunks_out_of_bounds_are_bad_answers() {
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
    assert_eq!(outcome(get(), &long, Act::Hang).await, Miss(MissReason::BadAnswer));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(200));
    assert_eq!(outcome(get(), &many, Act::Hang).await, Miss(MissReason::BadAnswer));
    let chunk = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n";
    assert_eq!(outcome(with_body("x"), chunk, Act::Hang).await, Miss(MissReason::BadAnswer));
}

#[tokio::test]
async fn what_makes_no_request_is_refused_beforehand() {
    let at = "127.0.0.1:80".parse().expect("an address");
    let refused = |http| {
        let target = target(Probe::Http(http), at);
        assert!(matches!(Prober::new(&[target]), Err(ProbeError::Request { .. })));
    };
    refused(Http { method: "G E T".into(), ..plain() });
    refused(Http { path: "/a b".into(), ..plain() });
    refused(Http { host: Some("a\nb".into()), ..plain() });
}
