//! A bundle as its manifest alone tells it: which bytes stand where, and which of a blob's go there.
//!
//! What `nocti build` writes is this, byte by byte. A bundle that was written by others may have had its parts in another order; it
//! has the same manifest, and so the same digest.

use std::ops::Range;

use bytes::Bytes;

use super::super::digest::Blob;
use super::super::manifest::Manifest;
use super::super::section::{self, PREAMBLE, headers};
use super::head;

/// Some bytes of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// The frame around parts.
    Frame(Bytes),
    /// A part of a blob.
    Of(Blob, Range<u64>),
}

/// All pieces of a bundle, in order.
#[derive(Debug, Clone)]
pub struct Layout(Vec<Piece>);

impl Layout {
    /// The pieces of the bundle with this manifest. Their number follows from the sizes that it claims, so these must have been seen
    /// to be true.
    pub fn of(manifest: &Manifest) -> Self {
        Self::chunked(manifest, section::MAX_BYTES)
    }

    pub(super) fn chunked(manifest: &Manifest, max_section_bytes: u64) -> Self {
        let mut pieces = vec![Piece::Frame(head(manifest).into())];
        if let Some(component) = manifest.component {
            // The preamble stands at the front already.
            pieces.push(Piece::Of(component, PREAMBLE.len() as u64..component.size));
        }
        let models = manifest.models.iter().map(|model| (format!("{}{}", section::MODEL, model.name), model.blob));
        let assets = manifest.assets.iter().map(|asset| (format!("{}{}", section::ASSET, asset.path), asset.blob));
        for (name, blob) in models.chain(assets) {
            let mut at = 0;
            for (header, length) in headers(&name, blob.size, max_section_bytes) {
                pieces.extend([Piece::Frame(header.into()), Piece::Of(blob, at..at + length)]);
                at += length;
            }
        }
        Self(pieces)
    }

    /// Bytes of the whole bundle.
    pub fn size_bytes(&self) -> u64 {
        self.0.iter().map(Piece::size_bytes).sum()
    }

    /// What stands in a range of the bundle.
    pub fn within(self, range: Range<u64>) -> Vec<Piece> {
        let mut at = 0;
        let cut = self.0.into_iter().filter_map(|piece| {
            let size = piece.size_bytes();
            let (from, to) = (range.start.saturating_sub(at).min(size), range.end.saturating_sub(at).min(size));
            at += size;
            (from < to).then(|| piece.cut(from, to))
        });
        cut.collect()
    }
}

impl Piece {
    fn size_bytes(&self) -> u64 {
        match self {
            Self::Frame(bytes) => bytes.len() as u64,
            Self::Of(_, range) => range.end.saturating_sub(range.start),
        }
    }

    fn cut(self, from: u64, to: u64) -> Self {
        match self {
            // A frame is in memory, so its lengths fit.
            Self::Frame(bytes) => {
                let index = |at| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                Self::Frame(bytes.slice(index(from)..index(to)))
            }
            Self::Of(blob, range) => Self::Of(blob, range.start + from..range.start + to),
        }
    }
}
