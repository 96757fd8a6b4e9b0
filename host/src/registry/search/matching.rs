//! Whether a query holds of a version.
//!
//! Names of things and their values (tags, datatypes, labels, metrics) are compared whole; everything else may be a part of what
//! is there.

use super::super::device::Device;
use super::query::{Comparison, Field, Query, What};
use super::subject::{Subject, inputs, outputs};
use crate::tensor::TensorSpec;

impl Query {
    /// Whether all of it holds.
    pub fn holds_of(&self, subject: Subject<'_>) -> bool {
        self.terms.iter().all(|term| term.negated != term.what.holds_of(subject))
    }

    /// Whether one of its words is in a function's name: such functions are shown first.
    pub fn names(&self, function: &str) -> bool {
        self.terms.iter().any(|term| match &term.what {
            What::Text(word) => !term.negated && function.contains(word.as_str()),
            _ => false,
        })
    }
}

impl What {
    fn holds_of(&self, subject: Subject<'_>) -> bool {
        let Subject { function, manifest, record, text } = subject;
        match self {
            Self::Text(word) => text.contains(word.as_str()),
            Self::Field(Field::Name, part) => has(function.as_str(), part),
            Self::Field(Field::Tag, tag) => manifest.tags.iter().any(|other| is(other, tag)),
            Self::Field(Field::Author, part) => manifest.authors.iter().any(|author| has(author, part)),
            Self::Field(Field::License, part) => manifest.license.iter().any(|license| has(license, part)),
            Self::Field(Field::Model, part) => manifest.models.iter().any(|model| has(model.name.as_str(), part)),
            Self::Field(Field::Input, wanted) => inputs(record).any(|tensor| is_like(tensor, wanted)),
            Self::Field(Field::Output, wanted) => outputs(record).any(|tensor| is_like(tensor, wanted)),
            Self::Kind(kind) => record.kind == *kind,
            Self::Device(device) => manifest.models.iter().any(|model| is_on(model.options.device, *device)),
            Self::Label { key, value } => record.labels.iter().any(|(other, found)| {
                is(other.as_str(), key) && value.as_ref().is_none_or(|value| is(found.as_str(), value))
            }),
            Self::Metric { name, comparison, number } => {
                let of_that_name = manifest.metrics.iter().filter(|(other, _)| is(other, name));
                of_that_name.into_iter().any(|(_, found)| comparison.holds(*found, *number))
            }
        }
    }
}

impl Comparison {
    fn holds(self, found: f64, number: f64) -> bool {
        match self {
            Self::Above => found > number,
            Self::AtLeast => found >= number,
            Self::Below => found < number,
            Self::AtMost => found <= number,
            Self::Is => found == number,
            Self::IsNot => found != number,
        }
    }
}

/// A tensor is known by a part of its name or by its datatype.
fn is_like(tensor: &TensorSpec, wanted: &str) -> bool {
    has(&tensor.name, wanted) || tensor.datatype.name().eq_ignore_ascii_case(wanted)
}

/// `cuda` is any of them.
fn is_on(device: Device, wanted: Device) -> bool {
    device == wanted || matches!((device, wanted), (Device::Cuda(_), Device::Cuda(None)))
}

/// Whether a text is the wanted one, which is in lower case.
fn is(text: &str, wanted: &str) -> bool {
    if text.is_ascii() { text.eq_ignore_ascii_case(wanted) } else { text.to_lowercase() == wanted }
}

