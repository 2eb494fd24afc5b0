//! gRPC: the standard health service (grpc.health.v1.Health/Check), over HTTP/2 in the clear with
//! prior knowledge (RFC 9113, 3.3) or over TLS.
//!
//! A status that is not OK is `Status(code)`, also where the library gives it to an answer that has
//! none, as gRPC says (an answer without a message: 13, INTERNAL). An answer that is not gRPC's is
//! `BadAnswer`, or its HTTP status.

use std::{error::Error, net::SocketAddr, pin::pin};

use futures_util::future::{Either, select};
use hyper::{Request, StatusCode, Uri, client::conn::http2, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{Found, ProbeError, asked, http, socket::Way, tls};
use crate::{
    config::{Grpc, Target},
    decide::{MissReason, Outcome},
};

/// The longest answer, in bytes; a proper one has two.
const LIMIT: usize = 4096;

/// Asks for the service's health.
pub(super) async fn check(
    way: Way<'_>,
    grpc: &Grpc,
    target: &Target,
    clients: &tls::Clients,
) -> Found {
    let origin = origin(grpc, asked(target)).map_err(|_| MissReason::Local)?;
    let Some(tls) = &grpc.tls else { return ask(way.connect().await?, origin, grpc).await };
    let name = tls::name(grpc.host.as_deref(), asked(target)).map_err(|_| MissReason::Local)?;
    let stream = way.connect().await?;
    let stream = clients.shake(stream, (tls, tls::Protocol::Http2), name).await?;
    ask(stream, origin, grpc).await
}

/// Whether a request can be made of these values.
pub(super) fn verify(grpc: &Grpc, target: &Target) -> Result<(), ProbeError> {
    let at = asked(target);
    origin(grpc, at).map_err(|reason| ProbeError::Request { at, reason })?;
    if grpc.tls.is_some() {
        tls::name(grpc.host.as_deref(), at)?;
    }
    Ok(())
}

fn origin(grpc: &Grpc, at: SocketAddr) -> Result<Uri, hyper::http::Error> {
    let authority = grpc.host.clone().unwrap_or_else(|| at.to_string());
    let scheme = if grpc.tls.is_some() { "https" } else { "http" };
    Uri::builder().scheme(scheme).authority(authority).path_and_query("/").build()
}

async fn ask<S>(stream: S, origin: Uri, grpc: &Grpc) -> Found
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // The library's task of the connection ends with the handles of it that are held here.
    let shaken = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (sender, connection) = shaken.map_err(|error| http::miss(&error))?;
    let service = tower::service_fn(move |request| send(sender.clone(), request));
    let mut client = HealthClient::with_origin(service, origin).max_decoding_message_size(LIMIT);
    let question = HealthCheckRequest { service: grpc.service.clone() };
    let answer = pin!(async move {
        let answer = client.check(question).await.map_err(|status| miss(&status))?;
        match answer.into_inner().status() {
            ServingStatus::Serving => Ok(Outcome::Hit),
            ServingStatus::NotServing => Ok(Outcome::NotWorking),
            ServingStatus::Unknown | ServingStatus::ServiceUnknown => Err(MissReason::BadAnswer),
        }
    });
    match select(answer, pin!(connection)).await {
        Either::Left((found, _)) => found,
        Either::Right((_, answer)) => answer.await,
    }
}

/// One request; the answer to it is gRPC's, or an error.
async fn send(
    mut sender: http2::SendRequest<tonic::body::Body>,
    mut request: Request<tonic::body::Body>,
) -> Result<hyper::Response<hyper::body::Incoming>, NotGrpc> {
    let agent = header::HeaderValue::from_static(http::AGENT);
    request.headers_mut().insert(header::USER_AGENT, agent);
    let answer = sender.send_request(request).await;
    let answer = answer.map_err(|error| NotGrpc(http::miss(&error)))?;
    if answer.status() != StatusCode::OK {
        return Err(NotGrpc(MissReason::Status(answer.status().as_u16())));
    }
    let kind = answer.headers().get(header::CONTENT_TYPE);
    match kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
        true => Ok(answer),
        false => Err(NotGrpc(MissReason::BadAnswer)),
    }
}

/// Why there is no answer of gRPC's.
#[derive(Debug, thiserror::Error)]
#[error("no answer of gRPC: {0:?}")]
struct NotGrpc(MissReason);

/// What a status says that is not OK: what it was made of, where the server did not send it.
fn miss(status: &tonic::Status) -> MissReason {
    let mut cause = status.source();
    while let Some(inner) = cause {
        if let Some(NotGrpc(reason)) = inner.downcast_ref() {
            return *reason;
        }
        if let Some(error) = inner.downcast_ref() {
            return http::miss(error);
        }
        cause = inner.source();
    }
    MissReason::Status(status.code() as u16)
}
