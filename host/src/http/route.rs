//! What a method and a path mean.

use std::borrow::Cow;

use http::Method;
use percent_encoding::percent_decode_str;

use crate::invoke::Target;

/// Everything the server answers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `GET /v2/health/live`, `/healthz`
    Live,
    /// `GET /v2/health/ready`, `/readyz`
    Ready,
    /// `GET /v2`
    ServerMetadata,
    /// `GET /v2/models`
    ModelList,
    /// `GET /v2/models/M[/versions/V]`
    ModelMetadata(Target),
    /// `GET /v2/models/M[/versions/V]/ready`
    ModelReady(Target),
    /// `GET /v2/models/M[/versions/V]/config`
    ModelConfig(Target),
    /// `GET /v2/models[/M[/versions/V]]/stats`
    ModelStatistics(Option<Target>),
    /// `POST /v2/repository/index`
    RepositoryIndex,
    /// `POST /v2/repository/models/M/load`
    RepositoryLoad(String),
    /// `POST /v2/repository/models/M/unload`
    RepositoryUnload(String),
    /// `POST /v2/models/M[/versions/V]/infer`
    Infer(Target),
    /// `POST /v2/models/M[/versions/V]/explain`
    Explain(Target),
    /// `GET /`
    Alive,
    /// `GET /v1/models`
    V1List,
    /// `GET /v1/models/M[/versions/V]`
    V1Ready(Target),
    /// `POST /v1/models/M[/versions/V]:predict`
    V1Predict(Target),
    /// `POST /v1/models/M[/versions/V]:explain`
    V1Explain(Target),
    /// `/functions/NAME[@VERSION]/...`: any method; the function sees `path`.
    Function { target: Target, path: String },
    /// `POST /api/functions`
    Deploy,
    /// `GET /api/functions`
    ListFunctions,
    /// `GET /api/functions/NAME`
    ShowFunction(String),
    /// `DELETE /api/functions/NAME`
    DeleteFunction(String),
    /// `DELETE /api/functions/NAME/versions/V`
    DeleteVersion(String, String),
    /// `PATCH /api/functions/NAME/versions/V/labels`
    SetLabels(String, String),
    /// `GET /api/search`
    Search,
    /// `PUT /api/functions/NAME/aliases/ALIAS`
    SetTraffic(String, String),
    /// `DELETE /api/functions/NAME/aliases/ALIAS`
    DeleteAlias(String, String),
    /// `PUT /api/functions/NAME/aliases/ALIAS/rollout`
    BeginRollout(String, String),
    /// `DELETE /api/functions/NAME/aliases/ALIAS/rollout`
    EndRollout(String, String),
    /// `POST /api/functions/NAME/rollback`
    Rollback(String),
    /// `POST /api/functions/NAME/revisions/N/restore`
    Restore(String, String),
    /// `GET /api/functions/NAME/revisions`
    History(String),
    /// `GET /api/functions/NAME/diff`
    Diff(String),
    /// `GET /api/functions/NAME/logs`
    ReadLog(String),
    /// `GET /api/functions/NAME/versions/V/bundle`
    Bundle(String, String),
    /// `POST /api/blobs/missing`
    MissingBlobs,
    /// `PUT /api/blobs/SHA256`
    PutBlob(String),
    /// `GET /api/status`
    Status,
    /// `GET /api/openapi.json`
    OpenApi,
    /// `GET /api/docs`
    Docs,
    /// `GET /metrics`
    Metrics,
}

impl Route {
    /// Whether it changes what is deployed, where requests go, or what is in memory.
    pub fn changes(&self) -> bool {
        matches!(
            self,
            Self::Deploy
                | Self::MissingBlobs
                | Self::PutBlob(_)
                | Self::DeleteFunction(_)
                | Self::DeleteVersion(..)
                | Self::SetLabels(..)
                | Self::SetTraffic(..)
                | Self::DeleteAlias(..)
                | Self::BeginRollout(..)
                | Self::EndRollout(..)
                | Self::Rollback(_)
                | Self::Restore(..)
                | Self::RepositoryLoad(_)
                | Self::RepositoryUnload(_)
        )
    }
}

/// Why a request means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    #[error("there is nothing at this path")]
    NotFound,
    #[error("this path takes {0} only")]
    MethodNotAllowed(&'static str),
}

/// The longest path there is has so many.
const MAX_SEGMENTS: usize = 6;

