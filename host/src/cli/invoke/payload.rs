//! The short form of a request, `{"INPUT": DATA}`, made a whole one with the datatypes and shapes of the function.
//!
//! A batch of one may be left out: data of one dimension less than the input has is one row, and flat data is cut to the
//! input's shape where only one dimension is open. The host checks the result again.

use std::path::PathBuf;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::cli::WrongUsage;
use crate::cli::show::{Spec, describe};

/// The inputs and outputs of a function, as its metadata says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Signature {
    inputs: Vec<Spec>,
    outputs: Vec<Spec>,
}

impl Signature {
    /// Whether something is FP16 or BF16, which the protocol does not have as JSON.
    pub(super) fn has_halves(&self) -> bool {
        self.inputs.iter().chain(&self.outputs).any(|spec| matches!(spec.datatype.as_str(), "FP16" | "BF16"))
    }
}

/// Reads the metadata of a function.
pub(super) fn signature(metadata: Value) -> anyhow::Result<Signature> {
    serde_json::from_value(metadata).context("the function's metadata is not as expected")
}

/// Reads `{"INPUT": DATA}`.
pub(super) fn short_form(data: &[u8]) -> anyhow::Result<Map<String, Value>> {
    serde_json::from_slice(data)
        .map_err(|error| WrongUsage(format!("-d is not a JSON object (a file is -d @FILE): {error}")).into())
}

/// The whole request, as a body.
pub(super) fn request(
    function: &str,
    signature: &Signature,
    data: Map<String, Value>,
    files: &[(String, PathBuf)],
) -> anyhow::Result<Vec<u8>> {
    if data.is_empty() && files.is_empty() && !signature.inputs.is_empty() {
        let inputs: Vec<String> = signature.inputs.iter().map(describe).collect();
        let usage = format!("say what to send with -d: {function} takes {}", inputs.join(", "));
        return Err(WrongUsage(usage).into());
    }
    let spec = |name: &str| -> anyhow::Result<&Spec> {
        let names = || signature.inputs.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>().join(", ");
        let found = signature.inputs.iter().find(|spec| spec.name == *name);
        found.ok_or_else(|| {
            match signature.inputs.as_slice() {
                [] => WrongUsage(format!(
                    "{function} does not say what it takes: send a whole request, {{\"inputs\": [...]}}"
                )),
                _ => WrongUsage(format!("{function} has no input '{name}', only {}", names())),
            }
            .into()
        })
    };
    let mut inputs = Vec::new();
    for (name, value) in data {
        let spec = spec(&name)?;
        let (shape, elements) = shaped(spec, value).with_context(|| format!("input '{name}'"))?;
        inputs.push(json!({ "name": name, "datatype": spec.datatype, "shape": shape, "data": elements }));
    }
    for (name, path) in files {
        let spec = spec(name)?;
        if spec.datatype != "BYTES" {
            bail!(WrongUsage(format!("input '{name}' is {}, and a file can only be BYTES", spec.datatype)));
        }
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        inputs.push(json!({
            "name": name,
            "datatype": "BYTES",
            "shape": vec![1; spec.shape.len()],
            "parameters": { "content_type": "base64" },
            "data": [STANDARD.encode(&bytes)],
        }));
    }
    Ok(serde_json::to_vec(&json!({ "inputs": inputs }))?)
}

/// The shape of an input's data, and its elements one after the other.
fn shaped(spec: &Spec, value: Value) -> anyhow::Result<(Vec<usize>, Vec<Value>)> {
    let dims = dims(&value)?;
    let mut elements = Vec::new();
    flatten(value, dims.len(), &mut elements)?;
    let fits = |shape: &[usize]| {
        shape.len() == spec.shape.len()
            && spec.shape.iter().zip(shape).all(|(&want, &got)| want < 0 || usize::try_from(want) == Ok(got))
    };
    let one_row = || [&[1], dims.as_slice()].concat();
    let shape = if fits(&dims) {
        dims
    } else if fits(&one_row()) {
        one_row()
    } else if let Some(shape) = cut(spec, elements.len()).filter(|_| dims.len() <= 1) {
        shape
    } else {
        bail!("data of shape {dims:?} does not fit {}", describe(spec));
    };
    Ok((shape, elements))
}

/// The input's shape for so many elements, where only one way leads there.
fn cut(spec: &Spec, count: usize) -> Option<Vec<usize>> {
    let fixed: usize = (spec.shape.iter())
        .filter_map(|&dim| usize::try_from(dim).ok())
        .try_fold(1_usize, |product, dim| product.checked_mul(dim))?;
    let open = spec.shape.iter().filter(|&&dim| dim < 0).count();
    let size = match open {
        // A scalar for an input that leaves everything open is one element.
        _ if count == 1 && fixed == 1 => 1,
        0 if count == fixed => 1,
        1 if fixed > 0 && count.is_multiple_of(fixed) => count / fixed,
        _ => return None,
    };
    Some(spec.shape.iter().map(|&dim| usize::try_from(dim).unwrap_or(size)).collect())
}

