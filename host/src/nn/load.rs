//! Making a model ready to run: checks on its file, ONNX Runtime's sessions, what it takes and gives, the first run.
//!
//! Everything here takes the thread for as long as it takes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{RunOptions, Session as OrtSession};

use super::device::{self, Target};
use super::footprint;
use super::library::Library;
use super::prepared::{self, Form, Prepared, Shelf};
use super::structure::{self, Structure};
use super::trial::Batching;

use super::{NnError, batch, run, value};
use crate::tensor::{Datatype, MAX_RANK, Signature, Tensor, TensorSpec};

/// Where a model's bytes are.
#[derive(Debug, Clone)]
pub enum Source {
    File(PathBuf),
    /// A file that may have been damaged since it was written.
    Kept(PathBuf, Check),
    Memory(Bytes),
}

/// Says what is wrong with a file, if something is. It is asked on a thread that may block, before the model itself is loaded or
/// prepared, and not where its prepared form is there.
#[derive(Clone)]
pub struct Check(Arc<dyn Fn() -> Result<(), String> + Send + Sync>);

impl Check {
    pub fn new(check: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(check))
    }
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Check")
    }
}

impl Source {
    /// Where it is, of one that is a file.
    fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) | Self::Kept(path, _) => Some(path),
            Self::Memory(_) => None,
        }
    }

    fn check(&self) -> Result<(), String> {
        match self {
            Self::Kept(_, Check(check)) => check(),
            Self::File(_) | Self::Memory(_) => Ok(()),
        }
    }
}

/// How to load a model.
#[derive(Clone)]
pub(super) struct Options {
    /// The model's name, for messages.
    pub(super) model: String,
    /// The device it is to run on.
    pub(super) target: Target,
    /// Threads within one operator.
    pub(super) intra_threads: u32,
    /// Runs that can go on at once, each with a session of ONNX Runtime's.
    pub(super) sessions: u32,
    /// Run once with zeros after loading.
    pub(super) warmup: bool,
    /// Where its prepared form is kept; `None`: it is loaded from the model itself.
    pub(super) shelf: Option<Shelf>,
    /// Whether it may begin in its quick form.
    pub(super) quick_start: bool,
}

/// What is known of a model once it is loaded.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) signature: Signature,
    /// Inputs that have a default in the model and may be left out.
    pub(super) optional: Vec<TensorSpec>,
    pub(super) device: Target,
    /// Of the model's file.
    pub(super) file_bytes: u64,
    /// Of the file that its sessions map.
    pub(super) mapped_bytes: u64,
    /// Of what each session is made of, without what its tensors take.
    pub(super) session_bytes: u64,
    /// Whether requests may share a run, as far as the model's file says.
    pub(super) sharing: Batching,
    /// Whether a run's work follows from the shapes of its inputs.
    pub(super) fixed_work: bool,
}

#[derive(Clone, Copy)]
struct Sizes {
    file_bytes: u64,
    mapped_bytes: u64,
    session_bytes: u64,
}

/// A model that is ready to run.
pub(super) struct Loaded {
    pub(super) sessions: Vec<OrtSession>,
    pub(super) facts: Facts,
    /// Where it can be had in its full form, if this is the quick one.
    pub(super) better: Option<Better>,
}

/// A way to the full form of a model that was loaded in its quick one.
pub(super) struct Better {
    prepared: Prepared,
    library: Library,
    options: Options,
    /// How long the quick one may run before it is replaced.
    pub(super) after: Duration,
}

impl Better {
    /// As many sessions as the quick form has.
    pub(super) fn open(&self) -> ort::Result<Vec<OrtSession>> {
        let builder = builder(&self.library, &self.options)?;
        (0..self.options.sessions.max(1)).map(|_| self.prepared.open(&builder, Form::Full)).collect()
    }
}

