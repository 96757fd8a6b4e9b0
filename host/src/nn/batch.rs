//! Several jobs' tensors as one run's, and the run's outputs as each job's: joined and parted along the first dimension.
//!
//! Pure. Both ways copy: a caller keeps neither its neighbours' memory nor a view of it.

use std::hash::{BuildHasher, Hash, Hasher};

use bytes::{Bytes, BytesMut};

use super::job::{Inputs, Outputs};
use super::queue::Sharing;
use super::value;
use crate::tensor::{Signature, Storage, Tensor, TensorSpec, moved};

/// Whether a model's signature lets requests share a run: every input and output has an open first dimension.
pub fn possible(signature: &Signature) -> bool {
    let open = |spec: &TensorSpec| spec.shape.first().is_some_and(|&dim| dim < 0);
    !signature.inputs.is_empty() && signature.inputs.iter().chain(&signature.outputs).all(open)
}

/// With whom inputs (in the model's order, of a model for which it is [`possible`]) may share a run; `None`: with nobody.
pub(super) fn sharing(inputs: &Inputs, max_rows: usize, hasher: &impl BuildHasher) -> Option<Sharing> {
    let rows = *inputs.first()?.1.shape().first()?;
    if rows == 0 || rows >= max_rows {
        return None;
    }
    let mut kind = hasher.build_hasher();
    for (name, tensor) in inputs {
        let (&first, rest) = tensor.shape().split_first()?;
        if first != rows {
            return None;
        }
        (name, tensor.datatype(), rest).hash(&mut kind);
    }
    Some(Sharing { kind: kind.finish(), rows, max_rows })
}

/// The inputs of a run for all of `jobs`, which are of one kind.
pub(super) fn join(jobs: &[&Inputs]) -> Inputs {
    let Some((first, _)) = jobs.split_first() else { return Vec::new() };
    let column = |at: usize| jobs.iter().map(move |inputs| &inputs[at].1);
    first.iter().enumerate().map(|(at, (name, _))| (name.clone(), join_column(column(at)))).collect()
}

fn join_column<'t>(tensors: impl Iterator<Item = &'t Tensor> + Clone) -> Tensor {
    let rows = tensors.clone().filter_map(|tensor| tensor.shape().first()).sum();
    let first = tensors.clone().next().expect("a batch has jobs");
    let mut shape = first.shape().to_vec();
    shape[0] = rows;
    let joined = match first.storage() {
        Storage::Fixed(_) => {
            let fixed = |tensor: &'t Tensor| match tensor.storage() {
                Storage::Fixed(bytes) => bytes.as_ref(),
                Storage::Variable(_) => &[],
            };
            let bytes = value::aligned_copy(tensors.map(fixed));
            Tensor::fixed(first.datatype(), shape, bytes)
        }
        Storage::Variable(_) => {
            let elements = |tensor: &'t Tensor| match tensor.storage() {
                Storage::Variable(elements) => Some(elements),
                Storage::Fixed(_) => None,
            };
            Tensor::variable(shape, tensors.filter_map(elements).flatten())
        }
    };
    joined.expect("jobs of one kind have the same datatype and the same dimensions but the first")
}

/// Each job's part of a run's outputs, given how many rows each put in. `None` when the outputs are not as long as the
/// inputs were: then they cannot be told apart.
pub(super) fn part(outputs: &Outputs, rows: &[usize]) -> Option<Vec<Outputs>> {
    let total: usize = rows.iter().sum();
    if outputs.iter().any(|(_, tensor)| tensor.shape().first() != Some(&total)) {
        return None;
    }
    let mut start = 0;
    let parts = rows.iter().map(|&count| {
        let part = outputs.iter().map(|(name, tensor)| (name.clone(), rows_of(tensor, start, count, total))).collect();
        start += count;
        part
    });
    Some(parts.collect())
}

/// `count` rows from `start` of a tensor that has `total`.
fn rows_of(tensor: &Tensor, start: usize, count: usize, total: usize) -> Tensor {
    let mut shape = tensor.shape().to_vec();
    shape[0] = count;
    let part = match tensor.storage() {
        Storage::Fixed(bytes) => {
            let row_bytes = bytes.len() / total;
            moved(count * row_bytes);
            Tensor::fixed(
                tensor.datatype(),
                shape,
                Bytes::copy_from_slice(&bytes[start * row_bytes..][..count * row_bytes]),
            )
        }
        Storage::Variable(elements) => {
            let row_elements = elements.len() / total;
            Tensor::strings(shape, elements.slice(start * row_elements, count * row_elements))
        }
    };
    part.expect("whole rows of a tensor are a tensor")
}

