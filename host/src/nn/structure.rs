//! What a model's file says about it before ONNX Runtime sees it.
//!
//! ONNX lets a tensor's data lie in another file, named by a path. A bundle's model is one self-contained file, and a
//! path in an untrusted model could name any file of the host: such models are refused before ONNX Runtime sees them.
//! The operators tell whether a run's work follows from the shapes of its inputs.
//!
//! Only the protobuf wire format is walked (developers.google.com/protocol-buffers/docs/encoding): no message is built,
//! and weights are skipped, so the walk costs little whatever the model's size.

use std::io::{self, Read, Seek};

/// What was found in a model's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Structure {
    /// A tensor refers to external data, wherever it hides (initialisers, attributes, sub-graphs, functions). The walk
    /// ends there.
    pub(super) external_data: bool,
    /// An operator's work or output may depend on what is in its inputs, not only on their shapes: loops, sizes that are
    /// computed, operators nobody knows.
    pub(super) open_ended: bool,
    /// It has convolutions.
    pub(super) convolves: bool,
}

/// Walks an ONNX model. What this walk cannot follow is an error of kind `InvalidData`: ONNX Runtime's parser, which is
/// more forgiving, might find a tensor behind it.
pub(super) fn read(model: &mut (impl Read + Seek)) -> io::Result<Structure> {
    let length = model.seek(io::SeekFrom::End(0))?;
    model.rewind()?;
    let mut walk = Walk { reader: io::BufReader::new(model), left: length, found: Structure::default() };
    walk.found.external_data = walk.message(length, Kind::Model, 0)?;
    Ok(walk.found)
}

/// Operators whose work or output can depend on values: those that repeat or choose sub-graphs, and those that are told
/// sizes by an input (onnx.ai/onnx/operators).
const OPEN_ENDED: [&str; 31] = [
    "NonZero",
    "Unique",
    "Compress",
    "TopK",
    "RoiAlign",
    "Loop",
    "Scan",
    "If",
    "SequenceMap",
    "Range",
    "Expand",
    "Tile",
    "ConstantOfShape",
    "Resize",
    "Upsample",
    "Pad",
    "OneHot",
    "NonMaxSuppression",
    "CenterCropPad",
    "Col2Im",
    "MaxUnpool",
    "AffineGrid",
    "DFT",
    "STFT",
    "HannWindow",
    "HammingWindow",
    "BlackmanWindow",
    "MelWeightMatrix",
    "StringSplit",
    "RegexFullMatch",
    "TfIdfVectorizer",
];

/// The convolutions among the operators.
const CONVOLUTIONS: [&[u8]; 4] = [b"Conv", b"ConvTranspose", b"ConvInteger", b"DeformConv"];

/// Operators have short names; what is longer is none of ONNX's own.
const MAX_NAME_BYTES: u64 = 64;

/// The ONNX messages (onnx.proto) on the way to a tensor.
#[derive(Clone, Copy)]
enum Kind {
    Model,
    Training,
    Graph,
    Node,
    Attribute,
    Function,
    SparseTensor,
    Tensor,
}

impl Kind {
    /// What a length-delimited field holds, when a tensor can be inside.
    fn child(self, field: u64) -> Option<Kind> {
        match (self, field) {
            (Kind::Model, 7) | (Kind::Training, 1 | 2) => Some(Kind::Graph),
            (Kind::Model, 20) => Some(Kind::Training),
            (Kind::Model, 25) => Some(Kind::Function),
            (Kind::Graph, 1) | (Kind::Function, 7) => Some(Kind::Node),
            (Kind::Graph, 5) | (Kind::Attribute, 5 | 10) | (Kind::SparseTensor, 1 | 2) => Some(Kind::Tensor),
            (Kind::Graph, 15) | (Kind::Attribute, 22 | 23) => Some(Kind::SparseTensor),
            (Kind::Node, 5) | (Kind::Function, 11) => Some(Kind::Attribute),
            (Kind::Attribute, 6 | 11) => Some(Kind::Graph),
            _ => None,
        }
    }
}

/// Nesting of sub-graphs that is still believed: no exporter comes near it, and the walk recurses.
const MAX_DEPTH: usize = 200;

struct Walk<R: Read + Seek> {
    reader: io::BufReader<R>,
    /// Bytes before the end of the file.
    left: u64,
    found: Structure,
}

