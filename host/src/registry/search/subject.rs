//! What a query is held against.

use super::super::manifest::Manifest;
use super::super::name::FunctionName;
use super::super::revision::VersionRecord;
use crate::tensor::{Signature, TensorSpec};

/// A version, and all words that it says of itself.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'v> {
    pub function: &'v FunctionName,
    pub manifest: &'v Manifest,
    pub record: &'v VersionRecord,
    /// What `text` makes of it.
    pub text: &'v str,
}

/// Between the words of one thing and those of the next, so that no phrase spans both.
const BREAK: char = '\0';

/// All words of a version, in lower case. They take as much again as they do in the manifest and the record.
pub(in crate::registry) fn text(manifest: &Manifest, record: &VersionRecord) -> Box<str> {
    let mut words = vec![manifest.name.as_str(), &manifest.description];
    words.extend(manifest.authors.iter().chain(&manifest.tags).chain(&manifest.license).map(String::as_str));
    words.extend(manifest.models.iter().map(|model| model.name.as_str()));
    for signature in signatures(record) {
        words.extend(signature.inputs.iter().chain(&signature.outputs).map(|tensor| tensor.name.as_str()));
    }
    let length = words.iter().map(|word| word.len() + 1).sum();
    let mut text = String::with_capacity(length);
    for word in words {
        text.push_str(word);
        text.push(BREAK);
    }
    text.to_lowercase().into()
}

/// What it takes and gives, and what its models do; once where that is the same.
pub(super) fn signatures(record: &VersionRecord) -> impl Iterator<Item = &Signature> {
    let of_models = record.models.iter().map(|model| &model.signature);
    let is_other = |own: &&Signature| record.models.iter().all(|model| model.signature != **own);
    of_models.chain(record.signature.as_ref().filter(is_other))
}

pub(super) fn inputs(record: &VersionRecord) -> impl Iterator<Item = &TensorSpec> {
    signatures(record).flat_map(|signature| &signature.inputs)
}

pub(super) fn outputs(record: &VersionRecord) -> impl Iterator<Item = &TensorSpec> {
    signatures(record).flat_map(|signature| &signature.outputs)
}
