//! Blobs that a deploy of this process needs, though nothing refers to them yet: no collector of this process takes them, however
//! long that deploy lasts.

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
