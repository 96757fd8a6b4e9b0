//! Whether a model keeps its rows apart: no answer may depend on who else is in the run.
//!
//! That all first dimensions are open does not say so: a model may subtract the mean of its rows, or rank them. So before
//! requests share a run for the first time, two of them are run apart and together, and only where the answers agree do
//! requests share runs from then on.

use half::{bf16, f16};
use ort::session::{RunOptions, Session as OrtSession};

use super::batch;
use super::job::{Inputs, Outputs};
use super::run::run;
use super::session::Session;
use crate::tensor::{Datatype, Storage, Tensor};

/// Whether requests share runs of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Batching {
    /// An input or output has no open first dimension.
    Impossible,
    /// On this device it would cost more than it saves: the model convolves, and a GPU plans that anew for each number of rows.
    Costly,
    /// No two requests have waited together yet: it will be tried on the first that do.
    Untried,
    /// They do where they can.
    On,
    /// The model's answers depend on who else is in the run: every request has its own.
    RowsInteract,
    /// It was tried often enough, and nothing showed that they do not: every request has its own.
    Undecided,
}

/// What a trial showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Apart,
    Interact,
    /// Nothing: it was broken off, or the answers would be the same either way.
    Unknown,
}

impl Session {
    /// Requests share no run of this model any more.
    pub(super) fn refuse_batching(&self, batching: Batching, why: &str) {
        tracing::warn!(model = self.name, why, "requests do not share runs of this model");
        self.state().batching = batching;
    }

    /// What waited together could not show whether the model keeps rows apart. A trial costs three runs: not for ever.
    pub(super) fn trial_failed(&self) {
        const MAX_TRIALS: u32 = 16;
        let failed = {
            let mut state = self.state();
            state.failed_trials += 1;
            state.failed_trials
        };
        if failed == MAX_TRIALS {
            self.refuse_batching(Batching::Undecided, "no trial showed that it keeps rows apart");
        }
    }

    /// Whether requests share runs.
    pub fn batching(&self) -> Batching {
        self.state().batching
    }
}

/// Whether the model answers for two rows together as it does for each alone. `jobs` are of one kind, at least one.
pub(super) fn keeps_rows_apart(session: &mut OrtSession, jobs: &[&Inputs], options: &RunOptions) -> Verdict {
    let Some((&first, others)) = jobs.split_first() else { return Verdict::Unknown };
    let reversed;
    let second = match others.iter().find(|other| **other != first) {
        Some(other) => *other,
        None => {
            reversed = batch::reversed(first);
            &reversed
        }
    };
    let rows: Vec<usize> =
        [first, second].iter().filter_map(|inputs| inputs.first()?.1.shape().first().copied()).collect();
    let mut apart = [first, second].into_iter().map_while(|inputs| run(session, inputs, Some(options)).ok());
    let (Some(one), Some(other)) = (apart.next(), apart.next()) else { return Verdict::Unknown };
    // The model does not take two rows, or the callers have gone.
    let Ok(together) = run(session, &batch::join(&[first, second]), Some(options)) else { return Verdict::Unknown };
    match batch::part(&together, &rows) {
        Some(parts) if agree(&parts[0], &one) && agree(&parts[1], &other) => {
            // Answers that are the same, or no numbers, may agree by chance whatever the model does with rows.
            let finite = [&one, &other].into_iter().flatten().all(|(_, tensor)| is_finite(tensor));
            if finite && !agree(&one, &other) { Verdict::Apart } else { Verdict::Unknown }
        }
        Some(_) | None => Verdict::Interact,
    }
}

fn is_finite(tensor: &Tensor) -> bool {
    floats(tensor).iter().all(|value| value.is_finite())
}

fn agree(some: &Outputs, others: &Outputs) -> bool {
    some.len() == others.len()
        && some
            .iter()
            .zip(others)
            .all(|((name, tensor), (other_name, other))| name == other_name && same(tensor, other))
}

/// Equal but for what another order of adding up can change in a float.
fn same(some: &Tensor, other: &Tensor) -> bool {
    if some.shape() != other.shape() || some.datatype() != other.datatype() {
        return false;
    }
    let tolerance = match some.datatype() {
        Datatype::Fp64 => 1e-6,
        Datatype::Fp32 => 1e-3,
        Datatype::Fp16 | Datatype::Bf16 => 3e-2,
        _ => return some.storage() == other.storage(),
    };
    let (some, other) = (floats(some), floats(other));
    // Small elements are often differences of large ones, so all are held to the size of the larger among them; but not to
    // that of a few which are out of all proportion.
    let mut sizes: Vec<f64> = some.iter().map(|value| value.abs()).filter(|size| size.is_finite()).collect();
    sizes.sort_by(f64::total_cmp);
    let most = sizes.get(sizes.len() * 9 / 10).copied().unwrap_or(0.0);
    let usual = if most > 0.0 { most } else { sizes.last().copied().unwrap_or(0.0) };
    some.iter().zip(&other).all(|(a, b)| {
        let size = usual.max(a.abs().max(b.abs()));
        (a - b).abs() <= tolerance * size + f64::from(f32::MIN_POSITIVE) || a == b || a.is_nan() && b.is_nan()
    })
}

fn floats(tensor: &Tensor) -> Vec<f64> {
    fn each<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        bytes.as_chunks::<N>().0.iter().map(|&element| read(element)).collect()
    }
    let Storage::Fixed(bytes) = tensor.storage() else { return Vec::new() };
    match tensor.datatype() {
        Datatype::Fp64 => each(bytes, f64::from_le_bytes),
        Datatype::Fp32 => each(bytes, |element| f32::from_le_bytes(element).into()),
        Datatype::Fp16 => each(bytes, |element| f16::from_le_bytes(element).into()),
        Datatype::Bf16 => each(bytes, |element| bf16::from_le_bytes(element).into()),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn fp32(values: &[f32]) -> Tensor {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Tensor::fixed(Datatype::Fp32, vec![values.len()], Bytes::from(bytes)).expect("it fits")
    }

    #[test]
    fn rounding_is_forgiven_and_nothing_else() {
        assert!(same(&fp32(&[100.0, 0.001]), &fp32(&[100.00001, 0.00101])));
        assert!(same(&fp32(&[f32::NAN, f32::INFINITY]), &fp32(&[f32::NAN, f32::INFINITY])));
        assert!(!same(&fp32(&[1.0, 2.0]), &fp32(&[1.0, 2.1])));
        assert!(!same(&fp32(&[1.0, f32::NAN]), &fp32(&[1.0, 2.0])));
        assert!(!same(&fp32(&[1.0]), &fp32(&[1.0, 1.0])));
        let label = |value: i64| {
            Tensor::fixed(Datatype::Int64, vec![1], Bytes::from(value.to_le_bytes().to_vec())).expect("it fits")
        };
        let hidden = [[1.0; 19].as_slice(), &[1e30]].concat();
        assert!(
            !same(&fp32(&hidden), &fp32(&[[1.5; 19].as_slice(), &[1e30]].concat())),
            "one large element hides nothing"
        );
        assert!(same(&label(7), &label(7)) && !same(&label(1_000_000), &label(1_000_001)));
    }
}
