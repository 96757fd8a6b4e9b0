//! Writing one blob as its bytes arrive.
//!
//! Memory use is bounded by one part, which is small but for blobs of more than 70 GiB. The blob appears in the store when
//! [`BlobWriter::commit`] has found its content to be as announced, and only then; a writer that is dropped or failed leaves
//! nothing, but in one case: where a folder's disk says only at the last that it is full, what was staged is swept when the store is
//! next opened. A blob that the store has already is not written again, only checked.

use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path as ObjectPath;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayloadMut};

use super::super::digest::{Blob, BlobHasher};
use super::{StoreError, failed};

/// What is gathered before it is written. Object stores want parts of at least 5 MiB.
const PART_BYTES: usize = 8 << 20;

/// Most take 10,000 parts.
const MAX_PARTS: u64 = 9_000;

/// Writes one blob.
#[derive(Debug)]
pub struct BlobWriter {
    objects: Arc<dyn ObjectStore>,
    path: ObjectPath,
    blob: Blob,
    hasher: BlobHasher,
    /// The store has a blob of this name and size.
    exists: bool,
    pending: PutPayloadMut,
    /// The size of every part but the last: some object stores want them alike.
    part_bytes: usize,
    /// Parts of an upload that nobody ends stay, and are paid for.
    keeps_parts: bool,
    /// Begun when there is more than one part.
    upload: Option<Box<dyn MultipartUpload>>,
}

impl BlobWriter {
    pub(super) async fn begin(
        objects: Arc<dyn ObjectStore>,
        path: ObjectPath,
        blob: Blob,
        keeps_parts: bool,
    ) -> Result<Self, StoreError> {
        // One of another size is damaged, and is replaced by what is being written.
        let exists = size(&*objects, &path).await? == Some(blob.size);
        let (hasher, pending) = (BlobHasher::default(), PutPayloadMut::new());
        let part_bytes = usize::try_from(blob.size / MAX_PARTS).unwrap_or(usize::MAX).max(PART_BYTES);
        Ok(Self { objects, path, blob, hasher, exists, pending, part_bytes, keeps_parts, upload: None })
    }

    /// Takes the next bytes.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), StoreError> {
        self.hasher.update(&bytes);
        if self.hasher.size() > self.blob.size {
            return Err(self.wrong_content());
        }
        if self.exists {
            return Ok(());
        }
        while self.pending.content_length() + bytes.len() >= self.part_bytes {
            let rest = bytes.split_off(self.part_bytes - self.pending.content_length());
            self.pending.push(bytes);
            self.write_part().await?;
            bytes = rest;
        }
        if !bytes.is_empty() {
            self.pending.push(bytes);
        }
        Ok(())
    }

    /// Makes the blob appear, if it is what was announced.
    pub async fn commit(mut self) -> Result<(), StoreError> {
        if self.hasher.clone().finish() != self.blob {
            return Err(self.wrong_content());
        }
        if self.exists {
            return Ok(());
        }
        if self.upload.is_some() && !self.pending.is_empty() {
            self.write_part().await?;
        }
        let written = match self.upload.as_mut() {
            Some(upload) => upload.complete().await,
            None => self.objects.put(&self.path, std::mem::take(&mut self.pending).freeze()).await,
        };
        if let Err(error) = written {
            // It may have been done, and the answer be lost.
            let there = size(&*self.objects, &self.path).await;
            if !there.is_ok_and(|there| there == Some(self.blob.size)) {
                return Err(failed("write", &self.path)(error));
            }
        }
        self.upload = None;
        Ok(())
    }

    async fn write_part(&mut self) -> Result<(), StoreError> {
        let part = std::mem::take(&mut self.pending).freeze();
        if self.upload.is_none() {
            let upload = self.objects.put_multipart(&self.path).await;
            self.upload = Some(upload.map_err(failed("write", &self.path))?);
        }
        let upload = self.upload.as_mut().expect("it was begun above if it had not been before");
        // One part at a time: whoever sends waits for the disk, and nothing piles up.
        if let Err(error) = upload.put_part(part).await {
            // At once rather than on drop: on a full disk, what was written is in the way of whatever comes next. Where that
            // fails too nothing is left to try; what remains is swept when the store is next opened.
            let _ = upload.abort().await;
            self.upload = None;
            return Err(failed("write", &self.path)(error));
        }
        Ok(())
    }

    fn wrong_content(&self) -> StoreError {
        StoreError::WrongContent { expected: self.blob, got: self.hasher.clone().finish() }
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        let Some(mut upload) = self.upload.take().filter(|_| self.keeps_parts) else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { upload.abort().await });
        }
    }
}

/// The size of the object at `path`, `None` if there is none.
async fn size(objects: &dyn ObjectStore, path: &ObjectPath) -> Result<Option<u64>, StoreError> {
    match objects.head(path).await {
        Ok(found) => Ok(Some(found.size)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(failed("look for", path)(error)),
    }
}
