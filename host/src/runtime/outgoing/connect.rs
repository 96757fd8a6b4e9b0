//! From an origin to a stream of bytes: name, address, connection, TLS.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OnceCell, Semaphore};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};
use wasmtime_wasi_http::Error as HttpError;

use super::address::may_lead_to;
use crate::destination::{Host, Origin, Scheme};

/// A connection to a server, encrypted or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Questions to the system's resolver at once; each has a thread.
pub(super) const ALL_LOOKUPS: usize = 32;

/// `lookups` are those that this origin's asker may have at once.
pub(super) async fn connect(origin: &Origin, lookups: &Arc<Semaphore>) -> Result<Box<dyn Stream>, HttpError> {
    let stream = reach(&addresses(origin, lookups).await?).await?;
    // What is sent is written whole; waiting to fill a packet only delays it.
    let _ = stream.set_nodelay(true);
    match origin.scheme {
        Scheme::Http => Ok(Box::new(stream)),
        Scheme::Https => {
            let connector = TlsConnector::from(tls().await?);
            let stream = connector.connect(server_name(&origin.host)?, stream).await;
            Ok(Box::new(stream.map_err(|error| tls_error(&error))?))
        }
    }
}

/// The addresses to try, in the resolver's order. Those that are connected to are those that were checked.
async fn addresses(origin: &Origin, lookups: &Arc<Semaphore>) -> Result<Vec<SocketAddr>, HttpError> {
    let name = match &origin.host {
        Host::Address(address) => return Ok(vec![SocketAddr::new(*address, origin.port)]),
        Host::Name(name) => name.as_str(),
    };
    let found = look_up(name.to_owned(), origin.port, lookups).await?;
    if found.is_empty() {
        return Err(HttpError::DestinationNotFound);
    }
    let permitted: Vec<_> = found.into_iter().filter(|address| may_lead_to(name, address.ip())).collect();
    if permitted.is_empty() { Err(HttpError::DestinationIpProhibited) } else { Ok(permitted) }
}

/// Asks the system's resolver. It cannot be stopped, so what it has begun counts until it is done, also where nobody waits any more.
async fn look_up(name: String, port: u16, lookups: &Arc<Semaphore>) -> Result<Vec<SocketAddr>, HttpError> {
    static LOOKUPS: Semaphore = Semaphore::const_new(ALL_LOOKUPS);
    let unknown = || HttpError::DnsError { rcode: None, info_code: None };
    // Its own first: who waits for these is not to keep one of all from others.
    let own = Arc::clone(lookups).acquire_owned().await.map_err(|_| unknown())?;
    let place = LOOKUPS.acquire().await.map_err(|_| unknown())?;
    let found = tokio::task::spawn_blocking(move || {
        let _places = (own, place);
        (name.as_str(), port).to_socket_addrs().map(Vec::from_iter)
    });
    found.await.map_err(|_| unknown())?.map_err(|_| unknown())
}

/// The first that can be connected to.
async fn reach(addresses: &[SocketAddr]) -> Result<TcpStream, HttpError> {
    TcpStream::connect(addresses).await.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => HttpError::ConnectionRefused,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => HttpError::DestinationIpUnroutable,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => HttpError::ConnectionTerminated,
        io::ErrorKind::TimedOut => HttpError::ConnectionTimeout,
        _ => HttpError::DestinationUnavailable,
    })
}

fn server_name(host: &Host) -> Result<ServerName<'static>, HttpError> {
    match host {
        Host::Address(address) => Ok(ServerName::IpAddress((*address).into())),
        Host::Name(name) => ServerName::try_from(name.clone()).map_err(|_| HttpError::HttpRequestUriInvalid),
    }
}

/// How all functions verify servers: by the certificates that this machine trusts, read once.
async fn tls() -> Result<Arc<ClientConfig>, HttpError> {
    static CONFIG: OnceCell<Option<Arc<ClientConfig>>> = OnceCell::const_new();
    let made = CONFIG.get_or_init(|| async {
        // Files are read, which may block.
        let trusted = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await.ok()?;
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(trusted.certs);
        if added == 0 {
            tracing::warn!(
                errors = ?trusted.errors,
                "functions cannot use https: this machine trusts no certificates; install its package of CA certificates or set \
                 SSL_CERT_FILE"
            );
            return None;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        Some(Arc::new(config.ok()?.with_root_certificates(roots).with_no_client_auth()))
    });
    made.await.clone().ok_or(HttpError::ConfigurationError)
}

fn tls_error(error: &io::Error) -> HttpError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            HttpError::TlsCertificateError
        }
        Some(rustls::Error::AlertReceived(alert)) => {
            HttpError::TlsAlertReceived { alert_id: Some((*alert).into()), alert_message: Some(format!("{alert:?}")) }
        }
        Some(_) => HttpError::TlsProtocolError,
        None => HttpError::ConnectionTerminated,
    }
}
