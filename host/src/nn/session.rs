//! A loaded model and the thread that owns it.
//!
//! `run` needs the session to itself, so each session belongs to one thread and jobs reach it by channel: no tokio thread
//! ever waits for ONNX Runtime. The thread ends, and the memory goes back, when the last user drops the [`Session`].

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{RunOptions, Session as OrtSession};
use tokio::sync::oneshot;

use super::device::{self, Target};
use super::job::{self, Job, Outputs, Terminate};
use super::library::Library;
use super::{NnError, external, value};
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
    /// Run once with zeros after loading.
    pub warmup: bool,
}

/// After this time from the start of loading a warm-up is ended.
const WARM_UP: Duration = Duration::from_secs(10);

/// A model ready to run. Shared by reference; see the module's text for what ends it.
#[derive(Debug)]
pub struct Session {
    model: String,
    facts: Facts,
    jobs: mpsc::Sender<Job>,
}

/// What is known of a model once it is loaded.
#[derive(Debug, Clone)]
struct Facts {
    signature: Signature,
    /// Inputs that have a default in the model and may be left out.
    optional: Vec<TensorSpec>,
    device: Target,
    size_bytes: u64,
}

impl Session {
    /// Loads the model on a thread of its own.
    pub async fn open(library: Library, source: Source, options: Options) -> Result<Self, NnError> {
        let model = options.model.clone();
        let (jobs, queue) = mpsc::channel();
        let (ready, mut loaded) = oneshot::channel();
        let warm_up = RunOptions::new()
            .map(Arc::new)
            .map_err(|error| NnError::Run { model: model.clone(), reason: error.to_string() })?;
        // A model may loop for ever, on zeros too: the warm-up ends with its time, and with whoever waits for it.
        let end_warm_up = Terminate(Arc::clone(&warm_up));
        std::thread::Builder::new()
            .name(format!("session {model}"))
            .spawn(move || own(&library, &source, &options, &warm_up, ready, &queue))
            .map_err(|error| NnError::Run { model: model.clone(), reason: format!("no thread for it: {error}") })?;
        let result = match tokio::time::timeout(WARM_UP, &mut loaded).await {
            Ok(result) => result,
            Err(_) => {
                drop(end_warm_up);
                loaded.await
            }
        };
        let facts = result.unwrap_or_else(|_| Err(NnError::Ended(model.clone())))?;
        Ok(Self { model, facts, jobs })
    }

    /// Runs the model once. Inputs that do not fit are refused before they reach the queue; dropping the future cancels.
    pub async fn compute(&self, inputs: Vec<(String, Tensor)>) -> Result<Outputs, NnError> {
        self.check(&inputs)?;
        let (job, ticket) = Job::new(&self.model, inputs)?;
        self.jobs.send(job).map_err(|_| NnError::Ended(self.model.clone()))?;
        ticket.outputs(&self.model).await
    }

    /// Inputs and outputs as the model declares them.
    pub fn signature(&self) -> &Signature {
        &self.facts.signature
    }

    /// The signature with those inputs that have a default and are `given`: what a request has to fit.
    pub fn signature_for(&self, given: impl Fn(&str) -> bool) -> Cow<'_, Signature> {
        let mut signature = Cow::Borrowed(&self.facts.signature);
        for spec in self.facts.optional.iter().filter(|spec| given(&spec.name)) {
            signature.to_mut().inputs.push(spec.clone());
        }
        signature
    }

    /// The device the model really runs on.
    pub fn device(&self) -> Target {
        self.facts.device
    }

    /// Bytes of the model file; what ONNX Runtime holds beside it is not counted.
    pub fn size_bytes(&self) -> u64 {
        self.facts.size_bytes
    }

    /// The name the model was loaded under first.
    pub fn model(&self) -> &str {
        &self.model
    }

    fn check(&self, inputs: &[(String, Tensor)]) -> Result<(), NnError> {
        let Facts { signature, optional, .. } = &self.facts;
        let invalid = |text: String| Err(NnError::InvalidInput(text));
        for (at, (name, tensor)) in inputs.iter().enumerate() {
            let known =
                || signature.inputs.iter().map(|spec| format!("'{}'", spec.name)).collect::<Vec<_>>().join(", ");
            let Some(spec) = signature.inputs.iter().chain(optional).find(|spec| spec.name == *name) else {
                return invalid(format!("model '{}' has no input '{name}'; it takes {}", self.model, known()));
            };
            if inputs.iter().take(at).any(|(earlier, _)| earlier == name) {
                return invalid(format!("input '{name}' for model '{}' is given twice", self.model));
            }
            if spec.datatype != tensor.datatype() {
                return invalid(format!(
                    "inference input '{name}' data-type is '{}', but model '{}' expects '{}'",
                    tensor.datatype(),
                    self.model,
                    spec.datatype
                ));
            }
            if !spec.admits(tensor.shape()) {
                return invalid(format!(
                    "unexpected shape for input '{name}' for model '{}'. Expected {:?}, got {:?}",
                    self.model,
                    spec.shape,
                    tensor.shape()
                ));
            }
        }
        match signature.inputs.iter().find(|spec| !inputs.iter().any(|(name, _)| *name == spec.name)) {
            Some(missing) => invalid(format!("missing required input '{}' for model '{}'", missing.name, self.model)),
            None => Ok(()),
        }
    }
}

