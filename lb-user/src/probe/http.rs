//! HTTP/1.1 (RFC 9112), in the clear or over TLS: one request on a connection of its own.
//!
//! Redirects are not followed: where they lead is another target. The body is read only if something
//! must be in it, and only until that has come. hyper's defaults bound what a server can make this
//! host keep: 100 header fields in a head of about 400 KiB.

use std::{error::Error, io, net::SocketAddr, pin::pin};

use futures_util::future::{Either, select};
use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Found, ProbeError, asked, search::Search, socket::Way, socket::heard, tls};
use crate::{
    config::{Http, Target},
    decide::{MissReason, Outcome},
};

/// What checks call themselves.
pub(super) const AGENT: &str = concat!("understudy/", env!("CARGO_PKG_VERSION"));
/// So much of a body is looked at, in bytes.
pub(super) const LIMIT: usize = 1024 * 1024;

/// Sends the request and judges the answer.
pub(super) async fn check(
    way: Way<'_>,
    http: &Http,
    target: &Target,
    clients: &tls::Clients,
) -> Found {
    let request = request(http, asked(target)).map_err(|_| MissReason::Local)?;
    let Some(tls) = &http.tls else { return ask(way.connect().await?, request, http).await };
    let name = tls::name(http.host.as_deref(), asked(target)).map_err(|_| MissReason::Local)?;
    let stream = way.connect().await?;
    let stream = clients.shake(stream, (tls, tls::Protocol::Http1), name).await?;
    ask(stream, request, http).await
}

/// Whether a request can be made of these values.
pub(super) fn verify(http: &Http, target: &Target) -> Result<(), ProbeError> {
    let at = asked(target);
    request(http, at).map_err(|reason| ProbeError::Request { at, reason })?;
    if http.tls.is_some() {
        tls::name(http.host.as_deref(), at)?;
    }
    Ok(())
}

fn request(http: &Http, at: SocketAddr) -> Result<Request<Empty<Bytes>>, hyper::http::Error> {
    let usual = if http.tls.is_some() { 443 } else { 80 };
    let host = http.host.clone().unwrap_or_else(|| match at.port() == usual {
        true => without_port(at),
        false => at.to_string(),
    });
    Request::builder()
        .method(http.method.as_str())
        .uri(http.path.as_str())
        .header(header::HOST, host)
        .header(header::USER_AGENT, AGENT)
        .header(header::ACCEPT, "*/*")
        .header(header::CONNECTION, "close")
        .body(Empty::new())
}

/// The address as a host (RFC 3986, 3.2.2).
fn without_port(at: SocketAddr) -> String {
    match at {
        SocketAddr::V4(at) => at.ip().to_string(),
        SocketAddr::V6(at) => format!("[{}]", at.ip()),
    }
}

async fn ask<S>(stream: S, request: Request<Empty<Bytes>>, http: &Http) -> Found
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let shaken = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(|error| miss(&error))?;
    let answer = pin!(async move {
        let answer = sender.send_request(request).await;
        judge(answer.map_err(|error| miss(&error))?, http).await
    });
    // Both are driven here, so that both end here.
    match select(answer, pin!(connection)).await {
        Either::Left((found, _)) => found,
        Either::Right((_, answer)) => answer.await,
    }
}

async fn judge(answer: Response<Incoming>, http: &Http) -> Found {
    let status = answer.status().as_u16();
    if !http.status.iter().any(|&(from, to)| (from..=to).contains(&status)) {
        return Err(MissReason::Status(status));
    }
    let Some(wanted) = &http.body else { return Ok(Outcome::Hit) };
    let mut search = Search::new(wanted.as_bytes(), LIMIT);
    let mut body = answer.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| miss(&error))?;
        if search.feed(frame.data_ref().map_or(&[], |data| data))? {
            return Ok(Outcome::Hit);
        }
    }
    Err(MissReason::BadAnswer)
}

/// What an error of hyper's says: of the connection, else of the answer.
pub(super) fn miss(error: &hyper::Error) -> MissReason {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(error) = inner.downcast_ref::<io::Error>() {
            return heard(error);
        }
        cause = inner.source();
    }
    match error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        true => MissReason::Closed,
        false => MissReason::BadAnswer,
    }
}
