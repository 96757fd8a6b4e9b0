//! The model repository extension: what there is, and what a request to load a model carries.

use indexmap::IndexMap;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ProtocolError;

/// One version of a model in the index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ModelIndex {
    pub name: String,
    pub version: String,
    pub state: State,
    /// Why it is not ready; else empty.
    pub reason: String,
}

/// Whether a version answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schema(as = RepositoryState)]
pub enum State {
    Ready,
    Unavailable,
}

/// The body of `GET /v2/models`, which is KServe's.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ModelList {
    pub models: Vec<String>,
}

/// The body of `POST /v2/repository/index`. Keys that are not known are skipped.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub struct IndexRequest {
    /// Whether only those that are ready are wanted; null is as good as nothing, here and below.
    pub ready: Option<bool>,
}

/// The body of `POST /v2/repository/models/M/load` and `…/unload`.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub struct ChangeRequest {
    /// Only their names are of interest.
    #[schema(value_type = Option<std::collections::BTreeMap<String, serde_json::Value>>)]
    pub parameters: Option<IndexMap<String, IgnoredAny>>,
}

/// Reads a body, which may be empty or `null`.
pub fn parse<'b, T: Deserialize<'b> + Default>(body: &'b [u8]) -> Result<T, ProtocolError> {
    match body.trim_ascii() {
        b"" | b"null" => Ok(T::default()),
        // serde would take a list as well, for the fields in their order.
        [b'[', ..] => Err(ProtocolError::Unreadable("it must be an object".into())),
        body => serde_json::from_slice(body).map_err(|error| ProtocolError::Unreadable(error.to_string())),
    }
}
