//! Blobs that nobody refers to: put aside, brought back when somebody wants them after all, and deleted when nobody did for long.
//!
//! ```text
//! trash/sha256/<hex>   was a blob that nobody referred to
//! trash/clock          its time is what the store takes for now
//! ```
//! A blob is never deleted where it is used. It is copied here and then taken away there, and whoever finds it missing copies it
//! back, so neither is ever without the bytes. What is here goes only by its age here, and not while it is in its place as well. Ages
//! are by the store's own clock: those of its users may be wrong. Who decides what nobody refers to is the catalog.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path as ObjectPath;
use object_store::{Error, ObjectMeta, ObjectStoreExt};
use rustix::fs::{Timespec, Timestamps, UTIME_NOW, futimens};

use super::super::digest::{Blob, Digest};
use super::{Place, Store, StoreError, blob_path, failed};

/// Objects looked at at once.
const LOOKS: usize = 8;

/// Buckets copy nothing larger in one request.
const MAX_COPY_BYTES: u64 = 5 << 30;

/// Begins the names of folders in which files get their second name.
pub(super) const LINKING: &str = ".link-";

/// A blob that may be waste, or is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Aside {
    pub(in super::super) blob: Blob,
    /// When it came to where it is.
    pub(in super::super) since: DateTime<Utc>,
}

impl Store {
    /// Which of these blobs the store does not have. What is in the trash is brought back.
    pub async fn lacks(&self, blobs: Vec<Blob>) -> Result<Vec<Blob>, StoreError> {
        let looks = stream::iter(blobs).map(|blob| async move { Ok((blob, self.has(blob).await?)) });
        let looks = looks.buffered(LOOKS).try_filter_map(|(blob, has)| async move { Ok((!has).then_some(blob)) });
        looks.try_collect().await
    }

    async fn has(&self, blob: Blob) -> Result<bool, StoreError> {
        // A bucket may say that it copies before it has, and may fail to.
        Ok(self.exists(blob).await? || (self.recover(blob).await? && self.exists(blob).await?))
    }

    /// Whether the blob is in its place. One of another size is damaged, and is written anew.
    pub(in super::super) async fn exists(&self, blob: Blob) -> Result<bool, StoreError> {
        Ok(self.size(&blob.sha256).await? == Some(blob.size))
    }

    /// The size of what is in a blob's place, `None` if nothing is.
    pub(in super::super) async fn size(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        Ok(self.find(&blob_path(digest)).await?.map(|found| found.size))
    }

    /// Brings a blob back from the trash, where it stays as well until it was put there anew and its time has come. False if it is
    /// not there.
    pub(in super::super) async fn recover(&self, blob: Blob) -> Result<bool, StoreError> {
        match self.find(&trash_path(&blob.sha256)).await? {
            Some(found) if found.size == blob.size => self.recover_any(&blob.sha256).await,
            _ => Ok(false),
        }
    }

    /// The same whatever its size.
    pub(super) async fn recover_any(&self, digest: &Digest) -> Result<bool, StoreError> {
        self.copy(&trash_path(digest), &blob_path(digest)).await
    }

    /// What came before a moment, of all blobs there are.
    pub(in super::super) async fn blobs_before(&self, before: DateTime<Utc>) -> Result<Vec<Aside>, StoreError> {
        self.aside("blobs", |found| found.since < before).await
    }

    /// All that is in the trash.
    pub(in super::super) async fn trash(&self) -> Result<Vec<Aside>, StoreError> {
        self.aside("trash", |_| true).await
    }

    /// Whether a blob is not too large to be put into the trash.
    pub(in super::super) fn can_discard(&self, blob: Blob) -> bool {
        self.folder().is_some() || blob.size <= MAX_COPY_BYTES
    }

    /// Puts a blob into the trash. False if somebody else has, or if its copy there is not whole yet.
    pub(in super::super) async fn discard(&self, blob: Blob) -> Result<bool, StoreError> {
        let (from, to) = (blob_path(&blob.sha256), trash_path(&blob.sha256));
        if !self.copy(&from, &to).await? {
            return Ok(false);
        }
        // A bucket may say that it copies before it has.
        let is_whole = self.find(&to).await?.is_some_and(|copy| copy.size == blob.size);
        if let Some(folder) = self.folder() {
            folder.checked.remove(&blob.sha256);
        }
        Ok(is_whole && self.remove(&from).await?)
    }

