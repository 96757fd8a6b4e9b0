//! Reading blobs bit by bit, for those who hand them on: in memory there is one read's worth, however large the blob.

use std::collections::VecDeque;

use bytes::Bytes;
use futures::{Stream, stream};
use object_store::ObjectStoreExt;

use super::super::bundle::Piece;
use super::{Store, StoreError, blob_path, failed};

/// Bytes of one read. Whoever takes them slowly keeps no file and no connection open in between.
const READ_BYTES: u64 = 1 << 20;

impl Store {
    /// The content of these pieces, one after another.
    pub fn stream(&self, pieces: Vec<Piece>) -> impl Stream<Item = Result<Bytes, StoreError>> + Send + use<> {
        let state = (self.clone(), VecDeque::from(pieces));
        stream::try_unfold(state, |(store, mut pieces)| async move {
            let bytes = match pieces.pop_front() {
                None => return Ok(None),
                Some(Piece::Frame(bytes)) => bytes,
                Some(Piece::Of(blob, range)) => {
                    let end = range.end.min(range.start.saturating_add(READ_BYTES));
                    if end < range.end {
                        pieces.push_front(Piece::Of(blob, end..range.end));
                    }
                    let path = blob_path(&blob.sha256);
                    let read = range.start..end;
                    match store.objects.get_range(&path, read.clone()).await {
                        // Between two reads it may have been taken for waste.
                        Err(object_store::Error::NotFound { .. }) if store.recover(blob).await? => {
                            store.objects.get_range(&path, read).await
                        }
                        read => read,
                    }
                    .map_err(failed("read", &path))?
                }
            };
            Ok(Some((bytes, (store, pieces))))
        })
    }
}
