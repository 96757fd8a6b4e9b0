//! Why a registry did not do what was asked.

use std::error::Error;
use std::io;

use oci_client::errors::{OciDistributionError, OciEnvelope, OciErrorCode};
use reqwest::StatusCode;
use tokio_rustls::rustls::{self, CertificateError};

use crate::registry::excerpt::excerpt;

/// What a registry said no to, or that it said nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("no registry answers at {0}")]
    Gone(String),
    #[error("no registry answers at {0} by https (one that speaks http alone is asked with --plain-http)")]
    NoHttps(String, #[source] reqwest::Error),
    #[error("the certificate of {0} is not trusted: {1}; SSL_CERT_FILE names a file with your CA's")]
    Untrusted(String, String),
    #[error("the connection to {0} broke off")]
    Broken(String, #[source] reqwest::Error),
    #[error("{0} wants to know who asks: `docker login {0}`, or --username and --password-stdin")]
    Stranger(String),
    #[error("{0} does not accept this user name and password")]
    NotAccepted(String),
    #[error("{0} does not allow this")]
    Forbidden(String),
    #[error("{0} does not have it")]
    NotFound(String),
    #[error("{host} refused it: {message}")]
    Other { host: String, message: String },
}

/// Who asks whom.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) host: String,
    pub(super) is_plain: bool,
    pub(super) is_anonymous: bool,
}

impl Asked {
    pub(super) fn refused(&self, error: OciDistributionError) -> Refusal {
        match error {
            OciDistributionError::RequestError(error) => self.unanswered(error),
            OciDistributionError::UnauthorizedError { .. } | OciDistributionError::AuthenticationFailure(_) => {
                self.by_status(StatusCode::UNAUTHORIZED, "")
            }
            OciDistributionError::ImageManifestNotFoundError(_) => self.by_status(StatusCode::NOT_FOUND, ""),
            OciDistributionError::ServerError { code, message, .. } => {
                self.by_status(StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_GATEWAY), &message)
            }
            OciDistributionError::RegistryError { envelope, .. } => self.by_code(&envelope),
            other => self.other(&other.to_string()),
        }
    }

    pub(super) fn unanswered(&self, error: reqwest::Error) -> Refusal {
        let (host, status) = (self.host.clone(), error.status());
        // Who speaks https must not be asked by http instead, which would show the password to anybody between.
        let is_https = match of_tls(&error) {
            Some(rustls::Error::InvalidCertificate(why)) => return Refusal::Untrusted(host, reason(why)),
            // What comes is no TLS.
            Some(rustls::Error::InvalidMessage(_)) | None => false,
            Some(_) => true,
        };
        // The host is in the text already.
        let error = error.without_url();
        match (status, error.is_connect()) {
            (Some(status), _) => self.by_status(status, ""),
            (None, true) if is_https => Refusal::Broken(host, error),
            (None, true) if self.is_plain => Refusal::Gone(host),
            (None, true) => Refusal::NoHttps(host, error),
            (None, false) => Refusal::Broken(host, error),
        }
    }

    pub(super) fn by_status(&self, status: StatusCode, message: &str) -> Refusal {
        let host = self.host.clone();
        match status {
            StatusCode::UNAUTHORIZED if self.is_anonymous => Refusal::Stranger(host),
            StatusCode::UNAUTHORIZED => Refusal::NotAccepted(host),
            StatusCode::FORBIDDEN => Refusal::Forbidden(host),
            StatusCode::NOT_FOUND => Refusal::NotFound(host),
            // What registries in Go say, and nginx before them.
            StatusCode::BAD_REQUEST
                if self.is_plain && (message.contains("to an HTTPS server") || message.contains("to HTTPS port")) =>
            {
                self.other("it speaks https; leave out --plain-http, and ask one on this machine with --tls")
            }
            _ => match serde_json::from_str::<OciEnvelope>(message) {
                Ok(envelope) => self.by_code(&envelope),
                Err(_) => self.other(&format!("HTTP {status} {message}")),
            },
        }
    }

    fn by_code(&self, envelope: &OciEnvelope) -> Refusal {
        let Some(error) = envelope.errors.first() else { return self.other("it does not say why") };
        match &error.code {
            OciErrorCode::Unauthorized => self.by_status(StatusCode::UNAUTHORIZED, ""),
            OciErrorCode::Denied => self.by_status(StatusCode::FORBIDDEN, ""),
            OciErrorCode::NotFound
            | OciErrorCode::NameUnknown
            | OciErrorCode::ManifestUnknown
            | OciErrorCode::BlobUnknown => self.by_status(StatusCode::NOT_FOUND, ""),
            _ => self.other(&error.message),
        }
    }

    fn other(&self, message: &str) -> Refusal {
        Refusal::Other { host: self.host.clone(), message: excerpt(message.trim()) }
    }
}

/// What TLS says about it, if it came to that.
fn of_tls(error: &reqwest::Error) -> Option<&rustls::Error> {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        // As its source, an I/O error names what is behind the error that it carries.
        let carried = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = carried.map(|carried| carried as &(dyn Error + 'static)).or_else(|| error.source());
    }
    None
}

fn reason(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => "nobody whom this machine trusts vouches for it".to_owned(),
        why => excerpt(&why.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_say_what_to_do() {
        let asked = |is_anonymous| Asked { host: "r.example.org".into(), is_plain: false, is_anonymous };
        let server = |code, message: &str| {
            let (url, message) = ("https://r.example.org/v2/x".into(), message.into());
            OciDistributionError::ServerError { url, code, message }
        };
        assert!(asked(true).refused(server(401, "")).to_string().contains("`docker login r.example.org`"));
        let known = asked(false);
        assert_eq!(
            known.refused(server(401, "")).to_string(),
            "r.example.org does not accept this user name and password"
        );
        assert!(matches!(known.refused(server(404, "")), Refusal::NotFound(_)));
        let denied = r#"{"errors": [{"code": "DENIED", "message": "no"}]}"#;
        assert!(matches!(known.refused(server(400, denied)), Refusal::Forbidden(_)));
        let said = known.refused(server(500, "disk\u{1b} full")).to_string();
        assert_eq!(said, "r.example.org refused it: HTTP 500 Internal Server Error disk\\u{1b} full");
        let plain = Asked { is_plain: true, ..known };
        let https = server(400, "Client sent an HTTP request to an HTTPS server.\n");
        assert!(plain.refused(https).to_string().contains("--tls"));
    }
}
