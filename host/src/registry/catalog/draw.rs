//! Which version of an alias a request goes to: by chance, or always the same for its key.
//!
//! Without a key a draw is exact in the long run. With one, every version waits for a time that the key alone decides,
//! at a rate that is its weight, and the first one has it (weighted rendezvous hashing). So a key keeps its version
//! while the weights are the same; when one weight changes, keys move to that version or away from it and between no
//! others; and shares are as exact as without.

use smallvec::SmallVec;
use twox_hash::XxHash3_64;

/// Versions and their weights, of which there is one at least. A few of them lie where this does.
#[derive(Debug, Clone)]
pub(super) struct Shares<V>(SmallVec<[Share<V>; 3]>);

#[derive(Debug, Clone)]
struct Share<V> {
    /// Its weight and those of the ones before it.
    until: u32,
    version: V,
}

impl<V> Shares<V> {
    /// `None` if there is no weight.
    pub(super) fn of(weights: impl IntoIterator<Item = (V, u32)>) -> Option<Self> {
        let mut total = 0u32;
        let weights = weights.into_iter().filter(|(_, weight)| *weight > 0);
        let shares: SmallVec<_> = weights
            .map(|(version, weight)| {
                total = total.saturating_add(weight);
                Share { until: total, version }
            })
            .collect();
        (!shares.is_empty()).then_some(Self(shares))
    }

    /// The version that chance picks.
    pub(super) fn by_chance(&self) -> &V {
        match &self.0[..] {
            [only] => &only.version,
            shares => self.at(rand::random_range(0..shares[shares.len() - 1].until)),
        }
    }

    /// The version that belongs to a key of requests to `alias` of `function`.
    pub(super) fn by_key(&self, name: impl Fn(&V) -> &str, function: &str, alias: &str, key: &[u8]) -> &V {
        if let [only] = &self.0[..] {
            return &only.version;
        }
        let mut before = 0;
        let waits = self.0.iter().map(|Share { until, version }| {
            let weight = until - std::mem::replace(&mut before, *until);
            // Lengths keep apart what would read the same.
            let mut text = Vec::with_capacity(128);
            for part in [function.as_bytes(), alias.as_bytes(), name(version).as_bytes(), key] {
                text.extend_from_slice(&part.len().to_le_bytes());
                text.extend_from_slice(part);
            }
            // 53 bits are what a float holds; a half more, and none is 0 or 1.
            let chance = ((XxHash3_64::oneshot(&text) >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
            (version, -chance.ln() / f64::from(weight))
        });
        let first = waits.min_by(|(_, one), (_, other)| one.total_cmp(other));
        first.map_or(&self.0[0].version, |(version, _)| version)
    }

    /// The version whose share of the total weight `draw` falls into.
    fn at(&self, draw: u32) -> &V {
        let share = self.0.iter().find(|share| draw < share.until);
        &share.unwrap_or(&self.0[self.0.len() - 1]).version
    }
}

/// Whether a request is one of so many in a hundred.
pub(super) fn is_copied(percent: u32) -> bool {
    percent >= 100 || rand::random_range(0..100) < percent
}

#[cfg(test)]
mod tests;