/// What a model file takes and gives, found by loading it on this thread for a moment, on the CPU.
pub fn describe(library: &Library, file: &Path) -> Result<Signature, NnError> {
    let model = file.file_name().map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned());
    let options = Options {
        model,
        target: Target::Cpu,
        intra_threads: 1,
        sessions: 1,
        warmup: false,
        shelf: None,
        quick_start: false,
    };
    Ok(load(library, &Source::File(file.into()), &options)?.facts.signature)
}

/// What loading a model will take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    /// It was measured when the model was prepared.
    Measured(u64),
    /// It was not: twice the model's file, since weights may be there in another layout too.
    Guessed(u64),
}

/// Bytes that loading a model will take, as far as can be known before. May hash the prepared form.
pub(super) fn expected(source: &Source, options: &Options) -> Expected {
    /// Beside the weights.
    const AT_LEAST: u64 = 1 << 20;
    let sessions = u64::from(options.sessions.max(1));
    if let Some(facts) = options.shelf().and_then(Shelf::find).map(|prepared| prepared.facts()) {
        return Expected::Measured(facts.mapped_bytes + sessions * facts.session_bytes);
    }
    // What is prepared shares its weights.
    let copies = if options.shelf().is_some() { 1 } else { sessions };
    let each = size_bytes(source).unwrap_or(0).saturating_mul(2);
    Expected::Guessed(AT_LEAST + each.saturating_mul(copies))
}

impl Options {
    /// The shelf, for models that can be prepared: those of the CPU.
    fn shelf(&self) -> Option<&Shelf> {
        self.shelf.as_ref().filter(|_| self.target == Target::Cpu)
    }
}

/// As many sessions of the model as the options say, at least one.
pub(super) fn load(library: &Library, source: &Source, options: &Options) -> Result<Loaded, NnError> {
    let invalid = |reason: String| NnError::InvalidModel { model: options.model.clone(), reason };
    let reason = |error: ort::Error| library.without_folder(&without_paths(&error.to_string(), source));
    let builder = builder(library, options).map_err(|error| invalid(error.to_string()))?;
    // What is not there any more may have been damaged, which says it better.
    let file_bytes = size_bytes(source).map_err(|reason| invalid(source.check().err().unwrap_or(reason)))?;
    if let Some(loaded) = from_shelf(library, &builder, file_bytes, options) {
        return loaded.map_err(invalid);
    }
    source.check().map_err(invalid)?;
    let structure = structure(source).map_err(invalid)?;
    let mut not_prepared = None;
    if let Some(shelf) = options.shelf() {
        let commit = |builder: &mut SessionBuilder| commit(builder, source);
        match shelf.prepare(&builder, structure.open_ended, commit) {
            Ok(_) => {
                if let Some(loaded) = from_shelf(library, &builder, file_bytes, options) {
                    return loaded.map_err(invalid);
                }
                tracing::warn!(model = options.model, "its prepared form is gone: loaded from the model itself");
            }
            // If it is the model's fault, the model itself will show it.
            Err(error) => not_prepared = Some(error),
        }
    }
    // A device may turn out not to be there, or to be full, only when the model comes.
    let count = options.sessions.max(1);
    let (sessions, grown) = footprint::growth(|| {
        device::register(builder, options.target)
            .and_then(|builder| (0..count).map(|_| commit(&mut builder.clone(), source)).collect())
    });
    let sessions: Vec<OrtSession> = sessions.map_err(|error| match options.target {
        target if target.has_own_memory() => {
            NnError::Device { model: options.model.clone(), device: target.to_string(), reason: reason(error) }
        }
        _ => invalid(reason(error)),
    })?;
    let first = sessions.first().expect("at least one");
    let own_memory = options.target.has_own_memory();
    // Weights of its own are among its tensors.
    let tensors = footprint::allocated_bytes(first, options.target).unwrap_or(0);
    let each = grown.unwrap_or(0) / u64::from(count);
    let session_bytes = if own_memory { 0 } else { each.saturating_sub(tensors) };
    let sizes = Sizes { file_bytes, mapped_bytes: 0, session_bytes };
    let mut facts = facts(first, options.target, sizes, structure.open_ended).map_err(invalid)?;
    if own_memory && structure.convolves && facts.sharing == Batching::Untried {
        facts.sharing = Batching::Costly;
    }
    if let Some(error) = not_prepared {
        let (model, error): (_, &dyn std::error::Error) = (&options.model, &error);
        tracing::warn!(
            model,
            error,
            "not prepared: loaded from the model itself, each session with weights of its own"
        );
    }
    Ok(Loaded { sessions, facts, better: None })
}

