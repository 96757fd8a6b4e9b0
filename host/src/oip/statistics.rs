//! Statistics from the counters that requests and runs leave behind.

use std::collections::HashMap;
use std::sync::Arc;

use crate::host::Host;
use crate::invoke::Target;
use crate::nn::device::Target as DeviceTarget;
use crate::protocol::oip_statistics::{
    BatchStatistics, Duration, InferenceStatistics, MemoryUsage, ModelStatistics, Statistics,
};
use crate::registry::catalog::{CatalogError, Version};
use crate::registry::revision::FunctionKind;
use crate::telemetry::Calls;
use crate::telemetry::usage::Timed;

/// Of one version, of all versions of a function, or of everything, asked for or not.
pub fn statistics(host: &Host, of: Option<&Target>) -> Result<Statistics, CatalogError> {
    let versions: Vec<Arc<Version>> = match of {
        Some(Target { function, version: Some(version) }) => vec![host.catalog.resolve(function, Some(version))?],
        Some(Target { function, version: None }) => {
            host.catalog.function(function)?.versions.values().cloned().collect()
        }
        None => host.catalog.functions().iter().flat_map(|function| function.versions.values().cloned()).collect(),
    };
    let calls = host.admit.calls();
    let calls: HashMap<_, _> =
        calls.iter().map(|calls| ((calls.function.as_str(), calls.version.as_str()), calls)).collect();
    let of = |version: &Arc<Version>| calls.get(&(version.function.as_str(), version.name.as_str())).copied();
    Ok(Statistics { model_stats: versions.iter().map(|version| of_version(host, version, of(version))).collect() })
}

fn of_version(host: &Host, version: &Version, calls: Option<&Arc<Calls>>) -> ModelStatistics {
    let (success, fail) = calls.map(|calls| calls.answered()).unwrap_or_default();
    let usage = host.lifecycle.usage(&version.digest).unwrap_or_default();
    let batch = |(rows, timed): (u64, Timed)| BatchStatistics {
        batch_size: rows,
        compute_infer: duration(timed),
        ..BatchStatistics::default()
    };
    ModelStatistics {
        name: version.function.to_string(),
        version: version.name.to_string(),
        last_inference: calls.map_or(0, |calls| calls.last_ms()),
        // A function with code asks its models as it pleases.
        inference_count: match version.record.kind {
            FunctionKind::ModelOnly => usage.rows(),
            FunctionKind::Typed | FunctionKind::Http => success.count,
        },
        execution_count: usage.runs(),
        inference_stats: InferenceStatistics {
            success: duration(success),
            fail: duration(fail),
            queue: duration(usage.queue.get()),
            compute_infer: duration(usage.compute.get()),
            ..InferenceStatistics::default()
        },
        batch_stats: usage.sizes().into_iter().map(batch).collect(),
        memory_usage: memory(host, version),
        ..ModelStatistics::default()
    }
}

fn duration(timed: Timed) -> Duration {
    Duration { count: timed.count, ns: timed.ns }
}

/// What its models take, which others may use as well, while they are in memory.
fn memory(host: &Host, version: &Version) -> Vec<MemoryUsage> {
    let models = host.lifecycle.models(&version.digest).unwrap_or_default();
    let mut usage: Vec<MemoryUsage> = Vec::new();
    for model in models.values() {
        let (kind, id) = match model.session().device() {
            DeviceTarget::Cpu => ("CPU", 0),
            DeviceTarget::Cuda { index } => ("GPU", i64::from(index)),
        };
        let byte_size = model.session().size_bytes();
        match usage.iter_mut().find(|known| (known.kind, known.id) == (kind, id)) {
            Some(known) => known.byte_size += byte_size,
            None => usage.push(MemoryUsage { kind, id, byte_size }),
        }
    }
    usage
}
