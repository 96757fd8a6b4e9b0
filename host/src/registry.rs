//! What is deployed: names, manifests, bundles, the store that keeps them and the catalog that readers ask.
//!
//! ```text
//! nocti.toml ── nocti_toml ── bundle ──▶ one .wasm file ──▶ split ──▶ store (blobs, revisions) ──▶ catalog
//! ```
//!
//! A version is immutable and identified by its manifest's sha256; what changes is a function's revision, the numbered
//! state that says which versions there are and where its aliases point. This folder knows neither wasmtime nor ONNX
//! Runtime nor HTTP: what a component exports or a model computes is told to it.

pub mod bundle;
pub mod catalog;
pub mod device;
pub mod diff;
pub mod digest;
pub(crate) mod excerpt;
mod format;
pub mod manifest;
pub mod name;
pub mod nocti_toml;
pub mod note;
pub mod revision;
mod rules;
pub mod search;
pub mod section;
pub mod since;
pub mod split;
pub mod spool;
pub mod store;
pub mod timestamp;
mod toml_reader;
pub mod units;

pub use toml_reader::Mistake;
