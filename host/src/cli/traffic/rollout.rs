//! `nocti traffic FUNCTION VERSION --steps 5,25,100 --every 5m`: what moves requests by itself.

use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};

use crate::registry::units;

/// How requests are moved step by step.
#[derive(Debug, Args)]
pub(crate) struct RolloutArgs {
    /// Move the requests to one VERSION by itself: percents that rise to 100. Requests go back when it does worse than the other
    /// versions and than is allowed; `nocti rollback` ends it.
    #[arg(long, value_name = "PERCENTS", value_delimiter = ',', requires = "every", value_parser = step)]
    pub(super) steps: Vec<u32>,
    /// How long a step takes at least.
    #[arg(long, value_name = "DURATION", requires = "steps", value_parser = units::parse_duration)]
    every: Option<Duration>,
    /// The share of failures that is allowed, such as 1%, which it is if nothing is said.
    #[arg(long, value_name = "PERCENT", requires = "steps", value_parser = percent)]
    max_error_rate: Option<f64>,
    /// How many times the other versions' p99 its own may be, such as 1.5x; times are not looked at if nothing is said.
    #[arg(long, value_name = "TIMES", requires = "steps", value_parser = times)]
    max_p99: Option<f64>,
    /// So many requests the version must have answered in a step; 20 if nothing is said.
    #[arg(long, value_name = "N", requires = "steps", value_parser = clap::value_parser!(u64).range(1..))]
    min_requests: Option<u64>,
}

impl RolloutArgs {
    /// As a body, to which more may be added.
    pub(super) fn body(&self) -> Map<String, Value> {
        let every = self.every.map(|every| json!(units::format_duration(every)));
        let said = [
            ("steps", Some(json!(self.steps))),
            ("every", every),
            ("max_error_rate", self.max_error_rate.map(Value::from)),
            ("max_p99", self.max_p99.map(Value::from)),
            ("min_requests", self.min_requests.map(Value::from)),
        ];
        said.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

/// `5`, `5%`
fn step(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse();
    number.map_err(|_| format!("'{text}' is no whole number of percents: say some that rise to 100, such as 5,25,100"))
}

/// `1%`
fn percent(text: &str) -> Result<f64, String> {
    let number = number(text, "%").filter(|percent| *percent <= 100.0);
    number.map(|percent| percent / 100.0).ok_or_else(|| format!("'{text}' is no share: say 0% to 100%, such as 1%"))
}

/// `1.5x`
fn times(text: &str) -> Result<f64, String> {
    let number = number(text, "x").filter(|times| *times >= 1.0);
    number.ok_or_else(|| format!("'{text}' is not how many times: say 1x or more, such as 1.5x"))
}

fn number(text: &str, unit: &str) -> Option<f64> {
    let digits = text.strip_suffix(unit)?;
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    digits.parse().ok().filter(|number: &f64| is_plain && number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_times_have_their_units() {
        for (text, share) in [("1%", 0.01), ("0%", 0.0), ("0.5%", 0.005), ("100%", 1.0)] {
            assert_eq!(percent(text), Ok(share));
        }
        for (text, number) in [("1.5x", 1.5), ("1x", 1.0), ("20x", 20.0)] {
            assert_eq!(times(text), Ok(number));
        }
        assert_eq!((step("5"), step("100%")), (Ok(5), Ok(100)));
        for bad in ["", "%", "5.5", "-1%", "5%%"] {
            assert!(step(bad).is_err_and(|error| error.contains("such as 5,25,100")), "{bad}");
        }
        for bad in ["", "1", "%", "-1%", "101%", "1e1%", "inf%", "nan%", "1 %"] {
            assert!(percent(bad).is_err_and(|error| error.contains("such as 1%")), "{bad}");
        }
        for bad in ["", "1.5", "x", "0.9x", "-2x", "infx", "1..2x"] {
            assert!(times(bad).is_err_and(|error| error.contains("such as 1.5x")), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,10}|[0-9.]{0,8}[%x]") {
            let _ = (percent(&text), times(&text));
        }
    }
}
