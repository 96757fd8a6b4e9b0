//! A body that is one tensor and nothing else: the binary data of a model's only input, whose shape follows from the model.

use bytes::Bytes;

use super::binary::{BinaryOutputs, Tail};
use crate::protocol::ProtocolError;
use crate::protocol::predict::PredictRequest;
use crate::tensor::{Datatype, Signature, TensorSpec};

/// The request that a body without JSON is. Of the input's open dimensions one may be found from the body's length; before it, the
/// first is 1, as of one request in a batch. BYTES have one element. All outputs are to go out as binary data.
pub fn parse_raw(
    model: &str,
    signature: &Signature,
    body: &Bytes,
) -> Result<(PredictRequest, BinaryOutputs), ProtocolError> {
    let [spec] = signature.inputs.as_slice() else {
        let count = signature.inputs.len();
        return Err(ProtocolError::Mismatch(format!(
            "a raw binary request needs a model with exactly one input, but '{model}' has {count}; put JSON before the data \
             that says which inputs it holds"
        )));
    };
    let wrong = |reason| ProtocolError::Input { input: spec.name.clone(), reason };
    let (shape, bytes) = match spec.datatype {
        Datatype::Bytes => (bytes_shape(spec).map_err(wrong)?, with_length(body).map_err(wrong)?),
        _ => (shape(spec, body.len()).map_err(wrong)?, body.clone()),
    };
    let mut tail = Tail::new(bytes);
    let size = tail.len();
    let tensor = tail.take((model, &spec.name), size, spec.datatype, shape)?;
    let inputs = vec![(spec.name.clone(), tensor)];
    let request = PredictRequest { inputs, body_bytes: body.len(), ..PredictRequest::default() };
    Ok((request, BinaryOutputs { others: true, ..BinaryOutputs::default() }))
}

/// The shape that makes the body's length right.
fn shape(spec: &TensorSpec, bytes: usize) -> Result<Vec<usize>, String> {
    let mut shape: Vec<usize> = spec.shape.iter().map(|&dim| usize::try_from(dim).unwrap_or(1)).collect();
    let open: Vec<usize> = (0..shape.len()).filter(|&at| spec.shape[at] < 0).collect();
    let at = match *open.as_slice() {
        [] => return Ok(shape),
        [at] | [0, at] => at,
        _ => {
            return Err(
                "a raw binary request can leave one dimension open beside the batch, but it has more; put JSON before \
                        the data that says its shape"
                    .to_owned(),
            );
        }
    };
    let each = shape.iter().try_fold(spec.datatype.size_bytes().unwrap_or(1), |bytes, dim| bytes.checked_mul(*dim));
    // What does not come out even is refused where the tensor is made.
    if let Some(each) = each.filter(|&each| each > 0 && bytes.is_multiple_of(each)) {
        shape[at] = bytes / each;
    }
    Ok(shape)
}

fn bytes_shape(spec: &TensorSpec) -> Result<Vec<usize>, String> {
    if spec.shape.iter().all(|&dim| dim == 1 || dim < 0) {
        return Ok(vec![1; spec.shape.len()]);
    }
    Err(format!("a raw binary request is one element of BYTES, but its shape is {:?}", spec.shape))
}

/// One element as the extension has it: its length before it.
fn with_length(element: &Bytes) -> Result<Bytes, String> {
    let length = u32::try_from(element.len()).map_err(|_| "an element has 4 GiB at most".to_owned())?;
    Ok([&length.to_le_bytes()[..], element].concat().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(datatype: Datatype, shape: &[i64]) -> Signature {
        let spec = TensorSpec { name: "x".into(), datatype, shape: shape.to_vec() };
        Signature { inputs: vec![spec], outputs: vec![] }
    }

    fn parsed(datatype: Datatype, shape: &[i64], bytes: usize) -> Result<Vec<usize>, String> {
        let body = Bytes::from(vec![0; bytes]);
        let parsed = parse_raw("m", &signature(datatype, shape), &body);
        parsed.map(|(request, _)| request.inputs[0].1.shape().to_vec()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_length_says_the_open_dimension() {
        assert_eq!(parsed(Datatype::Fp32, &[-1, 16], 64), Ok(vec![1, 16]));
        assert_eq!(parsed(Datatype::Fp32, &[-1, 16], 128), Ok(vec![2, 16]));
        assert_eq!(parsed(Datatype::Fp32, &[-1, -1], 12), Ok(vec![1, 3]));
        assert_eq!(parsed(Datatype::Uint8, &[2, 2], 4), Ok(vec![2, 2]));
        assert_eq!(parsed(Datatype::Bytes, &[-1], 9), Ok(vec![1]));
    }

    #[test]
    fn what_cannot_be_told_is_refused() {
        for (datatype, shape, bytes, said) in [
            (
                Datatype::Fp32,
                &[-1, 16][..],
                63,
                "input byte size mismatch for input 'x' for model 'm'. Expected 64, got 63",
            ),
            (Datatype::Uint8, &[2, 2], 5, "Expected 4, got 5"),
            (Datatype::Fp32, &[-1, -1, -1], 4, "leave one dimension open beside the batch"),
            (Datatype::Bytes, &[2], 4, "one element of BYTES"),
        ] {
            let refused = parsed(datatype, shape, bytes).expect_err("refused");
            assert!(refused.contains(said), "{refused}");
        }
        let mut two = signature(Datatype::Fp32, &[1]);
        two.inputs.push(two.inputs[0].clone());
        let refused = parse_raw("m", &two, &Bytes::new()).expect_err("refused").to_string();
        assert!(refused.contains("exactly one input, but 'm' has 2"), "{refused}");
    }

    #[test]
    fn an_element_of_bytes_is_the_body() {
        let (request, binary) = parse_raw("m", &signature(Datatype::Bytes, &[1, 1]), &Bytes::from("text")).unwrap();
        assert_eq!((request.inputs[0].1.raw().as_ref(), binary.others), (&b"\x04\0\0\0text"[..], true));
    }
}
