//! Blobs of a bucket as files of this node: fetched when somebody first needs one as a file, checked, and bounded.
//!
//! A file appears whole under its name or not at all. Who has one open or mapped keeps it when it is removed to make room; one
//! that was asked for a moment ago is not removed, so that there is time to open it.

use std::fs::{self, FileTimes};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use dashmap::DashMap;
use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectStore, ObjectStoreExt};

use super::super::digest::{BlobHasher, Digest};
use super::{StoreError, blob_path, failed};

/// Each part is a request of its own, in a time of its own.
const PART_BYTES: u64 = 8 << 20;
/// Parts that are fetched at once, and may be in memory.
const PARTS: usize = 4;
const STAGED: &str = ".staged-";
/// Time to open a file once its path is known.
const JUST_ASKED: Duration = Duration::from_secs(60);
/// Nobody fetches one blob for so long.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// A folder of blobs.
#[derive(Debug)]
pub(super) struct Fetched {
    folder: PathBuf,
    limit_bytes: u64,
    fetching: DashMap<Digest, Arc<tokio::sync::Mutex<()>>>,
    /// One at a time makes room.
    evicting: Mutex<()>,
}

impl Fetched {
    /// The folder below `cache`; it is made when it is first needed.
    pub(super) fn new(cache: &Path, limit_bytes: u64) -> Self {
        let folder = cache.join("blobs").join("sha256");
        Self { folder, limit_bytes, fetching: DashMap::new(), evicting: Mutex::default() }
    }

    /// The file of a blob, fetched now if it is not there. Of those that want it at once one fetches it.
    pub(super) async fn file(
        self: &Arc<Self>,
        objects: &dyn ObjectStore,
        digest: &Digest,
    ) -> Result<PathBuf, StoreError> {
        let path = self.folder.join(digest.to_string());
        if touch(&path) {
            return Ok(path);
        }
        let turn = Arc::clone(&self.fetching.entry(*digest).or_default());
        let outcome = {
            let _turn = turn.lock().await;
            match touch(&path) {
                true => Ok(()),
                false => self.fetch(objects, digest, &path).await,
            }
        };
        drop(turn);
        self.fetching.remove_if(digest, |_, turn| Arc::strong_count(turn) == 1);
        outcome.map(|()| path)
    }

    async fn fetch(
        self: &Arc<Self>,
        objects: &dyn ObjectStore,
        digest: &Digest,
        path: &Path,
    ) -> Result<(), StoreError> {
        let object = blob_path(digest);
        let size = objects.head(&object).await.map_err(failed("look for", &object))?.size;
        let fetched = Arc::clone(self);
        let mut staged = blocking(move || {
            fs::create_dir_all(&fetched.folder)?;
            fetched.make_room(size);
            tempfile::Builder::new().prefix(STAGED).tempfile_in(&fetched.folder)
        })
        .await?;
        let mut hasher = BlobHasher::default();
        let starts = (0..size.div_ceil(PART_BYTES)).map(|part| part * PART_BYTES);
        let ranges = starts.map(|start| start..size.min(start + PART_BYTES));
        let reads = ranges.map(|range| objects.get_range(&object, range));
        let mut parts = futures::stream::iter(reads).buffered(PARTS);
        while let Some(part) = parts.try_next().await.map_err(failed("read", &object))? {
            (staged, hasher) = blocking(move || {
                hasher.update(&part);
                staged.write_all(&part)?;
                Ok((staged, hasher))
            })
            .await?;
        }
        let got = hasher.finish();
        if got.sha256 != *digest {
            let why = format!("its sha256 is {}", got.sha256);
            return Err(StoreError::Damaged { object: object.to_string(), why });
        }
        let path = path.to_owned();
        blocking(move || {
            // What is there under this name is believed after a loss of power too.
            staged.as_file().sync_all()?;
            staged.persist(&path).map(drop).map_err(|error| error.error)
        })
        .await
    }

    /// Removes files, least lately used first, until `added_bytes` more fit.
    fn make_room(&self, added_bytes: u64) {
        let _turn = self.evicting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut files: Vec<_> =
            fs::read_dir(&self.folder).into_iter().flatten().flatten().filter_map(|entry| found(&entry)).collect();
        files.sort_by_key(|file| file.used_at);
        let mut used_bytes = files.iter().map(|file| file.size_bytes).sum::<u64>().saturating_add(added_bytes);
        let now = SystemTime::now();
        let age = |file: &Found| now.duration_since(file.used_at).unwrap_or_default();
        for file in &files {
            let over = used_bytes > self.limit_bytes && !file.staged && age(file) > JUST_ASKED;
            if (over || file.staged && age(file) > ABANDONED) && fs::remove_file(&file.path).is_ok() {
                used_bytes = used_bytes.saturating_sub(file.size_bytes);
            }
        }
    }
}

/// A file as the limit sees it.
struct Found {
    path: PathBuf,
    size_bytes: u64,
    used_at: SystemTime,
    staged: bool,
}

fn found(entry: &fs::DirEntry) -> Option<Found> {
    let metadata = entry.metadata().ok().filter(fs::Metadata::is_file)?;
    let staged = entry.file_name().to_str().is_some_and(|name| name.starts_with(STAGED));
    Some(Found { path: entry.path(), size_bytes: metadata.len(), used_at: metadata.modified().ok()?, staged })
}

/// Whether the file is there; it counts as used now.
fn touch(path: &Path) -> bool {
    let Ok(metadata) = fs::metadata(path) else { return false };
    let now = SystemTime::now();
    let used_at = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    // Not each time, as whoever knows the file by its times would not know it again.
    if now.duration_since(used_at).is_ok_and(|age| age > JUST_ASKED / 2)
        && let Ok(file) = fs::File::options().write(true).open(path)
    {
        let _ = file.set_times(FileTimes::new().set_modified(now));
    }
    true
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, StoreError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(error.into())).map_err(StoreError::Cache)
}

#[cfg(test)]
mod tests;
