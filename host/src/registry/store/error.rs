//! What goes wrong with a store, in words for whoever can do something about it.

use std::path::PathBuf;

use object_store::path::Path as ObjectPath;

use super::super::digest::Blob;
use super::super::format::FORMAT;
use super::super::name::FunctionName;
use super::MAX_REVISION_BYTES;
use super::folder::is_gone;

/// Why the store did not do as asked. Objects are named by their place in the store, never by a path of the machine.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot use the store's folder {}: {source}", path.display())]
    Open { path: PathBuf, source: std::io::Error },
    #[error("the store {bucket} cannot be used: {why}")]
    Bucket { bucket: String, why: String, source: Option<object_store::Error> },
    // It names paths of the machine.
    #[error("this node cannot keep what it fetches from the store; see to the disk of cache_dir")]
    Cache(#[source] std::io::Error),
    #[error("no space is left in the store to write {object}; nothing was changed, free some space and try again")]
    Full { object: String },
    #[error("revision {revision} of function '{function}' was written by somebody else")]
    Conflict { function: FunctionName, revision: u64 },
    #[error("{object} in the store is damaged: {why}; {}", repair(object))]
    Damaged { object: String, why: String },
    #[error(
        "{object} in the store was written by a newer nocti (format {format}), and this one reads up to format {FORMAT}: upgrade it"
    )]
    Newer { object: String, format: u64 },
    #[error("{object} is missing from the store{}", replacement(object))]
    Missing { object: String },
    #[error("{object} has {size} bytes, which is more than the {cap} that are read at once")]
    TooLarge { object: String, size: u64, cap: u64 },
    #[error(
        "function '{function}' would take {bytes} bytes in the store with all its versions and aliases, and may take {MAX_REVISION_BYTES}; \
         delete some of them first"
    )]
    FunctionFull { function: FunctionName, bytes: u64 },
    #[error("content announced as {} bytes with sha256 {} came as {} bytes with sha256 {}", expected.size, expected.sha256, got.size, got.sha256)]
    WrongContent { expected: Blob, got: Blob },
    // The source names paths of the machine, so it is not part of the message.
    #[error("the store does not answer as it should, asked to {doing} {object}{}", what_to_do(source))]
    Unreachable { doing: &'static str, object: String, source: object_store::Error },
    #[error("the store cannot {doing} {object}")]
    Failed { doing: &'static str, object: String, source: object_store::Error },
}

/// What brings a damaged object back. A blob comes with any deploy that has it, once the damaged one is not in its place.
fn repair(object: &str) -> &'static str {
    match object.starts_with(BLOBS) {
        true => "deploy the same version again, after removing the object if it is still there",
        false => "restore it from a backup, or remove it to give it up",
    }
}

/// The same for one that is missing, after the message.
fn replacement(object: &str) -> &'static str {
    if object.starts_with(BLOBS) { "; deploy the same version again, or delete the function" } else { "" }
}

/// Begins the names of blobs.
const BLOBS: &str = "blobs/";

/// Tells what an object store's error means here.
pub(super) fn failed(doing: &'static str, path: &ObjectPath) -> impl FnOnce(object_store::Error) -> StoreError {
    let object = path.to_string();
    move |source| match source {
        object_store::Error::NotFound { .. } => StoreError::Missing { object },
        source if is_full(&source) => StoreError::Full { object },
        source if is_remote(&source) || is_gone(&source) => StoreError::Unreachable { doing, object, source },
        source => StoreError::Failed { doing, object, source },
    }
}

/// The end of what is said of a store that cannot be reached.
fn what_to_do(source: &object_store::Error) -> &'static str {
    match is_gone(source) {
        true => {
            ": its folder is not there any more, or another is in its place; mount it again, or restart the host if it is to use what is \
             there now"
        }
        false => "; try again later",
    }
}

/// True of errors that a bucket has and a folder has not: no answer, or none that can be relied on.
pub(super) fn is_remote(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::Generic { store, .. } if *store != "LocalFileSystem")
}

/// True when the cause, however deep, is that no space is left.
fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| matches!(cause.kind(), StorageFull | QuotaExceeded))
}
