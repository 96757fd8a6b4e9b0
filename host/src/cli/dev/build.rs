//! From a project to its bundle, with what the build command says kept for the case that it fails.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::NamedTempFile;
use tokio::process::Command;
use tokio::time::Instant;

use super::super::build::{build_command, from_parts, succeeded};
use super::super::deploy::in_a_file;
use super::super::guest_env::GuestEnv;
use super::show::{Event, Show};
use crate::config;
use crate::registry::name::VersionName;
use crate::registry::nocti_toml::Project;

/// Of a longer output the end is shown.
const MAX_OUTPUT_BYTES: u64 = 64 << 10;

/// Names in the component, for the calls of a trap, though its Cargo.toml says `strip = true`. Other builds know nothing of it.
const KEEP_NAMES: (&str, &str) = ("CARGO_PROFILE_RELEASE_STRIP", "debuginfo");

/// A bundle, and how long it took.
pub(super) struct Built {
    pub(super) file: NamedTempFile,
    pub(super) took: Duration,
}

/// Why there is none.
#[derive(Debug)]
pub(super) struct NotBuilt {
    pub(super) error: anyhow::Error,
    /// What the build command said.
    pub(super) output: String,
}

impl From<anyhow::Error> for NotBuilt {
    fn from(error: anyhow::Error) -> Self {
        Self { error, output: String::new() }
    }
}

/// Builds a version of a project.
pub(super) async fn build(mut project: Project, version: VersionName, show: &Show) -> Result<Built, NotBuilt> {
    let began = Instant::now();
    project.manifest.version = version;
    if let Some(command) = build_command(&project) {
        show.event(&Event::Building { command });
        run(&project.dir, command).await?;
    }
    let bundled = tokio::task::spawn_blocking(move || {
        project.check_files()?;
        in_a_file(&from_parts(&project)?.0)
    });
    let file = bundled.await.context("the bundle could not be made")??;
    Ok(Built { file, took: began.elapsed() })
}

/// Runs a build command to its end. With this future its processes end.
async fn run(dir: &Path, command: &str) -> Result<(), NotBuilt> {
    let env = GuestEnv::load(config::tool_folder().as_deref())?;
    // A file, so that nobody has to read while it runs, and whoever it leaves behind holds up nobody.
    let mut output = tempfile::tempfile().context("cannot make a temporary file")?;
    let copy = || output.try_clone().map(Stdio::from).context("cannot share a temporary file");
    let mut shell = Command::from(env.shell(command));
    shell.env(KEEP_NAMES.0, KEEP_NAMES.1).current_dir(dir).stdout(copy()?).stderr(copy()?).process_group(0);
    let mut child = shell.spawn().context("cannot run `sh`")?;
    let mut group = Group(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
    let status = child.wait().await.context("cannot wait for `sh`")?;
    group.0 = None;
    let ended = succeeded(dir, &env, status);
    ended.map_err(|error| NotBuilt { error, output: end_of(&mut output).unwrap_or_default() })
}

/// The last of what a file has.
fn end_of(file: &mut std::fs::File) -> std::io::Result<String> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MAX_OUTPUT_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(MAX_OUTPUT_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The processes of a build that is going on.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(id) = self.0 {
            // They may have ended just now.
            let _ = kill_process_group(id, Signal::KILL);
        }
    }
}

/// The files of a bundle, for messages.
pub(super) fn shown(folder: &Path, files: &[&Path]) -> Vec<String> {
    const SHOWN: usize = 3;
    let name = |path: &&Path| path.strip_prefix(folder).map_or_else(|_| path.to_path_buf(), PathBuf::from);
    let mut names: Vec<String> = files.iter().take(SHOWN).map(|path| name(path).display().to_string()).collect();
    if files.len() > SHOWN {
        names.push(format!("{} more", files.len() - SHOWN));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_failing_command_says_is_kept_to_its_end() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let said = |command: &'static str| {
            let folder = folder.path().to_owned();
            async move { run(&folder, command).await.expect_err("it fails") }
        };
        let failed = said("echo one; echo two >&2; exit 7").await;
        assert_eq!(failed.output, "one\ntwo\n");
        assert!(failed.error.to_string().contains("exit status: 7"), "{}", failed.error);
        let long = said("yes | head -c 1000000; echo last; exit 1").await.output;
        assert!(long.len() as u64 <= MAX_OUTPUT_BYTES && long.ends_with("\nlast\n"));
        run(folder.path(), r#"test "$CARGO_PROFILE_RELEASE_STRIP" = debuginfo && touch made"#).await.expect("names");
        assert!(folder.path().join("made").exists());
    }

    #[tokio::test]
    async fn a_command_that_nobody_waits_for_ends_with_all_its_processes() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (at, pipe) = (folder.path().to_owned(), folder.path().join("pipe"));
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.expect("mkfifo(1) is there").success());
        // A pipe ends when none of those that write to it is there any more.
        let read = tokio::task::spawn_blocking(move || std::fs::read(pipe));
        let running = tokio::spawn(async move { run(&at, "exec 3>pipe; touch begun; sleep 1000 & wait").await });
        while !folder.path().join("begun").exists() {
            tokio::task::yield_now().await;
        }
        running.abort();
        assert!(running.await.expect_err("it was ended").is_cancelled());
        read.await.expect("it does not panic").expect("readable");
    }

    #[test]
    fn few_files_are_named() {
        let files = ["f/src/a.rs", "f/b", "/far/c", "f/d", "f/e"].map(Path::new);
        assert_eq!(shown(Path::new("f"), &files), ["src/a.rs", "b", "/far/c", "2 more"]);
    }
}
