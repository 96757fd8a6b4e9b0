//! Where a host has its logs: hosts that are given the same folder have one each in it.
//!
//! Two that wrote the same files would take each other's lines away. A host holds a lock for as long as it runs, so after a restart
//! it finds its own again.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// Hosts in one folder.
const MAX_HOSTS: u32 = 1000;

/// A folder that is this host's alone.
#[derive(Debug)]
pub(super) struct Place {
    folder: PathBuf,
    /// Open, and thereby locked, until the host ends in whatever way.
    _lock: Option<File>,
}

impl Place {
    /// `folder`, or `folder/_2`, `folder/_3` and so on, which no function is called. Where nothing can be locked, or made, it is
    /// `folder`: whoever writes will say what is wrong with it.
    pub(super) fn claim(folder: &Path) -> Self {
        for number in 1..=MAX_HOSTS {
            let place = if number == 1 { folder.to_owned() } else { folder.join(format!("_{number}")) };
            match lock(&place) {
                Ok(Some(lock)) => return Self { folder: place, _lock: Some(lock) },
                Ok(None) => {}
                Err(_) => break,
            }
        }
        Self { folder: folder.to_owned(), _lock: None }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

/// `None`: another host has it. No function is called as the lock is.
fn lock(folder: &Path) -> io::Result<Option<File>> {
    fs::create_dir_all(folder)?;
    let lock = File::options().create(true).truncate(false).write(true).open(folder.join("_lock"))?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_has_a_folder_and_finds_it_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let (first, second) = (Place::claim(folder.path()), Place::claim(folder.path()));
        assert_eq!((first.folder(), second.folder()), (folder.path(), folder.path().join("_2").as_path()));
        drop(first);
        assert_eq!(Place::claim(folder.path()).folder(), folder.path());
    }
}
