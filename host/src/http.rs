//! HTTP: requests in, responses out. The only room, with [`crate::api`], that knows status codes.

mod authority;
pub mod body;
mod cors;
mod docs;
pub(crate) mod encoding;
mod health;
pub mod infer;
mod metrics;
mod model;
pub(crate) mod openapi;
mod page;
mod plain;
pub mod raw;
mod repository;
pub mod respond;
pub mod route;
pub mod server;
pub(crate) mod small;
mod tensors;
mod v1;
