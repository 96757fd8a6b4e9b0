//! What this node has made ahead and can make anew: compiled components, optimised models, unpacked assets.
//!
//! ```text
//! <kind>/<sha256>-<hash of all else it depends on>/    whole, or not there
//!     seal.json                                        what is in the other files: sizes, hashes, facts about them
//! ```
//! An entry is made aside and renamed, so a half-written one is never found; what is found has the content that was sealed, or
//! it is removed and made anew. Losing the folder costs time, nothing else. The folder is the host's own: whoever can write
//! there can run code. Entries are never changed in place, so that what is mapped of one outlives its removal.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use dashmap::DashMap;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

mod seal;

use seal::Seal;

/// The cache of one node. Several processes may share its folder.
pub struct Cache {
    root: PathBuf,
    limit_bytes: u64,
    /// Bytes of all entries, once somebody has counted.
    used_bytes: AtomicU64,
    /// One at a time makes room.
    evicting: Mutex<()>,
    /// The folders of entries that somebody has.
    in_use: Mutex<HashMap<PathBuf, Weak<PathBuf>>>,
    /// Entries that are being made.
    making: DashMap<PathBuf, Arc<Mutex<()>>>,
}

/// What entries hold; each kind has a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Components,
    Models,
    Assets,
}

/// What an entry was made from.
#[derive(Debug, Clone, Copy)]
pub struct Key<'k> {
    pub kind: Kind,
    /// The content's sha256.
    pub digest: &'k str,
    /// Everything else that it depends on, in words: versions, settings, the processor.
    pub made_for: &'k str,
}

/// An entry that was whole when it was found. It is not removed to make room for others while somebody has this.
#[derive(Debug, Clone)]
pub struct Entry<F> {
    folder: PathBuf,
    /// What its maker said about it.
    pub facts: F,
    _in_use: Arc<PathBuf>,
}

