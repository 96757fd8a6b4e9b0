//! From a component's bytes to something that can be instantiated, compiled once per node and loaded once per process.
//!
//! Compiled code is kept in the node's cache and mapped from there, the guest's initial memory included. A loaded component is
//! shared by all versions that have it, and ends with the last of them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use dashmap::DashMap;
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use super::RuntimeError;
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
    engine: Engine,
    linker: Linker<State>,
    cache: Arc<Cache>,
    /// wasmtime's version and settings and the processor's features, as the cache's key has them.
    made_for: String,
    slots: Arc<Slots>,
    /// By digest; locked while it is being loaded.
    loaded: DashMap<String, Arc<Mutex<Weak<Pre>>>>,
}

impl Loader {
    /// Compiled code is kept in `cache`.
    pub fn new(engine: Engine, cache: Arc<Cache>) -> wasmtime::Result<Self> {
        let linker = super::link::linker(&engine)?;
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let made_for = format!("wasmtime, compatible with {:016x}", hasher.finish());
        Ok(Self { engine, linker, cache, made_for, slots: Arc::default(), loaded: DashMap::new() })
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
        let component = match self.cached(digest) {
            Some(component) => component,
            None => self.compile(digest, &read()?)?,
        };
        let pre = Arc::new(self.link(&component)?);
        *loaded = Arc::downgrade(&pre);
        drop(loaded);
        drop(slot);
        // Those that have ended, and that nobody is about to load.
        self.loaded.retain(|_, slot| {
            Arc::strong_count(slot) > 1 || slot.try_lock().is_ok_and(|loaded| loaded.strong_count() > 0)
        });
        Ok(pre)
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
