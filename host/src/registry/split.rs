//! Taking a bundle apart while it streams in, checking every byte against the manifest.
//!
//! [`Splitter`] is fed with chunks of any size and answers with [`Event`]s: each part's start, content and end; the manifest
//! is what it ends with. It holds at most the manifest and one section's header, however large the bundle. It is pure: what
//! becomes of the parts is the caller's business, who must throw away everything received when an error comes or when
//! [`Splitter::finish`] was not reached. Order: `nocti.manifest`, `nocti.digest`, the component's sections, then models
//! and assets in any order, the chunks of one model together.

use std::fmt;

use bytes::Bytes;

use super::digest::{Blob, Digest};
use super::manifest::{Manifest, ManifestError};
use super::name::{AssetPath, ModelName};
use super::section;

mod splitter;

pub use splitter::Splitter;

/// A part of a bundle that becomes a blob.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Part {
    /// The preamble and every section that is not the bundle's own.
    Component,
    /// A model's ONNX file.
    Model(ModelName),
    /// A file under `/assets`.
    Asset(AssetPath),
}

/// What a [`Splitter`] found.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A part begins; these are its size and digest if nothing is wrong with it.
    BlobStart { part: Part, blob: Blob },
    /// The part's next bytes.
    BlobData(Bytes),
    /// The part is complete, and is what the manifest says.
    BlobEnd,
}

/// Why a file is not a bundle, or not a whole one.
#[derive(Debug, thiserror::Error)]
pub enum SplitError {
    #[error(
        "this is not a WebAssembly file; make a bundle with `nocti build`, or deploy an .onnx file with `nocti deploy`"
    )]
    NotWasm,
    #[error(
        "this is a core module, not a component; build it with --target wasm32-wasip2 and bundle it with `nocti build`"
    )]
    CoreModule,
    #[error("not a Nocti bundle: {0}; make one with `nocti build`")]
    NotABundle(&'static str),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("the bundle is cut off after {offset} bytes, inside {inside}")]
    Truncated { offset: u64, inside: String },
    #[error("the bundle is damaged: the section at byte {offset} is malformed, {why}")]
    Malformed { offset: u64, why: &'static str },
    #[error("section {section} at byte {offset} does not belong there: {why}")]
    Unexpected { section: String, offset: u64, why: &'static str },
    #[error("{section} has {got} bytes or more, but the manifest says {expected}")]
    WrongSize { section: String, expected: u64, got: u64 },
    #[error("{section} is damaged: its sha256 should be {expected}, but is {got}")]
    WrongDigest { section: String, expected: Digest, got: Digest },
    #[error("the bundle ends without {section}, which its manifest lists")]
    Missing { section: String },
}

/// Every part a bundle must have.
fn parts(manifest: &Manifest) -> impl Iterator<Item = Part> {
    let component = manifest.component.iter().map(|_| Part::Component);
    let models = manifest.models.iter().map(|model| Part::Model(model.name.clone()));
    component.chain(models).chain(manifest.assets.iter().map(|asset| Part::Asset(asset.path.clone())))
}

/// The part that a section of this name holds.
fn find(manifest: &Manifest, section: &str) -> Result<(Part, Blob), &'static str> {
    const UNLISTED: &str = "the manifest does not list it";
    if let Some(name) = section.strip_prefix(section::MODEL) {
        let model = manifest.models.iter().find(|model| model.name.as_str() == name).ok_or(UNLISTED)?;
        return Ok((Part::Model(model.name.clone()), model.blob));
    }
    if let Some(path) = section.strip_prefix(section::ASSET) {
        let asset = manifest.assets.iter().find(|asset| asset.path.as_str() == path).ok_or(UNLISTED)?;
        return Ok((Part::Asset(asset.path.clone()), asset.blob));
    }
    match section {
        section::MANIFEST | section::DIGEST => Err("the bundle has had it already"),
        _ => Err("this host knows no such section; the bundle may be of a newer kind"),
    }
}

impl fmt::Display for Part {
    /// The section's name in the bundle.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Component => f.write_str("the component"),
            Self::Model(name) => write!(f, "{}{name}", section::MODEL),
            Self::Asset(path) => write!(f, "{}{path}", section::ASSET),
        }
    }
}

#[cfg(test)]
mod tests;
