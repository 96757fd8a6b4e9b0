//! Models and their runs. The session's options are those that the host loads a model with.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use ort::environment::Environment;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, TensorRef, ValueType};

use crate::question::{Elements, Input};

/// A model ready to run.
pub(crate) struct Model {
    pub(crate) name: String,
    pub(crate) outputs: Vec<String>,
    session: Mutex<Session>,
}

/// Every model of the folder, by the file's name without its end.
pub(crate) fn load_all(library: &Path, folder: &Path) -> anyhow::Result<HashMap<String, Model>> {
    let environment = environment(library)?;
    let mut models = HashMap::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if let (Some("onnx"), Some(name)) = (path.extension().and_then(|end| end.to_str()), path.file_stem()) {
            let name = name.to_string_lossy().into_owned();
            let model = load(&environment, &name, &path).with_context(|| format!("cannot load {}", path.display()))?;
            models.insert(name, model);
        }
    }
    Ok(models)
}

/// Opens ONNX Runtime.
pub(crate) fn environment(library: &Path) -> anyhow::Result<Environment> {
    let environment =
        ort::init_from(std::path::absolute(library)?)?.with_name("baseline").with_telemetry(false).build();
    environment.with_context(|| format!("{} cannot be used", library.display()))
}

/// A model from its file.
pub(crate) fn load(environment: &Environment, name: &str, path: &Path) -> anyhow::Result<Model> {
    let options = |environment| -> ort::Result<_> {
        Session::builder(environment)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(1)?
            .with_inter_threads(1)?
            .with_config_entry("session.intra_op.allow_spinning", "0")?
            .with_config_entry("session.inter_op.allow_spinning", "0")
            .map_err(ort::Error::from)
    };
    let session = options(environment)?.commit_from_file(path)?;
    let outputs = session.outputs().iter().map(|outlet| outlet.name().to_owned()).collect();
    Ok(Model { name: name.to_owned(), outputs, session: Mutex::new(session) })
}

impl Model {
    /// An input made for each that the model has.
    pub(crate) fn inputs<I>(&self, make: impl Fn(&str, &ValueType) -> anyhow::Result<I>) -> anyhow::Result<Vec<I>> {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        session.inputs().iter().map(|outlet| make(outlet.name(), outlet.dtype())).collect()
    }

    /// Runs on this thread. The outputs are in the order of [`Model::outputs`].
    pub(crate) fn run(&self, inputs: &[Input<'_>]) -> anyhow::Result<Vec<DynValue>> {
        let values = inputs.iter().map(|input| Ok((&*input.name, lend(input)?))).collect::<anyhow::Result<Vec<_>>>()?;
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(session.run(values)?.into_iter().map(|(_, value)| value).collect())
    }
}

/// The input as ONNX Runtime takes it, without a copy.
fn lend<'i>(input: &'i Input<'_>) -> ort::Result<SessionInputValue<'i>> {
    let shape = input.shape.as_slice();
    Ok(match &input.elements {
        Elements::Fp32(elements) => TensorRef::from_array_view((shape, &**elements))?.into(),
        Elements::Int64(elements) => TensorRef::from_array_view((shape, &**elements))?.into(),
        Elements::Uint8(elements) => TensorRef::from_array_view((shape, &**elements))?.into(),
    })
}
