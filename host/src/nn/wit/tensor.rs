//! `wasi:nn/tensor`: tensors as guests hold them, and what they may hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use wasmtime::component::Resource;

use super::NnCtx;
use super::bindings::tensor;
use crate::nn::held::AnyTensor;
use crate::tensor::{Datatype, Storage, Tensor, TensorError, moved};

/// What a guest's tensor handle stands for. Clones share the bytes, and are charged once.
#[derive(Clone)]
pub struct GuestTensor {
    content: Content,
    /// Given back to the instance's budget with the last clone.
    _charge: Arc<Charge>,
}

/// The WIT constructor cannot fail, so a tensor whose bytes do not fit its shape is kept as it is and refused where it is
/// used.
#[derive(Clone)]
enum Content {
    Whole(AnyTensor),
    Malformed { dimensions: Vec<u32>, ty: tensor::TensorType, data: Bytes, error: TensorError },
}

/// Bytes counted as held for as long as this lives.
struct Charge {
    held_bytes: Arc<AtomicU64>,
    bytes: u64,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.held_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl GuestTensor {
    /// The tensor, or what is wrong with it.
    pub fn into_tensor(self) -> Result<AnyTensor, TensorError> {
        match self.content {
            Content::Whole(tensor) => Ok(tensor),
            Content::Malformed { error, .. } => Err(error),
        }
    }

    /// The same while the handle stays.
    pub fn tensor(&self) -> Result<&AnyTensor, TensorError> {
        match &self.content {
            Content::Whole(tensor) => Ok(tensor),
            Content::Malformed { error, .. } => Err(error.clone()),
        }
    }
}

impl NnCtx<'_> {
    /// A handle for a tensor; a guest that hoards them is stopped before the host's memory is full.
    pub fn push(&mut self, tensor: impl Into<AnyTensor>) -> wasmtime::Result<Resource<GuestTensor>> {
        let tensor = self.charged(tensor)?;
        Ok(self.table.push(tensor)?)
    }

    /// A tensor that the host keeps for the guest, charged as if the guest had a handle.
    pub fn charged(&self, tensor: impl Into<AnyTensor>) -> wasmtime::Result<GuestTensor> {
        let tensor = tensor.into();
        let bytes = tensor.size_bytes();
        self.charge(Content::Whole(tensor), bytes)
    }

    fn charge(&self, content: Content, bytes: usize) -> wasmtime::Result<GuestTensor> {
        /// What the host keeps of a tensor beside its bytes, about.
        const OVERHEAD: u64 = 1024;
        let (bytes, budget) = ((bytes as u64).saturating_add(OVERHEAD), self.state.budget_bytes);
        let held_bytes = Arc::clone(&self.state.held_bytes);
        let held = held_bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        // Made before the check: it takes its bytes back when the check fails.
        let tensor = GuestTensor { content, _charge: Arc::new(Charge { held_bytes, bytes }) };
        if held > budget {
            wasmtime::bail!("it holds tensors of more than its memory limit of {budget} bytes (limits.memory)");
        }
        Ok(tensor)
    }
}

/// The `wasi:nn` type of a datatype, where it has one.
pub fn wasi_type(datatype: Datatype) -> Option<tensor::TensorType> {
    Some(match datatype {
        Datatype::Fp16 => tensor::TensorType::Fp16,
        Datatype::Fp32 => tensor::TensorType::Fp32,
        Datatype::Fp64 => tensor::TensorType::Fp64,
        Datatype::Bf16 => tensor::TensorType::Bf16,
        Datatype::Uint8 => tensor::TensorType::U8,
        Datatype::Int32 => tensor::TensorType::I32,
        Datatype::Int64 => tensor::TensorType::I64,
        _ => return None,
    })
}

fn datatype(ty: tensor::TensorType) -> Datatype {
    match ty {
        tensor::TensorType::Fp16 => Datatype::Fp16,
        tensor::TensorType::Fp32 => Datatype::Fp32,
        tensor::TensorType::Fp64 => Datatype::Fp64,
        tensor::TensorType::Bf16 => Datatype::Bf16,
        tensor::TensorType::U8 => Datatype::Uint8,
        tensor::TensorType::I32 => Datatype::Int32,
        tensor::TensorType::I64 => Datatype::Int64,
    }
}

fn bytes_of(tensor: &Tensor) -> wasmtime::Result<Vec<u8>> {
    match tensor.storage() {
        Storage::Fixed(bytes) => {
            // Here, and into the guest's memory.
            moved(2 * bytes.len());
            Ok(bytes.to_vec())
        }
        Storage::Variable(_) => wasmtime::bail!("a BYTES tensor was handed to a guest as a wasi:nn tensor"),
    }
}

impl tensor::Host for NnCtx<'_> {}

impl tensor::HostTensor for NnCtx<'_> {
    fn new(
        &mut self,
        dimensions: Vec<u32>,
        ty: tensor::TensorType,
        data: Vec<u8>,
    ) -> wasmtime::Result<Resource<GuestTensor>> {
        let shape = dimensions.iter().map(|&dim| dim as usize).collect();
        moved(data.len());
        let bytes = Bytes::from(data);
        // The list of dimensions may be as long as a guest's memory: it counts as well.
        let size = bytes.len().saturating_add(size_of_val(dimensions.as_slice()));
        let content = match Tensor::fixed(datatype(ty), shape, bytes.clone()) {
            Ok(tensor) => Content::Whole(tensor.into()),
            Err(error) => Content::Malformed { dimensions, ty, data: bytes, error },
        };
        let tensor = self.charge(content, size)?;
        Ok(self.table.push(tensor)?)
    }

    fn dimensions(&mut self, handle: Resource<GuestTensor>) -> wasmtime::Result<Vec<u32>> {
        Ok(match &self.table.get(&handle)?.content {
            Content::Whole(tensor) => {
                // A tensor has fewer than 2^32 elements a dimension: its bytes were in memory or in a body.
                tensor.shape().iter().map(|&dim| u32::try_from(dim).unwrap_or(u32::MAX)).collect()
            }
            Content::Malformed { dimensions, .. } => dimensions.clone(),
        })
    }

    fn ty(&mut self, handle: Resource<GuestTensor>) -> wasmtime::Result<tensor::TensorType> {
        match &self.table.get(&handle)?.content {
            Content::Whole(tensor) => wasi_type(tensor.datatype())
                .ok_or_else(|| wasmtime::format_err!("a {} tensor was handed to a guest", tensor.datatype())),
            Content::Malformed { ty, .. } => Ok(*ty),
        }
    }

    async fn data(&mut self, handle: Resource<GuestTensor>) -> wasmtime::Result<Vec<u8>> {
        match &self.table.get(&handle)?.content {
            Content::Whole(AnyTensor::Host(tensor)) => bytes_of(tensor),
            // The interface has no way to say that it failed.
            Content::Whole(AnyTensor::Held(held)) => bytes_of(&held.fetch().await.map_err(wasmtime::Error::from)?),
            Content::Malformed { data, .. } => Ok(data.to_vec()),
        }
    }

    fn drop(&mut self, handle: Resource<GuestTensor>) -> wasmtime::Result<()> {
        self.let_go(handle)
    }
}
