use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::grpc::messages::InferTensorContents;
use crate::protocol::contents::from_raw;

const DATATYPES: [Datatype; 14] = [
    Datatype::Bool,
    Datatype::Uint8,
    Datatype::Uint16,
    Datatype::Uint32,
    Datatype::Uint64,
    Datatype::Int8,
    Datatype::Int16,
    Datatype::Int32,
    Datatype::Int64,
    Datatype::Fp16,
    Datatype::Bf16,
    Datatype::Fp32,
    Datatype::Fp64,
    Datatype::Bytes,
];

/// Shapes of few elements, and a few that claim more than there can be.
fn shape() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        9 => prop::collection::vec(0usize..4, 0..4),
        1 => prop::collection::vec(prop_oneof![Just(usize::MAX), Just(1 << 40), Just(1)], 0..70),
    ]
}

/// Often none.
fn few<T: Clone + std::fmt::Debug>(element: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<T>> {
    prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(element, 0..9)]
}

prop_compose! {
    /// Contents of any sort: one field, several, none.
    fn contents()(
        bool_contents in few(any::<bool>()),
        int_contents in few(prop_oneof![any::<i32>(), -130i32..130]),
        int64_contents in few(any::<i64>()),
        uint_contents in few(prop_oneof![any::<u32>(), 0u32..300]),
        uint64_contents in few(any::<u64>()),
        fp32_contents in few(any::<f32>()),
        fp64_contents in few(any::<f64>()),
        bytes_contents in few(prop::collection::vec(any::<u8>(), 0..5)),
    ) -> InferTensorContents {
        InferTensorContents {
            bool_contents,
            int_contents,
            int64_contents,
            uint_contents,
            uint64_contents,
            fp32_contents,
            fp64_contents,
            bytes_contents,
        }
    }
}

/// What the elements in the datatype's field are in raw form.
fn raw(datatype: Datatype, contents: &InferTensorContents) -> Vec<u8> {
    fn all<T: Copy, const N: usize>(elements: &[T], bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
        elements.iter().flat_map(|&element| bytes(element)).collect()
    }
    match datatype {
        Datatype::Bool => all(&contents.bool_contents, |it| [u8::from(it)]),
        Datatype::Int8 => all(&contents.int_contents, |it| i8::try_from(it).unwrap().to_le_bytes()),
        Datatype::Int16 => all(&contents.int_contents, |it| i16::try_from(it).unwrap().to_le_bytes()),
        Datatype::Int32 => all(&contents.int_contents, i32::to_le_bytes),
        Datatype::Int64 => all(&contents.int64_contents, i64::to_le_bytes),
        Datatype::Uint8 => all(&contents.uint_contents, |it| [u8::try_from(it).unwrap()]),
        Datatype::Uint16 => all(&contents.uint_contents, |it| u16::try_from(it).unwrap().to_le_bytes()),
        Datatype::Uint32 => all(&contents.uint_contents, u32::to_le_bytes),
        Datatype::Uint64 => all(&contents.uint64_contents, u64::to_le_bytes),
        Datatype::Fp32 => all(&contents.fp32_contents, f32::to_le_bytes),
        Datatype::Fp64 => all(&contents.fp64_contents, f64::to_le_bytes),
        Datatype::Fp16 | Datatype::Bf16 => Vec::new(),
        Datatype::Bytes => (contents.bytes_contents.iter())
            .flat_map(|it| [&u32::try_from(it.len()).unwrap().to_le_bytes()[..], it].concat())
            .collect(),
    }
}

