//! `nocti download FUNCTION@VERSION`: the bundle that a version was deployed from, back in a file.
//!
//! It comes into a file of its own beside the one it becomes, `FILE.part`, is checked as it comes and renamed when it is whole. A
//! download that broke off goes on from there.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use indicatif::ProgressBar;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderValue, IF_RANGE, RANGE};
use serde_json::json;

use super::client::{Client, ClientError};
use super::head::Head;
use super::target::Target;
use super::{Global, WrongUsage, output};
use crate::registry::digest::Digest;
use crate::registry::manifest::Manifest;
use crate::registry::split::Splitter;

/// How often a download that breaks off goes on, and how long until the first time; each further one takes twice as long.
const RETRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// What `nocti download` takes.
#[derive(Debug, Args)]
pub(crate) struct DownloadArgs {
    /// The version: FUNCTION@VERSION.
    target: Target,
    /// Where to write the bundle [default: NAME-VERSION.wasm].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write over a file that is there.
    #[arg(long)]
    force: bool,
}

/// What has come of a bundle.
struct Partial {
    path: PathBuf,
    file: File,
    splitter: Splitter,
    size: u64,
    /// All has come, and is as this says.
    whole: Option<Arc<Manifest>>,
}

pub(super) async fn run(args: &DownloadArgs, global: &Global) -> anyhow::Result<()> {
    let Target { function, version } = &args.target;
    let Some(version) = version else {
        return Err(
            WrongUsage(format!("say which version: {function}@VERSION (`nocti show {function}` lists them)")).into()
        );
    };
    let file = args.output.clone().unwrap_or_else(|| format!("{function}-{version}.wasm").into());
    if !args.force && file.exists() {
        bail!("{} is there already; --force writes over it, -o writes elsewhere", file.display());
    }
    let client = Client::new(global)?;
    let url = format!("/api/functions/{function}/versions/{version}/bundle");
    let mut partial = Partial::open(&file)?;
    let bar = output::progress_bar("downloading");
    let fetched = fetch_all(&client, &url, &mut partial, &bar).await;
    bar.finish_and_clear();
    if fetched.is_err() && partial.size == 0 {
        // Nothing has come, so there is nothing to go on from.
        let _ = std::fs::remove_file(&partial.path);
    }
    fetched?;
    let (digest, size_bytes) = partial.finish(&file)?;
    if global.json {
        return output::json(&json!({
            "function": function, "version": version, "digest": digest, "file": file, "size_bytes": size_bytes,
        }));
    }
    output::text(&format!("wrote {} ({})\n  digest  {digest}\n", file.display(), output::size(size_bytes)))
}

async fn fetch_all(client: &Client, url: &str, partial: &mut Partial, bar: &ProgressBar) -> anyhow::Result<()> {
    let mut failures = 0;
    loop {
        let before = partial.size;
        let Err(error) = fetch(client, url, partial, bar).await else { return Ok(()) };
        // Nothing was begun where nobody answers at all.
        let may_pass = match error.downcast_ref() {
            Some(ClientError::Broken { .. }) => true,
            Some(ClientError::NoHost(_)) => failures > 0,
            _ => false,
        };
        if !may_pass || failures == RETRIES {
            return Err(error);
        }
        failures = if partial.size > before { 1 } else { failures + 1 };
        tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(failures)).await;
    }
}

/// Gets what is not there yet.
async fn fetch(client: &Client, url: &str, partial: &mut Partial, bar: &ProgressBar) -> anyhow::Result<()> {
    let mut headers = HeaderMap::new();
    match partial.digest() {
        Some(digest) => {
            headers.insert(RANGE, HeaderValue::from_str(&format!("bytes={}-", partial.size))?);
            headers.insert(IF_RANGE, HeaderValue::from_str(&format!("\"{digest}\""))?);
        }
        None => partial.begin_again()?,
    }
    let response = client.open(url, headers).await;
    let mut response = match response {
        Err(error) if is_out_of_range(&error) => {
            partial.whole = partial.splitter.finish().ok();
            if partial.whole.is_some() {
                return Ok(());
            }
            partial.begin_again()?;
            client.open(url, HeaderMap::new()).await?
        }
        response => response?,
    };
    if response.status() != StatusCode::PARTIAL_CONTENT {
        partial.begin_again()?;
    }
    bar.set_length(partial.size + response.content_length().unwrap_or_default());
    bar.set_position(partial.size);
    while let Some(bytes) = client.chunk(&mut response).await? {
        bar.inc(bytes.len() as u64);
        partial.put(bytes)?;
    }
    Ok(())
}

fn is_out_of_range(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ClientError::Refused { status: StatusCode::RANGE_NOT_SATISFIABLE, .. }))
}

impl Partial {
    /// What an earlier download has left beside `file`; nothing where that is no beginning of a bundle.
    fn open(file: &Path) -> anyhow::Result<Self> {
        let mut name = file.as_os_str().to_owned();
        name.push(".part");
        let path = PathBuf::from(name);
        let opened = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = opened.with_context(|| format!("cannot write {}", path.display()))?;
        let mut partial = Self { path, file, splitter: Splitter::new(), size: 0, whole: None };
        let mut buffer = vec![0; 256 << 10];
        loop {
            let length =
                partial.file.read(&mut buffer).with_context(|| format!("cannot read {}", partial.path.display()))?;
            if length == 0 {
                return Ok(partial);
            }
            if partial.splitter.push(Bytes::copy_from_slice(&buffer[..length])).is_err() {
                partial.begin_again()?;
                return Ok(partial);
            }
            partial.size += length as u64;
        }
    }

    /// Which version it is of, where so much has come.
    fn digest(&self) -> Option<Digest> {
        if self.size == 0 {
            return None;
        }
        Head::read(&self.path).ok().flatten().map(|head| head.manifest.digest())
    }

    fn begin_again(&mut self) -> anyhow::Result<()> {
        (self.splitter, self.size) = (Splitter::new(), 0);
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map(drop).with_context(|| format!("cannot write {}", self.path.display()))
    }

    fn put(&mut self, bytes: Bytes) -> anyhow::Result<()> {
        self.file.write_all(&bytes).with_context(|| format!("cannot write {}", self.path.display()))?;
        self.size += bytes.len() as u64;
        let checked = self.splitter.push(bytes).map(drop);
        checked.map_err(|error| self.damaged(error))
    }

    /// Makes it the file, if it is whole.
    fn finish(mut self, file: &Path) -> anyhow::Result<(Digest, u64)> {
        let manifest = match self.whole.take() {
            Some(manifest) => manifest,
            None => self.splitter.finish().map_err(|error| self.damaged(error))?,
        };
        let kept = self.file.sync_all().and_then(|()| std::fs::rename(&self.path, file));
        kept.with_context(|| format!("cannot write {}", file.display()))?;
        Ok((manifest.digest(), self.size))
    }

    /// What is damaged is of no use for the next download.
    fn damaged(&self, error: impl std::error::Error + Send + Sync + 'static) -> anyhow::Error {
        let _ = std::fs::remove_file(&self.path);
        anyhow::Error::new(error).context("what came is damaged; download it again")
    }
}
