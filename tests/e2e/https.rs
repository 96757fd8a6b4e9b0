//! Functions that send requests by https: whom they trust is the machine's affair.

use std::sync::Arc;

use nocti_tests::{HostProcess, bundle_with, fixture_guest};
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::{get, post};

/// Somebody who vouches for servers.
fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server that `authority` calls localhost and that answers every request with `hello`: its port.
async fn server(authority: &CertifiedIssuer<'static, KeyPair>) -> u16 {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, authority).unwrap();
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Who does not trust it goes away.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") && stream.read_buf(&mut request).await.is_ok_and(|count| count > 0) {}
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
            let _ = stream.shutdown().await;
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_reaches_servers_that_the_machine_trusts_and_no_others() {
    let (trusted, stranger) = (authority(), authority());
    let (port, strange_port) = (server(&trusted).await, server(&stranger).await);
    let folder = TempDir::new().unwrap();
    let certificates = folder.path().join("certificates.pem");
    std::fs::write(&certificates, trusted.pem()).unwrap();
    let host =
        HostProcess::start(&folder.path().join("store"), &[("SSL_CERT_FILE", certificates.to_str().unwrap())]).await;
    let bundle = bundle_with(&fixture_guest("misbehave-http"), |project| {
        let allow = [
            format!("https://localhost:{port}"),
            format!("https://127.0.0.1:{port}"),
            format!("https://localhost:{strange_port}"),
        ];
        project.manifest.network.allow = allow.iter().map(|entry| entry.parse().unwrap()).collect();
    });
    assert_eq!(post(&host, "/api/functions", bundle).await.status, 201);
    for (url, outcome) in [
        (format!("https://localhost:{port}/"), "status 200\ncontent-length: 5\nhello"),
        // Its certificate does not speak of the address.
        (format!("https://127.0.0.1:{port}/"), "error: ErrorCode::TlsCertificateError"),
        (format!("https://localhost:{strange_port}/"), "error: ErrorCode::TlsCertificateError"),
    ] {
        let answer = get(&host, &format!("/functions/misbehave-http/fetch?url={url}")).await;
        assert_eq!(answer.text(), outcome, "{url}");
    }
}
