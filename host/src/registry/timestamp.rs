//! A moment, to the second, as RFC 3339 text in UTC: `2026-11-23T14:31:00Z`.
//!
//! The one text form that revisions hold. Knows no time zone but UTC and no clock but the system's.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Datelike, NaiveDateTime, Utc};
use serde::{Deserialize, Serialize};

use super::excerpt::excerpt;

const FORMAT: &str = "%Y-%m-%dT%H:%M:%SZ";

/// A whole second between 1970 and the end of the year 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(DateTime<Utc>);

/// Text that is not a moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a time like 2026-11-23T14:31:00Z")]
pub struct NotATimestamp(String);

impl Timestamp {
    /// The system's clock; 1970 where that stands before it.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let now = i64::try_from(since).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        Self(now.unwrap_or_default())
    }

    /// How long ago it was; nothing, where the clock has gone back behind it.
    pub fn elapsed(self) -> Duration {
        (Self::now().0 - self.0).to_std().unwrap_or_default()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.format(FORMAT).fmt(f)
    }
}

impl FromStr for Timestamp {
    type Err = NotATimestamp;

    fn from_str(text: &str) -> Result<Self, NotATimestamp> {
        let read = NaiveDateTime::parse_from_str(text, FORMAT).ok();
        // Through whole seconds: a leap second is none.
        let moment = read.and_then(|read| DateTime::from_timestamp(read.and_utc().timestamp(), 0)).map(Self);
        // Every moment has one text.
        let exact = moment.filter(|moment| (1970..=9999).contains(&moment.0.year()) && moment.to_string() == text);
        exact.ok_or_else(|| NotATimestamp(excerpt(text)))
    }
}

impl TryFrom<String> for Timestamp {
    type Error = NotATimestamp;

    fn try_from(text: String) -> Result<Self, NotATimestamp> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(moment: Timestamp) -> Self {
        moment.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp(DateTime::from_timestamp(seconds, 0).expect("in range"))
    }

    #[test]
    fn known_moments() {
        assert_eq!(at(0).to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_827_696).to_string(), "2000-02-29T12:34:56Z");
        assert_eq!(at(253_402_300_799).to_string(), "9999-12-31T23:59:59Z");
        for bad in [
            "",
            "2026-11-23",
            "2026-02-30T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "2026-11-23T24:00:00Z",
            "2026-12-31T23:59:60Z",
            "2026-11-23T14:31:0Z",
            " 2026-11-23T14:31:00Z",
            "+10000-01-01T00:00:00Z",
            "2026-11-23T14:31:00+01:00",
            "+026-11-23T14:31:00Z",
        ] {
            assert!(bad.parse::<Timestamp>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_to_come_was_no_time_ago() {
        assert_eq!(at(253_402_300_799).elapsed(), Duration::ZERO);
        assert!(at(1_700_000_000).elapsed() > Duration::from_secs(3600));
    }

    proptest! {
        #[test]
        fn text_reads_back(seconds in 0i64..=253_402_300_799) {
            prop_assert_eq!(at(seconds).to_string().parse(), Ok(at(seconds)));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,25}|[0-9TZ:+-]{20}") {
            let _ = text.parse::<Timestamp>();
        }
    }
}
