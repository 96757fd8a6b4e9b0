//! Management: what is deployed, and how it is doing. The CLI's only door.

pub mod functions;
pub mod history;
pub mod logs;
mod query;
pub mod status;
pub mod traffic;
