//! Waking a version: its component, its sessions and its first instance, each begun as soon as it can be.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;

use super::slot::Slot;
use super::{Kind, Live, Parts, WakeError};
use crate::nn::load::{Check, Source};
use crate::nn::session::Took;
use crate::nn::{self, Named, NnError, NoMemory, SessionKey};
use crate::registry::catalog::Version;
use crate::registry::digest::{Blob, Digest};
use crate::registry::manifest::{Manifest, Model};
use crate::registry::store::{LocalFile, StoreError};
use crate::runtime::RuntimeError;
use crate::runtime::assets::Assets;
use crate::runtime::instance::Pre;
use crate::runtime::log::Output;
use crate::runtime::outgoing::Sender;
use crate::runtime::pool::{Keep, Policy, Pool};
use crate::runtime::state::Grants;
use crate::telemetry::{LifecycleMetrics, Usage};

/// What a version is woken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A request that waits for it.
    Request,
    /// Its manifest asks for instances that are always there.
    MinWarm,
    /// Somebody loaded it by hand.
    Load,
    /// A rollout is to send requests to it.
    Rollout,
}

/// A part of a cold start. Those of one start overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Component,
    Session,
    WarmUp,
    Instance,
}

/// How a version came into memory.
#[derive(Debug, Clone, Copy)]
pub struct ColdStart {
    pub cause: Cause,
    /// Until a request could be handed to it.
    pub total: Duration,
    /// What was in memory already took no time.
    component: Option<Duration>,
    instance: Option<Duration>,
    /// The longest of those that were loaded.
    session: Option<Took>,
}

/// Component, sessions and first instance, made side by side.
pub(super) async fn make(parts: &Arc<Parts>, slot: &Arc<Slot>, cause: Cause) -> Result<(Live, ColdStart), WakeError> {
    let (started, version) = (Instant::now(), &slot.version);
    let named = Arc::new(Named::default());
    // A request that waits is the warm-up.
    let opening = open_models(parts, &version.manifest, cause != Cause::Request, Some(&slot.usage));
    let sessions = async {
        let models = opening.await?;
        named.set(models.iter().map(|opened| (opened.name.clone(), Arc::clone(&opened.model))));
        Ok(models)
    };
    let code = async {
        let (component, took) = component(parts, slot).await?;
        let Some(component) = component else { return Ok((None, None, None)) };
        let grants = grants(parts, version, &named, assets(parts, version).await?);
        let pool = Pool::new(Pre::clone(&component), grants, policy(version));
        let began = Instant::now();
        pool.fill().await;
        Ok::<_, WakeError>((Some(pool), took, Some(began.elapsed())))
    };
    let (models, (pool, component, instance)) = tokio::try_join!(sessions, code)?;
    if let Some(pool) = &pool {
        if named.asked_early() {
            pool.give_up_idle(usize::MAX, Keep::Nothing);
        }
        pool.restock();
    }
    let kind = match pool {
        Some(pool) => match pool.is_typed() {
            true => Kind::Typed(pool),
            false => Kind::Http(pool),
        },
        None => match models.first() {
            Some(opened) => Kind::ModelOnly(Arc::clone(&opened.model)),
            None => return Err(WakeError::Host("the version has neither code nor a model".into())),
        },
    };
    let session = models.iter().filter_map(|opened| opened.took).max_by_key(|took| took.load);
    let models: HashMap<_, _> = models.into_iter().map(|opened| (opened.name, opened.model)).collect();
    let start = ColdStart { cause, total: started.elapsed(), component, instance, session };
    Ok((Live { kind, models: Arc::new(models) }, start))
}

/// A version's hold on one of its models.
pub(crate) struct OpenModel {
    pub(crate) name: String,
    pub(crate) model: Arc<nn::Model>,
    /// If the session was loaded for it.
    took: Option<Took>,
}

/// A version's models. Of versions that have several only one opens them at a time: two that each wait for the memory which the
/// other has would wait for ever. Their runs are counted in `usage`.
pub(crate) async fn open_models(
    parts: &Parts,
    manifest: &Manifest,
    warm_up: bool,
    usage: Option<&Arc<Usage>>,
) -> Result<Vec<OpenModel>, WakeError> {
    let (_files, _alone) = match manifest.models.len() {
        0 | 1 => (Vec::new(), None),
        _ => {
            // From a bucket they may take minutes, and nobody else is to wait for that. They stay until all are open.
            let files = manifest.models.iter().map(|model| local_file(parts, &model.blob.sha256));
            let files = futures::future::try_join_all(files).await?;
            (files, Some(parts.several_models.lock().await))
        }
    };
    // All to their ends, since loading cannot be stopped.
    let opened =
        futures::future::join_all(manifest.models.iter().map(|model| open_model(parts, model, warm_up, usage)));
    let opened = opened.await;
    let own_bytes = opened.iter().flatten().map(|opened| opened.model.session().size_bytes()).sum();
    opened.into_iter().map(|opened| opened.map_err(|error| never_together(error, own_bytes))).collect()
}

