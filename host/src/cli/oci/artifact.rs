//! A function as an OCI artifact, and what is none told from one. Pure: bytes in, bytes out.
//!
//! It is the WebAssembly artifact of CNCF's guide, so that tools which know nothing of Nocti find the component: the config says
//! `wasm`, and the first layer, of type `application/wasm`, is the component. Behind it come models and assets, which
//! others leave alone. Nocti's manifest is in the config and no layer of its own: so a function of code alone has one layer, and
//! some tools take no artifact with more. A function of models alone has a config of Nocti's own type, as it is no WebAssembly.
//!
//! Nothing in it depends on when or where it was pushed: the same version always has the same digest.

use std::collections::BTreeMap;

use oci_client::manifest::{
    IMAGE_CONFIG_MEDIA_TYPE, IMAGE_DOCKER_CONFIG_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE, OciDescriptor, OciImageManifest,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::cli::component::Component;
use crate::registry::digest::{Blob, Digest};
use crate::registry::excerpt::excerpt;
use crate::registry::manifest::{MAX_MANIFEST_BYTES, Manifest, ManifestError};

const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// Of a function without a component.
const MODEL_CONFIG: &str = "application/vnd.nocti.config.v1+json";
const COMPONENT: &str = "application/wasm";
const MODEL: &str = "application/vnd.nocti.model.v1+onnx";
const ASSET: &str = "application/vnd.nocti.asset.v1";
/// What a config must say, as the guide has it; a real date would give every push another digest.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// More is no config of ours: a manifest, and beside it what a component imports and exports.
const MAX_CONFIG_BYTES: u64 = 4 * MAX_MANIFEST_BYTES as u64;
/// No function is as large; what claims to be would only fill the memory with plans for it.
const MAX_BYTES: u64 = 1 << 44;

/// A function as it is pushed.
#[derive(Debug)]
pub(crate) struct Artifact {
    pub(crate) config: Vec<u8>,
    /// The OCI manifest.
    pub(crate) manifest: Vec<u8>,
}

/// Why something in a registry is no function.
#[derive(Debug, thiserror::Error)]
pub(super) enum ArtifactError {
    #[error("it is {0}, not a function that `nocti push` has pushed")]
    Foreign(String),
    #[error("its manifest cannot be used; is it of a later Nocti?")]
    Manifest(#[from] ManifestError),
    #[error("it is damaged: {0}")]
    Damaged(String),
}

/// The config's content. Others read everything but `nocti`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Config<'a> {
    created: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    author: Option<String>,
    #[serde(flatten)]
    wasm: Option<Wasm>,
    layer_digests: Vec<&'a str>,
    nocti: &'a RawValue,
}

#[derive(Serialize)]
struct Wasm {
    architecture: &'static str,
    os: &'static str,
    component: Outside,
}

#[derive(Serialize)]
struct Outside {
    exports: Vec<String>,
    imports: Vec<String>,
}

#[derive(Deserialize)]
struct Found {
    nocti: Option<Box<RawValue>>,
}

impl Artifact {
    /// The artifact of a version; `component` is what its component imports and exports.
    pub(crate) fn of(manifest: &Manifest, component: Option<Component>) -> serde_json::Result<Self> {
        let layers = layers(manifest);
        let author = Some(manifest.authors.join(", ")).filter(|authors| !authors.is_empty());
        let media_type = if component.is_some() { WASM_CONFIG } else { MODEL_CONFIG };
        let nocti = RawValue::from_string(String::from_utf8_lossy(&manifest.canonical_json()).into_owned())?;
        let wasm = component.map(|Component { exports, imports }| Wasm {
            architecture: "wasm",
            os: "wasip2",
            component: Outside { exports, imports },
        });
        let layer_digests = layers.iter().map(|layer| layer.digest.as_str()).collect();
        let config = serde_json::to_vec(&Config {
            created: CREATED,
            author: author.clone(),
            wasm,
            layer_digests,
            nocti: &nocti,
        })?;
        let described = [
            ("title", Some(manifest.name.to_string())),
            ("version", Some(manifest.version.to_string())),
            ("description", Some(manifest.description.clone()).filter(|text| !text.is_empty())),
            ("licenses", manifest.license.clone()),
            ("authors", author),
        ];
        let annotations = described.into_iter().filter_map(|(name, value)| Some((annotation(name), value?)));
        let manifest = OciImageManifest {
            schema_version: 2,
            media_type: Some(OCI_IMAGE_MEDIA_TYPE.to_owned()),
            config: descriptor(media_type, Blob::of(&config), None),
            layers,
            subject: None,
            artifact_type: None,
            annotations: Some(annotations.collect()),
        };
        Ok(Self { config, manifest: serde_json::to_vec(&manifest)? })
    }
}

fn layers(manifest: &Manifest) -> Vec<OciDescriptor> {
    let component = manifest.component.map(|blob| descriptor(COMPONENT, blob, Some(format!("{}.wasm", manifest.name))));
    let models = manifest.models.iter();
    let models = models.map(|model| descriptor(MODEL, model.blob, Some(format!("models/{}.onnx", model.name))));
    let assets = manifest.assets.iter();
    let assets = assets.map(|asset| descriptor(ASSET, asset.blob, Some(format!("assets/{}", asset.path))));
    component.into_iter().chain(models).chain(assets).collect()
}

fn descriptor(media_type: &str, blob: Blob, title: Option<String>) -> OciDescriptor {
    OciDescriptor {
        media_type: media_type.to_owned(),
        digest: text(blob.sha256),
        // No file is as long.
        size: i64::try_from(blob.size).unwrap_or(i64::MAX),
        annotations: title.map(|title| BTreeMap::from([(annotation("title"), title)])),
        ..OciDescriptor::default()
    }
}

fn annotation(name: &str) -> String {
    format!("org.opencontainers.image.{name}")
}

/// A digest as registries write it.
pub(super) fn text(digest: Digest) -> String {
    format!("sha256:{digest}")
}

/// What a registry has under a name, by its manifest, and its config.
pub(super) fn image(manifest: &[u8]) -> Result<(OciImageManifest, Blob), ArtifactError> {
    let foreign = |what: &str| Err(ArtifactError::Foreign(what.to_owned()));
    let Ok(value) = serde_json::from_slice::<Value>(manifest) else { return foreign("no JSON") };
    if value.get("manifests").is_some() {
        return foreign("a list of images for several platforms");
    }
    if value["schemaVersion"] == 1 {
        return foreign("an image of an old form");
    }
    let Ok(image) = OciImageManifest::deserialize(value) else { return foreign("something that is not as OCI has it") };
    match image.config.media_type.as_str() {
        WASM_CONFIG | MODEL_CONFIG => {}
        IMAGE_CONFIG_MEDIA_TYPE | IMAGE_DOCKER_CONFIG_MEDIA_TYPE => return foreign("an image of a container"),
        other => {
            let kind = excerpt(image.artifact_type.as_deref().unwrap_or(other));
            return foreign(&format!("an artifact of type '{kind}'"));
        }
    }
    let config = blob(&image.config)?;
    if config.size > MAX_CONFIG_BYTES {
        return Err(ArtifactError::Damaged(format!("its config has {} bytes", config.size)));
    }
    Ok((image, config))
}

/// Nocti's manifest in a config, whose parts are all layers.
pub(super) fn manifest(image: &OciImageManifest, config: &[u8]) -> Result<Manifest, ArtifactError> {
    let found = serde_json::from_slice::<Found>(config);
    let found = found.map_err(|error| ArtifactError::Damaged(format!("its config is no JSON: {error}")))?;
    let Some(manifest) = found.nocti else {
        let what = "a component (other tools get it as a file, and that can be deployed)";
        return Err(ArtifactError::Foreign(what.to_owned()));
    };
    let manifest = Manifest::parse(manifest.get().as_bytes())?;
    if manifest.size_bytes() > MAX_BYTES {
        return Err(ArtifactError::Damaged(format!("it claims to have {} bytes", manifest.size_bytes())));
    }
    let layers = image.layers.iter().map(blob).collect::<Result<Vec<_>, _>>()?;
    for part in manifest.blobs() {
        match layers.iter().find(|layer| layer.sha256 == part.sha256) {
            Some(layer) if layer.size == part.size => {}
            Some(layer) => {
                let message = format!("layer {} has {} bytes, not {}", text(part.sha256), layer.size, part.size);
                return Err(ArtifactError::Damaged(message));
            }
            None => return Err(ArtifactError::Damaged(format!("layer {} is missing", text(part.sha256)))),
        }
    }
    Ok(manifest)
}

fn blob(descriptor: &OciDescriptor) -> Result<Blob, ArtifactError> {
    let OciDescriptor { digest, size, .. } = descriptor;
    let sha256 = digest.strip_prefix("sha256:").and_then(|digest| digest.parse().ok());
    match (sha256, u64::try_from(*size)) {
        (Some(sha256), Ok(size)) => Ok(Blob { size, sha256 }),
        _ => Err(ArtifactError::Damaged(format!("'{}' of {size} bytes is no layer", excerpt(digest)))),
    }
}

#[cfg(test)]
mod tests;
