//! `GET /api/functions/NAME/logs`: what a function has printed, and what it prints, as lines of JSON.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use utoipa::IntoParams;

use super::alias::version_of;
use super::query::Query;
use crate::host::Host;
use crate::http::body::{Body, BoxError};
use crate::http::openapi::parameters::Function as FunctionName;
use crate::http::openapi::refusals::Reading;
use crate::http::openapi::tags;
use crate::http::respond::HttpError;
use crate::invoke::InvokeError;
use crate::logs::{Line, Piece, Reader, Wanted};
use crate::registry::catalog::CatalogError;
use crate::registry::name::VersionName;
use crate::registry::since::Since;

/// How often a log that is followed is looked at: whether there is more, and whether the host stops.
const LOOK: Duration = Duration::from_millis(250);

/// The most lines that are counted from the end.
const MAX_LIMIT: u64 = 100_000;

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what `asked` reads")]
struct LogQuery {
    /// Lines from then on: how long ago, such as `5m`, or a time such as `2026-11-26T14:49:58Z`.
    #[param(nullable = false, example = "5m")]
    since: Option<String>,
    /// Lines of one version, or of the one that an alias points at now. Of one that is not deployed any more, what is left.
    #[param(nullable = false)]
    version: Option<String>,
    /// The last so many of the lines that are there.
    #[param(nullable = false, maximum = 100_000)]
    limit: Option<u64>,
    /// Whether the answer goes on with the lines that come, until the client goes, the function is deleted or the host stops.
    #[param(nullable = false)]
    follow: Option<bool>,
}

/// `GET /api/functions/NAME/logs[?since=][&version=][&limit=][&follow=true]`
#[utoipa::path(
    get,
    path = "/api/functions/{function}/logs",
    tag = tags::MANAGEMENT,
    operation_id = "readLog",
    summary = "What a function prints",
    description = "Lines of JSON, the oldest first: those of this node that are kept, of all versions.",
    params(FunctionName, LogQuery),
    responses(
        (status = 200, description = "An object on each line", body = Line<'_>, content_type = "application/x-ndjson"),
        Reading,
    ),
)]
pub(crate) async fn read<B>(host: &Arc<Host>, name: &str, request: &Request<B>) -> Result<Response<Body>, HttpError> {
    let (mut wanted, follow) = asked(request)?;
    let function = host.catalog.function(name)?;
    let mut unknown = None;
    if let Some(said) = &wanted.version {
        let version = version_of(&function, said)?.to_owned();
        // Whether there is any line of it shows where all are asked for.
        let shows = wanted.since.is_none() && wanted.limit != Some(0);
        unknown = (shows && !function.versions.contains_key(version.as_str())).then(|| CatalogError::UnknownVersion {
            function: function.name().clone(),
            version: version.clone(),
            existing: function.versions.keys().cloned().collect(),
        });
        wanted.version = Some(version);
    }
    let place = if follow { host.admit.follow() } else { host.admit.open_stream() };
    let place = place.map_err(InvokeError::from)?;
    let reader = host.logs.read(name, wanted);
    // What cannot be read has a status of its own, as long as there is no head.
    let unreadable = |error: std::io::Error| HttpError::Internal(format!("a log: {error}"));
    let (mut reader, mut first) = piece(reader).await.map_err(unreadable)?;
    if let Some(unknown) = unknown {
        // Lines outlive their version: what has none was never deployed, or too long ago.
        while first.lines.is_empty() && !first.at_end {
            (reader, first) = piece(reader).await.map_err(unreadable)?;
        }
        if first.lines.is_empty() {
            return Err(unknown.into());
        }
    }
    let following = Following { host: Arc::clone(host), reader: Some(reader), follow, _place: place };
    let lines = stream::unfold((first.lines, following), |(first, mut following)| async {
        let lines = if first.is_empty() { following.next().await.transpose()? } else { Ok(first) };
        Some((lines.map(|lines| Frame::data(Bytes::from(lines))), (Vec::new(), following)))
    });
    let mut response = Response::new(StreamBody::new(lines).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    Ok(response)
}

/// A log that somebody reads.
struct Following<P> {
    host: Arc<Host>,
    /// `None`: it could not be read any more.
    reader: Option<Reader>,
    follow: bool,
    _place: P,
}

impl<P> Following<P> {
    /// The next lines, now or when there are some; none at the end.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, BoxError> {
        while let Some(reader) = self.reader.take() {
            // Before it is looked at: what was written until then is read.
            let is_last = !self.follow || self.host.draining.load(Ordering::Relaxed) || reader.has_ended();
            let (reader, Piece { lines, at_end }) = piece(reader).await?;
            let reader = self.reader.insert(reader);
            if !lines.is_empty() {
                return Ok(Some(lines));
            }
            if !at_end {
                continue;
            }
            if is_last {
                return Ok(None);
            }
            while !reader.has_news() && !self.host.draining.load(Ordering::Relaxed) {
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(None)
    }
}

/// The next lines that are there already, read where it does not matter how long that takes.
async fn piece(mut reader: Reader) -> std::io::Result<(Reader, Piece)> {
    let read = tokio::task::spawn_blocking(move || reader.piece().map(|piece| (reader, piece)));
    read.await.map_err(std::io::Error::other)?
}

/// Which lines, and whether those that come too.
fn asked<B>(request: &Request<B>) -> Result<(Wanted, bool), HttpError> {
    let query = Query::of(request, &["since", "version", "limit", "follow"])?;
    let wrong = |name: &str, why: &dyn std::fmt::Display| HttpError::BadRequest(format!("parameter {name}: {why}"));
    let since = query.get("since").map(|text| text.parse::<Since>().map_err(|error| wrong("since", &error)));
    let version =
        query.get("version").map(|name| name.parse::<VersionName>().map_err(|error| wrong("version", &error)));
    let limit = query.number("limit")?;
    if limit.is_some_and(|limit| limit > MAX_LIMIT) {
        return Err(wrong("limit", &format_args!("at most {MAX_LIMIT}; without it, all lines are read")));
    }
    let wanted = Wanted {
        since: since.transpose()?.map(|since| since.0),
        version: version.transpose()?.map(|version| version.to_string()),
        limit: limit.and_then(|limit| usize::try_from(limit).ok()),
    };
    Ok((wanted, query.flag("follow")?))
}
