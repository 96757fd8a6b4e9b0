//! What the statistics extension says of a version, under Triton's names. Clients read every field, so those that nothing is
//! measured for are there too, as 0.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

/// The body of `GET /v2/models/stats` and its like.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Statistics {
    pub model_stats: Vec<ModelStatistics>,
}

/// One version since the host started.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct ModelStatistics {
    pub name: String,
    pub version: String,
    /// When the latest request came, in milliseconds since 1970; 0: there was none.
    pub last_inference: u64,
    pub inference_count: u64,
    pub execution_count: u64,
    pub inference_stats: InferenceStatistics,
    /// For models that answer one request in several parts; there are none.
    pub response_stats: BTreeMap<String, Duration>,
    pub batch_stats: Vec<BatchStatistics>,
    pub memory_usage: Vec<MemoryUsage>,
}

/// How often something happened, and how long that took in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = CountAndTime)]
pub struct Duration {
    pub count: u64,
    pub ns: u64,
}

/// Where the time went.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct InferenceStatistics {
    /// Requests that were answered, from their arrival to their answer.
    pub success: Duration,
    /// Requests that were not.
    pub fail: Duration,
    /// Waiting for a model.
    pub queue: Duration,
    /// Part of `compute_infer`.
    pub compute_input: Duration,
    /// Running models.
    pub compute_infer: Duration,
    /// Part of `compute_infer`.
    pub compute_output: Duration,
    /// There is no cache of answers.
    pub cache_hit: Duration,
    pub cache_miss: Duration,
}

/// Runs with one number of rows.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct BatchStatistics {
    pub batch_size: u64,
    pub compute_input: Duration,
    pub compute_infer: Duration,
    pub compute_output: Duration,
}

/// What the version's models take of a device's memory, while they are loaded.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct MemoryUsage {
    /// `CPU` or `GPU`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub id: i64,
    pub byte_size: u64,
}
