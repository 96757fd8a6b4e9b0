//! `nocti inspect`: what is inside a bundle, a component or an ONNX model.
//!
//! A bundle is read as a host reads it, so one that passes here is whole. Its models are copied out to be looked at.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::component::Component;
use super::head::Head;
use super::output::{self, Table};
use super::sections::{self, Section};
use super::show::{self, Spec};
use super::{Global, WrongUsage};
use crate::config::{self, Config};
use crate::nn::{self, library::Library};
use crate::registry::manifest::Manifest;
use crate::registry::name::ModelName;
use crate::registry::revision::FunctionKind;
use crate::registry::split::{Event, Part, Splitter};
use crate::tensor::Signature;

const CHUNK_BYTES: usize = 256 << 10;

/// What `nocti inspect` takes.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// A bundle, a component or an ONNX model.
    file: PathBuf,
}

/// What each model takes and gives, or why nobody knows.
type Models = HashMap<ModelName, Result<Signature, String>>;

/// A bundle taken apart.
#[derive(Debug)]
struct Parts {
    manifest: Arc<Manifest>,
    component: Option<Component>,
    models: Models,
}

pub(super) fn run(args: &InspectArgs, global: &Global) -> anyhow::Result<()> {
    let file = &args.file;
    std::fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?;
    let found = match file.extension().and_then(|extension| extension.to_str()) {
        Some("onnx") => of_model(file)?,
        Some("wasm") if Head::read(file)?.is_some() => of_bundle(&Parts::read(file)?, &sections::read(file)?),
        Some("wasm") => of_component(file)?,
        _ => return Err(WrongUsage(format!("{} is no .wasm and no .onnx file", file.display())).into()),
    };
    match global.json {
        true => output::json(&found),
        false => output::text(&text(&found)),
    }
}

fn of_model(file: &Path) -> anyhow::Result<Value> {
    let size = std::fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?.len();
    let signature = describe(file)?;
    let batchable = nn::batch::possible(&signature);
    Ok(json!({ "kind": "onnx", "size_bytes": size, "signature": signature, "batchable": batchable }))
}

/// What a model takes and gives, as ONNX Runtime finds it.
fn describe(model: &Path) -> anyhow::Result<Signature> {
    // The library is where the host would look for it.
    let config = Config::load(None, &[])?;
    let library = Library::open(&config.onnxruntime, config::tool_folder().as_deref())?;
    Ok(nn::describe(&library, model)?)
}

fn of_component(file: &Path) -> anyhow::Result<Value> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let component = Component::read(&bytes).with_context(|| format!("{} cannot be read", file.display()))?;
    let mut found = json!({ "kind": "component", "function_kind": component.kind(), "size_bytes": bytes.len() });
    found["sections"] = json!(sections::read(file)?);
    add_outside(&mut found, &component);
    Ok(found)
}

fn of_bundle(parts: &Parts, sections: &[Section]) -> Value {
    let manifest = &parts.manifest;
    let kind = match &parts.component {
        None => Some(FunctionKind::ModelOnly),
        Some(component) => component.kind(),
    };
    let models = manifest.models.iter().map(|model| {
        let mut found = json!({
            "name": model.name,
            "size_bytes": model.blob.size,
            "sha256": model.blob.sha256,
            "device": model.options.device,
            "max_batch": model.options.max_batch,
        });
        match parts.models.get(&model.name) {
            Some(Ok(signature)) => {
                found["signature"] = json!(signature);
                found["batchable"] = json!(nn::batch::possible(signature));
            }
            Some(Err(reason)) => found["unreadable"] = json!(reason),
            None => {}
        }
        found
    });
    let assets = manifest
        .assets
        .iter()
        .map(|asset| json!({ "path": asset.path, "size_bytes": asset.blob.size, "sha256": asset.blob.sha256 }));
    let mut found = json!({
        "kind": "bundle",
        "function_kind": kind,
        "function": manifest.name,
        "version": manifest.version,
        "digest": manifest.digest(),
        "size_bytes": manifest.size_bytes(),
        "description": manifest.description,
        "component": manifest.component,
        "models": models.collect::<Vec<_>>(),
        "assets": assets.collect::<Vec<_>>(),
        "signature": manifest.signature,
        "sections": sections,
    });
    if let Some(component) = &parts.component {
        add_outside(&mut found, component);
    }
    found
}

fn add_outside(found: &mut Value, component: &Component) {
    found["exports"] = json!(component.exports);
    found["imports"] = json!(component.imports);
    found["missing_imports"] = json!(component.lacking());
}

impl Parts {
    /// Takes a bundle apart, checking all of it against its manifest.
    fn read(path: &Path) -> anyhow::Result<Self> {
        let cannot_read = || format!("cannot read {}", path.display());
        let damaged = || path.display().to_string();
        let mut file = File::open(path).with_context(cannot_read)?;
        let mut splitter = Splitter::new();
        let mut receiver = Receiver::default();
        loop {
            let mut chunk = vec![0; CHUNK_BYTES];
            let read = file.read(&mut chunk).with_context(cannot_read)?;
            if read == 0 {
                break;
            }
            chunk.truncate(read);
            for event in splitter.push(Bytes::from(chunk)).with_context(damaged)? {
                receiver.take(event)?;
            }
        }
        let manifest = splitter.finish().with_context(damaged)?;
        let component = match manifest.component {
            Some(_) => Some(Component::read(&receiver.component).with_context(damaged)?),
            None => None,
        };
        Ok(Self { manifest, component, models: receiver.models })
    }
}

/// Gathers the parts of a bundle as they come.
#[derive(Debug, Default)]
struct Receiver {
    component: Vec<u8>,
    /// A model is looked at as soon as it is complete, and its copy goes away.
    models: Models,
    open: Option<(Part, Option<NamedTempFile>)>,
}

