//! A bundle that comes from elsewhere, in a file of its own beside the one it becomes: `FILE.part`.
//!
//! It is checked as it comes and renamed when it is whole. What broke off goes on from there another time. Who writes it holds a lock
//! on it.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;

use super::WrongUsage;
use super::head::Head;
use crate::registry::digest::Digest;
use crate::registry::manifest::Manifest;
use crate::registry::split::Splitter;

/// What has come of a bundle.
pub(super) struct Partial {
    path: PathBuf,
    file: File,
    splitter: Splitter,
    size: u64,
    /// All has come, and is as this says.
    whole: Option<Arc<Manifest>>,
}

/// Refuses to write over a file that is there, unless that is meant, and what no file can be written over.
pub(super) fn may_write(file: &Path, force: bool) -> anyhow::Result<()> {
    if file == Path::new("-") {
        let usage = "-o -: a bundle is not written to standard output; name a file ('./-' is the one of this name)";
        return Err(WrongUsage(usage.to_owned()).into());
    }
    ensure!(!file.is_dir(), "{} is a folder; -o names a file", file.display());
    ensure!(
        force || !file.exists(),
        "{} is there already; --force writes over it, -o writes elsewhere",
        file.display()
    );
    Ok(())
}

impl Partial {
    /// What an earlier download has left beside `file`; nothing where that is no beginning of a bundle.
    pub(super) fn open(file: &Path) -> anyhow::Result<Self> {
        let mut name = file.as_os_str().to_owned();
        name.push(".part");
        let path = PathBuf::from(name);
        let file = Self::alone(&path)?;
        let mut partial = Self { path, file, splitter: Splitter::new(), size: 0, whole: None };
        let mut buffer = vec![0; 256 << 10];
        loop {
            let length =
                partial.file.read(&mut buffer).with_context(|| format!("cannot read {}", partial.path.display()))?;
            if length == 0 {
                return Ok(partial);
            }
            if partial.splitter.push(Bytes::copy_from_slice(&buffer[..length])).is_err() {
                partial.begin_again()?;
                return Ok(partial);
            }
            partial.size += length as u64;
        }
    }

    /// The file, open and locked for as long as it is.
    fn alone(path: &Path) -> anyhow::Result<File> {
        loop {
            let opened = File::options().read(true).write(true).create(true).truncate(false).open(path);
            let file = opened.with_context(|| format!("cannot write {}", path.display()))?;
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => {
                    bail!("another command is writing {}; wait for it, or write elsewhere with -o", path.display())
                }
                // Where files have no locks, what comes is checked all the same.
                Ok(()) | Err(TryLockError::Error(_)) => {}
            }
            // Another command may have finished it, or removed it, before it was locked.
            if is_at(&file, path) {
                return Ok(file);
            }
        }
    }

    /// Which version it is of, where so much has come.
    pub(super) fn digest(&self) -> Option<Digest> {
        if self.size == 0 {
            return None;
        }
        Head::read(&self.path).ok().flatten().map(|head| head.manifest.digest())
    }

    /// Bytes that have come.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Whether nothing is missing.
    pub(super) fn is_whole(&mut self) -> bool {
        self.whole = self.splitter.finish().ok();
        self.whole.is_some()
    }

    pub(super) fn begin_again(&mut self) -> anyhow::Result<()> {
        (self.splitter, self.size) = (Splitter::new(), 0);
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map(drop).with_context(|| format!("cannot write {}", self.path.display()))
    }

    pub(super) fn put(&mut self, bytes: Bytes) -> anyhow::Result<()> {
        self.file.write_all(&bytes).with_context(|| format!("cannot write {}", self.path.display()))?;
        self.size += bytes.len() as u64;
        let checked = self.splitter.push(bytes).map(drop);
        checked.map_err(|error| self.damaged(error))
    }

    /// What has come, unless `fetched` says that it cannot go on; of nothing there is nothing to go on from.
    pub(super) fn keep(self, fetched: anyhow::Result<()>) -> anyhow::Result<Self> {
        if fetched.is_err() && self.size == 0 {
            let _ = std::fs::remove_file(&self.path);
        }
        fetched.map(|()| self)
    }

    /// Makes it the file, if it is whole.
    pub(super) fn finish(mut self, file: &Path) -> anyhow::Result<(Digest, u64)> {
        let manifest = match self.whole.take() {
            Some(manifest) => manifest,
            None => self.splitter.finish().map_err(|error| self.damaged(error))?,
        };
        let kept = self.file.sync_all().and_then(|()| std::fs::rename(&self.path, file));
        kept.with_context(|| format!("cannot write {}", file.display()))?;
        Ok((manifest.digest(), self.size))
    }

    /// What is damaged is of no use for the next download.
    fn damaged(&self, error: impl std::error::Error + Send + Sync + 'static) -> anyhow::Error {
        let _ = std::fs::remove_file(&self.path);
        anyhow::Error::new(error).context("what came is damaged; download it again")
    }
}

/// Whether a file is still there under this name.
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let inode = |found: std::fs::Metadata| (found.dev(), found.ino());
    let ours = file.metadata().map(inode);
    ours.is_ok_and(|ours| std::fs::metadata(path).map(inode).is_ok_and(|theirs| ours == theirs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_command_at_a_time_writes_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f.wasm");
        let first = Partial::open(&file).unwrap();
        let refused = Partial::open(&file).err().unwrap().to_string();
        assert!(refused.contains("another command is writing") && refused.contains("f.wasm.part"), "{refused}");
        drop(first);
        Partial::open(&file).unwrap();
    }
}
