//! The task of an instance that serves several requests: it begins them as they come, and ends when none is left.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use http::Request;
use http::header::HOST;
use http::uri::{Authority, Scheme};
use tokio::sync::mpsc;
use wasmtime::component::Accessor;
use wasmtime_wasi_http::p3::bindings::Service;
use wasmtime_wasi_http::{WasiBody, WasiHttpView, p3};

use super::Job;
use super::seats::{Seat, Seats};
use crate::deadline::Deadline;
use crate::runtime::instance::Bound;
use crate::runtime::state::State;
use crate::runtime::{Lease, Pool, RuntimeError};

/// Begins to serve in this instance: the first request's seat. Others find theirs through the pool.
pub(in crate::runtime::http) fn open(mut lease: Lease, due: Deadline) -> Result<Seat, RuntimeError> {
    let bound = Arc::clone(lease.bound());
    if !matches!(&*bound, Bound::Service(_)) {
        return Err(RuntimeError::Host("an http call reached another kind of function".into()));
    }
    let (jobs, waiting) = mpsc::unbounded_channel();
    let seats = Arc::new(Seats::new(lease.function(), lease.pool().seats(), lease.reuse(), due, jobs));
    lease.begin();
    let seat = seats.sit(due).ok_or_else(|| RuntimeError::Deadline(due.passed()))?;
    lease.pool().enter(&seats);
    tokio::spawn(work(lease, bound, seats, waiting));
    Ok(seat)
}

/// Whatever becomes of the task, nobody else is led to the instance.
struct Entered {
    pool: Arc<Pool>,
    seats: Arc<Seats>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.pool.leave(&self.seats);
    }
}

async fn work(mut lease: Lease, bound: Arc<Bound>, seats: Arc<Seats>, mut waiting: mpsc::UnboundedReceiver<Job>) {
    let entered = Entered { pool: Arc::clone(lease.pool()), seats: Arc::clone(&seats) };
    let Bound::Service(service) = &*bound else { return };
    let work = AssertUnwindSafe(async {
        tokio::select! {
            biased;
            () = seats.overstayed() => Err(RuntimeError::Host("it went on for too long after its answers".into())),
            outcome = run(&mut lease, service, &seats, &mut waiting) => outcome,
        }
    });
    match work.catch_unwind().await {
        Ok(Ok(())) => {
            lease.instance().store.data_mut().requests.clear();
            lease.finish_with(seats.reuse());
        }
        Ok(Err(error)) => seats.fail(error),
        Err(_) => seats.fail(RuntimeError::Host("a call panicked".into())),
    }
    // In this order: a body that ends finds the failure, and nobody comes to an instance that goes.
    drop(entered);
    drop(lease);
}

async fn run(
    lease: &mut Lease,
    service: &Service,
    seats: &Seats,
    waiting: &mut mpsc::UnboundedReceiver<Job>,
) -> Result<(), RuntimeError> {
    let instance = lease.instance();
    loop {
        let outcome = {
            let mut running = pin!(
                instance
                    .store
                    .run_concurrent(async |accessor: &Accessor<State>| serve(accessor, service, seats, waiting).await)
            );
            poll_fn(|context| {
                // Nobody is to wait for a guest that computes while another instance could answer.
                seats.set_open(false);
                seats.has_turned();
                if let Poll::Ready(outcome) = running.as_mut().poll(context) {
                    return Poll::Ready(outcome);
                }
                // Had it a turn, and has it another one now, then nothing is left that could be done: the guest waits. One that
                // computes, or is in a call that blocks all of it, gives none.
                if seats.has_turned() {
                    if let Poll::Ready(outcome) = running.as_mut().poll(context) {
                        return Poll::Ready(outcome);
                    }
                    seats.set_open(seats.has_turned());
                }
                Poll::Pending
            })
            .await
        };
        match outcome.flatten() {
            Ok(()) if seats.end() => return Ok(()),
            // Somebody came at the last moment.
            Ok(()) => {}
            Err(error) => return Err(instance.trap(error)),
        }
    }
}

/// Begins what waits, until nobody is there and the guest has come to rest.
async fn serve(
    accessor: &Accessor<State>,
    service: &Service,
    seats: &Seats,
    waiting: &mut mpsc::UnboundedReceiver<Job>,
) -> wasmtime::Result<()> {
    let function = *service.wasi_http_handler().func_handle().func();
    let mut answers = FuturesUnordered::new();
    poll_fn(|context| {
        seats.turn(context.waker(), accessor.poll_ready_for_concurrent_call(function, context).is_ready());
        while let Poll::Ready(Some(job)) = waiting.poll_recv(context) {
            answers.push(answer(accessor, service, job));
        }
        while let Poll::Ready(Some(answered)) = answers.poll_next_unpin(context) {
            if answered.is_err() {
                return Poll::Ready(answered);
            }
        }
        if answers.is_empty() && accessor.poll_no_interesting_tasks(context).is_ready() && seats.are_empty() {
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    })
    .await
}

/// One request, until its response begins. An error is the whole instance's.
async fn answer(accessor: &Accessor<State>, service: &Service, job: Job) -> wasmtime::Result<()> {
    let Job { request, answer, abandoned } = job;
    if answer.is_closed() {
        return Ok(());
    }
    let handler = service.wasi_http_handler().func_handle();
    let (call, received) = accessor.with(|mut store| {
        let (request, received) = guest_request(store.get(), request);
        let request = store.get().table.push(request)?;
        let call = handler.start_call_concurrent(&mut store, (request,))?;
        store.get().requests.insert(call.task(), abandoned);
        wasmtime::error::Ok((call, received))
    })?;
    let (response,) = handler.finish_call_concurrent(accessor, call).await?;
    let response = match response {
        Ok(response) => accessor.with(|mut store| {
            let response = store.get().table.delete(response)?;
            // Fails where the guest gave the body a length that is none.
            wasmtime::error::Ok(response.into_http(store, received).map_err(|error| format!("{error:#}")))
        })?,
        Err(code) => Err(format!("it answered with the error {code:?}")),
    };
    let _ = answer.send(response.map_err(RuntimeError::BadAnswer));
    Ok(())
}

/// How the request's body was received.
type Received = BoxFuture<'static, Result<(), wasmtime_wasi_http::Error>>;

/// The request as a guest has it, and what tells how its body was received.
fn guest_request(state: &mut State, request: Request<WasiBody>) -> (p3::Request, Received) {
    let authority = request.headers().get(HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let (mut request, received) = p3::Request::from_http(state.http().hooks, request);
    request.scheme = Some(Scheme::HTTP);
    request.authority = authority;
    (request, received.boxed())
}
