//! What a start from a bucket reads in place of every function's objects: all that is deployed, in one object of the store.
//!
//! ```text
//! gzip of JSON    up to which notice it has seen all, each function with its manifests, the names of what could not be read
//! ```
//! Any host writes it now and then, over the one it has read. It only saves time: what is missing, damaged or of another release
//! is as good as none, and what changed since is in the notices after its number, or, where these are gone, in the names of
//! revisions.

use std::io::{Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};

use super::super::manifest::Manifest;
use super::super::name::FunctionName;
use super::super::revision::Revision;
use super::super::store::{Store, StoreError};
use super::route::Shown;
use super::{Entry, Snapshot, read};

/// A release may refuse what an earlier one took, so each has its own.
const FORMAT: &str = concat!("1-nocti-", env!("CARGO_PKG_VERSION"));
/// A hundred thousand functions fit.
const MAX_BYTES: u64 = 512 << 20;
const MAX_UNPACKED_BYTES: u64 = 2 << 30;

/// What is deployed, as of a notice.
#[derive(Debug, Default)]
pub(super) struct Stored {
    /// All notices up to this one are in it.
    pub(super) seen: u64,
    pub(super) entries: Vec<(FunctionName, Entry)>,
    /// Whoever wrote it could not read these.
    pub(super) damaged: Vec<FunctionName>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content<F, D> {
    seen: u64,
    functions: Vec<F>,
    /// With their last revisions' numbers.
    deleted: Vec<(D, u64)>,
    /// Mostly none, and then it is written as before there was this.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    damaged: Vec<D>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record<R, M> {
    revision: R,
    /// In the order of the revision's versions.
    manifests: Vec<M>,
}

/// What the store has; `None` if that is of no use.
pub(super) async fn of(store: &Store) -> Result<Option<Stored>, StoreError> {
    let Some((bytes, _)) = store.read_snapshot(FORMAT, MAX_BYTES).await? else { return Ok(None) };
    let parsed = tokio::task::spawn_blocking(move || parse(&bytes)).await;
    let stored = parsed.unwrap_or_default();
    if stored.is_none() {
        tracing::warn!("the store's snapshot is damaged: everything is read anew");
    }
    Ok(stored)
}

/// Writes what is deployed, unless another host has written something newer.
pub(super) async fn write(store: &Store, seen: u64, snapshot: Arc<Snapshot>) -> Result<(), StoreError> {
    let there = store.read_snapshot(FORMAT, MAX_BYTES).await?;
    let (bytes, held) = there.map_or((None, None), |(bytes, held)| (Some(bytes), Some(held)));
    let made = tokio::task::spawn_blocking(move || {
        let newer = bytes.and_then(|bytes| parse(&bytes)).is_some_and(|stored| stored.seen > seen);
        (!newer).then(|| to_bytes(seen, &snapshot))
    });
    match made.await {
        Ok(Some(Ok(content))) if content.len() as u64 <= MAX_BYTES => {
            store.write_snapshot(FORMAT, content.into(), held).await?;
        }
        Ok(Some(_)) | Err(_) => tracing::warn!("the store's snapshot cannot be made; starts take longer"),
        Ok(None) => {}
    }
    Ok(())
}

fn to_bytes(seen: u64, snapshot: &Snapshot) -> std::io::Result<Vec<u8>> {
    let mut content = Content { seen, functions: Vec::new(), deleted: Vec::new(), damaged: Vec::new() };
    for (name, entry) in snapshot.iter() {
        match entry {
            Entry::Usable(Shown { function, .. }) => {
                let manifests = function.versions.values().map(|version| version.manifest.as_ref()).collect();
                content.functions.push(Record { revision: &function.revision, manifests });
            }
            Entry::Gone(revision) => content.deleted.push((name, *revision)),
            // Is read anew by every start.
            Entry::Damaged(_) => content.damaged.push(name),
        }
    }
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    serde_json::to_writer(std::io::BufWriter::new(&mut packed), &content)?;
    packed.flush()?;
    packed.finish()
}

fn parse(bytes: &Bytes) -> Option<Stored> {
    let mut text = Vec::new();
    GzDecoder::new(&bytes[..]).take(MAX_UNPACKED_BYTES).read_to_end(&mut text).ok()?;
    let content: Content<Record<Revision, Manifest>, FunctionName> = serde_json::from_slice(&text).ok()?;
    let functions = content.functions.into_iter().map(|Record { revision, manifests }| {
        revision.check().ok()?;
        let function = read::from_parts(revision, manifests)?;
        Some((function.name().clone(), Entry::of(Arc::new(function))))
    });
    let mut entries: Vec<_> = functions.collect::<Option<_>>()?;
    entries.extend(content.deleted.into_iter().map(|(name, revision)| (name, Entry::Gone(revision))));
    Some(Stored { seen: content.seen, entries, damaged: content.damaged })
}

#[cfg(test)]
mod tests;
