//! Management: what is deployed, and how it is doing. The CLI's only door.

mod alias;
pub mod blobs;
pub mod bundle;
mod directions;
pub mod functions;
pub mod history;
pub mod labels;
pub mod list;
pub mod logs;
mod once;
mod query;
pub mod rollout;
mod scan;
pub mod search;
pub mod status;
pub mod traffic;
