//! `GET /api/status`: which versions are in memory, with how many instances, on which devices, and which sessions.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use http::{Response, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use crate::host::Host;
use crate::http::body::Body;
use crate::http::openapi::tags;
use crate::http::respond;
use crate::lifecycle::{self, Cause, ColdStart, Phase, State, VersionStatus};
use crate::nn::budget::Budget;
use crate::nn::device::Target;
use crate::nn::trial::Batching;
use crate::nn::{self, graph::SessionInfo};
use crate::registry::catalog::Version;
use crate::registry::revision::FunctionKind;

#[derive(Serialize, ToSchema)]
struct StatusBody {
    uptime_s: u64,
    functions: Vec<FunctionStatus>,
    sessions: Vec<SessionStatus>,
    memory: Memory,
}

#[derive(Serialize, ToSchema)]
struct FunctionStatus {
    function: String,
    version: String,
    kind: FunctionKind,
    state: State,
    instances: Instances,
    requests: u64,
    cold_starts: u64,
    /// How it came into memory the last time.
    last_cold_start: Option<ColdStartStatus>,
    /// While the version is in memory.
    /// Of its compiled component, and of its models' sessions, which others may use too; 0: it is not in memory.
    component_bytes: u64,
    model_bytes: u64,
    models: Vec<ModelStatus>,
}

/// Times in milliseconds; phases overlap, and what was in memory already has none.
#[derive(Serialize, ToSchema)]
struct ColdStartStatus {
    cause: Cause,
    total_ms: f64,
    phases_ms: BTreeMap<&'static str, f64>,
}

/// Where a version's model really runs.
#[derive(Serialize, ToSchema)]
struct ModelStatus {
    name: String,
    device: String,
    /// Whether requests share runs.
    batching: Batching,
}

#[derive(Serialize, ToSchema)]
struct Instances {
    idle: usize,
    busy: usize,
}

#[derive(Serialize, ToSchema)]
struct SessionStatus {
    model: String,
    sha256: String,
    device: String,
    /// Runs that can go on at once.
    sessions: usize,
    /// Whether requests share runs.
    batching: Batching,
    /// Runs so far, and the requests that they were for.
    runs: u64,
    requests: u64,
    /// Jobs that wait for their run.
    queued: usize,
    /// Jobs whose run goes on.
    running: usize,
    /// Of its device's memory, as measured.
    size_bytes: u64,
    /// Of the model's file.
    file_bytes: u64,
    /// Live versions that use it.
    refs: usize,
}

#[derive(Serialize, ToSchema)]
struct Memory {
    /// Of the host's process; absent where the system does not say.
    resident_bytes: Option<u64>,
    /// Of all loaded sessions.
    session_bytes: u64,
    /// What they may take, by device.
    budgets: Vec<BudgetStatus>,
}

#[derive(Serialize, ToSchema)]
struct BudgetStatus {
    device: String,
    used_bytes: u64,
    /// Absent where nothing limits them but the device.
    limit_bytes: Option<u64>,
}

/// `GET /api/status`: every deployed version, whether anybody asked for it yet or not.
#[utoipa::path(
    get,
    path = "/api/status",
    tag = tags::MANAGEMENT,
    operation_id = "status",
    summary = "What is in memory, where, and what it does",
    responses((status = 200, description = "Versions, sessions, memory", body = StatusBody)),
)]
pub(crate) fn status(host: &Host) -> Response<Body> {
    let known = host.lifecycle.statuses();
    let by_digest: HashMap<_, _> = known.iter().map(|status| (status.version.digest, status)).collect();
    let mut functions = Vec::new();
    for function in host.catalog.functions() {
        for version in function.versions.values() {
            let status = by_digest.get(&version.digest).copied();
            functions.push(FunctionStatus {
                function: version.function.to_string(),
                version: version.name.to_string(),
                kind: version.record.kind,
                state: status.map_or(State::Stored, |status| status.state),
                instances: status.map_or(Instances { idle: 0, busy: 0 }, instances),
                requests: status.map_or(0, |status| status.requests),
                cold_starts: status.map_or(0, |status| status.cold_starts),
                last_cold_start: status.and_then(|status| status.last_cold_start).map(cold_start),
                component_bytes: status.map_or(0, |status| status.component_bytes),
                model_bytes: status.map_or(0, |status| status.model_bytes),
                models: models(host, version),
            });
        }
    }
    let mut refs = HashMap::new();
    for status in known.iter().filter(|status| status.is_live()) {
        let keys: HashSet<_> = status.version.manifest.models.iter().map(lifecycle::session_key).collect();
        for key in keys {
            *refs.entry(key).or_default() += 1;
        }
    }
    let loaded = host.lifecycle.parts.models.loaded();
    let session = |info: &SessionInfo| session_status(info, refs.get(&info.key).copied().unwrap_or_default());
    let sessions: Vec<SessionStatus> = loaded.iter().map(session).collect();
    let memory = Memory {
        resident_bytes: resident_bytes(),
        session_bytes: sessions.iter().map(|session| session.size_bytes).sum(),
        budgets: host.lifecycle.parts.models.budgets().into_iter().map(budget).collect(),
    };
    let uptime_s = host.started_at.elapsed().as_secs();
    respond::json(StatusCode::OK, &StatusBody { uptime_s, functions, sessions, memory })
}

fn cold_start(start: ColdStart) -> ColdStartStatus {
    let ms = |took: Duration| took.as_micros() as f64 / 1000.0;
    let phases = Phase::ALL.into_iter().filter_map(|phase| Some((phase.name(), ms(start.phase(phase)?))));
    ColdStartStatus { cause: start.cause, total_ms: ms(start.total), phases_ms: phases.collect() }
}

fn budget((device, budget): (Target, Arc<Budget>)) -> BudgetStatus {
    let (used_bytes, limit_bytes) = budget.bytes();
    BudgetStatus { device: device.to_string(), used_bytes, limit_bytes: Some(limit_bytes).filter(|&it| it < u64::MAX) }
}

fn models(host: &Host, version: &Version) -> Vec<ModelStatus> {
    let Some(live) = host.lifecycle.models(&version.digest) else { return Vec::new() };
    let named = version.manifest.models.iter().filter_map(|model| live.get_key_value(model.name.as_str()));
    let status = |(name, model): (&String, &Arc<nn::Model>)| ModelStatus {
        name: name.clone(),
        device: model.session().device().to_string(),
        batching: model.session().batching(),
    };
    named.map(status).collect()
}

fn session_status(info: &SessionInfo, refs: usize) -> SessionStatus {
    let (queued, running) = info.session.jobs();
    let (runs, requests) = info.session.runs();
    SessionStatus {
        model: info.session.name().to_owned(),
        sha256: info.key.digest.to_string(),
        device: info.session.device().to_string(),
        sessions: info.session.sessions(),
        batching: info.session.batching(),
        runs,
        requests,
        queued,
        running,
        size_bytes: info.session.size_bytes(),
        file_bytes: info.session.file_bytes(),
        refs,
    }
}

fn instances(status: &VersionStatus) -> Instances {
    let (idle, busy) = status.instances;
    Instances { idle, busy }
}

/// proc(5): `VmRSS` of `/proc/self/status`, in kB.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
}
