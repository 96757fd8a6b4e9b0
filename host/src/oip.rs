//! What the Open Inference Protocol asks of the host besides inference, whichever way it is asked: REST and gRPC answer from here.
//!
//! Asking wakes nothing, but for `load`.

mod config;
mod metadata;
mod repository;
mod statistics;

pub use config::config;
pub use metadata::{is_ready, metadata};
pub use repository::{RepositoryError, index, load, models, unload};
pub use statistics::statistics;
