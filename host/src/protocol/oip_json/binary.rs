//! The binary tensor data extension: the elements of tensors behind the JSON, in the order in which the JSON names them.
//!
//! Fixed-size elements lie there as they lie in a [`Tensor`], so nothing is copied: a tensor is a slice of the body, and
//! goes out as the buffer that it is. An element of BYTES is its length (4 bytes, little-endian), then its bytes.

use bytes::{Buf, Bytes};

use super::element::Reason;
use crate::protocol::ProtocolError;
use crate::tensor::{Datatype, Storage, Tensor, element_count, moved};

/// Which outputs go out as binary data.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BinaryOutputs {
    /// All that are not named, by the request's parameter `binary_data_output`.
    pub(super) others: bool,
    /// By the parameter `binary_data` of a requested output.
    pub(super) named: Vec<(String, bool)>,
}

impl BinaryOutputs {
    /// Whether the output goes out as binary data; else it is JSON.
    pub(super) fn contains(&self, output: &str) -> bool {
        self.named.iter().find(|(name, _)| name == output).map_or(self.others, |(_, binary)| *binary)
    }
}

/// The part of a request's body behind the JSON, as far as no input has taken it.
pub(super) struct Tail(Bytes);

/// Bytes in front of an element of BYTES.
const LENGTH_BYTES: usize = size_of::<u32>();

impl Tail {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The next input's tensor, which the request says has `size` bytes.
    pub(super) fn take(&mut self, size: usize, datatype: Datatype, shape: Vec<usize>) -> Result<Tensor, Reason> {
        if size > self.0.len() {
            let left = self.0.len();
            return Err(format!("its binary_data_size is {size}, but {left} bytes are left of the body"));
        }
        let bytes = self.0.split_to(size);
        let tensor = match datatype {
            Datatype::Bytes => Tensor::variable(shape.clone(), elements(bytes, &shape)?),
            _ => Tensor::fixed(datatype, shape, bytes),
        };
        tensor.map_err(|error| error.to_string())
    }

    /// To be asked when every input has its bytes.
    pub(super) fn finish(self) -> Result<(), ProtocolError> {
        match self.0.len() {
            0 => Ok(()),
            left => Err(ProtocolError::Malformed(format!(
                "unexpected additional input data: {left} bytes follow the binary data of its inputs"
            ))),
        }
    }
}

/// The elements of a BYTES tensor; they share the storage of `bytes`.
fn elements(mut bytes: Bytes, shape: &[usize]) -> Result<Vec<Bytes>, Reason> {
    let count =
        element_count(shape).ok_or_else(|| format!("its shape {shape:?} has more elements than can be addressed"))?;
    // Room for what the bytes can hold, whatever the shape claims.
    let mut elements = Vec::with_capacity(count.min(bytes.len() / LENGTH_BYTES));
    while !bytes.is_empty() {
        let index = elements.len();
        if index == count {
            let left = bytes.len();
            return Err(format!(
                "its shape {shape:?} needs {count} elements, but {left} bytes follow the last of them"
            ));
        }
        let Some(&length) = bytes.first_chunk::<LENGTH_BYTES>() else {
            return Err(format!("its binary data ends within the length of element {index}"));
        };
        let length = u32::from_le_bytes(length) as usize;
        let left = bytes.len() - LENGTH_BYTES;
        if length > left {
            return Err(format!("element {index} has {length} bytes, but {left} are left of its binary data"));
        }
        bytes.advance(LENGTH_BYTES);
        elements.push(bytes.split_to(length));
    }
    Ok(elements)
}

/// The bytes that the tensor takes as binary data.
pub(super) fn size(tensor: &Tensor) -> usize {
    match tensor.storage() {
        Storage::Fixed(bytes) => bytes.len(),
        Storage::Variable(elements) => tensor.size_bytes() + LENGTH_BYTES * elements.len(),
    }
}

/// Puts the output's binary data behind what is in `tail`.
pub(super) fn write(tail: &mut Vec<Bytes>, name: &str, tensor: &Tensor) -> Result<(), ProtocolError> {
    /// An element of so many bytes costs less as a buffer of its own than as a copy.
    const LARGE: usize = 4096;
    match tensor.storage() {
        Storage::Fixed(bytes) if bytes.is_empty() => {}
        Storage::Fixed(bytes) => tail.push(bytes.clone()),
        Storage::Variable(elements) => {
            let mut gathered = Vec::new();
            for element in elements {
                let length = u32::try_from(element.len()).map_err(|_| {
                    let length = element.len();
                    ProtocolError::Answer(format!(
                        "output '{name}' has an element of {length} bytes; 4 GiB are the most"
                    ))
                })?;
                gathered.extend_from_slice(&length.to_le_bytes());
                if element.len() < LARGE {
                    moved(element.len());
                    gathered.extend_from_slice(element);
                } else {
                    tail.extend([Bytes::from(std::mem::take(&mut gathered)), element.clone()]);
                }
            }
            if !gathered.is_empty() {
                tail.push(Bytes::from(gathered));
            }
        }
    }
    Ok(())
}
