//! The functions that are measured: a folder is written for each and deployed as a user deploys one.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use crate::models::Model;

/// The kinds of function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    ModelOnly,
    Typed,
    Http02,
    Http03,
}

/// A function of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) kind: Kind,
    pub(crate) model: Model,
    /// The most requests that run together; none leaves nocti's default.
    pub(crate) max_batch: Option<u32>,
    /// The requests that one instance serves; none leaves nocti's default.
    pub(crate) reuse: Option<u32>,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ModelOnly => "model-only",
            Self::Typed => "typed",
            Self::Http02 => "http02",
            Self::Http03 => "http03",
        }
    }

    /// The component among the tests' guests.
    fn component(self) -> Option<&'static str> {
        match self {
            Self::ModelOnly => None,
            Self::Typed => Some("passthrough"),
            Self::Http02 => Some("passthrough_http"),
            Self::Http03 => Some("passthrough_http03"),
        }
    }
}

impl Function {
    /// A function that leaves everything to nocti's defaults.
    pub(crate) fn plain(kind: Kind, model: Model) -> Self {
        Self { kind, model, max_batch: None, reuse: None }
    }

    pub(crate) fn name(self) -> String {
        let batch = self.max_batch.map(|requests| format!("-batch{requests}")).unwrap_or_default();
        let reuse = self.reuse.map(|requests| format!("-reuse{requests}")).unwrap_or_default();
        format!("{}-{}{batch}{reuse}", self.model.name(), self.kind.name())
    }

    /// Where it is asked.
    pub(crate) fn path(self) -> String {
        match self.kind {
            Kind::ModelOnly | Kind::Typed => format!("/v2/models/{}/infer", self.name()),
            Kind::Http02 | Kind::Http03 => format!("/functions/{}/infer", self.name()),
        }
    }

    /// A folder to deploy it from; it goes away when it is dropped.
    pub(crate) fn folder(self) -> anyhow::Result<TempDir> {
        let folder = tempfile::tempdir().context("no temporary folder")?;
        std::fs::write(folder.path().join("nocti.toml"), self.manifest()?)?;
        Ok(folder)
    }

    fn manifest(self) -> anyhow::Result<String> {
        let model = self.model.path();
        ensure!(model.is_file(), "{} is not there; `make bench` makes it", model.display());
        let mut text = format!("name = \"{}\"\nversion = \"1.0.0\"\n", self.name());
        if let Some(component) = self.kind.component() {
            writeln!(text, "[component]\npath = {:?}", guest(component)?.display().to_string())?;
            // As many as there are clients: what is measured is a warm instance.
            writeln!(text, "[instances]\nmax_warm = {}", crate::cases::MANY_CLIENTS)?;
            if let Some(requests) = self.reuse {
                writeln!(text, "reuse = {requests}")?;
            }
        }
        if self.kind == Kind::Typed {
            write!(text, "[signature]\n{}", self.model.signature())?;
        }
        writeln!(text, "[[model]]\nname = \"model\"\npath = {:?}", model.display().to_string())?;
        if let Some(requests) = self.max_batch {
            writeln!(text, "max_batch = {requests}")?;
        }
        // The first request compiles the component, under valgrind too.
        writeln!(text, "[limits]\ntimeout = \"5m\"")?;
        Ok(text)
    }
}

/// A component among the tests' guests.
pub(crate) fn guest(component: &str) -> anyhow::Result<PathBuf> {
    let wasm = crate::repository().join(format!("{GUESTS}/{component}.wasm"));
    ensure!(wasm.is_file(), "{} is not there; `make fixtures` makes it", wasm.display());
    Ok(wasm)
}

/// Where the tests' guests are compiled to.
const GUESTS: &str = "examples/wasm-models/target/wasm32-wasip2/release";