/// Finds the route of a request.
pub fn route(method: &Method, path: &str) -> Result<Route, RouteError> {
    // By far the most, and found without taking the path apart.
    if let Some(model) = path.strip_prefix("/v2/models/").and_then(|rest| rest.strip_suffix("/infer"))
        && !model.contains(['/', '%'])
    {
        return post(method, Route::Infer(Target { function: model.into(), version: None }));
    }
    if let Some(rest) = path.strip_prefix("/functions/") {
        return function(rest);
    }
    let mut decoded: [Cow<'_, str>; MAX_SEGMENTS] = Default::default();
    let mut count = 0;
    for segment in path.trim_start_matches('/').trim_end_matches('/').split('/') {
        *decoded.get_mut(count).ok_or(RouteError::NotFound)? = decode(segment).ok_or(RouteError::NotFound)?;
        count += 1;
    }
    let segments = decoded.each_ref().map(|segment| &**segment);
    match &segments[..count] {
        ["v2"] => get(method, Route::ServerMetadata),
        ["v2", "health", "live"] | ["healthz"] => get(method, Route::Live),
        ["v2", "health", "ready"] | ["readyz"] => get(method, Route::Ready),
        ["v2", "models"] => get(method, Route::ModelList),
        // As elsewhere, a model of this name has its metadata under its versions alone.
        ["v2", "models", "stats"] => get(method, Route::ModelStatistics(None)),
        ["v2", "repository", "index"] => post(method, Route::RepositoryIndex),
        ["v2", "repository", "models", model, "load"] => post(method, Route::RepositoryLoad((*model).into())),
        ["v2", "repository", "models", model, "unload"] => post(method, Route::RepositoryUnload((*model).into())),
        ["v2", "models", model, "versions", version, rest @ ..] => {
            let target = Target { function: (*model).into(), version: Some((*version).into()) };
            model_route(method, target, rest)
        }
        ["v2", "models", model, rest @ ..] => {
            model_route(method, Target { function: (*model).into(), version: None }, rest)
        }
        [""] => get(method, Route::Alive),
        ["v1", "models"] => get(method, Route::V1List),
        ["v1", "models", model] => v1_route(method, model, |model| Target { function: model.into(), version: None }),
        ["v1", "models", model, "versions", version] => {
            v1_route(method, version, |version| Target { function: (*model).into(), version: Some(version.into()) })
        }
        ["api", "status"] => get(method, Route::Status),
        ["api", "openapi.json"] => get(method, Route::OpenApi),
        ["api", "docs"] => get(method, Route::Docs),
        ["metrics"] => get(method, Route::Metrics),
        ["api", "functions"] => match *method {
            Method::GET | Method::HEAD => Ok(Route::ListFunctions),
            Method::POST => Ok(Route::Deploy),
            _ => Err(RouteError::MethodNotAllowed("GET, HEAD, POST")),
        },
        ["api", "functions", name] => match *method {
            Method::GET | Method::HEAD => Ok(Route::ShowFunction((*name).into())),
            Method::DELETE => Ok(Route::DeleteFunction((*name).into())),
            _ => Err(RouteError::MethodNotAllowed("GET, HEAD, DELETE")),
        },
        ["api", "functions", name, "logs"] => get(method, Route::ReadLog((*name).into())),
        ["api", "functions", name, "versions", version] => match *method {
            Method::DELETE => Ok(Route::DeleteVersion((*name).into(), (*version).into())),
            _ => Err(RouteError::MethodNotAllowed("DELETE")),
        },
        ["api", "functions", name, "versions", version, "labels"] => match *method {
            Method::PATCH => Ok(Route::SetLabels((*name).into(), (*version).into())),
            _ => Err(RouteError::MethodNotAllowed("PATCH")),
        },
        ["api", "search"] => get(method, Route::Search),
        ["api", "functions", name, "versions", version, "bundle"] => {
            get(method, Route::Bundle((*name).into(), (*version).into()))
        }
        ["api", "blobs", "missing"] => post(method, Route::MissingBlobs),
        ["api", "blobs", sha256] => match *method {
            Method::PUT => Ok(Route::PutBlob((*sha256).into())),
            _ => Err(RouteError::MethodNotAllowed("PUT")),
        },
        ["api", "functions", name, "aliases", alias] => match *method {
            Method::PUT => Ok(Route::SetTraffic((*name).into(), (*alias).into())),
            Method::DELETE => Ok(Route::DeleteAlias((*name).into(), (*alias).into())),
            _ => Err(RouteError::MethodNotAllowed("PUT, DELETE")),
        },
        ["api", "functions", name, "aliases", alias, "rollout"] => match *method {
            Method::PUT => Ok(Route::BeginRollout((*name).into(), (*alias).into())),
            Method::DELETE => Ok(Route::EndRollout((*name).into(), (*alias).into())),
            _ => Err(RouteError::MethodNotAllowed("PUT, DELETE")),
        },
        ["api", "functions", name, "rollback"] => post(method, Route::Rollback((*name).into())),
        ["api", "functions", name, "revisions"] => get(method, Route::History((*name).into())),
        ["api", "functions", name, "revisions", revision, "restore"] => {
            post(method, Route::Restore((*name).into(), (*revision).into()))
        }
        ["api", "functions", name, "diff"] => get(method, Route::Diff((*name).into())),
        _ => Err(RouteError::NotFound),
    }
}

fn model_route(method: &Method, target: Target, rest: &[&str]) -> Result<Route, RouteError> {
    match rest {
        [] => get(method, Route::ModelMetadata(target)),
        ["ready"] => get(method, Route::ModelReady(target)),
        ["config"] => get(method, Route::ModelConfig(target)),
        ["stats"] => get(method, Route::ModelStatistics(Some(target))),
        ["infer"] => post(method, Route::Infer(target)),
        ["explain"] => post(method, Route::Explain(target)),
        _ => Err(RouteError::NotFound),
    }
}

/// `NAME`, `NAME:predict`, `NAME:explain`
fn v1_route(method: &Method, last: &str, target: impl Fn(&str) -> Target) -> Result<Route, RouteError> {
    match last.split_once(':') {
        None => get(method, Route::V1Ready(target(last))),
        Some((name, "predict")) => post(method, Route::V1Predict(target(name))),
        Some((name, "explain")) => post(method, Route::V1Explain(target(name))),
        Some(_) => Err(RouteError::NotFound),
    }
}

/// `NAME[@VERSION][/path]`. The path is handed on as it came: how it is encoded is the function's business.
fn function(rest: &str) -> Result<Route, RouteError> {
    let (name, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, "/"),
    };
    let name = decode(name).filter(|name| !name.is_empty()).ok_or(RouteError::NotFound)?;
    let target = match name.split_once('@') {
        Some((function, version)) => Target { function: function.into(), version: Some(version.into()) },
        None => Target { function: name.into(), version: None },
    };
    Ok(Route::Function { target, path: path.to_owned() })
}

