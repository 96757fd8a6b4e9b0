//! Blobs that are on their way: what has come of each is kept in a file of this node's, so that a broken upload goes on where it broke.
//!
//! ```text
//! <cache_dir>/uploads/<sha256>   the blob's first bytes, as many as have come
//! ```
//! One client at a time writes a blob, who holds a lock on its file, whichever process it came to. The file is on no disk for sure:
//! what counts is the blob's digest, which is looked at when it is whole and goes to the store. What nobody goes on with is
//! removed: at its age, or when others need the room.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use super::digest::{Blob, Digest};
use super::store::{Store, StoreError};

mod room;

/// What uploads may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Bytes of all that are not complete.
    pub max_bytes: u64,
    /// How long one is kept that nobody goes on with.
    pub max_age: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_bytes: 20 << 30, max_age: Duration::from_secs(24 * 3600) }
    }
}

/// All uploads of one node. Clones share them.
#[derive(Debug, Clone)]
pub struct Spool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    config: Config,
    /// What uploads that go on now will take when they are complete.
    going_on: Mutex<Vec<Blob>>,
}

/// An upload that goes on. What has come is kept when it is dropped.
#[derive(Debug)]
pub struct Upload {
    blob: Blob,
    /// Bytes that have come, those of earlier uploads among them.
    offset: u64,
    path: PathBuf,
    /// Open, and thereby locked.
    file: tokio::fs::File,
    _place: Place,
}

/// A place among those that go on.
#[derive(Debug)]
struct Place {
    shared: Arc<Shared>,
    blob: Blob,
}

/// Why an upload does not go on.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    #[error("{offset} bytes of this blob have come, so the next upload begins there: offset={offset}")]
    WrongOffset { offset: u64 },
    #[error("the body ended when {offset} of {size} bytes had come; go on with offset={offset}")]
    Incomplete { offset: u64, size: u64 },
    #[error("the body has more bytes than size_bytes, {size}, says; nothing is kept of it, begin again with offset=0")]
    TooLong { size: u64 },
    #[error("what came is not the blob: its sha256 is {got}; nothing is kept of it, begin again with offset=0")]
    WrongContent { got: Digest },
    #[error("somebody else is sending this blob; try again later, and ask before which of it is missing then")]
    Busy,
    #[error("a blob of {size} bytes is more than all uploads may take, {max} (uploads.max_bytes)")]
    TooLarge { size: u64, max: u64 },
    #[error("other uploads take the room there is (uploads.max_bytes); try again later, or deploy the whole bundle")]
    NoRoom,
    #[error(
        "no space is left on the host's disk for uploads; nothing was changed; free some space and try again, or deploy the whole bundle"
    )]
    DiskFull,
    #[error("the host cannot keep uploads in its cache_dir; deploy the whole bundle")]
    Failed(#[source] io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SpoolError {
    /// Where the next upload of the blob begins, if this error tells.
    pub fn offset(&self) -> Option<u64> {
        match self {
            Self::WrongOffset { offset } | Self::Incomplete { offset, .. } => Some(*offset),
            Self::TooLong { .. } | Self::WrongContent { .. } => Some(0),
            Self::Busy | Self::TooLarge { .. } | Self::NoRoom | Self::DiskFull | Self::Failed(_) | Self::Store(_) => {
                None
            }
        }
    }
}

impl From<io::Error> for SpoolError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull,
            _ => Self::Failed(error),
        }
    }
}

impl Spool {
    /// Uploads in a folder, which is made when there is one.
    pub fn new(folder: PathBuf, config: Config) -> Self {
        Self { shared: Arc::new(Shared { folder, config, going_on: Mutex::default() }) }
    }

    /// How much of a blob has come.
    pub async fn offset(&self, blob: Blob) -> u64 {
        let found = tokio::fs::metadata(self.shared.path(&blob.sha256)).await;
        // More than all of it is of another size, and is begun anew.
        found.map(|found| found.len()).ok().filter(|there| *there <= blob.size).unwrap_or(0)
    }

    /// Goes on with a blob from that byte on.
    pub async fn begin(&self, blob: Blob, offset: u64) -> Result<Upload, SpoolError> {
        let shared = Arc::clone(&self.shared);
        let begun = tokio::task::spawn_blocking(move || shared.begin(blob, offset)).await;
        begun.unwrap_or_else(|error| Err(SpoolError::Failed(error.into())))
    }

