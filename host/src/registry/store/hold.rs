//! Blobs that somebody in this process needs for a while, however long. What a deploy needs though nothing refers to it yet, no
//! collector of this process takes; what is needed as a file is not removed to make room for others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::digest::{Blob, Digest};

/// How many hold each blob. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Holders(Arc<Mutex<HashMap<Digest, usize>>>);

/// Holds blobs until it is dropped.
#[derive(Debug)]
pub struct Hold {
    holders: Holders,
    blobs: Vec<Digest>,
}

impl Holders {
    pub(super) fn hold(&self) -> Hold {
        Hold { holders: self.clone(), blobs: Vec::new() }
    }

    pub(super) fn hold_any(&self, digest: &Digest) -> bool {
        self.counts().contains_key(digest)
    }

    pub(super) fn hold_one(&self, digest: &Digest) -> Hold {
        *self.counts().entry(*digest).or_default() += 1;
        Hold { holders: self.clone(), blobs: vec![*digest] }
    }

    /// Does something to a blob that nobody holds, and that nobody can hold meanwhile: it has to be quick. `None` if somebody does.
    pub(super) fn unless_held<T>(&self, digest: &Digest, work: impl FnOnce() -> T) -> Option<T> {
        let counts = self.counts();
        (!counts.contains_key(digest)).then(work)
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Digest, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hold {
    /// Holds these too.
    pub fn add(&mut self, blobs: impl IntoIterator<Item = Blob>) {
        let mut counts = self.holders.counts();
        for blob in blobs {
            *counts.entry(blob.sha256).or_default() += 1;
            self.blobs.push(blob.sha256);
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut counts = self.holders.counts();
        for digest in &self.blobs {
            if let Some(count) = counts.get_mut(digest) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(digest);
                }
            }
        }
    }
}
