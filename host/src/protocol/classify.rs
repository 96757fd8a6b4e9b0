//! The classification extension: in place of an output, the largest of its elements and where they are.
//!
//! An element of the result is the text `value:index`, or `value:index:label` where labels are known.
//! <https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_classification.md>

use std::cmp::Ordering;

use half::{bf16, f16};

use super::ProtocolError;
use super::predict::Parameter;
use crate::tensor::{Datatype, Packer, Signature, Storage, Tensor, element_count};

/// How many of a requested output's largest elements are wanted in place of it, as its parameters say.
pub fn wanted(parameters: &[(String, Parameter)]) -> Result<Option<usize>, ProtocolError> {
    const NAME: &str = "classification";
    let Some((name, count)) = parameters.iter().find(|(name, _)| name == NAME) else { return Ok(None) };
    let count = match count {
        Parameter::Int(count) => usize::try_from(*count).ok().filter(|&count| count > 0),
        Parameter::Bool(_) | Parameter::Double(_) | Parameter::Text(_) => None,
    };
    let wrong = || ProtocolError::Parameter {
        name: name.clone(),
        reason: "must be the number of classes, at least 1".to_owned(),
    };
    count.map(Some).ok_or_else(wrong)
}

/// Puts the largest elements in the place of those outputs of which they are wanted. An output has rows if its first dimension is open,
/// or if nothing is known of it.
pub fn classify_outputs(
    signature: &Signature,
    outputs: &mut [(String, Tensor)],
    classes: &[(String, usize)],
) -> Result<(), ProtocolError> {
    for (name, count) in classes {
        let Some((_, output)) = outputs.iter_mut().find(|(output, _)| output == name) else { continue };
        let spec = signature.outputs.iter().find(|spec| spec.name == *name);
        let has_rows = spec.map_or(output.shape().len() > 1, |spec| spec.shape.first().is_some_and(|&dim| dim < 0));
        *output = classify(name, output, *count, has_rows)?;
    }
    Ok(())
}

/// The most classes of one output.
const MAX_CLASSES: usize = 1 << 18;

/// The `count` largest elements of each row, or all of them if there are fewer: BYTES of shape `[rows, count]`. An output that has no
/// rows, since its model does not batch, is one: `[count]`.
fn classify(name: &str, tensor: &Tensor, count: usize, has_rows: bool) -> Result<Tensor, ProtocolError> {
    let Storage::Fixed(bytes) = tensor.storage() else { return Err(unsupported(name, tensor.datatype())) };
    let rows = match tensor.shape().first() {
        Some(&rows) if has_rows => rows,
        _ => 1,
    };
    let elements = element_count(tensor.shape()).unwrap_or(0);
    let width = elements.checked_div(rows).unwrap_or(0);
    let count = count.min(width);
    // At most as many as there are elements.
    let wanted = rows * count;
    if wanted > MAX_CLASSES {
        return Err(ProtocolError::Mismatch(format!(
            "class result not available for output '{name}': {count} classes of {rows} rows are {wanted}, and at most \
             {MAX_CLASSES} are given"
        )));
    }
    let mut classes = Packer::default();
    let row_bytes = width * tensor.datatype().size_bytes().unwrap_or(1);
    // There may be more rows than anybody could go through, if they are empty.
    let rows_with_elements = if width == 0 { 0 } else { rows };
    for row in 0..rows_with_elements {
        for class in largest(name, tensor.datatype(), &bytes[row * row_bytes..(row + 1) * row_bytes], count)? {
            classes.push(class.as_bytes()).map_err(|error| ProtocolError::Answer(error.to_string()))?;
        }
    }
    let shape = if has_rows { vec![rows, count] } else { vec![count] };
    Tensor::strings(shape, classes.finish()).map_err(|error| ProtocolError::Answer(format!("output '{name}': {error}")))
}

fn largest(name: &str, datatype: Datatype, bytes: &[u8], count: usize) -> Result<Vec<String>, ProtocolError> {
    Ok(match datatype {
        Datatype::Uint8 => top(bytes, u8::from_le_bytes, count, Ord::cmp, integer),
        Datatype::Uint16 => top(bytes, u16::from_le_bytes, count, Ord::cmp, integer),
        Datatype::Uint32 => top(bytes, u32::from_le_bytes, count, Ord::cmp, integer),
        Datatype::Uint64 => top(bytes, u64::from_le_bytes, count, Ord::cmp, integer),
        Datatype::Int8 => top(bytes, i8::from_le_bytes, count, Ord::cmp, integer),
        Datatype::Int16 => top(bytes, i16::from_le_bytes, count, Ord::cmp, integer),
        Datatype::Int32 => top(bytes, i32::from_le_bytes, count, Ord::cmp, integer),
        Datatype::Int64 => top(bytes, i64::from_le_bytes, count, Ord::cmp, integer),
        Datatype::Fp16 => top(bytes, |element| f16::from_le_bytes(element).to_f64(), count, float_order, float),
        Datatype::Bf16 => top(bytes, |element| bf16::from_le_bytes(element).to_f64(), count, float_order, float),
        Datatype::Fp32 => top(bytes, |element| f64::from(f32::from_le_bytes(element)), count, float_order, float),
        Datatype::Fp64 => top(bytes, f64::from_le_bytes, count, float_order, float),
        Datatype::Bool | Datatype::Bytes => return Err(unsupported(name, datatype)),
    })
}

