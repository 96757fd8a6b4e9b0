//! Garbage: blobs that no function's newest revision refers to, and that have been there for longer than a deploy takes.
//!
//! Those go to the store's trash, and from there for good when nobody has wanted them back for as long again. No lock is needed,
//! whoever else uses the store: a deploy looks for all its blobs once more after its revision is written, and brings back what is
//! in the trash; a collector reads the references once more after it has put something there, and brings back what is referred to
//! by then. So one of them sees what the other did. Older revisions keep nothing: a version that is gone cannot be restored.

use std::collections::HashSet;
use std::time::Duration;

use chrono::TimeDelta;
use futures::{StreamExt, stream};
use tokio::time::Instant;

use super::super::digest::Digest;
use super::super::store::StoreError;
use super::{Catalog, Function, entry, read};

/// Revisions read at once.
const READS: usize = 8;

/// Between one blob and the next: nobody waits for this, and others use the disk.
const PACE: Duration = Duration::from_millis(10);

/// What is staged and was not written to for so long is nobody's.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// What a collection came to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Collected {
    /// Blobs put into the trash.
    pub discarded: u64,
    /// Blobs brought back from there.
    pub recovered: u64,
    /// Blobs deleted for good.
    pub deleted: u64,
    /// The bytes of those.
    pub deleted_bytes: u64,
}

impl Catalog {
    /// Collects once. `grace` is how long what nobody refers to stays, first in its place and then in the trash; no deploy and no
    /// collection may take longer between two of its steps.
    pub async fn collect(&self, grace: Duration) -> Result<Collected, StoreError> {
        let store = &self.shared.store;
        let began = Instant::now();
        // What was seen by then is old news; the rest is the next collection's.
        let in_time = || began.elapsed() < grace / 2;
        let now = store.clock().await?;
        let ago = |age| now.checked_sub_signed(TimeDelta::from_std(age).unwrap_or(TimeDelta::MAX));
        let mut collected = Collected::default();
        let Some(before) = ago(grace) else { return Ok(collected) };
        if let Some(before) = ago(grace.max(ABANDONED)) {
            store.sweep(before).await;
        }

        let mut old = store.blobs_before(before).await?;
        // Read after what may be unused was listed.
        if !old.is_empty() {
            let used = self.references().await?;
            old.retain(|found| !used.contains(&found.blob.sha256));
        }
        let (mut failures, mut too_large) = (Failures::default(), 0_u64);
        for found in old {
            if !in_time() {
                break;
            }
            if store.is_held(&found.blob.sha256) {
                continue;
            }
            if !store.can_discard(found.blob) {
                too_large += 1;
                continue;
            }
            match store.discard(found.blob).await {
                Ok(is_done) => collected.discarded += u64::from(is_done),
                Err(error) => failures.add(error),
            }
            tokio::time::sleep(PACE).await;
        }
        if too_large > 0 {
            tracing::warn!(blobs = too_large, "garbage stays: a bucket copies nothing of more than 5 GiB to the trash");
        }

        let trash = store.trash().await?;
        if trash.is_empty() {
            failures.tell();
            return Ok(collected);
        }
        let used = self.references().await?;
        for found in trash {
            let digest = &found.blob.sha256;
            let is_used = used.contains(digest);
            let seen_to = async {
                if is_used {
                    match store.size(digest).await? {
                        None => collected.recovered += u64::from(store.recover(found.blob).await?),
                        // One of the two is damaged. Whoever knows the size brings the good one back.
                        Some(size) if size != found.blob.size => return Ok(()),
                        Some(_) => {}
                    }
                }
                let is_due = found.since < before && in_time() && !store.is_held(digest);
                if is_due && store.purge(digest, before).await? && !is_used {
                    collected.deleted += 1;
                    collected.deleted_bytes += found.blob.size;
                }
                Ok::<(), StoreError>(())
            };
            if let Err(error) = seen_to.await {
                failures.add(error);
            }
        }
        failures.tell();
        Ok(collected)
    }

    /// Everything that the newest revision of any function refers to. Those that others have changed are read.
    async fn references(&self) -> Result<HashSet<Digest>, StoreError> {
        let store = &self.shared.store;
        let newest = store.newest().await?;
        let snapshot = self.shared.snapshot.load_full();
        let (mut used, mut others) = (HashSet::new(), Vec::new());
        for (name, number) in newest {
            match entry(&snapshot, name.as_str()) {
                Ok(function) if function.revision.revision == number => refer(&mut used, function),
                _ => others.push((name, number)),
            }
        }
        let reads = others.into_iter().map(|(name, number)| async move {
            read::with_manifests(store, store.revision(&name, number).await?, None).await
        });
        let mut reads = stream::iter(reads).buffer_unordered(READS);
        // Whoever cannot be read may refer to anything.
        while let Some(function) = reads.next().await {
            refer(&mut used, &function?);
        }
        Ok(used)
    }
}

/// Blobs that could not be moved, which is no reason to leave the others.
#[derive(Debug, Default)]
struct Failures {
    blobs: u64,
    last: Option<StoreError>,
}

impl Failures {
    fn add(&mut self, error: StoreError) {
        self.blobs += 1;
        self.last = Some(error);
    }

    /// Once for all of them: they may be many.
    fn tell(&self) {
        if let Some(error) = &self.last {
            let error: &dyn std::error::Error = error;
            tracing::warn!(
                error,
                blobs = self.blobs,
                "garbage could not be moved or deleted; the next collection tries again"
            );
        }
    }
}

fn refer(used: &mut HashSet<Digest>, function: &Function) {
    for version in function.versions.values() {
        used.insert(version.digest);
        used.extend(version.manifest.blobs().map(|blob| blob.sha256));
    }
}

#[cfg(test)]
mod tests;
