//! BYTES: elements of any length, which wasi:nn has no tensor type for. They cross the boundary with the request.

use crate::ShapeError;
use crate::bindings::types::ByteTensor;
use crate::tensor::{check_fit, dimensions};

/// Opaque elements: files, pictures, anything. Row-major, like a [`Tensor`](crate::Tensor).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Bytes {
    shape: Vec<usize>,
    elements: Vec<Vec<u8>>,
}

/// Elements of text. As an input it is refused where an element is not UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Text {
    shape: Vec<usize>,
    elements: Vec<String>,
}

macro_rules! elements_of {
    ($name:ident, $element:ty) => {
        impl $name {
            /// Puts elements into a shape.
            ///
            /// # Errors
            /// The shape's product is not the number of elements.
            pub fn new(shape: impl AsRef<[usize]>, elements: impl Into<Vec<$element>>) -> Result<Self, ShapeError> {
                let (shape, elements) = (shape.as_ref().to_vec(), elements.into());
                check_fit(&shape, elements.len())?;
                Ok(Self { shape, elements })
            }

            /// The size of each dimension.
            pub fn shape(&self) -> &[usize] {
                &self.shape
            }

            /// The elements in row-major order.
            pub fn elements(&self) -> &[$element] {
                &self.elements
            }

            /// The elements themselves.
            pub fn into_vec(self) -> Vec<$element> {
                self.elements
            }

            /// The number of elements.
            pub fn len(&self) -> usize {
                self.elements.len()
            }

            /// Whether there are no elements.
            pub fn is_empty(&self) -> bool {
                self.elements.is_empty()
            }
        }

        /// One dimension.
        impl From<Vec<$element>> for $name {
            fn from(elements: Vec<$element>) -> Self {
                Self { shape: vec![elements.len()], elements }
            }
        }
    };
}

elements_of!(Bytes, Vec<u8>);
elements_of!(Text, String);

/// One element.
impl From<&str> for Text {
    fn from(element: &str) -> Self {
        vec![element.to_owned()].into()
    }
}

impl From<Text> for Bytes {
    fn from(text: Text) -> Self {
        Self { shape: text.shape, elements: text.elements.into_iter().map(String::into_bytes).collect() }
    }
}

/// Fails with a sentence that names the first element that is not UTF-8.
impl TryFrom<Bytes> for Text {
    type Error = String;

    fn try_from(bytes: Bytes) -> Result<Self, String> {
        let elements = bytes.elements.into_iter().enumerate().map(|(index, element)| {
            String::from_utf8(element).map_err(|error| format!("element {index} is not UTF-8 text: {error}"))
        });
        Ok(Self { shape: bytes.shape, elements: elements.collect::<Result<_, _>>()? })
    }
}

impl From<ByteTensor> for Bytes {
    fn from(tensor: ByteTensor) -> Self {
        Self { shape: tensor.dimensions.into_iter().map(|size| size as usize).collect(), elements: tensor.elements }
    }
}

impl From<Bytes> for ByteTensor {
    fn from(bytes: Bytes) -> Self {
        Self { dimensions: dimensions(&bytes.shape), elements: bytes.elements }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_must_fit_the_elements() {
        assert!(Text::new([2], ["one".to_owned()]).is_err());
        assert_eq!(Bytes::new([1, 2], [vec![1], vec![]]).unwrap().shape(), [1, 2]);
        assert_eq!(Text::from("one").shape(), [1]);
    }

    #[test]
    fn text_that_is_not_utf8_is_named() {
        let bytes = Bytes::from(vec![b"fine".to_vec(), vec![b'b', 0xff]]);
        let error = Text::try_from(bytes).unwrap_err();
        assert!(error.starts_with("element 1 is not UTF-8 text: invalid utf-8"), "{error}");
    }

    #[test]
    fn text_and_bytes_keep_their_shape() {
        let text = Text::new([1, 2], ["a".to_owned(), "ß".to_owned()]).unwrap();
        let wire = ByteTensor::from(Bytes::from(text.clone()));
        assert_eq!(wire.dimensions, [1, 2]);
        assert_eq!(Text::try_from(Bytes::from(wire)), Ok(text));
    }
}
