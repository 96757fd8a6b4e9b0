//! `/api/functions/NAME/versions/V/labels`: what people put on a version after its deploy.

use std::sync::Arc;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::functions::to_the_end;
use super::once::Once;
use super::query::{NOTE, Query};
use crate::host::Host;
use crate::http::body::{self, Body};
use crate::http::openapi::parameters::Note as NoteQuery;
use crate::http::openapi::refusals::Directing;
use crate::http::openapi::tags;
use crate::http::respond::{self, HttpError};
use crate::http::small;
use crate::registry::catalog::Published;
use crate::registry::name::{LabelKey, LabelValue};
use crate::registry::revision::Labels;

/// The labels that a version has now.
#[derive(Serialize, ToSchema)]
struct LabelsBody<'a> {
    function: &'a str,
    version: &'a str,
    revision: u64,
    #[schema(value_type = BTreeMap<String, String>)]
    labels: &'a Labels,
    /// Whether they were others before.
    changed: bool,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it describes what is read")]
pub(crate) struct OfVersion {
    /// A function's name.
    #[param(example = "digits")]
    function: String,
    /// A version's name.
    #[param(example = "1.0.0")]
    version: String,
}

/// `PATCH /api/functions/NAME/versions/V/labels`
#[utoipa::path(
    patch,
    path = "/api/functions/{function}/versions/{version}/labels",
    tag = tags::MANAGEMENT,
    operation_id = "setLabels",
    summary = "Puts labels on a version and takes others off",
    description = "A JSON merge patch: null takes a label off, and those that are not named stay. The version's content and digest stay \
                   what they are. A label's name is 1 to 63 of A-Z, a-z, 0-9, `.`, `_`, `/` and `-`, its value a line of at most 256 \
                   characters; a version has at most 64.",
    params(OfVersion, NoteQuery),
    request_body(content = BTreeMap<String, Option<String>>, example = json!({"team": "vision", "old": null})),
    responses((status = 200, description = "It has these labels", body = LabelsBody<'_>), Directing),
)]
pub(crate) async fn set(
    host: &Arc<Host>,
    name: String,
    version: String,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, HttpError> {
    let note = Query::of(&request, &NOTE).and_then(|query| query.note());
    let note = body::refused(&mut request, note).await?;
    let (labels, _arrived) = small::read::<Option<Once<LabelKey, Option<LabelValue>>>>(host, request).await?;
    let wanted = || HttpError::BadRequest("say which labels: {\"team\": \"vision\", \"old\": null}".into());
    let Once(labels) = labels.ok_or_else(wanted)?;
    let catalog = host.catalog.clone();
    to_the_end(async move {
        let Published { function, changed } = catalog.set_labels(&name, &version, labels, note).await?;
        let revision = function.revision.revision;
        tracing::info!(function = %format_args!("{name}@{version}"), revision, changed, "labels");
        let none = Labels::new();
        let labels = function.revision.versions.get(version.as_str()).map_or(&none, |record| &record.labels);
        let body = LabelsBody { function: &name, version: &version, revision, labels, changed };
        Ok(respond::json(StatusCode::OK, &body))
    })
    .await
}
