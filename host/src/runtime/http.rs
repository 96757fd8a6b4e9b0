//! Calls into http functions: `wasi:http/incoming-handler@0.2`.
//!
//! A guest that has to wait for something runs in a task of its own, since it may go on after its response has begun. The task
//! ends with the guest, at the deadline, or when nobody wants the answer any more: the caller's future or the unfinished
//! response was dropped.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;
use wasmtime::component::Resource;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::p2::types::HostResponseOutparam;
use wasmtime_wasi_http::{Error as HttpError, WasiHttpView};

use super::instance::Bound;
use super::{Lease, RuntimeError};
use crate::deadline::Deadline;

/// The response's body, as the guest writes it. Ends the guest when it is dropped before its end.
pub struct ResponseBody {
    /// `name@version`, for the log.
    function: Arc<str>,
    body: HyperOutgoingBody,
    guest: Guest,
    failure: Failure,
}

/// Set by the guest's task, before the body ends, if the guest failed: the body alone does not show it.
type Failure = Arc<OnceLock<String>>;

/// Why a response breaks off after its head.
#[derive(Debug, thiserror::Error)]
#[error("the function's response broke off: {0}")]
pub struct BrokenOff(String);

/// What a guest has left when nobody wants its answer any more.
const GRACE: Duration = Duration::from_secs(1);

/// Hands the request to the guest; the response's head comes back, its body streams. `held` is let go when the guest is
/// done.
pub async fn handle<B, H>(
    mut lease: Lease,
    request: Request<B>,
    due: Deadline,
    held: H,
) -> Result<Response<ResponseBody>, RuntimeError>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<HttpError>,
    H: Send + 'static,
{
    let (head, response) = oneshot::channel();
    let failure = Failure::default();
    let fails = Arc::clone(&failure);
    let function = lease.function();
    let mut running = Box::pin(async move {
        let run = AssertUnwindSafe(due.bound(run(&mut lease, request, head))).catch_unwind().await;
        let outcome = match run {
            Ok(outcome) => outcome.map_err(RuntimeError::from).flatten(),
            Err(_) => Err(RuntimeError::Host("a call panicked".into())),
        };
        if let Err(error) = &outcome {
            let _ = fails.set(error.to_string());
        }
        // In this order: a body that ends finds the failure, and whoever waits for a permit a warm instance.
        drop(lease);
        drop(held);
        outcome
    });
    // Most guests are done before they wait for anything: they need no task.
    let (mut guest, outcome) = match futures::poll!(&mut running) {
        Poll::Ready(outcome) => (Guest(None), Some(outcome)),
        Poll::Pending => (Guest(Some(tokio::spawn(running))), None),
    };
    match response.await {
        Ok(Ok(response)) if response.status().is_informational() => {
            Err(RuntimeError::BadAnswer(format!("it answered with status {}", response.status().as_u16())))
        }
        Ok(Ok(response)) => Ok(response.map(|body| ResponseBody { function, body, guest, failure })),
        Ok(Err(code)) => Err(RuntimeError::BadAnswer(format!("it answered with the error {code:?}"))),
        // The guest ended without an answer: its outcome says why.
        Err(_) => match (outcome, guest.0.take()) {
            (Some(outcome), _) => outcome,
            (None, Some(task)) => {
                task.await.map_err(|error| RuntimeError::Host(format!("the guest's task: {error}")))?
            }
            (None, None) => Err(RuntimeError::Host("the guest's task is gone".into())),
        }
        .and_then(|()| Err(RuntimeError::BadAnswer("it ended without setting a response".into()))),
    }
}

async fn run<B>(
    lease: &mut Lease,
    request: Request<B>,
    head: oneshot::Sender<Result<Response<HyperOutgoingBody>, ErrorCode>>,
) -> Result<(), RuntimeError>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<HttpError>,
{
    let instance = lease.begin();
    let bound = std::sync::Arc::clone(&instance.bound);
    let Bound::Http(proxy) = &*bound else {
        return Err(RuntimeError::Host("an http call reached another kind of function".into()));
    };
    let refused = |error: wasmtime::Error| RuntimeError::InvalidInput(error.to_string());
    let request = instance.store.data_mut().http().new_incoming_request(Scheme::Http, request).map_err(refused)?;
    let out = instance.store.data_mut().http().new_response_outparam(head).map_err(refused)?;
    let outparam = out.rep();
    let called = proxy.wasi_http_incoming_handler().call_handle(&mut instance.store, request, out).await;
    if let Err(error) = called {
        return Err(instance.trap(error));
    }
    // A guest that kept it has not answered, and the caller must not wait for the instance's next request.
    let _ = instance.store.data_mut().table.delete(Resource::<HostResponseOutparam>::new_own(outparam));
    lease.finish();
    Ok(())
}

/// The guest's task. Dropping this ends it, but not at once: the last byte of an answer is often read before the guest
/// has returned, and it would be a pity about the instance.
struct Guest(Option<tokio::task::JoinHandle<Result<(), RuntimeError>>>);

impl Drop for Guest {
    fn drop(&mut self) {
        let Some(mut task) = self.0.take() else { return };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move {
                if tokio::time::timeout(GRACE, &mut task).await.is_err() {
                    task.abort();
                }
            })),
            Err(_) => task.abort(),
        }
    }
}

impl ResponseBody {
    /// The next frame. A guest that has returned writes no more, even if it keeps its unfinished body for ever.
    fn poll_guest_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        if let Some(task) = &mut self.guest.0 {
            std::task::ready!(Pin::new(task).poll(context)).ok();
            self.guest.0 = None;
        }
        // Once more: it may have written just before it returned.
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(frame) => Poll::Ready(frame),
            Poll::Pending => {
                let _ = self.failure.set("it ended without finishing its response".into());
                Poll::Ready(None)
            }
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let frame = std::task::ready!(self.poll_guest_frame(context));
        let broken = match (frame, self.failure.get()) {
            (Some(Ok(frame)), _) => return Poll::Ready(Some(Ok(frame))),
            (None, None) => {
                // The answer is complete; the guest may go on with what it still has to do.
                self.guest.0 = None;
                return Poll::Ready(None);
            }
            (_, Some(reason)) => reason.clone(),
            (Some(Err(error)), None) => format!("{error:?}"),
        };
        // The head is out, so this is the only place where it can be said.
        tracing::warn!(function = &*self.function, reason = broken, "a response broke off after its head");
        Poll::Ready(Some(Err(BrokenOff(broken))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream() && self.failure.get().is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
