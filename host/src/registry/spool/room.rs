//! Room for an upload: what has come of others, and what is still to come of those that go on, within bounds.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use super::super::digest::{Blob, Digest};
use super::{Place, Shared, SpoolError, remove};

/// The most uploads that are kept: each takes a file.
const MAX_UPLOADS: usize = 1000;

/// An upload that is kept.
pub(super) struct Kept {
    digest: Digest,
    size: u64,
    pub(super) path: PathBuf,
    /// When the last of it came.
    pub(super) since: SystemTime,
}

impl Shared {
    /// A place for an upload that goes on; the oldest that do not go on make room for it.
    pub(super) fn take_place(self: &Arc<Self>, blob: Blob) -> Result<Place, SpoolError> {
        let max = self.config.max_bytes;
        if blob.size > max {
            return Err(SpoolError::TooLarge { size: blob.size, max });
        }
        let mut going_on = self.going_on();
        if going_on.iter().any(|other| other.sha256 == blob.sha256) {
            return Err(SpoolError::Busy);
        }
        let active: HashMap<Digest, u64> = going_on.iter().map(|other| (other.sha256, other.size)).collect();
        let mut idle = self.kept();
        idle.retain(|kept| kept.digest != blob.sha256 && !active.contains_key(&kept.digest));
        idle.sort_by_key(|kept| std::cmp::Reverse(kept.since));
        let active_bytes = active.values().fold(blob.size, |sum, size| sum.saturating_add(*size));
        let mut bytes = idle.iter().fold(active_bytes, |sum, kept| sum.saturating_add(kept.size));
        let mut count = idle.len() + active.len() + 1;
        // Those of another process are locked, and stay.
        while bytes > max || count > MAX_UPLOADS {
            let oldest = idle.pop().ok_or(SpoolError::NoRoom)?;
            if remove(&oldest.path) {
                (bytes, count) = (bytes.saturating_sub(oldest.size), count - 1);
            }
        }
        going_on.push(blob);
        Ok(Place { shared: Arc::clone(self), blob })
    }

    /// All uploads that are kept. What has no digest for a name was put there by no one of us.
    pub(super) fn kept(&self) -> Vec<Kept> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let kept = entries.filter_map(|entry| {
            let digest = entry.file_name().to_str()?.parse().ok()?;
            let found = entry.metadata().ok()?;
            Some(Kept { digest, size: found.len(), path: entry.path(), since: found.modified().ok()? })
        });
        kept.collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.going_on().retain(|other| other.sha256 != self.blob.sha256);
    }
}
