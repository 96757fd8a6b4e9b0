//! The way of a copy: a shadow is asked as any version is, on its own account, and what it answers is compared and let go.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Answer, Asked, InvokeError, Outcome, Question, ask, gate, hold};
use crate::elsewhere::elsewhere;
use crate::host::Host;
use crate::shadow::{Original, Taken, compare};
use crate::tensor::Tensor;

/// Asks shadows until `stop`. Nobody waits for what is not answered by then.
pub async fn run(host: Arc<Host>, stop: CancellationToken) {
    let mut asked = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            taken = host.shadows.next() => match taken {
                Some(taken) => drop(asked.spawn(taken.origin.clone().around(answer(Arc::clone(&host), taken)))),
                None => return,
            },
            Some(_) = asked.join_next() => {}
        }
    }
}

/// A request was answered that may be copied. Only where callers leave room: they come first.
pub(super) fn offer(host: &Host, original: Original, version: &super::Version, outputs: &[(String, Tensor)]) {
    // What ends after its function was deleted must leave nothing behind.
    if !host.catalog.has(version) || !host.catalog.has(original.shadow()) {
        return;
    }
    let is_room =
        !host.admit.is_busy() && !gate(host, version).is_crowded() && gate(host, original.shadow()).has_room();
    host.shadows.offer(original, version, outputs, is_room);
}

async fn answer(host: Arc<Host>, mut taken: Taken) {
    let began = Instant::now();
    let gate = gate(&host, &taken.shadow);
    let call = gate.calls.begin(Asked::Shadow, began);
    let request = std::mem::take(&mut taken.request);
    let answered = match hold(&host, (Arc::clone(&taken.shadow), None), gate, Asked::Shadow, began) {
        Ok(begun) => ask(&host, begun, Question::Predict, request).await,
        Err(error) => Err(error),
    };
    match answered {
        Ok(answer) => {
            let took = began.elapsed();
            call.end(Outcome::Ok);
            compared(taken, answer, took).await;
        }
        Err(InvokeError::NotAdmitted(_)) => {
            call.end(Outcome::Refused);
            taken.skipped();
        }
        Err(error) => {
            call.end(if matches!(error, InvokeError::Deadline(_)) { Outcome::Timeout } else { Outcome::Failed });
            taken.failed(&error.to_string());
        }
    }
}

/// Looking at all elements of large answers takes a while.
async fn compared(taken: Taken, answer: Answer, took: std::time::Duration) {
    const LARGE_BYTES: usize = 64 << 10;
    let is_large = answer.size_bytes() >= LARGE_BYTES;
    let work = move || {
        let (likeness, difference) = compare(&taken.expected, &answer.outputs);
        taken.answered(likeness, difference.as_deref(), took);
    };
    // Broken off with the host alone.
    let _ = elsewhere(is_large, work).await;
}
