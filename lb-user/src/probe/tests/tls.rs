//! TLS: who proves what to whom.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivatePkcs8KeyDer, version},
};

use super::{
    grpc::{self, Said},
    http::plain,
    *,
};
use crate::config::{Grpc, Http, Tls};

const NAME: &str = "www.example.org";

pub(super) fn https(verify: bool, ca: Option<&Ca>, host: Option<&str>) -> Probe {
    let tls = Some(Tls { verify, ca: ca.map(|ca| ca.pem.as_bytes().into()) });
    Probe::Http(Http { tls, host: host.map(Into::into), ..plain() })
}

pub(super) fn grpcs(verify: bool, ca: Option<&Ca>, host: Option<&str>) -> Probe {
    let tls = Some(Tls { verify, ca: ca.map(|ca| ca.pem.as_bytes().into()) });
    Probe::Grpc(Grpc { service: String::new(), host: host.map(Into::into), tls })
}

/// An authority.
pub(super) struct Ca {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new([]).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A server's side, with a certificate for the names that ends in that year.
    fn server(&self, names: &[&str], year: i32, alpn: &[&[u8]]) -> ServerConfig {
        let key = KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(|&name| name.into()).collect();
        let mut params = CertificateParams::new(names).expect("parameters");
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let provider = ring::default_provider().into();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS12, &version::TLS13])
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a certificate and its key");
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        config
    }
}

/// A server that answers every request by HTTP with 200, and which handshakes had a name.
async fn serve(config: ServerConfig) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                // A second session would be a resumed one, whose certificate nobody has seen.
                let said = match stream.get_ref().1.handshake_kind() {
                    Some(tokio_rustls::rustls::HandshakeKind::Resumed) => "409 Resumed",
                    _ => "200 OK",
                };
                let read = stream.read(&mut [0; 4096]).await;
                if read.is_ok_and(|length| length > 0) {
                    let answer = format!("HTTP/1.1 {said}\r\ncontent-length: 0\r\n\r\n");
                    let _ = stream.write_all(answer.as_bytes()).await;
                    let _ = stream.read(&mut [0; 4096]).await;
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_server_proves_who_it_is() {
    let (ca, other) = (Ca::new(), Ca::new());
    let tls = Miss(MissReason::Tls);
    let good = serve(ca.server(&[NAME], 2200, &[])).await;
    let host = Some(NAME);
    assert_eq!(check(&target(https(true, Some(&ca), host), good)).await, Hit);
    let port = Some("www.example.org:8443");
    assert_eq!(check(&target(https(true, Some(&ca), port), good)).await, Hit, "with a port");
    assert_eq!(check(&target(https(true, Some(&other), host), good)).await, tls, "unknown");
    let name = Some("example.org");
    assert_eq!(check(&target(https(true, Some(&ca), name), good)).await, tls, "another name");
    assert_eq!(check(&target(https(true, Some(&ca), None), good)).await, tls, "by address");
    let by_address = serve(ca.server(&["127.0.0.1"], 2200, &[b"http/1.1"])).await;
    assert_eq!(check(&target(https(true, Some(&ca), None), by_address)).await, Hit);
    let expired = serve(ca.server(&[NAME], 2020, &[])).await;
    assert_eq!(check(&target(https(true, Some(&ca), host), expired)).await, tls, "expired");
}

#[tokio::test]
async fn nothing_need_be_proved_without_verification() {
    let ca = Ca::new();
    for config in [ca.server(&[NAME], 2200, &[]), ca.server(&["x.example"], 2020, &[])] {
        let at = serve(config).await;
        assert_eq!(check(&target(https(false, None, Some(NAME)), at)).await, Hit);
        assert_eq!(check(&target(https(false, None, None), at)).await, Hit, "by address");
    }
}

#[tokio::test]
async fn every_check_sees_the_certificate() {
    let ca = Ca::new();
    let at = serve(ca.server(&[NAME], 2200, &[])).await;
    let target = target(https(true, Some(&ca), Some(NAME)), at);
    let prober = Prober::new(std::slice::from_ref(&target)).expect("a prober");
    for _ in 0..3 {
        assert_eq!(prober.check(&target).await, Hit);
    }
}

#[tokio::test]
async fn what_is_no_tls_fails() {
    let said = "HTTP/1.1 400 Bad Request\r\n\r\n";
    let plain = server(vec![answer(said), Act::Close]).await;
    let tls = Miss(MissReason::Tls);
    assert_eq!(check(&target(https(false, None, None), plain)).await, tls);
    let closes = server(vec![answer(""), Act::Close]).await;
    assert_eq!(check(&target(https(false, None, None), closes)).await, tls);
    let resets = server(vec![answer(""), Act::Reset]).await;
    assert_eq!(check(&target(https(false, None, None), resets)).await, tls);
    let hangs = server(vec![Act::Hang]).await;
    let outcome = check(&hasty(target(https(false, None, None), hangs))).await;
    assert_eq!(outcome, Miss(MissReason::Timeout));
}

#[tokio::test]
async fn grpc_over_tls_speaks_http_2() {
    let ca = Ca::new();
    let with = |alpn: &[&[u8]]| Some(TlsAcceptor::from(Arc::new(ca.server(&[NAME], 2200, alpn))));
    let serving = grpc::serve(Said::Health, with(&[b"h2"])).await;
    let probe = grpcs(true, Some(&ca), Some(NAME));
    assert_eq!(check(&target(probe.clone(), serving)).await, Hit);
    let wrong = grpcs(true, Some(&ca), Some("example.org"));
    assert_eq!(check(&target(wrong, serving)).await, Miss(MissReason::Tls));
    for alpn in [&[][..], &[&b"http/1.1"[..]]] {
        let other = grpc::serve(Said::Health, with(alpn)).await;
        assert_eq!(check(&target(probe.clone(), other)).await, Miss(MissReason::Tls), "{alpn:?}");
    }
}

#[test]
fn what_cannot_be_trusted_is_refused_beforehand() {
    let at = "127.0.0.1:443".parse().expect("an address");
    let with = |ca: &str, host: Option<&str>| {
        let tls = Some(Tls { verify: true, ca: Some(ca.as_bytes().into()) });
        let http = Http { tls, host: host.map(Into::into), ..plain() };
        Prober::new(&[target(Probe::Http(http), at)])
    };
    assert!(matches!(with("", None), Err(ProbeError::Authorities(_))));
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(with(broken, None), Err(ProbeError::Authorities(_))));
    let name = with(&Ca::new().pem, Some("under_score-.example"));
    assert!(matches!(name, Err(ProbeError::ServerName(_))), "{name:?}");
}
