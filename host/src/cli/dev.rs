//! `nocti dev [DIR]`: builds a function's folder, serves it, and does both again after every change.
//!
//! One loop: look at the sources, build, deploy, ask, wait until they have changed. What comes during a build waits for its end, and
//! is one more build however much it is; a build is ended only with all of it. What is asked ends with the next change. Every build is
//! a version of its own to which `live` moves in one revision, so requests never see half of a change; what fails leaves the last
//! version where it is. What the function prints, the requests and its traps are read from its log, as `nocti logs -f` does. The host
//! is one in this process (`own_host`), over a store that is removed at the end, or any other that `--server` names.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use indicatif::ProgressBar;
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::client::{Client, ClientError, query};
use super::invoke::{Question, Reply};
use super::target::Target;
use super::{Global, WrongUsage, address, output, upload};
use crate::registry::name::FunctionName;
use crate::registry::nocti_toml::{FILE_NAME, Project, ProjectError};
use crate::telemetry;

mod build;
mod own_host;
mod show;
mod sources;
mod versions;
mod watch;

use build::{Built, NotBuilt, shown};
use own_host::{OwnHost, Plan};
use show::{Event, Show};
use sources::{Seen, Sources, as_found, changed};
use watch::{News, Watch};

/// How long what outlives the end may hold it up.
const EXIT_TIMEOUT: Duration = Duration::from_secs(1);

/// What `nocti dev` takes.
#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// The function's folder, which has a nocti.toml.
    #[arg(default_value = ".")]
    dir: PathBuf,
    #[command(flatten)]
    question: Question,
    /// Where HTTP is served [default: 127.0.0.1:8000, or the next port that is free].
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    listen: Option<SocketAddr>,
    /// Where gRPC is served [default: 127.0.0.1:8001, or the next port that is free].
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    grpc_listen: Option<SocketAddr>,
    /// A folder that keeps what is deployed [default: one that is removed at the end].
    #[arg(long, value_name = "PATH")]
    store: Option<PathBuf>,
    /// A TOML file with the configuration of the host.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl DevArgs {
    /// The flags that were given, as (key, value) pairs of the configuration.
    fn flags(&self) -> Vec<(&'static str, String)> {
        let listen = self.listen.map(|address| ("listen", address.to_string()));
        let grpc_listen = self.grpc_listen.map(|address| ("grpc_listen", address.to_string()));
        let store = self.store.as_ref().map(|path| ("store", path.display().to_string()));
        listen.into_iter().chain(grpc_listen).chain(store).collect()
    }

    /// One that was given and means nothing to a host that is there already.
    fn of_own_host(&self) -> Option<&'static str> {
        let given = [
            ("--listen", self.listen.is_some()),
            ("--grpc-listen", self.grpc_listen.is_some()),
            ("--store", self.store.is_some()),
            ("--config", self.config.is_some()),
        ];
        given.into_iter().find_map(|(flag, is_given)| is_given.then_some(flag))
    }
}

pub(super) fn run(args: &DevArgs, global: &Global) -> anyhow::Result<()> {
    if args.question.data.as_deref() == Some("-") {
        return Err(WrongUsage("the data is sent again and again: give it as -d JSON or -d @FILE".to_owned()).into());
    }
    // Not by clap, to which NOCTI_SERVER in the environment is --server, too.
    if global.names_server
        && let Some(flag) = args.of_own_host()
    {
        let usage =
            format!("{flag} is for the host that `nocti dev` runs, and with --server it runs none: leave one out");
        return Err(WrongUsage(usage).into());
    }
    args.question.check()?;
    if !args.dir.join(FILE_NAME).is_file() {
        return Err(ProjectError::NoManifest(args.dir.clone()).into());
    }
    let plan = (!global.names_server).then(|| Plan::new(args)).transpose()?;
    if let Some(plan) = &plan {
        telemetry::init(plan.log()).map_err(anyhow::Error::msg)?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no threads to run on")?;
    let result = runtime.block_on(develop(args, global, plan));
    runtime.shutdown_timeout(EXIT_TIMEOUT);
    result
}

/// Until it is told to stop.
async fn develop(args: &DevArgs, global: &Global, plan: Option<Plan>) -> anyhow::Result<()> {
    // Before anything can be interrupted.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hangup = signal(SignalKind::hangup())?;
    let show = Show::new(global.json);
    let host = match plan {
        Some(plan) => Some(plan.start().await?),
        None => None,
    };
    let url = host.as_ref().map_or_else(|| global.server.clone(), |host| format!("http://{}", host.address));
    let client = Client::of(&url)?;
    let (grpc, instead_of) = host.as_ref().map_or((None, None), |host| (Some(host.grpc_address), host.instead_of));
    show.event(&Event::Serving { url: &url, grpc, instead_of });
    let session = Session {
        args,
        client: Arc::new(client),
        show: show.clone(),
        began: Instant::now(),
        serving: None,
        following: HashMap::new(),
    };
    let ended = tokio::select! {
        failed = session.go_on() => failed,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        _ = hangup.recv() => Ok(()),
        () = show.unread() => Ok(()),
    };
    show.event(&Event::Stopping);
    let stopping = async { if let Some(host) = host { OwnHost::stop(host).await } else { Ok(()) } };
    tokio::select! {
        stopped = stopping => ended.and(stopped),
        _ = terminate.recv() => ended,
        _ = interrupt.recv() => ended,
    }
}

/// What goes on until the end.
struct Session<'a> {
    args: &'a DevArgs,
    client: Arc<Client>,
    show: Show,
    began: Instant,
    /// The version that answers.
    serving: Option<String>,
    /// Whose logs are shown.
    following: HashMap<FunctionName, Following>,
}

