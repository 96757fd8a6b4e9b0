//! Blobs of a bucket as files of this node: fetched when somebody first needs one as a file, checked, and bounded.
//!
//! A file appears whole under its name or not at all. Who has one open or mapped keeps it when it is removed to make room; one
//! that somebody holds, to open it some time, is not removed, however much room is needed. Nor is one that was asked for a moment
//! ago: what is asked for again soon need not be fetched again.

use std::cmp::Reverse;
use std::fs::{self, FileTimes};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use dashmap::DashMap;
use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectStore, ObjectStoreExt};

use super::super::digest::{BlobHasher, Digest};
use super::hold::{Hold, Holders};
use super::{StoreError, blob_path, failed};

/// Each part is a request of its own, in a time of its own.
const PART_BYTES: u64 = 8 << 20;
/// Parts that are fetched at once, and may be in memory.
const PARTS: usize = 4;
const STAGED: &str = ".staged-";
/// A file that was asked for so lately is likely to be asked for again.
const JUST_ASKED: Duration = Duration::from_secs(60);
/// Nobody fetches one blob for so long.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// A folder of blobs.
#[derive(Debug)]
pub(super) struct Fetched {
    folder: PathBuf,
    limit_bytes: u64,
    fetching: DashMap<Digest, Arc<tokio::sync::Mutex<()>>>,
    /// Whose files stay.
    holders: Holders,
    /// One at a time makes room.
    evicting: Mutex<()>,
}

/// A file that holds a blob. It is not removed to make room while somebody has this.
#[derive(Debug)]
pub struct LocalFile {
    path: PathBuf,
    /// Of a file that was fetched.
    _hold: Option<Hold>,
}

impl LocalFile {
    /// One that the store itself has.
    pub(super) fn in_store(path: PathBuf) -> Self {
        Self { path, _hold: None }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl AsRef<Path> for LocalFile {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

impl Fetched {
    /// The folder below `cache`; it is made when it is first needed.
    pub(super) fn new(cache: &Path, limit_bytes: u64) -> Self {
        let folder = cache.join("blobs").join("sha256");
        let (holders, evicting) = (Holders::default(), Mutex::default());
        Self { folder, limit_bytes, fetching: DashMap::new(), holders, evicting }
    }

    /// The file of a blob, fetched now if it is not there. Of those that want it at once one fetches it.
    pub(super) async fn file(
        self: &Arc<Self>,
        objects: &dyn ObjectStore,
        digest: &Digest,
    ) -> Result<LocalFile, StoreError> {
        // Held before it is looked for: what is there then stays.
        let hold = self.holders.hold_one(digest);
        let file = LocalFile { path: self.folder.join(digest.to_string()), _hold: Some(hold) };
        let path = &file.path;
        if touch(path) {
            return Ok(file);
        }
        let turn = Arc::clone(&self.fetching.entry(*digest).or_default());
        let outcome = {
            let _turn = turn.lock().await;
            match touch(path) {
                true => Ok(()),
                false => self.fetch(objects, digest, path).await,
            }
        };
        drop(turn);
        self.fetching.remove_if(digest, |_, turn| Arc::strong_count(turn) == 1);
        outcome.map(|()| file)
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

    /// Removes files that nobody holds, least lately used first, until `added_bytes` more fit.
    fn make_room(&self, added_bytes: u64) {
        let _turn = self.evicting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut files: Vec<_> =
            fs::read_dir(&self.folder).into_iter().flatten().flatten().filter_map(|entry| found(&entry)).collect();
        // Taken after they were listed: one that is used meanwhile is not of the future.
        let now = SystemTime::now();
        // What is of the future was there before a clock went back: nobody knows when it was used.
        let age = |file: &Found| now.duration_since(file.used_at).unwrap_or(Duration::MAX);
        files.sort_by_key(|file| Reverse(age(file)));
        let mut used_bytes = files.iter().map(|file| file.size_bytes).sum::<u64>().saturating_add(added_bytes);
        for file in &files {
            let over = used_bytes > self.limit_bytes && !file.staged && age(file) > JUST_ASKED;
            if (over || file.staged && age(file) > ABANDONED) && self.remove(file) {
                used_bytes = used_bytes.saturating_sub(file.size_bytes);
            }
        }
    }

    /// False if somebody holds it.
    fn remove(&self, file: &Found) -> bool {
        let Some(digest) = file.digest else { return fs::remove_file(&file.path).is_ok() };
        // To take away the name is quick, whatever the size: whoever asks for the file waits for no more.
        let aside = self.folder.join(format!("{STAGED}{digest}"));
        let is_aside = self.holders.unless_held(&digest, || fs::rename(&file.path, &aside).is_ok());
        is_aside == Some(true) && fs::remove_file(&aside).is_ok()
    }
}

/// A file as the limit sees it.
struct Found {
    path: PathBuf,
    size_bytes: u64,
    used_at: SystemTime,
    staged: bool,
    /// `None`: it is no blob.
    digest: Option<Digest>,
}

fn found(entry: &fs::DirEntry) -> Option<Found> {
    let metadata = entry.metadata().ok().filter(fs::Metadata::is_file)?;
    let name = entry.file_name();
    let name = name.to_str().unwrap_or_default();
    let (staged, digest) = (name.starts_with(STAGED), name.parse().ok());
    Some(Found { path: entry.path(), size_bytes: metadata.len(), used_at: metadata.modified().ok()?, staged, digest })
}

/// Whether the file is there; it counts as used now.
fn touch(path: &Path) -> bool {
    let Ok(metadata) = fs::metadata(path) else { return false };
    let now = SystemTime::now();
    let used_at = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    // What is of the future is set right.
    let age = now.duration_since(used_at).unwrap_or(Duration::MAX);
    // Not each time, as whoever knows the file by its times would not know it again.
    if age > JUST_ASKED / 2
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
