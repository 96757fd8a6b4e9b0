//! Components: compiled once, instantiated on demand, kept warm for a while.
//!
//! Knows wasmtime and, through [`crate::nn`], the models a guest may reach; knows nothing of HTTP routing, protocols or the
//! registry's storage. An instance ends with its lease, or in its pool when it has been idle too long.

pub mod assets;
pub mod engine;
pub mod exports;
pub mod http;
pub mod instance;
pub mod link;
pub mod load;
pub mod log;
pub mod outgoing;
pub mod pool;
pub mod snapshot;
pub mod state;
mod trap;
pub mod typed;

pub use pool::{Lease, Pool};

/// Why a component cannot be used, or a call into it gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The bytes are no component this host can run; the text says why.
    #[error("the component cannot be used: {0}")]
    InvalidComponent(String),
    /// The guest stopped with a trap, memory exhaustion included.
    #[error("the function failed: {reason}")]
    Trapped {
        reason: String,
        #[source]
        source: wasmtime::Error,
    },
    /// The guest answered with something that is no answer.
    #[error("the function gave a wrong answer: {0}")]
    BadAnswer(String),
    /// The guest refused the request.
    #[error("{0}")]
    InvalidInput(String),
    /// The guest cannot answer now.
    #[error("{0}")]
    Unavailable(String),
    /// The guest says it is broken.
    #[error("{0}")]
    Internal(String),
    /// The component has no such export.
    #[error("it does not export {0}")]
    NotExported(&'static str),
    /// All instance slots of the process are taken.
    #[error("no room for another instance")]
    NoRoom,
    /// The deadline passed while the guest was running.
    #[error(transparent)]
    Deadline(#[from] crate::deadline::DeadlinePassed),
    /// A fault of the host's own.
    #[error("{0}")]
    Host(String),
}
