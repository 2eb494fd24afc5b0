//! A gRPC server with the standard health service, over HTTP/2 without TLS.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::net::TcpListener;
use tonic_health::{ServingStatus, server::HealthReporter};

use super::fickle::Hosted;
use crate::netns::Netns;

/// The service whose health it knows, besides the server's as a whole.
pub const SERVICE: &str = "shop.Orders";

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct Grpc {
    hosted: Hosted,
    reporter: HealthReporter,
}

impl Grpc {
    /// Starts it in a namespace; [`SERVICE`] serves.
    ///
    /// # Errors
    /// If the port is taken or no runtime can be had.
    pub fn start(netns: &Netns, port: u16) -> Result<Self> {
        let listener = netns.run(|| {
            let listener = std::net::TcpListener::bind(SocketAddr::from(([0; 4], port)))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        })?;
        let (reporter, health) = tonic_health::server::health_reporter();
        let hosted = Hosted::start("grpc", async move {
            let listener = TcpListener::from_std(listener).context("the gRPC server's socket")?;
            tokio::spawn(async move {
                loop {
                    // An error here is a client that went away before it was accepted.
                    let Ok((stream, _)) = listener.accept().await else { continue };
                    let service = TowerToHyperService::new(health.clone());
                    tokio::spawn(async move {
                        let server = auto::Builder::new(TokioExecutor::new()).http2_only();
                        // A client that breaks off is no concern of the server.
                        let _ = server.serve_connection(TokioIo::new(stream), service).await;
                    });
                }
            });
            Ok(())
        })?;
        let this = Self { hosted, reporter };
        this.set_serving(true)?;
        Ok(this)
    }

    /// Whether [`SERVICE`] serves from now on.
    ///
    /// # Errors
    /// If the server's thread has died.
    pub fn set_serving(&self, serving: bool) -> Result<()> {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        let reporter = self.reporter.clone();
        self.hosted.run(async move { reporter.set_service_status(SERVICE, status).await })
    }
}
