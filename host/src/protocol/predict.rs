//! An inference as every protocol hands it on and takes it back: names, tensors, parameters.
//!
//! Knows no wire format and no function. A request's tensors may share the storage of the body they came in, so the
//! body lives as long as the last of them.

use crate::tensor::Tensor;

/// What a caller asks of a function.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PredictRequest {
    /// The caller's own name for this request, echoed in the answer.
    pub id: Option<String>,
    /// Free parameters of the request, in the caller's order.
    pub parameters: Vec<(String, Parameter)>,
    /// The inputs in the caller's order; no two have the same name.
    pub inputs: Vec<(String, Tensor)>,
    /// The outputs wanted, in this order; `None` or an empty list is all of them.
    pub outputs: Option<Vec<String>>,
    /// Outputs of which the largest elements alone are wanted, and how many.
    pub classes: Vec<(String, usize)>,
    /// Bytes of the body, which tensors may share: who keeps one of them keeps all of it.
    pub body_bytes: usize,
}

/// The value of a parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Parameter {
    /// `true` or `false`.
    Bool(bool),
    /// A number without fraction or exponent.
    Int(i64),
    /// Any other number.
    Double(f64),
    /// A string.
    Text(String),
}