/// What a model file takes and gives, found by loading it on this thread for a moment, on the CPU.
pub fn describe(library: &Library, file: &Path) -> Result<Signature, NnError> {
    let model = file.file_name().map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned());
    let options = Options { model, targets: vec![Target::Cpu], intra_threads: 1, warmup: false };
    let (_, facts) = load(library, &Source::File(file.into()), &options)?;
    Ok(facts.signature)
}

/// The owner thread: load, then serve jobs until no sender is left.
fn own(
    library: &Library,
    source: &Source,
    options: &Options,
    warm_up_run: &RunOptions,
    ready: oneshot::Sender<Result<Facts, NnError>>,
    queue: &mpsc::Receiver<Job>,
) {
    let (mut session, facts) = match load(library, source, options) {
        Ok(loaded) => loaded,
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    if options.warmup {
        warm_up(&options.model, &mut session, &facts.signature, warm_up_run);
    }
    if ready.send(Ok(facts)).is_err() {
        return;
    }
    while let Ok(job) = queue.recv() {
        // A panic ends this job alone: dropping it tells its caller.
        let run = std::panic::AssertUnwindSafe(|| job.execute(&options.model, &mut session));
        if std::panic::catch_unwind(run).is_err() {
            tracing::error!(model = options.model, "a run panicked");
        }
    }
    drop(session);
    give_memory_back();
}

/// The allocator keeps a dropped session's pages for later; an idle host has no later.
fn give_memory_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim(3) takes no pointers, locks what it touches, and may be called from any thread at any time.
    #[expect(unsafe_code, reason = "the allocator has no safe interface for it")]
    unsafe {
        libc::malloc_trim(0);
    }
}

fn load(library: &Library, source: &Source, options: &Options) -> Result<(OrtSession, Facts), NnError> {
    let invalid = |reason: String| NnError::InvalidModel { model: options.model.clone(), reason };
    refuse_external_data(source).map_err(invalid)?;
    let mut no_device = None;
    for &target in &options.targets {
        let builder = builder(library, options).map_err(|error| invalid(error.to_string()))?;
        let mut builder = match device::register(builder, target) {
            Ok(builder) => builder,
            Err(reason) => {
                let error = NnError::Device { model: options.model.clone(), device: target.to_string(), reason };
                if options.targets.len() > 1 {
                    tracing::info!(%error, "trying the next device");
                }
                no_device = Some(error);
                continue;
            }
        };
        let (session, size_bytes) = match source {
            Source::File(path) => {
                let size = std::fs::metadata(path).map_err(|error| invalid(error.kind().to_string()))?.len();
                (builder.commit_from_file(path), size)
            }
            Source::Memory(bytes) => (builder.commit_from_memory(bytes), bytes.len() as u64),
        };
        let session = session.map_err(|error| invalid(without_paths(&error.to_string(), source)))?;
        let facts = facts(&session, target, size_bytes).map_err(invalid)?;
        return Ok((session, facts));
    }
    Err(no_device.unwrap_or_else(|| invalid("no device of the server's list onnxruntime.devices can be used".into())))
}

fn builder(library: &Library, options: &Options) -> ort::Result<ort::session::builder::SessionBuilder> {
    let threads = usize::try_from(options.intra_threads).unwrap_or(1);
    Ok(OrtSession::builder(&library.environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(threads)?
        .with_inter_threads(1)?
        // Waiting threads that spin would burn a core per idle model.
        .with_config_entry("session.intra_op.allow_spinning", "0")?
        .with_config_entry("session.inter_op.allow_spinning", "0")?)
}

fn refuse_external_data(source: &Source) -> Result<(), String> {
    let external = match source {
        Source::File(path) => std::fs::File::open(path).and_then(|mut file| external::has_external_data(&mut file)),
        Source::Memory(bytes) => external::has_external_data(&mut std::io::Cursor::new(bytes)),
    };
    match external {
        Ok(false) => Ok(()),
        Ok(true) => Err("its weights lie in another file (ONNX external data); save the model as one file".into()),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Err("it is not a valid ONNX file".into()),
        Err(error) => Err(format!("it cannot be read: {}", error.kind())),
    }
}

/// ONNX Runtime names the file it failed on; a caller must not learn where the host keeps its files.
fn without_paths(message: &str, source: &Source) -> String {
    let message = job::without_source_location(message);
    let Source::File(path) = source else { return message };
    let message = message.replace(&*path.to_string_lossy(), "the model");
    path.parent().map_or(message.clone(), |folder| message.replace(&*folder.to_string_lossy(), "its folder"))
}

fn facts(session: &OrtSession, device: Target, size_bytes: u64) -> Result<Facts, String> {
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
    Ok(Facts { signature, optional, device, size_bytes })
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
fn warm_up(model: &str, session: &mut OrtSession, signature: &Signature, options: &RunOptions) {
    let inputs: Option<Vec<_>> = signature.inputs.iter().map(|spec| Some((spec.name.clone(), zeros(spec)?))).collect();
    let Some(inputs) = inputs else { return };
    if let Err(error) = job::run(model, session, &inputs, options) {
        tracing::debug!(model, %error, "warm-up failed");
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
