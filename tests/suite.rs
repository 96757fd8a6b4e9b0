//! All tests that need a host.

mod api;
mod e2e;
mod tidy;
