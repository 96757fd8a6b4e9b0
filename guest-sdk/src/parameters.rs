//! A request's parameters: what steers an answer beside its inputs.

use crate::bindings::types;
use crate::{Error, Result};

pub use crate::bindings::types::Parameter;

/// The parameters of a request.
#[derive(Clone, Debug, Default)]
pub struct Parameters {
    entries: Vec<(String, Parameter)>,
}

/// A type that a parameter can be read as: `bool`, `i64`, `f64` (whole numbers too) or `String`.
pub trait FromParameter: Sized {
    /// What the caller is told to give.
    const EXPECTED: &'static str;
    /// The parameter as this type, if it is one.
    fn from_parameter(parameter: &Parameter) -> Option<Self>;
}

impl Parameters {
    /// No parameters.
    pub fn new() -> Self {
        Self::default()
    }

    /// These parameters and one more.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, parameter: impl Into<Parameter>) -> Self {
        self.entries.push((name.into(), parameter.into()));
        self
    }

    /// The parameter of this name, if the caller gave it: `parameters.get::<i64>("top_k")?.unwrap_or(5)`.
    ///
    /// # Errors
    /// It is there but of another type: the caller's fault.
    pub fn get<P: FromParameter>(&self, name: &str) -> Result<Option<P>> {
        let Some((_, parameter)) = self.entries.iter().find(|(known, _)| known == name) else {
            return Ok(None);
        };
        P::from_parameter(parameter).map(Some).ok_or_else(|| {
            let given = match parameter {
                Parameter::Boolean(_) => "a boolean",
                Parameter::Int64(_) => "an integer",
                Parameter::Double(_) => "a number",
                Parameter::Text(_) => "text",
            };
            Error::invalid_input(format!("parameter `{name}` must be {}, not {given}", P::EXPECTED))
        })
    }

    /// Names and parameters in the caller's order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Parameter)> {
        self.entries.iter().map(|(name, parameter)| (name.as_str(), parameter))
    }
}

impl From<Vec<(String, types::Parameter)>> for Parameters {
    fn from(entries: Vec<(String, types::Parameter)>) -> Self {
        Self { entries }
    }
}

impl FromParameter for bool {
    const EXPECTED: &'static str = "a boolean";

    fn from_parameter(parameter: &Parameter) -> Option<Self> {
        if let Parameter::Boolean(value) = parameter { Some(*value) } else { None }
    }
}

impl FromParameter for i64 {
    const EXPECTED: &'static str = "an integer";

    fn from_parameter(parameter: &Parameter) -> Option<Self> {
        if let Parameter::Int64(value) = parameter { Some(*value) } else { None }
    }
}

impl FromParameter for f64 {
    const EXPECTED: &'static str = "a number";

    fn from_parameter(parameter: &Parameter) -> Option<Self> {
        match parameter {
            Parameter::Double(value) => Some(*value),
            // JSON has one kind of number: a caller's `1` for `1.0` is no mistake. Beyond 2^53 it is rounded.
            Parameter::Int64(value) => Some(*value as f64),
            Parameter::Boolean(_) | Parameter::Text(_) => None,
        }
    }
}

impl FromParameter for String {
    const EXPECTED: &'static str = "text";

    fn from_parameter(parameter: &Parameter) -> Option<Self> {
        if let Parameter::Text(value) = parameter { Some(value.clone()) } else { None }
    }
}

impl From<bool> for Parameter {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<i64> for Parameter {
    fn from(value: i64) -> Self {
        Self::Int64(value)
    }
}

impl From<f64> for Parameter {
    fn from(value: f64) -> Self {
        Self::Double(value)
    }
}

impl From<&str> for Parameter {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_by_type() {
        let parameters = Parameters::new().with("top_k", 3).with("scale", 0.5).with("raw", true).with("mode", "fast");
        assert_eq!(parameters.get("top_k"), Ok(Some(3_i64)));
        assert_eq!(parameters.get("top_k"), Ok(Some(3.0_f64)));
        assert_eq!(parameters.get("scale"), Ok(Some(0.5)));
        assert_eq!(parameters.get("raw"), Ok(Some(true)));
        assert_eq!(parameters.get("mode"), Ok(Some("fast".to_owned())));
        assert_eq!(parameters.get::<bool>("other"), Ok(None));
    }

    #[test]
    fn a_wrong_type_is_the_callers_fault() {
        let parameters = Parameters::new().with("top_k", "three").with("scale", true);
        assert_eq!(
            parameters.get::<i64>("top_k"),
            Err(Error::invalid_input("parameter `top_k` must be an integer, not text"))
        );
        assert_eq!(
            parameters.get::<f64>("scale"),
            Err(Error::invalid_input("parameter `scale` must be a number, not a boolean"))
        );
    }
}
