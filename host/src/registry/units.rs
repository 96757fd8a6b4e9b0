//! Sizes and durations as people write them: `"128MiB"`, `"30s"`.
//!
//! Whole numbers with one unit, so that what is written is what is meant and every value has an exact text form. Knows
//! no key and no file: whoever reads one adds where it stood.

use std::time::Duration;

use super::excerpt::excerpt;

const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
const DURATIONS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
const DELAYS: [(&str, u64); 3] = [("s", 1_000_000), ("ms", 1000), ("us", 1)];

/// Text that is no size or no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a {what}: write a whole number and a unit ({units}), for example \"{example}\"")]
pub struct UnitError {
    what: &'static str,
    units: &'static str,
    example: &'static str,
    text: String,
}

/// Reads a size: a whole number with B, KiB, MiB or GiB, or a plain number of bytes.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let bytes = text.parse().ok().filter(|_| is_number(text));
    bytes.or_else(|| parse(text, &SIZES)).ok_or_else(|| UnitError {
        what: "size",
        units: "B, KiB, MiB or GiB",
        example: "128MiB",
        text: excerpt(text),
    })
}

/// Reads a duration: a whole number with ms, s, m or h.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    parse(text, &DURATIONS).map(Duration::from_millis).ok_or_else(|| UnitError {
        what: "duration",
        units: "ms, s, m or h",
        example: "30s",
        text: excerpt(text),
    })
}

/// Reads a short time: a whole number with us, ms or s.
pub fn parse_delay(text: &str) -> Result<Duration, UnitError> {
    parse(text, &DELAYS).map(Duration::from_micros).ok_or_else(|| UnitError {
        what: "delay",
        units: "us, ms or s",
        example: "500us",
        text: excerpt(text),
    })
}

/// The shortest text that [`parse_size`] reads back as `bytes`.
pub fn format_size(bytes: u64) -> String {
    format(bytes, &SIZES)
}

/// The shortest text that [`parse_duration`] reads back as `duration`, to the millisecond.
pub fn format_duration(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if ms == 0 { "0s".to_owned() } else { format(ms, &DURATIONS) }
}

/// The shortest text that [`parse_delay`] reads back as `delay`, to the microsecond.
pub fn format_delay(delay: Duration) -> String {
    let us = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
    if us == 0 { "0s".to_owned() } else { format(us, &DELAYS) }
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start_matches(' '))?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn format(value: u64, units: &[(&str, u64)]) -> String {
    let exact = units.iter().find(|(_, factor)| value != 0 && value.is_multiple_of(*factor));
    let (unit, factor) = exact.copied().unwrap_or(("B", 1));
    format!("{}{unit}", value / factor)
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_size("128MiB"), Ok(128 << 20));
        assert_eq!(parse_size("2 GiB"), Ok(2 << 30));
        assert_eq!(parse_size("512KiB"), Ok(512 << 10));
        assert_eq!(parse_size("7"), Ok(7));
        for bad in ["", "MiB", "1.5GiB", "-1", "+1", "128MB", "128mib", "1 MiB ", "99999999999GiB", "１MiB"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
        let message = parse_size("128MB").expect_err("MB").to_string();
        assert_eq!(
            message,
            "'128MB' is not a size: write a whole number and a unit (B, KiB, MiB or GiB), for example \"128MiB\""
        );
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(parse_duration("1h"), Ok(Duration::from_secs(3600)));
        for bad in ["", "30", "s", "30 seconds", "1.5s", "-1s", "5M", "99999999999999999h"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_formatted_reads_back(value: u64) {
            prop_assert_eq!(parse_size(&format_size(value)), Ok(value));
            let duration = Duration::from_millis(value);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
            let delay = Duration::from_micros(value);
            prop_assert_eq!(parse_delay(&format_delay(delay)), Ok(delay));
        }
    }
}
