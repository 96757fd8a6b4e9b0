//! The header `grpc-timeout`: how long the client waits.

use std::time::Duration;

use http::HeaderMap;

use crate::deadline::Deadline;

/// Until when the client waits, if it says so. What is no timeout by the protocol's grammar is none.
pub(super) fn asked(headers: &HeaderMap) -> Option<Deadline> {
    parse(headers.get("grpc-timeout")?.to_str().ok()?).map(Deadline::asked)
}

/// At most eight digits and a unit.
fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_digits_and_a_unit() {
        for (text, timeout) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("99999999S", Some(Duration::from_secs(99_999_999))),
            ("250m", Some(Duration::from_millis(250))),
            ("7u", Some(Duration::from_micros(7))),
            ("0n", Some(Duration::ZERO)),
            ("", None),
            ("S", None),
            ("1", None),
            ("1s", None),
            ("-1S", None),
            ("100000000S", None),
            ("1é", None),
        ] {
            assert_eq!(parse(text), timeout, "{text}");
        }
    }
}
