//! Tensors in and out of ONNX Runtime.
//!
//! In: bytes that lie aligned are lent, not copied; the rest is copied once. Out: the value's own buffer becomes the
//! tensor's storage and is freed with its last clone.

use std::borrow::Cow;

use bytes::Bytes;
use half::{bf16, f16};
use ort::memory::Allocator;
use ort::session::SessionInputValue;
use ort::value::{
    DynTensor, DynTensorValueType, DynValue, Tensor as OrtTensor, TensorElementType, TensorRef, ValueType,
};

use super::NnError;
use crate::tensor::{Datatype, Storage, Tensor, TensorSpec, moved};

/// Calls `$then!(T)` with the Rust type of a fixed-size datatype.
macro_rules! with_element {
    ($datatype:expr, $then:ident, $otherwise:expr) => {
        match $datatype {
            Datatype::Bool => $then!(bool),
            Datatype::Uint8 => $then!(u8),
            Datatype::Uint16 => $then!(u16),
            Datatype::Uint32 => $then!(u32),
            Datatype::Uint64 => $then!(u64),
            Datatype::Int8 => $then!(i8),
            Datatype::Int16 => $then!(i16),
            Datatype::Int32 => $then!(i32),
            Datatype::Int64 => $then!(i64),
            Datatype::Fp16 => $then!(f16),
            Datatype::Bf16 => $then!(bf16),
            Datatype::Fp32 => $then!(f32),
            Datatype::Fp64 => $then!(f64),
            Datatype::Bytes => $otherwise,
        }
    };
}

/// The tensor with its bytes on a boundary that suits every element type: its own where they lie so, else a copy. Bytes of
/// a body lie where the protocol put them.
pub(super) fn aligned(tensor: &Tensor) -> Cow<'_, Tensor> {
    match tensor.storage() {
        Storage::Fixed(bytes) if bytes.as_ptr().align_offset(align_of::<u64>()) != 0 => {
            let copy = aligned_copy(std::iter::once(bytes.as_ref()));
            let copy = Tensor::fixed(tensor.datatype(), tensor.shape().to_vec(), copy);
            Cow::Owned(copy.expect("the same bytes in another place"))
        }
        Storage::Fixed(_) | Storage::Variable(_) => Cow::Borrowed(tensor),
    }
}

/// The parts one after the other, on a boundary that suits every element type.
pub(super) fn aligned_copy<'p>(parts: impl Iterator<Item = &'p [u8]> + Clone) -> Bytes {
    let length: usize = parts.clone().map(<[u8]>::len).sum();
    moved(length);
    let mut words = vec![0u64; length.div_ceil(size_of::<u64>())];
    let mut rest = bytemuck::cast_slice_mut::<u64, u8>(&mut words);
    for part in parts {
        let (here, behind) = rest.split_at_mut(part.len());
        here.copy_from_slice(part);
        rest = behind;
    }
    Bytes::from_owner(Words { words, length })
}

/// Bytes on a word's boundary.
struct Words {
    words: Vec<u64>,
    length: usize,
}

impl AsRef<[u8]> for Words {
    fn as_ref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.length]
    }
}

/// The [`aligned`] tensor as an input value that borrows its bytes.
pub(super) fn to_ort<'t>(name: &str, tensor: &'t Tensor) -> Result<SessionInputValue<'t>, NnError> {
    let refused = |why: &str| NnError::InvalidInput(format!("input '{name}': {why}"));
    let failed = |error: ort::Error| refused(&format!("the tensor was refused: {error}"));
    match tensor.storage() {
        Storage::Fixed(bytes) => {
            macro_rules! lend {
                ($element:ty) => {
                    match bytemuck::checked::try_cast_slice::<u8, $element>(bytes) {
                        Ok(elements) => TensorRef::from_array_view((tensor.shape(), elements)).map_err(failed)?.into(),
                        Err(error) => return Err(refused(&error.to_string())),
                    }
                };
            }
            Ok(with_element!(tensor.datatype(), lend, {
                return Err(refused("a BYTES tensor has elements of fixed size"));
            }))
        }
        Storage::Variable(elements) => {
            moved(tensor.size_bytes());
            let text = elements
                .iter()
                .map(|element| String::from_utf8(element.to_vec()))
                .collect::<Result<Vec<_>, _>>()
                .map_err(|_| refused("this model takes text: the elements must be UTF-8"))?;
            // ONNX Runtime takes C strings.
            if text.iter().any(|element| element.contains('\0')) {
                return Err(refused("this model takes text: no element may contain a NUL character"));
            }
            Ok(OrtTensor::from_string_array((tensor.shape(), text.as_slice())).map_err(failed)?.into())
        }
    }
}

/// The tensor as an input value with memory of its own, which an output may go on using. A binding takes nothing that is
/// lent: `ort` 2.0.0-rc.15 would copy it under a lock that it holds already.
pub(super) fn copied_to_ort(name: &str, tensor: &Tensor) -> Result<DynValue, NnError> {
    let tensor = aligned(tensor);
    let refused = |why: String| NnError::InvalidInput(format!("input '{name}': the tensor was refused: {why}"));
    let Storage::Fixed(bytes) = tensor.storage() else {
        return match to_ort(name, &tensor)? {
            SessionInputValue::Owned(text) => Ok(text),
            SessionInputValue::View(_) | SessionInputValue::ViewMut(_) => Err(refused("it is only lent".into())),
        };
    };
    macro_rules! copy {
        ($element:ty) => {{
            let elements = bytemuck::checked::try_cast_slice::<u8, $element>(bytes);
            let elements = elements.map_err(|error| refused(error.to_string()))?;
            let copy = OrtTensor::<$element>::new(&Allocator::default(), tensor.shape());
            let mut copy = copy.map_err(|error| refused(error.to_string()))?;
            moved(bytes.len());
            copy.extract_tensor_mut().1.copy_from_slice(elements);
            copy.into_dyn()
        }};
    }
    Ok(with_element!(tensor.datatype(), copy, {
        return Err(refused("a BYTES tensor has elements of fixed size".into()));
    }))
}

