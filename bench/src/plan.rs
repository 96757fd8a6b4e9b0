//! What a run measures, and with which programs.

use std::path::PathBuf;

use crate::server::Start;
use crate::stage::Programs;

/// What was asked for.
pub(crate) struct Plan {
    pub(crate) programs: Programs,
    /// Only cases whose name contains this text.
    pub(crate) only: Option<String>,
    /// Whether things run, not how fast.
    pub(crate) quick: bool,
    /// How servers are started that may use both cores, as those of the lifecycle's cases do.
    pub(crate) unpinned: Start,
    /// What starts a server of buckets.
    pub(crate) bucket_server: Option<PathBuf>,
}

impl Plan {
    pub(crate) fn wants(&self, case: &str) -> bool {
        self.only.as_ref().is_none_or(|text| case.contains(text))
    }

    /// New processes that a figure is the median of.
    pub(crate) fn samples(&self) -> usize {
        if self.quick { 3 } else { 7 }
    }
}