/// A log that is shown until the end.
struct Following {
    task: JoinHandle<()>,
    /// The time of the last line that was shown, as the host wrote it.
    shown: Arc<Mutex<Option<String>>>,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is known of the sources; it is away while they are looked at.
struct Look {
    watch: Watch,
    sources: Sources,
    also: Vec<PathBuf>,
    seen: Seen,
}

impl Session<'_> {
    async fn go_on(mut self) -> anyhow::Result<()> {
        let (news, given) = (News::default(), &self.args.dir);
        // A folder that is moved away and back is the one of this name. `.` would be wherever it is.
        let dir = std::fs::canonicalize(given).with_context(|| format!("cannot find {}", given.display()))?;
        let also: Vec<PathBuf> = self.args.question.files().map(|file| as_found(&dir, file)).collect();
        let sources = Sources::new(&dir, also.iter().cloned());
        let mut look = Look { watch: Watch::begin(&news)?, sources, also, seen: Seen::new() };
        loop {
            let read;
            (look, read) = look.read(dir.clone()).await?;
            let deployed = match read {
                Ok(project) => self.turn(project).await,
                Err(error) => {
                    self.failed(NotBuilt { error: error.into(), output: String::new() });
                    None
                }
            };
            let asking = async {
                if let Some(name) = &deployed {
                    self.ask(name).await;
                }
            };
            // What has changed meanwhile has been told, and is found at once.
            let mut changing = pin!(look.next_changes(&news, dir.clone()));
            let changed = tokio::select! {
                changed = &mut changing => changed,
                () = asking => changing.await,
            };
            let files;
            (look, files) = changed?;
            self.show.event(&Event::Changed { files });
        }
    }

    /// Builds and deploys; whom to ask then.
    async fn turn(&mut self, project: Project) -> Option<FunctionName> {
        let name = project.manifest.name.clone();
        match self.deploy(project).await {
            Ok(()) => {
                self.follow(&name);
                Some(name)
            }
            Err(failed) => {
                self.failed(failed);
                None
            }
        }
    }

    fn failed(&self, failed: NotBuilt) {
        let NotBuilt { error, output } = failed;
        let error = output::chain(&error);
        self.show.event(&Event::Failed { error, output, serving: self.serving.as_deref() });
    }

    async fn deploy(&mut self, project: Project) -> Result<(), NotBuilt> {
        let name = project.manifest.name.clone();
        let mut there = self.versions(&name).await?;
        let version = versions::next(&project.manifest.version, &there)?;
        let Built { file, took } = build::build(project, version.clone(), &self.show).await?;
        let began = Instant::now();
        let query = query([("alias", "live"), ("message", "nocti dev")]);
        upload::send(&self.client, file.path(), &query, &ProgressBar::hidden()).await?;
        let (built_ms, deployed_ms) = (ms(took), ms(began.elapsed()));
        let event = Event::Deployed { function: name.as_str(), version: version.as_str(), built_ms, deployed_ms };
        self.show.event(&event);
        there.push(version.to_string());
        self.serving = Some(version.to_string());
        for outdated in versions::outdated(&there) {
            // One that somebody refers to stays for now.
            let _ = self.client.delete(&format!("/api/functions/{name}/versions/{outdated}")).await;
        }
        Ok(())
    }

