//! From a component's bytes to something that can be instantiated, compiled once per node and loaded once per process.
//!
//! Compiled code is kept in the node's cache and mapped from there, the guest's initial memory included. A loaded component is
//! shared by all versions that have it, and ends with the last of them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use dashmap::DashMap;
use wasmparser::{Parser, Payload};
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use super::RuntimeError;
use super::engine::{self, Calls};
use super::instance::{Pre, Slots};
use super::state::State;
use crate::cache::{Cache, Entry, Key, Kind};

/// What a component answers to, told from its exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exports {
    /// `nocti:function/predictor`
    Typed,
    /// `wasi:http/incoming-handler@0.2`
    Http,
    /// `wasi:http/handler@0.3`
    Service,
}

/// Compiles components and links them.
pub struct Loader {
    /// For components that are called once at a time.
    single: Compiler,
    /// For those that import or export async functions.
    concurrent: Compiler,
    slots: Arc<Slots>,
    /// By digest; locked while it is being loaded.
    loaded: DashMap<String, Arc<Mutex<Weak<Pre>>>>,
}

/// One engine, and what it makes of components.
struct Compiler {
    engine: Engine,
    linker: Linker<State>,
    cache: Arc<Cache>,
    /// wasmtime's version and settings and the processor's features, as the cache's key has them.
    made_for: String,
}

impl Loader {
    /// Compiled code is kept in `cache`.
    pub fn new(cache: Arc<Cache>) -> wasmtime::Result<Self> {
        let single = Compiler::new(Calls::Single, Arc::clone(&cache))?;
        let concurrent = Compiler::new(Calls::Concurrent, cache)?;
        Ok(Self { single, concurrent, slots: Arc::default(), loaded: DashMap::new() })
    }

    /// Room for instances of what it loads.
    pub fn slots(&self) -> Arc<Slots> {
        Arc::clone(&self.slots)
    }

    /// The component called `digest`: loaded already, from the cache, or compiled from the bytes that `read` gives. Blocks for as long as
    /// compiling takes.
    pub fn load(
        &self,
        digest: &str,
        read: impl FnOnce() -> Result<Vec<u8>, RuntimeError>,
    ) -> Result<Arc<Pre>, RuntimeError> {
        let slot = Arc::clone(&self.loaded.entry(digest.to_owned()).or_default());
        let mut loaded = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pre) = loaded.upgrade() {
            return Ok(pre);
        }
        let cached = |compiler| Compiler::cached(compiler, digest).map(|component| (compiler, component));
        let (compiler, component) = match cached(&self.single).or_else(|| cached(&self.concurrent)) {
            Some(found) => found,
            None => {
                let bytes = read()?;
                let compiler = if is_concurrent(&bytes) { &self.concurrent } else { &self.single };
                (compiler, compiler.compile(digest, &bytes)?)
            }
        };
        let pre = Arc::new(compiler.link(&component)?);
        *loaded = Arc::downgrade(&pre);
        drop(loaded);
        drop(slot);
        // Those that have ended, and that nobody is about to load.
        self.loaded.retain(|_, slot| {
            Arc::strong_count(slot) > 1 || slot.try_lock().is_ok_and(|loaded| loaded.strong_count() > 0)
        });
        Ok(pre)
    }
}

impl Compiler {
    fn new(calls: Calls, cache: Arc<Cache>) -> wasmtime::Result<Self> {
        let engine = engine::create(calls)?;
        let linker = super::link::linker(&engine, calls)?;
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let made_for = format!("wasmtime, compatible with {:016x}, {calls:?}", hasher.finish());
        Ok(Self { engine, linker, cache, made_for })
    }

    fn link(&self, component: &Component) -> Result<Pre, RuntimeError> {
        let exports = exports(&self.engine, component)?;
        let invalid = |error: wasmtime::Error| RuntimeError::InvalidComponent(format!("{error:#}"));
        let linked = self.linker.instantiate_pre(component).map_err(|error| missing_import(&error))?;
        match exports {
            // Checks the exports' types; calls find them by name, since one of them is optional.
            Exports::Typed => {
                let checked = super::exports::bindings::ModelPre::new(linked).map_err(invalid)?;
                Ok(Pre::Typed(checked.instance_pre().clone()))
            }
            Exports::Http => wasmtime_wasi_http::p2::bindings::ProxyPre::new(linked).map(Pre::Http).map_err(invalid),
            Exports::Service => {
                wasmtime_wasi_http::p3::bindings::ServicePre::new(linked).map(Pre::Service).map_err(invalid)
            }
        }
    }

