//! From a registry to a host: the parts that the host lacks, as they come and without a file between.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::anyhow;
use futures::{StreamExt, TryStreamExt, stream};
use indicatif::ProgressBar;

use super::artifact;
use super::registry::{Chunks, Registry};
use crate::cli::client::Client;
use crate::cli::upload::{self, Source};
use crate::registry::digest::{Blob, BlobHasher};

/// The parts of a function in a registry.
pub(crate) struct Relay<'r>(pub(crate) &'r Registry);

/// What became of a part on its way.
#[derive(Default)]
struct Passed {
    bytes: AtomicU64,
    /// Why no more came; a host only sees that nothing does.
    failure: OnceLock<String>,
}

impl Source for Relay<'_> {
    async fn send(&self, client: &Client, part: Blob, offset: u64, bar: &ProgressBar) -> (u64, anyhow::Result<()>) {
        let chunks = match self.0.blob(part, offset..part.size).await {
            // Of a part that goes on, the host checks the whole.
            Ok(chunks) if offset > 0 => chunks,
            Ok(chunks) => checked(chunks, part),
            Err(error) => return (0, Err(error)),
        };
        let passed = Arc::new(Passed::default());
        let (seen, bar) = (Arc::clone(&passed), bar.clone());
        let chunks = chunks.inspect(move |chunk| match chunk {
            Ok(chunk) => {
                bar.inc(chunk.len() as u64);
                seen.bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            }
            Err(error) => drop(seen.failure.set(error.to_string())),
        });
        let sent = client.put_stream(&upload::path(part, offset), part.size - offset, chunks).await;
        let sent = match passed.failure.get() {
            Some(why) => Err(anyhow!("cannot get layer {}: {why}", artifact::text(part.sha256))),
            None => sent,
        };
        (passed.bytes.load(Ordering::Relaxed), sent)
    }
}

/// The same chunks, without the last one where they are not the blob.
fn checked(chunks: Chunks, blob: Blob) -> Chunks {
    let hashed = stream::try_unfold((chunks, BlobHasher::default()), move |(mut chunks, mut hasher)| async move {
        let Some(chunk) = chunks.try_next().await? else { return Ok(None) };
        hasher.update(&chunk);
        if hasher.size() == blob.size && hasher.clone().finish() != blob {
            return Err(io::Error::other("what came is damaged"));
        }
        Ok::<_, io::Error>(Some((chunk, (chunks, hasher))))
    });
    hashed.boxed()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[tokio::test]
    async fn what_is_not_the_blob_never_comes_to_its_end() {
        let blob = Blob::of(b"0123456789");
        let of = |chunks: [&'static str; 2]| stream::iter(chunks.map(|chunk| Ok(Bytes::from(chunk)))).boxed();
        let whole: Vec<Bytes> = checked(of(["0123", "456789"]), blob).try_collect().await.unwrap();
        assert_eq!(whole.concat(), b"0123456789");
        let damaged: Vec<io::Result<Bytes>> = checked(of(["0123", "45678X"]), blob).collect().await;
        assert!(matches!(damaged.as_slice(), [Ok(_), Err(_)]), "{damaged:?}");
    }
}
