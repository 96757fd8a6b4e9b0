//! What a request's time went into, as far as the host knows: for its line in the function's log.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

/// A part of a request's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// For a place in the function.
    Wait,
    /// For the version to be in memory.
    Wake,
    /// Inside the function, what that waits for included.
    Guest,
    /// In the model of a function that is only one.
    Model,
}

/// The parts of one request; nothing where nobody is told.
#[derive(Debug, Clone, Default)]
pub struct Parts(Option<Arc<[AtomicU64; Part::ALL.len()]>>);

/// Adds how long it was there to a part.
#[derive(Debug)]
pub struct PartTimer {
    /// Nothing where nobody is told: the clock is not read for it.
    running: Option<(Parts, Instant)>,
    part: Part,
}

impl Parts {
    /// Those of a request that somebody is told about.
    pub(super) fn told() -> Self {
        Self(Some(Arc::default()))
    }

    /// A part begins.
    pub fn begin(&self, part: Part) -> PartTimer {
        PartTimer { running: self.0.is_some().then(|| (self.clone(), Instant::now())), part }
    }
}

impl Drop for PartTimer {
    fn drop(&mut self) {
        if let Some((Parts(Some(parts)), began)) = &self.running {
            let us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            parts[self.part as usize].fetch_add(us, Ordering::Relaxed);
        }
    }
}

/// In milliseconds; what took no time is left out.
impl fmt::Display for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN_US: u64 = 50;
        let Some(parts) = &self.0 else { return Ok(()) };
        for (part, us) in Part::ALL.into_iter().zip(parts.iter().map(|us| us.load(Ordering::Relaxed))) {
            if us >= SHOWN_US {
                write!(f, ", {} {:.1}", part.name(), us as f64 / 1000.0)?;
            }
        }
        Ok(())
    }
}

impl Part {
    const ALL: [Self; 4] = [Self::Wait, Self::Wake, Self::Guest, Self::Model];

    fn name(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Wake => "wake",
            Self::Guest => "guest",
            Self::Model => "model",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn parts_add_up_and_short_ones_are_left_out() {
        let parts = Parts::told();
        for _ in 0..2 {
            let guest = parts.begin(Part::Guest);
            tokio::time::advance(Duration::from_micros(1300)).await;
            drop(guest);
        }
        drop(parts.begin(Part::Wait));
        assert_eq!(parts.to_string(), ", guest 2.6");
        drop(Parts::default().begin(Part::Guest));
        assert_eq!(Parts::default().to_string(), "");
    }
}