fn get(method: &Method, route: Route) -> Result<Route, RouteError> {
    match *method {
        Method::GET | Method::HEAD => Ok(route),
        _ => Err(RouteError::MethodNotAllowed("GET, HEAD")),
    }
}

fn post(method: &Method, route: Route) -> Result<Route, RouteError> {
    if method == Method::POST { Ok(route) } else { Err(RouteError::MethodNotAllowed("POST")) }
}

fn decode(segment: &str) -> Option<Cow<'_, str>> {
    if !segment.contains('%') {
        return Some(Cow::Borrowed(segment));
    }
    percent_decode_str(segment).decode_utf8().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(function: &str, version: Option<&str>) -> Target {
        Target { function: function.into(), version: version.map(Into::into) }
    }

    #[test]
    fn models_are_found_with_and_without_version() {
        let infer = route(&Method::POST, "/v2/models/digits/infer");
        assert_eq!(infer, Ok(Route::Infer(target("digits", None))));
        let infer = route(&Method::POST, "/v2/models/digits/versions/1.0.0/infer");
        assert_eq!(infer, Ok(Route::Infer(target("digits", Some("1.0.0")))));
        assert_eq!(route(&Method::GET, "/v2/models/a%2Fb/ready"), Ok(Route::ModelReady(target("a/b", None))));
    }

    #[test]
    fn functions_see_the_path_after_their_name() {
        let expected = |path: &str| Ok(Route::Function { target: target("hello", None), path: path.into() });
        assert_eq!(route(&Method::PUT, "/functions/hello"), expected("/"));
        assert_eq!(route(&Method::GET, "/functions/hello/a%20b//c/"), expected("/a%20b//c/"));
        let versioned = Route::Function { target: target("hello", Some("2")), path: "/x".into() };
        assert_eq!(route(&Method::GET, "/functions/hello@2/x"), Ok(versioned));
    }

    #[test]
    fn the_first_protocol_has_its_verbs_behind_a_colon() {
        assert_eq!(route(&Method::GET, "/v1/models/m"), Ok(Route::V1Ready(target("m", None))));
        assert_eq!(route(&Method::POST, "/v1/models/m:predict"), Ok(Route::V1Predict(target("m", None))));
        let versioned = Ok(Route::V1Explain(target("m", Some("1.0"))));
        assert_eq!(route(&Method::POST, "/v1/models/m/versions/1.0:explain"), versioned);
        assert_eq!(route(&Method::GET, "/v1/models/m:predict"), Err(RouteError::MethodNotAllowed("POST")));
    }

    #[test]
    fn wrong_methods_are_told_from_wrong_paths() {
        assert_eq!(route(&Method::GET, "/v2/models/m/infer"), Err(RouteError::MethodNotAllowed("POST")));
        assert_eq!(route(&Method::PATCH, "/api/functions"), Err(RouteError::MethodNotAllowed("GET, HEAD, POST")));
        for path in
            ["/v3", "/v1/models/m:classify", "/v2/repository", "/v2/models/m/versions/1/x", "/functions/", "/%ff"]
        {
            assert_eq!(route(&Method::GET, path), Err(RouteError::NotFound), "{path}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_path_is_answered(path in ".*") {
            let _ = route(&Method::GET, &path);
        }
    }
}
