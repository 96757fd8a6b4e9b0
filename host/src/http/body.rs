//! Bodies of requests and responses.

use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, EXPECT};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Frame, Incoming};

mod counted;
mod frames;
mod receive;

pub use counted::Counted;

use frames::Frames;
pub(super) use receive::Received;

/// What a response's body fails with: the connection is then cut, since the head is out.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of every response.
pub type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

/// A body that is there already.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body that is there already in several buffers, which are not put together.
pub fn of_buffers(buffers: impl IntoIterator<Item = Bytes>) -> Body {
    Frames::new(buffers).boxed_unsync()
}

/// The answer to HEAD: what the head says of the body, without it.
pub fn without(mut response: Response<Body>) -> Response<Body> {
    if let Some(length) = response.body().size_hint().exact() {
        response.headers_mut().entry(CONTENT_LENGTH).or_insert_with(|| length.into());
    }
    response.map(|_| full(Bytes::new()))
}

/// Why a request's body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("the body is larger than {limit_bytes} bytes (limits.body)")]
    TooLarge { limit_bytes: u64 },
    #[error("the body is larger than {limit_bytes} bytes, the most that is read here")]
    TooLargeHere { limit_bytes: u64 },
    #[error("nothing of the body came for {} s", STALL.as_secs())]
    Stalled,
    #[error("the body did not come within {seconds} s")]
    Late { seconds: u64 },
    #[error("the body ended early or broke off")]
    Broken(#[source] BoxError),
    #[error("the body is not what its content-encoding, {encoding}, says: {reason}")]
    Corrupt { encoding: &'static str, reason: std::io::Error },
}

/// How long a client may pause while it sends a body.
const STALL: Duration = Duration::from_secs(30);

/// How long a client may go on sending what was refused already.
const LINGER: Duration = Duration::from_secs(5);

/// The whole body, if it keeps within `limit_bytes`; refused before reading when it says it does not. The byte at
/// `aligned_at` lies on a boundary that suits every element type.
pub async fn collect(mut request: Request<Incoming>, limit_bytes: u64, aligned_at: usize) -> Result<Bytes, BodyError> {
    let too_large = BodyError::TooLarge { limit_bytes };
    if request.body().size_hint().lower() > limit_bytes {
        return refused(&mut request, Err(too_large)).await;
    }
    let mut body = request.into_body();
    // What it declares is within the limit.
    let mut received = Received::new(usize::try_from(body.size_hint().lower()).unwrap_or(0), aligned_at);
    while let Some(frame) = next(&mut body).await? {
        let Ok(data) = frame.map_err(|error| BodyError::Broken(error.into()))?.into_data() else { continue };
        if (received.len() + data.len()) as u64 > limit_bytes {
            linger(&mut body).await;
            return Err(too_large);
        }
        received.put(&data);
    }
    Ok(received.finish())
}

/// The next frame. One that is there already needs no timer.
pub(crate) async fn next(body: &mut Incoming) -> Result<Option<Result<Frame<Bytes>, hyper::Error>>, BodyError> {
    let mut frame = body.frame();
    match futures::poll!(&mut frame) {
        Poll::Ready(frame) => Ok(frame),
        Poll::Pending => tokio::time::timeout(STALL, frame).await.map_err(|_| BodyError::Stalled),
    }
}

/// What was found before the body was read; a refusal goes out only when the client has had time to send it.
pub async fn refused<T, E>(request: &mut Request<Incoming>, found: Result<T, E>) -> Result<T, E> {
    // A client that waits for our leave to send has sent nothing yet.
    if found.is_err() && !request.headers().contains_key(EXPECT) {
        linger(request.body_mut()).await;
    }
    found
}

/// Reads on for a while what nobody wants, before a refusal is sent: a connection that is closed while the client still
/// sends is reset, and the client never sees why.
pub async fn linger(body: &mut Incoming) {
    let _ = tokio::time::timeout(LINGER, async { while let Some(Ok(_)) = body.frame().await {} }).await;
}
