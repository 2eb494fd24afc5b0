//! TLS of checks: who is trusted, and that every check sees the server prove itself anew.

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc};

use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        self, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
        client::{
            Resumption,
            danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        },
        crypto::{CryptoProvider, ring},
        pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    },
};

use super::ProbeError;
use crate::{
    config::{Probe, Target, Tls},
    decide::MissReason,
};

/// What is spoken over TLS, and offered by ALPN (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// The client's side, once for each way of proving.
#[derive(Debug)]
pub(super) struct Clients {
    /// For HTTP/1.1 and for HTTP/2.
    configs: BTreeMap<Tls, [Arc<ClientConfig>; 2]>,
}

impl Clients {
    /// Those that `targets` need.
    pub(super) fn new(targets: &[Target]) -> Result<Self, ProbeError> {
        let wanted = targets.iter().filter_map(|target| match &target.health.probe {
            Probe::Http(http) => http.tls.as_ref(),
            Probe::Grpc(grpc) => grpc.tls.as_ref(),
            _ => None,
        });
        let mut clients = Self { configs: BTreeMap::new() };
        for tls in wanted {
            if !clients.configs.contains_key(tls) {
                clients.configs.insert(tls.clone(), configs(tls)?);
            }
        }
        Ok(clients)
    }

    /// Shakes hands over a connection with the server of that name. Whatever fails is `Tls`, also
    /// if the server hangs up before it is done.
    pub(super) async fn shake(
        &self,
        stream: TcpStream,
        (tls, protocol): (&Tls, Protocol),
        name: ServerName<'static>,
    ) -> Result<TlsStream<TcpStream>, MissReason> {
        // A target that this was not made ready for.
        let configs = self.configs.get(tls).ok_or(MissReason::Local)?;
        let config = Arc::clone(&configs[protocol as usize]);
        let stream = TlsConnector::from(config).connect(name, stream).await;
        let stream = stream.map_err(|_| MissReason::Tls)?;
        // Without ALPN a server has not said that it speaks HTTP/2 (RFC 9113, 3.2).
        match protocol {
            Protocol::Http2 if stream.get_ref().1.alpn_protocol() != Some(b"h2") => {
                Err(MissReason::Tls)
            }
            _ => Ok(stream),
        }
    }
}

/// The name that a server must prove: the host without its port, else the address that is asked.
pub(super) fn name(host: Option<&str>, at: SocketAddr) -> Result<ServerName<'static>, ProbeError> {
    let Some(host) = host else { return Ok(at.ip().into()) };
    let wrong = || ProbeError::ServerName(host.to_owned());
    let authority: hyper::http::uri::Authority = host.parse().map_err(|_| wrong())?;
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(name.to_owned()).map_err(|_| wrong())
}

/// Whether an error of a connection is one of TLS.
pub(super) fn is_at_fault(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

fn configs(tls: &Tls) -> Result<[Arc<ClientConfig>; 2], ProbeError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().map_err(ProbeError::Tls)?;
    let builder = match tls.verify {
        true => builder.with_root_certificates(trusted(tls.ca.as_deref())?),
        false => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider))),
    };
    let mut config = builder.with_no_client_auth();
    // A resumed session shows no certificate: that it has expired would not be seen.
    config.resumption = Resumption::disabled();
    Ok([&b"http/1.1"[..], b"h2"].map(|protocol| {
        let mut config = config.clone();
        config.alpn_protocols = vec![protocol.to_vec()];
        Arc::new(config)
    }))
}

fn trusted(ca: Option<&[u8]>) -> Result<RootCertStore, ProbeError> {
    let mut roots = RootCertStore::empty();
    if let Some(pem) = ca {
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|e| ProbeError::Authorities(e.to_string()))?;
            roots.add(certificate).map_err(|e| ProbeError::Authorities(e.to_string()))?;
        }
        let none = || ProbeError::Authorities("there is none".into());
        return if roots.is_empty() { Err(none()) } else { Ok(roots) };
    }
    let found = rustls_native_certs::load_native_certs();
    // Hosts have old and odd ones among theirs; what cannot be used is trusted by nobody.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.iter().map(|error| format!(" ({error})"));
        return Err(ProbeError::NoAuthorities(why.collect()));
    }
    Ok(roots)
}

/// `verify = false`: anybody may be the server.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
