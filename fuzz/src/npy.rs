//! A file of NumPy's.

use bytes::Bytes;
use nocti::protocol::npy::{is_npy, parse};
use nocti::tensor::{Datatype, Storage, Tensor};

use crate::exchange::{every_way, refused};
use crate::memory::bounded;

/// A dimension is two bytes of text.
fn most_bytes(file_bytes: usize) -> usize {
    24 * file_bytes + (4 << 10)
}

/// The bytes are the file.
pub fn npy(data: &[u8]) {
    let file = Bytes::copy_from_slice(data);
    match bounded(most_bytes(file.len()), || parse(&file)) {
        Ok(tensor) => {
            assert!(is_npy(&file));
            assert_eq!(parse(&write(&tensor)).as_ref(), Ok(&tensor));
            every_way(&[("x".to_owned(), tensor)]);
        }
        Err(error) => refused(2 * data.len(), &error),
    }
}

fn write(tensor: &Tensor) -> Bytes {
    let kind = match tensor.datatype() {
        Datatype::Bool => "|b1",
        Datatype::Uint8 => "|u1",
        Datatype::Int8 => "|i1",
        Datatype::Uint16 => "<u2",
        Datatype::Uint32 => "<u4",
        Datatype::Uint64 => "<u8",
        Datatype::Int16 => "<i2",
        Datatype::Int32 => "<i4",
        Datatype::Int64 => "<i8",
        Datatype::Fp16 => "<f2",
        Datatype::Fp32 => "<f4",
        Datatype::Fp64 => "<f8",
        Datatype::Bf16 | Datatype::Bytes => panic!("NumPy has no {}", tensor.datatype()),
    };
    let dims: String = tensor.shape().iter().map(|dim| format!("{dim}, ")).collect();
    let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({dims}), }}\n");
    let length = u32::try_from(header.len()).expect("a shape is short").to_le_bytes();
    let Storage::Fixed(bytes) = tensor.storage() else { panic!("NumPy's elements have one size") };
    [b"\x93NUMPY\x02\x00", &length[..], header.as_bytes(), bytes].concat().into()
}
