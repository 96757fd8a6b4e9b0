//! How much a function may write: so many bytes a second, and more for a moment.

use std::time::Duration;

use tokio::time::Instant;

/// What a function may write in the long run, of all its versions and instances together.
pub(super) const BYTES_PER_SECOND: u64 = 64 << 10;

/// For how long it may have written nothing that it may make up for: four times as much at once.
const SPAN: Duration = Duration::from_secs(4);

/// Once it has had all, it gets nothing until it may write for so long: few gaps with a number each, not one after each line.
const PAUSE: Duration = Duration::from_secs(1);

/// What a function has had.
#[derive(Debug)]
pub(super) struct Budget {
    /// When all that it has had will have been its due.
    settled: Instant,
    shut: bool,
}

impl Budget {
    /// Nothing was taken.
    pub(super) fn new(now: Instant) -> Self {
        Self { settled: now, shut: false }
    }

    /// Whether so many bytes may be written, which then are.
    pub(super) fn take(&mut self, bytes: usize, now: Instant) -> bool {
        let nanoseconds = (bytes as u64).saturating_mul(1_000_000_000) / BYTES_PER_SECOND;
        let owed = self.owed(now) + Duration::from_nanos(nanoseconds);
        self.shut = !self.opens(now) || owed > SPAN;
        if !self.shut {
            self.settled = now + owed;
        }
        !self.shut
    }

    /// Whether something may be written.
    pub(super) fn opens(&self, now: Instant) -> bool {
        !self.shut || self.owed(now) <= SPAN - PAUSE
    }

    fn owed(&self, now: Instant) -> Duration {
        self.settled.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_gets_its_share_in_few_pieces() {
        let began = Instant::now();
        let mut budget = Budget::new(began);
        let (mut taken, mut pieces, mut before) = (0, 0, false);
        for ms in 0..60_000 {
            let now = began + Duration::from_millis(ms);
            let is_taken = budget.take(1000, now);
            taken += if is_taken { 1000 } else { 0 };
            pieces += u32::from(is_taken && !before);
            before = is_taken;
        }
        let share = (60 + SPAN.as_secs()) * BYTES_PER_SECOND;
        assert!(taken <= share && taken > share * 9 / 10, "{taken} of {share}");
        assert!((50..=62).contains(&pieces), "{pieces}");
    }

    #[test]
    fn who_keeps_within_it_loses_nothing() {
        let began = Instant::now();
        let mut budget = Budget::new(began);
        for second in 0..100 {
            let now = began + Duration::from_secs(second);
            assert!((0..64).all(|_| budget.take(1024, now)), "second {second}");
        }
    }
}
