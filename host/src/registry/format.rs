//! Revisions and manifests of a later release, told from damaged ones.
//!
//! What has no number `format` is of format 1. A release that writes what those before it cannot read, or would read wrongly,
//! gives it a higher one; what is unknown makes it unreadable here, so nothing that a later release has written is lost by a change
//! that an earlier one makes.

use serde::Deserialize;

/// What this release writes and reads.
pub(super) const FORMAT: u64 = 1;

/// The format of JSON that cannot be read, if it is one that only a later release knows.
pub(super) fn newer(json: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Head {
        format: u64,
    }
    let head: Head = serde_json::from_slice(json).ok()?;
    Some(head.format).filter(|format| *format > FORMAT)
}

/// Why JSON that says nothing of a later format cannot be read.
pub(super) fn why(error: &serde_json::Error) -> String {
    if error.is_data() { format!("{error} (if a newer nocti wrote it, upgrade this one)") } else { error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_higher_number_is_newer() {
        for (json, format) in [
            (r#"{"melted": [1], "format": 2}"#, Some(2)),
            (r#"{"format": 1}"#, None),
            (r#"{"format": "2"}"#, None),
            ("{}", None),
            (r#"{"format": 2"#, None),
        ] {
            assert_eq!(newer(json.as_bytes()), format, "{json}");
        }
    }

    #[test]
    fn what_is_no_json_is_of_no_release() {
        let why = |json: &str| super::why(&serde_json::from_str::<bool>(json).expect_err("it is none"));
        assert!(why("5").contains("upgrade") && !why("tru").contains("upgrade") && !why("").contains("upgrade"));
    }
}
