//! Sending a bundle: first the parts that the host lacks, several at once, then the manifest that names them all.
//!
//! Parts come from a bundle's file or from an OCI registry (`Source`). A part whose upload breaks off goes on where the host says that
//! it broke. A host without that takes the whole bundle, and so does any host of one that is small: that is one request in place of
//! several.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use indicatif::ProgressBar;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::client::{Client, ClientError, Content};
use super::head::Head;
use crate::registry::digest::{Blob, Digest};
use crate::registry::manifest::Manifest;

pub(super) use parts::Parts;

mod parts;

/// Below, a bundle goes whole.
const SMALL_BYTES: u64 = 256 << 10;
/// Parts that are sent at once.
const AT_ONCE: usize = 4;
/// Parts that are asked for at once, the most a host takes.
const ASKED_AT_ONCE: usize = 500;
/// How often a part is tried again, and how long until the first time; each further one takes twice as long.
const RETRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// How long somebody who sends the same part may send nothing, and how often that is looked at. A host ends an upload that has
/// broken off without a word after 30 s.
const BUSY_PATIENCE: Duration = Duration::from_secs(60);
const BUSY_PAUSE: Duration = Duration::from_secs(1);
/// How often all is begun again where the host has lost what it had.
const ROUNDS: u32 = 3;

/// What a host says that cannot keep parts which are on their way, or none so large; or whose disk has room for a part and not for the
/// store's copy beside it, which a whole bundle does without.
const NO_PLACE: [&str; 4] = ["uploads_full", "uploads_failed", "too_large", "storage_full"];

const MANIFEST_TYPE: &str = "application/vnd.nocti.manifest+json";

/// What became of a bundle.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) status: StatusCode,
    pub(super) answer: Value,
    /// Bytes of all bodies.
    pub(super) sent_bytes: u64,
    /// Bytes of its parts that the host had before. What compression saves is none of them.
    pub(super) saved_bytes: u64,
}

/// What became of a bundle's parts.
#[derive(Debug)]
pub(super) enum Outcome {
    Deployed(Sent),
    /// The host takes nothing but whole bundles now, for this reason.
    WholeAlone(anyhow::Error),
}

/// Where the parts of a bundle come from.
pub(super) trait Source {
    /// Sends a part to the host from `offset` on: how many bytes that took, whatever became of them.
    async fn send(&self, client: &Client, part: Blob, offset: u64, bar: &ProgressBar) -> (u64, anyhow::Result<()>);
}

/// A part that the host lacks.
#[derive(Debug, Deserialize)]
struct Missing {
    sha256: Digest,
    size_bytes: u64,
    /// The bytes of it that have come.
    offset: u64,
}

/// Deploys the bundle in a file.
pub(super) async fn send(client: &Client, file: &Path, query: &str, bar: &ProgressBar) -> anyhow::Result<Sent> {
    let size = std::fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?.len();
    if size >= SMALL_BYTES
        && let Some(Head { manifest, .. }) = Head::read(file)?
        && let Some(parts) = Parts::of(file, &manifest)?
        && let Outcome::Deployed(sent) = by_parts(client, &manifest, &parts, query, bar).await?
    {
        return Ok(sent);
    }
    bar.set_position(0);
    bar.set_length(size);
    let content = Content::whole(file, size, bar);
    let (status, answer) = client.upload(Method::POST, &format!("/api/functions{query}"), content).await?;
    Ok(Sent { status, answer, sent_bytes: size, saved_bytes: 0 })
}

/// Sends only what the host lacks of a bundle.
pub(super) async fn by_parts(
    client: &Client,
    manifest: &Manifest,
    source: &impl Source,
    query: &str,
    bar: &ProgressBar,
) -> anyhow::Result<Outcome> {
    let blobs: HashSet<Blob> = manifest.blobs().collect();
    let blobs: Vec<Blob> = blobs.into_iter().collect();
    let (path, manifest) = (format!("/api/functions{query}"), manifest.canonical_json());
    let (mut rounds, mut sent_bytes, mut saved_bytes) = (0, manifest.len() as u64, 0);
    let (status, answer) = loop {
        let missing = match ask(client, &blobs).await {
            // What an earlier host says of a path that it does not know.
            Err(error) if refused(&error).is_some_and(|(status, _)| status == StatusCode::NOT_FOUND) => {
                return Ok(Outcome::WholeAlone(error));
            }
            missing => missing?,
        };
        let lacking: u64 = missing.iter().map(|blob| blob.size_bytes.saturating_sub(blob.offset)).sum();
        if rounds == 0 {
            saved_bytes = blobs.iter().map(|blob| blob.size).sum::<u64>().saturating_sub(lacking);
        }
        bar.inc_length(lacking);
        let sending = missing.into_iter().map(|missing| send_part(client, source, missing, bar));
        let sent: anyhow::Result<Vec<u64>> = stream::iter(sending).buffer_unordered(AT_ONCE).try_collect().await;
        sent_bytes += match sent {
            // It has no place for parts; a whole bundle goes straight to the store.
            Err(error) if refused(&error).is_some_and(|(_, code)| NO_PLACE.contains(&code)) => {
                return Ok(Outcome::WholeAlone(error));
            }
            sent => sent?.iter().sum::<u64>(),
        };
        let deployed = client.send_as(Method::POST, &path, MANIFEST_TYPE, manifest.clone()).await;
        rounds += 1;
        match deployed {
            Err(error) if rounds < ROUNDS && refused(&error).is_some_and(|(_, code)| code == "blobs_missing") => {}
            deployed => break deployed?,
        }
    };
    Ok(Outcome::Deployed(Sent { status, answer, sent_bytes, saved_bytes }))
}