proptest! {
    #[test]
    fn typed_contents_are_refused_or_come_back_whole(
        datatype in prop::sample::select(&DATATYPES[..]),
        shape in shape(),
        contents in contents(),
    ) {
        if let Ok(tensor) = from_typed(datatype, shape.clone(), &contents.encode_to_vec().into()) {
            prop_assert_eq!((tensor.datatype(), tensor.shape()), (datatype, &shape[..]));
            prop_assert_eq!(tensor.raw().clone(), raw(datatype, &contents));
        }
    }

    #[test]
    fn raw_contents_are_refused_or_come_back_whole(
        datatype in prop::sample::select(&DATATYPES[..]),
        shape in shape(),
        // Long enough for lengths of strings, and often of small bytes, which are good ones.
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0u8..2], 0..40),
    ) {
        let bytes = Bytes::from(bytes);
        if let Ok(tensor) = from_raw(datatype, shape.clone(), bytes.clone()) {
            prop_assert_eq!((tensor.datatype(), tensor.shape()), (datatype, &shape[..]));
            prop_assert_eq!(tensor.raw().clone(), bytes);
        }
    }

    #[test]
    fn what_fits_is_taken(datatype in prop::sample::select(&DATATYPES[..]), dims in prop::collection::vec(0usize..4, 0..4)) {
        let count: usize = dims.iter().product();
        let raw = Bytes::from(vec![0; count * datatype.size_bytes().unwrap_or(size_of::<u32>())]);
        let tensor = from_raw(datatype, dims.clone(), raw.clone()).unwrap();
        prop_assert_eq!(tensor.raw().clone(), raw.clone());
        let contents = match field(datatype).map(name) {
            None => return Ok(()),
            Some("bool_contents") => InferTensorContents { bool_contents: vec![false; count], ..Default::default() },
            Some("int_contents") => InferTensorContents { int_contents: vec![0; count], ..Default::default() },
            Some("int64_contents") => InferTensorContents { int64_contents: vec![0; count], ..Default::default() },
            Some("uint_contents") => InferTensorContents { uint_contents: vec![0; count], ..Default::default() },
            Some("uint64_contents") => InferTensorContents { uint64_contents: vec![0; count], ..Default::default() },
            Some("fp32_contents") => InferTensorContents { fp32_contents: vec![0.0; count], ..Default::default() },
            Some("fp64_contents") => InferTensorContents { fp64_contents: vec![0.0; count], ..Default::default() },
            Some(_) => InferTensorContents { bytes_contents: vec![Vec::new(); count], ..Default::default() },
        };
        prop_assert_eq!(from_typed(datatype, dims, &contents.encode_to_vec().into()).unwrap(), tensor);
    }
}

#[test]
fn raw_elements_of_fixed_size_are_not_copied() {
    let bytes = Bytes::from(vec![1; 64]);
    let tensor = from_raw(Datatype::Fp32, vec![16], bytes.clone()).unwrap();
    assert_eq!(tensor.raw().as_ptr(), bytes.as_ptr());
    let text = Bytes::from_static(b"\x02\0\0\0ab");
    let tensor = from_raw(Datatype::Bytes, vec![1], text.clone()).unwrap();
    assert_eq!(tensor.raw().as_ptr(), text.as_ptr());
}

#[test]
fn elements_may_come_in_any_of_the_forms_that_the_wire_has() {
    // Packed and alone, in one field.
    let mixed = Bytes::from_static(&[0x12, 2, 1, 2, 0x10, 3, 0x1a, 0]);
    let tensor = from_typed(Datatype::Int8, vec![3], &mixed).unwrap();
    assert_eq!(tensor.raw().as_ref(), [1, 2, 3]);
    let said = |bytes: &'static [u8]| match from_typed(Datatype::Int8, vec![3], &Bytes::from_static(bytes)) {
        Err(Misfit::Other(reason)) => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(said(&[0x12, 9, 1]), "its contents end early");
    assert_eq!(said(&[0x15, 0, 0, 0, 0]), "its int_contents are of another type");
    assert!(said(&[0x12, 1, 0x80]).starts_with("its contents cannot be read: "));
    assert_eq!(said(&[0x42, 0]), "its elements are in bytes_contents, but those of INT8 belong in int_contents");
}

/// Two bytes each here, four in the tensor; and what is too many is counted, not kept.
#[test]
fn countless_strings_take_a_small_multiple_of_their_message() {
    let contents = Bytes::from([0x42, 0].repeat(100_000));
    let tensor = from_typed(Datatype::Bytes, vec![100_000], &contents).unwrap();
    assert_eq!(tensor.raw().len(), 2 * contents.len());
    let refused = from_typed(Datatype::Bytes, vec![1], &contents);
    assert_eq!(refused, Err(Misfit::Strings { expected: 1, got: 100_000 }));
}
