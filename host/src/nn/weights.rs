//! One copy of a model's weights for several sessions of ONNX Runtime's.
//!
//! A session keeps its weights for itself, and where kernels want them in another layout ("prepacked") the rewritten ones
//! too. So the model is optimised once and written to a folder of its own, its weights apart from it in the layout that this
//! machine's kernels want; sessions opened from there map that file, read-only. They share its pages, which the system may
//! drop and read again, and need neither optimise nor rewrite anything.
//!
//! On the CPU alone: other devices have their weights in memory of their own. The files hold what this ONNX Runtime made for
//! this processor: they must not outlive the process. They go with the [`SharedWeights`], and what is mapped of them with the
//! last session.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use tempfile::TempDir;

const MODEL: &str = "model.onnx";
const WEIGHTS: &str = "weights";
const PREFIX: &str = "weights-";

/// A model, optimised, with its weights where sessions can share them.
pub(super) struct SharedWeights {
    folder: TempDir,
}

/// Why weights cannot be shared. The model may still do for sessions with weights of their own.
#[derive(Debug, thiserror::Error)]
pub(super) enum WeightsError {
    #[error("there is no place for the weights")]
    Folder(#[source] std::io::Error),
    #[error("ONNX Runtime does not write the weights")]
    Write(#[source] ort::Error),
    #[error("ONNX Runtime does not read the weights that it wrote")]
    Read(#[source] ort::Error),
}

impl SharedWeights {
    /// Writes a model's weights below `parent`, about as many bytes as the model has, or half as many again; meanwhile takes
    /// the memory of one more session. `builder` is for the CPU and optimises as the sessions are to be optimised; `commit`
    /// gives it the model, which must have been found to refer to no other files.
    pub(super) fn write(
        parent: &Path,
        builder: SessionBuilder,
        commit: impl FnOnce(&mut SessionBuilder) -> ort::Result<Session>,
    ) -> Result<Self, WeightsError> {
        std::fs::create_dir_all(parent).map_err(WeightsError::Folder)?;
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent).map_err(WeightsError::Folder)?;
        let mut writing = writing(builder, &folder.path().join(MODEL)).map_err(WeightsError::Write)?;
        // The session that writes has weights of its own.
        drop(commit(&mut writing).map_err(WeightsError::Write)?);
        Ok(Self { folder })
    }

    /// One more session. It takes and gives what the model does, and stays whole when the files have gone.
    pub(super) fn open(&self, builder: SessionBuilder) -> ort::Result<Session> {
        // It has been optimised, and what was written fits the graph as it is.
        builder.with_optimization_level(GraphOptimizationLevel::Disable)?.commit_from_file(self.model())
    }

    fn model(&self) -> PathBuf {
        self.folder.path().join(MODEL)
    }
}

/// Removes what a process left below `parent` that was killed while it loaded. Another one may be loading now.
pub(super) fn sweep(parent: &Path) {
    const OLD: Duration = Duration::from_secs(3600);
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let written = entry.metadata().and_then(|metadata| metadata.modified()).ok();
        let old = written.and_then(|written| written.elapsed().ok()).is_some_and(|age| age > OLD);
        if old && entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX)) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
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
