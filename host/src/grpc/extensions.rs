//! Metadata, configuration, statistics and the repository as messages.

use std::collections::BTreeMap;

use super::messages::model_config::SchedulingChoice;
use super::messages::model_instance_group::Kind;
use super::messages::model_metadata_response::TensorMetadata;
use super::messages::model_version_policy::{All, PolicyChoice};
use super::messages::repository_index_response::ModelIndex;
use super::messages::{self, DataType, InferBatchStatistics, InferStatistics, StatisticDuration};
use crate::protocol::oip_config::{InstanceGroup, InstanceKind, ModelConfig, TensorConfig};
use crate::protocol::oip_metadata::ModelMetadata;
use crate::protocol::oip_repository::{self, State};
use crate::protocol::oip_statistics::{Duration, ModelStatistics};
use crate::tensor::TensorSpec;

pub(super) fn metadata(metadata: ModelMetadata) -> messages::ModelMetadataResponse {
    let ModelMetadata { name, versions, platform, inputs, outputs, properties: _ } = metadata;
    let tensor = |spec: TensorSpec| TensorMetadata {
        name: spec.name,
        datatype: spec.datatype.name().to_owned(),
        shape: spec.shape,
    };
    messages::ModelMetadataResponse {
        name,
        versions,
        platform: platform.name().to_owned(),
        inputs: inputs.into_iter().map(tensor).collect(),
        outputs: outputs.into_iter().map(tensor).collect(),
    }
}

pub(super) fn config(config: ModelConfig) -> messages::ModelConfig {
    let data_type = |name: &str| DataType::from_str_name(name).unwrap_or(DataType::TypeInvalid).into();
    let input =
        |TensorConfig { name, data_type: kind, dims }| messages::ModelInput { name, data_type: data_type(kind), dims };
    let output =
        |TensorConfig { name, data_type: kind, dims }| messages::ModelOutput { name, data_type: data_type(kind), dims };
    messages::ModelConfig {
        name: config.name,
        platform: config.platform.name().to_owned(),
        backend: config.backend.to_owned(),
        version_policy: Some(messages::ModelVersionPolicy { policy_choice: Some(PolicyChoice::All(All {})) }),
        max_batch_size: signed(config.max_batch_size),
        input: config.input.into_iter().map(input).collect(),
        output: config.output.into_iter().map(output).collect(),
        scheduling_choice: config.dynamic_batching.map(|batching| {
            SchedulingChoice::DynamicBatching(messages::ModelDynamicBatching {
                preferred_batch_size: batching.preferred_batch_size,
                max_queue_delay_microseconds: batching.max_queue_delay_microseconds,
            })
        }),
        instance_group: config.instance_group.into_iter().map(group).collect(),
        model_transaction_policy: Some(messages::ModelTransactionPolicy {
            decoupled: config.model_transaction_policy.decoupled,
        }),
    }
}

fn group(group: InstanceGroup) -> messages::ModelInstanceGroup {
    let kind = match group.kind {
        InstanceKind::KindAuto => Kind::Auto,
        InstanceKind::KindGpu => Kind::Gpu,
        InstanceKind::KindCpu => Kind::Cpu,
    };
    messages::ModelInstanceGroup { name: group.name, kind: kind.into(), count: signed(group.count), gpus: group.gpus }
}

pub(super) fn statistics(stats: ModelStatistics) -> messages::ModelStatistics {
    let times = stats.inference_stats;
    messages::ModelStatistics {
        name: stats.name,
        version: stats.version,
        last_inference: stats.last_inference,
        inference_count: stats.inference_count,
        execution_count: stats.execution_count,
        inference_stats: Some(InferStatistics {
            success: duration(times.success),
            fail: duration(times.fail),
            queue: duration(times.queue),
            compute_input: duration(times.compute_input),
            compute_infer: duration(times.compute_infer),
            compute_output: duration(times.compute_output),
            cache_hit: duration(times.cache_hit),
            cache_miss: duration(times.cache_miss),
        }),
        batch_stats: stats
            .batch_stats
            .into_iter()
            .map(|batch| InferBatchStatistics {
                batch_size: batch.batch_size,
                compute_input: duration(batch.compute_input),
                compute_infer: duration(batch.compute_infer),
                compute_output: duration(batch.compute_output),
            })
            .collect(),
        memory_usage: stats
            .memory_usage
            .into_iter()
            .map(|usage| messages::MemoryUsage {
                r#type: usage.kind.to_owned(),
                id: usage.id,
                byte_size: usage.byte_size,
            })
            .collect(),
        response_stats: BTreeMap::new(),
    }
}

pub(super) fn index(entry: oip_repository::ModelIndex) -> ModelIndex {
    let state = match entry.state {
        State::Ready => "READY",
        State::Unavailable => "UNAVAILABLE",
    };
    ModelIndex { name: entry.name, version: entry.version, state: state.to_owned(), reason: entry.reason }
}

fn duration(duration: Duration) -> Option<StatisticDuration> {
    Some(StatisticDuration { count: duration.count, ns: duration.ns })
}

fn signed(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
