//! Calls into http functions: `wasi:http/incoming-handler@0.2`.
//!
//! The guest runs in a task of its own, since it may go on after its response has begun. Until the response's head is
//! there, dropping the caller's future ends the task; afterwards it ends with the guest, or at the deadline.

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tokio::sync::oneshot;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::{Error as HttpError, WasiHttpView};

use super::instance::Bound;
use super::{Lease, RuntimeError};
use crate::deadline::Deadline;

/// The response's body, as the guest writes it.
pub type ResponseBody = HyperOutgoingBody;

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
    let task = tokio::spawn(async move {
        let outcome = due.bound(run(&mut lease, request, head)).await.map_err(RuntimeError::from).flatten();
        if let Err(error) = &outcome {
            tracing::debug!(function = lease.function(), %error, "the guest ended in failure");
        }
        // In this order: whoever waits for a permit finds a warm instance.
        drop(lease);
        drop(held);
        outcome
    });
    let mut guest = AbortOnDrop(Some(task));
    match response.await {
        Ok(response) => {
            guest.0 = None;
            response.map_err(|code| RuntimeError::BadAnswer(format!("it answered with the error {code:?}")))
        }
        // The guest ended without an answer: its outcome says why.
        Err(_) => match guest.0.take() {
            Some(task) => match task.await {
                Ok(Err(error)) => Err(error),
                Ok(Ok(())) => Err(RuntimeError::BadAnswer("it ended without setting a response".into())),
                Err(error) => Err(RuntimeError::Host(format!("the guest's task: {error}"))),
            },
            None => Err(RuntimeError::Host("the guest's task is gone".into())),
        },
    }
}

async fn run<B>(
    lease: &mut Lease,
    request: Request<B>,
    head: oneshot::Sender<Result<Response<ResponseBody>, ErrorCode>>,
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
    let called = proxy.wasi_http_incoming_handler().call_handle(&mut instance.store, request, out).await;
    if let Err(error) = called {
        return Err(instance.trap(error));
    }
    lease.finish();
    Ok(())
}

struct AbortOnDrop<T>(Option<tokio::task::JoinHandle<T>>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}