/// Why an entry was not made.
#[derive(Debug, thiserror::Error)]
pub enum CacheError<E> {
    #[error("the cache folder cannot be written")]
    Folder(#[source] std::io::Error),
    #[error("its content could not be made")]
    Content(#[source] E),
}

const STAGED: &str = ".staged-";
const UNKNOWN: u64 = u64::MAX;

impl Cache {
    /// A cache in a folder, which is made when it is first needed. At most `limit_bytes` of entries are kept, the latest
    /// used.
    pub fn open(root: PathBuf, limit_bytes: u64) -> Self {
        for kind in Kind::ALL {
            sweep(&root.join(kind.folder()));
        }
        sweep(&root);
        let (used_bytes, evicting) = (AtomicU64::new(UNKNOWN), Mutex::new(()));
        Self { root, limit_bytes, used_bytes, evicting, in_use: Mutex::default(), making: DashMap::new() }
    }

    /// The entry, if it is there and whole. A damaged one is removed.
    pub fn find<F: DeserializeOwned>(&self, key: Key<'_>) -> Option<Entry<F>> {
        let folder = self.folder(key);
        match Seal::check(&folder) {
            Ok(facts) => match serde_json::from_value(facts) {
                Ok(facts) => {
                    seal::touch(&folder);
                    return Some(self.entry(folder, facts));
                }
                Err(error) => tracing::warn!(entry = %folder.display(), %error, "damaged cache entry: made anew"),
            },
            Err(seal::Broken::Missing) => return None,
            Err(seal::Broken::Damaged(why)) => {
                tracing::warn!(entry = %folder.display(), why, "damaged cache entry: made anew");
            }
        }
        remove(&folder);
        None
    }

    /// The entry, made now if it is not there. Of those that want it at once one makes it.
    pub fn find_or_write<F: Serialize + DeserializeOwned, E>(
        &self,
        key: Key<'_>,
        make: impl FnOnce(&Path) -> Result<F, E>,
    ) -> Result<Entry<F>, CacheError<E>> {
        let folder = self.folder(key);
        let turn = Arc::clone(&self.making.entry(folder.clone()).or_default());
        let made = {
            let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
            match self.find(key) {
                Some(entry) => Ok(entry),
                None => self.write(key, make),
            }
        };
        drop(turn);
        self.making.remove_if(&folder, |_, turn| Arc::strong_count(turn) == 1);
        made
    }

    /// Makes an entry: `make` fills the folder that it is given and says what there is to know about the content. An entry
    /// that is there already is replaced.
    pub fn write<F: Serialize, E>(
        &self,
        key: Key<'_>,
        make: impl FnOnce(&Path) -> Result<F, E>,
    ) -> Result<Entry<F>, CacheError<E>> {
        let parent = self.root.join(key.kind.folder());
        std::fs::create_dir_all(&parent).map_err(CacheError::Folder)?;
        let staged = tempfile::Builder::new().prefix(STAGED).tempdir_in(&parent).map_err(CacheError::Folder)?;
        let facts = make(staged.path()).map_err(CacheError::Content)?;
        let size_bytes = Seal::set(staged.path(), &facts).map_err(CacheError::Folder)?;
        let folder = self.folder(key);
        put(staged, &folder).map_err(CacheError::Folder)?;
        let entry = self.entry(folder, facts);
        self.make_room(size_bytes);
        Ok(entry)
    }

    /// Its user found that an entry is of no use.
    pub fn discard<F>(&self, entry: &Entry<F>) {
        remove(&entry.folder);
    }

    fn folder(&self, key: Key<'_>) -> PathBuf {
        let made_for = seal::hash_bytes(key.made_for.as_bytes());
        self.root.join(key.kind.folder()).join(format!("{}-{made_for:016x}", key.digest))
    }

    fn entry<F>(&self, folder: PathBuf, facts: F) -> Entry<F> {
        let mut all = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.get(&folder).and_then(Weak::upgrade);
        let in_use = known.unwrap_or_else(|| {
            all.retain(|_, in_use| in_use.strong_count() > 0);
            let in_use = Arc::new(folder.clone());
            all.insert(folder.clone(), Arc::downgrade(&in_use));
            in_use
        });
        Entry { folder, facts, _in_use: in_use }
    }

    fn is_in_use(&self, folder: &Path) -> bool {
        let all = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(folder).is_some_and(|in_use| in_use.strong_count() > 0)
    }

    /// Removes entries, least lately used first, until all are within the limit. What is in use stays, whatever its size.
    fn make_room(&self, added_bytes: u64) {
        let _turn = self.evicting.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.used_bytes.load(Ordering::Relaxed);
        if known != UNKNOWN && known.saturating_add(added_bytes) <= self.limit_bytes {
            self.used_bytes.store(known + added_bytes, Ordering::Relaxed);
            return;
        }
        // Counted afresh: another process may have added and removed.
        let mut entries = self.entries();
        entries.sort_by_key(|entry| entry.used_at);
        let mut used_bytes: u64 = entries.iter().map(|entry| entry.size_bytes).sum();
        for entry in &entries {
            if used_bytes <= self.limit_bytes {
                break;
            }
            if self.is_in_use(&entry.folder) {
                continue;
            }
            tracing::info!(entry = %entry.folder.display(), "cache full: removed");
            remove(&entry.folder);
            used_bytes -= entry.size_bytes;
        }
        self.used_bytes.store(used_bytes, Ordering::Relaxed);
    }

    fn entries(&self) -> Vec<Found> {
        let folders = Kind::ALL.map(|kind| self.root.join(kind.folder()));
        let all = folders.iter().flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten().flatten());
        all.filter(|entry| !is_staged(entry)).filter_map(|entry| Found::look(entry.path())).collect()
    }
}

/// An entry as the cache's limit sees it.
struct Found {
    folder: PathBuf,
    size_bytes: u64,
    used_at: SystemTime,
}

impl Found {
    fn look(folder: PathBuf) -> Option<Self> {
        let files = seal::files(&folder).ok()?;
        let size_bytes =
            files.iter().filter_map(|name| std::fs::metadata(folder.join(name)).ok()).map(|file| file.len()).sum();
        // Without a seal it is nobody's, and the first to go.
        let used_at = seal::used_at(&folder).unwrap_or(SystemTime::UNIX_EPOCH);
        Some(Self { folder, size_bytes, used_at })
    }
}

impl Kind {
    const ALL: [Self; 3] = [Self::Components, Self::Models, Self::Assets];

    fn folder(self) -> &'static str {
        match self {
            Self::Components => "components",
            Self::Models => "models",
            Self::Assets => "assets",
        }
    }
}

impl<F> Entry<F> {
    /// The path of one of its files.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Puts a staged folder in its place.
fn put(staged: TempDir, folder: &Path) -> std::io::Result<()> {
    if std::fs::rename(staged.path(), folder).is_err() {
        // Another one is there: the same content, or a broken one.
        remove(folder);
        std::fs::rename(staged.path(), folder)?;
    }
    // It has another name now.
    let _ = staged.keep();
    Ok(())
}

/// Gone under its name at once; whoever has its files open keeps them.
fn remove(folder: &Path) {
    if let Err(error) = std::fs::remove_dir_all(folder)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        // What is not a folder, or cannot be emptied.
        let _ = std::fs::remove_file(folder);
    }
}

/// Removes what a process left that was killed while it made an entry. Another one may be making one now.
fn sweep(parent: &Path) {
    const OLD: Duration = Duration::from_secs(3600);
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten().filter(is_staged) {
        let written = entry.metadata().and_then(|metadata| metadata.modified()).ok();
        if written.and_then(|written| written.elapsed().ok()).is_some_and(|age| age > OLD) {
            remove(&entry.path());
        }
    }
}

fn is_staged(entry: &std::fs::DirEntry) -> bool {
    entry.file_name().to_str().is_some_and(|name| name.starts_with(STAGED))
}

#[cfg(test)]
mod tests;
