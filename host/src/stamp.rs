//! What tells a file from others, and from itself before a change, without reading it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// Two equal stamps of one path: the content is the same, if the first was [settled](Self::is_settled). Every way to write to a
/// file changes its ctime, which programs cannot set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    mtime_ns: i64,
    ctime_ns: i64,
}

impl Stamp {
    /// The stamp of a file that is there.
    pub fn new(metadata: &Metadata) -> Self {
        let ns = |seconds: i64, ns: i64| seconds.wrapping_mul(1_000_000_000).wrapping_add(ns);
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            mtime_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            ctime_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// A file's stamp; `None` if there is no such file, or if it is so new that the next change might not show.
    pub fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok().filter(Metadata::is_file)?;
        let stamp = Self::new(&metadata);
        stamp.is_settled(SystemTime::now()).then_some(stamp)
    }

    /// Whether a change after this time would show. File times move in steps of a few milliseconds: two changes within one look
    /// the same. A clock that was set back only makes more files look new.
    pub fn is_settled(self, at: SystemTime) -> bool {
        const STEP: Duration = Duration::from_millis(20);
        let changed = Duration::from_nanos(u64::try_from(self.ctime_ns).unwrap_or(u64::MAX));
        at.duration_since(SystemTime::UNIX_EPOCH + changed).is_ok_and(|age| age > STEP)
    }
}
