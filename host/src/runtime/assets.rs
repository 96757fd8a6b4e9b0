//! A bundle's assets as a folder that guests are shown.
//!
//! They lie in this node's cache, as links to their blobs where that is the same disk. What was lost or damaged there is made anew
//! when the next instance starts; where the cache cannot be written, they lie in a temporary folder as long as somebody uses
//! it.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tempfile::TempDir;

use crate::cache::{Cache, Key, Kind};

/// The assets of one version.
pub struct Assets {
    cache: Arc<Cache>,
    /// The version's digest.
    digest: String,
    /// Each asset's path for guests, and its blob's.
    files: Vec<(String, PathBuf)>,
    /// What keeps the blobs: they are unpacked anew when what was unpacked is lost.
    _held: Box<dyn Send + Sync>,
    place: Mutex<Option<Arc<Place>>>,
}

/// A folder with all of them. It stays while somebody has this, if nobody else removes it.
pub struct Place {
    folder: PathBuf,
    /// The folder's own number, which another one of that name does not have.
    inode: u64,
    /// What keeps it: an entry of the cache, or a temporary folder.
    _held: Box<dyn Send + Sync>,
}

/// Beside it lies the entry's seal, which guests do not see.
const FOLDER: &str = "assets";

impl Assets {
    /// Nothing is unpacked yet. The files are there as long as `held` is.
    pub fn new(cache: Arc<Cache>, digest: String, files: Vec<(String, PathBuf)>, held: Box<dyn Send + Sync>) -> Self {
        Self { cache, digest, files, _held: held, place: Mutex::new(None) }
    }

    /// Where they are now; unpacked on a thread that may block, if they are not there.
    pub async fn place(self: &Arc<Self>) -> io::Result<Arc<Place>> {
        if let Some(place) = self.known() {
            return Ok(place);
        }
        let assets = Arc::clone(self);
        tokio::task::spawn_blocking(move || assets.unpacked())
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    fn known(&self) -> Option<Arc<Place>> {
        let place = self.place.lock().unwrap_or_else(PoisonError::into_inner).clone();
        place.filter(|place| place.is_there())
    }

    fn unpacked(&self) -> io::Result<Arc<Place>> {
        let key = Key { kind: Kind::Assets, digest: &self.digest, made_for: "guests" };
        let place = match self.cache.find_or_write(key, |folder| self.put(&folder.join(FOLDER))) {
            Ok(entry) => Place::new(entry.file(FOLDER), Box::new(entry))?,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "assets not cached");
                let folder = TempDir::new()?;
                self.put(folder.path())?;
                Place::new(folder.path().to_owned(), Box::new(folder))?
            }
        };
        let place = Arc::new(place);
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&place));
        Ok(place)
    }

    fn put(&self, folder: &Path) -> io::Result<()> {
        for (path, blob) in &self.files {
            let target = folder.join(path);
            std::fs::create_dir_all(target.parent().unwrap_or(folder))?;
            // Guests may only read, so the blob itself will do; a copy where the folder is on another disk.
            std::fs::hard_link(blob, &target).or_else(|_| std::fs::copy(blob, &target).map(drop))?;
        }
        Ok(())
    }
}

impl Place {
    fn new(folder: PathBuf, held: Box<dyn Send + Sync>) -> io::Result<Self> {
        let inode = std::fs::metadata(&folder)?.ino();
        Ok(Self { folder, inode, _held: held })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether it is still there: who has it open sees nothing in one that was removed.
    pub fn is_there(&self) -> bool {
        std::fs::metadata(&self.folder).is_ok_and(|folder| folder.ino() == self.inode)
    }
}
