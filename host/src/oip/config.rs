//! A version's configuration, from what its manifest says and what was found in it.

use std::time::Duration;

use super::metadata::platform;
use crate::host::Host;
use crate::invoke::Target;
use crate::nn::batch;
use crate::nn::device::Target as DeviceTarget;
use crate::protocol::oip_config::{
    self, DynamicBatching, InstanceGroup, InstanceKind, ModelConfig, TransactionPolicy, VersionPolicy,
};
use crate::registry::catalog::{CatalogError, Version};
use crate::registry::device::Device;
use crate::registry::manifest::Model;
use crate::registry::revision::FunctionKind;

/// The configuration of a version, or of the one that is asked when none is named.
pub fn config(host: &Host, target: &Target) -> Result<ModelConfig, CatalogError> {
    let version = host.catalog.resolve(&target.function, target.version.as_deref())?;
    let signature = version.record.signature.clone().unwrap_or_default();
    let options = version.manifest.models.first().map(|model| &model.options);
    // What a function with code makes of rows is its own business.
    let (max_batch, max_delay) = match (version.record.kind, options) {
        (FunctionKind::ModelOnly, Some(options)) => (options.max_batch, options.max_delay),
        _ => (1, Duration::ZERO),
    };
    let shares_runs = max_batch > 1 && batch::possible(&signature);
    let (input, output, batches) = oip_config::tensors(&signature, shares_runs);
    let dynamic_batching = batches.then(|| DynamicBatching {
        preferred_batch_size: Vec::new(),
        max_queue_delay_microseconds: u64::try_from(max_delay.as_micros()).unwrap_or(u64::MAX),
    });
    Ok(ModelConfig {
        name: version.function.to_string(),
        platform: platform(version.record.kind),
        backend: if version.record.kind == FunctionKind::ModelOnly { "onnxruntime" } else { "wasm" },
        version_policy: VersionPolicy::default(),
        max_batch_size: if batches { max_batch } else { 0 },
        input,
        output,
        instance_group: version.manifest.models.iter().map(|model| group(host, &version, model)).collect(),
        dynamic_batching,
        model_transaction_policy: TransactionPolicy::default(),
    })
}

/// Where a model runs: what was found while it is in memory, and else what its manifest wishes.
fn group(host: &Host, version: &Version, model: &Model) -> InstanceGroup {
    let name = model.name.as_str();
    let live = host.lifecycle.models(&version.digest);
    let found = live.and_then(|models| Some(models.get(name)?.session().device()));
    let (kind, gpu) = match (found, model.options.device) {
        (Some(DeviceTarget::Cpu), _) | (None, Device::Cpu) => (InstanceKind::KindCpu, None),
        (Some(DeviceTarget::Cuda { index }), _) => (InstanceKind::KindGpu, Some(index)),
        (None, Device::Cuda(index)) => {
            (InstanceKind::KindGpu, Some(index.map_or(0, |index| i32::try_from(index).unwrap_or(i32::MAX))))
        }
        (None, Device::Auto) => (InstanceKind::KindAuto, None),
    };
    InstanceGroup { name: name.to_owned(), kind, count: model.options.sessions, gpus: gpu.into_iter().collect() }
}
