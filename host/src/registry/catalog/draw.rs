//! Which version of an alias a request goes to: by chance, or always the same for its key.
//!
//! Without a key a draw is exact in the long run. With one, every version waits for a time that the key alone decides,
//! at a rate that is its weight, and the first one has it (weighted rendezvous hashing). So a key keeps its version
//! while the weights are the same; when one weight changes, keys move to that version or away from it and between no
//! others; and shares are as exact as without.

use twox_hash::XxHash3_64;

use super::super::name::VersionName;
use super::super::revision::Weights;

/// The version that chance picks.
pub(super) fn by_chance(weights: &Weights) -> Option<&VersionName> {
    if weights.len() == 1 {
        return weights.keys().next();
    }
    at(weights, rand::random_range(0..weights.values().sum()))
}

/// Whether a request is one of so many in a hundred.
pub(super) fn is_copied(percent: u32) -> bool {
    percent >= 100 || rand::random_range(0..100) < percent
}

/// The version that belongs to a key of requests to `alias` of `function`.
pub(super) fn by_key<'w>(weights: &'w Weights, function: &str, alias: &str, key: &[u8]) -> Option<&'w VersionName> {
    let waits = weights.iter().map(|(version, &weight)| {
        // Lengths keep apart what would read the same.
        let mut text = Vec::with_capacity(128);
        for part in [function.as_bytes(), alias.as_bytes(), version.as_str().as_bytes(), key] {
            text.extend_from_slice(&part.len().to_le_bytes());
            text.extend_from_slice(part);
        }
        // 53 bits are what a float holds; a half more, and none is 0 or 1.
        let chance = ((XxHash3_64::oneshot(&text) >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        (version, -chance.ln() / f64::from(weight))
    });
    waits.min_by(|(_, one), (_, other)| one.total_cmp(other)).map(|(version, _)| version)
}

/// The version whose share of the total weight `draw` falls into.
fn at(weights: &Weights, mut draw: u32) -> Option<&VersionName> {
    for (version, &weight) in weights {
        match draw.checked_sub(weight) {
            None => return Some(version),
            Some(rest) => draw = rest,
        }
    }
    None
}

#[cfg(test)]
mod tests;