    fn compile(&self, digest: &str, bytes: &[u8]) -> Result<Component, RuntimeError> {
        let code = self.engine.precompile_component(bytes);
        let code = code.map_err(|error| RuntimeError::InvalidComponent(format!("{error:#}")))?;
        let written = self.cache.write(self.key(digest), |folder| std::fs::write(folder.join(CODE), &code));
        match written {
            Ok(entry) => match self.open(&entry.file(CODE)) {
                Ok(component) => return Ok(component),
                Err(error) => tracing::warn!(%error, "compiled component cannot be read back"),
            },
            // It costs time at the next start and memory now, nothing else.
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "compiled component not cached"),
        }
        // SAFETY: the bytes are what `precompile_component` of this engine gave just now.
        #[expect(unsafe_code, reason = "compiled code has to be trusted somewhere: in this file alone")]
        let component = unsafe { Component::deserialize(&self.engine, code) };
        component.map_err(|error| RuntimeError::Host(format!("{error:#}")))
    }

    fn cached(&self, digest: &str) -> Option<Component> {
        let entry: Entry<()> = self.cache.find(self.key(digest))?;
        match self.open(&entry.file(CODE)) {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::warn!(%error, "unusable cache entry: compiling again");
                self.cache.discard(&entry);
                None
            }
        }
    }

    fn open(&self, code: &Path) -> wasmtime::Result<Component> {
        // SAFETY: the file is what `precompile_component` of an engine with the same compatibility hash gave: the key holds
        // that hash, and the cache has seen that the content is what was sealed. Nobody changes an entry's files in place.
        #[expect(unsafe_code, reason = "compiled code has to be trusted somewhere: in this file alone")]
        unsafe {
            Component::deserialize_file(&self.engine, code)
        }
    }

    fn key<'k>(&'k self, digest: &'k str) -> Key<'k> {
        Key { kind: Kind::Components, digest, made_for: &self.made_for }
    }
}

/// Whether a component imports or exports what came with WASI 0.3. What is no component, compiling finds out.
fn is_concurrent(bytes: &[u8]) -> bool {
    let is_new = |name: &str| name.contains("@0.3.") || name.starts_with("nocti:function/concurrent");
    Parser::new(0).parse_all(bytes).map_while(Result::ok).any(|payload| match payload {
        Payload::ComponentImportSection(imports) => {
            imports.into_iter().flatten().any(|import| is_new(import.name.name))
        }
        Payload::ComponentExportSection(exports) => {
            exports.into_iter().flatten().any(|export| is_new(export.name.name))
        }
        _ => false,
    })
}

/// The entry's file.
const CODE: &str = "component.cwasm";

fn exports(engine: &Engine, component: &Component) -> Result<Exports, RuntimeError> {
    let ty = component.component_type();
    let names: Vec<&str> = ty.exports(engine).map(|(name, _)| name).collect();
    if names.iter().any(|name| name.starts_with("nocti:function/predictor@0.1.")) {
        Ok(Exports::Typed)
    } else if names.iter().any(|name| name.starts_with("wasi:http/incoming-handler@0.2.")) {
        Ok(Exports::Http)
    } else if names.iter().any(|name| name.starts_with("wasi:http/handler@0.3.")) {
        Ok(Exports::Service)
    } else {
        let names = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
        Err(RuntimeError::InvalidComponent(format!(
            "it exports {names}; a function exports nocti:function/predictor@0.1.0, wasi:http/incoming-handler@0.2 or \
             wasi:http/handler@0.3"
        )))
    }
}

/// wasmtime's error chain names the import; the outer text says what that means.
fn missing_import(error: &wasmtime::Error) -> RuntimeError {
    RuntimeError::InvalidComponent(format!("this host does not offer all it imports: {error:#}"))
}
