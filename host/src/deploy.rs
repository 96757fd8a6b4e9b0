//! THE deploy path: a bundle streams in, its parts become blobs, what it is gets checked, and one revision makes it real.
//!
//! A client may send the parts as blobs first, those that the host lacks, and then the manifest alone.
//!
//! Until the revision is written nothing is deployed: a failure or a kill anywhere before leaves at most blobs that nobody
//! refers to. Memory use does not depend on the bundle's size, but for the component, which has to be compiled.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;

use crate::host::Host;
use crate::lifecycle::{self, Parts, WakeError};
use crate::registry::bundle::Layout;
use crate::registry::catalog::{CatalogError, Deployment, Function, Published};
use crate::registry::digest::Blob;
use crate::registry::manifest::{Manifest, ManifestError};
use crate::registry::name::AliasName;
use crate::registry::note::Note;
use crate::registry::revision::{FunctionKind, ModelRecord};
use crate::registry::split::{Event, SplitError, Splitter};
use crate::registry::store::{Hold, Store, StoreError};
use crate::runtime::instance::Pre;
use crate::tensor::Signature;
use crate::trace;

/// What became of a bundle.
pub struct Deployed {
    /// What the bundle says it is.
    pub manifest: Arc<Manifest>,
    /// The function as it is now.
    pub function: Arc<Function>,
    /// False when all of it was so before.
    pub changed: bool,
    /// Bytes of the bundle.
    pub size_bytes: u64,
}

/// Why a bundle is not deployed, or may not be whole. Nothing that was deployed before is touched.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    #[error("the upload broke off: {0}")]
    Upload(String),
    #[error("nothing of the bundle came for {} s", STALL.as_secs())]
    Stalled,
    #[error(transparent)]
    Bundle(#[from] SplitError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("{}", lacking(.0))]
    BlobsMissing(Vec<Blob>),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the bundle cannot be deployed: {0}")]
    Rejected(#[from] WakeError),
    #[error("the host is loading as many bundles as it may to see that they run; try again later")]
    Busy,
    #[error("the bundle could not be loaded: {0}")]
    Failed(String),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(
        "{label} is deployed, but the store did not say whether it has all of it still; deploy it again to be sure"
    )]
    Unseen { label: String, source: Box<StoreError> },
}

/// Deploys a bundle; `alias` then points at it with all its weight.
pub async fn deploy<B>(
    host: &Arc<Host>,
    bundle: B,
    alias: Option<AliasName>,
    note: Note,
) -> Result<Deployed, DeployError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let mut held = host.lifecycle.parts.store.hold();
    let (manifest, size_bytes) = receive(&host.lifecycle.parts, bundle, &mut held).await?;
    checked(host, manifest, size_bytes, alias, note).await
}

/// The same where all parts are blobs of the store already.
pub async fn deploy_manifest(
    host: &Arc<Host>,
    manifest: &[u8],
    alias: Option<AliasName>,
    note: Note,
) -> Result<Deployed, DeployError> {
    let manifest = Arc::new(Manifest::parse(manifest)?);
    let store = &host.lifecycle.parts.store;
    let mut held = store.hold();
    held.add(manifest.blobs());
    has_all(store, manifest.blobs().collect()).await?;
    let size_bytes = Layout::of(&manifest).size_bytes();
    checked(host, manifest, size_bytes, alias, note).await
}

/// Sees that it runs, and makes it real.
async fn checked(
    host: &Arc<Host>,
    manifest: Arc<Manifest>,
    size_bytes: u64,
    alias: Option<AliasName>,
    note: Note,
) -> Result<Deployed, DeployError> {
    let found = in_turn(host, Arc::clone(&manifest)).await?;
    let Found { kind, signature, models } = found;
    let deployment = Deployment { manifest: Arc::clone(&manifest), kind, signature, models, alias };
    let Published { function, changed } = publish(host, deployment, note).await?;
    Ok(Deployed { manifest, function, changed, size_bytes })
}

/// Makes it real. A task of its own: what is deployed comes into memory where it is to be there, though the client may have gone.
async fn publish(host: &Arc<Host>, deployment: Deployment, note: Note) -> Result<Published, DeployError> {
    let host = Arc::clone(host);
    let work = async move {
        let (store, manifest) = (&host.lifecycle.parts.store, Arc::clone(&deployment.manifest));
        let (kind, label) = (deployment.kind, format!("{}@{}", manifest.name, manifest.version));
        has_all(store, manifest.blobs().collect()).await?;
        let published = host.catalog.deploy(deployment, note).await?;
        host.lifecycle.keep_warm(&host.catalog, manifest.name.as_str());
        let (revision, changed) = (published.function.revision.revision, published.changed);
        tracing::info!(function = %label, revision, %kind, changed, "deployed");
        // Whoever collected garbage until now may not have seen the revision, so whatever is in the trash by now comes back;
        // whoever does from now on sees it.
        let blobs = manifest.blobs().chain([Blob::of(&manifest.canonical_json())]).collect();
        match has_all(store, blobs).await {
            Ok(()) => Ok(published),
            Err(DeployError::Store(source)) => Err(DeployError::Unseen { label, source: Box::new(source) }),
            // Whoever is told which are missing sends them, and deploys again.
            Err(error) => Err(error),
        }
    };
    tokio::spawn(trace::carried(work)).await.unwrap_or_else(|error| Err(DeployError::Failed(error.to_string())))
}

