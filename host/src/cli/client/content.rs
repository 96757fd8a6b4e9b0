//! What is sent of a file.

use std::collections::VecDeque;
use std::io::SeekFrom;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use futures::{Stream, stream};
use indicatif::ProgressBar;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use crate::compression::Encoding;

/// Bytes read at once.
const CHUNK_BYTES: u64 = 256 << 10;

/// More is sent as it is read: of what is so large most are numbers, which hardly become smaller.
const MAX_PACKED_BYTES: u64 = 16 << 20;

/// Parts of a file, one after another.
#[derive(Debug, Clone)]
pub(crate) struct Content<'f> {
    pub(super) file: &'f Path,
    pub(super) ranges: Vec<Range<u64>>,
    pub(super) media_type: &'static str,
    bar: ProgressBar,
    /// Bytes that were read to be sent.
    read: Arc<AtomicU64>,
}

impl<'f> Content<'f> {
    /// These ranges of a file; the bar moves as they are sent.
    pub(crate) fn of(file: &'f Path, ranges: Vec<Range<u64>>, bar: &ProgressBar) -> Self {
        Self { file, ranges, media_type: "application/octet-stream", bar: bar.clone(), read: Arc::default() }
    }

    /// All of a file that is so long.
    pub(crate) fn whole(file: &'f Path, size: u64, bar: &ProgressBar) -> Self {
        Self::of(file, std::iter::once(0..size).collect(), bar)
    }

    /// What is left of it behind its first bytes.
    pub(crate) fn after(&self, mut skipped: u64) -> Self {
        let ranges = self.ranges.iter().filter_map(|range| {
            let skip = skipped.min(range.end - range.start);
            skipped -= skip;
            Some(range.start + skip..range.end).filter(|left| !left.is_empty())
        });
        Self { ranges: ranges.collect(), read: Arc::default(), ..self.clone() }
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }

    /// How much of it has been sent.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// All of it compressed by gzip, where that makes it much smaller: code, texts.
    pub(crate) async fn packed(&self) -> anyhow::Result<Option<Vec<u8>>> {
        if !(1..=MAX_PACKED_BYTES).contains(&self.size_bytes()) {
            return Ok(None);
        }
        let plain = self.bytes().await?;
        let packed = Encoding::Gzip.compress(&plain).context("cannot compress what is sent")?;
        Ok(Some(packed).filter(|packed| packed.len() < plain.len() / 10 * 9))
    }

    /// All of it, in memory.
    pub(crate) async fn bytes(&self) -> anyhow::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let cannot_read = || format!("cannot read {}", self.file.display());
        let mut file = File::open(self.file).await.with_context(cannot_read)?;
        for range in &self.ranges {
            file.seek(SeekFrom::Start(range.start)).await.with_context(cannot_read)?;
            (&mut file).take(range.end - range.start).read_to_end(&mut bytes).await.with_context(cannot_read)?;
        }
        Ok(bytes)
    }

    /// Reads it, chunk by chunk.
    pub(crate) async fn chunks(
        &self,
    ) -> anyhow::Result<impl Stream<Item = std::io::Result<Bytes>> + Send + 'static + use<>> {
        let file = File::open(self.file).await.with_context(|| format!("cannot read {}", self.file.display()))?;
        let (bar, read) = (self.bar.clone(), Arc::clone(&self.read));
        let ranges = VecDeque::from(self.ranges.clone());
        Ok(stream::try_unfold((file, ranges, None), move |(mut file, mut ranges, at)| {
            let (bar, read) = (bar.clone(), Arc::clone(&read));
            async move {
                let Some(Range { start, end }) = ranges.pop_front() else { return Ok(None) };
                if at != Some(start) {
                    file.seek(SeekFrom::Start(start)).await?;
                }
                let mut chunk = BytesMut::with_capacity(usize::try_from((end - start).min(CHUNK_BYTES)).unwrap_or(0));
                let length = (&mut file).take((end - start).min(CHUNK_BYTES)).read_buf(&mut chunk).await? as u64;
                if length == 0 && start < end {
                    return Err(std::io::Error::other("the file was changed while it was sent"));
                }
                if start + length < end {
                    ranges.push_front(start + length..end);
                }
                bar.inc(length);
                read.fetch_add(length, Ordering::Relaxed);
                Ok(Some((chunk.freeze(), (file, ranges, Some(start + length)))))
            }
        }))
    }
}
