//! What a model costs that nothing was prepared for: loaded and run once in a new process, by ONNX Runtime alone.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use ort::value::{TensorElementType, ValueType};
use tokio::time::Instant;

use crate::model;
use crate::question::{Elements, Input};

/// Loads a model, runs it once with ones, and prints the milliseconds that this took.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The model
    model: PathBuf,
    /// The length of open dimensions after the first
    #[arg(long, default_value_t = 1)]
    elements: usize,
    /// Path of libonnxruntime.so
    #[arg(long, env = "NOCTI_ONNXRUNTIME_LIBRARY")]
    library: PathBuf,
}

#[expect(clippy::print_stdout, reason = "whoever started this waits for the number")]
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let environment = model::environment(&options.library)?;
    let begun = Instant::now();
    let model = load_and_run(&environment, options)?;
    println!("{:.3}", begun.elapsed().as_secs_f64() * 1e3);
    drop(model);
    Ok(())
}

fn load_and_run(environment: &ort::environment::Environment, options: &Options) -> anyhow::Result<model::Model> {
    let path: &Path = &options.model;
    let model = model::load(environment, "model", path).with_context(|| format!("cannot load {}", path.display()))?;
    let inputs = model.inputs(|name, kind| ones(name, kind, options.elements))?;
    model.run(&inputs)?;
    Ok(model)
}

/// An input of this kind: one row.
fn ones(name: &str, kind: &ValueType, elements: usize) -> anyhow::Result<Input<'static>> {
    let ValueType::Tensor { ty, shape, .. } = kind else { bail!("input '{name}' is no tensor") };
    let length = |(place, dimension): (usize, &i64)| match usize::try_from(*dimension) {
        Ok(fixed) => fixed,
        Err(_) if place == 0 => 1,
        Err(_) => elements,
    };
    let shape: Vec<usize> = shape.iter().enumerate().map(length).collect();
    let count = shape.iter().product();
    let elements = match ty {
        TensorElementType::Float32 => Elements::Fp32(vec![1.0; count].into()),
        TensorElementType::Int64 => Elements::Int64(vec![1; count].into()),
        TensorElementType::Uint8 => Elements::Uint8(vec![1; count].into()),
        _ => bail!("input '{name}' is of type {kind}"),
    };
    Ok(Input { name: name.to_owned().into(), shape: shape.into_iter().map(|length| length as i64).collect(), elements })
}
