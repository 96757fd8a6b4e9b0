//! An inference as every protocol hands it on and takes it back: names, tensors, parameters.
//!
//! Knows no wire format and no function. A request's tensors may share the storage of the body they came in, so the
//! body lives as long as the last of them.

use std::collections::HashSet;

use super::ProtocolError;
use crate::tensor::{Storage, Tensor};

/// The most inputs, outputs or parameters of one request: what takes a few bytes in a body takes hundreds in memory.
pub const MAX_PARTS: usize = 4096;

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

/// The parameter by which a request says which others it belongs with: while traffic is split, they go to the same version.
pub const ROUTING_KEY: &str = "routing_key";

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

/// Parameters that ask for tensors outside the request.
const ELSEWHERE: [&str; 3] = ["shared_memory_region", "shared_memory_offset", "shared_memory_byte_size"];

impl Parameter {
    /// As a routing key: text, or a number that somebody is known by.
    pub fn into_key(self) -> Result<Vec<u8>, ProtocolError> {
        match self {
            Self::Text(text) => Ok(text.into_bytes()),
            Self::Int(number) => Ok(number.to_string().into_bytes()),
            Self::Bool(_) | Self::Double(_) => {
                let reason = "must be text or a whole number".to_owned();
                Err(ProtocolError::Parameter { name: ROUTING_KEY.to_owned(), reason })
            }
        }
    }

    /// Refuses the name of one that asks for tensors outside the request, which is not to be ignored: a client that sets it looks for its
    /// answer where it asked for it.
    pub fn check_name(name: &str) -> Result<(), ProtocolError> {
        if !ELSEWHERE.contains(&name) {
            return Ok(());
        }
        Err(ProtocolError::Unsupported(format!(
            "parameter '{name}' is not supported: this server takes and gives tensors in requests and answers only; turn shared \
             memory off in the client"
        )))
    }
}

/// The most strings of one request. They are small here, but ONNX Runtime and guests take a hundred bytes for each.
const MAX_STRINGS: usize = 1 << 20;

impl PredictRequest {
    /// The routing key, if there is one.
    pub fn routing_key(&self) -> Result<Option<Vec<u8>>, ProtocolError> {
        let said = self.parameters.iter().find(|(name, _)| name == ROUTING_KEY);
        said.map(|(_, key)| key.clone().into_key()).transpose()
    }

    /// Refuses what is named twice, and countless strings.
    pub fn check(&self) -> Result<(), ProtocolError> {
        let mut strings = 0;
        for (input, tensor) in &self.inputs {
            if let Storage::Variable(elements) = tensor.storage() {
                strings += elements.len();
            }
            if strings > MAX_STRINGS {
                let reason =
                    format!("a request has at most {MAX_STRINGS} elements of BYTES; with this input it has {strings}");
                return Err(ProtocolError::Input { input: input.clone(), reason });
            }
        }
        if let Some(input) = repeated(self.inputs.iter().map(|(name, _)| name.as_str())) {
            return Err(ProtocolError::Input { input: input.to_owned(), reason: "is given more than once".into() });
        }
        match repeated(self.outputs.as_deref().unwrap_or_default().iter().map(String::as_str)) {
            Some(name) => Err(ProtocolError::Mismatch(format!("output '{name}' is requested more than once"))),
            None => Ok(()),
        }
    }
}

/// A name that comes again.
fn repeated<'n>(mut names: impl ExactSizeIterator<Item = &'n str> + Clone) -> Option<&'n str> {
    /// So few are compared sooner than hashed.
    const FEW: usize = 8;
    if names.len() <= FEW {
        let all = names.clone();
        return names
            .enumerate()
            .find(|(at, name)| all.clone().take(*at).any(|other| other == *name))
            .map(|(_, name)| name);
    }
    let mut seen = HashSet::with_capacity(names.len());
    names.find(|name| !seen.insert(*name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Strings;

    #[test]
    fn countless_strings_are_refused() {
        let inputs = |count: usize| {
            let strings = Strings::unpack(vec![0; 4 * count].into()).unwrap();
            vec![("x".to_owned(), Tensor::strings(vec![count], strings).unwrap())]
        };
        let check = |inputs| PredictRequest { inputs, ..PredictRequest::default() }.check();
        assert_eq!(check(inputs(MAX_STRINGS)), Ok(()));
        let refused = check(inputs(MAX_STRINGS + 1)).unwrap_err().to_string();
        assert!(refused.starts_with("input 'x': a request has at most 1048576 elements of BYTES"), "{refused}");
    }

    #[test]
    fn few_names_and_many_are_told_apart() {
        let names: Vec<String> = (0..20).map(|n| n.to_string()).collect();
        for (count, again) in [(5, "3"), (20, "17")] {
            let all = names[..count].iter().map(String::as_str).chain([again]).collect::<Vec<_>>();
            assert_eq!(repeated(all.iter().copied()), Some(again));
            assert_eq!(repeated(all[..count].iter().copied()), None);
        }
    }
}
