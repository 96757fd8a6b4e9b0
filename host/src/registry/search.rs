//! Finding versions by what is known of them: a query of words, and what it holds of.
//!
//! ```text
//! tag:vision accuracy>0.9 -license:gpl "hand-written digits"
//! ```
//! All terms must hold; `-` before one turns it round. Upper and lower case never matter. Pure: which versions are asked, and in
//! which order they are shown, is the catalog's business.

mod matching;
mod query;
mod subject;

pub use query::{Query, QueryError};
pub use subject::Subject;
pub(super) use subject::text;
