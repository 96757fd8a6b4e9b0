//! Many models that are different files and give different answers: the digits' network with one more output, `shifted`, which
//! is the scores and the model's own number added to each.
//!
//! The output is written behind the network's file: parsers of protobuf join the two halves of a message whose second one
//! follows the first (protobuf.dev/programming-guides/encoding, "Last One Wins").

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use crate::answer::Answer;
use crate::caller::Protocol;
use crate::cases::Subject;
use crate::client::Connection;
use crate::compare;
use crate::functions;
use crate::models::Model;
use crate::payload::Form;
use crate::plan::Plan;
use crate::stage::{self, Baseline};

/// The models in a folder: `variant-NUMBER.onnx`.
pub(crate) fn write(folder: &Path, count: usize) -> anyhow::Result<Vec<PathBuf>> {
    let network = std::fs::read(Model::Cnn.path()).context("cannot read the digits' network")?;
    let write_one = |number: usize| {
        let path = folder.join(format!("variant-{number}.onnx"));
        std::fs::write(&path, [network.as_slice(), &more(number)].concat())?;
        Ok(path)
    };
    (0..count).map(write_one).collect()
}

/// A folder to deploy a model as a typed function from, inside `folder`.
pub(crate) fn typed(folder: &Path, model: &Path) -> anyhow::Result<PathBuf> {
    let path = model.with_extension("typed");
    ensure!(path.starts_with(folder), "models lie in their folder");
    std::fs::create_dir(&path)?;
    let component = functions::guest("passthrough")?;
    let manifest = format!(
        "name = \"variant\"\nversion = \"1.0.0\"\n[component]\npath = {:?}\n[[model]]\nname = \"model\"\npath = {:?}\n[signature]\n\
         inputs = [{{ name = \"image\", datatype = \"FP32\", shape = [-1, 1, 8, 8] }}]\n\
         outputs = [{{ name = \"scores\", datatype = \"FP32\", shape = [-1, 10] }}, \
         {{ name = \"shifted\", datatype = \"FP32\", shape = [-1, 10] }}]\n",
        component.display().to_string(),
        model.display().to_string(),
    );
    std::fs::write(path.join("nocti.toml"), manifest)?;
    Ok(path)
}

/// What the network itself answers to each of its requests, by the baseline.
pub(crate) async fn answers(plan: &Plan) -> anyhow::Result<Vec<Answer>> {
    let baseline = Baseline::start(&plan.programs, &[Model::Cnn], &[], &plan.unpinned)?;
    let subject = Subject::Baseline(Model::Cnn);
    compare::answers(&stage::target(&baseline.server, subject, Protocol::Rest(Form::Json))).await
}

/// What a variant is asked.
pub(crate) fn request(host: SocketAddr, function: &str, payload: usize) -> Vec<u8> {
    let payloads = Model::Cnn.payloads();
    let inputs = &payloads[payload % payloads.len()];
    crate::payload::request(host, &format!("/v2/models/{function}/infer"), inputs, Form::Json)
}

/// Asks a variant, and fails for a wrong answer, another variant's included.
pub(crate) async fn ask(
    connection: &mut Connection,
    request: &[u8],
    number: usize,
    network: &Answer,
) -> anyhow::Result<()> {
    let answer = Answer::read(&connection.ask(request).await?)?;
    network.clone().with_shifted("scores", "shifted", number as f64).must_be(&answer)
}

/// The rest of a ModelProto (onnx.proto): more of its graph.
fn more(number: usize) -> Vec<u8> {
    let float = (number as f32).to_le_bytes();
    // TensorProto: dims, data_type FLOAT, name, raw_data.
    let tensor = [varint(1, 1), varint(2, 1), text(8, "shift"), field(9, &float)].concat();
    // NodeProto: inputs, output, name, op_type.
    let node =
        [text(1, "scores"), text(1, "shift"), text(2, "shifted"), text(3, "shift_scores"), text(4, "Add")].concat();
    // ValueInfoProto: name, then a tensor's type: elem_type FLOAT, a shape of an open dimension and one of ten.
    let shape = [field(1, &text(2, "batch")), field(1, &varint(1, 10))].concat();
    let tensor_type = [varint(1, 1), field(2, &shape)].concat();
    let output = [text(1, "shifted"), field(2, &field(1, &tensor_type))].concat();
    field(7, &[field(1, &node), field(5, &tensor), field(12, &output)].concat())
}

fn varint(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

fn text(number: u8, text: &str) -> Vec<u8> {
    field(number, text.as_bytes())
}

/// A field with a length in front, which takes one or two bytes here.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let [low, high] = [content.len() & 0x7f, content.len() >> 7].map(|part| u8::try_from(part).unwrap_or(u8::MAX));
    let length = if high == 0 { vec![low] } else { vec![low | 0x80, high] };
    [&[number << 3 | 2], length.as_slice(), content].concat()
}