    /// The names of a function's versions.
    async fn versions(&self, name: &FunctionName) -> anyhow::Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Function {
            versions: Vec<Version>,
        }
        #[derive(Deserialize)]
        struct Version {
            version: String,
        }
        match self.client.get(&format!("/api/functions/{name}")).await {
            Ok(function) => {
                let function = Function::deserialize(function).context("the host's answer is not as expected")?;
                Ok(function.versions.into_iter().map(|version| version.version).collect())
            }
            Err(error) => match error.downcast_ref() {
                Some(ClientError::Refused { status: StatusCode::NOT_FOUND, .. }) => Ok(Vec::new()),
                _ => Err(error),
            },
        }
    }

    /// Asks what the user wants to know after every deploy.
    async fn ask(&self, name: &FunctionName) {
        if !self.args.question.is_asked() {
            return;
        }
        let target = Target { function: name.clone(), version: None };
        let began = Instant::now();
        let reply = self.args.question.ask(&self.client, &target).await;
        let ms = began.elapsed().as_secs_f64() * 1000.0;
        let answer = reply.and_then(|reply| match &reply {
            Reply::Tensors(body) if self.show.as_json() => Ok(serde_json::from_slice(body)?),
            _ => Ok(Value::String(reply.text()?)),
        });
        match answer {
            Ok(answer) => self.show.event(&Event::Answered { ms, answer }),
            Err(error) => self.show.event(&Event::Unanswered { error: output::chain(&error) }),
        }
    }

    /// Shows what a function prints, from the beginning of this session on.
    fn follow(&mut self, name: &FunctionName) {
        let before = self.following.get(name);
        if before.is_some_and(|following| !following.task.is_finished()) {
            return;
        }
        let shown = before.map(|following| Arc::clone(&following.shown)).unwrap_or_default();
        let last = shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // So long ago by the host's clock, which may be another one; or on from the last line, which may be shown again.
        let since = last.unwrap_or_else(|| format!("{}s", self.began.elapsed().as_secs() + 1));
        let path = format!("/api/functions/{name}/logs{}", query([("since", since.as_str()), ("follow", "true")]));
        let (client, show, seen) = (Arc::clone(&self.client), self.show.clone(), Arc::clone(&shown));
        let task = tokio::spawn(async move {
            let line = |line: &[u8]| {
                let line: Value = serde_json::from_slice(line).unwrap_or_else(|_| json!({}));
                if let Some(time) = line["time"].as_str() {
                    *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(time.to_owned());
                }
                show.event(&Event::Log(line));
                Ok(true)
            };
            // Where it breaks off, the next deploy begins it again.
            let _ = client.lines(&path, line).await;
        });
        self.following.insert(name.clone(), Following { task, shown });
    }
}

impl Look {
    /// The project, and what was looked at before it was read: whatever changes from then on is a change.
    async fn read(mut self, dir: PathBuf) -> anyhow::Result<(Self, Result<Project, ProjectError>)> {
        let reading = tokio::task::spawn_blocking(move || {
            loop {
                self.seen = self.watch.look(&self.sources, &self.seen)?;
                let project = Project::load(&dir);
                // What a project names is looked at too, before that is read.
                match project.as_ref().map(|project| Sources::of(project, self.also.iter().cloned())) {
                    Ok(sources) if sources != self.sources => self.sources = sources,
                    _ => return Ok((self, project)),
                }
            }
        });
        reading.await.context("the folder cannot be looked at")?
    }

    /// Waits until files have changed since the last look; which.
    async fn next_changes(self, news: &News, dir: PathBuf) -> anyhow::Result<(Self, Vec<String>)> {
        let mut look = self;
        loop {
            news.come().await;
            let files;
            (look, files) = look.changes(dir.clone()).await?;
            if !files.is_empty() {
                return Ok((look, files));
            }
        }
    }

    /// The files that have changed since the last look.
    async fn changes(mut self, dir: PathBuf) -> anyhow::Result<(Self, Vec<String>)> {
        let looking = tokio::task::spawn_blocking(move || {
            let now = self.watch.look(&self.sources, &self.seen)?;
            let files: Vec<&Path> = changed(&self.seen, &now);
            let files = shown(&dir, &files);
            self.seen = now;
            Ok((self, files))
        });
        looking.await.context("the folder cannot be looked at")?
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
