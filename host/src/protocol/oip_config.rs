//! A model's configuration in Triton's form, as its model configuration extension has it: what a client that sizes its requests
//! by it has to know, and nothing that has no meaning here.

use serde::Serialize;
use utoipa::ToSchema;

use super::oip_metadata::Platform;
use crate::tensor::{Datatype, Signature, TensorSpec};

/// The body of `GET /v2/models/M/config`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ModelConfig {
    pub name: String,
    pub platform: Platform,
    pub backend: &'static str,
    pub version_policy: VersionPolicy,
    /// The most rows of a run that requests share. Above 0, the first dimension is left out of `dims`.
    pub max_batch_size: u32,
    pub input: Vec<TensorConfig>,
    pub output: Vec<TensorConfig>,
    pub instance_group: Vec<InstanceGroup>,
    /// Absent where requests share no runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dynamic_batching: Option<DynamicBatching>,
    pub model_transaction_policy: TransactionPolicy,
}

/// Every version can be asked for.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct VersionPolicy {
    all: Nothing,
}

#[derive(Debug, Clone, Default, Serialize, ToSchema)]
struct Nothing {}

/// One input or output.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TensorConfig {
    pub name: String,
    pub data_type: &'static str,
    pub dims: Vec<i64>,
}

/// Where one of the version's models runs.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct InstanceGroup {
    /// The model's name.
    pub name: String,
    pub kind: InstanceKind,
    /// Runs that can go on at once.
    pub count: u32,
    /// The GPU, if it is one.
    pub gpus: Vec<i32>,
}

/// A kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum InstanceKind {
    /// What there is, which is known once it is loaded.
    KindAuto,
    KindGpu,
    KindCpu,
}

/// How requests come to share runs.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct DynamicBatching {
    pub preferred_batch_size: Vec<i32>,
    pub max_queue_delay_microseconds: u64,
}

/// One answer to each request.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct TransactionPolicy {
    pub decoupled: bool,
}

/// Inputs and outputs as the configuration shows them, and whether they are shown without their first dimension: clients put
/// it in front of `dims` again, so something has to be left.
pub fn tensors(signature: &Signature, shares_runs: bool) -> (Vec<TensorConfig>, Vec<TensorConfig>, bool) {
    let deep = |spec: &TensorSpec| spec.shape.len() > 1;
    let batches = shares_runs && signature.inputs.iter().chain(&signature.outputs).all(deep);
    let tensor = |spec: &TensorSpec| TensorConfig {
        name: spec.name.clone(),
        data_type: data_type(spec.datatype),
        dims: spec.shape[usize::from(batches)..].to_vec(),
    };
    (signature.inputs.iter().map(tensor).collect(), signature.outputs.iter().map(tensor).collect(), batches)
}

fn data_type(datatype: Datatype) -> &'static str {
    match datatype {
        Datatype::Bool => "TYPE_BOOL",
        Datatype::Uint8 => "TYPE_UINT8",
        Datatype::Uint16 => "TYPE_UINT16",
        Datatype::Uint32 => "TYPE_UINT32",
        Datatype::Uint64 => "TYPE_UINT64",
        Datatype::Int8 => "TYPE_INT8",
        Datatype::Int16 => "TYPE_INT16",
        Datatype::Int32 => "TYPE_INT32",
        Datatype::Int64 => "TYPE_INT64",
        Datatype::Fp16 => "TYPE_FP16",
        Datatype::Bf16 => "TYPE_BF16",
        Datatype::Fp32 => "TYPE_FP32",
        Datatype::Fp64 => "TYPE_FP64",
        Datatype::Bytes => "TYPE_STRING",
    }
}
