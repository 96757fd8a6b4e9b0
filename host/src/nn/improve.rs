//! From the quick form of a model to the full one, while it runs.
//!
//! The full form is loaded once running the quick one has cost as much as that loading does: what is asked once in a while never
//! pays for it, and what is asked often has soon stopped paying for the other. Sessions of ONNX Runtime are exchanged
//! when nobody runs them.

use std::sync::Arc;
use std::time::Duration;

use ort::AsPointer;
use ort::session::Session as OrtSession;
use tokio::runtime::Handle;

use super::load::Better;
use super::session::{Session, give_memory_back};

/// What a session may become.
pub(super) struct Improvement {
    better: Option<Better>,
    spent: Duration,
    /// Those that are loaded, and not yet exchanged for others.
    ready: Vec<OrtSession>,
    /// Where those are that were exchanged.
    full: Vec<usize>,
}

impl Improvement {
    pub(super) fn new(better: Option<Better>) -> Self {
        Self { better, spent: Duration::ZERO, ready: Vec::new(), full: Vec::new() }
    }

    /// The model ran so long. What to load, when it is time to.
    pub(super) fn spend(&mut self, took: Duration) -> Option<Better> {
        let after = self.better.as_ref()?.after;
        self.spent += took;
        if self.spent >= after { self.better.take() } else { None }
    }

    /// A better one for this one, which then is to be dropped, if it is a quick one and there is any.
    pub(super) fn exchange(&mut self, ort: &mut OrtSession) -> Option<OrtSession> {
        if self.full.contains(&address(ort)) {
            return None;
        }
        let better = self.ready.pop()?;
        self.full.push(address(&better));
        Some(std::mem::replace(ort, better))
    }
}

impl Session {
    /// Loads the full form on a thread that may block, and has it used.
    pub(super) fn improve(self: &Arc<Self>, better: Better) {
        let Ok(runtime) = Handle::try_current() else { return };
        let session = Arc::downgrade(self);
        runtime.spawn_blocking(move || {
            let Some(session) = session.upgrade() else { return };
            match better.open() {
                Ok(sessions) => session.exchange_for(sessions),
                // It goes on as it is: slower, and no less right.
                Err(error) => tracing::warn!(model = session.name(), %error, "the full form cannot be loaded"),
            }
        });
    }

    fn exchange_for(&self, sessions: Vec<OrtSession>) {
        let gone: Vec<_> = {
            let mut state = self.state();
            let state = &mut *state;
            state.improvement.ready = sessions;
            state.idle.iter_mut().filter_map(|ort| state.improvement.exchange(ort)).collect()
        };
        drop(gone);
        give_memory_back();
    }
}

/// What tells it from the others as long as it lives.
fn address(ort: &OrtSession) -> usize {
    ort.ptr().addr()
}

/// Drops a session of ONNX Runtime where that may take its time.
pub(super) fn retire(ort: OrtSession) {
    let free = move || {
        drop(ort);
        give_memory_back();
    };
    match Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(free)),
        Err(_) => free(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::cache::Cache;
    use crate::nn::fixtures::{ALONE, CALLER, int64, open_as, plain, soon};
    use crate::nn::load::Options;
    use crate::nn::prepared::Shelf;
    use crate::tensor::{Storage, Tensor};

    use super::*;

    async fn ask(session: &Arc<Session>) -> Tensor {
        let input = |values: &[i64]| {
            let Storage::Fixed(bytes) = int64(values).storage().clone() else { unreachable!("it is of numbers") };
            Tensor::fixed(crate::tensor::Datatype::Int64, vec![1, values.len()], bytes).unwrap()
        };
        let inputs = vec![
            ("input_ids".to_owned(), input(&[101, 7592, 2088, 102])),
            ("attention_mask".to_owned(), input(&[1, 1, 1, 1])),
        ];
        session.compute(&CALLER, ALONE, inputs).await.unwrap().remove(0).1
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_model_that_is_asked_often_comes_to_answer_as_the_model_itself() {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/wasm-models/sentences/model/minilm.onnx");
        let folder = tempfile::tempdir().unwrap();
        let cache = Arc::new(Cache::open(folder.path().to_owned(), u64::MAX));
        let shelf = Some(Shelf { cache, digest: "minilm".into() });
        let exact = ask(&open_as(&model, plain()).await).await;
        let session = open_as(&model, Options { shelf, quick_start: true, sessions: 2, ..plain() }).await;
        assert!(ask(&session).await != exact, "the first answers come from the quick form, which rounds otherwise");
        // One of its sessions is busy all the while, so the other one serves again and again.
        let busy = session.state().idle.pop().expect("nobody runs it");
        let improved = async { while ask(&session).await != exact {} };
        soon(improved).await;
        for _ in 0..4 {
            assert!(ask(&session).await == exact, "one that is full is not exchanged again");
        }
        Session::put_back(session.state(), busy);
        for _ in 0..4 {
            let (first, second) = tokio::join!(ask(&session), ask(&session));
            assert!(first == exact && second == exact, "and the other one has become full too");
        }
        let both_idle = async {
            while session.state().idle.len() < 2 {
                tokio::task::yield_now().await;
            }
        };
        soon(both_idle).await;
    }
}
