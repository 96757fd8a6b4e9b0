//! A model in the form that is loaded quickest: optimised ahead, in the node's cache, its weights in a file that sessions map.
//!
//! A session of ONNX Runtime keeps its weights for itself, and where kernels want them in another layout ("prepacked") the rewritten
//! ones too. So a model is optimised once and written apart from its weights, those in both layouts; sessions opened from
//! there map that file, read-only. They share its pages, which the system may drop and read again, and need not optimise.
//!
//! Such a session is opened in one of two forms. The full one rewrites weights while it loads (only to find that the file has
//! them) and answers as a session of the model itself does, bit for bit. The quick one takes the weights as they are: it is
//! there in a fraction of the time, runs slower, and rounds in another order.
//!
//! On the CPU alone: other devices have their weights in memory of their own.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{footprint, machine};
use crate::cache::{Cache, CacheError, Entry, Key, Kind};

const MODEL: &str = "model.onnx";
const WEIGHTS: &str = "weights";

/// Where a model's prepared form is kept.
#[derive(Clone)]
pub(super) struct Shelf {
    pub(super) cache: Arc<Cache>,
    /// The model's sha256.
    pub(super) digest: String,
}

/// A model that was prepared.
pub(super) struct Prepared {
    entry: Entry<Facts>,
}

/// What is known of it before it is loaded.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Facts {
    /// Whether a run's work may depend on more than the shapes of its inputs.
    pub(super) open_ended: bool,
    /// Bytes of what one session is made of, without what its runs allocate.
    pub(super) session_bytes: u64,
    /// Bytes of the file that all sessions map.
    pub(super) mapped_bytes: u64,
    /// How long the full form took to load, and the quick one.
    full_us: u64,
    quick_us: u64,
}

/// How a session is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Full,
    Quick,
}

/// Why there is no prepared form. The model may still do for a session of its own.
#[derive(Debug, thiserror::Error)]
pub(super) enum PrepareError {
    #[error("ONNX Runtime does not write the weights")]
    Write(#[source] ort::Error),
    #[error("ONNX Runtime does not read the weights that it wrote")]
    Read(#[source] ort::Error),
    #[error("the weights that were written cannot be seen")]
    Lost(#[source] std::io::Error),
}

impl Shelf {
    /// The prepared form, if it is there.
    pub(super) fn find(&self) -> Option<Prepared> {
        self.cache.find(self.key()).map(|entry| Prepared { entry })
    }

    /// Prepares a model, if nobody has: writes about as many bytes as it has, or half as many again, and takes the memory of one more session
    /// meanwhile. `builder` is for the CPU and optimises as the sessions are to be optimised; `commit` gives it the model, which
    /// must have been found to refer to no other files.
    pub(super) fn prepare(
        &self,
        builder: &SessionBuilder,
        open_ended: bool,
        commit: impl FnOnce(&mut SessionBuilder) -> ort::Result<Session>,
    ) -> Result<Prepared, CacheError<PrepareError>> {
        let made = self.cache.find_or_write(self.key(), |folder| {
            let mut writing = writing(builder.clone(), &folder.join(MODEL)).map_err(PrepareError::Write)?;
            // The session that writes has weights of its own.
            drop(commit(&mut writing).map_err(PrepareError::Write)?);
            measure(builder, folder, open_ended)
        });
        made.map(|entry| Prepared { entry })
    }

    /// A prepared form that is of no use goes.
    pub(super) fn discard(&self, prepared: &Prepared) {
        self.cache.discard(&prepared.entry);
    }

    fn key(&self) -> Key<'_> {
        Key { kind: Kind::Models, digest: &self.digest, made_for: made_for() }
    }
}

impl Prepared {
    /// One more session. It takes and gives what the model does, and stays whole when the files have gone.
    pub(super) fn open(&self, builder: &SessionBuilder, form: Form) -> ort::Result<Session> {
        open(builder, &self.entry.file(MODEL), form)
    }

    pub(super) fn facts(&self) -> Facts {
        self.entry.facts
    }
}

impl Facts {
    /// How long a model has to run in its quick form until the full one has paid for its loading; `None` where the quick form
    /// is not worth it. What is run less often never loads the full form, and what is run more has lost little.
    pub(super) fn quick_pays_until(&self) -> Option<Duration> {
        /// Weights that are rewritten in less time than anybody would notice.
        const SMALL: u64 = 8 << 20;
        (self.mapped_bytes > SMALL && self.full_us > 2 * self.quick_us).then(|| Duration::from_micros(self.full_us))
    }
}

/// Opens both forms, to see that they can be opened and what that takes.
fn measure(builder: &SessionBuilder, folder: &Path, open_ended: bool) -> Result<Facts, PrepareError> {
    let timed = |form| {
        let started = Instant::now();
        let session = open(builder, &folder.join(MODEL), form).map_err(PrepareError::Read)?;
        Ok::<_, PrepareError>((session, u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX)))
    };
    let (mut grown, mut quick_us) = (Vec::new(), u64::MAX);
    // Several times: other threads allocate and free as well, and interrupt.
    for _ in 0..5 {
        let (opened, bytes) = footprint::growth(|| timed(Form::Quick));
        grown.push(bytes.unwrap_or(0));
        quick_us = quick_us.min(opened?.1);
    }
    grown.sort_unstable();
    // It has at least all that its description says.
    let description = std::fs::metadata(folder.join(MODEL)).map_err(PrepareError::Lost)?.len();
    let session_bytes = grown[grown.len() / 2].max(description);
    let (_, full_us) = timed(Form::Full)?;
    // A model without large weights has no such file.
    let mapped_bytes = match std::fs::metadata(folder.join(WEIGHTS)) {
        Ok(weights) => weights.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
        Err(error) => return Err(PrepareError::Lost(error)),
    };
    Ok(Facts { open_ended, session_bytes, mapped_bytes, full_us, quick_us })
}

fn open(builder: &SessionBuilder, model: &Path, form: Form) -> ort::Result<Session> {
    // It has been optimised, and what was written fits the graph as it is.
    let builder = builder.clone().with_optimization_level(GraphOptimizationLevel::Disable)?;
    builder.with_prepacking(form == Form::Full)?.commit_from_file(model)
}

/// What a prepared form depends on beside the model: what ONNX Runtime made for this processor.
fn made_for() -> &'static str {
    /// Goes up when models are prepared in another way.
    const FORMAT: u32 = 1;
    static MADE_FOR: OnceLock<String> = OnceLock::new();
    MADE_FOR.get_or_init(|| format!("format {FORMAT}, {}, {}", ort::info(), machine::processor()))
}

/// The entries are those of onnxruntime_session_options_config_keys.h.
fn writing(builder: SessionBuilder, model: &Path) -> ort::Result<SessionBuilder> {
    /// Bytes of the smallest tensor that is not left in the model: sessions have those each for itself.
    const MIN_SHARED_BYTES: &str = "1024";
    Ok(builder
        .with_optimized_model_path(model)?
        .with_config_entry("session.optimized_model_external_initializers_file_name", WEIGHTS)?
        .with_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", MIN_SHARED_BYTES)?
        .with_config_entry("session.save_external_prepacked_constant_initializers", "1")?)
}

#[cfg(test)]
mod tests;
