//! The examples that are measured as they stand: where they are deployed from, what they are asked, and what they must answer.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use tempfile::TempDir;

use crate::answer::{self, Answer};
use crate::client::{Connection, Reply};
use crate::payload::{self, Form, Input};

/// An example function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Example {
    /// A small CNN behind a component that decodes pictures.
    Digits,
    /// MiniLM (90 MB) behind a component that has a tokenizer.
    Sentences,
}

/// A folder to deploy an example from; it goes away with this.
pub(crate) struct Folder {
    _root: TempDir,
    pub(crate) path: PathBuf,
}

/// What an example is asked and must answer.
pub(crate) struct Question {
    path: String,
    inputs: Vec<Input>,
    output: &'static str,
    expected: Vec<f64>,
    /// Tokens of the text, where there is one.
    pub(crate) tokens: usize,
}

#[derive(Deserialize)]
struct Heldout {
    images: Vec<Vec<Vec<u8>>>,
    labels: Vec<f64>,
}

#[derive(Deserialize)]
struct Reference {
    sentences: Vec<Sentence>,
}

#[derive(Deserialize)]
struct Sentence {
    text: String,
    input_ids: Vec<i64>,
    embedding: Vec<f64>,
}

impl Example {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Digits => "digits",
            Self::Sentences => "sentences",
        }
    }

    fn source(self) -> PathBuf {
        crate::repository().join("examples/wasm-models").join(self.name())
    }

    pub(crate) fn model(self) -> PathBuf {
        self.source().join(match self {
            Self::Digits => "model/digits.onnx",
            Self::Sentences => "model/minilm.onnx",
        })
    }

    /// The example with its manifest after `edit`. What it is built of is there already: the build command is left out, which
    /// would compile the component again.
    pub(crate) fn folder(self, edit: impl Fn(&str) -> String) -> anyhow::Result<Folder> {
        ensure!(self.model().is_file(), "{} is not there; `make models` makes it", self.model().display());
        let root = tempfile::tempdir().context("no temporary folder")?;
        let path = root.path().join(self.name());
        std::fs::create_dir(&path)?;
        for (link, to) in [(path.join("model"), self.source().join("model")), (root.path().join("target"), target())] {
            std::os::unix::fs::symlink(to, link)?;
        }
        let manifest =
            std::fs::read_to_string(self.source().join("nocti.toml")).context("the example has no manifest")?;
        let kept: Vec<&str> = manifest.lines().filter(|line| !line.starts_with("build = ")).collect();
        std::fs::write(path.join("nocti.toml"), edit(&(kept.join("\n") + "\n")))?;
        Ok(Folder { _root: root, path })
    }

    pub(crate) fn question(self) -> anyhow::Result<Question> {
        let read = |file: &str| {
            let file = self.source().join("model").join(file);
            std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))
        };
        let path = format!("/v2/models/{}/infer", self.name());
        match self {
            Self::Digits => {
                let Heldout { images, labels } = serde_json::from_slice(&read("heldout.json")?)?;
                let (image, label) = (images.first().context("no digits")?, *labels.first().context("no labels")?);
                let inputs = vec![Input::uint8("image", &[1, 8, 8], image.concat())];
                Ok(Question { path, inputs, output: "label", expected: vec![label], tokens: 0 })
            }
            Self::Sentences => {
                let reference: Reference = serde_json::from_slice(&read("reference.json")?)?;
                let Sentence { text, input_ids, embedding } =
                    reference.sentences.into_iter().next().context("no sentences")?;
                let inputs = vec![Input::texts("text", vec![text])];
                let tokens = input_ids.len();
                Ok(Question { path, inputs, output: "embeddings", expected: embedding, tokens })
            }
        }
    }
}

/// Where the examples' components are compiled to.
fn target() -> PathBuf {
    crate::repository().join("examples/wasm-models/target")
}

impl Question {
    /// The whole HTTP request.
    pub(crate) fn request(&self, host: SocketAddr) -> Vec<u8> {
        payload::request(host, &self.path, &self.inputs, Form::Json)
    }

    /// Asks, and fails for a wrong answer.
    pub(crate) async fn ask(&self, connection: &mut Connection, host: SocketAddr) -> anyhow::Result<()> {
        self.check(&connection.ask(&self.request(host)).await?)
    }

    /// Fails for a wrong answer.
    pub(crate) fn check(&self, reply: &Reply<'_>) -> anyhow::Result<()> {
        let answer = Answer::read(reply)?;
        let found = answer.elements(self.output).with_context(|| format!("no output {}", self.output))?;
        let right = found.len() == self.expected.len()
            && found.iter().zip(&self.expected).all(|(one, two)| answer::same(*one, *two));
        ensure!(right, "a wrong answer: {} is {found:?}", self.output);
        Ok(())
    }
}