/// The model from its prepared form; `None` where there is none that can be used.
fn from_shelf(
    library: &Library,
    builder: &SessionBuilder,
    file_bytes: u64,
    options: &Options,
) -> Option<Result<Loaded, String>> {
    let shelf = options.shelf()?;
    let prepared = shelf.find()?;
    let prepared_facts = prepared.facts();
    let quick_pays = if options.quick_start { prepared_facts.quick_pays_until() } else { None };
    let form = if quick_pays.is_some() { Form::Quick } else { Form::Full };
    let opened: ort::Result<Vec<_>> = (0..options.sessions.max(1)).map(|_| prepared.open(builder, form)).collect();
    let sessions = match opened {
        Ok(sessions) => sessions,
        Err(error) => {
            tracing::warn!(model = options.model, %error, "unusable cache entry: made anew");
            shelf.discard(&prepared);
            return None;
        }
    };
    let first = sessions.first().expect("at least one");
    let prepared::Facts { mapped_bytes, session_bytes, .. } = prepared_facts;
    let sizes = Sizes { file_bytes, mapped_bytes, session_bytes };
    let facts = match facts(first, options.target, sizes, prepared_facts.open_ended) {
        Ok(facts) => facts,
        Err(reason) => return Some(Err(reason)),
    };
    let (library, options) = (library.clone(), options.clone());
    let better = quick_pays.map(|after| Better { prepared, library, options, after });
    Some(Ok(Loaded { sessions, facts, better }))
}

fn commit(builder: &mut SessionBuilder, source: &Source) -> ort::Result<OrtSession> {
    match source {
        Source::File(path) | Source::Kept(path, _) => builder.commit_from_file(path),
        Source::Memory(bytes) => builder.commit_from_memory(bytes),
    }
}

fn size_bytes(source: &Source) -> Result<u64, String> {
    match source {
        Source::File(path) | Source::Kept(path, _) => {
            Ok(std::fs::metadata(path).map_err(|error| error.kind().to_string())?.len())
        }
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
        Source::File(path) | Source::Kept(path, _) => {
            std::fs::File::open(path).and_then(|mut file| structure::read(&mut file))
        }
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
    let Some(path) = source.path() else { return message };
    let message = message.replace(&*path.to_string_lossy(), "the model");
    path.parent().map_or(message.clone(), |folder| message.replace(&*folder.to_string_lossy(), "its folder"))
}

fn facts(session: &OrtSession, device: Target, sizes: Sizes, open_ended: bool) -> Result<Facts, String> {
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
    let sharing = if batch::possible(&signature) { Batching::Untried } else { Batching::Impossible };
    let fixed_work = !open_ended;
    let Sizes { file_bytes, mapped_bytes, session_bytes } = sizes;
    Ok(Facts { signature, optional, device, file_bytes, mapped_bytes, session_bytes, sharing, fixed_work })
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
    let bytes = elements.checked_mul(spec.datatype.size_bytes().unwrap_or(size_of::<String>()))?;
    if bytes > MAX_BYTES {
        return None;
    }
    match spec.datatype {
        Datatype::Bytes => Tensor::variable(shape, vec![[0_u8; 0]; elements]).ok(),
        datatype => Tensor::fixed(datatype, shape, Bytes::from(vec![0; bytes])).ok(),
    }
}
