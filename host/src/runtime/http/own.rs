//! `wasi:http/incoming-handler@0.2`: one request an instance.
//!
//! A guest that has to wait for something runs in a task of its own, since it may go on after its response has begun. The task
//! ends with the guest, at the deadline, or when nobody wants the answer any more: the caller's future or the unfinished
//! response was dropped.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

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

use super::GRACE;
use crate::deadline::Deadline;
use crate::runtime::instance::Bound;
use crate::runtime::{Lease, RuntimeError};

/// The response's body, as the guest writes it.
pub(super) struct GuestBody {
    body: HyperOutgoingBody,
    guest: Guest,
    failure: Failure,
    /// All of it has been read.
    whole: bool,
}

/// Set by the guest's task, before the body ends, if the guest failed: the body alone does not show it.
type Failure = Arc<OnceLock<String>>;

/// Hands the request to the guest; the response's head comes back, its body streams. `held` is let go when the guest is
/// done.
pub(super) async fn handle<B, H>(
    mut lease: Lease,
    request: Request<B>,
    due: Deadline,
    held: H,
) -> Result<Response<GuestBody>, RuntimeError>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<HttpError>,
    H: Send + 'static,
{
    let (head, response) = oneshot::channel();
    let failure = Failure::default();
    let fails = Arc::clone(&failure);
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
        Ok(Ok(response)) => Ok(response.map(|body| GuestBody { body, guest, failure, whole: false })),
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

/// The guest's task. Dropping this ends it, but not at once.
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

impl Drop for GuestBody {
    fn drop(&mut self) {
        if self.whole || self.is_end_stream() {
            self.guest.0 = None;
        }
    }
}

impl GuestBody {
    /// The next frame; what goes wrong is told in words.
    pub(super) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        let frame = std::task::ready!(self.poll_guest_frame(context));
        Poll::Ready(match (frame, self.failure.get()) {
            (Some(Ok(frame)), _) => Some(Ok(frame)),
            (None, None) => {
                // The answer is complete; the guest may go on with what it still has to do.
                self.guest.0 = None;
                None
            }
            (_, Some(reason)) => Some(Err(reason.clone())),
            (Some(Err(error)), None) => Some(Err(format!("{error:?}"))),
        })
    }

    /// A guest that has returned writes no more, even if it keeps its unfinished body for ever.
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

    /// Nothing more will be asked for: the guest may go on with what it still has to do.
    pub(super) fn finish(&mut self) {
        self.whole = true;
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.body.is_end_stream() && self.failure.get().is_none()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
