//! Where everything deployed is kept: blobs by their sha256, and each function's numbered revisions.
//!
//! ```text
//! blobs/sha256/<hex>                            components, models, assets, manifests
//! functions/<name>/<revision, 20 digits>.json   written create-only
//! trash/                                        blobs that nobody refers to, until they are deleted: `trash`
//! changes/<number, 20 digits>.json              what is about to change, for other hosts
//! snapshots/<format>.gz                         of a bucket: what a start need not read
//! ```
//! Every object but the snapshot appears whole or not at all and never changes, so the store needs no lock between its users: who
//! writes a revision first has won. It is a folder or a bucket; only blobs as files are got in different ways. It knows what a
//! revision is, not what should be in the next one, nor what is in use.
//!
//! What was acknowledged is on the disk: a folder's files are synced before they get their name, and then the folders that were
//! changed for it, new ones up to the first that was there before. Buckets promise the same.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Once};

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt};

use super::digest::{Blob, Digest};
use super::format;
use super::name::FunctionName;
use super::revision::Revision;

mod blob_writer;
mod bucket;
mod changes;
mod create;
mod damage;
mod error;
#[cfg(test)]
pub(in crate::registry) mod faulty;
mod fetched;
mod folder;
mod hold;
pub mod location;
mod mounted;
mod pieces;
mod snapshot;
mod trash;

pub use blob_writer::BlobWriter;
pub use changes::{Notice, Noticed};
pub use error::StoreError;
pub use fetched::LocalFile;
pub use folder::Folder;
pub use hold::Hold;
pub use snapshot::Held;

use create::Written;
use error::{failed, is_remote};
use fetched::Fetched;
use location::Location;
use mounted::Mounted;

/// The most a revision may take: thousands of versions fit, and a damaged store cannot fill the memory.
const MAX_REVISION_BYTES: u64 = 16 << 20;

/// The store. Clones share it.
#[derive(Debug, Clone)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    holders: hold::Holders,
    place: Place,
    /// The number of the last notice of a change that was seen.
    last_notice: Arc<AtomicU64>,
    /// Of this process one at a time writes a notice: they would be in each other's way.
    announcing: Arc<tokio::sync::Mutex<()>>,
}

/// Where blobs are files.
#[derive(Debug, Clone)]
enum Place {
    Folder(Arc<folder::Folder>),
    Bucket {
        fetched: Arc<Fetched>,
        /// The same objects, asked with more time.
        copies: Arc<dyn ObjectStore>,
    },
}

impl Store {
    /// Opens a store. Of one in a bucket, blobs are fetched to `cache` when they are needed as files, at most `limit_bytes` of
    /// them beside those that somebody has a [`LocalFile`] of.
    pub async fn open(location: &Location, cache: &Path, limit_bytes: u64) -> Result<Self, StoreError> {
        match location {
            Location::Folder(path) => Self::open_folder(path).await,
            Location::Bucket(bucket) => {
                let (objects, copies) = (bucket::open(bucket)?, bucket::open_for_copies(bucket)?);
                bucket::probe(&*objects, bucket).await?;
                Ok(Self::in_bucket(objects, copies, cache, limit_bytes))
            }
        }
    }

    /// The store that is in a bucket, whose objects `copies` copies.
    fn in_bucket(objects: Arc<dyn ObjectStore>, copies: Arc<dyn ObjectStore>, cache: &Path, limit_bytes: u64) -> Self {
        let fetched = Arc::new(Fetched::new(cache, limit_bytes));
        Self::at(objects, Place::Bucket { fetched, copies })
    }

    /// The same, of a bucket that is asked for copies as for anything else.
    #[cfg(test)]
    pub(in crate::registry) fn over(objects: Arc<dyn ObjectStore>, cache: &Path, limit_bytes: u64) -> Self {
        Self::in_bucket(Arc::clone(&objects), objects, cache, limit_bytes)
    }

    fn at(objects: Arc<dyn ObjectStore>, place: Place) -> Self {
        let holders = hold::Holders::default();
        Self { objects, holders, place, last_notice: Arc::default(), announcing: Arc::default() }
    }