fn has(text: &str, wanted: &str) -> bool {
    text.to_lowercase().contains(wanted)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::super::digest::{Blob, Digest};
    use super::super::super::manifest::{Manifest, Model, ModelOptions};
    use super::super::super::revision::{FunctionKind, ModelRecord, VersionRecord};
    use super::super::subject::text;
    use super::*;
    use crate::tensor::{Datatype, Signature};

    fn digits() -> (Manifest, VersionRecord) {
        let mut manifest = Manifest::new("digits".parse().unwrap(), "1.0.0".parse().unwrap());
        manifest.description = "Hand-written digits, 8x8 grey".into();
        manifest.authors = vec!["Ada Lovelace".into(), "Émile".into()];
        manifest.tags = vec!["Vision".into(), "small".into()];
        manifest.license = Some("Apache-2.0 OR MIT".into());
        manifest.metrics = BTreeMap::from([("Accuracy".into(), 0.978), ("loss".into(), 0.1)]);
        let options = ModelOptions { device: Device::Cuda(Some(1)), ..ModelOptions::default() };
        manifest.models.push(Model { name: "cnn".parse().unwrap(), blob: Blob::of(b"x"), options });
        let tensor = |name: &str, datatype| TensorSpec { name: name.into(), datatype, shape: vec![-1, 8] };
        let signature = |input, output| Signature { inputs: vec![input], outputs: vec![output] };
        let of_model = signature(tensor("pixels", Datatype::Fp32), tensor("logits", Datatype::Fp32));
        let record = VersionRecord {
            digest: Digest::of(b"x"),
            kind: FunctionKind::Typed,
            created_at: "2026-11-26T10:00:00Z".parse().unwrap(),
            signature: Some(signature(tensor("image", Datatype::Uint8), tensor("label", Datatype::Int64))),
            models: vec![ModelRecord { name: "cnn".parse().unwrap(), signature: of_model }],
            size_bytes: 1,
            labels: BTreeMap::from([("Team".parse().unwrap(), "Vision".parse().unwrap())]),
        };
        (manifest, record)
    }

    fn holds(query: &str) -> bool {
        let (manifest, record) = digits();
        let text = text(&manifest, &record);
        let subject = Subject { function: &manifest.name, manifest: &manifest, record: &record, text: &text };
        query.parse::<Query>().unwrap().holds_of(subject)
    }

    #[test]
    fn what_holds_holds_and_its_opposite_does_not() {
        for query in [
            "DIGIT",
            "hand-written",
            "\"digits, 8x8\"",
            "lovelace",
            "émile",
            "ÉMILE",
            "small",
            "mit",
            "cnn",
            "pixels",
            "label",
            "tag:vision",
            "author:ada",
            "license:mit",
            "name:igit",
            "kind:typed",
            "device:cuda",
            "device:cuda:1",
            "input:image",
            "input:uint8",
            "input:FP32",
            "output:logi",
            "output:int64",
            "model:cn",
            "label:team",
            "label:TEAM=vision",
            "accuracy>0.9",
            "accuracy>=0.978",
            "accuracy=0.978",
            "loss<1",
            "loss<=0.1",
            "loss!=0.2",
        ] {
            assert!(holds(query), "{query}");
            assert!(!holds(&format!("-{query}")), "-{query}");
        }
        for query in [
            "nothing",
            "\"grey ada\"",
            "\"visionsmall\"",
            "tag:visio",
            "author:bob",
            "license:gpl",
            "name:grey",
            "kind:http",
            "device:cpu",
            "device:cuda:0",
            "input:label",
            "output:image",
            "model:digits",
            "label:stage",
            "label:team=vis",
            "accuracy>0.978",
            "accuracy<0.9",
            "accuracy!=0.978",
            "f1>0",
            "f1!=0",
        ] {
            assert!(!holds(query), "{query}");
            assert!(holds(&format!("-{query}")), "-{query}");
        }
        assert!(holds("") && holds("tag:vision accuracy>0.9 grey") && !holds("tag:vision accuracy>0.99 grey"));
    }

    #[test]
    fn a_name_is_hit_by_words_alone() {
        let names = |query: &str| query.parse::<Query>().unwrap().names("digits");
        assert!(names("grey Digit") && !names("grey") && !names("-digit") && !names("tag:digits") && !names(""));
    }

    #[test]
    fn words_take_no_more_than_they_do_elsewhere() {
        let (manifest, record) = digits();
        let bytes = text(&manifest, &record).len();
        assert!(bytes < manifest.canonical_json().len() / 4, "{bytes}");
    }
}
