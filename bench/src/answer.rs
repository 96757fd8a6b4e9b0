//! Answers as numbers, to see that two servers give the same ones: a benchmark of wrong answers is worth nothing.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use prost::Message as _;
use serde::Deserialize;

use crate::client::Reply;
use crate::grpc::messages::ModelInferResponse;
use crate::grpc::messages::model_infer_response::InferOutputTensor;

/// How far two numbers may be apart, absolutely near zero and relatively elsewhere: batches add up in another order.
const TOLERANCE: f64 = 1e-3;

/// Outputs by their names.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    outputs: BTreeMap<String, Output>,
}

#[derive(Clone, Debug)]
struct Output {
    shape: Vec<usize>,
    elements: Vec<f64>,
}

#[derive(Deserialize)]
struct Json {
    outputs: Vec<JsonOutput>,
}

#[derive(Deserialize)]
struct JsonOutput {
    name: String,
    shape: Vec<usize>,
    datatype: String,
    data: Option<Vec<f64>>,
    #[serde(default)]
    parameters: Parameters,
}

#[derive(Default, Deserialize)]
struct Parameters {
    binary_data_size: Option<usize>,
}

impl Answer {
    /// Reads an answer in either form.
    pub(crate) fn read(reply: &Reply<'_>) -> anyhow::Result<Self> {
        let (json, mut behind) = reply.parts()?;
        let json: Json = serde_json::from_slice(json).context("an answer that is no JSON of the protocol")?;
        let mut outputs = BTreeMap::new();
        for output in json.outputs {
            let elements = match (output.data, output.parameters.binary_data_size) {
                (Some(data), _) => data,
                (None, Some(size)) => {
                    let (bytes, rest) = behind.split_at_checked(size).context("an answer shorter than its tensors")?;
                    behind = rest;
                    numbers(&output.datatype, bytes)?
                }
                (None, None) => bail!("output '{}' has no data", output.name),
            };
            let read = Output::new(&output.name, output.shape, elements)?;
            outputs.insert(output.name, read);
        }
        ensure!(behind.is_empty(), "an answer that goes on after its tensors");
        Ok(Self { outputs })
    }

    /// Reads an answer of gRPC, with raw tensors.
    pub(crate) fn read_message(message: &[u8]) -> anyhow::Result<Self> {
        let message = ModelInferResponse::decode(message).context("an answer that is no message of the protocol")?;
        let (heads, raw) = (message.outputs, message.raw_output_contents);
        ensure!(heads.len() == raw.len(), "an answer with {} outputs and {} raw contents", heads.len(), raw.len());
        let read = |(head, raw): (InferOutputTensor, Bytes)| {
            let elements = numbers(&head.datatype, &raw)?;
            let shape: Vec<usize> = head.shape.iter().copied().map(usize::try_from).collect::<Result<_, _>>()?;
            Ok((head.name.clone(), Output::new(&head.name, shape, elements)?))
        };
        Ok(Self { outputs: heads.into_iter().zip(raw).map(read).collect::<anyhow::Result<_>>()? })
    }

    /// The elements of one output.
    pub(crate) fn elements(&self, output: &str) -> Option<&[f64]> {
        self.outputs.get(output).map(|output| output.elements.as_slice())
    }

    /// The same with an output more, which is another one with a number added to each element.
    pub(crate) fn with_shifted(mut self, output: &str, name: &str, by: f64) -> Self {
        if let Some(Output { shape, elements }) = self.outputs.get(output).cloned() {
            let elements = elements.into_iter().map(|element| element + by).collect();
            self.outputs.insert(name.to_owned(), Output { shape, elements });
        }
        self
    }

    /// Fails where the other answer is another one.
    pub(crate) fn must_be(&self, other: &Self) -> anyhow::Result<()> {
        let names = |answer: &Self| answer.outputs.keys().cloned().collect::<Vec<_>>();
        ensure!(names(self) == names(other), "outputs {:?} and {:?}", names(self), names(other));
        for ((name, one), two) in self.outputs.iter().zip(other.outputs.values()) {
            ensure!(one.shape == two.shape, "output '{name}' has shapes {:?} and {:?}", one.shape, two.shape);
            for (index, (one, two)) in one.elements.iter().zip(&two.elements).enumerate() {
                ensure!(same(*one, *two), "output '{name}', element {index}: {one} and {two}");
            }
        }
        Ok(())
    }
}

impl Output {
    fn new(name: &str, shape: Vec<usize>, elements: Vec<f64>) -> anyhow::Result<Self> {
        let count: usize = shape.iter().product();
        ensure!(count == elements.len(), "output '{name}' has {} elements for {count}", elements.len());
        Ok(Self { shape, elements })
    }
}

/// Whether two numbers of answers are as good as one. What is no number differs from everything.
pub(crate) fn same(one: f64, two: f64) -> bool {
    (one - two).abs() <= TOLERANCE * one.abs().max(two.abs()).max(1.0)
}

fn numbers(datatype: &str, bytes: &[u8]) -> anyhow::Result<Vec<f64>> {
    Ok(match datatype {
        "FP32" => bytes.as_chunks().0.iter().map(|element| f32::from_le_bytes(*element).into()).collect(),
        "INT64" => bytes.as_chunks().0.iter().map(|element| i64::from_le_bytes(*element) as f64).collect(),
        other => bail!("an output of type {other}"),
    })
}