impl Receiver {
    fn take(&mut self, event: Event) -> anyhow::Result<()> {
        match event {
            Event::BlobStart { part, .. } => {
                let copy = match part {
                    Part::Model(_) => {
                        Some(NamedTempFile::with_suffix(".onnx").context("cannot make a temporary file")?)
                    }
                    Part::Component | Part::Asset(_) => None,
                };
                self.open = Some((part, copy));
            }
            Event::BlobData(bytes) => match &mut self.open {
                Some((Part::Component, _)) => self.component.extend_from_slice(&bytes),
                Some((_, Some(copy))) => copy.write_all(&bytes).context("cannot write a temporary file")?,
                _ => {}
            },
            Event::BlobEnd => {
                if let Some((Part::Model(name), Some(copy))) = self.open.take() {
                    let signature = describe(copy.path()).map_err(|error| error.to_string());
                    self.models.insert(name, signature);
                }
            }
        }
        Ok(())
    }
}

/// What was found, for people: the same facts as the JSON has.
fn text(found: &Value) -> String {
    let mut table = Table::of_pairs();
    let text_at = |key: &str| found[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let what = match (text_at("kind").as_deref(), text_at("function_kind")) {
        (Some("bundle"), Some(kind)) => format!("bundle of a {kind} function"),
        (Some("component"), Some(kind)) => format!("{kind} component without a manifest"),
        (Some("component"), None) => "component that exports nothing a host could call".to_owned(),
        (Some("onnx"), _) => "ONNX model".to_owned(),
        _ => "bundle of a component that exports nothing a host could call".to_owned(),
    };
    table.row(["kind".to_owned(), what]);
    for key in ["function", "version", "description", "digest"] {
        if let Some(value) = text_at(key) {
            table.row([key.to_owned(), value]);
        }
    }
    table.row(["size".to_owned(), size(found)]);
    for (key, name) in [("exports", "export"), ("imports", "import"), ("missing_imports", "MISSING")] {
        for value in items(&found[key]) {
            table.row([name.to_owned(), value.as_str().unwrap_or_default().to_owned()]);
        }
    }
    add_signature(&mut table, &found["signature"], "");
    add_batching(&mut table, found, "");
    for model in items(&found["models"]) {
        let name = model["name"].as_str().unwrap_or_default();
        table.row(["model".to_owned(), format!("{name} ({}), sha256 {}", size(model), digest(model))]);
        add_signature(&mut table, &model["signature"], "  ");
        add_batching(&mut table, model, "  ");
        if let Some(reason) = model["unreadable"].as_str() {
            table.row(["  inputs".to_owned(), format!("not known: {reason}")]);
        }
    }
    for asset in items(&found["assets"]) {
        let path = asset["path"].as_str().unwrap_or_default();
        table.row(["asset".to_owned(), format!("/assets/{path} ({}), sha256 {}", size(asset), digest(asset))]);
    }
    for section in items(&found["sections"]) {
        let name = section["name"].as_str().unwrap_or_default();
        // A component has a hundred small sections of these kinds; --json lists them all.
        if name.starts_with('(') && !matches!(name, "(core module)" | "(component)") {
            continue;
        }
        table.row(["section".to_owned(), format!("{name} ({})", size(section))]);
    }
    table.text(0)
}

fn add_signature(table: &mut Table, signature: &Value, indent: &str) {
    for (key, name) in [("inputs", "input"), ("outputs", "output")] {
        for spec in items(&signature[key]) {
            if let Ok(spec) = Spec::deserialize(spec) {
                table.row([format!("{indent}{name}"), show::describe(&spec)]);
            }
        }
    }
}

/// Whether requests can share runs of a model.
fn add_batching(table: &mut Table, model: &Value, indent: &str) {
    let Some(batchable) = model["batchable"].as_bool() else { return };
    let text = match (batchable, model["max_batch"].as_u64()) {
        (false, _) => "no: not every input and output has an open first dimension".to_owned(),
        (true, Some(1)) => "no: max_batch is 1".to_owned(),
        (true, Some(most)) => format!("up to {most} rows of waiting requests share a run"),
        (true, None) => "waiting requests can share a run".to_owned(),
    };
    table.row([format!("{indent}batching"), text]);
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn size(value: &Value) -> String {
    output::size(value["size_bytes"].as_u64().unwrap_or_default())
}

fn digest(value: &Value) -> String {
    output::short_digest(value["sha256"].as_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_for_people() {
        let found = json!({
            "kind": "bundle", "function_kind": "typed", "function": "digits", "version": "1.0.0", "description": "",
            "digest": "abc", "size_bytes": 3072, "exports": ["nocti:function/predictor@0.1.0"],
            "imports": ["wasi:io/poll@0.2.6"], "missing_imports": [],
            "signature": {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 8, 8]}], "outputs": []},
            "models": [{"name": "digits", "size_bytes": 1024, "sha256": "0123456789abcdef", "unreadable": "no library"}],
            "assets": [{"path": "labels.txt", "size_bytes": 12, "sha256": "fedcba9876543210"}],
            "sections": [{"name": "nocti.manifest", "size_bytes": 700}],
        });
        let expected = "\
kind      bundle of a typed function
function  digits
version   1.0.0
digest    abc
size      3.0 KiB
export    nocti:function/predictor@0.1.0
import    wasi:io/poll@0.2.6
input     image UINT8 [-1,8,8]
model     digits (1.0 KiB), sha256 0123456789ab
  inputs  not known: no library
asset     /assets/labels.txt (12 B), sha256 fedcba987654
section   nocti.manifest (700 B)
";
        assert_eq!(text(&found), expected);
    }
}