    /// Opens the store in a folder, which is made if it is not there.
    ///
    /// What an earlier process left half written is swept away, unless another process is using the folder.
    pub async fn open_folder(path: &Path) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Open { path: path.into(), source };
        let root = path.to_owned();
        let folder = tokio::task::spawn_blocking(move || folder::Folder::open(&root))
            .await
            .map_err(|error| failed(error.into()))?
            .map_err(failed)?;
        let folder = Arc::new(folder);
        let files = LocalFileSystem::new_with_prefix(folder.root()).map_err(|error| failed(error.into()))?;
        // A revision must not be durable before the blobs it names, nor be lost after it was confirmed.
        let objects = Mounted::new(files.with_fsync(true), Arc::clone(&folder));
        Ok(Self::at(Arc::new(objects), Place::Folder(folder)))
    }

    /// Keeps blobs from the collectors of this process.
    pub fn hold(&self) -> Hold {
        self.holders.hold()
    }

    /// Whether somebody does.
    pub(super) fn is_held(&self, digest: &Digest) -> bool {
        self.holders.hold_any(digest)
    }

    /// Begins to write a blob whose size and digest are known.
    pub async fn blob_writer(&self, blob: Blob) -> Result<BlobWriter, StoreError> {
        let keeps_parts = self.folder().is_none();
        BlobWriter::begin(Arc::clone(&self.objects), blob_path(&blob.sha256), blob, keeps_parts).await
    }

    /// Writes a blob that is in memory, in place of a damaged one too.
    pub async fn write_blob(&self, content: Bytes) -> Result<Blob, StoreError> {
        let blob = Blob::of(&content);
        if self.folder().is_some() {
            let store = self.clone();
            // If it is damaged it goes. If it cannot be read, or is not there, writing it shows.
            let _ = tokio::task::spawn_blocking(move || store.check_file(&blob.sha256)).await;
        }
        let mut writer = self.blob_writer(blob).await?;
        writer.write(content).await?;
        writer.commit().await?;
        Ok(blob)
    }

    /// Reads a whole blob of at most `cap` bytes, and checks that it is what its name says.
    pub async fn read_blob(&self, digest: &Digest, cap: u64) -> Result<Bytes, StoreError> {
        let path = blob_path(digest);
        let content = match self.read(&path, cap).await {
            Err(StoreError::Missing { .. }) if self.recover_any(digest).await? => self.read(&path, cap).await?,
            read => read?,
        };
        let got = Digest::of(&content);
        if got != *digest {
            return Err(StoreError::Damaged { object: path.to_string(), why: format!("its sha256 is {got}") });
        }
        Ok(content)
    }

    /// A file of this node that holds a blob, for those that read files; it must not be changed. Where the store is no folder it
    /// is fetched now, unless it has been, and lasts for as long as somebody has what is returned, or has the file open.
    pub async fn local_file(&self, digest: &Digest) -> Result<LocalFile, StoreError> {
        match &self.place {
            Place::Folder(folder) => {
                let missing = || StoreError::Missing { object: blob_path(digest).to_string() };
                if folder.blob(digest).is_none() {
                    self.recover_any(digest).await?;
                }
                folder.blob(digest).map(LocalFile::in_store).ok_or_else(missing)
            }
            Place::Bucket { fetched, .. } => match fetched.file(&*self.objects, digest).await {
                Err(StoreError::Missing { .. }) if self.recover_any(digest).await? => {
                    fetched.file(&*self.objects, digest).await
                }
                file => file,
            },
        }
    }

    /// The folder that the store is, if it is one: what it holds can be looked at without being read.
    pub fn folder(&self) -> Option<&Folder> {
        match &self.place {
            Place::Folder(folder) => Some(folder),
            Place::Bucket { .. } => None,
        }
    }

    /// Every function that was ever deployed, sorted; those deleted since are among them.
    pub async fn list_functions(&self) -> Result<Vec<FunctionName>, StoreError> {
        let folder = ObjectPath::from("functions");
        let listed = self.objects.list_with_delimiter(Some(&folder)).await.map_err(failed("list", &folder))?;
        // What has no valid name was put there by no one of us.
        let names = listed.common_prefixes.iter().filter_map(|path| path.filename()?.parse().ok());
        let mut names: Vec<FunctionName> = names.collect();
        names.sort();
        Ok(names)
    }

    /// A function's newest revision, `None` if it was never deployed.
    pub async fn latest(&self, function: &FunctionName) -> Result<Option<Revision>, StoreError> {
        let Some(number) = self.revisions(function).await?.pop() else { return Ok(None) };
        self.revision(function, number).await.map(Some)
    }

    /// The numbers of all revisions of a function, smallest first.
    pub async fn revisions(&self, function: &FunctionName) -> Result<Vec<u64>, StoreError> {
        let folder = ObjectPath::from_iter(["functions", function.as_str()]);
        let listed = self.objects.list_with_delimiter(Some(&folder)).await.map_err(failed("list", &folder))?;
        let numbers = listed.objects.iter().filter_map(|object| number_of(object.location.filename()?));
        let mut numbers: Vec<u64> = numbers.collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The newest revision of every function, by their names alone.
    pub async fn newest(&self) -> Result<BTreeMap<FunctionName, u64>, StoreError> {
        let folder = ObjectPath::from("functions");
        let mut listed = self.objects.list(Some(&folder));
        let mut newest = BTreeMap::new();
        while let Some(object) = listed.try_next().await.map_err(failed("list", &folder))? {
            let mut parts = object.location.parts().skip(1);
            let (function, file) = (parts.next(), parts.next());
            let function = function.and_then(|part| part.as_ref().parse::<FunctionName>().ok());
            let Some((function, number)) = function.zip(file.and_then(|part| number_of(part.as_ref()))) else {
                continue;
            };
            let known = newest.entry(function).or_insert(number);
            *known = number.max(*known);
        }
        Ok(newest)
    }

    /// The number of a function's newest revision, if it is `number` or a later one.
    pub async fn newest_from(&self, function: &FunctionName, number: u64) -> Result<Option<u64>, StoreError> {
        let folder = ObjectPath::from_iter(["functions", function.as_str()]);
        let before = revision_path(function, number.saturating_sub(1));
        let listed = self.objects.list_with_offset(Some(&folder), &before);
        let listed: Vec<_> = listed.try_collect().await.map_err(failed("list", &folder))?;
        Ok(listed.iter().filter_map(|object| number_of(object.location.filename()?)).max())
    }

    /// One of a function's revisions.
    pub async fn revision(&self, function: &FunctionName, number: u64) -> Result<Revision, StoreError> {
        let path = revision_path(function, number);
        let damaged = |why: String| StoreError::Damaged { object: path.to_string(), why };
        let content = self.read(&path, MAX_REVISION_BYTES).await?;
        let revision: Revision = serde_json::from_slice(&content).map_err(|error| match format::newer(&content) {
            Some(format) => StoreError::Newer { object: path.to_string(), format },
            None => damaged(format::why(&error)),
        })?;
        if (&revision.function, revision.revision) != (function, number) {
            let of = format!("it is revision {} of function '{}'", revision.revision, revision.function);
            return Err(damaged(of));
        }
        revision.check().map_err(damaged)?;
        Ok(revision)
    }

    /// Writes a function's next revision, or says that somebody else has.
    pub async fn write_revision(&self, revision: &Revision) -> Result<(), StoreError> {
        let path = revision_path(&revision.function, revision.revision);
        let content =
            serde_json::to_vec_pretty(revision).expect("every key is text and no value's serialisation fails");
        // What could not be read again could not even be deleted.
        if content.len() as u64 > MAX_REVISION_BYTES {
            return Err(StoreError::FunctionFull { function: revision.function.clone(), bytes: content.len() as u64 });
        }
        match create::create(&*self.objects, &path, content.into()).await? {
            Written::ByUs => Ok(()),
            Written::ByOthers => {
                Err(StoreError::Conflict { function: revision.function.clone(), revision: revision.revision })
            }
        }
    }

    async fn read(&self, path: &ObjectPath, cap: u64) -> Result<Bytes, StoreError> {
        let found = self.objects.get(path).await.map_err(failed("read", path))?;
        if found.meta.size > cap {
            return Err(StoreError::TooLarge { object: path.to_string(), size: found.meta.size, cap });
        }
        found.bytes().await.map_err(failed("read", path))
    }
}

fn blob_path(digest: &Digest) -> ObjectPath {
    ObjectPath::from_iter(["blobs", "sha256", &digest.to_string()])
}

fn revision_path(function: &FunctionName, number: u64) -> ObjectPath {
    ObjectPath::from_iter(["functions", function.as_str(), &numbered(number)])
}

fn numbered(number: u64) -> String {
    format!("{number:020}.json")
}

/// What is not numbered by one of us is `None`: other names, and numbers that are so high that nothing could follow them.
fn number_of(file_name: &str) -> Option<u64> {
    /// Nobody counts so far.
    const MAX: u64 = i64::MAX.unsigned_abs();
    static TOLD: Once = Once::new();
    let digits = file_name.strip_suffix(".json")?;
    if digits.len() != 20 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number = digits.parse::<u64>().ok().filter(|number| *number <= MAX);
    if number.is_none() {
        // Listings come once a second.
        TOLD.call_once(|| {
            tracing::warn!(file = file_name, "ignored in the store: its number is impossible; remove it")
        });
    }
    number
}

#[cfg(test)]
mod tests;
