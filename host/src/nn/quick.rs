//! Which runs are so short that handing them to another thread would cost more than they do.
//!
//! A model whose work follows from its inputs' shapes takes about as long each time it is given a shape; one that was seen
//! to be quick runs where it is asked for, if nobody else wants the session. Everything else goes to a thread that may
//! wait for ONNX Runtime.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher};
use std::time::Duration;

use super::job::Inputs;
use crate::tensor::Storage;

/// What a run on a tokio thread may take: not more than a guest's epoch, by two orders of magnitude.
const QUICK: Duration = Duration::from_micros(100);

/// A shape that takes longer than this so often in a row was quick by mistake.
const LATE: Duration = Duration::from_micros(300);
const LATE_RUNS: u8 = 3;

/// One run that takes longer than this is enough, whatever the reason: the next will be seen from another thread.
const FAR_TOO_LATE: Duration = Duration::from_millis(5);

/// Shapes that are remembered; a model's users rarely send more.
const MAX_SHAPES: usize = 64;

/// The shapes of inputs that a model was run with, by hash.
#[derive(Debug, Default)]
pub(super) struct Quick {
    late_runs: HashMap<u64, u8>,
}

/// The shapes of inputs as one number; `None` for texts, whose length is not in their shape.
pub(super) fn shape(inputs: &Inputs, hasher: &impl BuildHasher) -> Option<u64> {
    let mut shape = hasher.build_hasher();
    for (name, tensor) in inputs {
        if matches!(tensor.storage(), Storage::Variable(_)) {
            return None;
        }
        (name, tensor.shape()).hash(&mut shape);
    }
    Some(shape.finish())
}

impl Quick {
    pub(super) fn has(&self, shape: u64) -> bool {
        self.late_runs.contains_key(&shape)
    }

    /// A run with inputs of this shape took so long. One that failed may have ended early.
    pub(super) fn saw(&mut self, shape: u64, took: Duration, succeeded: bool) {
        if took <= QUICK {
            if !succeeded {
                return;
            }
            if self.late_runs.len() >= MAX_SHAPES {
                self.late_runs.clear();
            }
            self.late_runs.insert(shape, 0);
        } else if took > LATE
            && let Some(late) = self.late_runs.get_mut(&shape)
        {
            *late += 1;
            if *late >= LATE_RUNS || took > FAR_TOO_LATE {
                self.late_runs.remove(&shape);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_quick_once_seen_so_until_it_is_late_again_and_again() {
        let mut quick = Quick::default();
        assert!(!quick.has(1));
        quick.saw(1, Duration::from_micros(101), true);
        assert!(!quick.has(1));
        quick.saw(1, Duration::from_micros(99), true);
        assert!(quick.has(1) && !quick.has(2));
        // A thread that lost its processor for a while says nothing about the model.
        for _ in 0..9 {
            quick.saw(1, Duration::from_millis(2), true);
            quick.saw(1, Duration::from_micros(20), true);
        }
        assert!(quick.has(1));
        (0..3).for_each(|_| quick.saw(1, Duration::from_millis(2), true));
        assert!(!quick.has(1));
        quick.saw(1, Duration::from_micros(20), true);
        quick.saw(1, Duration::from_millis(20), true);
        assert!(!quick.has(1), "once was enough");
    }

    #[test]
    fn a_run_that_failed_at_once_says_nothing() {
        let mut quick = Quick::default();
        quick.saw(1, Duration::ZERO, false);
        assert!(!quick.has(1));
        quick.saw(1, Duration::ZERO, true);
        quick.saw(1, Duration::ZERO, false);
        assert!(quick.has(1));
        quick.saw(1, Duration::from_secs(1), false);
        assert!(!quick.has(1), "it held its thread as long as if it had succeeded");
    }

    #[test]
    fn it_does_not_grow_without_bound() {
        let mut quick = Quick::default();
        (0..1000).for_each(|shape| quick.saw(shape, Duration::ZERO, true));
        assert!(quick.late_runs.len() <= MAX_SHAPES && quick.has(999));
    }
}
