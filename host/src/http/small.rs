//! Small bodies: a few words of JSON that say what is wanted.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use super::body::{self, BodyError};
use super::encoding;
use super::respond::HttpError;
use crate::admit::Arrived;
use crate::host::Host;
use crate::invoke::InvokeError;
use crate::protocol::oip_repository;
use crate::registry::excerpt::excerpt;

/// The most of a body: what is large comes with a deploy or in tensors.
const MAX_BODY_BYTES: u64 = 64 << 10;

/// How long a client may take to send it.
const BODY_WITHIN: Duration = Duration::from_secs(30);

/// What the body says, which may be absent, and the leave to be in the host.
pub(crate) async fn read<T: DeserializeOwned + Default>(
    host: &Host,
    request: Request<Incoming>,
) -> Result<(T, Arrived), HttpError> {
    let (bytes, arrived) = bytes(host, request, MAX_BODY_BYTES).await?;
    Ok((oip_repository::parse(&bytes)?, arrived))
}

/// The same where all has to be said there: what a query says would not be heard, and who says it is to know.
pub(crate) async fn read_alone<T: DeserializeOwned + Default>(
    host: &Host,
    mut request: Request<Incoming>,
) -> Result<(T, Arrived), HttpError> {
    let none = without_query(&request);
    body::refused(&mut request, none).await?;
    read(host, request).await
}

fn without_query<B>(request: &Request<B>) -> Result<(), HttpError> {
    let query = request.uri().query().unwrap_or_default();
    match form_urlencoded::parse(query.as_bytes()).next() {
        None => Ok(()),
        Some((name, _)) => {
            let name = excerpt(&name);
            Err(HttpError::BadRequest(format!("there are no parameters here, such as '{name}'; say it in the body")))
        }
    }
}

/// The body as it is, at most so many bytes, and the leave to be in the host.
pub(crate) async fn bytes(
    host: &Host,
    mut request: Request<Incoming>,
    limit_bytes: u64,
) -> Result<(Bytes, Arrived), HttpError> {
    let limit_bytes = host.config.body_bytes.min(limit_bytes);
    let begun = encoding::of_request(request.headers())
        .and_then(|encoding| Ok((host.admit.arrive().map_err(InvokeError::from)?, encoding)));
    let (arrived, encoding) = body::refused(&mut request, begun).await?;
    let read = async {
        let bytes = body::collect(request, limit_bytes, 0).await?;
        encoding::decoded(arrived, bytes, encoding, limit_bytes, 0).await
    };
    let read = tokio::time::timeout(BODY_WITHIN, read).await;
    let read = read.unwrap_or_else(|_| Err(BodyError::Late { seconds: BODY_WITHIN.as_secs() }.into()));
    let (arrived, bytes) = read.map_err(|error| match error {
        HttpError::Body(BodyError::TooLarge { limit_bytes }) => BodyError::TooLargeHere { limit_bytes }.into(),
        other => other,
    })?;
    Ok((bytes, arrived))
}
