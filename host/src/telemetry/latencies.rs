//! How long things took, finely enough to compare two of them: counts by time, in steps of at most an eighth.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Steps between one power of two and the next.
const STEPS: usize = 8;
/// The first microseconds have a place each; then come so many powers of two, the last of which is some nineteen hours.
const POWERS: usize = 32;
const PLACES: usize = 2 * STEPS + POWERS * STEPS;

/// Counts that grow.
#[derive(Debug)]
pub struct Latencies([AtomicU64; PLACES]);

/// [`Latencies`] at one moment, or what came between two.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spread(Vec<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; PLACES])
    }
}

impl Latencies {
    pub fn add(&self, took: Duration) {
        self.0[place(took)].fetch_add(1, Ordering::Relaxed);
    }

    /// As they are now.
    pub fn spread(&self) -> Spread {
        Spread(self.0.iter().map(|count| count.load(Ordering::Relaxed)).collect())
    }
}

impl Spread {
    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// What came since then.
    pub fn since(&self, earlier: &Self) -> Self {
        Self(self.0.iter().enumerate().map(|(at, count)| count.saturating_sub(earlier.at(at))).collect())
    }

    /// Both together.
    pub fn and(&self, other: &Self) -> Self {
        let places = self.0.len().max(other.0.len());
        Self((0..places).map(|at| self.at(at) + other.at(at)).collect())
    }

    /// What a share of them did not exceed, by at most an eighth too much; `None` where there are none.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let count = self.count();
        let rank = (share.clamp(0.0, 1.0) * count as f64).ceil().max(1.0);
        let mut seen = 0;
        let found = self.0.iter().position(|here| {
            seen += here;
            seen as f64 >= rank && count > 0
        });
        found.map(end)
    }

    /// How many surely took longer than that.
    pub fn above(&self, limit: Duration) -> u64 {
        self.0.iter().skip(place(limit) + 1).sum()
    }

    fn at(&self, place: usize) -> u64 {
        self.0.get(place).copied().unwrap_or_default()
    }
}

fn place(took: Duration) -> usize {
    let us = usize::try_from(took.as_micros()).unwrap_or(usize::MAX);
    if us < 2 * STEPS {
        return us;
    }
    // Its highest four bits: the power, and the step within it.
    let power = us.ilog2() as usize - STEPS.ilog2() as usize;
    (power * STEPS + (us >> power)).min(PLACES - 1)
}

/// The longest time that has this place.
fn end(place: usize) -> Duration {
    let (power, step) = if place < 2 * STEPS { (0, place) } else { (place / STEPS - 1, STEPS + place % STEPS) };
    Duration::from_micros((((step as u64) + 1) << power) - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spread(us: &[u64]) -> Spread {
        let latencies = Latencies::default();
        us.iter().for_each(|&us| latencies.add(Duration::from_micros(us)));
        latencies.spread()
    }

    #[test]
    fn quantiles_are_of_what_is_there() {
        assert_eq!(Spread::default().quantile(0.5), None);
        let few = spread(&[3, 1, 2, 9]);
        assert_eq!(few.quantile(0.5), Some(Duration::from_micros(2)));
        assert_eq!(
            (few.quantile(1.0), few.quantile(0.0)),
            (Some(Duration::from_micros(9)), Some(Duration::from_micros(1)))
        );
        assert_eq!((few.above(Duration::from_micros(2)), few.above(Duration::from_micros(9))), (2, 0));
        let later = few.and(&spread(&[100, 200]));
        assert_eq!((later.count(), later.since(&few).count()), (6, 2));
        assert_eq!(spread(&[u64::MAX]).count(), 1);
    }

    proptest! {
        #[test]
        fn a_place_ends_at_most_an_eighth_behind_what_it_holds(us in 0..1u64 << 35) {
            let took = Duration::from_micros(us);
            let end = end(place(took));
            prop_assert!(took <= end && end <= took + took / 8, "{took:?} {end:?}");
            prop_assert!(place(end) == place(took) && place(end + Duration::from_micros(1)) == place(took) + 1);
        }
    }
}
