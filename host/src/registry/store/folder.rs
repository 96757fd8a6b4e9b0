//! The folder a local store lives in: made, marked as in use, and swept of what a killed process left behind.
//!
//! Objects are staged as `NAME#N` beside their final name and then moved there. A process that is killed leaves the
//! staged file, which no listing shows and no name reaches, but which takes up space. A [`Folder`] holds a shared lock on
//! the folder's `lock` file for as long as it lives; only who is alone may sweep all, and others what nobody can be writing any
//! more.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use dashmap::DashMap;
use object_store::Error;

use super::super::digest::Digest;
use super::super::name::FunctionName;
use super::trash::{LINKING, is_same};
use super::{blob_path, number_of, revision_path};
use crate::stamp::Stamp;

/// A folder in use, and what its files show without being read.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    /// The folder itself, which may not be what is there by its name any more.
    dir: File,
    /// Open, and thereby locked, until the folder is dropped or the process ends in whatever way.
    _lock: File,
    /// The files of blobs that were hashed and found right.
    pub(super) checked: DashMap<Digest, Stamp>,
}

/// Why nothing in a folder is believed.
#[derive(Debug, thiserror::Error)]
#[error("the store's folder is not there any more, or another is in its place")]
struct Gone;

impl Folder {
    /// Makes the folder if need be and takes it into use.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        make(&path.join("blobs").join("sha256"))?;
        make(&path.join("functions"))?;
        make(&path.join("trash").join("sha256"))?;
        let root = path.canonicalize()?;
        let dir = File::open(&root)?;
        let lock = File::options().create(true).truncate(false).write(true).open(root.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => sweep(&root, None),
            // Another process has staged files of its own here.
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        match lock.lock_shared() {
            // Without locks, nobody sweeps when the folder is opened.
            Err(error) if error.kind() != io::ErrorKind::Unsupported => Err(error),
            _ => Ok(Self { root, dir, _lock: lock, checked: DashMap::new() }),
        }
    }

    /// The folder, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// An error, told by [`is_gone`], unless the folder is still the one that was opened. Looked at on a thread that may block.
    pub(super) async fn check(self: &Arc<Self>) -> Result<(), Error> {
        let folder = Arc::clone(self);
        match tokio::task::spawn_blocking(move || is_same(&folder.dir, &folder.root)).await? {
            true => Ok(()),
            false => Err(Error::Generic { store: "LocalFileSystem", source: Gone.into() }),
        }
    }

    /// Removes what was staged and not written to since a moment, whoever else uses the folder.
    pub(super) fn sweep_old(&self, before: SystemTime) {
        if is_same(&self.dir, &self.root) {
            sweep(&self.root, Some(before));
        }
    }

    /// The file of a blob; `None` if there is no such blob.
    pub(super) fn blob(&self, digest: &Digest) -> Option<PathBuf> {
        Some(self.root.join(blob_path(digest).as_ref())).filter(|path| path.is_file())
    }

    /// A blob's stamp, read from its file's metadata. As any [`Stamp`], it may be missing.
    pub fn blob_stamp(&self, digest: &Digest) -> Option<Stamp> {
        Stamp::of(&self.blob(digest)?)
    }

    /// The number of a function's newest revision and its stamp, without reading it.
    pub fn latest_stamp(&self, function: &FunctionName) -> Option<(u64, Stamp)> {
        let folder = self.root.join("functions").join(function.as_str());
        let names = fs::read_dir(folder).ok()?.map(|entry| entry.ok()?.file_name().into_string().ok());
        // Where one entry cannot be listed, nobody knows which is the newest.
        let names: Option<Vec<String>> = names.collect();
        let number = names?.iter().filter_map(|name| number_of(name)).max()?;
        Some((number, Stamp::of(&self.root.join(revision_path(function, number).as_ref()))?))
    }
}

/// Whether the error is that of [`Folder::check`].
pub(super) fn is_gone(error: &Error) -> bool {
    matches!(error, Error::Generic { source, .. } if source.is::<Gone>())
}

/// Makes a folder and those it is in, and has them on the disk: what is in a folder that is lost is lost with it.
fn make(folder: &Path) -> io::Result<()> {
    let known = folder.ancestors().skip_while(|folder| !folder.exists() && !folder.as_os_str().is_empty()).count();
    let new = folder.ancestors().count() - known;
    fs::create_dir_all(folder)?;
    // The first that was there has a new entry as well.
    for changed in folder.ancestors().take(new + 1) {
        let changed = if changed.as_os_str().is_empty() { Path::new(".") } else { changed };
        // One that may not be read need not be ours to see to.
        if let Ok(changed) = File::open(changed) {
            changed.sync_all()?;
        }
    }
    Ok(())
}

/// Removes what was staged and never finished; if there is a moment, what was not written to since then. What cannot be removed only
/// costs space, so that is no reason to stop.
fn sweep(root: &Path, before: Option<SystemTime>) {
    for place in ["blobs", "trash"] {
        let folder = root.join(place).join("sha256");
        sweep_folder(&folder, before);
        sweep_links(&folder, before);
    }
    sweep_folder(&root.join("trash"), before);
    sweep_folder(&root.join("changes"), before);
    for function in fs::read_dir(root.join("functions")).into_iter().flatten().flatten() {
        if function.file_type().is_ok_and(|kind| kind.is_dir()) {
            sweep_folder(&function.path(), before);
        }
    }
}

fn sweep_folder(folder: &Path, before: Option<SystemTime>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(is_staged) && is_old(&entry, before) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Removes the folders in which a file was to get its second name.
fn sweep_links(folder: &Path, before: Option<SystemTime>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(LINKING)) && is_old(&entry, before) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether nothing was written to it since a moment. What nobody can tell is left alone.
fn is_old(entry: &fs::DirEntry, before: Option<SystemTime>) -> bool {
    let written = || entry.metadata().and_then(|metadata| metadata.modified());
    before.is_none_or(|before| written().is_ok_and(|written| written < before))
}

fn is_staged(file_name: &str) -> bool {
    let number = file_name.rsplit_once('#').map(|(_, number)| number);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}
