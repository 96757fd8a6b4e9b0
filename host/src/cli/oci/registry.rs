//! One registry, and one place in it: what is there, what is brought there, what is got from it.

use std::io;
use std::ops::Range;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use oci_client::client::{BlobResponse, ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::manifest::{
    IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE,
};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference, RegistryOperation};
use reqwest::StatusCode;
use reqwest::header::{ACCEPT, HeaderValue};
use tokio::sync::watch;

use super::access::Access;
use super::artifact;
use super::place::Place;
use super::refusal::{Asked, Refusal};
use crate::registry::digest::{Blob, Digest};
use crate::registry::manifest::Manifest;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A blob whose next bytes take longer does not come. The client's own `read_timeout` would end uploads as well: it counts from the
/// beginning of a request.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// The next piece is taken when some hundred KiB are gone, which slow lines share among several blobs.
const TAKE_TIMEOUT: Duration = Duration::from_secs(300);
/// A registry that has a whole blob looks through it and may put it elsewhere.
const KEEP_TIMEOUT: Duration = Duration::from_secs(600);

/// What a place may hold, for it to say what it is where it is no function.
const ASKED_FOR: [&str; 4] =
    [OCI_IMAGE_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE, IMAGE_MANIFEST_LIST_MEDIA_TYPE];

/// No registry takes a longer manifest.
const MAX_MANIFEST_BYTES: usize = 4 << 20;

const USER_AGENT: &str = concat!("nocti/", env!("CARGO_PKG_VERSION"));

/// A place in a registry that can be asked.
pub(crate) struct Registry {
    client: Client,
    /// For what `client` would read to the end, however far that is.
    http: reqwest::Client,
    place: Place,
    auth: RegistryAuth,
    asked: Asked,
}

/// A function in a registry.
#[derive(Debug)]
pub(crate) struct Pulled {
    pub(crate) manifest: Manifest,
    /// The artifact's digest, as registries write it.
    pub(crate) digest: String,
}

/// What a registry sends of a blob.
pub(super) type Chunks = BoxStream<'static, io::Result<Bytes>>;

impl Registry {
    /// Nothing is sent yet.
    pub(crate) async fn new(place: Place, access: &Access) -> anyhow::Result<Self> {
        let auth = access.credentials(&place)?;
        let asked = Asked {
            host: place.host().to_owned(),
            is_plain: access.is_plain(&place),
            is_anonymous: auth == RegistryAuth::Anonymous,
        };
        let mut config = ClientConfig {
            protocol: if asked.is_plain { ClientProtocol::Http } else { ClientProtocol::Https },
            // A blob is one request, whatever its size.
            use_monolithic_push: true,
            platform_resolver: None,
            connect_timeout: Some(CONNECT_TIMEOUT),
            user_agent: USER_AGENT,
            ..ClientConfig::default()
        };
        let mut http = reqwest::Client::builder().user_agent(USER_AGENT).connect_timeout(CONNECT_TIMEOUT);
        if place.is_loopback() {
            // A proxy set for the outside world cannot reach this machine's own registry. Naming one is the way to have none here.
            config.http_proxy = Some(format!("http://{}", asked.host));
            config.no_proxy = Some("localhost,127.0.0.0/8,::1".to_owned());
            http = http.no_proxy();
        }
        let no_client = "cannot set up the client of the registry";
        let (client, http) = (Client::try_from(config).context(no_client)?, http.build().context(no_client)?);
        client.store_auth_if_needed(place.reference().resolve_registry(), &auth).await;
        Ok(Self { client, http, place, auth, asked })
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// The function at this place.
    pub(crate) async fn function(&self) -> anyhow::Result<Pulled> {
        self.read().await.with_context(|| format!("cannot get {}", self.place))
    }

    async fn read(&self) -> anyhow::Result<Pulled> {
        let (bytes, digest) = self.in_time(self.oci_manifest()).await??;
        let (image, config) = artifact::image(&bytes)?;
        let mut content = Vec::new();
        let mut chunks = self.blob(config, 0..config.size).await?;
        while let Some(chunk) = chunks.try_next().await? {
            content.extend_from_slice(&chunk);
        }
        ensure!(Blob::of(&content) == config, "its config is damaged");
        Ok(Pulled { manifest: artifact::manifest(&image, &content)?, digest })
    }

    /// The OCI manifest at this place, whatever it is of, and its digest.
    async fn oci_manifest(&self) -> anyhow::Result<(Vec<u8>, String)> {
        let reference = self.reference();
        let token = self.client.auth(reference, &self.auth, RegistryOperation::Pull).await;
        let token = token.map_err(|error| self.asked.refused(error))?;
        let scheme = if self.asked.is_plain { "http" } else { "https" };
        let (host, name) = (reference.resolve_registry(), reference.repository());
        let named = reference.digest().or(reference.tag()).unwrap_or_default();
        let request = self.http.get(format!("{scheme}://{host}/v2/{name}/manifests/{named}"));
        let request = request.header(ACCEPT, ASKED_FOR.join(", "));
        let request = match (token, &self.auth) {
            (Some(token), _) => request.bearer_auth(token),
            (None, RegistryAuth::Basic(name, password)) => request.basic_auth(name, Some(password)),
            (None, _) => request,
        };
        let mut answer = request.send().await.map_err(|error| self.asked.unanswered(error))?;
        let mut content = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.asked.unanswered(error))? {
            ensure!(
                content.len() + chunk.len() <= MAX_MANIFEST_BYTES,
                "{} sends more than 4 MiB for its manifest, and none has so many",
                self.asked.host
            );
            content.extend_from_slice(&chunk);
        }
        if answer.status() != StatusCode::OK {
            return Err(self.asked.by_status(answer.status(), &String::from_utf8_lossy(&content)).into());
        }
        let digest = artifact::text(Digest::of(&content));
        let said = answer.headers().get("docker-content-digest").and_then(|said| said.to_str().ok());
        // One of another kind than ours cannot be compared.
        let said = said.filter(|said| said.starts_with("sha256:"));
        for expected in reference.digest().into_iter().chain(said) {
            ensure!(expected == digest, "its manifest is damaged: what came has the digest {digest}");
        }
        Ok((content, digest))
    }

