//! What is asked: tensors that are the same in every run of the benchmark, as requests of the Open Inference Protocol.

use std::net::SocketAddr;

use serde_json::json;

use crate::grpc::messages::model_infer_request::InferInputTensor;

/// How tensors are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    /// The protocol's binary tensor extension, both ways.
    Binary,
}

/// One input tensor.
#[derive(Clone)]
pub(crate) struct Input {
    name: &'static str,
    shape: Vec<usize>,
    elements: Elements,
}

#[derive(Clone)]
enum Elements {
    Fp32(Vec<f32>),
    Int64(Vec<i64>),
    Uint8(Vec<u8>),
    Text(Vec<String>),
}

/// The elements of two payloads differ; their shapes never do, so that they may be batched.
pub(crate) struct Numbers(u64);

impl Numbers {
    /// The numbers of the payload of this index.
    pub(crate) fn new(index: usize) -> Self {
        Self(index as u64 + 1)
    }

    /// The next number below `bound` (a linear congruential generator, Knuth's MMIX).
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    /// One of so many places.
    pub(crate) fn place(&mut self, count: usize) -> usize {
        usize::try_from(self.below(count as u64)).expect("it is below a number of that type")
    }

    /// The numbers below `count`, each once, in an order of chance.
    pub(crate) fn shuffled(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for place in (1..count).rev() {
            order.swap(place, self.place(place + 1));
        }
        order
    }

    /// FP32 numbers from 0 to 1, in steps of 1/256: as pixels are.
    pub(crate) fn pixels(&mut self, name: &'static str, shape: &[usize]) -> Input {
        let count = shape.iter().product();
        let elements = (0..count).map(|_| self.below(257) as f32 / 256.0).collect();
        Input { name, shape: shape.to_vec(), elements: Elements::Fp32(elements) }
    }

    /// INT64 numbers from `first` to before `end`.
    pub(crate) fn tokens(&mut self, name: &'static str, shape: &[usize], first: i64, end: i64) -> Input {
        let count = shape.iter().product();
        let elements = (0..count).map(|_| first + self.below(end.abs_diff(first)).cast_signed()).collect();
        Input { name, shape: shape.to_vec(), elements: Elements::Int64(elements) }
    }
}

impl Input {
    /// Bytes as they are.
    pub(crate) fn uint8(name: &'static str, shape: &[usize], elements: Vec<u8>) -> Self {
        Self { name, shape: shape.to_vec(), elements: Elements::Uint8(elements) }
    }

    /// Texts, one dimension of them.
    pub(crate) fn texts(name: &'static str, texts: Vec<String>) -> Self {
        Self { name, shape: vec![texts.len()], elements: Elements::Text(texts) }
    }

    fn datatype(&self) -> &'static str {
        match self.elements {
            Elements::Fp32(_) => "FP32",
            Elements::Int64(_) => "INT64",
            Elements::Uint8(_) => "UINT8",
            Elements::Text(_) => "BYTES",
        }
    }

    fn json(&self) -> serde_json::Value {
        let data = match &self.elements {
            Elements::Fp32(elements) => json!(elements),
            Elements::Int64(elements) => json!(elements),
            Elements::Uint8(elements) => json!(elements),
            Elements::Text(elements) => json!(elements),
        };
        json!({"name": self.name, "shape": self.shape, "datatype": self.datatype(), "data": data})
    }

    fn binary_json(&self) -> serde_json::Value {
        let parameters = json!({"binary_data_size": self.bytes().len()});
        json!({"name": self.name, "shape": self.shape, "datatype": self.datatype(), "parameters": parameters})
    }

    /// The input without its elements, for gRPC.
    pub(crate) fn message(&self) -> InferInputTensor {
        InferInputTensor {
            name: self.name.to_owned(),
            datatype: self.datatype().to_owned(),
            shape: self.shape.iter().map(|&length| length as i64).collect(),
            ..InferInputTensor::default()
        }
    }

    /// The elements as they lie in binary requests.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match &self.elements {
            Elements::Fp32(elements) => elements.iter().flat_map(|element| element.to_le_bytes()).collect(),
            Elements::Int64(elements) => elements.iter().flat_map(|element| element.to_le_bytes()).collect(),
            Elements::Uint8(elements) => elements.clone(),
            Elements::Text(elements) => {
                let length = |element: &String| u32::try_from(element.len()).unwrap_or(u32::MAX).to_le_bytes();
                elements.iter().flat_map(|element| [&length(element), element.as_bytes()].concat()).collect()
            }
        }
    }
}

/// The header of a body that is JSON.
pub(crate) const JSON: &str = "content-type: application/json\r\n";

/// A whole HTTP request, head and body.
pub(crate) fn request(address: SocketAddr, path: &str, inputs: &[Input], form: Form) -> Vec<u8> {
    let (json, behind, head) = match form {
        Form::Json => {
            let inputs: Vec<_> = inputs.iter().map(Input::json).collect();
            (json!({ "inputs": inputs }).to_string(), Vec::new(), JSON.to_owned())
        }
        Form::Binary => {
            let behind: Vec<u8> = inputs.iter().flat_map(Input::bytes).collect();
            let inputs: Vec<_> = inputs.iter().map(Input::binary_json).collect();
            let mut json = json!({"parameters": {"binary_data_output": true}, "inputs": inputs}).to_string();
            // Room for any element's alignment, as a client that cares for speed leaves it.
            json.push_str(&" ".repeat(json.len().next_multiple_of(8) - json.len()));
            let head = format!(
                "content-type: application/octet-stream\r\ninference-header-content-length: {}\r\n",
                json.len()
            );
            (json, behind, head)
        }
    };
    post(address, path, &head, &[json.as_bytes(), &behind].concat())
}

/// A request with this body; `headers` are whole lines.
pub(crate) fn post(address: SocketAddr, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nhost: {address}\r\n{headers}content-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// A request without a body.
pub(crate) fn get(address: SocketAddr, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n").into_bytes()
}
