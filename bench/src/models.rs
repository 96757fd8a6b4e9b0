//! The models: where each lies, and what it is asked.

use std::path::PathBuf;

use crate::payload::{Input, Numbers};

/// Different requests per model, so that a batch has different rows.
const PAYLOADS: usize = 8;

/// A model of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Model {
    /// The digits example: 8x8 pixels, 40 KB of weights.
    Cnn,
    /// The sentences example: 32 tokens, 90 MB of weights.
    Minilm,
    /// ResNet-50's shape with random weights: 224x224 pixels, 100 MB of weights.
    Resnet50,
    /// Its input as its output: 600 KB each.
    Identity,
}

/// The bytes of one tensor of [`Model::Identity`].
pub(crate) const IDENTITY_BYTES: usize = 600_000;

impl Model {
    pub(crate) const ALL: [Self; 4] = [Self::Cnn, Self::Minilm, Self::Resnet50, Self::Identity];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cnn => "cnn",
            Self::Minilm => "minilm",
            Self::Resnet50 => "resnet50",
            Self::Identity => "identity",
        }
    }

    pub(crate) fn path(self) -> PathBuf {
        crate::repository().join(match self {
            Self::Cnn => "examples/wasm-models/digits/model/digits.onnx",
            Self::Minilm => "examples/wasm-models/sentences/model/minilm.onnx",
            Self::Resnet50 => "bench/models/resnet50.onnx",
            Self::Identity => "tests/fixtures/models/identity_float.onnx",
        })
    }

    /// The `[signature]` of a typed function that passes everything through.
    pub(crate) fn signature(self) -> &'static str {
        match self {
            Self::Cnn => {
                "inputs = [{ name = \"image\", datatype = \"FP32\", shape = [-1, 1, 8, 8] }]\n\
                 outputs = [{ name = \"scores\", datatype = \"FP32\", shape = [-1, 10] }]\n"
            }
            Self::Minilm => {
                "inputs = [{ name = \"input_ids\", datatype = \"INT64\", shape = [-1, -1] }, \
                 { name = \"attention_mask\", datatype = \"INT64\", shape = [-1, -1] }]\n\
                 outputs = [{ name = \"last_hidden_state\", datatype = \"FP32\", shape = [-1, -1, 384] }]\n"
            }
            Self::Resnet50 => {
                "inputs = [{ name = \"image\", datatype = \"FP32\", shape = [-1, 3, 224, 224] }]\n\
                 outputs = [{ name = \"logits\", datatype = \"FP32\", shape = [-1, 1000] }]\n"
            }
            Self::Identity => {
                "inputs = [{ name = \"input\", datatype = \"FP32\", shape = [-1, -1] }]\n\
                 outputs = [{ name = \"output\", datatype = \"FP32\", shape = [-1, -1] }]\n"
            }
        }
    }

    /// The inputs of each of the requests.
    pub(crate) fn payloads(self) -> Vec<Vec<Input>> {
        (0..PAYLOADS).map(|index| self.payload(&mut Numbers::new(index))).collect()
    }

    fn payload(self, numbers: &mut Numbers) -> Vec<Input> {
        match self {
            Self::Cnn => vec![numbers.pixels("image", &[1, 1, 8, 8])],
            Self::Minilm => {
                // Words of its vocabulary, and a mask that leaves none out.
                vec![
                    numbers.tokens("input_ids", &[1, 32], 1000, 30_000),
                    numbers.tokens("attention_mask", &[1, 32], 1, 2),
                ]
            }
            Self::Resnet50 => vec![numbers.pixels("image", &[1, 3, 224, 224])],
            Self::Identity => vec![numbers.pixels("input", &[1, IDENTITY_BYTES / size_of::<f32>()])],
        }
    }
}