/// The same inputs with each tensor's elements in reverse: other rows of the same kind, made of values the model takes.
pub(super) fn reversed(inputs: &Inputs) -> Inputs {
    let reversed = |tensor: &Tensor| match (tensor.storage(), tensor.datatype().size_bytes()) {
        (Storage::Fixed(bytes), Some(size)) => {
            let mut turned = BytesMut::with_capacity(bytes.len());
            bytes.rchunks_exact(size).for_each(|element| turned.extend_from_slice(element));
            Tensor::fixed(tensor.datatype(), tensor.shape().to_vec(), turned.freeze())
        }
        (Storage::Fixed(_), None) => Ok(tensor.clone()),
        (Storage::Variable(elements), _) => {
            let elements: Vec<&[u8]> = elements.iter().collect();
            Tensor::variable(tensor.shape().to_vec(), elements.into_iter().rev())
        }
    };
    let turn = |(name, tensor): &(String, Tensor)| {
        (name.clone(), reversed(tensor).expect("as many elements in the same shape"))
    };
    inputs.iter().map(turn).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Datatype;
    use proptest::prelude::*;

    fn tensor(rows: usize, width: usize, from: u8) -> Tensor {
        let bytes: Vec<u8> =
            (0..rows * width).map(|at| from.wrapping_add(u8::try_from(at % 251).expect("small"))).collect();
        Tensor::fixed(Datatype::Uint8, vec![rows, width], Bytes::from(bytes)).expect("it fits")
    }

    fn texts(rows: usize, from: u8) -> Tensor {
        let elements = (0..rows).map(|row| [from, u8::try_from(row).expect("small")]);
        Tensor::variable(vec![rows], elements).expect("it fits")
    }

    #[test]
    fn only_open_first_dimensions_can_be_shared() {
        let spec = |shape: &[i64]| TensorSpec { name: "x".into(), datatype: Datatype::Fp32, shape: shape.to_vec() };
        let signature =
            |input: &[i64], output: &[i64]| Signature { inputs: vec![spec(input)], outputs: vec![spec(output)] };
        assert!(possible(&signature(&[-1, 3], &[-1])));
        for (input, output) in [(&[1, 3][..], &[-1][..]), (&[-1, 3], &[1]), (&[-1, 3], &[]), (&[], &[-1])] {
            assert!(!possible(&signature(input, output)), "{input:?} {output:?}");
        }
        assert!(!possible(&Signature::default()));
    }

    #[test]
    fn jobs_of_different_rows_types_or_names_do_not_meet() {
        let hasher = std::hash::RandomState::new();
        let of = |inputs: &Inputs| sharing(inputs, 8, &hasher);
        let one = vec![("x".to_owned(), tensor(2, 3, 0))];
        let kind = of(&one).expect("it can").kind;
        assert_eq!(of(&vec![("x".to_owned(), tensor(5, 3, 9))]).expect("it can").kind, kind);
        assert_ne!(of(&vec![("x".to_owned(), tensor(2, 4, 0))]).expect("it can").kind, kind);
        assert_ne!(of(&vec![("y".to_owned(), tensor(2, 3, 0))]).expect("it can").kind, kind);
        assert_eq!(of(&vec![("x".to_owned(), tensor(2, 3, 0)), ("y".to_owned(), tensor(3, 3, 0))]), None);
        assert_eq!(of(&vec![("x".to_owned(), tensor(8, 3, 0))]), None, "it fills a run by itself");
        assert_eq!(of(&vec![("x".to_owned(), tensor(0, 3, 0))]), None);
    }

    #[test]
    fn outputs_of_another_length_cannot_be_parted() {
        assert_eq!(part(&vec![("y".to_owned(), tensor(3, 1, 0))], &[1, 1]), None);
    }

    #[test]
    fn reversed_rows_are_of_the_same_kind() {
        let inputs = vec![("x".to_owned(), tensor(1, 3, 1)), ("t".to_owned(), texts(2, 7))];
        let turned = reversed(&inputs);
        assert_eq!(
            turned[0].1,
            Tensor::fixed(Datatype::Uint8, vec![1, 3], Bytes::from_static(&[3, 2, 1])).expect("fits")
        );
        assert_eq!(reversed(&turned), inputs);
    }

    proptest! {
        #[test]
        fn what_is_joined_parts_as_it_was(rows in proptest::collection::vec(1usize..5, 1..9), width in 0usize..4) {
            let jobs: Vec<Inputs> = rows.iter().enumerate().map(|(at, &rows)| {
                let from = u8::try_from(at * 16).expect("small");
                vec![("x".to_owned(), tensor(rows, width, from)), ("t".to_owned(), texts(rows, from))]
            }).collect();
            let joined = join(&jobs.iter().collect::<Vec<_>>());
            prop_assert_eq!(part(&joined, &rows), Some(jobs));
        }
    }
}
