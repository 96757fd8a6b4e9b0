//! One request. It owns its inputs until they are taken.

use crate::bindings::types;
use crate::{Error, FromParameter, FromValue, Parameters, Result, TakeError, Values};

/// What a function answers.
///
/// ```
/// # use nocti_sdk::prelude::*;
/// let mut request = Request::new([("image", vec![0_u8, 255])]);
/// let error = request.take::<Tensor<f32>>("image").unwrap_err();
/// assert_eq!(error, Error::invalid_input("input `image` is UINT8 where FP32 is expected"));
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Request {
    /// The caller's own name for the request.
    pub id: Option<String>,
    /// The inputs. [`Request::take`] makes the caller's mistakes the caller's fault; this is for the rest.
    pub inputs: Values,
    /// The parameters.
    pub parameters: Parameters,
}

impl Request {
    /// A request as a test makes it.
    pub fn new(inputs: impl Into<Values>) -> Self {
        Self { inputs: inputs.into(), ..Self::default() }
    }

    /// This request with a parameter more.
    #[must_use]
    pub fn with_parameter(mut self, name: impl Into<String>, parameter: impl Into<crate::Parameter>) -> Self {
        self.parameters = self.parameters.with(name, parameter);
        self
    }

    /// Takes an input out as the type asked for: `Tensor<T>`, [`Text`](crate::Text), [`Bytes`](crate::Bytes) or
    /// [`Value`](crate::Value).
    ///
    /// # Errors
    /// The caller's fault: it is missing, or of another type.
    pub fn take<V: FromValue>(&mut self, name: &str) -> Result<V> {
        self.inputs.take(name).map_err(at_fault)
    }

    /// Takes an input out if the caller gave it.
    ///
    /// # Errors
    /// The caller's fault: it is of another type.
    pub fn take_optional<V: FromValue>(&mut self, name: &str) -> Result<Option<V>> {
        self.inputs.take_optional(name).map_err(at_fault)
    }

    /// The parameter of this name, if the caller gave it.
    ///
    /// # Errors
    /// The caller's fault: it is of another type.
    pub fn parameter<P: FromParameter>(&self, name: &str) -> Result<Option<P>> {
        self.parameters.get(name)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the form map_err takes")]
fn at_fault(error: TakeError) -> Error {
    Error::invalid_input(format_args!("input {error}"))
}

impl From<types::Request> for Request {
    fn from(request: types::Request) -> Self {
        Self { id: request.id, inputs: request.inputs.into(), parameters: request.parameters.into() }
    }
}
