//! The walk over a `nocti.toml`: every key it may have, what each must be, and where it goes.
//!
//! Each function reads one table, notes what is wrong in it and returns what it could make of the rest; a result counts
//! only if nothing was noted. Knows no file system.

use std::collections::BTreeMap;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::super::excerpt::excerpt;
use super::super::manifest::{Instances, Limits, Manifest, ModelOptions, Network};
use super::super::name::ModelName;
use super::super::rules::{self, Check};
use super::super::toml_reader::{Notes, Placed, Table, fraction, whole};
use super::super::units::{parse_delay, parse_duration, parse_size};
use super::{AssetSource, ComponentSource, FileRef, ModelSource, Project};
use crate::tensor::{Datatype, Signature, TensorSpec};

/// What a document's files are below, and those that should be there before its build command runs.
struct Files<'r> {
    dir: &'r Path,
    notes: &'r Notes<'r>,
    given: Vec<FileRef>,
}

impl Files<'_> {
    /// A file that the document names.
    fn file(&self, key: String, written: &Placed<&str>, needs_content: bool) -> Option<FileRef> {
        if written.value.is_empty() || written.value.contains('\0') {
            self.notes.add(written.at, &key, "must name a file");
            return None;
        }
        let named_at = Some((self.notes.line(written.at), key));
        Some(FileRef { path: self.dir.join(written.value), named_at, needs_content })
    }

    /// The same of one that the build command does not make.
    fn given_file(&mut self, key: String, written: &Placed<&str>, needs_content: bool) -> Option<FileRef> {
        let file = self.file(key, written, needs_content);
        self.given.extend(file.clone());
        file
    }
}

/// Reads the whole document: `None` only where its names are missing or wrong; and the files that should be there before its
/// build command runs.
pub(super) fn project(dir: &Path, notes: &Notes<'_>, document: &DeTable<'_>) -> (Option<Project>, Vec<FileRef>) {
    let mut files = Files { dir, notes, given: Vec::new() };
    let project = read(&mut files, document);
    (project, files.given)
}

fn read(files: &mut Files<'_>, document: &DeTable<'_>) -> Option<Project> {
    let notes = files.notes;
    let mut root = Table::root(notes, document);
    let (name, version) = (root.required("name"), root.required("version"));
    let description = root.text("description").map(|text| text.value.to_owned());
    let authors = texts(&mut root, "authors");
    let tags = texts(&mut root, "tags");
    let license = root.text("license").map(|text| text.value.to_owned());
    let component_table = root.table("component");
    let model_tables = root.tables("model");
    let asset_table = root.table("assets");
    let signature_table = root.table("signature");
    if component_table.is_none()
        && let Err(why) = rules::model_only(model_tables.len(), signature_table.is_some())
    {
        notes.add(0, "component", why);
    }
    let component = component_table.and_then(|table| component(files, table));
    let models = models(files, model_tables);
    let assets = asset_table.map(|table| assets(files, &table)).unwrap_or_default();
    let signature = signature_table.map(signature);
    let limits = root.table("limits").map(limits).unwrap_or_default();
    let instances = root.table("instances").map(instances).unwrap_or_default();
    let network = root.table("network").map(network).unwrap_or_default();
    let env = root.table("env").map(|table| env(&table)).unwrap_or_default();
    let metrics = root.table("metrics").map(|table| metrics(&table)).unwrap_or_default();
    root.finish();
    let manifest = Manifest {
        description: description.unwrap_or_default(),
        authors,
        tags,
        license,
        signature,
        limits,
        instances,
        network,
        env,
        metrics,
        ..Manifest::new(name?.value, version?.value)
    };
    Some(Project { dir: files.dir.into(), manifest, component, models, assets })
}

