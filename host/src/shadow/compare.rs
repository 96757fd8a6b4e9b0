//! Whether two answers are the same, and what differs.

use half::{bf16, f16};

use crate::telemetry::Likeness;
use crate::tensor::{Datatype, Tensor};

/// Floating-point numbers are close that differ by no more than this, and this share of the larger one: what another order of
/// operations brings about.
pub const TOLERANCE: f64 = 1e-3;

/// How the answer compares with the expected one, and what differs most if something does.
pub fn compare(expected: &[(String, Tensor)], answer: &[(String, Tensor)]) -> (Likeness, Option<String>) {
    if let Some((extra, _)) = answer.iter().find(|(name, _)| !expected.iter().any(|(known, _)| known == name)) {
        return (Likeness::Different, Some(format!("output '{extra}' is there as well")));
    }
    let mut close = None;
    for (name, tensor) in expected {
        let Some((_, other)) = answer.iter().find(|(given, _)| given == name) else {
            return (Likeness::Different, Some(format!("output '{name}' is missing")));
        };
        match differ(tensor, other) {
            None => {}
            Some((Likeness::Close, what)) => close = Some(format!("output '{name}' {what}")),
            Some((likeness, what)) => return (likeness, Some(format!("output '{name}' {what}"))),
        }
    }
    (if close.is_some() { Likeness::Close } else { Likeness::Same }, close)
}

fn differ(one: &Tensor, other: &Tensor) -> Option<(Likeness, String)> {
    if (one.datatype(), one.shape()) != (other.datatype(), other.shape()) {
        let of = |tensor: &Tensor| format!("{} {:?}", tensor.datatype(), tensor.shape());
        return Some((Likeness::Different, format!("is {} instead of {}", of(other), of(one))));
    }
    if one.raw() == other.raw() {
        return None;
    }
    let (left, right) = (&one.raw()[..], &other.raw()[..]);
    match one.datatype() {
        Datatype::Fp16 => numbers(left, right, |bytes| f16::from_le_bytes(bytes).to_f64()),
        Datatype::Bf16 => numbers(left, right, |bytes| bf16::from_le_bytes(bytes).to_f64()),
        Datatype::Fp32 => numbers(left, right, |bytes| f64::from(f32::from_le_bytes(bytes))),
        Datatype::Fp64 => numbers(left, right, f64::from_le_bytes),
        Datatype::Bool
        | Datatype::Uint8
        | Datatype::Uint16
        | Datatype::Uint32
        | Datatype::Uint64
        | Datatype::Int8
        | Datatype::Int16
        | Datatype::Int32
        | Datatype::Int64
        | Datatype::Bytes => Some((Likeness::Different, "has other elements".to_owned())),
    }
}

/// The same, close or different; with the largest difference.
fn numbers<const N: usize>(left: &[u8], right: &[u8], read: impl Fn([u8; N]) -> f64) -> Option<(Likeness, String)> {
    let (left, right) = (left.as_chunks().0.iter(), right.as_chunks().0.iter());
    let (mut largest, mut is_close) = (0.0_f64, true);
    for (one, other) in left.zip(right).map(|(one, other)| (read(*one), read(*other))) {
        if one == other || one.is_nan() && other.is_nan() {
            continue;
        }
        let difference = (one - other).abs();
        // One that is no number, or infinite, is far from every other.
        is_close &= difference.is_finite() && difference <= TOLERANCE * (1.0 + one.abs().max(other.abs()));
        largest = largest.max(if difference.is_nan() { f64::INFINITY } else { difference });
    }
    let likeness = if is_close { Likeness::Close } else { Likeness::Different };
    (largest > 0.0).then(|| (likeness, format!("differs by up to {largest:e}")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn floats(values: &[f32]) -> Tensor {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Tensor::fixed(Datatype::Fp32, vec![values.len()], bytes.into()).expect("they fit")
    }

    fn likeness(one: &[f32], other: &[f32]) -> Likeness {
        compare(&[("x".into(), floats(one))], &[("x".into(), floats(other))]).0
    }

    #[test]
    fn numbers_are_the_same_close_or_different() {
        assert_eq!(likeness(&[1.0, f32::NAN, 0.0], &[1.0, f32::NAN, -0.0]), Likeness::Same);
        assert_eq!(likeness(&[1000.0, 0.0], &[1000.9, 0.0009]), Likeness::Close);
        for (one, other) in [(0.0, 0.0011), (1000.0, 1002.1), (1.0, f32::NAN), (f32::MAX, f32::INFINITY), (1.0, -1.0)] {
            assert_eq!(likeness(&[one, 1.0], &[other, 1.0]), Likeness::Different, "{one} {other}");
        }
        let halves =
            |bits: u16| Tensor::fixed(Datatype::Fp16, vec![1], bits.to_le_bytes().to_vec().into()).expect("one");
        let (likeness, what) = compare(&[("x".into(), halves(0x3c00))], &[("x".into(), halves(0x4000))]);
        assert_eq!((likeness, what.as_deref()), (Likeness::Different, Some("output 'x' differs by up to 1e0")));
    }

    #[test]
    fn what_differs_is_told() {
        let text = |text: &str| vec![("x".to_owned(), Tensor::variable(vec![1], [text]).expect("one"))];
        let one = vec![("x".to_owned(), floats(&[1.0]))];
        for (other, part) in [
            (vec![], "'x' is missing"),
            (vec![one[0].clone(), ("y".to_owned(), floats(&[]))], "'y' is there as well"),
            (vec![("x".to_owned(), floats(&[1.0, 2.0]))], "is FP32 [2] instead of FP32 [1]"),
            (text("a"), "is BYTES [1] instead of FP32 [1]"),
        ] {
            let (likeness, what) = compare(&one, &other);
            assert_eq!(likeness, Likeness::Different);
            assert!(what.as_deref().is_some_and(|what| what.contains(part)), "{part}: {what:?}");
        }
        assert_eq!(compare(&text("a"), &text("a")), (Likeness::Same, None));
        assert_eq!(compare(&text("a"), &text("b")).1.as_deref(), Some("output 'x' has other elements"));
    }

    proptest! {
        #[test]
        fn comparing_is_fair(one in prop::collection::vec(any::<f32>(), 0..5), other in prop::collection::vec(any::<f32>(), 0..5)) {
            prop_assert_eq!(likeness(&one, &one), Likeness::Same);
            prop_assert_eq!(likeness(&one, &other), likeness(&other, &one));
        }
    }
}