/// Refuses to go on without these.
async fn has_all(store: &Store, blobs: Vec<Blob>) -> Result<(), DeployError> {
    let missing = store.lacks(blobs).await?;
    if missing.is_empty() { Ok(()) } else { Err(DeployError::BlobsMissing(missing)) }
}

fn lacking(blobs: &[Blob]) -> String {
    let first = blobs.first().map(|blob| blob.sha256.to_string()).unwrap_or_default();
    let more = if blobs.len() > 1 { format!(" and {} more", blobs.len() - 1) } else { String::new() };
    format!("the host lacks blob {first}{more}; send it to /api/blobs first, or deploy the whole bundle")
}

/// How long a client may pause while it uploads.
const STALL: Duration = Duration::from_secs(30);

/// Takes the bundle apart as it comes and stores the parts.
async fn receive<B>(parts: &Parts, mut bundle: B, held: &mut Hold) -> Result<(Arc<Manifest>, u64), DeployError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let mut splitter = Splitter::new();
    let (mut open, mut size_bytes) = (None, 0);
    while let Some(frame) = tokio::time::timeout(STALL, bundle.frame()).await.map_err(|_| DeployError::Stalled)? {
        let frame = frame.map_err(|error| DeployError::Upload(error.to_string()))?;
        let Ok(chunk) = frame.into_data() else { continue };
        size_bytes += chunk.len() as u64;
        for event in splitter.push(chunk)? {
            match event {
                Event::BlobStart { blob, .. } => {
                    held.add([blob]);
                    open = Some(parts.store.blob_writer(blob).await?);
                }
                Event::BlobData(bytes) => {
                    if let Some(writer) = &mut open {
                        writer.write(bytes).await?;
                    }
                }
                Event::BlobEnd => {
                    if let Some(writer) = open.take() {
                        writer.commit().await?;
                    }
                }
            }
        }
    }
    Ok((splitter.finish()?, size_bytes))
}

/// What a bundle turned out to be.
struct Found {
    kind: FunctionKind,
    signature: Option<Signature>,
    models: Vec<ModelRecord>,
}

/// How long a deploy waits for its turn.
const TURN: Duration = Duration::from_secs(60);

/// Examines when it is this deploy's turn.
async fn in_turn(host: &Host, manifest: Arc<Manifest>) -> Result<Found, DeployError> {
    let turn = tokio::time::timeout(TURN, Arc::clone(&host.examining).acquire_owned()).await;
    let Ok(Ok(turn)) = turn else { return Err(DeployError::Busy) };
    let parts = Arc::clone(&host.lifecycle.parts);
    // A task of its own: neither compiling nor loading a model can be stopped, so the turn lasts until they are over,
    // though the client may have gone.
    let examined = tokio::spawn(async move {
        let found = examine(&parts, &manifest).await;
        drop(turn);
        found
    });
    examined.await.unwrap_or_else(|error| Err(DeployError::Failed(error.to_string())))
}

/// Loads all of it once, to know what it is and that it can run here. Ends when nothing is being loaded any more.
async fn examine(parts: &Arc<Parts>, manifest: &Manifest) -> Result<Found, DeployError> {
    let opened = lifecycle::open_models(parts, manifest, true, None);
    // Both to their ends: neither can be stopped.
    let (opened, component) = tokio::join!(opened, lifecycle::load_component(parts, manifest));
    let (opened, component) = (opened?, component?);
    lifecycle::fit_together(parts, &opened)?;
    let models: Vec<ModelRecord> = (manifest.models.iter().zip(&opened))
        .map(|(model, opened)| ModelRecord { name: model.name.clone(), signature: opened.model.signature().clone() })
        .collect();
    let (kind, signature) = match component.as_deref() {
        Some(Pre::Typed(_)) => (FunctionKind::Typed, manifest.signature.clone()),
        Some(Pre::Http(_) | Pre::Service(_)) => (FunctionKind::Http, manifest.signature.clone()),
        // The manifest's rules see to it that there is exactly one.
        None => (FunctionKind::ModelOnly, models.first().map(|model| model.signature.clone())),
    };
    Ok(Found { kind, signature, models })
}
