//! `/api/functions/NAME/aliases/ALIAS/rollout`: an alias' requests go to a version step by step, as long as it does well.

use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use serde::Deserialize;
use utoipa::ToSchema;

use super::alias::alias_name;
use super::query::{NOTE, Query, note};
use super::traffic::{TrafficBody, change};
use crate::host::Host;
use crate::http::body::Body;
use crate::http::openapi::parameters::{Alias, Note as NoteQuery};
use crate::http::openapi::refusals::{Deleting, Rolling};
use crate::http::openapi::tags;
use crate::http::respond::HttpError;
use crate::http::small;
use crate::invoke;
use crate::registry::catalog::CatalogError;
use crate::registry::name::AliasName;
use crate::registry::revision::Plan;
use crate::registry::timestamp::Timestamp;
use crate::registry::units;

/// How an alias' requests are to go to a version.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RolloutRequest {
    /// The version that is to get them.
    #[schema(example = "1.1.0")]
    version: String,
    /// Percents of the requests: rising, the last one 100.
    #[schema(example = json!([5, 25, 100]))]
    steps: Vec<u32>,
    /// How long a step takes at least, such as `5m`.
    #[schema(example = "5m")]
    every: String,
    /// The share of failures that is allowed whatever other versions do, 0.01 without.
    #[schema(minimum = 0, maximum = 1, example = 0.01)]
    max_error_rate: Option<f64>,
    /// How many times the other versions' p99 its own may be; without, times are not looked at.
    #[schema(minimum = 1, example = 1.5)]
    max_p99: Option<f64>,
    /// So many requests the version must have answered in a step, 20 without.
    #[schema(minimum = 1, example = 20)]
    min_requests: Option<u64>,
    /// Who makes the change: one line of at most 100 characters.
    by: Option<String>,
    /// Why: one line of at most 1000 characters.
    message: Option<String>,
    /// The revision that the function must be at; at any other one the change is refused.
    revision: Option<u64>,
}

const MAX_ERROR_RATE: f64 = 0.01;
const MIN_REQUESTS: u64 = 20;

/// `PUT /api/functions/NAME/aliases/ALIAS/rollout`
#[utoipa::path(
    put,
    path = "/api/functions/{function}/aliases/{alias}/rollout",
    tag = tags::MANAGEMENT,
    operation_id = "beginRollout",
    summary = "Moves an alias' requests to a version step by step",
    description = "The first step is taken now, when the version is in memory; the next ones when the version has done well for \
                   long enough. If it does worse than the others and than is allowed, requests go back where they went. Every step is \
                   a revision. Whatever else points the alias elsewhere ends it.",
    params(Alias),
    request_body = RolloutRequest,
    responses((status = 200, description = "The first step is taken", body = TrafficBody<'_>), Rolling),
)]
pub(crate) async fn begin(
    host: &Arc<Host>,
    name: String,
    alias: &str,
    request: Request<Incoming>,
) -> Result<Response<Body>, HttpError> {
    let (asked, _arrived): (RolloutRequest, _) = small::read_alone(host, request).await?;
    let plan = asked.plan()?;
    let RolloutRequest { version, by, message, revision, .. } = asked;
    let (alias, note) = (alias_name(alias)?, note(by, message, revision)?);
    ready(host, &name, &alias, &version, &plan).await?;
    let (catalog, function) = (host.catalog.clone(), name.clone());
    change(host, name, async move { catalog.begin_rollout(&function, alias, (version, plan), note).await }).await
}

/// `DELETE /api/functions/NAME/aliases/ALIAS/rollout`
#[utoipa::path(
    delete,
    path = "/api/functions/{function}/aliases/{alias}/rollout",
    tag = tags::MANAGEMENT,
    operation_id = "endRollout",
    summary = "Ends a rollout: requests go where they went before it began",
    description = "One that has ended already is a conflict: 409, `no_rollout`.",
    params(Alias, NoteQuery),
    responses((status = 200, description = "Requests go where they went", body = TrafficBody<'_>), Deleting),
)]
pub(crate) async fn end(
    host: &Arc<Host>,
    name: String,
    alias: &str,
    request: &Request<Incoming>,
) -> Result<Response<Body>, HttpError> {
    let (alias, note) = (alias_name(alias)?, Query::of(request, &NOTE)?.note()?);
    let (catalog, function) = (host.catalog.clone(), name.clone());
    change(host, name, async move { catalog.end_rollout(&function, alias, note).await }).await
}

impl RolloutRequest {
    fn plan(&self) -> Result<Plan, HttpError> {
        let bad = |what: &str, why: String| HttpError::BadRequest(format!("{what}: {why}"));
        let every = units::parse_duration(&self.every).map_err(|error| bad("every", error.to_string()))?;
        let rate = self.max_error_rate.unwrap_or(MAX_ERROR_RATE);
        let max_error_ppm = whole(rate * 1e6);
        let max_error_ppm =
            max_error_ppm.ok_or_else(|| bad("max_error_rate", format!("{rate} is not a share of 0 to 1")))?;
        let permille = |times: f64| {
            whole(times * 1e3).ok_or_else(|| bad("max_p99", format!("{times} is not a number of times from 1 on")))
        };
        Ok(Plan {
            steps: self.steps.clone(),
            every_ms: u64::try_from(every.as_millis()).unwrap_or(u64::MAX),
            min_requests: self.min_requests.unwrap_or(MIN_REQUESTS),
            max_error_ppm,
            max_p99_permille: self.max_p99.map(permille).transpose()?,
        })
    }
}

/// The nearest whole number, if there is one.
fn whole(number: f64) -> Option<u32> {
    format!("{number:.0}").parse().ok()
}

/// Sees that it can be done, and has the version in memory: one that cannot begin to serve gets no request, and a cold start is not held
/// against it.
async fn ready(host: &Host, name: &str, alias: &AliasName, version: &str, plan: &Plan) -> Result<(), HttpError> {
    let function = host.catalog.function(name)?;
    function.revision.with_rollout(alias, version, plan, Timestamp::now()).map_err(CatalogError::from)?;
    if let Some(version) = function.versions.get(version) {
        invoke::prepare(host, version).await?;
    }
    Ok(())
}
