//! A typed tensor whose elements are with the host, here, or both. It never asks the host for them before it must.
//! Dropping it gives the host's handle back.

use std::cell::OnceCell;
use std::fmt;

use crate::Element;
use crate::bindings::nn::tensor::Tensor as Handle;

/// A tensor of `T`, row-major.
///
/// One that came from the host is a handle until its elements are looked at; [`data`](Self::data) fetches them once.
/// Giving a tensor to a model or into an answer takes it by value: wasi:nn hands the handle over for good, and so the
/// type system keeps it from being used twice. Where it is needed twice, `clone` it: that copies the elements.
///
/// ```
/// # use nocti_sdk::prelude::*;
/// let scores = Tensor::new([2, 3], vec![0.1_f32, 0.7, 0.2, 0.5, 0.3, 0.2])?;
/// let best: Vec<usize> = scores.rows().map(|row| row.iter().position(|s| *s >= 0.5).unwrap_or(0)).collect();
/// assert_eq!(best, [1, 0]);
/// # Ok::<(), nocti_sdk::ShapeError>(())
/// ```
pub struct Tensor<T: Element> {
    /// The host's copy. Where it is absent, both cells below are filled.
    handle: Option<Handle>,
    shape: OnceCell<Vec<usize>>,
    data: OnceCell<Vec<T>>,
}

/// A shape that does not fit the elements, or another number of dimensions than was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeError {
    message: String,
}

impl<T: Element> Tensor<T> {
    /// Makes a tensor of these elements.
    ///
    /// # Errors
    /// The shape's product is not the number of elements.
    pub fn new(shape: impl AsRef<[usize]>, data: impl Into<Vec<T>>) -> Result<Self, ShapeError> {
        let (shape, data) = (shape.as_ref(), data.into());
        check_fit(shape, data.len())?;
        Ok(Self::local(shape.to_vec(), data))
    }

    fn local(shape: Vec<usize>, data: Vec<T>) -> Self {
        Self { handle: None, shape: OnceCell::from(shape), data: OnceCell::from(data) }
    }

    /// Takes over a handle whose type is known to be `T`'s.
    pub(crate) fn from_handle(handle: Handle) -> Self {
        Self { handle: Some(handle), shape: OnceCell::new(), data: OnceCell::new() }
    }

    /// The handle, or a new one where the elements are only here.
    pub(crate) fn into_handle(mut self) -> Handle {
        self.handle.take().unwrap_or_else(|| {
            let dimensions = dimensions(self.shape());
            Handle::new(&dimensions, T::TENSOR_TYPE, bytemuck::cast_slice(self.data()))
        })
    }

    /// The host's copy, which is there wherever the elements or the shape are not here.
    fn host(&self) -> &Handle {
        self.handle.as_ref().expect("a tensor without a handle has its shape and elements here")
    }

    /// The size of each dimension.
    pub fn shape(&self) -> &[usize] {
        self.shape.get_or_init(|| self.host().dimensions().into_iter().map(|size| size as usize).collect())
    }

    /// The size of each of exactly `N` dimensions: `let [rows, columns] = tensor.dims()?;`
    ///
    /// # Errors
    /// The tensor has another number of dimensions.
    pub fn dims<const N: usize>(&self) -> Result<[usize; N], ShapeError> {
        let shape = self.shape();
        shape.try_into().map_err(|_| ShapeError { message: format!("expected {N} dimensions, got shape {shape:?}") })
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.data.get().map_or_else(|| self.shape().iter().product(), Vec::len)
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements, fetched from the host by the first call.
    pub fn data(&self) -> &[T] {
        self.data.get_or_init(|| from_bytes(self.host().data()))
    }

    /// The elements themselves; the host's copy is given back.
    pub fn into_vec(mut self) -> Vec<T> {
        self.data();
        self.data.take().expect("data() has just filled it")
    }

    /// The elements of each entry of the first dimension: a batch's items, a matrix's rows. Fetches the elements.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[T]> {
        let (count, width) = match self.shape() {
            [] => (1, 1),
            [count, rest @ ..] => (*count, rest.iter().product()),
        };
        let data = self.data();
        (0..count).map(move |row| &data[row * width..(row + 1) * width])
    }

    /// The same elements in another shape. Fetches them, because wasi:nn cannot give a tensor another shape.
    ///
    /// # Errors
    /// The shape's product is not the number of elements.
    pub fn reshape(self, shape: impl AsRef<[usize]>) -> Result<Self, ShapeError> {
        Self::new(shape, self.into_vec())
    }

    /// A tensor of the same shape with every element put through `change`. Fetches the elements.
    pub fn map<U: Element>(&self, change: impl FnMut(T) -> U) -> Tensor<U> {
        Tensor::local(self.shape().to_vec(), self.data().iter().copied().map(change).collect())
    }
}

