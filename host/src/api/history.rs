//! `/api/functions/NAME/revisions` and `…/diff`: what was, and what differs.

use std::borrow::Cow;
use std::collections::BTreeMap;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::alias::version_of;
use super::directions::{ShadowBody, shadows};
use super::functions::{Weights, weights};
use super::query::Query;
use crate::elsewhere::elsewhere;
use crate::host::Host;
use crate::http::body::Body;
use crate::http::openapi::parameters::Function as FunctionName;
use crate::http::openapi::refusals::Past as Refusals;
use crate::http::openapi::tags;
use crate::http::respond::{self, HttpError};
use crate::invoke::InvokeError;
use crate::registry::catalog::{Past, Side};
use crate::registry::diff::{Difference, differences};
use crate::registry::revision::Action;
use crate::registry::timestamp::Timestamp;

/// Revisions in one answer, unless the query says otherwise, and at most.
const PAGE: usize = 50;
const MAX_PAGE: usize = 200;

#[derive(Serialize, ToSchema)]
struct HistoryBody<'a> {
    function: &'a str,
    /// Newest first.
    revisions: Vec<RevisionBody>,
    /// What `before` is for the next page; null: there are no older ones.
    next: Option<u64>,
}

#[derive(Serialize, ToSchema)]
struct RevisionBody {
    revision: u64,
    #[schema(value_type = Option<String>, format = DateTime)]
    created_at: Option<Timestamp>,
    /// `deploy`, `traffic`, `delete_alias`, `rollback`, `restore`, `rollout`, `rollout_step`, `rollout_back`, `delete_version`, `delete_function`,
    /// `labels`, or what a later release calls its own; null where the revision cannot be read.
    action: Option<Cow<'static, str>>,
    /// Which version was deployed or deleted, or requests went to step by step.
    version: Option<String>,
    /// Which alias was changed.
    alias: Option<String>,
    /// Which revision was gone back to.
    to: Option<u64>,
    by: Option<String>,
    message: Option<String>,
    /// Where requests went from then on.
    #[schema(value_type = BTreeMap<String, BTreeMap<String, u32>>)]
    aliases: Weights,
    /// Which versions got copies of them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    shadows: BTreeMap<String, ShadowBody>,
    /// Why the revision cannot be read.
    damaged: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct DiffBody<'a> {
    function: &'a str,
    /// A version, for an alias the one that it points at, or `revision:N`.
    from: String,
    to: String,
    differences: Vec<DifferenceBody>,
}

/// A side on which it is not has no `from` or `to`.
#[derive(Serialize, ToSchema)]
struct DifferenceBody {
    /// Where it is: names, the outermost first.
    path: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<Value>,
}

/// Which part of the history.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what is read")]
pub(crate) struct PageQuery {
    /// The most revisions, 50 without and at most 200.
    #[param(nullable = false, minimum = 1, maximum = 200)]
    limit: Option<u64>,
    /// Only those older than this revision.
    #[param(nullable = false)]
    before: Option<u64>,
}

/// What is compared.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what is read")]
pub(crate) struct DiffQuery {
    /// A version, an alias that points at one alone, or `revision:N`.
    #[param(example = "1.0.0")]
    from: String,
    /// Another one.
    #[param(example = "1.0.0")]
    to: String,
}

/// `GET /api/functions/NAME/revisions[?limit=N][&before=N]`
#[utoipa::path(
    get,
    path = "/api/functions/{function}/revisions",
    tag = tags::MANAGEMENT,
    operation_id = "listRevisions",
    summary = "A function's history, newest first",
    description = "Every change is a revision. That of a function that was deleted is there still.",
    params(FunctionName, PageQuery),
    responses((status = 200, description = "A page of it", body = HistoryBody<'_>), Refusals),
)]
pub(crate) async fn list(host: &Host, name: &str, request: &Request<Incoming>) -> Result<Response<Body>, HttpError> {
    let query = Query::of(request, &["limit", "before"])?;
    let limit = query.limit(MAX_PAGE)?.unwrap_or(PAGE);
    let _arrived = host.admit.arrive().map_err(InvokeError::from)?;
    let history = host.catalog.history(name, query.number("before")?, limit).await?;
    let oldest = history.revisions.last().map(|past| past.revision);
    let next = oldest.filter(|_| history.more);
    let revisions = history.revisions.into_iter().map(RevisionBody::from).collect();
    Ok(respond::json(StatusCode::OK, &HistoryBody { function: name, revisions, next }))
}

