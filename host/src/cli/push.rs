//! `nocti push WHAT REFERENCE`: a function into an OCI registry, without what that has already.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use indicatif::ProgressBar;
use serde_json::json;
use tempfile::TempDir;

use super::build::Names;
use super::client::Client;
use super::component::Component;
use super::deploy::{self, Upload};
use super::head::Head;
use super::oci::{Access, Artifact, Place, Registry};
use super::target::Target;
use super::upload::Parts;
use super::{Global, WrongUsage, download, output};
use crate::registry::digest::Blob;
use crate::registry::manifest::Manifest;

/// Layers that are brought at once.
const AT_ONCE: usize = 4;

/// What `nocti push` takes.
#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// A bundle, a function's folder, a component, an ONNX model, or a version that the host has.
    #[arg(value_name = "PATH|FUNCTION@VERSION")]
    what: PathBuf,
    /// Where to: HOST/NAME:TAG, or HOST/NAME with the version as its tag, which moves if it is there.
    #[arg(value_name = "REFERENCE")]
    place: Place,
    #[command(flatten)]
    names: Names,
    /// Take layers from this repository of the registry where it has them: NAME, without the host.
    #[arg(long, value_name = "NAME")]
    mount_from: Option<String>,
    #[command(flatten)]
    access: Access,
}

/// How the bytes of an artifact came to be in the registry.
#[derive(Debug, Default)]
struct Tally {
    sent: u64,
    /// Taken from another repository.
    mounted: u64,
    /// There already.
    saved: u64,
}

pub(super) async fn run(args: PushArgs, global: &Global) -> anyhow::Result<()> {
    let local = Local::of(&args, global).await?;
    let (file, manifest) = (&local.file, &local.manifest);
    let place = args.place.for_version(manifest.version.as_str());
    let place = place.map_err(|error| WrongUsage(error.to_string()))?;
    let parts = Parts::of(file, manifest)?;
    let parts = parts.with_context(|| format!("{} is not as its manifest says: build it again", file.display()))?;
    let component = match manifest.component {
        Some(component) => Some(Component::read(&parts.content(component, &ProgressBar::hidden()).bytes().await?)?),
        None => None,
    };
    let artifact = Artifact::of(manifest, component)?;

    let registry = Registry::new(place, &args.access).await?;
    let bar = output::progress_bar("pushing");
    let (mount_from, not_mounted) = (args.mount_from.as_deref(), OnceLock::new());
    let push = Push { registry: &registry, parts: &parts, mount_from, not_mounted: &not_mounted, bar: &bar };
    let pushed = push.all(manifest, artifact).await;
    bar.finish_and_clear();
    let reference = registry.place().to_string();
    let Pushed { digest, replaced, tally } = pushed.with_context(|| format!("cannot push to {reference}"))?;
    // What is new in this version is in no other repository, which is no news.
    if let (Some(repository), Some(why), 0) = (mount_from, not_mounted.get(), tally.mounted) {
        output::note(&format!("nothing could be taken from {repository}: {why}"));
    }
    if global.json {
        return output::json(&json!({
            "reference": reference, "artifact": digest, "replaced": replaced, "function": manifest.name,
            "version": manifest.version, "digest": manifest.digest(), "size_bytes": manifest.size_bytes(),
            "sent_bytes": tally.sent, "mounted_bytes": tally.mounted, "saved_bytes": tally.saved,
        }));
    }
    let parts = [(tally.mounted, "from the other repository"), (tally.saved, "were there already")].into_iter();
    let parts = parts.filter(|(size, _)| *size > 0).map(|(size, how)| format!(", {} {how}", output::size(size)));
    let moved = replaced.map(|before| format!("  moved   the tag from {before}\n")).unwrap_or_default();
    output::text(&format!(
        "pushed {} {} to {reference}\n  digest  {digest}\n  sent    {}{}\n{moved}",
        manifest.name,
        manifest.version,
        output::size(tally.sent),
        parts.collect::<String>(),
    ))
}

/// A bundle to push, and what must stay while it is read.
struct Local {
    file: PathBuf,
    manifest: Manifest,
    _upload: Option<Upload>,
    _folder: Option<TempDir>,
}