fn component(files: &mut Files<'_>, mut table: Table<'_>) -> Option<ComponentSource> {
    let path = table.required_text("path");
    let build = table.text("build").map(|text| text.value.to_owned());
    let file = path.and_then(|path| match &build {
        Some(_) => files.file(table.key("path"), &path, true),
        None => files.given_file(table.key("path"), &path, true),
    });
    table.finish();
    Some(ComponentSource { file: file?, build })
}

fn models(files: &mut Files<'_>, tables: Vec<Table<'_>>) -> Vec<ModelSource> {
    let mut models = Vec::new();
    let mut names = Vec::new();
    for mut table in tables {
        let name = table.required::<ModelName>("name");
        let path = table.required_text("path");
        let options = model_options(&mut table);
        let file = path.and_then(|path| files.given_file(table.key("path"), &path, true));
        if let Some(name) = name {
            if names.contains(&name.value) {
                table.note(name.at, "name", format!("there is already a model '{}'", name.value));
            }
            names.push(name.value.clone());
            models.extend(file.map(|file| ModelSource { name: name.value, file, options }));
        }
        table.finish();
    }
    models
}

fn model_options(table: &mut Table<'_>) -> ModelOptions {
    let default = ModelOptions::default();
    let device = table.parsed("device").map_or(default.device, |device| device.value);
    let max_batch = number(table, "max_batch", default.max_batch, rules::max_batch);
    let max_delay = quantity(table, "max_delay", default.max_delay, parse_delay, rules::max_delay);
    let sessions = number(table, "sessions", default.sessions, rules::sessions);
    let intra_threads = number(table, "intra_threads", default.intra_threads, rules::intra_threads);
    let warmup = table.flag("warmup").unwrap_or(default.warmup);
    ModelOptions { device, max_batch, max_delay, sessions, intra_threads, warmup }
}

fn assets(files: &mut Files<'_>, table: &Table<'_>) -> Vec<AssetSource> {
    let mut assets = Vec::new();
    for (key, value) in table.entries() {
        let Some(written) = value.as_str() else {
            // An unquoted dot splits a TOML key, so this is the likely slip.
            let why = "must be the name of a file in quotes; a path with a dot needs quotes too, as in \"labels.txt\" = \"labels.txt\"";
            table.note(key.at, key.value, why);
            continue;
        };
        let file = files.given_file(table.key(key.value), &Placed { value: written, at: key.at }, false);
        match (key.value.parse(), file) {
            (Ok(path), Some(file)) => assets.push(AssetSource { path, file }),
            (Err(why), _) => table.note(key.at, key.value, why.to_string()),
            (Ok(_), None) => {}
        }
    }
    let paths = || table.entries().map(|(key, _)| key);
    for at in rules::shadowed(paths().map(|key| key.value).collect::<Vec<_>>()) {
        for key in paths().skip(at).take(1) {
            table.note(key.at, key.value, "is a file and also another asset's folder");
        }
    }
    assets
}

fn signature(mut table: Table<'_>) -> Signature {
    let inputs = tensors(table.tables("inputs"));
    let outputs = tensors(table.tables("outputs"));
    table.finish();
    Signature { inputs, outputs }
}

fn tensors(tables: Vec<Table<'_>>) -> Vec<TensorSpec> {
    let mut specs: Vec<TensorSpec> = Vec::new();
    for mut table in tables {
        let name = table.required_text("name");
        let datatype = table.required_text("datatype");
        let shape = table.list("shape", "a whole number", whole);
        if shape.is_none() && !table.has("shape") {
            table.note(table.at(), "shape", "is missing");
        }
        let datatype = datatype.and_then(|text| {
            let read = text.value.parse::<Datatype>();
            read.map_err(|why| table.note(text.at, "datatype", format!("'{}' {why}", excerpt(text.value)))).ok()
        });
        if let Some(name) = name {
            // The stand-ins let the rest be checked; a mistake has been noted, so the result will not count.
            let (datatype, shape) = (datatype.unwrap_or(Datatype::Bytes), shape.map(|s| s.value).unwrap_or_default());
            let spec = TensorSpec { name: name.value.to_owned(), datatype, shape };
            noted(&table, name.at, "", rules::tensor(&spec));
            if specs.iter().any(|other| other.name == spec.name) {
                table.note(name.at, "name", format!("'{}' is there twice", spec.name));
            }
            specs.push(spec);
        }
        table.finish();
    }
    specs
}

