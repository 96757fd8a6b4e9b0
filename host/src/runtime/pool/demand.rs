//! How many instances a pool should have: those that were needed at once of late, and one more while requests find none.
//!
//! Pure: it is told what happens and when. "Of late" is the present window of time and the one before, so what a spike left is
//! forgotten after two windows, however long each instance may stay idle.

use std::time::Duration;

use tokio::time::Instant;

/// What was needed of late.
#[derive(Debug, Clone)]
pub(super) struct Demand {
    window: Duration,
    began: Instant,
    now: Seen,
    before: Seen,
}

/// What one window saw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Seen {
    /// The most instances that were busy at once.
    busy: usize,
    /// Whether a request found no instance waiting.
    missed: bool,
}

impl Demand {
    /// For instances that may be idle for so long.
    pub(super) fn new(idle_timeout: Duration, now: Instant) -> Self {
        /// Requests come in bursts; shorter windows would follow each.
        const SHORTEST: Duration = Duration::from_millis(100);
        const LONGEST: Duration = Duration::from_secs(5);
        let window = (idle_timeout / 10).clamp(SHORTEST, LONGEST);
        Self { window, began: now, now: Seen::default(), before: Seen::default() }
    }

    /// An instance was taken, and so many are busy now.
    pub(super) fn took(&mut self, busy: usize, missed: bool, now: Instant) {
        self.turn(now);
        self.now.busy = self.now.busy.max(busy);
        self.now.missed |= missed;
    }

    /// So many instances should there be, busy ones included.
    pub(super) fn wanted(&mut self, now: Instant) -> usize {
        self.turn(now);
        let spare = usize::from(self.now.missed || self.before.missed);
        self.now.busy.max(self.before.busy) + spare
    }

    /// When the answer may have become smaller.
    pub(super) fn next(&self) -> Instant {
        self.began + self.window
    }

    fn turn(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.began);
        if passed < self.window {
            return;
        }
        self.before = if passed < 2 * self.window { self.now } else { Seen::default() };
        self.now = Seen::default();
        self.began = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WINDOW: Duration = Duration::from_secs(3);

    fn demand() -> (Demand, Instant) {
        let now = Instant::now();
        (Demand::new(10 * WINDOW, now), now)
    }

    #[test]
    fn a_spike_is_forgotten_after_two_windows() {
        let (mut demand, start) = demand();
        (1..=16).for_each(|busy| demand.took(busy, false, start));
        assert_eq!(demand.wanted(start + WINDOW / 2), 16);
        demand.took(2, false, start + WINDOW);
        assert_eq!(demand.wanted(start + WINDOW), 16);
        demand.took(1, false, start + 2 * WINDOW);
        assert_eq!(demand.wanted(start + 2 * WINDOW), 2);
        assert_eq!(demand.wanted(start + 9 * WINDOW), 0);
    }

    #[test]
    fn one_more_is_wanted_while_requests_find_none() {
        let (mut demand, start) = demand();
        demand.took(1, true, start);
        assert_eq!(demand.wanted(start), 2);
        demand.took(1, false, start + WINDOW);
        demand.took(1, false, start + 2 * WINDOW);
        assert_eq!(demand.wanted(start + 2 * WINDOW), 1);
    }

    proptest! {
        #[test]
        fn what_was_busy_within_a_window_is_wanted_and_nothing_that_never_was(
            took in prop::collection::vec((0_u64..10_000, 1_usize..50, any::<bool>()), 1..50),
            later in 0_u64..10_000,
        ) {
            let (mut demand, mut now) = demand();
            let mut seen = Vec::new();
            for (ms, busy, missed) in took {
                now += Duration::from_millis(ms);
                demand.took(busy, missed, now);
                seen.push((now, busy));
            }
            now += Duration::from_millis(later);
            let most = |since: Duration| {
                seen.iter().filter(|(at, _)| now - *at < since).map(|(_, busy)| *busy).max().unwrap_or(0)
            };
            let wanted = demand.wanted(now);
            prop_assert!(wanted >= most(WINDOW), "{wanted}");
            prop_assert!(wanted <= most(3 * WINDOW) + 1, "{wanted}");
        }
    }
}
