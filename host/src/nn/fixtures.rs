//! What tests of several files begin with: sessions of the small models, inputs for them, and how to wait.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::budget::Budget;
use super::device::Target;
use super::job::{Caller, Inputs};
use super::library::Library;
use super::load::{Options, Source};
use super::queue::LaneId;
use super::session::{Policy, Session};
use crate::telemetry::Metrics;
use crate::tensor::{Datatype, Tensor};

pub(super) static CALLER: Caller = Caller { lane: LaneId(0), usage: None };

pub(super) const ALONE: Policy = Policy { max_rows: 1, max_delay: Duration::ZERO };

/// Two rows fill a run, and one waits for another for longer than [`soon`].
pub(super) const PAIR: Policy = Policy { max_rows: 2, max_delay: Duration::from_secs(120) };

/// So many iterations that they never end.
pub(super) const ENDLESS: i64 = 1 << 62;

pub(super) async fn open(model: &str) -> Arc<Session> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/models").join(model);
    open_as(&file, Options { model: model.to_owned(), ..plain() }).await
}

pub(super) async fn open_as(file: &Path, options: Options) -> Arc<Session> {
    let share = Budget::new("memory.models", u64::MAX, |_| 0).take(0).await.unwrap();
    let source = Source::File(file.to_owned());
    Session::open(Library::installed(), source, options, share, Metrics::default().models).await.unwrap()
}

/// From the model itself, on the CPU.
pub(super) fn plain() -> Options {
    Options {
        model: "model".into(),
        target: Target::Cpu,
        intra_threads: 1,
        sessions: 1,
        warmup: false,
        shelf: None,
        quick_start: false,
    }
}

pub(super) fn fp32(shape: &[usize], values: &[f32]) -> Tensor {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Tensor::fixed(Datatype::Fp32, shape.to_vec(), Bytes::from(bytes)).unwrap()
}

pub(super) fn int64(values: &[i64]) -> Tensor {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Tensor::fixed(Datatype::Int64, vec![values.len()], Bytes::from(bytes)).unwrap()
}

/// One row for `rows.onnx`, without work.
pub(super) fn row(x: [f32; 3], scale: i64) -> Inputs {
    working_row(fp32(&[1, 3], &x), scale, 0)
}

pub(super) fn working_row(x: Tensor, scale: i64, work: i64) -> Inputs {
    [("x", x), ("scale", int64(&[scale])), ("work", int64(&[work]))].map(|(name, it)| (name.to_owned(), it)).into()
}

/// Goes on with a future, which must not end meanwhile, until so many jobs wait and so many run.
pub(super) async fn until<T: Debug>(
    session: &Session,
    jobs: (usize, usize),
    mut future: impl Future<Output = T> + Unpin,
) {
    let reached = async {
        while session.jobs() != jobs {
            tokio::select! {
                outputs = &mut future => panic!("it has ended: {outputs:?}"),
                () = tokio::task::yield_now() => {}
            }
        }
    };
    soon(reached).await;
}

/// The future's output, which nothing but a mistake keeps from coming.
pub(super) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it hangs")
}
