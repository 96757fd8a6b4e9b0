//! `/api/blobs`: what a deploy is made of, sent bit by bit, and only what the host lacks.

use std::sync::Arc;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::query::Query;
use crate::compression::Encoding;
use crate::host::Host;
use crate::http::body::{self, Body, BodyError};
use crate::http::encoding;
use crate::http::openapi::refusals::{Missing, Uploading};
use crate::http::openapi::{Octets, tags};
use crate::http::respond::{self, HttpError};
use crate::http::small;
use crate::invoke::InvokeError;
use crate::registry::digest::{Blob, Digest};
use crate::registry::spool::Upload;

/// The most blobs in one question; their digests fit into a small body.
const MAX_BLOBS: usize = 500;

/// A blob by its content.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BlobBody {
    #[schema(value_type = String, pattern = "^[0-9a-f]{64}$", example = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")]
    sha256: Digest,
    #[schema(example = 0)]
    size_bytes: u64,
}

/// Which blobs are asked for.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MissingRequest {
    #[serde(default)]
    #[schema(min_items = 1, max_items = 500)]
    blobs: Vec<BlobBody>,
}

#[derive(Serialize, ToSchema)]
struct MissingBody {
    missing: Vec<MissingBlob>,
}

/// A blob that the host lacks.
#[derive(Serialize, ToSchema)]
struct MissingBlob {
    #[schema(value_type = String)]
    sha256: Digest,
    size_bytes: u64,
    /// How many of its bytes have come in an upload that broke off: where the next one begins.
    offset: u64,
}

/// What is sent.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what is read")]
struct UploadQuery {
    /// Bytes of the whole blob.
    size_bytes: u64,
    /// The byte of the blob that the body begins with, 0 without; anything else only where an upload broke off there.
    #[param(nullable = false)]
    offset: Option<u64>,
}

/// `POST /api/blobs/missing`
#[utoipa::path(
    post,
    path = "/api/blobs/missing",
    tag = tags::MANAGEMENT,
    operation_id = "missingBlobs",
    summary = "Which blobs the host lacks",
    description = "Those that it does not name stay for as long as a deploy takes (`blobs.grace`).",
    request_body = MissingRequest,
    responses((status = 200, description = "Those that it lacks", body = MissingBody), Missing),
)]
pub(crate) async fn missing(host: &Host, request: Request<Incoming>) -> Result<Response<Body>, HttpError> {
    let (MissingRequest { blobs }, _arrived) = small::read_alone(host, request).await?;
    if !(1..=MAX_BLOBS).contains(&blobs.len()) {
        return Err(HttpError::BadRequest(format!("'blobs' must name 1 to {MAX_BLOBS} blobs, not {}", blobs.len())));
    }
    // At most what the API's description says of whole numbers: int64.
    if let Some(wrong) = blobs.iter().find(|asked| i64::try_from(asked.size_bytes).is_err()) {
        return Err(HttpError::BadRequest(format!("'size_bytes' of blob {} is too large", wrong.sha256)));
    }
    let blobs = blobs.iter().map(|asked| Blob { size: asked.size_bytes, sha256: asked.sha256 }).collect();
    let mut missing = Vec::new();
    for blob in host.lifecycle.parts.store.lacks(blobs).await? {
        let offset = host.spool.offset(blob).await;
        missing.push(MissingBlob { sha256: blob.sha256, size_bytes: blob.size, offset });
    }
    Ok(respond::json(StatusCode::OK, &MissingBody { missing }))
}

