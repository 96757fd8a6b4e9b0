//! `nocti build [DIR]`: from a function's folder to its bundle.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};

use super::Global;
use super::ahead;
use super::component::Component;
use super::guest_env::GuestEnv;
use super::output;
use crate::config;
use crate::registry::bundle::Bundle;
use crate::registry::manifest::Manifest;
use crate::registry::name::{FunctionName, VersionName};
use crate::registry::nocti_toml::{FILE_NAME, Project};
use crate::registry::revision::FunctionKind;
use crate::runtime::snapshot;

/// What `nocti build` takes.
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// The function's folder, which has a nocti.toml.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Where to write the bundle [default: NAME-VERSION.wasm in DIR].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Names that a command line puts in the place of the manifest's.
#[derive(Debug, Default, Clone, Args)]
pub(crate) struct Names {
    /// The function's name, in place of the manifest's or the file's.
    #[arg(long)]
    pub(crate) name: Option<FunctionName>,
    /// The version, in place of the manifest's [default for a file without manifest: 1.0.0].
    #[arg(long)]
    pub(crate) version: Option<VersionName>,
}

impl Names {
    /// Puts the names that were given into a manifest.
    pub(crate) fn apply(&self, manifest: &mut Manifest) {
        if let Some(name) = &self.name {
            manifest.name = name.clone();
        }
        if let Some(version) = &self.version {
            manifest.version = version.clone();
        }
    }
}

pub(super) fn run(args: &BuildArgs, global: &Global) -> anyhow::Result<()> {
    let project = Project::load(&args.dir)?;
    let (bundle, kind) = from_folder(project, &Names::default())?;
    let manifest = bundle.manifest();
    let file = match &args.output {
        Some(file) => file.clone(),
        None => args.dir.join(format!("{}-{}.wasm", manifest.name, manifest.version)),
    };
    let size = bundle.write_file(&file)?;
    if global.json {
        return output::json(&summary(manifest, kind, &file, size));
    }
    let component = match &manifest.component {
        Some(component) => format!("a component of {}, ", output::size(component.size)),
        None => String::new(),
    };
    output::text(&format!(
        "built {} {} ({}): {component}{}, {}\nwrote {} ({})",
        manifest.name,
        manifest.version,
        kind,
        output::count(manifest.models.len(), "model"),
        output::count(manifest.assets.len(), "asset"),
        file.display(),
        output::size(size),
    ))
}

/// Runs a folder's build command, checks what came of it and makes it a bundle, ready to be written.
pub(super) fn from_folder(mut project: Project, names: &Names) -> anyhow::Result<(Bundle, FunctionKind)> {
    names.apply(&mut project.manifest);
    if let Some(command) = build_command(&project) {
        run_build_command(&project.dir, command)?;
    }
    project.check_files()?;
    from_parts(&project)
}

/// Checks the component that a project names and makes all its parts a bundle, ready to be written.
pub(super) fn from_parts(project: &Project) -> anyhow::Result<(Bundle, FunctionKind)> {
    let bundle = Bundle::prepare(project)?;
    let Some(source) = &project.component else {
        return Ok((bundle, FunctionKind::ModelOnly));
    };
    let as_function = || format!("{} cannot be a function", source.file.path.display());
    let component = Component::read(bundle.component()).with_context(as_function)?;
    let kind = component.check().with_context(as_function)?;
    if !component.exports.iter().any(|name| name == snapshot::EXPORT) {
        return Ok((bundle, kind));
    }
    let initialised = ahead::initialised(project, bundle.component()).with_context(as_function)?;
    let (before, after) = (bundle.component().len() as u64, initialised.len() as u64);
    output::note(&format!("initialised ahead: {} -> {}", output::size(before), output::size(after)));
    Ok((bundle.with_component(initialised), kind))
}

/// The command that makes a project's component.
pub(super) fn build_command(project: &Project) -> Option<&str> {
    project.component.as_ref()?.build.as_deref()
}

fn run_build_command(dir: &Path, command: &str) -> anyhow::Result<()> {
    let env = GuestEnv::load(config::tool_folder().as_deref())?;
    output::note(&format!("building: {command}"));
    let status = env.shell(command).current_dir(dir).status().context("cannot run `sh`")?;
    succeeded(dir, &env, status)
}

/// Whether the build command did what it should.
pub(super) fn succeeded(dir: &Path, env: &GuestEnv, status: ExitStatus) -> anyhow::Result<()> {
    if status.success() {
        return Ok(());
    }
    let hint = if env.found {
        ""
    } else {
        "; if the target wasm32-wasip2 is missing, `rustup target add wasm32-wasip2` or the repository's `scripts/setup` adds it"
    };
    bail!("the build command of {} failed ({status}){hint}", dir.join(FILE_NAME).display())
}

fn summary(manifest: &Manifest, kind: FunctionKind, file: &Path, size: u64) -> Value {
    json!({
        "function": manifest.name,
        "version": manifest.version,
        "kind": kind,
        "digest": manifest.digest(),
        "file": file,
        "size_bytes": size,
    })
}
