//! `/api/functions`: deploy, show, delete.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::directions::Directions;
use super::query::{NOTE, Query};
use crate::deploy::{self, Deployed};
use crate::follow;
use crate::host::Host;
use crate::http::body::{self, Body};
use crate::http::openapi::parameters::{Function as FunctionName, Note as NoteQuery};
use crate::http::openapi::refusals::{Deleting, Deploying, Lookup};
use crate::http::openapi::{Octets, tags};
use crate::http::respond::{self, HttpError};
use crate::http::small;
use crate::invoke::InvokeError;
use crate::registry::catalog::{Published, Version};
use crate::registry::manifest::{Instances, Limits, MAX_MANIFEST_BYTES, Model, Network};
use crate::registry::name::AliasName;
use crate::registry::note::Note;
use crate::registry::revision::{FunctionKind, Labels, VersionRecord};
use crate::registry::timestamp::Timestamp;
use crate::registry::units;
use crate::tensor::{Signature, TensorSpec};

pub(super) type Weights = BTreeMap<String, BTreeMap<String, u32>>;

#[derive(Serialize, ToSchema)]
struct DeployedBody<'a> {
    function: &'a str,
    version: &'a str,
    digest: String,
    kind: FunctionKind,
    revision: u64,
    #[schema(value_type = BTreeMap<String, BTreeMap<String, u32>>)]
    aliases: Weights,
    size_bytes: u64,
}

#[derive(Serialize, ToSchema)]
struct FunctionBody<'a> {
    name: &'a str,
    revision: u64,
    #[serde(flatten)]
    directions: Directions,
    versions: Vec<VersionBody<'a>>,
}

#[derive(Serialize, ToSchema)]
struct VersionBody<'a> {
    version: &'a str,
    digest: String,
    kind: FunctionKind,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    size_bytes: u64,
    description: &'a str,
    authors: &'a [String],
    tags: &'a [String],
    license: Option<&'a str>,
    signature: Option<&'a Signature>,
    models: Vec<ModelBody<'a>>,
    metrics: &'a BTreeMap<String, f64>,
    #[schema(value_type = BTreeMap<String, String>)]
    labels: &'a Labels,
    limits: LimitsBody,
    instances: InstancesBody,
    network: &'a Network,
}

#[derive(Serialize, ToSchema)]
struct ModelBody<'a> {
    name: &'a str,
    size_bytes: u64,
    sha256: String,
    device: String,
    inputs: &'a [TensorSpec],
    outputs: &'a [TensorSpec],
}

#[derive(Serialize, ToSchema)]
struct LimitsBody {
    memory: String,
    timeout: String,
    concurrency: u32,
}

#[derive(Serialize, ToSchema)]
struct InstancesBody {
    reuse: u32,
    min_warm: u32,
    max_warm: u32,
    idle_timeout: String,
    concurrent: u32,
}

#[derive(Serialize, ToSchema)]
struct DeletedBody<'a> {
    deleted: &'a str,
}

/// What a deploy's query may say.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what `alias` reads")]
struct DeployQuery {
    /// The alias that is pointed at the version, in place of `live`.
    #[param(nullable = false)]
    alias: Option<String>,
    /// Whether no alias is moved, so that the version is called by its name alone.
    #[param(nullable = false)]
    no_traffic: Option<bool>,
}

