//! `nocti download FUNCTION@VERSION`: the bundle that a version was deployed from, back in a file.
//!
//! A download that broke off goes on from what has come (`partial`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderValue, IF_RANGE, RANGE};
use serde_json::json;

use super::client::{Client, ClientError};
use super::partial::{self, Partial};
use super::target::Target;
use super::{Global, WrongUsage, output};
use crate::registry::digest::Digest;
use crate::registry::name::{FunctionName, VersionName};

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

pub(super) async fn run(args: &DownloadArgs, global: &Global) -> anyhow::Result<()> {
    let Target { function, version } = &args.target;
    let Some(version) = version else {
        return Err(
            WrongUsage(format!("say which version: {function}@VERSION (`nocti show {function}` lists them)")).into()
        );
    };
    let file = args.output.clone().unwrap_or_else(|| format!("{function}-{version}.wasm").into());
    partial::may_write(&file, args.force)?;
    let (digest, size_bytes) = bundle(&Client::new(global)?, function, version, &file).await?;
    if global.json {
        return output::json(&json!({
            "function": function, "version": version, "digest": digest, "file": file, "size_bytes": size_bytes,
        }));
    }
    output::text(&format!("wrote {} ({})\n  digest  {digest}\n", file.display(), output::size(size_bytes)))
}

/// Gets the bundle of a version into a file; its digest and its size.
pub(super) async fn bundle(
    client: &Client,
    function: &FunctionName,
    version: &VersionName,
    file: &Path,
) -> anyhow::Result<(Digest, u64)> {
    let url = format!("/api/functions/{function}/versions/{version}/bundle");
    let mut partial = Partial::open(file)?;
    let bar = output::progress_bar("downloading");
    let fetched = fetch_all(client, &url, &mut partial, &bar).await;
    bar.finish_and_clear();
    partial.keep(fetched)?.finish(file)
}

async fn fetch_all(client: &Client, url: &str, partial: &mut Partial, bar: &ProgressBar) -> anyhow::Result<()> {
    let mut failures = 0;
    loop {
        let before = partial.size();
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
        failures = if partial.size() > before { 1 } else { failures + 1 };
        tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(failures)).await;
    }
}

/// Gets what is not there yet.
async fn fetch(client: &Client, url: &str, partial: &mut Partial, bar: &ProgressBar) -> anyhow::Result<()> {
    let mut headers = HeaderMap::new();
    match partial.digest() {
        Some(digest) => {
            headers.insert(RANGE, HeaderValue::from_str(&format!("bytes={}-", partial.size()))?);
            headers.insert(IF_RANGE, HeaderValue::from_str(&format!("\"{digest}\""))?);
        }
        None => partial.begin_again()?,
    }
    let response = client.open(url, headers).await;
    let mut response = match response {
        Err(error) if is_out_of_range(&error) => {
            if partial.is_whole() {
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
    bar.set_length(partial.size() + response.content_length().unwrap_or_default());
    bar.set_position(partial.size());
    while let Some(bytes) = client.chunk(&mut response).await? {
        bar.inc(bytes.len() as u64);
        partial.put(bytes)?;
    }
    Ok(())
}

fn is_out_of_range(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ClientError::Refused { status: StatusCode::RANGE_NOT_SATISFIABLE, .. }))
}
