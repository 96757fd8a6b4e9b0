//! `nocti pull REFERENCE`: a function in an OCI registry as a bundle, byte by byte what `nocti build` wrote.
//!
//! What comes is put together as the manifest says. One that broke off goes on from what has come (`partial`).

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use futures::TryStreamExt;
use indicatif::ProgressBar;
use serde_json::json;

use super::oci::{Access, Place, Pulled, Registry};
use super::partial::{self, Partial};
use super::{Global, WrongUsage, output};
use crate::registry::bundle::{Layout, Piece};
use crate::registry::manifest::Manifest;

/// What `nocti pull` takes.
#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// What to get: HOST/NAME:TAG or HOST/NAME@sha256:DIGEST.
    #[arg(value_name = "REFERENCE")]
    place: Place,
    /// Where to write the bundle [default: NAME-VERSION.wasm].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write over a file that is there.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    access: Access,
}

pub(super) async fn run(args: PullArgs, global: &Global) -> anyhow::Result<()> {
    let place = args.place.for_reading().map_err(|error| WrongUsage(error.to_string()))?;
    let registry = Registry::new(place, &args.access).await?;
    let Pulled { manifest, digest: artifact } = registry.function().await?;
    let file = args.output.unwrap_or_else(|| format!("{}-{}.wasm", manifest.name, manifest.version).into());
    partial::may_write(&file, args.force)?;
    let mut partial = Partial::open(&file)?;
    let bar = output::progress_bar("pulling");
    let fetched = fetch(&registry, &manifest, &mut partial, &bar).await;
    bar.finish_and_clear();
    let (digest, size_bytes) =
        partial.keep(fetched).with_context(|| format!("cannot get {}", registry.place()))?.finish(&file)?;
    if global.json {
        return output::json(&json!({
            "reference": registry.place().to_string(), "artifact": artifact, "function": manifest.name,
            "version": manifest.version, "digest": digest, "file": file, "size_bytes": size_bytes,
        }));
    }
    output::text(&format!(
        "wrote {} ({})\n  digest  {digest}\n  from    {artifact}\n",
        file.display(),
        output::size(size_bytes)
    ))
}

/// Gets what is not there yet.
async fn fetch(
    registry: &Registry,
    manifest: &Manifest,
    partial: &mut Partial,
    bar: &ProgressBar,
) -> anyhow::Result<()> {
    let layout = Layout::of(manifest);
    let size = layout.size_bytes();
    if partial.digest() != Some(manifest.digest()) || partial.size() > size {
        partial.begin_again()?;
    }
    bar.set_length(size);
    bar.set_position(partial.size());
    for piece in layout.within(partial.size()..size) {
        match piece {
            Piece::Frame(bytes) => partial.put(bytes)?,
            Piece::Of(blob, range) => {
                let mut chunks = registry.blob(blob, range).await?;
                while let Some(chunk) = chunks.try_next().await? {
                    bar.inc(chunk.len() as u64);
                    partial.put(chunk)?;
                }
            }
        }
    }
    Ok(())
}
