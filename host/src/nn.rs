//! The model plane: ONNX models as sessions that outlive the instances which use them.
//!
//! Owns ONNX Runtime and everything that touches it; knows nothing of components, pools or HTTP. One session per model
//! (by digest, device and options), shared by every instance and version that uses it, ended when its last user lets go.

pub mod batch;
pub mod budget;
pub mod device;
mod first;
#[cfg(test)]
mod fixtures;
mod footprint;
pub mod graph;
pub mod held;
mod improve;
pub mod job;
pub mod library;
pub mod load;
mod machine;
pub mod memory;
pub mod model;
mod named;
mod prepared;
mod queue;
mod quick;
mod run;
pub mod session;
mod structure;
pub mod trial;
mod turn;
mod value;
pub mod wit;

pub use budget::NoMemory;
pub use graph::{Models, SessionKey};
pub use load::describe;
pub use model::Model;
pub use named::Named;
pub use session::{Policy, Session};

/// Why a model could not be loaded or run. The texts speak to the model's user; none shows a host path.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NnError {
    /// The file is not a model this host can run.
    #[error("model '{model}' cannot be loaded: {reason}")]
    InvalidModel { model: String, reason: String },
    /// The asked-for device is not there, or ONNX Runtime cannot use it.
    #[error("model '{model}' cannot run on {device}: {reason}")]
    Device { model: String, device: String, reason: String },
    /// Names, types or shapes do not fit the model.
    #[error("{0}")]
    InvalidInput(String),
    /// What was asked for exists, but not through this interface.
    #[error("{0}")]
    Unsupported(String),
    /// ONNX Runtime failed while running the model.
    #[error("model '{model}' failed: {reason}")]
    Run { model: String, reason: String },
    /// The session ended while the job was with it.
    #[error("the session of model '{0}' has ended")]
    Ended(String),
    /// Other models have the memory that it would need, or it needs more than there is for all.
    #[error("model '{model}' cannot be loaded: {reason}")]
    NoMemory { model: String, reason: NoMemory },
}