/// `PUT /api/blobs/SHA256?size_bytes=N[&offset=N]`
#[utoipa::path(
    put,
    path = "/api/blobs/{sha256}",
    tag = tags::MANAGEMENT,
    operation_id = "putBlob",
    summary = "Sends a blob, or the rest of one",
    description = "The body may be compressed; `offset` counts bytes of the blob. What has come of it when the body ends is kept for a while (`uploads.max_age`). Where the answer is an error, `offset` in \
                   it is the byte that the next upload begins with.",
    params(("sha256" = String, Path, description = "The blob's sha256: 64 hexadecimal digits in lower case"), UploadQuery),
    request_body(content = inline(Octets), content_type = "application/octet-stream", description = "Its bytes from `offset` on"),
    responses(
        (status = 201, description = "The blob is complete", body = BlobBody),
        (status = 200, description = "It was there already", body = BlobBody),
        Uploading,
    ),
)]
pub(crate) async fn put(
    host: &Arc<Host>,
    sha256: &str,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, HttpError> {
    let (asked, encoding) = (asked(sha256, &request), encoding::of_request(request.headers()));
    let begun = async {
        let ((blob, offset), encoding) = (asked?, encoding?);
        // What takes long has places of its own.
        let place = host.admit.open_stream().map_err(InvokeError::from)?;
        let store = &host.lifecycle.parts.store;
        let upload = match store.lacks(vec![blob]).await?.pop() {
            Some(lacking) => Some(host.spool.begin(lacking, offset).await?),
            None => None,
        };
        Ok::<_, HttpError>((blob, upload, encoding, place))
    };
    let begun = begun.await;
    let (blob, upload, encoding, _place) = body::refused(&mut request, begun).await?;
    let mut body = request.into_body();
    let Some(upload) = upload else {
        body::linger(&mut body).await;
        return Ok(respond::json(StatusCode::OK, &BlobBody::from(blob)));
    };
    let received = match encoding {
        None => receive(host, upload, &mut body).await,
        Some(encoding) => receive_packed(host, upload, encoding, &mut body).await,
    };
    if let Err(error) = received {
        body::linger(&mut body).await;
        return Err(error);
    }
    tracing::debug!(sha256, size_bytes = blob.size, "blob received");
    Ok(respond::json(StatusCode::CREATED, &BlobBody::from(blob)))
}

/// Takes what comes. Whatever ends it, that is kept.
async fn receive(host: &Host, mut upload: Upload, body: &mut Incoming) -> Result<(), HttpError> {
    while let Some(frame) = body::next(body).await? {
        let frame = frame.map_err(|error| BodyError::Broken(error.into()))?;
        if let Ok(bytes) = frame.into_data() {
            upload.write(bytes).await?;
        }
    }
    Ok(upload.finish(&host.lifecycle.parts.store).await?)
}

/// The same of a compressed body: its blob is what it was before.
async fn receive_packed(
    host: &Host,
    mut upload: Upload,
    encoding: Encoding,
    body: &mut Incoming,
) -> Result<(), HttpError> {
    /// Of so few not much can come.
    const PIECE_BYTES: usize = 4 << 10;
    let corrupt = |reason| BodyError::Corrupt { encoding: encoding.name(), reason };
    let mut inflater = encoding.inflater();
    while let Some(frame) = body::next(body).await? {
        let frame = frame.map_err(|error| BodyError::Broken(error.into()))?;
        let Ok(bytes) = frame.into_data() else { continue };
        for piece in bytes.chunks(PIECE_BYTES) {
            upload.write(inflater.push(piece).map_err(corrupt)?.into()).await?;
        }
    }
    upload.write(inflater.finish().map_err(corrupt)?.into()).await?;
    Ok(upload.finish(&host.lifecycle.parts.store).await?)
}

fn asked<B>(sha256: &str, request: &Request<B>) -> Result<(Blob, u64), HttpError> {
    let sha256 = sha256.parse().map_err(|error| HttpError::BadRequest(format!("{error}")))?;
    let query = Query::of(request, &["size_bytes", "offset"])?;
    let size = query.number("size_bytes")?;
    let size = size.ok_or_else(|| HttpError::BadRequest("say how long the whole blob is: ?size_bytes=N".into()))?;
    Ok((Blob { size, sha256 }, query.number("offset")?.unwrap_or(0)))
}

impl From<Blob> for BlobBody {
    fn from(blob: Blob) -> Self {
        Self { sha256: blob.sha256, size_bytes: blob.size }
    }
}