/// One dimension.
impl<T: Element> From<Vec<T>> for Tensor<T> {
    fn from(data: Vec<T>) -> Self {
        Self::local(vec![data.len()], data)
    }
}

/// Copies the elements, fetching them if they are not here yet.
impl<T: Element> Clone for Tensor<T> {
    fn clone(&self) -> Self {
        Self::local(self.shape().to_vec(), self.data().to_vec())
    }
}

/// Same shape, same elements. Fetches both tensors' elements.
impl<T: Element> PartialEq for Tensor<T> {
    fn eq(&self, other: &Self) -> bool {
        self.shape() == other.shape() && self.data() == other.data()
    }
}

/// Shows what is here, without fetching anything.
impl<T: Element> fmt::Debug for Tensor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut show = f.debug_struct("Tensor");
        show.field("datatype", &T::DATATYPE).field("on_host", &self.handle.is_some());
        if let Some(shape) = self.shape.get() {
            show.field("shape", shape);
        }
        if let Some(data) = self.data.get() {
            show.field("data", data);
        }
        show.finish()
    }
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ShapeError {}

/// Whether so many elements fill the shape.
pub(crate) fn check_fit(shape: &[usize], elements: usize) -> Result<(), ShapeError> {
    let product = shape.iter().try_fold(1_usize, |count, size| count.checked_mul(*size));
    if product == Some(elements) {
        return Ok(());
    }
    Err(ShapeError { message: format!("shape {shape:?} does not fit {elements} elements") })
}

/// A shape as the host takes it.
pub(crate) fn dimensions(shape: &[usize]) -> Vec<u32> {
    shape.iter().map(|size| u32::try_from(*size).expect("a size in 32-bit memory fits 32 bits")).collect()
}

/// The host's bytes as elements. Copies unless the alignment happens to be the same (as for `u8`).
fn from_bytes<T: Element>(bytes: Vec<u8>) -> Vec<T> {
    bytemuck::allocation::try_cast_vec(bytes).unwrap_or_else(|(_, bytes)| bytemuck::pod_collect_to_vec(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bf16, f16};

    #[test]
    fn the_shape_must_fit_the_elements() {
        let error = Tensor::new([2, 2], vec![1_i64, 2, 3]).unwrap_err();
        assert_eq!(error.to_string(), "shape [2, 2] does not fit 3 elements");
        assert!(Tensor::<u8>::new([usize::MAX, 2], vec![]).is_err(), "a product that overflows is no fit");
        assert_eq!(Tensor::new([], vec![7_u8]).unwrap().len(), 1);
        assert!(Tensor::<f32>::new([0, 8, 8], vec![]).unwrap().is_empty());
    }

    #[test]
    fn dimensions_are_taken_apart_by_number() {
        let tensor = Tensor::new([2, 3], vec![0_u8; 6]).unwrap();
        assert_eq!(tensor.dims::<2>(), Ok([2, 3]));
        assert_eq!(tensor.dims::<3>().unwrap_err().to_string(), "expected 3 dimensions, got shape [2, 3]");
    }

    #[test]
    fn rows_follow_the_first_dimension() {
        let tensor = Tensor::new([2, 1, 2], vec![1, 2, 3, 4]).unwrap();
        assert_eq!(tensor.rows().collect::<Vec<_>>(), [&[1, 2], &[3, 4]]);
        assert_eq!(Tensor::new([], vec![5]).unwrap().rows().collect::<Vec<_>>(), [&[5]]);
        assert_eq!(Tensor::<i32>::new([0, 3], vec![]).unwrap().rows().len(), 0);
        assert_eq!(Tensor::<i32>::new([3, 0], vec![]).unwrap().rows().len(), 3);
    }

    #[test]
    fn map_and_reshape_keep_the_elements() {
        let tensor = Tensor::from(vec![0_u8, 51, 255]).map(|ink| f32::from(ink) / 255.0).reshape([3, 1]).unwrap();
        assert_eq!(tensor, Tensor::new([3, 1], vec![0.0, 0.2, 1.0]).unwrap());
        assert!(tensor.reshape([2, 2]).is_err());
    }

    #[test]
    fn elements_survive_the_way_through_bytes() {
        fn there_and_back<T: Element>(data: &[T]) {
            let bytes: Vec<u8> = bytemuck::cast_slice(data).to_vec();
            assert_eq!(from_bytes::<T>(bytes), data);
        }
        there_and_back(&[1.5_f32, f32::MIN_POSITIVE, f32::INFINITY]);
        there_and_back(&[-0.1_f64]);
        there_and_back(&[0_u8, 255]);
        there_and_back(&[i32::MIN, i32::MAX]);
        there_and_back(&[i64::MIN, i64::MAX]);
        there_and_back(&[f16::from_f32(0.5)]);
        there_and_back(&[bf16::from_f32(-2.0)]);
        there_and_back::<f32>(&[]);
    }
}
