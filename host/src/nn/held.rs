//! Outputs that stay on their device until somebody reads them, and inputs that are there already.
//!
//! A run that keeps its outputs binds them to the device's memory (ONNX Runtime's IoBinding). Element type and shape are known
//! without reading; reading copies to the host's memory, which may block, so it happens on a thread that may. The memory, and
//! the session that it belongs to, go with the last clone.

use std::sync::Arc;

use ort::memory::AllocationDevice;
use ort::value::{DynTensor, DynTensorValueType, DynValue};

use super::device::Target;
use super::session::Session;
use super::{NnError, value};
use crate::tensor::{Datatype, Tensor, moved};

/// A tensor in a device's memory. Clones share it.
#[derive(Clone)]
pub struct Held(Arc<Content>);

struct Content {
    value: DynTensor,
    datatype: Datatype,
    shape: Vec<usize>,
    size_bytes: usize,
    /// Its memory is the session's: it goes first.
    session: Arc<Session>,
}

/// A tensor, wherever it lies.
#[derive(Debug, Clone)]
pub enum AnyTensor {
    Host(Tensor),
    Held(Held),
}

// Lists of one become lists of the other where they are, so that on the CPU nobody pays for devices.
const _: () = assert!(size_of::<AnyTensor>() == size_of::<Tensor>());

/// What it takes to see whether a tensor fits a model.
pub(super) trait Shaped {
    fn datatype(&self) -> Datatype;
    fn shape(&self) -> &[usize];
}

impl Shaped for Tensor {
    fn datatype(&self) -> Datatype {
        self.datatype()
    }

    fn shape(&self) -> &[usize] {
        self.shape()
    }
}

impl Shaped for AnyTensor {
    fn datatype(&self) -> Datatype {
        self.datatype()
    }

    fn shape(&self) -> &[usize] {
        self.shape()
    }
}

impl Held {
    /// Whether tensors of this type can stay: devices have no text, and `ort` 2.0.0-rc.15 cannot copy BF16 from one, as its
    /// copying model has an operator set that does not know it.
    pub(super) fn can_be(datatype: Datatype) -> bool {
        !matches!(datatype, Datatype::Bytes | Datatype::Bf16)
    }

    /// A tensor that the session gave; the reason where it is none.
    pub(super) fn new(value: DynValue, session: &Arc<Session>) -> Result<Self, String> {
        let (datatype, shape) = value::kind(&value)?;
        let size_bytes = value::size_bytes(datatype, &shape).ok_or("has no size")?;
        let value = value.downcast::<DynTensorValueType>().map_err(|error| error.to_string())?;
        Ok(Self(Arc::new(Content { value, datatype, shape, size_bytes, session: Arc::clone(session) })))
    }

    pub(super) fn value(&self) -> &DynTensor {
        &self.0.value
    }

    /// Where it lies.
    pub(super) fn device(&self) -> Target {
        self.0.session.device()
    }

    /// A copy of it in the host's memory.
    pub async fn fetch(&self) -> Result<Tensor, NnError> {
        let held = self.clone();
        let copied = tokio::task::spawn_blocking(move || held.copy());
        let copied = copied.await.unwrap_or_else(|error| Err(format!("broke off: {error}")));
        copied.map_err(|reason| NnError::Run {
            model: self.0.session.name().to_owned(),
            reason: format!("reading an output from {}: {reason}", self.device()),
        })
    }

    fn copy(&self) -> Result<Tensor, String> {
        let Content { value, datatype, shape, size_bytes, .. } = &*self.0;
        if *size_bytes == 0 {
            return Tensor::fixed(*datatype, shape.clone(), bytes::Bytes::new()).map_err(|error| error.to_string());
        }
        moved(*size_bytes);
        let copy = value.to(AllocationDevice::CPU, 0).map_err(|error| error.to_string())?;
        value::from_ort("", copy.into_dyn(), &[]).map_err(|error| error.to_string())
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?} on {}", self.0.datatype, self.0.shape, self.device())
    }
}

impl AnyTensor {
    pub fn datatype(&self) -> Datatype {
        match self {
            Self::Host(tensor) => tensor.datatype(),
            Self::Held(held) => held.0.datatype,
        }
    }

    pub fn shape(&self) -> &[usize] {
        match self {
            Self::Host(tensor) => tensor.shape(),
            Self::Held(held) => &held.0.shape,
        }
    }

    /// Bytes held, wherever they are, for limits.
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Host(tensor) => tensor.size_bytes(),
            Self::Held(held) => held.0.size_bytes,
        }
    }

    /// The tensor if it lies in the host's memory.
    pub(super) fn on_host(self) -> Option<Tensor> {
        match self {
            Self::Host(tensor) => Some(tensor),
            Self::Held(_) => None,
        }
    }
}

impl From<Tensor> for AnyTensor {
    fn from(tensor: Tensor) -> Self {
        Self::Host(tensor)
    }
}

impl From<Held> for AnyTensor {
    fn from(held: Held) -> Self {
        Self::Held(held)
    }
}

#[cfg(test)]
mod tests;
