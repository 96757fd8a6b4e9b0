//! A model of the bundle, behind wasi:nn. It lives with the host, shared by all instances; dropping this gives it back.

use std::cell::OnceCell;
use std::fmt;

use crate::bindings::nn;
use crate::bindings::nn::errors::Error as HostError;
use crate::bindings::nn::graph::{self, ExecutionTarget, Graph, GraphEncoding};
use crate::bindings::nn::inference::GraphExecutionContext;
use crate::{Error, Values, ahead};

pub use nn::errors::ErrorCode;

/// A loaded model.
///
/// ```
/// # use nocti_sdk::prelude::*;
/// fn embed(model: &Model, ids: Tensor<i64>, mask: Tensor<i64>) -> Result<Tensor<f32>> {
///     let mut outputs = model.run([("input_ids", ids), ("attention_mask", mask)])?;
///     Ok(outputs.take("last_hidden_state")?)
/// }
/// fn score(model: &Model, text_ids: Tensor<i64>, weights: Tensor<f32>) -> Result<Values> {
///     Ok(model.run(Values::new().with("ids", text_ids).with("weights", weights))?)
/// }
/// ```
#[derive(Debug)]
pub struct Model {
    name: String,
    /// Empty only where it was asked for while the bundle was built.
    loaded: OnceCell<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    context: GraphExecutionContext,
    /// What the context computes; kept for as long as the context is.
    _graph: Graph,
}

/// The host could not load or run a model.
///
/// By `?` it becomes [`Error::Unavailable`] where the model took too long or there was no memory for it, and
/// [`Error::Internal`] otherwise: the host has checked what the caller sent, so a model that refuses its input was given
/// the wrong thing by the function. A function that hands on what it cannot check says so itself:
/// `.map_err(Error::invalid_input)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelError {
    model: String,
    code: ErrorCode,
    message: String,
}

impl Model {
    /// Loads the model that the manifest names so; in an `init` that runs when the bundle is built, notes its name and
    /// loads it when it is first run.
    ///
    /// # Errors
    /// The bundle has no such model, or it cannot be loaded.
    pub fn load(name: &str) -> Result<Self, ModelError> {
        let model = Self { name: name.to_owned(), loaded: OnceCell::new() };
        if !ahead::is_running() {
            model.loaded()?;
        }
        Ok(model)
    }

    /// Loads an ONNX model from its bytes, which count against the instance's memory. `name` is for messages.
    ///
    /// # Errors
    /// The bytes are no model that the host can run.
    pub fn from_onnx(name: &str, onnx: Vec<u8>) -> Result<Self, ModelError> {
        let loaded = Loaded::prepare(name, graph::load(&[onnx], GraphEncoding::Onnx, ExecutionTarget::Cpu))?;
        Ok(Self { name: name.to_owned(), loaded: loaded.into() })
    }

    fn loaded(&self) -> Result<&Loaded, ModelError> {
        match self.loaded.get() {
            Some(loaded) => Ok(loaded),
            None => {
                let loaded = Loaded::prepare(&self.name, graph::load_by_name(&self.name))?;
                Ok(self.loaded.get_or_init(|| loaded))
            }
        }
    }

    /// Runs the model on inputs by name and gives its outputs by name. Tensors go in and come out as handles.
    ///
    /// # Errors
    /// The inputs are not the model's, or the host could not run it.
    pub fn run(&self, inputs: impl Into<Values>) -> Result<Values, ModelError> {
        let loaded = self.loaded()?;
        let inputs = inputs.into().into_entries().into_iter().map(|(name, entry)| match entry.into_handle() {
            Ok(handle) => Ok((name, handle)),
            Err(_) => Err(ModelError {
                model: self.name.clone(),
                code: ErrorCode::InvalidArgument,
                message: format!("input `{name}` is BYTES, which models do not take"),
            }),
        });
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let outputs = loaded.context.compute(inputs).map_err(|error| ModelError::from_host(&self.name, &error))?;
        Ok(Values::from_entries(outputs))
    }
}

impl Loaded {
    fn prepare(name: &str, graph: Result<Graph, HostError>) -> Result<Self, ModelError> {
        let graph = graph.map_err(|error| ModelError::from_host(name, &error))?;
        let context = graph.init_execution_context().map_err(|error| ModelError::from_host(name, &error))?;
        Ok(Self { context, _graph: graph })
    }
}

impl ModelError {
    fn from_host(model: &str, error: &HostError) -> Self {
        Self { model: model.to_owned(), code: error.code(), message: error.data() }
    }

    /// What kind of failure it was.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// What the host says about it.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.code {
            ErrorCode::InvalidArgument => "invalid argument",
            ErrorCode::InvalidEncoding => "not a model the host can read",
            ErrorCode::Timeout => "took too long",
            ErrorCode::RuntimeError => "failed",
            ErrorCode::UnsupportedOperation => "unsupported",
            ErrorCode::TooLarge => "too large",
            ErrorCode::NotFound => "not found",
            ErrorCode::Security => "not allowed",
            ErrorCode::Unknown => "unknown failure",
        };
        write!(f, "model `{}`: {kind}: {}", self.model, self.message)
    }
}

impl From<ModelError> for Error {
    fn from(error: ModelError) -> Self {
        match error.code {
            ErrorCode::Timeout | ErrorCode::TooLarge => Self::unavailable(error),
            ErrorCode::InvalidArgument
            | ErrorCode::InvalidEncoding
            | ErrorCode::RuntimeError
            | ErrorCode::UnsupportedOperation
            | ErrorCode::NotFound
            | ErrorCode::Security
            | ErrorCode::Unknown => Self::internal(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_decides_whose_fault_it_is() {
        let error = |code| ModelError { model: "digits".into(), code, message: "no room".into() };
        assert_eq!(Error::from(error(ErrorCode::TooLarge)), Error::unavailable("model `digits`: too large: no room"));
        assert!(matches!(Error::from(error(ErrorCode::Timeout)), Error::Unavailable(_)));
        assert!(matches!(Error::from(error(ErrorCode::InvalidArgument)), Error::Internal(_)));
        assert!(matches!(Error::from(error(ErrorCode::NotFound)), Error::Internal(_)));
    }
}
