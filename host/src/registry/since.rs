//! A moment in the past as people give it: how long ago it is, `5m`, or RFC 3339 text, `2026-11-26T14:49:58Z`.
//!
//! Knows no clock but the system's.

use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};

use super::excerpt::excerpt;
use super::units;

/// A moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since(pub DateTime<Utc>);

/// Text that is not a moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is neither a time ago such as 5m (ms, s, m or h) nor a time such as 2026-11-26T14:49:58Z")]
pub struct NotAMoment(String);

impl FromStr for Since {
    type Err = NotAMoment;

    fn from_str(text: &str) -> Result<Self, NotAMoment> {
        if let Ok(ago) = units::parse_duration(text) {
            // What began before there were dates is all there is.
            let moment = TimeDelta::from_std(ago).ok().and_then(|ago| Utc::now().checked_sub_signed(ago));
            return Ok(Self(moment.unwrap_or(DateTime::UNIX_EPOCH).max(DateTime::UNIX_EPOCH)));
        }
        let moment = DateTime::parse_from_rfc3339(text).map_err(|_| NotAMoment(excerpt(text)))?;
        Ok(Self(moment.to_utc()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_time_ago_or_a_time() {
        for (text, ago) in [("0s", 0), ("90s", 90), ("2h", 7200)] {
            let (before, moment, ago) =
                (Utc::now(), text.parse::<Since>().expect("a moment").0, TimeDelta::seconds(ago));
            assert!((before - ago..=Utc::now() - ago).contains(&moment), "{text}");
        }
        let at = |text: &str| text.parse::<Since>().expect("a moment").0.timestamp_millis();
        for text in ["2026-11-26T14:49:58.123Z", "2026-11-26T15:49:58.123+01:00", "2026-11-26 14:49:58.123z"] {
            assert_eq!(at(text), 1_795_704_598_123, "{text}");
        }
        assert_eq!(at("5000000000h"), 0, "all there is");
        for bad in ["", "5", "5 minutes", "yesterday", "-5m", "2026-11-26", "2026-11-26T14:49:58"] {
            assert!(bad.parse::<Since>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,30}|[0-9]{0,25}(ms|s|m|h)|[0-9TZ:.+-]{20,30}") {
            let _ = text.parse::<Since>();
        }
    }
}
