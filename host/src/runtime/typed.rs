//! Calls into typed functions: `nocti:function/predictor` and, where there is one, `explainer`.

use bytes::Bytes;
use wasmtime::component::{Resource, ResourceTable};

use super::exports::types;
use super::instance::Bound;
use super::state::State;
use super::{Lease, RuntimeError};
use crate::nn::held::{AnyTensor, Held};
use crate::nn::wit::{GuestTensor, NnView, wasi_type};
use crate::protocol::predict::{Parameter, PredictRequest};
use crate::tensor::{Storage, Tensor, moved};

/// What a typed function can be asked; both questions have the same form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    Predict,
    Explain,
}

/// Asks the guest. Dropping the future retires the instance.
pub async fn ask(
    mut lease: Lease,
    question: Question,
    request: PredictRequest,
) -> Result<Vec<(String, Tensor)>, RuntimeError> {
    let instance = lease.begin();
    let Bound::Typed(exports) = &*instance.bound else {
        return Err(RuntimeError::Host("a typed call reached another kind of function".into()));
    };
    let export = match question {
        Question::Predict => Some(exports.predict),
        Question::Explain => exports.explain,
    };
    let Some(export) = export else {
        lease.finish();
        return Err(RuntimeError::NotExported("nocti:function/explainer"));
    };
    if let Err(refused) = takes(&request) {
        // The guest has seen nothing of it.
        lease.finish();
        return Err(refused);
    }
    let request = lower(instance.store.data_mut(), request)?;
    let answer = export.call_async(&mut instance.store, (request,)).await;
    let result = match answer.map(|(answer,)| answer) {
        Err(error) => return Err(instance.trap(error)),
        Ok(Ok(outputs)) => lift(&mut instance.store.data_mut().table, outputs),
        Ok(Err(types::Error::InvalidInput(text))) => Err(RuntimeError::InvalidInput(cut(text))),
        Ok(Err(types::Error::Unavailable(text))) => Err(RuntimeError::Unavailable(cut(text))),
        Ok(Err(types::Error::Internal(text))) => Err(RuntimeError::Internal(cut(text))),
    };
    lease.finish();
    match result {
        Ok(outputs) => outputs.fetched().await,
        Err(error) => Err(error),
    }
}

/// Whether all inputs are of types that `wasi:nn` or the function's world has.
fn takes(request: &PredictRequest) -> Result<(), RuntimeError> {
    let foreign =
        |tensor: &Tensor| matches!(tensor.storage(), Storage::Fixed(_)) && wasi_type(tensor.datatype()).is_none();
    match request.inputs.iter().find(|(_, tensor)| foreign(tensor)) {
        Some((name, tensor)) => Err(RuntimeError::InvalidInput(format!(
            "input '{name}' is {}, which typed functions cannot take; they take UINT8, INT32, INT64, FP16, BF16, FP32, FP64 \
             and BYTES",
            tensor.datatype()
        ))),
        None => Ok(()),
    }
}

/// A guest's words as they go into answers and the log: not more than anybody would read.
fn cut(mut text: String) -> String {
    const MAX_BYTES: usize = 4096;
    text.truncate(text.floor_char_boundary(MAX_BYTES));
    text
}

fn lower(state: &mut State, request: PredictRequest) -> Result<types::Request, RuntimeError> {
    let mut inputs = Vec::with_capacity(request.inputs.len());
    for (name, tensor) in request.inputs {
        let value = match tensor.storage() {
            Storage::Variable(elements) => {
                // Into vectors here, and from them into the guest's memory by the call.
                moved(2 * tensor.size_bytes());
                types::Value::Bytes(types::ByteTensor {
                    dimensions: tensor.shape().iter().map(|&dim| u32::try_from(dim).unwrap_or(u32::MAX)).collect(),
                    elements: elements.iter().map(<[u8]>::to_vec).collect(),
                })
            }
            // The request is larger than all the memory the function may have, or earlier ones left too much behind.
            Storage::Fixed(bytes) => {
                let tensor = if keeps_too_much(bytes, request.body_bytes) { of_its_own(&tensor) } else { tensor };
                let handle = state.nn().push(tensor);
                types::Value::Tensor(handle.map_err(|error| RuntimeError::InvalidInput(error.to_string()))?)
            }
        };
        inputs.push((name, value));
    }
    let parameters = request
        .parameters
        .into_iter()
        .map(|(name, parameter)| {
            let parameter = match parameter {
                Parameter::Bool(value) => types::Parameter::Boolean(value),
                Parameter::Int(value) => types::Parameter::Int64(value),
                Parameter::Double(value) => types::Parameter::Double(value),
                Parameter::Text(value) => types::Parameter::Text(value),
            };
            (name, parameter)
        })
        .collect();
    Ok(types::Request { id: request.id, inputs, parameters })
}

/// A guest's answer.
struct Lifted {
    tensors: Vec<(String, Tensor)>,
    /// Those that lie on a device, with their places among the others, in order.
    held: Vec<(usize, String, Held)>,
}

impl Lifted {
    /// All of it in the host's memory.
    async fn fetched(self) -> Result<Vec<(String, Tensor)>, RuntimeError> {
        let mut tensors = self.tensors;
        for (place, name, held) in self.held {
            let tensor = held.fetch().await.map_err(|error| RuntimeError::Host(error.to_string()))?;
            tensors.insert(place, (name, tensor));
        }
        Ok(tensors)
    }
}

/// A handle's bytes count for the guest's memory; a slice that keeps a body many times its size would not.
fn keeps_too_much(bytes: &Bytes, body_bytes: usize) -> bool {
    const SMALL_BODY: usize = 64 << 10;
    body_bytes > SMALL_BODY && bytes.len() < body_bytes / 4
}

/// The tensor with a copy of its bytes.
fn of_its_own(tensor: &Tensor) -> Tensor {
    let Storage::Fixed(bytes) = tensor.storage() else { return tensor.clone() };
    moved(bytes.len());
    let copy = Bytes::copy_from_slice(bytes);
    Tensor::fixed(tensor.datatype(), tensor.shape().to_vec(), copy).expect("the same bytes in another place")
}

fn lift(table: &mut ResourceTable, outputs: Vec<(String, types::Value)>) -> Result<Lifted, RuntimeError> {
    let mut tensors = Vec::with_capacity(outputs.len());
    let mut held = Vec::new();
    let mut wrong = None;
    for (place, (name, value)) in outputs.into_iter().enumerate() {
        // Every handle leaves the table, also after the first mistake.
        let tensor = match value {
            types::Value::Tensor(handle) => take(table, handle)?.into_tensor(),
            types::Value::Bytes(bytes) => {
                // Out of the guest's memory, by the call, and together.
                moved(2 * bytes.elements.iter().map(Vec::len).sum::<usize>());
                let dimensions = bytes.dimensions.iter().map(|&dim| dim as usize).collect();
                Tensor::variable(dimensions, bytes.elements).map(AnyTensor::from)
            }
        };
        match tensor {
            Ok(AnyTensor::Host(tensor)) => tensors.push((name, tensor)),
            Ok(AnyTensor::Held(tensor)) => held.push((place, name, tensor)),
            Err(error) => wrong = Some(RuntimeError::BadAnswer(format!("output '{name}': {error}"))),
        }
    }
    wrong.map_or(Ok(Lifted { tensors, held }), Err)
}

fn take(table: &mut ResourceTable, handle: Resource<GuestTensor>) -> Result<GuestTensor, RuntimeError> {
    table.delete(handle).map_err(|error| RuntimeError::BadAnswer(format!("a tensor handle: {error}")))
}