/// Whether a version's models fit together, as they were measured.
pub(crate) fn fit_together(parts: &Parts, opened: &[OpenModel]) -> Result<(), WakeError> {
    for (target, budget) in parts.models.budgets() {
        let on_target = opened.iter().map(|opened| opened.model.session()).filter(|session| session.device() == target);
        let needed_bytes = on_target.map(|session| session.size_bytes()).sum();
        if let (true, Some(opened), Err(reason)) =
            (opened.len() > 1, opened.last(), budget.check_together(needed_bytes))
        {
            return Err(NnError::NoMemory { model: opened.name.clone(), reason }.into());
        }
    }
    Ok(())
}

/// A model that finds no room beside the others of its own version will not find it later either.
fn never_together(error: WakeError, own_bytes: u64) -> WakeError {
    let WakeError::Model(NnError::NoMemory {
        model,
        reason: NoMemory::Taken { needed_bytes, limit_bytes, setting, .. },
    }) = &error
    else {
        return error;
    };
    let (needed_bytes, limit_bytes, setting) = (needed_bytes.saturating_add(own_bytes), *limit_bytes, *setting);
    if needed_bytes <= limit_bytes {
        return error;
    }
    let reason = NoMemory::TooLargeTogether { needed_bytes, limit_bytes, setting };
    NnError::NoMemory { model: model.clone(), reason }.into()
}

async fn open_model(
    parts: &Parts,
    model: &Model,
    warm_up: bool,
    usage: Option<&Arc<Usage>>,
) -> Result<OpenModel, WakeError> {
    // Held until it has been read: memory may have to be waited for before, for minutes.
    let file = local_file(parts, &model.blob.sha256).await?;
    let (check, damage) = check(parts, model.blob.sha256);
    let source = Source::Kept(file.path().to_owned(), check);
    let options = &model.options;
    let name = model.name.as_str();
    let warm_up = warm_up && options.warmup;
    let opened = parts.models.open(session_key(model), name, source, warm_up).await;
    let opened = opened.map_err(|error| damage.get().cloned().unwrap_or(WakeError::Model(error)))?;
    drop(file);
    let max_rows = usize::try_from(options.max_batch).unwrap_or(usize::MAX);
    let policy = nn::Policy { max_rows, max_delay: options.max_delay };
    let took = opened.loaded.then(|| opened.session.took());
    let model = Arc::new(nn::Model::new(name, opened.session, policy, usage.cloned()));
    Ok(OpenModel { name: name.to_owned(), model, took })
}

/// A look at a blob before something is made of it, and what is found wrong.
fn check(parts: &Parts, digest: Digest) -> (Check, Arc<OnceLock<WakeError>>) {
    let (store, damage) = (parts.store.clone(), Arc::new(OnceLock::new()));
    let found = Arc::clone(&damage);
    let check = Check::new(move || {
        store.check_file(&digest).map_err(|error| {
            let why = error.to_string();
            // The same again, from a model that is tried on several devices.
            let _ = found.set(unusable(&digest, error));
            why
        })
    });
    (check, damage)
}

/// Which session serves a model.
pub fn session_key(model: &Model) -> SessionKey {
    let options = &model.options;
    SessionKey {
        digest: model.blob.sha256,
        device: options.device,
        intra_threads: options.intra_threads,
        sessions: options.sessions,
    }
}

/// The slot's component, loaded if it has none, and how long that took.
async fn component(parts: &Arc<Parts>, slot: &Slot) -> Result<(Option<Arc<Pre>>, Option<Duration>), WakeError> {
    if let Some(component) = slot.component() {
        return Ok((Some(component), None));
    }
    let began = Instant::now();
    let Some(component) = load_component(parts, &slot.version.manifest).await? else { return Ok((None, None)) };
    slot.keep_component(&component);
    Ok((Some(component), Some(began.elapsed())))
}

