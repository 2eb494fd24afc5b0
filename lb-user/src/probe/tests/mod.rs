//! Checks against real servers on loopback, each kind's hit and each way to fail.

mod dns;
mod echo;
mod fuzz;
mod grpc;
mod http;
mod tcp;
mod tls;
mod udp;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::*;
use crate::{
    config::{Exchange, Health, Source, Via},
    decide::Outcome::{Hit, Miss, NotWorking},
};

/// Enough for what answers, on however busy a machine.
const LONG: Duration = Duration::from_secs(30);
/// For what never answers.
const SHORT: Duration = Duration::from_millis(100);

/// Something to check, with a long time to answer.
fn target(probe: Probe, at: SocketAddr) -> Target {
    let health = Health {
        probe,
        port: None,
        interval: LONG,
        fast_interval: LONG,
        timeout: LONG,
        fall: 1,
        rise: 1,
        source: None,
        via: Via::Direct,
    };
    Target { health: Arc::new(health), at, server: None, vip: None }
}

/// The same with a short time to answer.
fn hasty(mut target: Target) -> Target {
    Arc::make_mut(&mut target.health).timeout = SHORT;
    target
}

async fn check(target: &Target) -> Outcome {
    let prober = Prober::new(std::slice::from_ref(target)).expect("a prober");
    prober.check(target).await
}

fn exchange(send: Option<&[u8]>, expect: Option<&[u8]>) -> Exchange {
    Exchange { send: send.map(Into::into), expect: expect.map(Into::into) }
}

/// What a server does with a connection.
#[derive(Clone)]
enum Act {
    /// Says something; after it has read something, if that is said.
    Say { after_reading: bool, what: Vec<u8> },
    /// Neither says anything more nor hangs up.
    Hang,
    /// Closes with a reset.
    Reset,
    /// Closes.
    Close,
}

/// Says this after it has read something.
fn answer(what: impl AsRef<[u8]>) -> Act {
    Act::Say { after_reading: true, what: what.as_ref().to_vec() }
}

/// A server that does the same with each connection. It ends with the test's runtime.
async fn server(acts: Vec<Act>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(act(stream, acts.clone()));
        }
    });
    address
}

async fn act(mut stream: TcpStream, acts: Vec<Act>) {
    for act in acts {
        match act {
            Act::Say { after_reading, what } => {
                if after_reading && stream.read(&mut [0; 4096]).await.is_err() {
                    return;
                }
                // Whoever is checked may find the connection closed: the check has seen enough.
                let _ = stream.write_all(&what).await;
            }
            Act::Hang => std::future::pending().await,
            Act::Reset => stream.set_zero_linger().expect("a socket"),
            Act::Close => return,
        }
    }
}

/// An address where nobody listens.
async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    listener.local_addr().expect("its address")
}

/// Waits for something that must happen.
async fn within<T>(what: impl Future<Output = T>) -> T {
    timeout(LONG, what).await.expect("this happens in time")
}

#[tokio::test]
async fn nobody_listens_for_any_kind_over_tcp() {
    for probe in [
        Probe::Tcp(Exchange::default()),
        http::get(),
        tls::https(true, None, None),
        grpc::health(""),
        tls::grpcs(true, None, None),
    ] {
        let target = target(probe, nobody().await);
        // Nobody gets as far as TLS, so that this host's authorities are not needed.
        let prober = Prober::new(&[]).expect("a prober");
        let refused = Miss(MissReason::Refused);
        assert_eq!(prober.check(&target).await, refused, "{:?}", target.health.probe);
    }
}

/// What hangs must not outlive its check: not the connection, nor a task that holds it.
#[tokio::test]
async fn a_check_leaves_no_connection_behind() {
    for probe in [
        Probe::Tcp(exchange(Some(b"hello"), Some(b"never"))),
        http::get(),
        tls::https(false, None, None),
        grpc::health(""),
        tls::grpcs(false, None, None),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let target = hasty(target(probe, listener.local_addr().expect("its address")));
        let served: JoinHandle<()> = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            // Reads until the end, whatever kind of end it is.
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
        });
        assert_eq!(check(&target).await, Miss(MissReason::Timeout), "{:?}", target.health.probe);
        within(served).await.expect("the server saw the end");
    }
}

#[tokio::test]
async fn what_this_host_cannot_do_is_no_outcome() {
    let from = |source| {
        let mut target =
            target(Probe::Tcp(Exchange::default()), "127.0.0.1:9".parse().expect("an address"));
        Arc::make_mut(&mut target.health).source = Some(source);
        target
    };
    let not_here = from(Source::Address("192.0.2.77".parse().expect("an address")));
    assert_eq!(check(&not_here).await, Miss(MissReason::Local));
    let no_interface = from(Source::Interface("no-such-link".into()));
    assert_eq!(check(&no_interface).await, Miss(MissReason::Local));
    let other_family = from(Source::Address("::1".parse().expect("an address")));
    assert_eq!(check(&other_family).await, Miss(MissReason::Local));
}

#[tokio::test]
async fn checks_come_from_where_they_should() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    for source in
        [Source::Address("127.9.8.7".parse().expect("an address")), Source::Interface("lo".into())]
    {
        let mut target = target(Probe::Tcp(Exchange::default()), address);
        Arc::make_mut(&mut target.health).source = Some(source.clone());
        assert_eq!(check(&target).await, Hit);
        let (_, from) = within(listener.accept()).await.expect("a connection");
        match source {
            Source::Address(source) => assert_eq!(from.ip(), source),
            Source::Interface(_) => assert!(from.ip().is_loopback()),
        }
    }
}

#[test]
fn the_future_of_a_check_is_small() {
    let target = target(Probe::Tcp(Exchange::default()), "127.0.0.1:9".parse().expect("one"));
    let prober = Prober::new(&[]).expect("a prober");
    let size = std::mem::size_of_val(&prober.check(&target));
    assert!(size <= 1024, "{size} bytes, ten thousand times");
}

#[tokio::test]
async fn a_missing_route_says_nothing_of_the_node() {
    // No route leads to the limited broadcast address, for TCP.
    let at = "255.255.255.255:9".parse().expect("an address");
    let outcome = check(&target(Probe::Tcp(Exchange::default()), at)).await;
    assert_eq!(outcome, Miss(MissReason::Local));
}

#[test]
fn what_errors_of_a_socket_in_use_say() {
    for (code, reason) in [
        (libc::ECONNREFUSED, MissReason::Refused),
        (libc::ECONNRESET, MissReason::Closed),
        (libc::EPIPE, MissReason::Closed),
        (libc::ETIMEDOUT, MissReason::Timeout),
        (libc::EHOSTUNREACH, MissReason::Unreachable),
        (libc::ENETUNREACH, MissReason::Unreachable),
        (libc::EACCES, MissReason::Unreachable),
        (libc::EHOSTDOWN, MissReason::Unreachable),
        (libc::ENONET, MissReason::Unreachable),
        (libc::ENOPROTOOPT, MissReason::Unreachable),
        (libc::ENOBUFS, MissReason::Local),
        (libc::ENOMEM, MissReason::Local),
    ] {
        let error = io::Error::from_raw_os_error(code);
        assert_eq!(socket::heard(&error), reason, "{error}");
    }
}