    /// Deletes for good what came into the trash before a moment. False if it is not there, came again, or has been in its place
    /// since as well.
    pub(in super::super) async fn purge(&self, digest: &Digest, before: DateTime<Utc>) -> Result<bool, StoreError> {
        let path = trash_path(digest);
        // Asked before the age here is: another collector may be about to make this copy young and to take the blob away from there,
        // and then this is the last. Whoever has taken it away already has made this copy young before that. What comes there after
        // this look is new, so no collector takes it away soon; and none takes what has come there lately, as they are done before it is
        // old.
        if self.find(&blob_path(digest)).await?.is_some_and(|found| found.last_modified < before) {
            return Ok(false);
        }
        match self.find(&path).await? {
            Some(found) if found.last_modified < before => self.remove(&path).await,
            _ => Ok(false),
        }
    }

    /// What the store takes for now.
    pub(in super::super) async fn clock(&self) -> Result<DateTime<Utc>, StoreError> {
        let path = ObjectPath::from("trash/clock");
        self.objects.put(&path, Bytes::new().into()).await.map_err(failed("write", &path))?;
        let found = self.find(&path).await?;
        found.map(|found| found.last_modified).ok_or_else(|| StoreError::Missing { object: path.to_string() })
    }

    /// Removes what was left half written and has not been written to since a moment. What cannot be is the next one's.
    pub(in super::super) async fn sweep(&self, before: DateTime<Utc>) {
        let Place::Folder(folder) = &self.place else { return };
        let (folder, before) = (Arc::clone(folder), SystemTime::from(before));
        let _ = tokio::task::spawn_blocking(move || folder.sweep_old(before)).await;
    }

    async fn aside(&self, place: &str, wanted: impl Fn(&Aside) -> bool) -> Result<Vec<Aside>, StoreError> {
        let folder = ObjectPath::from_iter([place, "sha256"]);
        let mut listed = self.objects.list(Some(&folder));
        let mut found = Vec::new();
        while let Some(object) = listed.next().await {
            match object {
                Ok(object) => found.extend(aside(&object).filter(|one| wanted(one))),
                // A folder that is not there, or a file that went while they were listed.
                Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(failed("list", &folder)(error)),
            }
        }
        Ok(found)
    }

    async fn find(&self, path: &ObjectPath) -> Result<Option<ObjectMeta>, StoreError> {
        match self.objects.head(path).await {
            Ok(found) => Ok(Some(found)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed("look for", path)(error)),
        }
    }

    /// A copy, as new as its making. False if there is nothing to copy.
    async fn copy(&self, from: &ObjectPath, to: &ObjectPath) -> Result<bool, StoreError> {
        let folder = match &self.place {
            Place::Folder(folder) => folder,
            Place::Bucket { copies, .. } => {
                return match copies.copy(from, to).await {
                    Ok(()) => Ok(true),
                    Err(Error::NotFound { .. }) => Ok(false),
                    Err(error) => Err(failed("copy", from)(error)),
                };
            }
        };
        // As the store's objects do, which take no part here.
        folder.check().await.map_err(failed("copy", from))?;
        let (old, new) = (folder.root().join(from.as_ref()), folder.root().join(to.as_ref()));
        let linked =
            tokio::task::spawn_blocking(move || link(&old, &new)).await.unwrap_or_else(|error| Err(error.into()));
        match linked {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failed("copy", from)(Error::Generic { store: "LocalFileSystem", source: error.into() })),
        }
    }

    async fn remove(&self, path: &ObjectPath) -> Result<bool, StoreError> {
        match self.objects.delete(path).await {
            Ok(()) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(failed("delete", path)(error)),
        }
    }
}

/// A second name for a file, in place of whatever has that name, which is as old as from now on by both.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    let file = File::open(from)?;
    // By the clock of whoever keeps the files, as `Store::clock` is: it need not be this machine.
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    futimens(&file, &Timestamps { last_access: now, last_modification: now })?;
    let folder = to.parent().unwrap_or(to);
    match fs::hard_link(from, to) {
        Ok(()) => {}
        // Of two names of one file, renaming one to the other would leave both.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_same(&file, to) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let beside = tempfile::TempDir::with_prefix_in(LINKING, folder)?;
            let staged = beside.path().join("file");
            fs::hard_link(from, &staged)?;
            fs::rename(&staged, to)?;
        }
        Err(error) => return Err(error),
    }
    File::open(folder)?.sync_all()
}

/// Whether an open file is the one that has a name now.
pub(super) fn is_same(file: &File, path: &Path) -> bool {
    let inode = |found: fs::Metadata| (found.dev(), found.ino());
    let one = file.metadata().map(inode);
    one.is_ok_and(|one| fs::metadata(path).map(inode).is_ok_and(|other| one == other))
}

pub(super) fn trash_path(digest: &Digest) -> ObjectPath {
    ObjectPath::from_iter(["trash", "sha256", &digest.to_string()])
}

/// What has no digest for a name was put there by no one of us.
fn aside(object: &ObjectMeta) -> Option<Aside> {
    let sha256 = object.location.filename()?.parse().ok()?;
    Some(Aside { blob: Blob { size: object.size, sha256 }, since: object.last_modified })
}
