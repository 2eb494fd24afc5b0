//! gRPC's health service, as tonic serves it.

use hyper::{Response, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio_rustls::TlsAcceptor;
use tonic::body::Body;
use tonic_health::{ServingStatus, server::health_reporter};
use tower::ServiceExt;

use super::*;
use crate::config::Grpc;

pub(super) fn health(service: &str) -> Probe {
    Probe::Grpc(Grpc { service: service.into(), host: None, tls: None })
}

/// What a server says.
#[derive(Clone, Copy)]
pub(super) enum Said {
    /// What tonic's health service says of `""`, serving; `off`, not; `odd`, unknown.
    Health,
    /// The same status, without a message.
    Grpc(&'static str),
    /// Something by HTTP/2 that is not gRPC.
    Http(u16),
}

/// A server, over TLS if there is an acceptor.
pub(super) async fn serve(said: Said, tls: Option<TlsAcceptor>) -> SocketAddr {
    let (reporter, health) = health_reporter();
    reporter.set_service_status("off", ServingStatus::NotServing).await;
    reporter.set_service_status("odd", ServingStatus::Unknown).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let health = health.clone();
            let service = service_fn(move |request| {
                let health = health.clone();
                async move {
                    let answer = Response::builder();
                    match said {
                        Said::Health => Ok(health.oneshot(request).await.expect("infallible")),
                        Said::Grpc(status) => answer
                            .header("content-type", "application/grpc")
                            .header("grpc-status", status)
                            .body(Body::empty()),
                        Said::Http(status) => answer.status(status).body(Body::empty()),
                    }
                }
            });
            let builder = http2::Builder::new(TokioExecutor::new());
            let tls = tls.clone();
            tokio::spawn(async move {
                // Whoever checks hangs up: how that ends is nobody's business.
                let _ = match tls {
                    None => builder.serve_connection(TokioIo::new(stream), service).await,
                    Some(tls) => {
                        let Ok(stream) = tls.accept(stream).await else { return };
                        builder.serve_connection(TokioIo::new(stream), service).await
                    }
                };
            });
        }
    });
    address
}

#[tokio::test]
async fn the_service_says_how_it_is() {
    let at = serve(Said::Health, None).await;
    assert_eq!(check(&target(health(""), at)).await, Hit);
    assert_eq!(check(&target(health("off"), at)).await, NotWorking);
    assert_eq!(check(&target(health("odd"), at)).await, Miss(MissReason::BadAnswer));
    assert_eq!(check(&target(health("nope"), at)).await, Miss(MissReason::Status(5)), "not found");
}

#[tokio::test]
async fn statuses_are_what_they_are() {
    for (status, code) in [("12", 12), ("14", 14), ("7", 7)] {
        let at = serve(Said::Grpc(status), None).await;
        assert_eq!(check(&target(health(""), at)).await, Miss(MissReason::Status(code)));
    }
    let at = serve(Said::Grpc("0"), None).await;
    let without = check(&target(health(""), at)).await;
    assert_eq!(without, Miss(MissReason::Status(13)), "OK, but no message");
}

#[tokio::test]
async fn what_is_not_grpc_is_a_bad_answer() {
    let bad = Miss(MissReason::BadAnswer);
    let at = serve(Said::Http(200), None).await;
    assert_eq!(check(&target(health(""), at)).await, bad);
    let at = serve(Said::Http(404), None).await;
    assert_eq!(check(&target(health(""), at)).await, Miss(MissReason::Status(404)));
    let http1 = server(vec![answer("HTTP/1.1 400 Bad Request\r\n\r\n"), Act::Hang]).await;
    assert_eq!(check(&target(health(""), http1)).await, bad);
    let mail = Act::Say { after_reading: false, what: b"220 mail.example.org ESMTP\r\n".to_vec() };
    let mail = server(vec![mail, Act::Hang]).await;
    assert_eq!(check(&target(health(""), mail)).await, bad);
}

#[tokio::test]
async fn whoever_hangs_up_closed_and_whoever_hangs_is_late() {
    for end in [Act::Close, Act::Reset] {
        let at = server(vec![answer(""), end]).await;
        assert_eq!(check(&target(health(""), at)).await, Miss(MissReason::Closed));
    }
    let hangs = server(vec![answer(""), Act::Hang]).await;
    assert_eq!(check(&hasty(target(health(""), hangs))).await, Miss(MissReason::Timeout));
    // Settings, and then nothing: the connection is there, the service hangs.
    let settings = server(vec![answer([0, 0, 0, 4, 0, 0, 0, 0, 0]), Act::Hang]).await;
    assert_eq!(check(&hasty(target(health(""), settings))).await, Miss(MissReason::Timeout));
}

#[tokio::test]
async fn what_makes_no_request_is_refused_beforehand() {
    let at = "127.0.0.1:80".parse().expect("an address");
    let grpc = Grpc { service: String::new(), host: Some("a b".into()), tls: None };
    let made = Prober::new(&[target(Probe::Grpc(grpc), at)]);
    assert!(matches!(made, Err(ProbeError::Request { .. })));
}
