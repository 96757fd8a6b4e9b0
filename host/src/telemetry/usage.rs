//! What running models has cost a version: one [`Usage`] each, for the protocol's statistics.
//!
//! A session runs for several versions at once, so each job carries a [`Bill`] that says whose it is.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// So many sizes of runs are told apart; a caller chooses them, and must not fill the memory.
const MAX_SIZES: usize = 256;

/// How often something happened, and how long that took in all.
#[derive(Debug, Default)]
pub struct Times {
    count: AtomicU64,
    ns: AtomicU64,
}

/// [`Times`] at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timed {
    pub count: u64,
    pub ns: u64,
}

/// The runs of one version's models so far; failed ones do not count.
#[derive(Debug, Default)]
pub struct Usage {
    /// Jobs, from their arrival to the start of their run.
    pub queue: Times,
    /// Jobs, and the runs that they were in.
    pub compute: Times,
    rows: AtomicU64,
    runs: AtomicU64,
    /// By rows of a run, those of other versions' jobs included.
    sizes: Mutex<BTreeMap<u64, Timed>>,
}

/// Whom a job is for, and how much of a run it is.
#[derive(Debug, Clone, Default)]
pub struct Bill {
    /// `None`: nobody counts.
    pub usage: Option<Arc<Usage>>,
    /// 1 for a model that does not keep rows apart.
    pub rows: u64,
}

impl Times {
    pub fn add(&self, took: Duration) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.ns.fetch_add(nanos(took), Ordering::Relaxed);
    }

    pub fn get(&self) -> Timed {
        Timed { count: self.count.load(Ordering::Relaxed), ns: self.ns.load(Ordering::Relaxed) }
    }
}

impl Usage {
    /// Rows of all jobs that were run.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Runs that jobs of this version were in.
    pub fn runs(&self) -> u64 {
        self.runs.load(Ordering::Relaxed)
    }

    /// Runs by their number of rows. After the first few hundred sizes new ones are left out.
    pub fn sizes(&self) -> Vec<(u64, Timed)> {
        let sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        sizes.iter().map(|(&rows, &timed)| (rows, timed)).collect()
    }

    fn ran(&self, rows: u64, took: Duration) {
        self.runs.fetch_add(1, Ordering::Relaxed);
        let mut sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        if sizes.len() < MAX_SIZES || sizes.contains_key(&rows) {
            let timed = sizes.entry(rows).or_default();
            *timed = Timed { count: timed.count + 1, ns: timed.ns + nanos(took) };
        }
    }
}

impl Bill {
    /// It waited so long for its run.
    pub fn waited(&self, waited: Duration) {
        if let Some(usage) = &self.usage {
            usage.queue.add(waited);
        }
    }
}

/// The jobs were in one run.
pub fn charge(bills: &[&Bill], took: Duration) {
    let rows = bills.iter().map(|bill| bill.rows).sum();
    for (at, bill) in bills.iter().enumerate() {
        let Some(usage) = &bill.usage else { continue };
        usage.compute.add(took);
        usage.rows.fetch_add(bill.rows, Ordering::Relaxed);
        let counted = |earlier: &&Bill| earlier.usage.as_ref().is_some_and(|other| Arc::ptr_eq(other, usage));
        if !bills[..at].iter().any(counted) {
            usage.ran(rows, took);
        }
    }
}

fn nanos(took: Duration) -> u64 {
    u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bill(usage: &Arc<Usage>, rows: u64) -> Bill {
        Bill { usage: Some(Arc::clone(usage)), rows }
    }

    #[test]
    fn a_run_for_two_versions_counts_once_for_each() {
        let (one, other) = (Arc::default(), Arc::default());
        let (a, b, c) = (bill(&one, 2), bill(&other, 1), bill(&one, 4));
        charge(&[&a, &b, &c, &Bill::default()], Duration::from_nanos(9));
        assert_eq!((one.runs(), one.rows(), one.compute.get()), (1, 6, Timed { count: 2, ns: 18 }));
        assert_eq!((other.runs(), other.rows(), other.compute.get()), (1, 1, Timed { count: 1, ns: 9 }));
        assert_eq!(one.sizes(), [(7, Timed { count: 1, ns: 9 })]);
    }

    #[test]
    fn sizes_do_not_grow_without_bound() {
        let usage = Arc::new(Usage::default());
        (0..2000).for_each(|rows| charge(&[&bill(&usage, rows)], Duration::ZERO));
        charge(&[&bill(&usage, 3)], Duration::ZERO);
        assert_eq!((usage.sizes().len(), usage.sizes()[3]), (MAX_SIZES, (3, Timed { count: 2, ns: 0 })));
    }
}
