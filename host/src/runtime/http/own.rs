//! `wasi:http/incoming-handler@0.2`: one request an instance.
//!
//! A guest that has to wait for something runs in a task of its own, since it may go on after its response has begun. The task
//! ends with the guest, at the deadline, or when nobody wants the answer any more: the caller's future or the unfinished
//! response was dropped.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::FutureExt;
use http::{Request, Response};
use http_body::Body;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use wasmtime::component::Resource;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::types::HostResponseOutparam;
use wasmtime_wasi_http::{Error as HttpError, WasiBody, WasiHttpView};

use super::GRACE;
use crate::deadline::Deadline;
use crate::runtime::instance::Bound;
use crate::runtime::{Lease, RuntimeError};
use crate::trace;

/// The guest behind a response, and its task if it needs one. Dropping this ends it unless it was finished, but not at once.
pub(super) struct Guest {
    task: Option<JoinHandle<Result<(), RuntimeError>>>,
    failure: Failure,
    finished: bool,
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
) -> Result<(Response<WasiBody>, Guest), RuntimeError>
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
    let (task, outcome) = match futures::poll!(&mut running) {
        Poll::Ready(outcome) => (None, Some(outcome)),
        Poll::Pending => (Some(tokio::spawn(trace::carried(running))), None),
    };
    let mut guest = Guest { task, failure, finished: false };
    match response.await {
        Ok(Ok(response)) => Ok((response, guest)),
        Ok(Err(code)) => Err(RuntimeError::BadAnswer(format!("it answered with the error {code:?}"))),
        // The guest ended without an answer: its outcome says why.
        Err(_) => match (outcome, guest.task.take()) {
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
    head: oneshot::Sender<Result<Response<WasiBody>, ErrorCode>>,
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
    // Its place may be another thing's by now.
    let table = &mut instance.store.data_mut().table;
    if table.get(&Resource::<HostResponseOutparam>::new_borrow(outparam)).is_ok() {
        let _ = table.delete(Resource::<HostResponseOutparam>::new_own(outparam));
    }
    lease.finish();
    Ok(())
}

impl Guest {
    /// Why it failed, if it has.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.get().cloned()
    }

    /// Ready when it has returned: it writes no more, even if it keeps its unfinished body for ever.
    pub(super) fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(task) = &mut self.task {
            ready!(Pin::new(task).poll(context)).ok();
            self.task = None;
        }
        Poll::Ready(())
    }

    /// Nothing more will be asked for: it may go on with what it still has to do.
    pub(super) fn finish(&mut self) {
        self.finished = true;
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let Some(mut task) = self.task.take().filter(|_| !self.finished) else { return };
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