/// The dimensions of nested arrays, going by the first entry of each.
fn dims(value: &Value) -> anyhow::Result<Vec<usize>> {
    let mut dims = Vec::new();
    let mut inner = value;
    while let Value::Array(entries) = inner {
        dims.push(entries.len());
        match entries.first() {
            Some(first) => inner = first,
            None => break,
        }
    }
    if inner.is_object() {
        bail!("data is a number, a string, true, false or nested arrays of these");
    }
    Ok(dims)
}

fn flatten(value: Value, depth: usize, elements: &mut Vec<Value>) -> anyhow::Result<()> {
    match value {
        Value::Array(entries) if depth > 0 => {
            let mut lengths = entries.iter().map(|entry| entry.as_array().map(Vec::len));
            let first = lengths.next().flatten();
            if depth > 1 && lengths.any(|length| length != first) {
                bail!("the arrays in its data are not all of one length");
            }
            entries.into_iter().try_for_each(|entry| flatten(entry, depth - 1, elements))
        }
        value if depth == 0 && !value.is_array() => {
            elements.push(value);
            Ok(())
        }
        _ => bail!("the arrays in its data are not all nested equally"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(shape: &[i64]) -> Spec {
        Spec { name: "x".to_owned(), datatype: "FP32".to_owned(), shape: shape.to_vec() }
    }

    fn shape(wanted: &[i64], data: &str) -> Result<Vec<usize>, String> {
        let value = serde_json::from_str(data).expect("JSON");
        shaped(&spec(wanted), value).map(|(shape, _)| shape).map_err(|error| error.to_string())
    }

    #[test]
    fn shapes_are_found() {
        for (wanted, data, expected) in [
            (&[-1, 2][..], "[[1,2],[3,4],[5,6]]", &[3, 2][..]),
            (&[-1, 2], "[1,2]", &[1, 2]),
            (&[-1, 2], "[1,2,3,4]", &[2, 2]),
            (&[-1, 2, 2], "[[1,2],[3,4]]", &[1, 2, 2]),
            (&[-1, 2, 2], "[1,2,3,4]", &[1, 2, 2]),
            (&[-1, -1], "[1,2,3]", &[1, 3]),
            (&[-1, -1], "7", &[1, 1]),
            (&[-1], "\"text\"", &[1]),
            (&[], "7", &[]),
            (&[2, 2], "[1,2,3,4]", &[2, 2]),
            (&[-1], "[]", &[0]),
        ] {
            assert_eq!(shape(wanted, data), Ok(expected.to_vec()), "{data} for {wanted:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (wanted, data) in [
            (&[-1, 3][..], "[[1,2]]"),
            (&[-1, 3], "[1,2]"),
            (&[-1, 2], "[[1,2],[3]]"),
            (&[-1, 2], "[[1,2],3]"),
            (&[-1], "{\"a\":1}"),
            (&[-1, -1, 2], "[1,2,3,4]"),
            (&[2], "[[[1,2]]]"),
        ] {
            assert!(shape(wanted, data).is_err(), "{data} for {wanted:?}");
        }
    }

    #[test]
    fn a_request_is_made_whole() {
        let metadata = json!({"name": "f", "inputs": [
            {"name": "x", "datatype": "FP32", "shape": [-1, 2]},
            {"name": "png", "datatype": "BYTES", "shape": [-1]},
        ]});
        let signature = signature(metadata).expect("metadata");
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), [0x89, b'P']).expect("a temporary file");
        let data = short_form(br#"{"x":[1,2.5]}"#).expect("an object");
        let body = request("f", &signature, data, &[("png".to_owned(), file.path().to_owned())]).expect("it fits");
        assert_eq!(
            String::from_utf8(body).expect("JSON"),
            r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2.5]},{"name":"png","datatype":"BYTES","shape":[1],"parameters":{"content_type":"base64"},"data":["iVA="]}]}"#
        );
        let said = |data: &[u8]| {
            let error = request("f", &signature, short_form(data).expect("an object"), &[]);
            error.expect_err("must be refused").to_string()
        };
        assert_eq!(said(b"{}"), "say what to send with -d: f takes x FP32 [-1,2], png BYTES [-1]");
        assert_eq!(said(br#"{"y":1}"#), "f has no input 'y', only x, png");
    }
}
