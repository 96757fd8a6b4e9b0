//! Messages of a few words, which all are but those of inferences. Nothing is asked for before they are read, so that they may be
//! neither long nor long in coming.

use std::time::Duration;

use bytes::{Buf, Bytes};
use futures::stream;
use http::Request;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use tonic::codegen::StdError;

use super::respond::{self, GrpcError};
use crate::deadline::Deadline;

/// The most of a message: a name, a version, the names of parameters.
pub(super) const MAX_BYTES: usize = 64 << 10;

/// How long a client may take to send it.
const WITHIN: Duration = Duration::from_secs(30);

/// A request whose message breaks off when it has taken too long.
pub(super) fn request(
    request: Request<Incoming>,
) -> Request<impl Body<Data = Bytes, Error = StdError> + Send + 'static> {
    request.map(body)
}

fn body<B>(body: B) -> impl Body<Data = B::Data, Error = StdError> + Send + 'static
where
    B: Body<Data: Buf + Send, Error: Into<StdError>> + Send + Unpin + 'static,
{
    let until = Deadline::asked(WITHIN);
    let frames = stream::unfold(body, move |mut body| async move {
        let frame: Result<Frame<B::Data>, StdError> = match until.bound(body.frame()).await {
            Ok(frame) => frame?.map_err(Into::into),
            Err(_) => Err(respond::status(GrpcError::Stalled(WITHIN)).into()),
        };
        Some((frame, body))
    });
    StreamBody::new(frames)
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use tonic::{Code, Status};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_does_not_come_in_time_breaks_off() {
        let first = stream::iter([Ok::<_, StdError>(Frame::data(&b"half"[..]))]);
        let mut stalled = Box::pin(body(StreamBody::new(first.chain(stream::pending()))));
        let half = stalled.frame().await.expect("a frame").expect("it came");
        assert_eq!(half.into_data().expect("data"), b"half");
        let error = stalled.frame().await.expect("a frame").expect_err("it never comes");
        let status = error.downcast::<Status>().expect("a status");
        assert_eq!((status.code(), status.message()), (Code::DeadlineExceeded, "the message did not come within 30s"));
    }
}
