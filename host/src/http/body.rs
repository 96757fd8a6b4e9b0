//! Bodies of requests and responses.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::EXPECT;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};

/// What a response's body fails with: the connection is then cut, since the head is out.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of every response.
pub type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

/// A body that is there already.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Why a request's body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("the body is larger than {limit_bytes} bytes (limits.body)")]
    TooLarge { limit_bytes: u64 },
    #[error("the body ended early or broke off")]
    Broken(#[source] BoxError),
}

/// How long a client may go on sending what was refused already.
const LINGER: Duration = Duration::from_secs(5);

/// The whole body, if it keeps within `limit_bytes`; refused before reading when it says it does not.
pub async fn collect(request: Request<Incoming>, limit_bytes: u64) -> Result<Bytes, BodyError> {
    let (head, mut body) = request.into_parts();
    let too_large = BodyError::TooLarge { limit_bytes };
    if body.size_hint().lower() > limit_bytes {
        // A client that waits for our leave to send has sent nothing yet.
        if !head.headers.contains_key(EXPECT) {
            linger(&mut body).await;
        }
        return Err(too_large);
    }
    let limit = usize::try_from(limit_bytes).unwrap_or(usize::MAX);
    match Limited::new(&mut body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            linger(&mut body).await;
            Err(too_large)
        }
        Err(error) => Err(BodyError::Broken(error)),
    }
}

/// Reads on for a while what nobody wants, before a refusal is sent: a connection that is closed while the client still
/// sends is reset, and the client never sees why.
pub async fn linger(body: &mut Incoming) {
    let _ = tokio::time::timeout(LINGER, async { while let Some(Ok(_)) = body.frame().await {} }).await;
}
