//! A query of `nocti search`.

use nocti::registry::search::{Query, QueryError};

use crate::memory::bounded;

/// Terms are some times as large as the shortest text of one.
fn most_bytes(query_bytes: usize) -> usize {
    64 * query_bytes + (16 << 10)
}

/// The bytes are the query.
pub fn query(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    bounded(most_bytes(text.len()), || match text.parse::<Query>() {
        Ok(query) => {
            let written = query.to_string();
            match written.parse() {
                Ok(again) => assert_eq!(query, again, "{written}"),
                // A phrase grows by its backslashes, and some letters by becoming lower case.
                Err(error) => assert!(matches!(error, QueryError::TooLong(_)), "{written}: {error}"),
            }
        }
        Err(QueryError::Wrong { at, why }) => {
            assert!((1..=text.chars().count() + 1).contains(&at) && !why.is_empty());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    });
}
