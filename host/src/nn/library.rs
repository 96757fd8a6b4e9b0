//! Finding ONNX Runtime's shared library and opening it, once per process.
//!
//! The library is not linked in: CPU-only and CUDA builds of it are exchanged without rebuilding the host. It stays loaded
//! until the process ends, as does its one environment.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ort::environment::{Environment, GlobalThreadPoolOptions};
use ort::logging::LogLevel;

/// The `[onnxruntime]` part of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// Path of `libonnxruntime.so`; empty: beside the binary, then the tool folder, then the system.
    pub library: String,
    /// Devices that `device = "auto"` tries, in order.
    pub devices: Vec<String>,
    /// Threads that all models share for the work inside their operators; 0: each session has `intra_threads` of its own.
    pub threads: u32,
}

/// The opened library.
#[derive(Clone)]
pub struct Library {
    pub(super) environment: Environment,
    path: PathBuf,
    threads: u32,
}

/// Why there is no ONNX Runtime.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    #[error(
        "ONNX Runtime was not found (looked in {looked_in}): run `scripts/setup` of the Nocti repository, or unzip \
         libonnxruntime.so from the PyPI wheel `onnxruntime` and set onnxruntime.library (or NOCTI_ONNXRUNTIME_LIBRARY) to it"
    )]
    NotFound { looked_in: String },
    #[error("ONNX Runtime at {path} cannot be used: {reason}; version 1.{minimum} or later is needed")]
    Unusable { path: String, reason: String, minimum: u32 },
}

/// ONNX Runtime has one environment a process, so the first library opened is the only one; several hosts share it.
static OPENED: Mutex<Option<Library>> = Mutex::new(None);

/// The oldest ONNX Runtime 1.x whose interface the host uses.
const MINIMUM_MINOR_VERSION: u32 = ort::MINOR_VERSION;

impl Library {
    /// Opens the configured library, or the first one found; `tool_folder` is where `scripts/setup` puts it.
    pub fn open(config: &Config, tool_folder: Option<&Path>) -> Result<Self, LibraryError> {
        let candidates =
            if config.library.is_empty() { candidates(tool_folder) } else { vec![PathBuf::from(&config.library)] };
        let Some(path) = candidates.iter().find(|path| path.is_file()) else {
            let looked_in = candidates.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
            return Err(LibraryError::NotFound { looked_in });
        };
        let unusable = |reason: String| LibraryError::Unusable {
            path: path.display().to_string(),
            reason,
            minimum: MINIMUM_MINOR_VERSION,
        };
        // `ort` looks for relative paths beside the binary; what the user wrote is relative to the working folder.
        let absolute = std::path::absolute(path).map_err(|error| unusable(error.to_string()))?;
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(library) = &*opened {
            return if library.path == absolute && library.threads == config.threads {
                Ok(library.clone())
            } else {
                let (path, threads) = (library.path.display(), library.threads);
                Err(unusable(format!("this process uses {path} with onnxruntime.threads = {threads} already")))
            };
        }
        let mut builder = ort::init_from(&absolute).map_err(|error| unusable(error.to_string()))?;
        if config.threads > 0 {
            let pool = shared_threads(config.threads).map_err(|error| unusable(error.to_string()))?;
            builder = builder.with_global_thread_pool(pool);
        }
        let environment = builder
            .with_name("nocti")
            .with_telemetry(false)
            // What it says of a failed run comes back as the run's error; by itself it would write to standard error.
            .with_logger(Arc::new(|level, _, _, location, message| {
                tracing::debug!(target: "onnxruntime", ?level, location, "{message}");
            }))
            .build()
            .map_err(|error| unusable(error.to_string()))?;
        // With a logger of one's own it begins at the most verbose level, and writing lines that nobody reads takes a tenth of
        // a run's time.
        environment.set_log_level(LogLevel::Warning);
        Ok(opened.insert(Self { environment, path: absolute, threads: config.threads }).clone())
    }

    /// A message that may name the files beside the library, without their folder.
    pub(super) fn without_folder(&self, message: &str) -> String {
        let folder = self.path.parent().map(|folder| format!("{}/", folder.display()));
        folder.map_or_else(|| message.to_owned(), |folder| message.replace(&folder, ""))
    }

    /// The library where `config.rs`, which this room does not know, finds it.
    #[cfg(test)]
    pub(super) fn installed() -> Self {
        #[expect(clippy::disallowed_methods, reason = "a test has no configuration")]
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let folder = variable("NOCTI_HOME")
            .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache + "/nocti"))
            .or_else(|| variable("HOME").map(|home| home + "/.cache/nocti"));
        let library = variable("NOCTI_ONNXRUNTIME_LIBRARY").unwrap_or_default();
        let config = Config { library, ..Config::default() };
        Self::open(&config, folder.as_deref().map(Path::new)).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Whether all sessions use the same threads.
    pub(super) fn shares_threads(&self) -> bool {
        self.threads > 0
    }
}

fn shared_threads(count: u32) -> ort::Result<GlobalThreadPoolOptions> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    GlobalThreadPoolOptions::default().with_intra_threads(count)?.with_inter_threads(1)?.with_spin_control(false)
}

fn candidates(tool_folder: Option<&Path>) -> Vec<PathBuf> {
    const FILE: &str = if cfg!(target_os = "macos") { "libonnxruntime.dylib" } else { "libonnxruntime.so" };
    let mut found = Vec::new();
    if let Some(folder) = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_path_buf)) {
        found.push(folder.join(FILE));
    }
    if let Some(folder) = tool_folder.map(|folder| folder.join("onnxruntime")) {
        // One folder a version; the newest that is there wins.
        let mut versions: Vec<PathBuf> =
            std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        versions.sort_by_key(|path| std::cmp::Reverse(version_key(path)));
        found.extend(versions.into_iter().map(|path| path.join(FILE)));
        found.push(folder.join(FILE));
    }
    found.extend(["/usr/local/lib", "/usr/lib", "/usr/lib64"].map(|folder| Path::new(folder).join(FILE)));
    found
}

fn version_key(path: &Path) -> Vec<u32> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_library_the_message_says_how_to_get_one() {
        let config = Config { library: "/nowhere/libonnxruntime.so".into(), ..Config::default() };
        let error = Library::open(&config, None).err().expect("there is no such file").to_string();
        assert!(error.contains("/nowhere/libonnxruntime.so") && error.contains("scripts/setup"), "{error}");
    }

    #[test]
    fn the_newest_version_comes_first() {
        assert!(version_key(Path::new("/x/1.32.0")) > version_key(Path::new("/x/1.9.1")));
    }
}