/// Sends a part, and what is missing of it again when that breaks off; how many bytes that took.
async fn send_part(client: &Client, source: &impl Source, missing: Missing, bar: &ProgressBar) -> anyhow::Result<u64> {
    let Missing { sha256, size_bytes: size, mut offset } = missing;
    let part = Blob { size, sha256 };
    let (mut failures, mut sent_bytes) = (0, 0);
    let mut busy_since: Option<Instant> = None;
    loop {
        let began = offset;
        let (sent, outcome) = source.send(client, part, began, bar).await;
        sent_bytes += sent;
        let Err(mut error) = outcome else { return Ok(sent_bytes) };
        if !is_busy(&error) {
            busy_since = None;
        }
        loop {
            // Somebody else's upload is no failure of this one while it gets on.
            let waits = is_busy(&error) && busy_since.get_or_insert_with(Instant::now).elapsed() < BUSY_PATIENCE;
            if !waits && (failures == RETRIES || !may_pass(&error, began)) {
                return Err(error);
            }
            tokio::time::sleep(if waits { BUSY_PAUSE } else { FIRST_PAUSE * 2_u32.pow(failures) }).await;
            failures += u32::from(!waits);
            match ask(client, &[part]).await {
                Ok(missing) => {
                    let Some(missing) = missing.into_iter().next() else { return Ok(sent_bytes) };
                    let gets_on = is_busy(&error) && missing.offset > offset;
                    offset = missing.offset;
                    if !gets_on {
                        break;
                    }
                    busy_since = Some(Instant::now());
                }
                Err(again) => error = again,
            }
        }
        bar.inc_length((began + sent).saturating_sub(offset));
    }
}

/// Where a part goes, from `offset` on.
pub(super) fn path(part: Blob, offset: u64) -> String {
    format!("/api/blobs/{}?size_bytes={}&offset={offset}", part.sha256, part.size)
}

/// Which of these the host lacks.
async fn ask(client: &Client, blobs: &[Blob]) -> anyhow::Result<Vec<Missing>> {
    let mut missing = Vec::new();
    for blobs in blobs.chunks(ASKED_AT_ONCE) {
        let blobs = blobs.iter().map(|blob| json!({"sha256": blob.sha256, "size_bytes": blob.size}));
        let asked = json!({"blobs": blobs.collect::<Vec<_>>()});
        let mut answer = client.send(Method::POST, "/api/blobs/missing", &asked).await?;
        let more = Vec::<Missing>::deserialize(answer["missing"].take());
        missing.extend(more.context("the host's answer is not as expected")?);
    }
    Ok(missing)
}

/// Whether it may go better another time, where the upload began at `offset`.
fn may_pass(error: &anyhow::Error, offset: u64) -> bool {
    const PASSING: [&str; 6] =
        ["wrong_offset", "upload_incomplete", "upload_busy", "body_timeout", "overloaded", "store_unreachable"];
    match error.downcast_ref() {
        Some(ClientError::NoHost(_) | ClientError::Broken { .. } | ClientError::Silent(_)) => true,
        // What others had sent before may have been something else; what comes from here alone is the same again.
        Some(ClientError::Refused { code, .. }) if code == "wrong_content" => offset > 0,
        Some(ClientError::Refused { code, .. }) => PASSING.contains(&code.as_str()),
        Some(ClientError::NotNocti { .. }) | None => false,
    }
}

/// Whether somebody else is sending the part.
fn is_busy(error: &anyhow::Error) -> bool {
    refused(error).is_some_and(|(_, code)| code == "upload_busy")
}

fn refused(error: &anyhow::Error) -> Option<(StatusCode, &str)> {
    match error.downcast_ref() {
        Some(ClientError::Refused { status, code, .. }) => Some((*status, code)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_tried_again() {
        let refused = |code: &str| {
            let (status, code, message) = (StatusCode::CONFLICT, code.to_owned(), String::new());
            anyhow::Error::new(ClientError::Refused { status, code, message })
        };
        for (code, offset, expected) in [
            ("upload_busy", 0, true),
            ("store_unreachable", 0, true),
            ("wrong_content", 1, true),
            ("wrong_content", 0, false),
            ("storage_full", 0, false),
        ] {
            assert_eq!(may_pass(&refused(code), offset), expected, "{code} {offset}");
        }
        assert!(is_busy(&refused("upload_busy")) && !is_busy(&refused("wrong_offset")));
    }
}