impl<R: Read + Seek> Walk<R> {
    /// Walks a message of `length` bytes; stops early, wherever it is, once a tensor refers to external data.
    fn message(&mut self, length: u64, kind: Kind, depth: usize) -> io::Result<bool> {
        if depth > MAX_DEPTH {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let end = self.left.checked_sub(length).ok_or(io::ErrorKind::InvalidData)?;
        while self.left > end {
            let tag = self.varint()?;
            // A parser that takes tags for 32-bit numbers would see another field.
            if tag > u64::from(u32::MAX) {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let (field, wire_type) = (tag >> 3, tag & 7);
            match wire_type {
                // TensorProto.data_location = EXTERNAL
                0 => {
                    if self.varint()? == 1 && matches!(kind, Kind::Tensor) && field == 14 {
                        return Ok(true);
                    }
                }
                1 => self.skip(8)?,
                5 => self.skip(4)?,
                2 => {
                    let length = self.varint()?;
                    // No field reaches beyond the message it is in.
                    if self.left.checked_sub(length).is_none_or(|rest| rest < end) {
                        return Err(io::ErrorKind::InvalidData.into());
                    }
                    // TensorProto.external_data: present is enough, whatever data_location says.
                    if matches!(kind, Kind::Tensor) && field == 13 {
                        return Ok(true);
                    }
                    if matches!(kind, Kind::Node) && (field == 4 || field == 7) {
                        self.operator(field, length)?;
                        continue;
                    }
                    match kind.child(field) {
                        Some(child) if self.message(length, child, depth + 1)? => return Ok(true),
                        Some(_) => {}
                        None => self.skip(length)?,
                    }
                }
                // Groups, which ONNX never had, and numbers that mean nothing.
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        if self.left == end { Ok(false) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    /// NodeProto.op_type (4) or .domain (7).
    fn operator(&mut self, field: u64, length: u64) -> io::Result<()> {
        if length > MAX_NAME_BYTES {
            self.found.open_ended = true;
            return self.skip(length);
        }
        let mut name = vec![0; usize::try_from(length).map_err(|_| io::ErrorKind::InvalidData)?];
        self.left = self.left.checked_sub(length).ok_or(io::ErrorKind::InvalidData)?;
        self.reader.read_exact(&mut name)?;
        let known = match field {
            4 => !OPEN_ENDED.iter().any(|operator| operator.as_bytes() == name),
            _ => [&b""[..], b"ai.onnx", b"ai.onnx.ml"].contains(&name.as_slice()),
        };
        self.found.open_ended |= !known;
        self.found.convolves |= field == 4 && CONVOLUTIONS.contains(&name.as_slice());
        Ok(())
    }

    fn skip(&mut self, length: u64) -> io::Result<()> {
        self.left = self.left.checked_sub(length).ok_or(io::ErrorKind::InvalidData)?;
        self.reader.seek_relative(i64::try_from(length).map_err(|_| io::ErrorKind::InvalidData)?)
    }

    fn varint(&mut self) -> io::Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let mut byte = [0];
            self.left = self.left.checked_sub(1).ok_or(io::ErrorKind::InvalidData)?;
            self.reader.read_exact(&mut byte)?;
            value |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn field(number: u64, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![];
        for mut value in [number << 3 | 2, content.len() as u64] {
            while value >= 0x80 {
                bytes.push(u8::try_from(value & 0x7f).expect("seven bits") | 0x80);
                value >>= 7;
            }
            bytes.push(u8::try_from(value).expect("seven bits"));
        }
        bytes.extend_from_slice(content);
        bytes
    }

    fn refers_outside(bytes: &[u8]) -> bool {
        read(&mut io::Cursor::new(bytes)).expect("memory can be read").external_data
    }

    fn of_operator(operator: &[u8], domain: &[u8]) -> Structure {
        let model = field(7, &field(1, &[field(4, operator), field(7, domain)].concat()));
        read(&mut io::Cursor::new(model)).expect("memory can be read")
    }

    fn open_ended(operator: &[u8], domain: &[u8]) -> bool {
        of_operator(operator, domain).open_ended
    }

    #[test]
    fn convolutions_are_seen() {
        assert!(of_operator(b"Conv", b"").convolves && of_operator(b"ConvTranspose", b"").convolves);
        assert!(!of_operator(b"MatMul", b"").convolves && !of_operator(b"Gemm", b"Conv").convolves);
    }

    #[test]
    fn work_that_depends_on_values_is_told_from_work_that_follows_from_shapes() {
        assert!(!open_ended(b"MatMul", b"") && !open_ended(b"Scaler", b"ai.onnx.ml"));
        assert!(open_ended(b"Loop", b"") && open_ended(b"Range", b"ai.onnx"));
        assert!(open_ended(b"BeamSearch", b"com.microsoft"));
        assert!(open_ended(&[b'x'; 1000], b""));
        let in_a_branch = field(7, &field(1, &field(5, &field(6, &field(1, &field(4, b"Loop"))))));
        assert!(read(&mut io::Cursor::new(in_a_branch)).expect("memory can be read").open_ended);
    }

    #[test]
    fn external_tensors_are_found_wherever_they_hide() {
        let external = [14 << 3, 1];
        let initializer = field(7, &field(5, &external));
        assert!(refers_outside(&initializer));
        let in_a_subgraph = field(7, &field(1, &field(5, &field(6, &field(5, &external)))));
        assert!(refers_outside(&in_a_subgraph));
        let in_a_function = field(25, &field(7, &field(5, &field(5, &external))));
        assert!(refers_outside(&in_a_function));
        let raw_data_only = field(7, &field(5, &field(9, &external)));
        assert!(!refers_outside(&raw_data_only));
    }

    #[test]
    fn what_hides_a_tensor_from_this_walk_alone_is_refused() {
        let external = field(7, &field(5, &[14 << 3, 1]));
        let group = [&[0x9b, 0x06, 0x9c, 0x06][..], &external].concat();
        // Field 7 with a bit beyond the 32nd.
        let wide_tag = [&[0xba, 0x80, 0x80, 0x80, 0x10][..], &external[1..]].concat();
        let cut_off = &external[..external.len() - 1];
        for model in [&group[..], &wide_tag, cut_off] {
            let error = read(&mut io::Cursor::new(model)).expect_err("it must not pass");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_walked_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = read(&mut io::Cursor::new(bytes));
        }
    }
}
