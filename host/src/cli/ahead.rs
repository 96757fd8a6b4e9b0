//! Initialisation ahead of all instances: a component that exports `init` goes into its bundle as that left it.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use crate::registry::nocti_toml::Project;
use crate::runtime::snapshot::{Uninitialised, initialise};

/// How long an `init` may take on the author's machine.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// The component of a project after its `init`.
pub(super) fn initialised(project: &Project, component: &[u8]) -> anyhow::Result<Vec<u8>> {
    let assets = tempfile::tempdir().context("cannot make a folder for the assets")?;
    for asset in &project.assets {
        let file = assets.path().join(asset.path.as_str());
        show(&asset.file.path, &file).with_context(|| format!("cannot copy {}", asset.file.path.display()))?;
    }
    let manifest = &project.manifest;
    let guest = Uninitialised {
        component,
        assets: assets.path(),
        env: manifest.env.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        memory_bytes: manifest.limits.memory,
        time_limit: TIME_LIMIT,
    };
    // A thread of its own: a command that talks to a host runs as a task, which must not wait for other tasks.
    std::thread::scope(|scope| scope.spawn(|| initialise(&guest)).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        .context("the component cannot be initialised")
}

fn show(file: &Path, at: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(at.parent().expect("it is in the folder of assets"))?;
    std::fs::copy(file, at).map(drop)
}
