//! Making a model ready to run: checks on its file, ONNX Runtime's sessions, what it takes and gives, the first run.
//!
//! Everything here takes the thread for as long as it takes.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{RunOptions, Session as OrtSession};

use super::device::{self, Target};
use super::library::Library;
use super::structure::{self, Structure};
use super::weights::{SharedWeights, WeightsError};
use super::{NnError, batch, run, value};
use crate::tensor::{Datatype, MAX_RANK, Signature, Tensor, TensorSpec};

/// Where a model's bytes are.
#[derive(Debug, Clone)]
pub enum Source {
    File(PathBuf),
    Memory(Bytes),
}

/// How to load a model.
#[derive(Debug, Clone)]
pub struct Options {
    /// The model's name, for messages.
    pub model: String,
    /// Devices to try, in order.
    pub targets: Vec<Target>,
    /// Threads within one operator.
    pub intra_threads: u32,
    /// Runs that can go on at once, each with a session of ONNX Runtime's.
    pub sessions: u32,
    /// Run once with zeros after loading.
    pub warmup: bool,
    /// A folder for files that are gone when loading is done.
    pub scratch: PathBuf,
}

/// What is known of a model once it is loaded.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) signature: Signature,
    /// Inputs that have a default in the model and may be left out.
    pub(super) optional: Vec<TensorSpec>,
    pub(super) device: Target,
    /// Of the model's file.
    pub(super) size_bytes: u64,
    /// Whether requests may share a run, as far as the signature says.
    pub(super) batchable: bool,
    /// Whether a run's work follows from the shapes of its inputs.
    pub(super) fixed_work: bool,
}

/// What a model file takes and gives, found by loading it on this thread for a moment, on the CPU.
pub fn describe(library: &Library, file: &Path) -> Result<Signature, NnError> {
    let model = file.file_name().map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned());
    let options = Options {
        model,
        targets: vec![Target::Cpu],
        intra_threads: 1,
        sessions: 1,
        warmup: false,
        scratch: PathBuf::new(),
    };
    let (_, facts) = load(library, &Source::File(file.into()), &options)?;
    Ok(facts.signature)
}

/// As many sessions of the model as the options say, at least one, on the first device that can be had.
pub(super) fn load(library: &Library, source: &Source, options: &Options) -> Result<(Vec<OrtSession>, Facts), NnError> {
    let invalid = |reason: String| NnError::InvalidModel { model: options.model.clone(), reason };
    let structure = structure(source).map_err(invalid)?;
    let mut no_device = None;
    for &target in &options.targets {
        let builder = builder(library, options).map_err(|error| invalid(error.to_string()))?;
        let reason = |error: ort::Error| library.without_folder(&without_paths(&error.to_string(), source));
        // A device may turn out not to be there, or to be full, only when the model comes.
        let sessions = match device::register(builder, target).map(|builder| commit(&builder, source, target, options))
        {
            Ok(Ok(sessions)) => sessions,
            Ok(Err(error)) if !target.has_own_memory() => return Err(invalid(reason(error))),
            Ok(Err(error)) | Err(error) => {
                let (model, device, reason) = (options.model.clone(), target.to_string(), reason(error));
                if options.targets.len() > 1 {
                    device::passed_over(&model, target, &reason);
                }
                no_device = Some(NnError::Device { model, device, reason });
                continue;
            }
        };
        let first = sessions.first().expect("at least one");
        let facts = facts(first, target, size_bytes(source).map_err(invalid)?, structure).map_err(invalid)?;
        return Ok((sessions, facts));
    }
    Err(no_device.unwrap_or_else(|| invalid("no device of the server's list onnxruntime.devices can be used".into())))
}

/// The sessions, of which those on the CPU share one copy of the weights.
fn commit(
    builder: &SessionBuilder,
    source: &Source,
    target: Target,
    options: &Options,
) -> ort::Result<Vec<OrtSession>> {
    let commit = |builder: &mut SessionBuilder| match source {
        Source::File(path) => builder.commit_from_file(path),
        Source::Memory(bytes) => builder.commit_from_memory(bytes),
    };
    let count = options.sessions.max(1);
    if count > 1 && target == Target::Cpu {
        // The files are mapped when the sessions are there.
        let shared = SharedWeights::write(&options.scratch, builder.clone(), commit).and_then(|weights| {
            let open = || weights.open(builder.clone()).map_err(WeightsError::Read);
            (0..count).map(|_| open()).collect::<Result<Vec<_>, _>>()
        });
        match shared {
            Ok(sessions) => return Ok(sessions),
            Err(error) => tracing::warn!(model = options.model, ?error, "each session has weights of its own"),
        }
    }
    (0..count).map(|_| commit(&mut builder.clone())).collect()
}

fn size_bytes(source: &Source) -> Result<u64, String> {
    match source {
        Source::File(path) => Ok(std::fs::metadata(path).map_err(|error| error.kind().to_string())?.len()),
        Source::Memory(bytes) => Ok(bytes.len() as u64),
    }
}

