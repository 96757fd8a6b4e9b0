//! `/api/functions/NAME/aliases`, `…/rollback`, `…/revisions/N/restore`: where requests go.

use std::sync::Arc;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::alias::alias_name;
use super::directions::Directions;
use super::functions::to_the_end;
use super::once::Once;
use super::query::{NOTE, Query, note};
use crate::host::Host;
use crate::http::body::Body;
use crate::http::openapi::parameters::{Alias, Function as FunctionName, Note as NoteQuery};
use crate::http::openapi::refusals::{Deleting, Directing};
use crate::http::openapi::tags;
use crate::http::respond::{self, HttpError};
use crate::http::small;
use crate::registry::catalog::{CatalogError, Published};
use crate::registry::revision::Shadowing;

/// Where an alias is to send requests.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrafficRequest {
    /// How much each version gets: its weight by the sum of all, whatever that is.
    #[schema(value_type = BTreeMap<String, u32>, example = json!({"1.0.0": 90, "1.1.0": 10}))]
    #[serde(default)]
    weights: Once<String, u32>,
    /// A version that gets copies of the alias' requests. Its answers are compared with those that callers get, and counted.
    /// Without one, nothing is copied any more.
    shadow: Option<ShadowRequest>,
    /// Who makes the change: one line of at most 100 characters.
    by: Option<String>,
    /// Why: one line of at most 1000 characters.
    message: Option<String>,
    /// The revision that the function must be at; at any other one the change is refused.
    revision: Option<u64>,
}

/// Which version gets copies.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ShadowRequest {
    #[schema(example = "1.1.0")]
    version: String,
    /// How many of a hundred requests are copied; all of them without.
    #[schema(minimum = 1, maximum = 100)]
    percent: Option<u32>,
}

/// What is said of a change.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoteRequest {
    /// Who makes the change: one line of at most 100 characters.
    by: Option<String>,
    /// Why: one line of at most 1000 characters.
    message: Option<String>,
    /// The revision that the function must be at; at any other one the change is refused.
    revision: Option<u64>,
}

/// Where requests go now.
#[derive(Serialize, ToSchema)]
pub(super) struct TrafficBody<'a> {
    function: &'a str,
    revision: u64,
    #[serde(flatten)]
    directions: Directions,
    /// Whether they went elsewhere before.
    changed: bool,
}

/// `PUT /api/functions/NAME/aliases/ALIAS`
#[utoipa::path(
    put,
    path = "/api/functions/{function}/aliases/{alias}",
    tag = tags::MANAGEMENT,
    operation_id = "setTraffic",
    summary = "Points an alias at versions, by weight",
    description = "One that is not there is made. From the next request on it is so; those that were begun stay where they are. A shadow or \
                   a rollout of the alias that is not asked for again ends with it.",
    params(Alias),
    request_body = TrafficRequest,
    responses((status = 200, description = "Requests go there", body = TrafficBody<'_>), Directing),
)]
pub(crate) async fn set(
    host: &Arc<Host>,
    name: String,
    alias: &str,
    request: Request<Incoming>,
) -> Result<Response<Body>, HttpError> {
    let (TrafficRequest { weights, shadow, by, message, revision }, _arrived) =
        small::read_alone(host, request).await?;
    let (alias, note) = (alias_name(alias)?, note(by, message, revision)?);
    let shadow =
        shadow.map(|ShadowRequest { version, percent }| Shadowing { version, percent: percent.unwrap_or(100) });
    let (catalog, function) = (host.catalog.clone(), name.clone());
    change(host, name, async move { catalog.set_traffic(&function, alias, weights.0, shadow, note).await }).await
}

/// `DELETE /api/functions/NAME/aliases/ALIAS`
#[utoipa::path(
    delete,
    path = "/api/functions/{function}/aliases/{alias}",
    tag = tags::MANAGEMENT,
    operation_id = "deleteAlias",
    summary = "Deletes an alias",
    description = "`live` stays, since requests without a version go there.",
    params(Alias, NoteQuery),
    responses((status = 200, description = "It is gone", body = TrafficBody<'_>), Deleting),
)]
pub(crate) async fn delete_alias(
    host: &Arc<Host>,
    name: String,
    alias: &str,
    request: &Request<Incoming>,
) -> Result<Response<Body>, HttpError> {
    let (alias, note) = (alias_name(alias)?, Query::of(request, &NOTE)?.note()?);
    let (catalog, function) = (host.catalog.clone(), name.clone());
    change(host, name, async move { catalog.delete_alias(&function, alias, note).await }).await
}

/// `POST /api/functions/NAME/rollback`
#[utoipa::path(
    post,
    path = "/api/functions/{function}/rollback",
    tag = tags::MANAGEMENT,
    operation_id = "rollback",
    summary = "Points all aliases where they were before their last change",
    description = "A deploy that moved an alias is such a change, and a rollout with all its steps is one. Another rollback goes back one change further. What is \
                   deployed stays.",
    params(FunctionName),
    request_body(content = Option<NoteRequest>, description = "May be absent"),
    responses((status = 200, description = "Requests go where they went", body = TrafficBody<'_>), Directing),
)]
pub(crate) async fn rollback(
    host: &Arc<Host>,
    name: String,
    request: Request<Incoming>,
) -> Result<Response<Body>, HttpError> {
    let (NoteRequest { by, message, revision }, _arrived) = small::read_alone(host, request).await?;
    let note = note(by, message, revision)?;
    let (catalog, function) = (host.catalog.clone(), name.clone());
    change(host, name, async move { catalog.rollback(&function, note).await }).await
}

/// `POST /api/functions/NAME/revisions/N/restore`
#[utoipa::path(
    post,
    path = "/api/functions/{function}/revisions/{revision}/restore",
    tag = tags::MANAGEMENT,
    operation_id = "restoreRevision",
    summary = "Points all aliases where they were at a revision",
    description = "What is deployed stays. A version that is not deployed any more cannot get requests again: 409.",
    params(
        ("function" = String, Path, description = "A function's name", example = "digits"),
        ("revision" = u64, Path, description = "A revision's number", example = 1),
    ),
    request_body(content = Option<NoteRequest>, description = "May be absent"),
    responses((status = 200, description = "Requests go where they went", body = TrafficBody<'_>), Directing),
)]
pub(crate) async fn restore(
    host: &Arc<Host>,
    name: String,
    number: &str,
    request: Request<Incoming>,
) -> Result<Response<Body>, HttpError> {
    let (NoteRequest { by, message, revision }, _arrived) = small::read_alone(host, request).await?;
    let note = note(by, message, revision)?;
    let wrong = |_| HttpError::BadRequest("a revision is a number, such as 7".into());
    let number = number.parse().map_err(wrong)?;
    let (catalog, function) = (host.catalog.clone(), name.clone());
    change(host, name, async move { catalog.restore(&function, number, note).await }).await
}

/// Makes a change to the end, and then keeps warm what gets requests from now on.
pub(super) async fn change<F>(host: &Arc<Host>, name: String, change: F) -> Result<Response<Body>, HttpError>
where
    F: Future<Output = Result<Published, CatalogError>> + Send + 'static,
{
    let host = Arc::clone(host);
    to_the_end(async move {
        let Published { function, changed } = change.await?;
        host.lifecycle.keep_warm(&host.catalog, &name);
        let revision = function.revision.revision;
        tracing::info!(function = name, revision, changed, "traffic");
        let directions = Directions::of(&host, &function);
        Ok(respond::json(StatusCode::OK, &TrafficBody { function: &name, revision, directions, changed }))
    })
    .await
}
