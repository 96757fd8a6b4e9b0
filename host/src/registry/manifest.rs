//! A version's manifest: everything a bundle says about itself, as canonical JSON.
//!
//! Canonical means that a manifest has exactly one byte sequence (fixed key order, sorted maps, no white space, every key
//! present but for later ones at their defaults), so that a version's digest, the sha256 of those bytes, follows from its content; other spellings are
//! refused. The manifest names size and sha256 of every other part. It knows the parts' digests, never where they lie:
//! the folder's form is `nocti_toml`, reading a bundle is `split`. An immutable value once parsed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::device::Device;
use super::digest::{Blob, Digest};
use super::format::{self, FORMAT};
use super::name::{AssetPath, FunctionName, ModelName, VersionName};
use super::rules;
use crate::destination::Destination;
use crate::tensor::Signature;

/// The most a manifest may take, in bytes.
pub const MAX_MANIFEST_BYTES: usize = 1 << 20;

/// What a bundle says about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The function this is a version of.
    pub name: FunctionName,
    /// The version's name.
    pub version: VersionName,
    /// One line for people.
    pub description: String,
    /// Who made it.
    pub authors: Vec<String>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Its licence, an SPDX expression by convention.
    pub license: Option<String>,
    /// The component without the bundle's own sections; `None` for a model-only function.
    pub component: Option<Blob>,
    /// The models it brings.
    pub models: Vec<Model>,
    /// The files it reads under `/assets`.
    pub assets: Vec<Asset>,
    /// What a typed function takes and gives, where its author wrote it down.
    pub signature: Option<Signature>,
    /// Bounds on what it may use.
    pub limits: Limits,
    /// How its instances live.
    pub instances: Instances,
    /// Whom it may talk to.
    pub network: Network,
    /// Its environment variables.
    pub env: BTreeMap<String, String>,
    /// Numbers from training, shown with the version.
    pub metrics: BTreeMap<String, f64>,
}

/// A model in the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// What a guest loads it by.
    pub name: ModelName,
    /// The ONNX file.
    pub blob: Blob,
    /// How to run it.
    pub options: ModelOptions,
}

/// How a model is to be run. Whoever uses the same model with the same device and threads shares its session.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelOptions {
    /// Where.
    pub device: Device,
    /// The most rows (first dimension) of a run that requests share; 1: they share none.
    pub max_batch: u32,
    /// How long a request waits for others to share its run. 0: not at all, it shares with those that wait when its run begins.
    #[serde(rename = "max_delay_us", with = "micros")]
    pub max_delay: Duration,
    /// Runs that can go on at once; the weights are there once.
    pub sessions: u32,
    /// Threads inside one run.
    pub intra_threads: u32,
    /// Whether to run once with zeros after loading; who loads the session first decides.
    pub warmup: bool,
}

/// A file the guest reads under `/assets`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asset {
    /// Where it is under `/assets`.
    pub path: AssetPath,
    /// What is in it.
    pub blob: Blob,
}

/// Bounds on what a function may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Memory of one instance.
    #[serde(rename = "memory_bytes")]
    pub memory: u64,
    /// Time for one request, queueing included.
    #[serde(rename = "timeout_ms", with = "millis")]
    pub timeout: Duration,
    /// Requests inside the function at once; further ones wait.
    pub concurrency: u32,
}

/// How a function's instances live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instances {
    /// Requests one instance serves before it is replaced.
    pub reuse: u32,
    /// Instances that are always there while an alias sends requests to the version. 0: it goes back to disk when it is not
    /// used.
    pub min_warm: u32,
    /// The most idle instances to keep.
    pub max_warm: u32,
    /// How long an instance may be idle, while there are more than `min_warm`.
    #[serde(rename = "idle_timeout_ms", with = "millis")]
    pub idle_timeout: Duration,
    /// Requests that one instance serves at once, where the component can: `wasi:http/handler@0.3`.
    #[serde(default = "concurrent", skip_serializing_if = "is_default_concurrent")]
    pub concurrent: u32,
}

fn concurrent() -> u32 {
    16
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_default_concurrent(requests: &u32) -> bool {
    *requests == concurrent()
}

/// Whom a function may talk to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Where it may send requests.
    #[schema(value_type = Vec<String>)]
    pub allow: Vec<Destination>,
}

/// Why bytes are not a manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("the manifest is {size} bytes long; at most {MAX_MANIFEST_BYTES} are allowed")]
    TooLarge { size: u64 },
    #[error("the manifest is not valid: {}", format::why(.0))]
    Json(#[source] serde_json::Error),
    #[error("it was built by a newer nocti (format {format}), and this one reads up to format {FORMAT}: upgrade it")]
    Newer { format: u64 },
    #[error("the manifest is not in canonical form; write the bundle with `nocti build`")]
    NotCanonical,
    #[error("the manifest is not valid: {}", .0.join("; "))]
    Invalid(Vec<String>),
}