    /// Removes what nobody has gone on with for too long.
    pub async fn sweep(&self) {
        let shared = Arc::clone(&self.shared);
        // Where the process ends, the next one sweeps.
        let _ = tokio::task::spawn_blocking(move || shared.sweep()).await;
    }
}

impl Upload {
    /// Takes the next bytes.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), SpoolError> {
        if self.offset.saturating_add(bytes.len() as u64) > self.blob.size {
            self.give_up().await;
            return Err(SpoolError::TooLong { size: self.blob.size });
        }
        if let Err(error) = self.file.write_all(&bytes).await {
            return Err(self.failed(error).await);
        }
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Brings the blob to the store, if that was all of it.
    pub async fn finish(mut self, store: &Store) -> Result<(), SpoolError> {
        if let Err(error) = self.file.flush().await {
            return Err(self.failed(error).await);
        }
        if self.offset < self.blob.size {
            return Err(SpoolError::Incomplete { offset: self.offset, size: self.blob.size });
        }
        let written = self.hand_over(store).await;
        match written {
            Ok(()) => {}
            Err(SpoolError::Store(StoreError::WrongContent { got, .. })) => {
                self.give_up().await;
                return Err(SpoolError::WrongContent { got: got.sha256 });
            }
            Err(error @ SpoolError::Store(StoreError::Full { .. })) => {
                self.give_up().await;
                return Err(error);
            }
            // All of it is here, and goes there another time.
            Err(error) => return Err(error),
        }
        self.give_up().await;
        Ok(())
    }

    async fn hand_over(&mut self, store: &Store) -> Result<(), SpoolError> {
        const READ_BYTES: usize = 256 << 10;
        self.file.rewind().await?;
        let mut writer = store.blob_writer(self.blob).await?;
        loop {
            let mut bytes = BytesMut::with_capacity(READ_BYTES);
            if self.file.read_buf(&mut bytes).await? == 0 {
                return Ok(writer.commit().await?);
            }
            writer.write(bytes.freeze()).await?;
        }
    }

    /// On a full disk what has come is in the way of everything else.
    async fn failed(&self, error: io::Error) -> SpoolError {
        let error = SpoolError::from(error);
        if matches!(error, SpoolError::DiskFull) {
            self.give_up().await;
        }
        error
    }

    async fn give_up(&self) {
        let _ = tokio::fs::remove_file(&self.path).await;
    }
}

impl Shared {
    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.to_string())
    }

    fn begin(self: &Arc<Self>, blob: Blob, offset: u64) -> Result<Upload, SpoolError> {
        let path = self.path(&blob.sha256);
        let place = self.take_place(blob)?;
        let file = locked(&path)?;
        let mut there = file.metadata()?.len();
        if there > blob.size {
            file.set_len(0)?;
            there = 0;
        }
        if offset != there {
            if there == 0 {
                let _ = fs::remove_file(&path);
            }
            return Err(SpoolError::WrongOffset { offset: there });
        }
        Ok(Upload { blob, offset, path, file: tokio::fs::File::from_std(file), _place: place })
    }

    fn sweep(&self) {
        let now = SystemTime::now();
        for kept in self.kept() {
            // One of the future is young.
            if now.duration_since(kept.since).is_ok_and(|age| age > self.config.max_age) {
                remove(&kept.path);
            }
        }
    }

    fn going_on(&self) -> std::sync::MutexGuard<'_, Vec<Blob>> {
        self.going_on.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file, locked for one writer, that is there under its name.
fn locked(path: &Path) -> Result<File, SpoolError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    loop {
        let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(SpoolError::Busy),
            // Without locks, the last to write wins; the digest tells.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        // Somebody may have removed it before it was locked.
        if is_at(&file, path) {
            return Ok(file);
        }
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let inode = |found: fs::Metadata| (found.dev(), found.ino());
    let ours = file.metadata().map(inode);
    ours.is_ok_and(|ours| fs::metadata(path).map(inode).is_ok_and(|theirs| ours == theirs))
}

/// Removes a file that nobody writes.
fn remove(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    file.try_lock().is_ok() && fs::remove_file(path).is_ok()
}

#[cfg(test)]
mod tests;