/// `POST /api/functions[?alias=NAME][&no_traffic=true]`: 201 for new content, 200 for content that was there.
#[utoipa::path(
    post,
    path = "/api/functions",
    tag = tags::MANAGEMENT,
    operation_id = "deploy",
    summary = "Deploys a bundle",
    description = "Its name and version are in it; `nocti build` makes one. It may be of any size. A client that has sent all its \
                   blobs to `/api/blobs` sends the manifest alone; where the host lacks one, the answer is 409 and names it.",
    params(DeployQuery, NoteQuery),
    request_body(
        content((inline(Octets) = "application/octet-stream"), (serde_json::Value = "application/vnd.nocti.manifest+json")),
        description = "The bundle: one .wasm file, or its manifest in canonical form",
    ),
    responses(
        (status = 201, description = "It is deployed", body = DeployedBody<'_>),
        (status = 200, description = "It was there already, with the same content", body = DeployedBody<'_>),
        Deploying,
    ),
)]
pub(crate) async fn deploy(host: &Arc<Host>, mut request: Request<Incoming>) -> Result<Response<Body>, HttpError> {
    let terms = terms(&request);
    let (alias, note) = body::refused(&mut request, terms).await?;
    let deployed = if is_manifest(&request) {
        let (manifest, _arrived) = small::bytes(host, request, MAX_MANIFEST_BYTES as u64).await?;
        deploy::deploy_manifest(host, &manifest, alias, note).await?
    } else {
        // It may take long, and a part of it is in memory meanwhile.
        let place = host.admit.bundle().map_err(InvokeError::from);
        let _place = body::refused(&mut request, place).await?;
        let mut bundle = request.into_body();
        match deploy::deploy(host, &mut bundle, alias, note).await {
            Ok(deployed) => deployed,
            Err(error) => {
                // Most mistakes show before the upload's end.
                body::linger(&mut bundle).await;
                return Err(error.into());
            }
        }
    };
    let Deployed { manifest, function, changed, size_bytes } = &deployed;
    let record = function.revision.versions.get(manifest.version.as_str());
    let record = record.ok_or_else(|| HttpError::Internal("the version is gone right after its deploy".into()))?;
    let body = DeployedBody {
        function: manifest.name.as_str(),
        version: manifest.version.as_str(),
        digest: record.digest.to_string(),
        kind: record.kind,
        revision: function.revision.revision,
        aliases: weights(&function.revision.aliases),
        size_bytes: *size_bytes,
    };
    let status = if *changed { StatusCode::CREATED } else { StatusCode::OK };
    Ok(respond::json(status, &body))
}

/// A manifest's media type: a deploy that has nothing else in it.
pub(crate) const MANIFEST_TYPE: &str = "application/vnd.nocti.manifest+json";

fn is_manifest(request: &Request<Incoming>) -> bool {
    let media_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    media_type.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case(MANIFEST_TYPE))
}

/// `GET /api/functions/NAME`
#[utoipa::path(
    get,
    path = "/api/functions/{function}",
    tag = tags::MANAGEMENT,
    operation_id = "showFunction",
    summary = "A function with its versions",
    params(FunctionName),
    responses((status = 200, description = "All that is known of it", body = FunctionBody<'_>), Lookup),
)]
pub(crate) fn show(host: &Host, name: &str) -> Result<Response<Body>, HttpError> {
    let function = host.catalog.function(name)?;
    let body = FunctionBody {
        name,
        revision: function.revision.revision,
        directions: Directions::of(host, &function),
        versions: function.versions.values().map(|version| version_body(version)).collect(),
    };
    Ok(respond::json(StatusCode::OK, &body))
}

/// `DELETE /api/functions/NAME`
#[utoipa::path(
    delete,
    path = "/api/functions/{function}",
    tag = tags::MANAGEMENT,
    operation_id = "deleteFunction",
    summary = "Deletes a function with all its versions",
    params(("function" = String, Path, description = "A function's name"), NoteQuery),
    responses((status = 200, description = "It is gone", body = DeletedBody<'_>), Deleting),
)]
pub(crate) async fn delete(
    host: &Arc<Host>,
    name: String,
    request: &Request<Incoming>,
) -> Result<Response<Body>, HttpError> {
    let (host, note) = (Arc::clone(host), Query::of(request, &NOTE)?.note()?);
    to_the_end(async move {
        let Published { function, .. } = host.catalog.delete_function(&name, note).await?;
        follow::settle(&host, function.name());
        Ok(deleted(&name))
    })
    .await
}