/// An output value as a tensor that keeps the value's buffer alive. An output that is one of the inputs has that input's
/// memory, which was only `lent` and must be copied.
pub(super) fn from_ort(name: &str, value: DynValue, lent: &[Cow<'_, Tensor>]) -> Result<Tensor, NnError> {
    let refused = |reason: String| NnError::Unsupported(format!("output '{name}' {reason}"));
    let (datatype, shape) = kind(&value).map_err(refused)?;
    if datatype == Datatype::Bytes {
        let text = value.try_extract_strings();
        let (_, text) = text.map_err(|error| refused(format!("cannot be read: {error}")))?;
        // Out of ONNX Runtime's strings, and together.
        moved(2 * text.iter().map(String::len).sum::<usize>());
        return Tensor::variable(shape, text).map_err(|error| refused(error.to_string()));
    }
    let buffer = OutputBuffer::new(value, datatype, &shape).map_err(refused)?;
    let bytes = if lent.iter().any(|input| overlaps(input, buffer.as_ref())) {
        moved(buffer.length);
        Bytes::copy_from_slice(buffer.as_ref())
    } else {
        Bytes::from_owner(buffer)
    };
    Tensor::fixed(datatype, shape, bytes).map_err(|error| refused(error.to_string()))
}

/// An output's element type and shape, or why it is no tensor.
pub(super) fn kind(value: &DynValue) -> Result<(Datatype, Vec<usize>), String> {
    if !value.is_tensor() {
        return Err("is not a dense tensor".into());
    }
    match value.dtype() {
        ValueType::Tensor { ty, shape, .. } => {
            let datatype = datatype(*ty).ok_or_else(|| format!("has element type {ty}"))?;
            let shape: Option<Vec<usize>> = shape.iter().map(|&dim| usize::try_from(dim).ok()).collect();
            Ok((datatype, shape.ok_or("has a negative dimension")?))
        }
        other => Err(format!("is no tensor but {other}")),
    }
}

/// Bytes of a tensor with elements of fixed size.
pub(super) fn size_bytes(datatype: Datatype, shape: &[usize]) -> Option<usize> {
    datatype.size_bytes()?.checked_mul(crate::tensor::element_count(shape)?)
}

fn overlaps(input: &Tensor, output: &[u8]) -> bool {
    let Storage::Fixed(input) = input.storage() else { return false };
    let (input, output) = (input.as_ptr_range(), output.as_ptr_range());
    input.start < output.end && output.start < input.end
}

/// An output value, seen as its bytes.
struct OutputBuffer {
    tensor: DynTensor,
    length: usize,
}

impl OutputBuffer {
    fn new(value: DynValue, datatype: Datatype, shape: &[usize]) -> Result<Self, String> {
        let tensor = value.downcast::<DynTensorValueType>().map_err(|error| error.to_string())?;
        if !tensor.memory_info().is_cpu_accessible() {
            return Err("lies on a device".into());
        }
        let length = size_bytes(datatype, shape).ok_or("has no size")?;
        Ok(Self { tensor, length })
    }
}

impl AsRef<[u8]> for OutputBuffer {
    fn as_ref(&self) -> &[u8] {
        if self.length == 0 {
            return &[];
        }
        let bytes = self.tensor.data_ptr().cast::<u8>();
        // SAFETY: ONNX Runtime says that the tensor has as many elements of this size, in memory this process can read; they
        // live as long as the tensor, which nobody writes to. As bytes, since a kernel's BOOL may be any byte.
        #[expect(unsafe_code, reason = "as elements, a BOOL that is neither 0 nor 1 would be undefined")]
        unsafe {
            std::slice::from_raw_parts(bytes, self.length)
        }
    }
}

/// The model's declaration of an input or output; `None` for what is no tensor of a known type.
pub(super) fn spec(name: &str, declared: &ValueType) -> Option<TensorSpec> {
    let ValueType::Tensor { ty, shape, .. } = declared else { return None };
    Some(TensorSpec { name: name.to_owned(), datatype: datatype(*ty)?, shape: shape.iter().copied().collect() })
}

fn datatype(element: TensorElementType) -> Option<Datatype> {
    Some(match element {
        TensorElementType::Bool => Datatype::Bool,
        TensorElementType::Uint8 => Datatype::Uint8,
        TensorElementType::Uint16 => Datatype::Uint16,
        TensorElementType::Uint32 => Datatype::Uint32,
        TensorElementType::Uint64 => Datatype::Uint64,
        TensorElementType::Int8 => Datatype::Int8,
        TensorElementType::Int16 => Datatype::Int16,
        TensorElementType::Int32 => Datatype::Int32,
        TensorElementType::Int64 => Datatype::Int64,
        TensorElementType::Float16 => Datatype::Fp16,
        TensorElementType::Bfloat16 => Datatype::Bf16,
        TensorElementType::Float32 => Datatype::Fp32,
        TensorElementType::Float64 => Datatype::Fp64,
        TensorElementType::String => Datatype::Bytes,
        _ => return None,
    })
}
