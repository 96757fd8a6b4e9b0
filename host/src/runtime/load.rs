//! From a component's bytes to something that can be instantiated, compiled once per node.
//!
//! Compiled code is kept in the cache folder under a key of everything it depends on, beside the sha256 of the file, so
//! that a damaged entry is noticed and made anew. The folder is the host's own: whoever can write there can run code.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use super::RuntimeError;
use super::instance::Pre;
use super::state::State;

/// What a component answers to, told from its exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exports {
    /// `nocti:function/predictor`
    Typed,
    /// `wasi:http/incoming-handler@0.2`
    Http,
}

/// Compiles components and links them.
pub struct Loader {
    engine: Engine,
    linker: Linker<State>,
    cache: PathBuf,
}

impl Loader {
    /// `cache` is the folder for compiled code; it is created when first needed.
    pub fn new(engine: Engine, cache: PathBuf) -> wasmtime::Result<Self> {
        let linker = super::link::linker(&engine)?;
        Ok(Self { engine, linker, cache })
    }

    /// Compiles, or takes from the cache, the component called `digest`; `read` gives its bytes when they are needed.
    /// Blocks for as long as compiling takes.
    pub fn load(
        &self,
        digest: &str,
        read: impl FnOnce() -> Result<Vec<u8>, RuntimeError>,
    ) -> Result<Pre, RuntimeError> {
        let entry = self.cache.join(format!("{digest}-{:016x}.cwasm", self.compatibility()));
        let component = match self.cached(&entry) {
            Some(component) => component,
            None => self.compile(&read()?, &entry)?,
        };
        let exports = exports(&self.engine, &component)?;
        let invalid = |error: wasmtime::Error| RuntimeError::InvalidComponent(format!("{error:#}"));
        let linked = self.linker.instantiate_pre(&component).map_err(|error| missing_import(&error))?;
        match exports {
            // Checks the exports' types; calls find them by name, since one of them is optional.
            Exports::Typed => {
                let checked = super::exports::bindings::ModelPre::new(linked).map_err(invalid)?;
                Ok(Pre::Typed(checked.instance_pre().clone()))
            }
            Exports::Http => wasmtime_wasi_http::p2::bindings::ProxyPre::new(linked).map(Pre::Http).map_err(invalid),
        }
    }

    /// wasmtime's version and settings and the CPU's features, as one number.
    fn compatibility(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.engine.precompile_compatibility_hash().hash(&mut hasher);
        hasher.finish()
    }

    fn compile(&self, bytes: &[u8], entry: &Path) -> Result<Component, RuntimeError> {
        let component = Component::from_binary(&self.engine, bytes)
            .map_err(|error| RuntimeError::InvalidComponent(format!("{error:#}")))?;
        // A cache that cannot be written costs time at the next start, nothing else.
        match component.serialize() {
            Ok(code) => {
                if let Err(error) = write_entry(entry, &code) {
                    tracing::warn!(%error, "compiled component not cached");
                }
            }
            Err(error) => tracing::warn!(%error, "compiled component not cached"),
        }
        Ok(component)
    }

    fn cached(&self, entry: &Path) -> Option<Component> {
        let code = std::fs::read(entry).ok()?;
        let checksum = std::fs::read_to_string(checksum_path(entry)).ok()?;
        if hex::encode(Sha256::digest(&code)) != checksum {
            tracing::warn!(entry = %entry.display(), "damaged cache entry: compiling again");
            return None;
        }
        // SAFETY: the bytes are what `serialize` of an engine with the same compatibility hash gave: the key holds that
        // hash, the checksum was just compared, and the bytes were read into memory before, so no change follows.
        #[expect(unsafe_code, reason = "compiled code has to be trusted somewhere: here alone")]
        let component = unsafe { Component::deserialize(&self.engine, code) };
        component.inspect_err(|error| tracing::warn!(%error, "unusable cache entry: compiling again")).ok()
    }
}

fn checksum_path(entry: &Path) -> PathBuf {
    entry.with_extension("sha256")
}

/// Code first, checksum last: an entry without its checksum does not count.
fn write_entry(entry: &Path, code: &[u8]) -> std::io::Result<()> {
    let folder = entry.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    for (path, content) in [(entry, code), (&checksum_path(entry), hex::encode(Sha256::digest(code)).as_bytes())] {
        let mut staged = tempfile::NamedTempFile::new_in(folder)?;
        std::io::Write::write_all(&mut staged, content)?;
        staged.persist(path)?;
    }
    Ok(())
}

fn exports(engine: &Engine, component: &Component) -> Result<Exports, RuntimeError> {
    let ty = component.component_type();
    let names: Vec<&str> = ty.exports(engine).map(|(name, _)| name).collect();
    if names.iter().any(|name| name.starts_with("nocti:function/predictor@0.1.")) {
        Ok(Exports::Typed)
    } else if names.iter().any(|name| name.starts_with("wasi:http/incoming-handler@0.2.")) {
        Ok(Exports::Http)
    } else {
        let names = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
        Err(RuntimeError::InvalidComponent(format!(
            "it exports {names}; a function exports nocti:function/predictor@0.1.0 or wasi:http/incoming-handler@0.2"
        )))
    }
}

/// wasmtime's error chain names the import; the outer text says what that means.
fn missing_import(error: &wasmtime::Error) -> RuntimeError {
    RuntimeError::InvalidComponent(format!("this host does not offer all it imports: {error:#}"))
}
