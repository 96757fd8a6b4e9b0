//! Writing an object that must not be there yet, and being sure who has written it.
//!
//! A bucket may have done what was asked and its answer be lost: then the next try finds the object there. So whoever is told
//! that it is there, or is told nothing, reads it: whose bytes it has has won. No two writers may write the same bytes.

use bytes::Bytes;
use object_store::path::Path as ObjectPath;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use tokio::time::{Duration, Instant};

use super::{StoreError, failed, is_remote};

/// Who has written an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    ByUs,
    ByOthers,
}

/// One request, with the repeats that are made by themselves: somebody waits.
const TRY: Duration = Duration::from_secs(10);
/// When it is not tried again: later than after one request and one question that hang.
const GIVE_UP: Duration = Duration::from_secs(30);
/// A bucket tells one of two at a time that it is in the way of the other.
const PAUSE: Duration = Duration::from_millis(50);

/// Writes `content` to `path` unless there is something. An error says nothing about what is there now.
pub(super) async fn create(
    objects: &dyn ObjectStore,
    path: &ObjectPath,
    content: Bytes,
) -> Result<Written, StoreError> {
    let began = Instant::now();
    loop {
        let mode = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let Err(error) = in_time(objects.put_opts(path, content.clone().into(), mode)).await else {
            return Ok(Written::ByUs);
        };
        // A folder answers always.
        if !matches!(error, Error::AlreadyExists { .. }) && !is_remote(&error) {
            return Err(failed("write", path)(error));
        }
        match in_time(read(objects, path)).await {
            Ok(there) if there == content => return Ok(Written::ByUs),
            Ok(_) => return Ok(Written::ByOthers),
            // Not there after all, or nobody knows.
            Err(_) if began.elapsed() < GIVE_UP => tokio::time::sleep(PAUSE).await,
            // Told that it is there, without an answer whose it is, nobody knows either.
            Err(unread) => return Err(failed("write", path)(if is_remote(&unread) { unread } else { error })),
        }
    }
}

/// Whether it was done is not known of a request that takes too long, as of one whose answer is lost.
async fn in_time<T>(request: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = |_| Error::Generic { store: "bucket", source: format!("no answer for {TRY:?}").into() };
    tokio::time::timeout(TRY, request).await.unwrap_or_else(|elapsed| Err(late(elapsed)))
}

async fn read(objects: &dyn ObjectStore, path: &ObjectPath) -> Result<Bytes, Error> {
    objects.get(path).await?.bytes().await
}

#[cfg(test)]
mod tests;
