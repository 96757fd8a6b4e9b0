//! `GET /api/openapi.json`: what the server answers to, as an OpenAPI 3.1 document. Each operation is described where it is handled,
//! each body where it is declared; here they are put together, once.

use std::sync::LazyLock;

use bytes::Bytes;
use http::{Response, StatusCode};
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::{ObjectBuilder, PathItem, Paths, Required, Type};
use utoipa::{OpenApi, ToSchema};

use super::body::Body;
use super::respond::{self, ErrorBody};
#[cfg(test)]
use super::route::Route;

pub(crate) mod examples;
pub(crate) mod parameters;
pub(crate) mod refusals;
pub(crate) mod tags;

/// Lists, for every route there is, the handlers that describe it. One that is left out does not compile in tests.
macro_rules! described {
    ($($route:ident: $($($part:ident)::+),+;)+) => {
        #[derive(OpenApi)]
        #[openapi(paths($($($($part)::+),+),+), components(schemas(ErrorBody<'_>)), info(
            title = "Nocti",
            description = "A host for serverless WebAssembly model functions. Every error but those of http functions is an \
                           `ErrorBody`; any path may answer 405 to another method, naming in `Allow` those it takes.",
        ))]
        struct Described;

        /// The names of all routes.
        #[cfg(test)]
        const ROUTES: &[&str] = &[$(stringify!($route)),+];

        /// A route's name.
        #[cfg(test)]
        fn name(route: &Route) -> &'static str {
            match route {
                $(Route::$route { .. } => stringify!($route),)+
            }
        }
    };
}

use super::{docs, health, infer, metrics, model, plain, raw, repository, v1};
use crate::api::{blobs, bundle, functions, history, labels, list, logs, rollout, search, status, traffic};

described! {
    ServerMetadata: health::server_metadata;
    Live: health::live;
    Ready: health::ready;
    ModelList: model::list;
    ModelMetadata: model::metadata;
    ModelReady: model::ready;
    Infer: infer::infer;
    Explain: infer::explain;
    ModelConfig: model::config;
    ModelStatistics: model::statistics, model::all_statistics;
    RepositoryIndex: repository::index;
    RepositoryLoad: repository::load;
    RepositoryUnload: repository::unload;
    Alive: v1::alive;
    V1List: v1::list;
    V1Ready: v1::ready;
    V1Predict: v1::predict;
    V1Explain: v1::explain;
    Function: raw::call, plain::ask;
    ListFunctions: list::list;
    Search: search::search;
    Deploy: functions::deploy;
    ShowFunction: functions::show;
    DeleteFunction: functions::delete;
    DeleteVersion: functions::delete_version;
    SetLabels: labels::set;
    SetTraffic: traffic::set;
    DeleteAlias: traffic::delete_alias;
    BeginRollout: rollout::begin;
    EndRollout: rollout::end;
    Rollback: traffic::rollback;
    Restore: traffic::restore;
    History: history::list;
    Diff: history::diff;
    ReadLog: logs::read;
    Bundle: bundle::download;
    MissingBlobs: blobs::missing;
    PutBlob: blobs::put;
    Status: status::status;
    OpenApi: self::document;
    Docs: docs::page;
    Metrics: metrics::metrics;
}

/// A body of any bytes.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "it describes what handlers read and write, and is never made")]
pub(crate) struct Octets(String);

/// Other paths of the same operation.
const ALSO: [(&str, &str); 2] = [("/healthz", "/v2/health/live"), ("/readyz", "/v2/health/ready")];

/// What is asked of a function can be asked of one of its versions: `/versions/V` behind its name, wherever these begin.
const VERSIONED: [&str; 2] = ["/v2/models/{model}", "/v1/models/{model}"];

static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| {
    let document =
        serde_json::to_vec(&described()).expect("a document has string keys and nothing that fails to serialise");
    Bytes::from(document)
});

/// `GET /api/openapi.json`
#[utoipa::path(
    get,
    path = "/api/openapi.json",
    tag = tags::OPERATION,
    operation_id = "openapi",
    summary = "This document",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)),
)]
pub(super) fn document() -> Response<Body> {
    respond::json_bytes(StatusCode::OK, DOCUMENT.clone())
}

fn described() -> utoipa::openapi::OpenApi {
    let mut document = Described::openapi();
    let mut paths = Paths::new();
    for (path, item) in document.paths.paths {
        let also = ALSO.iter().find(|(_, same)| *same == path);
        let also = also.map(|(also, _)| ((*also).to_owned(), renamed(item.clone(), also.trim_start_matches('/'))));
        let versioned = VERSIONED.iter().find_map(|begin| Some((begin, path.strip_prefix(begin)?)));
        let versioned =
            versioned.map(|(begin, rest)| (format!("{begin}/versions/{{version}}{rest}"), of_version(item.clone())));
        paths.paths.insert(path, item);
        paths.paths.extend(also.into_iter().chain(versioned));
    }
    document.paths = paths;
    document
}

fn renamed(mut item: PathItem, id: &str) -> PathItem {
    for operation in operations(&mut item) {
        operation.operation_id = Some(id.to_owned());
        operation.tags = Some(vec![tags::OPERATION.to_owned()]);
    }
    item
}

/// The same asked of a version.
fn of_version(mut item: PathItem) -> PathItem {
    let version = ParameterBuilder::new()
        .name("version")
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some("A version's name, or an alias"))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .example(Some("1.0.0".into()))
        .build();
    for operation in operations(&mut item) {
        operation.operation_id = operation.operation_id.take().map(|id| format!("{id}OfVersion"));
        operation.parameters.get_or_insert_default().insert(1, version.clone());
    }
    item
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.delete].into_iter().filter_map(Option::as_mut)
}

#[cfg(test)]
mod tests;
