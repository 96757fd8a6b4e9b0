//! One line of a log: a JSON object and a line break.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Where a line comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// What the function printed.
    Stdout,
    /// The same as an error.
    Stderr,
    /// A request came to its end.
    Request,
    /// What the host has to tell the function's author.
    Host,
}

impl Stream {
    /// As lines have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Request => "request",
            Self::Host => "host",
        }
    }
}

/// A line of a function's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Line<'a> {
    /// When it came, in UTC to the millisecond, as RFC 3339 has it.
    #[schema(format = DateTime, example = "2026-11-26T14:49:58.123Z")]
    pub time: Cow<'a, str>,
    /// Absent where it is about all versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub version: Option<Cow<'a, str>>,
    pub stream: Stream,
    /// The `x-request-id` of the request that it belongs to, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub request: Option<Cow<'a, str>>,
    pub text: Cow<'a, str>,
    /// True: it was too long for one line, and goes on in the next.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

/// What decides whether a line is wanted.
#[derive(Deserialize)]
pub(super) struct Head<'a> {
    #[serde(borrow)]
    pub(super) time: &'a str,
    #[serde(default)]
    pub(super) version: Option<&'a str>,
}

impl Line<'_> {
    /// Adds it to others.
    pub(super) fn write(&self, lines: &mut Vec<u8>) {
        let before = lines.len();
        match serde_json::to_writer(&mut *lines, self) {
            Ok(()) => lines.push(b'\n'),
            // It has string keys and nothing that fails.
            Err(_) => lines.truncate(before),
        }
    }
}

/// How many bytes a text takes in a line.
pub(super) fn written_bytes(text: &str) -> usize {
    let bytes = text.bytes().map(|byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    });
    bytes.sum()
}

/// A moment as lines have it: of two texts the earlier moment's is the smaller.
pub(super) fn time(moment: DateTime<Utc>) -> String {
    moment.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// A line that was written; `None` for what a crash has left of one.
pub(super) fn head(line: &[u8]) -> Option<Head<'_>> {
    serde_json::from_slice(line).ok()
}

/// Text that a terminal shows and does not obey.
pub fn plain(text: &str) -> Cow<'_, str> {
    let is_told = |c: char| c.is_control() && c != '\t';
    if !text.contains(is_told) {
        return text.into();
    }
    let escaped = |c: char| if is_told(c) { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escaped).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(text: &str) -> Line<'_> {
        Line {
            time: time(DateTime::UNIX_EPOCH).into(),
            version: Some("1.0.0".into()),
            stream: Stream::Stdout,
            request: Some("a\"b".into()),
            text: text.into(),
            cut: false,
        }
    }

    fn written(line: &Line<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        line.write(&mut bytes);
        bytes
    }

    #[test]
    fn a_line_is_an_object() {
        let bytes = written(&line("it's \"x\"\u{1b}"));
        let expected = r#"{"time":"1970-01-01T00:00:00.000Z","version":"1.0.0","stream":"stdout","request":"a\"b","text":"it's \"x\"\u001b"}"#;
        assert_eq!(String::from_utf8_lossy(&bytes), format!("{expected}\n"));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_and_is_one_line(text in "\\PC*|[\\x00-\\x7f]*", cut: bool) {
            let line = Line { cut, ..line(&text) };
            let bytes = written(&line);
            prop_assert_eq!(bytes.iter().position(|&byte| byte == b'\n'), Some(bytes.len() - 1));
            prop_assert_eq!(serde_json::from_slice::<Line<'_>>(&bytes).ok(), Some(line.clone()));
            let head = head(&bytes).expect("it is whole");
            prop_assert_eq!((head.time, head.version), ("1970-01-01T00:00:00.000Z", Some("1.0.0")));
            let without = written(&Line { text: "".into(), ..line.clone() }).len();
            prop_assert_eq!(written_bytes(&text), bytes.len() - without);
        }

        #[test]
        fn what_is_left_of_a_line_is_none(text in "\\PC*", at: prop::sample::Index) {
            let bytes = written(&line(&text));
            let left = at.index(bytes.len() - 2);
            prop_assert!(head(&bytes[..left]).is_none());
            // And another one behind it.
            let both = [&bytes[..left.max(1)], &bytes].concat();
            prop_assert!(head(&both).is_none());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = head(&bytes);
        }
    }
}
