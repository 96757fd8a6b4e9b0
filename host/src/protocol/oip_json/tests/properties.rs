//! What holds for every tensor and every body.

use bytes::Bytes;
use half::{bf16, f16};
use proptest::prelude::*;

use super::{one, parse, written};
use crate::protocol::oip_json::{BinaryOutputs, Halves, parse_request, write_response};
use crate::tensor::{Datatype, Storage, Tensor};

fn any_datatype() -> impl Strategy<Value = Datatype> {
    use Datatype::{Bf16, Bool, Bytes, Fp16, Fp32, Fp64, Int8, Int16, Int32, Int64, Uint8, Uint16, Uint32, Uint64};
    prop::sample::select(vec![
        Bool, Uint8, Uint16, Uint32, Uint64, Int8, Int16, Int32, Int64, Fp16, Bf16, Fp32, Fp64, Bytes,
    ])
}

/// Any tensor of up to three dimensions, with any bits (NaN and infinities among them) in its elements.
pub(super) fn any_tensor() -> impl Strategy<Value = Tensor> {
    (any_datatype(), prop::collection::vec(0usize..4, 0..4)).prop_flat_map(|(datatype, shape)| {
        let count: usize = shape.iter().product();
        match datatype.size_bytes() {
            None => prop::collection::vec(any::<String>(), count)
                .prop_map(move |texts| Tensor::variable(shape.clone(), texts).expect("as many as the shape says"))
                .boxed(),
            Some(size) => prop::collection::vec(any::<u8>(), count * size)
                .prop_map(move |mut bytes| {
                    if datatype == Datatype::Bool {
                        bytes.iter_mut().for_each(|byte| *byte &= 1);
                    }
                    Tensor::fixed(datatype, shape.clone(), Bytes::from(bytes)).expect("as many as the shape says")
                })
                .boxed(),
        }
    })
}

/// The tensor's elements, every NaN the same one: JSON does not carry a NaN's bits.
fn elements(tensor: &Tensor) -> Vec<Vec<u8>> {
    let canonical = |chunk: &[u8]| -> Vec<u8> {
        let is_nan = match (tensor.datatype(), chunk) {
            (Datatype::Fp16, &[a, b]) => f16::from_le_bytes([a, b]).is_nan(),
            (Datatype::Bf16, &[a, b]) => bf16::from_le_bytes([a, b]).is_nan(),
            (Datatype::Fp32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]).is_nan(),
            (Datatype::Fp64, &[a, b, c, d, e, f, g, h]) => f64::from_le_bytes([a, b, c, d, e, f, g, h]).is_nan(),
            _ => false,
        };
        if is_nan { b"NaN".to_vec() } else { chunk.to_vec() }
    };
    match tensor.storage() {
        Storage::Fixed(bytes) => bytes.chunks(tensor.datatype().size_bytes().unwrap_or(1)).map(canonical).collect(),
        Storage::Variable(elements) => elements.iter().map(<[u8]>::to_vec).collect(),
    }
}

/// `flat` cut into arrays of arrays along `shape`.
fn nest(flat: &[serde_json::Value], shape: &[usize]) -> serde_json::Value {
    match shape {
        [] => flat[0].clone(),
        [_] => flat.to_vec().into(),
        [dim, inner @ ..] => {
            let step: usize = inner.iter().product();
            (0..*dim).map(|index| nest(&flat[index * step..(index + 1) * step], inner)).collect()
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_back(tensor in any_tensor()) {
        let outputs = [("x".into(), tensor.clone())];
        let body = write_response("m", "1", None, &outputs, &BinaryOutputs::default()).expect("all of it is writable").json;
        // A response's outputs have the form of a request's inputs.
        let text = String::from_utf8(body).expect("JSON is UTF-8").replacen("\"outputs\":", "\"inputs\":", 1);
        let request = parse(&text).expect("what was written is valid");
        let back = &request.inputs[0].1;
        prop_assert_eq!(back.datatype(), tensor.datatype());
        prop_assert_eq!(back.shape(), tensor.shape());
        prop_assert_eq!(elements(back), elements(&tensor));
    }

    #[test]
    fn nested_equals_flat(tensor in any_tensor()) {
        let flat: serde_json::Value = serde_json::from_str(&written(tensor.clone()).expect("writable")).expect("JSON");
        let nested = nest(flat.as_array().expect("an array"), tensor.shape());
        let shape = serde_json::to_string(tensor.shape()).expect("numbers");
        let read = |data: &serde_json::Value| one(tensor.datatype().name(), &shape, &data.to_string()).expect("valid");
        prop_assert_eq!(elements(&read(&nested)), elements(&read(&flat)));
    }

    #[test]
    fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_request("m", &Bytes::from(body), None, Halves::Binary);
    }

    #[test]
    fn requests_with_arbitrary_data_never_panic(
        datatype in any_datatype(),
        shape in prop::collection::vec(-1i64..4, 0..4),
        data in r#"[\[\]{},:"\\ 0-9.eE+\-NaInftyulrs]{0,40}"#,
    ) {
        if let Ok(tensor) = one(datatype.name(), &format!("{shape:?}"), &data) {
            prop_assert_eq!(tensor.datatype(), datatype);
        }
    }
}
