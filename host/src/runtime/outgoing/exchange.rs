//! One request and its response over one connection.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::FusedFuture;
use http::Request;
use http::uri::{PathAndQuery, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::Sleep;
use wasmtime_wasi_http::{Error as HttpError, WasiBody};

use super::connect::Stream;
use super::{Place, Sent, Times};

/// Sends the request; the response's head comes back with a future that moves the bytes of both bodies.
pub(super) async fn exchange(
    stream: Box<dyn Stream>,
    mut request: Request<WasiBody>,
    times: Times,
    place: Place,
) -> Result<Sent, HttpError> {
    // Scheme and authority would be for a proxy.
    *request.uri_mut() = path(request.uri())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
    let mut connection = Box::pin(connection.fuse());
    let response = tokio::time::timeout(times.first_byte, async {
        let mut response = pin!(sender.send_request(request));
        loop {
            tokio::select! {
                biased;
                response = &mut response => break response,
                // It may have ended after the response's last byte.
                ended = &mut connection, if !connection.is_terminated() => ended?,
            }
        }
    });
    let response = response.await.map_err(|_| HttpError::ConnectionReadTimeout)?.map_err(|error| failed(&error))?;
    if response.status().is_informational() {
        // Another protocol would follow, which nobody asked for.
        return Err(HttpError::HttpProtocolError);
    }
    let place = Arc::new(place);
    let held = Arc::clone(&place);
    let body = |incoming| ResponseBody { incoming, times, silence: None, _place: place }.boxed_unsync();
    let moving = async move {
        let _held = held;
        if connection.is_terminated() { Ok(()) } else { connection.await.map_err(|error| failed(&error)) }
    };
    Ok((response.map(body), Box::new(moving)))
}

fn path(uri: &Uri) -> Result<Uri, HttpError> {
    // Displayed, it begins with a slash also where the guest gave a query alone.
    let path = uri.path_and_query().map_or_else(|| "/".to_owned(), PathAndQuery::to_string);
    path.parse().map_err(|_| HttpError::HttpRequestUriInvalid)
}

/// What went wrong, in the words that guests know.
fn failed(error: &hyper::Error) -> HttpError {
    if error.is_timeout() {
        HttpError::ConnectionTimeout
    } else if error.is_incomplete_message() {
        HttpError::HttpResponseIncomplete
    } else if error.is_parse_too_large() {
        HttpError::HttpResponseHeaderSectionSize(None)
    } else if error.is_closed() || error.is_canceled() || error.is_body_write_aborted() {
        HttpError::ConnectionTerminated
    } else {
        HttpError::HttpProtocolError
    }
}

/// A response's body, which must not pause for too long. Its connection ends with it.
struct ResponseBody {
    incoming: Incoming,
    times: Times,
    /// Runs while the next frame is awaited.
    silence: Option<Pin<Box<Sleep>>>,
    _place: Arc<Place>,
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(context) {
            self.silence = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(|error| failed(&error))));
        }
        let between_bytes = self.times.between_bytes;
        let silence = self.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep(between_bytes)));
        std::task::ready!(silence.as_mut().poll(context));
        Poll::Ready(Some(Err(HttpError::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
