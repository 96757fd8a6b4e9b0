//! `nocti status`: instances, sessions and memory of a host.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Global;
use super::client::Client;
use super::output::{self, Table, or_dash};

// Fields that a host does not send are shown as a dash, so that client and host may be of different versions.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    uptime_s: Option<f64>,
    functions: Vec<Function>,
    sessions: Vec<Session>,
    memory: Memory,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Function {
    function: String,
    version: String,
    kind: String,
    state: String,
    instances: Option<Instances>,
    requests: Option<u64>,
    cold_starts: Option<u64>,
    last_cold_start: Option<ColdStart>,
    component_bytes: Option<u64>,
    model_bytes: Option<u64>,
    models: Vec<Model>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ColdStart {
    cause: String,
    total_ms: f64,
    phases_ms: BTreeMap<String, f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Model {
    device: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Instances {
    idle: u64,
    busy: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Session {
    model: String,
    sha256: String,
    device: String,
    batching: String,
    runs: Option<u64>,
    requests: Option<u64>,
    queued: Option<u64>,
    size_bytes: Option<u64>,
    refs: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Memory {
    resident_bytes: Option<u64>,
    session_bytes: Option<u64>,
    budgets: Vec<Budget>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Budget {
    device: String,
    limit_bytes: Option<u64>,
}

pub(super) async fn run(global: &Global) -> anyhow::Result<()> {
    let answer = Client::new(global)?.get("/api/status").await?;
    if global.json {
        return output::json(&answer);
    }
    output::text(&text(&serde_json::from_value(answer)?))
}

/// What a version takes; nothing is a dash.
fn in_memory(bytes: Option<u64>) -> String {
    or_dash(bytes.filter(|&bytes| bytes > 0).map(output::size))
}

fn text(status: &Status) -> String {
    let uptime = status.uptime_s.map(|seconds| std::time::Duration::from_secs_f64(seconds.max(0.0)).as_secs());
    let mut text = format!(
        "up {}, memory {}, models {}{}\n",
        or_dash(uptime.map(output::span)),
        or_dash(status.memory.resident_bytes.map(output::size)),
        or_dash(status.memory.session_bytes.map(output::size)),
        status.memory.budgets.iter().filter_map(budget).collect::<String>(),
    );
    if status.functions.is_empty() {
        return text + "\nnothing is deployed\n";
    }
    let headings = [
        "FUNCTION",
        "VERSION",
        "KIND",
        "STATE",
        "DEVICE",
        "CODE",
        "MODELS",
        "IDLE",
        "BUSY",
        "REQUESTS",
        "COLD STARTS",
        "LAST COLD START",
    ];
    let mut functions = Table::new(headings);
    for function in &status.functions {
        let instances = function.instances.as_ref();
        let number = |number: Option<u64>| or_dash(number.map(|number| number.to_string()));
        functions.row([
            function.function.clone(),
            function.version.clone(),
            function.kind.clone(),
            function.state.clone(),
            devices(&function.models),
            in_memory(function.component_bytes),
            in_memory(function.model_bytes),
            number(instances.map(|instances| instances.idle)),
            number(instances.map(|instances| instances.busy)),
            number(function.requests),
            number(function.cold_starts),
            or_dash(function.last_cold_start.as_ref().map(cold_start)),
        ]);
    }
    text = text + "\n" + &functions.text(0);
    if status.sessions.is_empty() {
        return text + "\nno model is loaded\n";
    }
    let mut sessions =
        Table::new(["SESSION", "SHA256", "DEVICE", "BATCHING", "RUNS", "REQUESTS", "QUEUED", "SIZE", "USED BY"]);
    for session in &status.sessions {
        let number = |number: Option<u64>| or_dash(number.map(|number| number.to_string()));
        sessions.row([
            session.model.clone(),
            output::short_digest(&session.sha256),
            session.device.clone(),
            or_dash(Some(session.batching.replace('_', " "))),
            number(session.runs),
            number(session.requests),
            number(session.queued),
            or_dash(session.size_bytes.map(output::size)),
            or_dash(session.refs.map(|refs| refs.to_string())),
        ]);
    }
    text + "\n" + &sessions.text(0)
}

/// What woke a version, how long that took, and how long each phase of it.
fn cold_start(start: &ColdStart) -> String {
    let phases: Vec<String> = start.phases_ms.iter().map(|(phase, ms)| format!("{phase} {ms:.1}")).collect();
    format!("{:.1} ms by {} ({})", start.total_ms, start.cause.replace('_', " "), phases.join(", "))
}

/// What models may take.
fn budget(budget: &Budget) -> Option<String> {
    budget.limit_bytes.map(|limit| format!(", at most {} on {}", output::size(limit), budget.device))
}

/// Each device that a model runs on; none while nothing is in memory.
fn devices(models: &[Model]) -> String {
    let mut devices: Vec<&str> = models.iter().map(|model| model.device.as_str()).collect();
    devices.sort_unstable();
    devices.dedup();
    or_dash((!devices.is_empty()).then(|| devices.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_status() {
        let status = r#"{"uptime_s":65,"functions":[
            {"function":"digits","version":"1.0.0","kind":"typed","state":"warm","instances":{"idle":2,"busy":0},
             "component_bytes":1048576,"model_bytes":40842,"requests":7,"cold_starts":1,"last_cold_start":{"cause":"request","total_ms":12.345,"phases_ms":{"session":11.04,"component":2.0}},
             "models":[{"name":"b","device":"cuda:0"},{"name":"a","device":"cpu"},{"name":"c","device":"cpu"}]},
            {"function":"iris","version":"1","kind":"model-only","state":"stored"}],
            "sessions":[{"model":"digits","sha256":"0123456789abcdef","device":"cpu","batching":"rows_interact",
             "runs":5,"requests":7,"queued":0,"size_bytes":40842,"refs":1}],
            "memory":{"resident_bytes":52428800,"session_bytes":40842,
             "budgets":[{"device":"cpu","used_bytes":40842,"limit_bytes":1073741824},{"device":"cuda:0","used_bytes":0}]}}"#;
        let expected = "\
up 1m 05s, memory 50.0 MiB, models 39.9 KiB, at most 1.0 GiB on cpu

FUNCTION  VERSION  KIND        STATE   DEVICE       CODE     MODELS    IDLE  BUSY  REQUESTS  COLD STARTS  LAST COLD START
digits    1.0.0    typed       warm    cpu, cuda:0  1.0 MiB  39.9 KiB  2     0     7         1            12.3 ms by request (component 2.0, session 11.0)
iris      1        model-only  stored  -            -        -         -     -     -         -            -

SESSION  SHA256        DEVICE  BATCHING       RUNS  REQUESTS  QUEUED  SIZE      USED BY
digits   0123456789ab  cpu     rows interact  5     7         0       39.9 KiB  1
";
        assert_eq!(text(&serde_json::from_str(status).expect("a status")), expected);
    }

    #[test]
    fn an_empty_host() {
        let shown = text(&serde_json::from_str("{}").expect("lenient"));
        assert_eq!(shown, "up -, memory -, models -\n\nnothing is deployed\n");
    }
}