fn limits(mut table: Table<'_>) -> Limits {
    let default = Limits::default();
    let limits = Limits {
        memory: quantity(&mut table, "memory", default.memory, parse_size, rules::memory),
        timeout: quantity(&mut table, "timeout", default.timeout, parse_duration, rules::timeout),
        concurrency: number(&mut table, "concurrency", default.concurrency, rules::concurrency),
    };
    table.finish();
    limits
}

fn instances(mut table: Table<'_>) -> Instances {
    let default = Instances::default();
    let instances = Instances {
        reuse: number(&mut table, "reuse", default.reuse, rules::reuse),
        min_warm: number(&mut table, "min_warm", default.min_warm, |_| Ok(())),
        max_warm: number(&mut table, "max_warm", default.max_warm, |_| Ok(())),
        idle_timeout: quantity(&mut table, "idle_timeout", default.idle_timeout, parse_duration, rules::idle_timeout),
        concurrent: number(&mut table, "concurrent", default.concurrent, rules::concurrent),
    };
    noted(&table, table.at(), "", rules::warm(instances.min_warm, instances.max_warm));
    table.finish();
    instances
}

fn network(mut table: Table<'_>) -> Network {
    let mut network = Network::default();
    if let Some(written) = table.list("allow", "text in quotes", DeValue::as_str) {
        noted(&table, written.at, "allow", rules::network_allow(written.value.len()));
        for text in written.value {
            match text.parse() {
                Ok(destination) => network.allow.push(destination),
                Err(why) => table.note(written.at, "allow", format!("'{}': {why}", excerpt(text))),
            }
        }
    }
    table.finish();
    network
}

fn env(table: &Table<'_>) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    for (key, value) in table.entries() {
        noted(table, key.at, key.value, rules::env_key(key.value));
        match value.as_str() {
            Some(text) => {
                noted(table, key.at, key.value, rules::env_value(text));
                env.insert(key.value.to_owned(), text.to_owned());
            }
            None => table.note(key.at, key.value, format!("must be text in quotes; found {}", value.type_str())),
        }
    }
    env
}

fn metrics(table: &Table<'_>) -> BTreeMap<String, f64> {
    let mut metrics = BTreeMap::new();
    for (key, value) in table.entries() {
        match fraction(value) {
            Some(number) => {
                noted(table, key.at, key.value, rules::metric(number));
                metrics.insert(key.value.to_owned(), number);
            }
            None => table.note(key.at, key.value, format!("must be a number; found {}", value.type_str())),
        }
    }
    metrics
}

fn texts(table: &mut Table<'_>, key: &'static str) -> Vec<String> {
    let list = table.list(key, "text in quotes", DeValue::as_str);
    list.map(|list| list.value.into_iter().map(str::to_owned).collect()).unwrap_or_default()
}

fn number(table: &mut Table<'_>, key: &'static str, default: u32, rule: fn(u32) -> Check) -> u32 {
    let Some(number) = table.number(key) else {
        return default;
    };
    noted(table, number.at, key, rule(number.value));
    number.value
}

fn quantity<T: Copy, E: std::fmt::Display>(
    table: &mut Table<'_>,
    key: &'static str,
    default: T,
    read: fn(&str) -> Result<T, E>,
    rule: fn(T) -> Check,
) -> T {
    let Some(quantity) = table.quantity(key, read) else {
        return default;
    };
    noted(table, quantity.at, key, rule(quantity.value));
    quantity.value
}

fn noted(table: &Table<'_>, at: usize, key: &str, check: Check) {
    if let Err(why) = check {
        table.note(at, key, why);
    }
}