impl Local {
    /// A path that is there is meant as one; anything else is a version that the host has.
    async fn of(args: &PushArgs, global: &Global) -> anyhow::Result<Self> {
        let what = &args.what;
        if what.exists() {
            let upload = deploy::prepare(what, &args.names)?;
            return Self::read(upload.file.clone(), Some(upload), None);
        }
        let target = what.to_str().and_then(|text| text.parse().ok());
        let Some(Target { function, version: Some(version) }) = target else {
            bail!("{} is not there, and no FUNCTION@VERSION either", what.display());
        };
        let folder = TempDir::new().context("cannot make a temporary folder")?;
        let file = folder.path().join("bundle.wasm");
        download::bundle(&Client::new(global)?, &function, &version, &file).await?;
        let renamed = deploy::prepare(&file, &args.names)?;
        Self::read(renamed.file.clone(), Some(renamed), Some(folder))
    }

    fn read(file: PathBuf, upload: Option<Upload>, folder: Option<TempDir>) -> anyhow::Result<Self> {
        let head = Head::read(&file)?.with_context(|| format!("{} is no bundle", file.display()))?;
        Ok(Self { file, manifest: head.manifest, _upload: upload, _folder: folder })
    }
}

/// What is pushed where.
struct Push<'p> {
    registry: &'p Registry,
    parts: &'p Parts<'p>,
    mount_from: Option<&'p str>,
    /// Why a layer had to be sent instead, the first time.
    not_mounted: &'p OnceLock<String>,
    bar: &'p ProgressBar,
}

/// What came of it.
struct Pushed {
    digest: String,
    /// What was there before, if it was something else.
    replaced: Option<String>,
    tally: Tally,
}

impl Push<'_> {
    /// Brings all blobs, and the manifest that names them last: until it is there, nothing was pushed.
    async fn all(&self, manifest: &Manifest, artifact: Artifact) -> anyhow::Result<Pushed> {
        let before = self.registry.current().await?;
        let layers: HashSet<Blob> = manifest.blobs().collect();
        let config = Blob::of(&artifact.config);
        self.bar.set_length(config.size + layers.iter().map(|blob| blob.size).sum::<u64>());
        let mut sending = stream::iter(layers).map(|blob| self.layer(blob)).buffer_unordered(AT_ONCE);
        let mut tally = Tally::default();
        while let Some(layer) = sending.try_next().await? {
            tally.add(&layer);
        }
        let content = Bytes::from(artifact.config);
        tally.add(&self.blob(config, async || Ok(stream::iter([Ok(content.clone())]))).await?);
        let digest = self.registry.publish(artifact.manifest).await?;
        Ok(Pushed { replaced: before.filter(|before| *before != digest), digest, tally })
    }

    /// Whether it could be taken from the other repository.
    async fn mounted(&self, blob: Blob) -> bool {
        let Some(repository) = self.mount_from else { return false };
        let mounted = self.registry.mount(blob, repository).await;
        if let Err(error) = &mounted {
            // The first tells enough.
            let _ = self.not_mounted.set(output::chain(error));
        }
        mounted.is_ok()
    }

    async fn layer(&self, blob: Blob) -> anyhow::Result<Tally> {
        self.blob(blob, async || self.parts.content(blob, self.bar).chunks().await).await
    }

    /// Brings a blob where it is not there.
    async fn blob<S>(&self, blob: Blob, content: impl AsyncFnOnce() -> anyhow::Result<S>) -> anyhow::Result<Tally>
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        let size = blob.size;
        let tally = if self.registry.has(blob).await? {
            Tally { saved: size, ..Tally::default() }
        } else if self.mounted(blob).await {
            Tally { mounted: size, ..Tally::default() }
        } else {
            self.registry.push(blob, content().await?).await?;
            return Ok(Tally { sent: size, ..Tally::default() });
        };
        self.bar.inc(size);
        Ok(tally)
    }
}

impl Tally {
    fn add(&mut self, more: &Self) {
        let Self { sent, mounted, saved } = more;
        self.sent += sent;
        self.mounted += mounted;
        self.saved += saved;
    }
}
