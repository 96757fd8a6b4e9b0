//! Management: what is deployed, and how it is doing. The CLI's only door.

pub mod functions;
pub mod logs;
pub mod status;
