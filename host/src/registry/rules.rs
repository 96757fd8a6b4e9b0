//! What a manifest's values must satisfy, each rule stated once.
//!
//! The folder's `nocti.toml` and the bundle's JSON are checked by the same functions; they answer with a message that
//! says what is wrong with the value, and the caller adds where it stands. Pure.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::units::{format_delay, format_duration, format_size};
use crate::tensor::TensorSpec;

/// `Err` says what is wrong with the value.
pub(super) type Check = Result<(), String>;

pub(super) fn memory(bytes: u64) -> Check {
    within(bytes, 1 << 20..=4 << 30, format_size)
}

pub(super) fn timeout(duration: Duration) -> Check {
    within_duration(duration, 1, 3_600_000)
}

pub(super) fn idle_timeout(duration: Duration) -> Check {
    within_duration(duration, 0, 86_400_000)
}

pub(super) fn concurrency(requests: u32) -> Check {
    within(requests.into(), 1..=65_536, |n| n.to_string())
}

pub(super) fn reuse(requests: u32) -> Check {
    within(requests.into(), 1..=u32::MAX.into(), |n| n.to_string())
}

pub(super) fn concurrent(requests: u32) -> Check {
    within(requests.into(), 1..=1024, |n| n.to_string())
}

pub(super) fn warm(min: u32, max: u32) -> Check {
    if max >= min { Ok(()) } else { Err(format!("max_warm must be at least min_warm, but {max} is less than {min}")) }
}

pub(super) fn max_batch(requests: u32) -> Check {
    within(requests.into(), 1..=65_536, |n| n.to_string())
}

pub(super) fn max_delay(delay: Duration) -> Check {
    let us = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
    within(us, 0..=1_000_000, |us| format_delay(Duration::from_micros(us)))
}

pub(super) fn sessions(sessions: u32) -> Check {
    within(sessions.into(), 1..=64, |n| n.to_string())
}

pub(super) fn intra_threads(threads: u32) -> Check {
    within(threads.into(), 1..=256, |n| n.to_string())
}

pub(super) fn network_allow(destinations: usize) -> Check {
    const MOST: usize = 64;
    if destinations <= MOST { Ok(()) } else { Err(format!("at most {MOST} can be allowed, not {destinations}")) }
}

pub(super) fn env_key(key: &str) -> Check {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let first = |b: u8| inner(b) && !b.is_ascii_digit();
    if key.len() <= 256 && key.bytes().all(inner) && key.bytes().next().is_some_and(first) {
        return Ok(());
    }
    Err("is not a name for an environment variable: use A-Z, a-z, 0-9 and '_', not a digit first".to_owned())
}

pub(super) fn env_value(value: &str) -> Check {
    if value.contains('\0') { Err("must not contain a NUL character".to_owned()) } else { Ok(()) }
}

pub(super) fn metric(value: f64) -> Check {
    if value.is_finite() { Ok(()) } else { Err(format!("must be a finite number, not {value}")) }
}

pub(super) fn tensor(spec: &TensorSpec) -> Check {
    if spec.name.is_empty() || spec.name.chars().any(char::is_control) {
        return Err("a tensor's name must be non-empty text without control characters".to_owned());
    }
    match spec.shape.iter().find(|&&dim| dim < -1) {
        Some(dim) => Err(format!("a dimension is a size, or -1 for any size, not {dim}")),
        None => Ok(()),
    }
}

/// A component is compiled whole, in memory, which takes a multiple of its size.
pub(super) fn component(bytes: u64) -> Check {
    const MAX_BYTES: u64 = 256 << 20;
    if bytes <= MAX_BYTES {
        return Ok(());
    }
    let (has, may) = (format_size(bytes), format_size(MAX_BYTES));
    Err(format!("it has {has} and may have {may}; what is data belongs in a model or in [assets]"))
}

/// A function without a component is its one model, which also fixes what it takes and gives.
pub(super) fn model_only(models: usize, has_signature: bool) -> Check {
    if models != 1 {
        return Err(format!(
            "a function without [component] serves exactly one model, but there are {models}; add a component or keep one"
        ));
    }
    if has_signature {
        return Err("without [component] the signature is read from the model; remove [signature]".to_owned());
    }
    Ok(())
}

/// Positions at which a name appears that has appeared before.
pub(super) fn repeats<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<usize> {
    let mut seen = HashSet::new();
    names.into_iter().enumerate().filter(|(_, name)| !seen.insert(*name)).map(|(at, _)| at).collect()
}

/// Paths that another path needs as its folder.
pub(super) fn shadowed<'a>(paths: impl IntoIterator<Item = &'a str> + Clone) -> Vec<usize> {
    let folders: HashSet<&str> =
        paths.clone().into_iter().flat_map(|path| path.match_indices('/').map(|(at, _)| &path[..at])).collect();
    paths.into_iter().enumerate().filter(|(_, path)| folders.contains(path)).map(|(at, _)| at).collect()
}

fn within_duration(duration: Duration, least_ms: u64, most_ms: u64) -> Check {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    within(ms, least_ms..=most_ms, |ms| format_duration(Duration::from_millis(ms)))
}

fn within(value: u64, range: RangeInclusive<u64>, show: fn(u64) -> String) -> Check {
    if range.contains(&value) {
        return Ok(());
    }
    Err(format!("must be between {} and {}, not {}", show(*range.start()), show(*range.end()), show(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_inclusive_and_named_in_units() {
        assert!(memory(1 << 20).is_ok() && memory(4 << 30).is_ok());
        assert_eq!(memory((4 << 30) + 1).expect_err("too much"), "must be between 1MiB and 4GiB, not 4294967297B");
        assert!(timeout(Duration::ZERO).is_err() && timeout(Duration::from_secs(3600)).is_ok());
        assert_eq!(timeout(Duration::from_secs(7200)).expect_err("too long"), "must be between 1ms and 1h, not 2h");
    }

    #[test]
    fn repeats_and_shadows_are_found() {
        assert_eq!(repeats(["a", "b", "a", "a"]), [2, 3]);
        assert_eq!(shadowed(["a", "a/b", "ab/c"]), [0]);
    }
}
