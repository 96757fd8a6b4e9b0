//! HTTP: connections in, responses out. The only room, with [`crate::api`], that knows status codes.

pub mod body;
pub mod infer;
mod metrics;
pub mod raw;
pub mod respond;
pub mod route;
pub mod server;