    /// Whether it has a blob.
    pub(crate) async fn has(&self, blob: Blob) -> anyhow::Result<bool> {
        let digest = artifact::text(blob.sha256);
        let has = self.in_time(self.client.blob_exists(self.reference(), &digest)).await?;
        Ok(has.map_err(|error| self.asked.refused(error))?)
    }

    /// Takes a blob from another repository of the registry, if that has it and may be read.
    pub(crate) async fn mount(&self, blob: Blob, repository: &str) -> anyhow::Result<()> {
        let (from, digest) = (self.place.repository(repository), artifact::text(blob.sha256));
        match self.in_time(self.client.mount_blob(self.reference(), &from, &digest)).await? {
            Ok(()) => Ok(()),
            // It wants the blob itself in place of that, and does not say why.
            Err(OciDistributionError::SpecViolationError(_)) => {
                bail!("{} does not have it there, or gives no access to it", self.asked.host)
            }
            Err(error) => Err(self.asked.refused(error).into()),
        }
    }

    /// Brings a blob there.
    pub(crate) async fn push(
        &self,
        blob: Blob,
        content: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> anyhow::Result<()> {
        let (taking, taken) = watch::channel(());
        let content = content.map_err(Into::into).inspect(move |_| taking.send_replace(()));
        let digest = artifact::text(blob.sha256);
        let pushing = self.client.push_blob_stream(self.reference(), content, &digest, Some(blob.size));
        let pushed = going_on(pushing, taken).await;
        let pushed = pushed.map_err(|stalled| {
            anyhow!("{} {stalled}; pushed again, the blobs that it has are not sent again", self.asked.host)
        })?;
        pushed.map_err(|error| self.asked.refused(error))?;
        Ok(())
    }

    /// The digest of what is at this place, whatever it is.
    pub(crate) async fn current(&self) -> anyhow::Result<Option<String>> {
        match self.in_time(self.client.fetch_manifest_digest(self.reference(), &self.auth)).await? {
            Ok(digest) => Ok(Some(digest)),
            Err(error) => match self.asked.refused(error) {
                Refusal::NotFound(_) => Ok(None),
                refusal => Err(refusal.into()),
            },
        }
    }

    /// Puts an artifact, whose blobs are there, at this place; its digest.
    pub(crate) async fn publish(&self, manifest: Vec<u8>) -> anyhow::Result<String> {
        let digest = artifact::text(Digest::of(&manifest));
        let kind = HeaderValue::from_static(OCI_IMAGE_MEDIA_TYPE);
        let published = self.in_time(self.client.push_manifest_raw(self.reference(), manifest, kind)).await?;
        published.map_err(|error| self.asked.refused(error))?;
        Ok(digest)
    }

    /// A range of a blob, as it comes. That it is the blob's content is for the caller to check; it is never longer or shorter.
    pub(crate) async fn blob(&self, blob: Blob, range: Range<u64>) -> anyhow::Result<Chunks> {
        if range.is_empty() {
            return Ok(stream::empty().boxed());
        }
        let (reference, digest, length) = (self.reference(), artifact::text(blob.sha256), range.end - range.start);
        let opening = async {
            if length == blob.size {
                self.client.pull_blob_stream(reference, digest.as_str()).await.map(BlobResponse::Full)
            } else {
                self.client.pull_blob_stream_partial(reference, digest.as_str(), range.start, Some(length)).await
            }
        };
        let (chunks, skip) = match self.in_time(opening).await?.map_err(|error| self.asked.refused(error))? {
            BlobResponse::Full(chunks) => (chunks.stream, range.start),
            BlobResponse::Partial(chunks) => (chunks.stream, 0),
        };
        Ok(cut(chunks, skip, length, &self.asked.host).boxed())
    }

    /// What the registry says to a request that has next to no body.
    async fn in_time<T>(&self, asking: impl Future<Output = T>) -> anyhow::Result<T> {
        let answer = tokio::time::timeout(READ_TIMEOUT, asking).await;
        answer.with_context(|| format!("{} has not answered for {} s", self.asked.host, READ_TIMEOUT.as_secs()))
    }

    fn reference(&self) -> &Reference {
        self.place.reference()
    }
}

/// An upload, for as long as it goes on: `taken` changes with every piece, and ends with the last one.
async fn going_on<T>(uploading: impl Future<Output = T>, mut taken: watch::Receiver<()>) -> Result<T, String> {
    let stalled = async {
        loop {
            match tokio::time::timeout(TAKE_TIMEOUT, taken.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => break,
                Err(_) => return format!("has taken nothing for {} s", TAKE_TIMEOUT.as_secs()),
            }
        }
        tokio::time::sleep(KEEP_TIMEOUT).await;
        format!("has all of the blob and has not answered for {} s", KEEP_TIMEOUT.as_secs())
    };
    tokio::select! {
        done = uploading => Ok(done),
        stalled = stalled => Err(stalled),
    }
}

/// So many bytes behind the first ones.
fn cut(chunks: Chunks, skip: u64, length: u64, host: &str) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let host = host.to_owned();
    stream::try_unfold((chunks, skip, length), move |(mut chunks, mut skip, left)| {
        let host = host.clone();
        async move {
            loop {
                if left == 0 {
                    return Ok(None);
                }
                let next = tokio::time::timeout(READ_TIMEOUT, chunks.next()).await;
                let silent = |_| io::Error::other(format!("{host} has sent nothing for {} s", READ_TIMEOUT.as_secs()));
                let Some(chunk) = next.map_err(silent)? else {
                    return Err(io::Error::other(format!("{host} sent {left} bytes too few")));
                };
                let mut chunk = chunk.map_err(|error| io::Error::other(format!("{host} broke off: {error}")))?;
                let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
                let skipped = chunk.split_to(chunk.len().min(index(skip)));
                skip -= skipped.len() as u64;
                chunk.truncate(index(left));
                if !chunk.is_empty() {
                    let left = left - chunk.len() as u64;
                    return Ok(Some((chunk, (chunks, skip, left))));
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    async fn cut_of(skip: u64, length: u64) -> Result<Vec<u8>, String> {
        let chunks = ["", "0123", "456", "789"].map(|chunk| Ok(Bytes::from(chunk)));
        let cut = cut(stream::iter(chunks).boxed(), skip, length, "r");
        let pieces: Vec<Bytes> = cut.try_collect().await.map_err(|error: io::Error| error.to_string())?;
        Ok(pieces.concat())
    }

    #[tokio::test]
    async fn a_range_is_cut_out_of_whatever_chunks_come() {
        let content = b"0123456789";
        for start in 0..10 {
            for length in 1..=10 - start {
                let expected = &content[start..start + length];
                assert_eq!(cut_of(start as u64, length as u64).await.unwrap(), expected);
            }
        }
        assert_eq!(cut_of(4, 7).await.unwrap_err(), "r sent 1 bytes too few");
    }

    #[tokio::test(start_paused = true)]
    async fn who_falls_silent_is_not_waited_for() {
        let chunks = stream::iter([Ok(Bytes::from("0123"))]).chain(stream::pending()).boxed();
        let cut: io::Result<Vec<Bytes>> = cut(chunks, 0, 10, "r").try_collect().await;
        assert_eq!(cut.unwrap_err().to_string(), "r has sent nothing for 60 s");
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_is_waited_for_while_it_goes_on() {
        let (taking, taken) = watch::channel(());
        let slow = async move {
            for _ in 0..5 {
                tokio::time::sleep(TAKE_TIMEOUT - Duration::from_secs(1)).await;
                taking.send_replace(());
            }
            drop(taking);
            tokio::time::sleep(KEEP_TIMEOUT - Duration::from_secs(1)).await;
        };
        assert!(going_on(slow, taken).await.is_ok());
        let stalled = async |taken| going_on(std::future::pending::<()>(), taken).await.unwrap_err();
        let (taking, taken) = watch::channel(());
        let began = Instant::now();
        assert_eq!(stalled(taken).await, "has taken nothing for 300 s");
        assert_eq!(began.elapsed().as_secs(), 300);
        drop(taking);
        let (_, taken) = watch::channel(());
        assert_eq!(stalled(taken).await, "has all of the blob and has not answered for 600 s");
        assert_eq!(began.elapsed().as_secs(), 900);
    }
}
