//! Which device a model runs on: the manifest's wish, resolved in the server's order, and never silently another one.

use std::sync::{Mutex, PoisonError};

use ort::ep::{self, ExecutionProvider};
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::builder::SessionBuilder;

use crate::registry::device::Device;

/// A device to try, in the order given by [`order`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    Cpu,
    Cuda { index: i32 },
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda { index } => write!(f, "cuda:{index}"),
        }
    }
}

impl Target {
    /// Whether its memory is apart from the host's, so that it pays to leave outputs there.
    pub(super) fn has_own_memory(self) -> bool {
        matches!(self, Self::Cuda { .. })
    }

    /// The memory that outputs which stay on the device are written to.
    pub(super) fn memory(self) -> ort::Result<MemoryInfo<'static>> {
        let (device, index) = match self {
            Self::Cpu => (AllocationDevice::CPU, 0),
            Self::Cuda { index } => (AllocationDevice::CUDA, index),
        };
        MemoryInfo::new(device, index, AllocatorType::Device, MemoryType::Default)
    }
}

/// The devices to try for a model that wishes for `wish`, where the server's own order is `configured`.
pub fn order(wish: Device, configured: &[String]) -> Vec<Target> {
    match wish {
        Device::Cpu => vec![Target::Cpu],
        Device::Cuda(index) => {
            vec![Target::Cuda { index: index.map_or(0, |index| i32::try_from(index).unwrap_or(i32::MAX)) }]
        }
        Device::Auto => {
            configured.iter().map(|name| if name == "cuda" { Target::Cuda { index: 0 } } else { Target::Cpu }).collect()
        }
    }
}

/// The configured devices that this ONNX Runtime can use at all; said once, so that nobody wonders.
pub(super) fn offered(configured: &[String]) -> Vec<String> {
    let mut offered = configured.to_vec();
    offered.retain(|name| {
        let here = name != "cuda" || ep::CUDA::is_available().unwrap_or(false);
        if !here {
            tracing::info!("device {name}: this build of ONNX Runtime does not offer it");
        }
        here
    });
    offered
}

/// Says why a model goes on to the next device; once for each reason, as most are the same for all models.
pub(super) fn passed_over(model: &str, target: Target, reason: &str) {
    /// Reasons that are remembered.
    const MAX_REASONS: usize = 32;
    static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    let told = format!("{target}: {reason}");
    if said.contains(&told) {
        return;
    }
    tracing::info!(model, "{told}; this model and others like it run on the next device of onnxruntime.devices");
    if said.len() >= MAX_REASONS {
        said.clear();
    }
    said.push(told);
}

/// Registers the execution provider; one that cannot be had is an error, not a silent fall-back to the CPU.
pub(super) fn register(builder: SessionBuilder, target: Target) -> ort::Result<SessionBuilder> {
    match target {
        Target::Cpu => Ok(builder),
        Target::Cuda { index } => {
            // A convolution is planned anew whenever the shape of its input changes. With the exhaustive search, the default, that
            // took 0.7 s for ResNet-50 on an H100, with this one 0.14 s, and the runs after it took about the same.
            let search = ep::cuda::ConvAlgorithmSearch::Heuristic;
            let cuda = ep::CUDA::default().with_device_id(index).with_conv_algorithm_search(search);
            let cuda = cuda.build().error_on_failure();
            Ok(builder.with_execution_providers([cuda])?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_follows_the_servers_order_and_a_wish_stands_alone() {
        let configured = ["cuda".to_owned(), "cpu".to_owned()];
        assert_eq!(order(Device::Auto, &configured), [Target::Cuda { index: 0 }, Target::Cpu]);
        assert_eq!(order(Device::Cuda(Some(1)), &configured), [Target::Cuda { index: 1 }]);
        assert_eq!(order(Device::Cpu, &configured), [Target::Cpu]);
    }
}