/// `GET /api/functions/NAME/diff?from=A&to=B`
#[utoipa::path(
    get,
    path = "/api/functions/{function}/diff",
    tag = tags::MANAGEMENT,
    operation_id = "diff",
    summary = "What differs between two versions or two revisions",
    description = "Of versions: manifest, signatures, digests of models and assets. Of revisions: aliases, and what was deployed.",
    params(FunctionName, DiffQuery),
    responses((status = 200, description = "All differences", body = DiffBody<'_>), Refusals),
)]
pub(crate) async fn diff(host: &Host, name: &str, request: &Request<Incoming>) -> Result<Response<Body>, HttpError> {
    let query = Query::of(request, &["from", "to"])?;
    let (Some(from), Some(to)) = (query.get("from"), query.get("to")) else {
        return Err(HttpError::BadRequest("say what to compare: ?from=A&to=B".into()));
    };
    let sides = (side(from)?, side(to)?);
    if matches!(sides, (Side::Version(_), Side::Revision(_)) | (Side::Revision(_), Side::Version(_))) {
        return Err(HttpError::BadRequest("two versions or two revisions can be compared, not one of each".into()));
    }
    let arrived = host.admit.arrive().map_err(InvokeError::from)?;
    let (from, to) = (pointed_at(host, name, sides.0)?, pointed_at(host, name, sides.1)?);
    let (from_side, to_side) = host.catalog.sides(name, &from, &to).await?;
    let (from, to) = (text(from), text(to));
    let work = move || {
        let differences = differences(&from_side, &to_side);
        (differences.into_iter().map(DifferenceBody::from).collect(), arrived)
    };
    let (differences, _arrived) = elsewhere(true, work).await.map_err(InvokeError::from)?;
    Ok(respond::json(StatusCode::OK, &DiffBody { function: name, from, to, differences }))
}

fn side(text: &str) -> Result<Side, HttpError> {
    match text.strip_prefix("revision:") {
        None => Ok(Side::Version(text.to_owned())),
        Some(number) => number
            .parse()
            .map(Side::Revision)
            .map_err(|_| HttpError::BadRequest("a revision is a number, such as revision:7".into())),
    }
}

/// An alias is what it points at.
fn pointed_at(host: &Host, function: &str, side: Side) -> Result<Side, HttpError> {
    match side {
        Side::Version(name) => {
            let function = host.catalog.function(function)?;
            Ok(Side::Version(version_of(&function, &name)?.to_owned()))
        }
        Side::Revision(number) => Ok(Side::Revision(number)),
    }
}

fn text(side: Side) -> String {
    match side {
        Side::Version(name) => name,
        Side::Revision(number) => format!("revision:{number}"),
    }
}

impl From<Difference> for DifferenceBody {
    fn from(Difference { path, from, to }: Difference) -> Self {
        Self { path, from, to }
    }
}

impl From<Past> for RevisionBody {
    fn from(Past { revision, told }: Past) -> Self {
        let nothing = Self {
            revision,
            created_at: None,
            action: None,
            version: None,
            alias: None,
            to: None,
            by: None,
            message: None,
            aliases: Weights::new(),
            shadows: BTreeMap::new(),
            damaged: None,
        };
        let told = match told {
            Ok(told) => told,
            Err(why) => return Self { damaged: Some(why), ..nothing },
        };
        let (action, version, alias, to): (Cow<'static, str>, _, _, _) = match told.action {
            Action::Create => ("create".into(), None, None, None),
            Action::Deploy { version, alias } => ("deploy".into(), Some(version), alias, None),
            Action::DeleteVersion { version } => ("delete_version".into(), Some(version), None, None),
            Action::DeleteFunction => ("delete_function".into(), None, None, None),
            Action::Traffic { alias } => ("traffic".into(), None, Some(alias), None),
            Action::DeleteAlias { alias } => ("delete_alias".into(), None, Some(alias), None),
            Action::Rollback { to } => ("rollback".into(), None, None, Some(to)),
            Action::Restore { to } => ("restore".into(), None, None, Some(to)),
            Action::Labels { version } => ("labels".into(), Some(version), None, None),
            Action::Unknown { kind } => (kind.into(), None, None, None),
            Action::Rollout { alias, version } => ("rollout".into(), Some(version), Some(alias), None),
            Action::RolloutStep { alias, version, .. } => ("rollout_step".into(), Some(version), Some(alias), None),
            Action::RolloutBack { alias, version, to } => ("rollout_back".into(), Some(version), Some(alias), Some(to)),
        };
        Self {
            created_at: Some(told.created_at),
            action: Some(action),
            version: version.map(String::from),
            alias: alias.map(String::from),
            to,
            by: told.by,
            message: told.message,
            aliases: weights(&told.aliases),
            shadows: shadows(&told.shadows),
            ..nothing
        }
    }
}