/// `DELETE /api/functions/NAME/versions/V`
#[utoipa::path(
    delete,
    path = "/api/functions/{function}/versions/{version}",
    tag = tags::MANAGEMENT,
    operation_id = "deleteVersion",
    summary = "Deletes a version",
    description = "One that an alias sends requests to, or copies of them, is refused.",
    params(
        ("function" = String, Path, description = "A function's name"),
        ("version" = String, Path, description = "A version's name"),
        NoteQuery,
    ),
    responses((status = 200, description = "It is gone", body = DeletedBody<'_>), Deleting),
)]
pub(crate) async fn delete_version(
    host: &Arc<Host>,
    name: String,
    version: String,
    request: &Request<Incoming>,
) -> Result<Response<Body>, HttpError> {
    let (host, note) = (Arc::clone(host), Query::of(request, &NOTE)?.note()?);
    to_the_end(async move {
        let Published { function, .. } = host.catalog.delete_version(&name, &version, note).await?;
        follow::settle(&host, function.name());
        // The last one takes the function along.
        let is_gone = function.versions.is_empty();
        Ok(deleted(&if is_gone { name } else { format!("{name}@{version}") }))
    })
    .await
}

/// A change that was begun is finished, whether its caller waits or not: what is deleted must not stay in memory.
pub(super) async fn to_the_end<F>(change: F) -> Result<Response<Body>, HttpError>
where
    F: Future<Output = Result<Response<Body>, HttpError>> + Send + 'static,
{
    let outcome = tokio::spawn(change).await;
    outcome.unwrap_or_else(|error| Err(HttpError::Internal(format!("a change was interrupted: {error}"))))
}

fn deleted(what: &str) -> Response<Body> {
    tracing::info!(function = what, "deleted");
    respond::json(StatusCode::OK, &DeletedBody { deleted: what })
}

/// Which alias a deploy moves, `live` unless the query says otherwise, and what is said of it.
fn terms(request: &Request<Incoming>) -> Result<(Option<AliasName>, Note), HttpError> {
    let [by, message, revision] = NOTE;
    let query = Query::of(request, &["alias", "no_traffic", by, message, revision])?;
    let named = |name: &str| name.parse().map_err(|error| HttpError::BadRequest(format!("parameter alias: {error}")));
    let alias = query.get("alias").map_or_else(|| Ok(AliasName::live()), named)?;
    let no_traffic = query.flag("no_traffic")?;
    Ok((Some(alias).filter(|_| !no_traffic), query.note()?))
}

fn version_body(version: &Version) -> VersionBody<'_> {
    let manifest = &version.manifest;
    let Limits { memory, timeout, concurrency } = manifest.limits;
    let Instances { reuse, min_warm, max_warm, idle_timeout, concurrent } = manifest.instances;
    VersionBody {
        version: version.name.as_str(),
        digest: version.digest.to_string(),
        kind: version.record.kind,
        created_at: version.record.created_at,
        size_bytes: manifest.size_bytes(),
        description: &manifest.description,
        authors: &manifest.authors,
        tags: &manifest.tags,
        license: manifest.license.as_deref(),
        signature: version.record.signature.as_ref(),
        models: manifest.models.iter().map(|model| model_body(model, &version.record)).collect(),
        metrics: &manifest.metrics,
        labels: &version.record.labels,
        limits: LimitsBody {
            memory: units::format_size(memory),
            timeout: units::format_duration(timeout),
            concurrency,
        },
        instances: InstancesBody {
            reuse,
            min_warm,
            max_warm,
            idle_timeout: units::format_duration(idle_timeout),
            concurrent,
        },
        network: &manifest.network,
    }
}

fn model_body<'a>(model: &'a Model, record: &'a VersionRecord) -> ModelBody<'a> {
    let found = record.models.iter().find(|found| found.name == model.name).map(|found| &found.signature);
    ModelBody {
        name: model.name.as_str(),
        size_bytes: model.blob.size,
        sha256: model.blob.sha256.to_string(),
        device: model.options.device.to_string(),
        inputs: found.map_or(&[], |signature| &signature.inputs),
        outputs: found.map_or(&[], |signature| &signature.outputs),
    }
}

pub(super) fn weights<A: ToString, V: ToString>(aliases: &BTreeMap<A, BTreeMap<V, u32>>) -> Weights {
    let inner =
        |weights: &BTreeMap<V, u32>| weights.iter().map(|(version, &weight)| (version.to_string(), weight)).collect();
    aliases.iter().map(|(alias, weights)| (alias.to_string(), inner(weights))).collect()
}