fn builder(library: &Library, options: &Options) -> ort::Result<SessionBuilder> {
    let builder = OrtSession::builder(&library.environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        // Waiting threads that spin would burn a core per idle model.
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?;
    if library.shares_threads() {
        return Ok(builder);
    }
    let threads = usize::try_from(options.intra_threads).unwrap_or(1);
    Ok(builder.with_intra_threads(threads)?.with_inter_threads(1)?)
}

fn structure(source: &Source) -> Result<Structure, String> {
    let structure = match source {
        Source::File(path) => std::fs::File::open(path).and_then(|mut file| structure::read(&mut file)),
        Source::Memory(bytes) => structure::read(&mut std::io::Cursor::new(bytes)),
    };
    match structure {
        Ok(Structure { external_data: true, .. }) => {
            Err("its weights lie in another file (ONNX external data); save the model as one file".into())
        }
        Ok(structure) => Ok(structure),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Err("it is not a valid ONNX file".into()),
        Err(error) => Err(format!("it cannot be read: {}", error.kind())),
    }
}

/// ONNX Runtime names the file it failed on; a caller must not learn where the host keeps its files.
fn without_paths(message: &str, source: &Source) -> String {
    let message = run::without_source_location(message);
    let Source::File(path) = source else { return message };
    let message = message.replace(&*path.to_string_lossy(), "the model");
    path.parent().map_or(message.clone(), |folder| message.replace(&*folder.to_string_lossy(), "its folder"))
}

fn facts(session: &OrtSession, device: Target, size_bytes: u64, structure: Structure) -> Result<Facts, String> {
    const HINT: &str =
        "only tensors can be served; export the model without it (scikit-learn: options={'zipmap': False})";
    let specs = |kind: &str, outlets: &[ort::value::Outlet]| {
        outlets
            .iter()
            .map(|outlet| {
                value::spec(outlet.name(), outlet.dtype())
                    .ok_or_else(|| format!("{kind} '{}' is of type {}: {HINT}", outlet.name(), outlet.dtype()))
            })
            .collect::<Result<Vec<_>, _>>()
    };
    let signature =
        Signature { inputs: specs("input", session.inputs())?, outputs: specs("output", session.outputs())? };
    check_size(&signature)?;
    let optional = session
        .overridable_initializers()
        .iter()
        .filter_map(|initializer| value::spec(initializer.name(), initializer.dtype()))
        .collect();
    let (batchable, fixed_work) = (batch::possible(&signature), !structure.open_ended);
    Ok(Facts { signature, optional, device, size_bytes, batchable, fixed_work })
}

/// A signature is kept with every revision of the function: it must not be a way to fill the store.
fn check_size(signature: &Signature) -> Result<(), String> {
    const MAX_SPECS: usize = 1024;
    const MAX_NAME_BYTES: usize = 1024;
    let specs = || signature.inputs.iter().chain(&signature.outputs);
    if specs().count() > MAX_SPECS {
        return Err(format!("it has {} inputs and outputs; {MAX_SPECS} are the most", specs().count()));
    }
    match specs().find(|spec| spec.shape.len() > MAX_RANK || spec.name.len() > MAX_NAME_BYTES) {
        Some(spec) if spec.name.len() > MAX_NAME_BYTES => Err(format!("a name is longer than {MAX_NAME_BYTES} bytes")),
        Some(spec) => Err(format!("'{}' has {} dimensions; {MAX_RANK} are the most", spec.name, spec.shape.len())),
        None => Ok(()),
    }
}

/// Pays the first run's allocations before a request does. A model that dislikes zeros is no error.
pub(super) fn warm_up(model: &str, session: &mut OrtSession, signature: &Signature, options: &RunOptions) {
    let inputs: Option<Vec<_>> = signature.inputs.iter().map(|spec| Some((spec.name.clone(), zeros(spec)?))).collect();
    let Some(inputs) = inputs else { return };
    if let Err(error) = run::run(session, &inputs, Some(options)) {
        tracing::debug!(model, ?error, "warm-up failed");
    }
}

/// A tensor of zeros (or empty texts), every open dimension 1.
fn zeros(spec: &TensorSpec) -> Option<Tensor> {
    /// What a warm-up may allocate for one input.
    const MAX_BYTES: usize = 64 << 20;
    let shape: Vec<usize> = spec.shape.iter().map(|&dim| usize::try_from(dim).unwrap_or(1)).collect();
    let elements = crate::tensor::element_count(&shape)?;
    let bytes = elements.checked_mul(spec.datatype.size_bytes().unwrap_or(size_of::<Bytes>()))?;
    if bytes > MAX_BYTES {
        return None;
    }
    match spec.datatype {
        Datatype::Bytes => Tensor::variable(shape, vec![Bytes::new(); elements]).ok(),
        datatype => Tensor::fixed(datatype, shape, Bytes::from(vec![0; bytes])).ok(),
    }
}
