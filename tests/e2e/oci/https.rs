//! Registries that speak https: whom a command trusts is the machine's affair.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::*;

/// A way by https to a server that speaks http: `localhost:PORT`, and the certificate of who vouches for it.
async fn by_https(server: &str) -> (String, String) {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("localhost:{}", listener.local_addr().unwrap().port());
    let server = server.to_owned();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, server) = (acceptor.clone(), server.clone());
            tokio::spawn(async move {
                // Who does not trust it goes away.
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut server = TcpStream::connect(server).await.expect("the server listens");
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut server).await;
            });
        }
    });
    (host, authority.pem())
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_said_to_be_that() {
    let (registry, desk) = (OciRegistry::start().await, Desk::new());
    desk.pushed("1.0.0", &format!("{}/hello", registry.host)).await;
    let (host, certificate) = by_https(&registry.host).await;
    let words = ["pull", &format!("{host}/hello:1.0.0"), "--tls"];
    let ran = desk.nocti(&words).await.expect_error(1, &[&host, "certificate", "is not trusted", "SSL_CERT_FILE"]);
    assert!(!ran.err.contains("plain-http"), "that would show a password: {ran:?}");

    std::fs::write(desk.file("ca.pem"), certificate).unwrap();
    let mut command = desk.command(&words);
    command.env("SSL_CERT_FILE", desk.file("ca.pem"));
    run(command).await.expect(0);
    assert!(desk.read("hello-1.0.0.wasm") == desk.read("built-1.0.0.wasm"));
}