/// Of equal elements the first comes first. No more is listed than twice what is wanted.
fn top<const N: usize, T: Copy>(
    bytes: &[u8],
    read: impl Fn([u8; N]) -> T,
    count: usize,
    order: impl Fn(&T, &T) -> Ordering,
    text: impl Fn(T) -> String,
) -> Vec<String> {
    let descending = |one: &(usize, T), other: &(usize, T)| order(&other.1, &one.1).then(one.0.cmp(&other.0));
    let keep = |found: &mut Vec<(usize, T)>| {
        if count < found.len() {
            found.select_nth_unstable_by(count, descending);
            found.truncate(count);
        }
    };
    let mut found: Vec<(usize, T)> = Vec::new();
    for element in bytes.as_chunks().0.iter().map(|element| read(*element)).enumerate() {
        // Enough to go through each element a few times, however few are wanted.
        const FEW: usize = 64;
        if found.len() >= (2 * count).max(FEW) {
            keep(&mut found);
        }
        found.push(element);
    }
    keep(&mut found);
    found.sort_unstable_by(descending);
    found.into_iter().map(|(index, value)| format!("{}:{index}", text(value))).collect()
}

/// What is no number is less than all that are.
fn float_order(one: &f64, other: &f64) -> Ordering {
    one.partial_cmp(other).unwrap_or_else(|| other.is_nan().cmp(&one.is_nan()))
}

fn integer(value: impl ToString + Copy) -> String {
    value.to_string()
}

/// Six digits behind the point, as other servers of the protocol write them.
fn float(value: f64) -> String {
    format!("{value:.6}")
}

fn unsupported(name: &str, datatype: Datatype) -> ProtocolError {
    ProtocolError::Mismatch(format!(
        "class result not available for output '{name}' due to unsupported type '{datatype}'"
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn floats(shape: Vec<usize>, values: &[f32]) -> Tensor {
        Tensor::fixed(Datatype::Fp32, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect()).unwrap()
    }

    fn texts(tensor: &Tensor) -> Vec<String> {
        let Storage::Variable(elements) = tensor.storage() else { panic!("they are texts") };
        elements.iter().map(|text| String::from_utf8(text.to_vec()).unwrap()).collect()
    }

    #[test]
    fn the_largest_of_each_row_come_first() {
        let scores = floats(vec![2, 3], &[0.1, 0.7, 0.2, 3.0, f32::NAN, 3.0]);
        let classes = classify("y", &scores, 2, true).unwrap();
        assert_eq!(classes.shape(), [2, 2]);
        assert_eq!(texts(&classes), ["0.700000:1", "0.200000:2", "3.000000:0", "3.000000:2"]);
        let classes = classify("y", &scores, 100, false).unwrap();
        assert_eq!(classes.shape(), [6]);
        assert_eq!(texts(&classes)[..2], ["3.000000:3", "3.000000:5"]);
        assert_eq!(texts(&classes)[5], "NaN:4");
    }

    /// A shape may say anything of rows that have nothing.
    #[test]
    fn rows_without_elements_take_no_time() {
        let classes = classify("y", &floats(vec![1_000_000_000_000_000, 0], &[]), 1, true).unwrap();
        assert_eq!(classes.shape(), [1_000_000_000_000_000, 0]);
        assert_eq!(classify("y", &floats(vec![0, 3], &[]), 1, true).unwrap().shape(), [0, 0]);
    }

    #[test]
    fn more_classes_than_anybody_reads_are_refused() {
        let bytes = vec![0_u8; MAX_CLASSES + 1].into();
        let tensor = Tensor::fixed(Datatype::Uint8, vec![MAX_CLASSES + 1], bytes).unwrap();
        let refused = classify("y", &tensor, usize::MAX, false).unwrap_err().to_string();
        assert!(refused.contains("262145") && refused.contains("at most 262144"), "{refused}");
        assert_eq!(texts(&classify("y", &tensor, 2, false).unwrap()), ["0:0", "0:1"]);
    }

    #[test]
    fn texts_have_no_largest() {
        let names = Tensor::variable(vec![1], ["a"]).unwrap();
        let refused = classify("label", &names, 1, true).unwrap_err().to_string();
        assert!(refused.contains("'label'") && refused.contains("unsupported type 'BYTES'"), "{refused}");
    }

    proptest! {
        #[test]
        fn what_is_left_out_is_no_larger_than_what_is_there(
            values in prop::collection::vec(any::<i32>(), 0..50),
            count in 0_usize..60,
        ) {
            let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let tensor = Tensor::fixed(Datatype::Int32, vec![values.len()], bytes).unwrap();
            let classes = texts(&classify("y", &tensor, count, false).unwrap());
            let mut sorted = values.clone();
            sorted.sort_unstable_by(|one, other| other.cmp(one));
            sorted.truncate(count);
            let found: Vec<i32> = classes.iter().map(|class| {
                let (value, index) = class.split_once(':').unwrap();
                let value = value.parse().unwrap();
                assert_eq!(values[index.parse::<usize>().unwrap()], value);
                value
            }).collect();
            prop_assert_eq!(found, sorted);
        }
    }
}
