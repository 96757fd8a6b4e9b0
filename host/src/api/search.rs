//! `GET /api/search`: versions by what is known of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::query::Query;
use super::scan::scan;
use crate::host::Host;
use crate::http::body::Body;
use crate::http::openapi::refusals::Searching;
use crate::http::openapi::tags;
use crate::http::respond::{self, HttpError};
use crate::registry::catalog::{After, Search, Version, Which};
use crate::registry::name::NameError;
use crate::registry::revision::{FunctionKind, Labels};
use crate::registry::timestamp::Timestamp;

/// Hits in one answer, unless the query says otherwise, and at most.
const PAGE: usize = 50;
const MAX_PAGE: usize = 200;

#[derive(Serialize, ToSchema)]
struct SearchBody<'a> {
    /// First those of functions whose name has one of the words in it, then the others, both by name.
    results: Vec<HitBody<'a>>,
    /// What `after` is for the next page; null: there are no more.
    next: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct HitBody<'a> {
    function: &'a str,
    version: &'a str,
    kind: FunctionKind,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    description: &'a str,
    authors: &'a [String],
    tags: &'a [String],
    license: Option<&'a str>,
    metrics: &'a BTreeMap<String, f64>,
    #[schema(value_type = BTreeMap<String, String>)]
    labels: &'a Labels,
}

/// What is looked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what `asked` reads")]
pub(crate) struct SearchQuery {
    /// Words, "phrases in quotes", `FIELD:text` (`name`, `tag`, `author`, `license`, `kind`, `device`, `model`, `input`, `output`),
    /// `label:KEY`, `label:KEY=text` and comparisons of metrics, all of which must hold; `-` before one turns it round.
    #[param(nullable = false, max_length = 1000, example = "accuracy>0.9")]
    q: Option<String>,
    /// A function is looked at as the version that this alias sends most requests to. Without: `live` or, where a function has
    /// none, its newest version.
    #[param(nullable = false)]
    alias: Option<String>,
    /// Whether every version is looked at and shown by itself.
    #[param(nullable = false)]
    all_versions: Option<bool>,
    /// The most hits, 50 without and at most 200.
    #[param(nullable = false, minimum = 1, maximum = 200)]
    limit: Option<u64>,
    /// Only those behind this one: a function, or FUNCTION@VERSION where all versions are looked at.
    #[param(nullable = false)]
    after: Option<String>,
}

/// `GET /api/search?q=QUERY[&alias=NAME|&all_versions=true][&limit=N][&after=FUNCTION[@VERSION]]`
#[utoipa::path(
    get,
    path = "/api/search",
    tag = tags::MANAGEMENT,
    operation_id = "search",
    summary = "Functions by what is known of them",
    params(SearchQuery),
    responses((status = 200, description = "A page of what was found", body = SearchBody<'_>), Searching),
)]
pub(crate) async fn search(host: &Arc<Host>, request: &Request<Incoming>) -> Result<Response<Body>, HttpError> {
    let search = asked(request)?;
    scan(host, move |catalog| {
        let page = catalog.search(&search);
        let last = page.items.last().filter(|_| page.more);
        let next = last.map(|version| match search.which {
            Which::All => version.label(),
            Which::Live | Which::Alias(_) => version.function.to_string(),
        });
        let results = page.items.iter().map(|version| hit(version)).collect();
        respond::json(StatusCode::OK, &SearchBody { results, next })
    })
    .await
}

fn asked<B>(request: &Request<B>) -> Result<Search, HttpError> {
    let query = Query::of(request, &["q", "alias", "all_versions", "limit", "after"])?;
    let wrong = |name: &str, why: &dyn std::fmt::Display| HttpError::BadRequest(format!("parameter {name}: {why}"));
    let which = match (query.get("alias"), query.flag("all_versions")?) {
        (Some(_), true) => return Err(HttpError::BadRequest("say alias or all_versions, not both".into())),
        (Some(alias), false) => Which::Alias(alias.parse().map_err(|error| wrong("alias", &error))?),
        (None, true) => Which::All,
        (None, false) => Which::Live,
    };
    let after = query.get("after").map(after).transpose().map_err(|error| wrong("after", &error))?;
    let limit = query.limit(MAX_PAGE)?.unwrap_or(PAGE);
    let query = query.get("q").unwrap_or_default().parse().map_err(|error| wrong("q", &error))?;
    Ok(Search { query, which, after, limit })
}

fn after(text: &str) -> Result<After, NameError> {
    let (function, version) = match text.split_once('@') {
        Some((function, version)) => (function, Some(version.parse()?)),
        None => (text, None),
    };
    Ok(After { function: function.parse()?, version })
}

fn hit(version: &Version) -> HitBody<'_> {
    let Version { manifest, record, .. } = version;
    HitBody {
        function: version.function.as_str(),
        version: version.name.as_str(),
        kind: record.kind,
        created_at: record.created_at,
        description: &manifest.description,
        authors: &manifest.authors,
        tags: &manifest.tags,
        license: manifest.license.as_deref(),
        metrics: &manifest.metrics,
        labels: &record.labels,
    }
}
