//! `GET /api/functions`: all of them, or page by page.

use std::sync::Arc;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use utoipa::{IntoParams, ToSchema};

use super::query::Query;
use super::scan::scan;
use crate::host::Host;
use crate::http::body::Body;
use crate::http::openapi::refusals::Searching;
use crate::http::openapi::tags;
use crate::http::respond::{self, HttpError};
use crate::registry::catalog::Function;
use crate::registry::name::{AliasName, VersionName};
use crate::registry::revision::{FunctionKind, Weights};

/// The most functions on a page; all of them are one answer, too.
const MAX_PAGE: usize = 1000;

#[derive(Serialize, ToSchema)]
struct ListBody<'a> {
    #[schema(value_type = Vec<Summary<'_>>)]
    functions: Vec<&'a RawValue>,
    /// What `after` is for the next page; absent: there are no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next: Option<&'a str>,
}

#[derive(Serialize, ToSchema)]
struct Summary<'a> {
    name: &'a str,
    /// Of the newest version.
    kind: FunctionKind,
    #[schema(value_type = BTreeMap<String, u32>)]
    live: &'a Weights,
    versions: Vec<&'a str>,
    description: &'a str,
    tags: &'a [String],
}

/// Which part of the list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what is read")]
pub(crate) struct ListQuery {
    /// The most functions, at most 1000; all of them without.
    #[param(nullable = false, minimum = 1, maximum = 1000)]
    limit: Option<u64>,
    /// Only those behind this name.
    #[param(nullable = false)]
    after: Option<String>,
}

/// `GET /api/functions[?limit=N][&after=NAME]`
#[utoipa::path(
    get,
    path = "/api/functions",
    tag = tags::MANAGEMENT,
    operation_id = "listFunctions",
    summary = "All functions, by name",
    params(ListQuery),
    responses((status = 200, description = "An entry for each function", body = ListBody<'_>), Searching),
)]
pub(crate) async fn list(host: &Arc<Host>, request: &Request<Incoming>) -> Result<Response<Body>, HttpError> {
    let query = Query::of(request, &["limit", "after"])?;
    let (limit, after) = (query.limit(MAX_PAGE)?, query.get("after").map(str::to_owned));
    scan(host, move |catalog| {
        let page = catalog.page(after.as_deref(), limit);
        let last = page.items.last().map(|function| function.name().as_str());
        let functions = page.items.iter().filter_map(|function| function.listed(entry)).collect();
        respond::json(StatusCode::OK, &ListBody { functions, next: last.filter(|_| page.more) })
    })
    .await
}

/// Of a function without `live`.
static NOWHERE: Weights = Weights::new();

fn entry(function: &Function) -> Option<Box<RawValue>> {
    let newest = function.versions.values().last()?;
    let summary = Summary {
        name: function.name().as_str(),
        kind: newest.record.kind,
        live: function.revision.aliases.get(AliasName::LIVE).unwrap_or(&NOWHERE),
        versions: function.versions.keys().map(VersionName::as_str).collect(),
        description: &newest.manifest.description,
        tags: &newest.manifest.tags,
    };
    Some(to_raw_value(&summary).expect("names and texts can be written"))
}