/// A version's component, if it has one.
pub(crate) async fn load_component(parts: &Arc<Parts>, manifest: &Manifest) -> Result<Option<Arc<Pre>>, WakeError> {
    let Some(Blob { sha256: digest, .. }) = manifest.component else { return Ok(None) };
    let file = local_file(parts, &digest).await?;
    let parts = Arc::clone(parts);
    // Compiling takes the processor for as long as it takes: not on the executor.
    let loaded = tokio::task::spawn_blocking(move || {
        let mut damage = None;
        let loaded = parts.loader.load(&digest.to_string(), || {
            parts.store.check_file(&digest).map_err(|error| {
                let why = error.to_string();
                damage = Some(unusable(&digest, error));
                RuntimeError::Host(why)
            })?;
            std::fs::read(file).map_err(|error| RuntimeError::Host(format!("component blob {digest}: {error}")))
        });
        loaded.map_err(|error| damage.unwrap_or_else(|| WakeError::Component(Arc::new(error))))
    });
    match loaded.await {
        Ok(result) => result.map(Some),
        Err(error) => Err(WakeError::Host(format!("loading the component failed: {error}"))),
    }
}

pub(super) async fn local_file(parts: &Parts, digest: &Digest) -> Result<LocalFile, WakeError> {
    parts.store.local_file(digest).await.map_err(|error| unusable(digest, error))
}

fn unusable(digest: &Digest, error: StoreError) -> WakeError {
    match error {
        StoreError::Missing { .. } => WakeError::Missing(*digest),
        error => WakeError::Store(Arc::new(error)),
    }
}

/// The version's assets; `None` when it has none.
async fn assets(parts: &Parts, version: &Version) -> Result<Option<Arc<Assets>>, WakeError> {
    let (mut files, mut held) = (Vec::new(), Vec::new());
    for asset in &version.manifest.assets {
        let file = local_file(parts, &asset.blob.sha256).await?;
        files.push((asset.path.as_str().to_owned(), file.path().to_owned()));
        held.push(file);
    }
    let assets = || Assets::new(Arc::clone(&parts.cache), version.digest.to_string(), files, Box::new(held));
    Ok((!version.manifest.assets.is_empty()).then(|| Arc::new(assets())))
}

fn grants(parts: &Parts, version: &Version, named: &Arc<Named>, assets: Option<Arc<Assets>>) -> Grants {
    let function: Arc<str> = version.label().into();
    let log = parts.logs.of(version.function.as_str(), version.name.as_str());
    let output = Output::new(Arc::clone(&function), log);
    Grants {
        sender: Sender::new(&output, &version.manifest.network.allow),
        function,
        output,
        assets,
        env: version.manifest.env.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        memory_bytes: version.manifest.limits.memory,
        slots: parts.loader.slots(),
        models: Arc::clone(&parts.models),
        named: Arc::clone(named),
    }
}

fn policy(version: &Version) -> Policy {
    let instances = &version.manifest.instances;
    Policy {
        reuse: instances.reuse,
        min_warm: instances.min_warm as usize,
        max_warm: instances.max_warm as usize,
        idle_timeout: instances.idle_timeout,
        start_limit: version.manifest.limits.timeout,
        concurrent: instances.concurrent as usize,
    }
}

impl ColdStart {
    /// Of each phase that it needed.
    pub fn seconds(&self) -> Vec<(&'static str, f64)> {
        let phases = Phase::ALL.into_iter();
        phases.filter_map(|phase| Some((phase.name(), self.phase(phase)?.as_secs_f64()))).collect()
    }
}

impl Phase {
    pub const ALL: [Self; 4] = [Self::Component, Self::Session, Self::WarmUp, Self::Instance];

    /// As metrics and `status` call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Component => "component",
            Self::Session => "session",
            Self::WarmUp => "warmup",
            Self::Instance => "instance",
        }
    }
}

impl ColdStart {
    /// How long a phase took; `None`: it was not needed.
    pub fn phase(&self, phase: Phase) -> Option<Duration> {
        match phase {
            Phase::Component => self.component,
            Phase::Session => self.session.map(|took| took.load),
            Phase::WarmUp => self.session.and_then(|took| took.warm_up),
            Phase::Instance => self.instance,
        }
    }

    pub(super) fn observe(&self, metrics: &LifecycleMetrics) {
        for phase in Phase::ALL {
            if let Some(took) = self.phase(phase) {
                metrics.cold_start_seconds.get_or_create(&[("phase", phase.name())]).observe(took.as_secs_f64());
            }
        }
    }
}

impl Cause {
    /// As the API has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::MinWarm => "min_warm",
            Self::Load => "load",
            Self::Rollout => "rollout",
        }
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
