//! The folder a local store lives in: made, marked as in use, and swept of what a killed process left behind.
//!
//! Objects are staged as `NAME#N` beside their final name and then moved there. A process that is killed leaves the
//! staged file, which no listing shows and no name reaches, but which takes up space. A [`Folder`] holds a shared lock on
//! the folder's `lock` file for as long as it lives; only who is alone may sweep.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// A folder in use.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    /// Open, and thereby locked, until the folder is dropped or the process ends in whatever way.
    _lock: File,
}

impl Folder {
    /// Makes the folder if need be and takes it into use.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path.join("blobs").join("sha256"))?;
        fs::create_dir_all(path.join("functions"))?;
        fs::create_dir_all(path.join("trash").join("sha256"))?;
        let root = path.canonicalize()?;
        let lock = File::options().create(true).truncate(false).write(true).open(root.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => sweep(&root),
            // Another process has staged files of its own here.
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        match lock.lock_shared() {
            // Without locks, nobody ever sweeps.
            Err(error) if error.kind() != io::ErrorKind::Unsupported => Err(error),
            _ => Ok(Self { root, _lock: lock }),
        }
    }

    /// The folder, absolute.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }
}

/// Removes what was staged and never finished. What cannot be removed only costs space, so that is no reason to stop.
fn sweep(root: &Path) {
    sweep_folder(&root.join("blobs").join("sha256"));
    sweep_folder(&root.join("trash"));
    for function in fs::read_dir(root.join("functions")).into_iter().flatten().flatten() {
        if function.file_type().is_ok_and(|kind| kind.is_dir()) {
            sweep_folder(&function.path());
        }
    }
}

fn sweep_folder(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(is_staged) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn is_staged(file_name: &str) -> bool {
    let number = file_name.rsplit_once('#').map(|(_, number)| number);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}
