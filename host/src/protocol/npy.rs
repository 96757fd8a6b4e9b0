//! NumPy's file format for one array, `.npy`: a tensor with its datatype and shape.
//!
//! <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>, versions 1.0 to 3.0. Arrays of Python objects, which need
//! Python to read, and of text are refused.

use bytes::Bytes;

use crate::tensor::{Datatype, Tensor};

const MAGIC: &[u8] = b"\x93NUMPY";

/// Whether the bytes begin as a `.npy` file does.
pub fn is_npy(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// The array; the error says what is wrong with the file. Its elements share the storage of `file`.
pub fn parse(file: &Bytes) -> Result<Tensor, String> {
    let rest = file.strip_prefix(MAGIC).ok_or("it does not begin as a .npy file does")?;
    let (&[major, _minor], rest) = rest.split_first_chunk().ok_or("it ends within its version")?;
    let (length, rest) = match major {
        1 => rest.split_first_chunk().map(|(length, rest)| (u32::from(u16::from_le_bytes(*length)), rest)),
        2 | 3 => rest.split_first_chunk().map(|(length, rest)| (u32::from_le_bytes(*length), rest)),
        _ => return Err(format!("its format version {major} is not known; 1 to 3 are")),
    }
    .ok_or("it ends within its header")?;
    let header =
        usize::try_from(length).ok().and_then(|length| rest.get(..length)).ok_or("it ends within its header")?;
    let header = std::str::from_utf8(header).map_err(|_| "its header is no text")?;
    let header = Header::parse(header)?;
    if header.fortran_order && header.shape.len() > 1 {
        return Err("it is in Fortran order; save np.ascontiguousarray(array)".to_owned());
    }
    let data = file.len() - rest.len() + length as usize;
    let bytes = file.slice(data..);
    Tensor::fixed(header.datatype, header.shape, bytes).map_err(|error| error.to_string())
}

/// A Python dictionary with the keys `descr`, `fortran_order` and `shape`.
struct Header {
    datatype: Datatype,
    fortran_order: bool,
    shape: Vec<usize>,
}

impl Header {
    fn parse(text: &str) -> Result<Self, String> {
        let value = |key: &str| {
            let quoted = |quote: char| format!("{quote}{key}{quote}");
            let at = ['\'', '"'].iter().find_map(|&quote| Some(text.find(&quoted(quote))? + key.len() + 2));
            let after = at.map(|at| text[at..].trim_start()).and_then(|text| text.strip_prefix(':'));
            after.map(str::trim_start).ok_or_else(|| format!("its header has no '{key}'"))
        };
        let descr = value("descr")?;
        let quote = descr.chars().next().filter(|quote| matches!(quote, '\'' | '"'));
        let descr = quote.and_then(|quote| descr[1..].split(quote).next());
        let descr = descr.ok_or("it is an array of records; save a plain array of numbers")?;
        let datatype = datatype(descr).ok_or_else(|| {
            format!("its type '{descr}' is none that tensors have: little-endian numbers and booleans (array.astype)")
        })?;
        let fortran_order = value("fortran_order")?.starts_with("True");
        let shape = value("shape")?.strip_prefix('(').and_then(|text| text.split(')').next());
        let dims = shape.ok_or("its shape is no tuple")?.split(',').map(str::trim).filter(|dim| !dim.is_empty());
        let shape = dims.map(|dim| dim.parse().map_err(|_| format!("its shape has the dimension '{dim}'")));
        Ok(Self { datatype, fortran_order, shape: shape.collect::<Result<_, _>>()? })
    }
}

fn datatype(descr: &str) -> Option<Datatype> {
    Some(match descr {
        "|b1" | "?" => Datatype::Bool,
        "|u1" => Datatype::Uint8,
        "|i1" => Datatype::Int8,
        "<u2" => Datatype::Uint16,
        "<u4" => Datatype::Uint32,
        "<u8" => Datatype::Uint64,
        "<i2" => Datatype::Int16,
        "<i4" => Datatype::Int32,
        "<i8" => Datatype::Int64,
        "<f2" => Datatype::Fp16,
        "<f4" => Datatype::Fp32,
        "<f8" => Datatype::Fp64,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(version: u8, header: &str, data: &[u8]) -> Bytes {
        let length = u16::try_from(header.len()).unwrap();
        let mut file = [MAGIC, &[version, 0]].concat();
        match version {
            1 => file.extend(length.to_le_bytes()),
            _ => file.extend(u32::from(length).to_le_bytes()),
        }
        [file.as_slice(), header.as_bytes(), data].concat().into()
    }

    #[test]
    fn arrays_are_tensors() {
        let data: Vec<u8> = [1.0_f32, 2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }          \n";
        for version in 1..=3 {
            let tensor = parse(&file(version, header, &data)).unwrap();
            assert_eq!((tensor.datatype(), tensor.shape()), (Datatype::Fp32, &[1, 2][..]));
        }
        let scalar = parse(&file(1, "{'descr': '|u1', 'fortran_order': True, 'shape': ()}", &[7])).unwrap();
        assert_eq!((scalar.datatype(), scalar.shape()), (Datatype::Uint8, &[][..]));
    }

    #[test]
    fn what_is_no_tensor_says_so() {
        let header = |descr: &str, order: &str, shape: &str| {
            format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}")
        };
        for (header, said) in [
            (header("'>f4'", "False", "(1,)"), "'>f4'"),
            (header("'|O'", "False", "(1,)"), "'|O'"),
            (header("[('a', '<f4')]", "False", "(1,)"), "array of records"),
            (header("'<f4'", "True", "(1, 1)"), "Fortran order"),
            (header("'<f4'", "False", "(2,)"), "8"),
            (header("'<f4'", "False", "(x,)"), "dimension 'x'"),
            ("{}".to_owned(), "no 'descr'"),
        ] {
            let refused = parse(&file(1, &header, &[0; 4])).unwrap_err();
            assert!(refused.contains(said), "{header}: {refused}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(tail in prop::collection::vec(any::<u8>(), 0..100), header in ".{0,60}") {
            let _ = parse(&[MAGIC, &tail].concat().into());
            let _ = parse(&file(1, &header, &tail));
        }
    }
}