impl Manifest {
    /// A manifest with only its names set, everything else at its default.
    pub fn new(name: FunctionName, version: VersionName) -> Self {
        Self {
            name,
            version,
            description: String::new(),
            authors: Vec::new(),
            tags: Vec::new(),
            license: None,
            component: None,
            models: Vec::new(),
            assets: Vec::new(),
            signature: None,
            limits: Limits::default(),
            instances: Instances::default(),
            network: Network::default(),
            env: BTreeMap::new(),
            metrics: BTreeMap::new(),
        }
    }

    /// Reads a manifest and checks it, reporting every broken rule together.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLarge { size: bytes.len() as u64 });
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(|error| match format::newer(bytes) {
            Some(format) => ManifestError::Newer { format },
            None => ManifestError::Json(error),
        })?;
        manifest.check()?;
        if manifest.canonical_json() != bytes {
            return Err(ManifestError::NotCanonical);
        }
        Ok(manifest)
    }

    /// Checks every rule a manifest must satisfy, reporting all that are broken together.
    pub fn check(&self) -> Result<(), ManifestError> {
        let mistakes = self.mistakes();
        if mistakes.is_empty() { Ok(()) } else { Err(ManifestError::Invalid(mistakes)) }
    }

    /// The manifest's one byte sequence.
    pub fn canonical_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("every key is a string and no value's serialisation fails")
    }

    /// The version's digest: the sha256 of the manifest's bytes, which name the sha256 of everything else.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.canonical_json())
    }

    /// All parts: the component, models and assets.
    pub fn blobs(&self) -> impl Iterator<Item = Blob> {
        let models = self.models.iter().map(|model| model.blob);
        self.component.into_iter().chain(models).chain(self.assets.iter().map(|asset| asset.blob))
    }

    /// Bytes of all parts together.
    pub fn size_bytes(&self) -> u64 {
        // The sizes are the bundle's own claims until the parts have been read, so the sum must not overflow.
        self.blobs().fold(0, |sum, blob| sum.saturating_add(blob.size))
    }

    fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        let mut note = |key: &str, check: rules::Check| {
            if let Err(why) = check {
                mistakes.push(format!("{key}: {why}"));
            }
        };
        match self.component {
            Some(blob) => note("component", rules::component(blob.size)),
            None => note("component", rules::model_only(self.models.len(), self.signature.is_some())),
        }
        note("limits.memory", rules::memory(self.limits.memory));
        note("limits.timeout", rules::timeout(self.limits.timeout));
        note("limits.concurrency", rules::concurrency(self.limits.concurrency));
        note("instances.reuse", rules::reuse(self.instances.reuse));
        note("instances", rules::warm(self.instances.min_warm, self.instances.max_warm));
        note("instances.idle_timeout", rules::idle_timeout(self.instances.idle_timeout));
        note("instances.concurrent", rules::concurrent(self.instances.concurrent));
        note("network.allow", rules::network_allow(self.network.allow.len()));
        for model in &self.models {
            note(&format!("model '{}': max_batch", model.name), rules::max_batch(model.options.max_batch));
            note(&format!("model '{}': max_delay", model.name), rules::max_delay(model.options.max_delay));
            note(&format!("model '{}': sessions", model.name), rules::sessions(model.options.sessions));
            note(&format!("model '{}': intra_threads", model.name), rules::intra_threads(model.options.intra_threads));
        }
        for (key, value) in &self.env {
            note(&format!("env.{key}"), rules::env_key(key).and_then(|()| rules::env_value(value)));
        }
        for (key, value) in &self.metrics {
            note(&format!("metrics.{key}"), rules::metric(*value));
        }
        for (key, specs) in self.signature.iter().flat_map(|s| [("inputs", &s.inputs), ("outputs", &s.outputs)]) {
            for spec in specs {
                note(&format!("signature.{key} '{}'", spec.name), rules::tensor(spec));
            }
            for at in rules::repeats(specs.iter().map(|spec| spec.name.as_str())) {
                note(&format!("signature.{key}"), Err(format!("'{}' is there twice", specs[at].name)));
            }
        }
        for at in rules::repeats(self.models.iter().map(|model| model.name.as_str())) {
            note("models", Err(format!("'{}' is there twice", self.models[at].name)));
        }
        let paths = self.assets.iter().map(|asset| asset.path.as_str());
        for at in rules::repeats(paths.clone()) {
            note("assets", Err(format!("'{}' is there twice", self.assets[at].path)));
        }
        for at in rules::shadowed(paths) {
            note("assets", Err(format!("'{}' is a file and also another asset's folder", self.assets[at].path)));
        }
        mistakes
    }
}

impl Default for ModelOptions {
    fn default() -> Self {
        Self {
            device: Device::Auto,
            max_batch: 64,
            max_delay: Duration::ZERO,
            sessions: 1,
            intra_threads: 1,
            warmup: true,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory: 128 << 20, timeout: Duration::from_secs(30), concurrency: 64 }
    }
}

impl Default for Instances {
    fn default() -> Self {
        Self { reuse: 1000, min_warm: 0, max_warm: 16, idle_timeout: Duration::from_secs(30), concurrent: concurrent() }
    }
}

/// Durations as whole milliseconds.
mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

/// Durations as whole microseconds.
mod micros {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_micros)
    }
}

#[cfg(test)]
mod tests;
