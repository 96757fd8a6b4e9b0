//! `--cold`: the cold-start table of somebody's own function, a bundle, a folder or a model.
//!
//! Deployed and asked once, then a new host over the same store for every sample: it starts, answers first, answers again.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::client::Connection;
use crate::cold::PATIENCE;
use crate::observe::{self, FunctionStatus};
use crate::payload;
use crate::plan::Plan;
use crate::quantile::quantile;
use crate::report::Report;
use crate::server::Start;
use crate::stage::{Host, Stopped};

#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Options {
    /// Only the cold-start table of this function: a bundle, an ONNX model or a folder
    #[arg(long, value_name = "PATH")]
    cold: Option<PathBuf>,
    /// With --cold: the body of its requests; without it zeros, by the function's metadata
    #[arg(long, value_name = "FILE", requires = "cold")]
    data: Option<PathBuf>,
    /// With --cold: the path that an http function is asked at, after its name
    #[arg(long, value_name = "PATH", requires = "cold", default_value = "/")]
    path: String,
}

/// The function's name in the host.
const NAME: &str = "measured";

/// Warm answers of each sample.
const WARM: usize = 20;

/// Until a host that was just started does nothing any more.
const REST: Duration = Duration::from_millis(200);

/// What the function is asked: GET where there is no body.
struct Request {
    path: String,
    body: Option<Vec<u8>>,
}

/// A line of the table: what was measured in each sample.
type Lines = Vec<(String, Vec<f64>)>;

impl Options {
    /// Measures, where that is what was asked for; whether it was.
    pub(crate) async fn run(&self, plan: &Plan) -> anyhow::Result<bool> {
        let Some(what) = &self.cold else { return Ok(false) };
        let (mut store, request) = self.prepare(what, plan).await?;
        let mut lines = Lines::new();
        for _ in 0..plan.samples() {
            store = sample(store, &plan.unpinned, &request, &mut lines).await?;
        }
        Report::note(&format!("{}, {} new processes", what.display(), plan.samples()));
        Report::note(&format!("{:<34} {:>10} {:>10} {:>10}", "", "quarter", "median", "3 quarters"));
        for (name, values) in lines {
            let at = |share| quantile(values.iter().copied(), share);
            Report::note(&format!("{name:<34} {:>10.3} {:>10.3} {:>10.3}", at(0.25), at(0.5), at(0.75)));
        }
        Ok(true)
    }

    /// A store with the function, and what it is asked.
    async fn prepare(&self, what: &Path, plan: &Plan) -> anyhow::Result<(Stopped, Request)> {
        let host = Host::empty(&plan.programs.nocti, &plan.unpinned)?;
        host.deploy(what, NAME).await?;
        let address = host.server.address;
        let mut connection = Connection::open(address).await?;
        let is_http = observe::function(address, NAME).await?.kind == "http";
        let path = match is_http {
            true => format!("/functions/{NAME}/{}", self.path.trim_start_matches('/')),
            false => format!("/v2/models/{NAME}/infer"),
        };
        let body = match &self.data {
            Some(file) => Some(std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?),
            None if is_http => None,
            None => {
                let reply = connection.ask(&payload::get(address, &format!("/v2/models/{NAME}"))).await?;
                Some(zeros(&serde_json::from_slice(reply.body)?)?)
            }
        };
        let request = Request { path, body };
        let bytes = request.bytes(address);
        connection.ask(&bytes).await.context("the function does not answer; --data gives the body of its requests")?;
        Ok((host.stop(PATIENCE)?.0, request))
    }
}

impl Request {
    fn bytes(&self, host: SocketAddr) -> Vec<u8> {
        match &self.body {
            Some(body) => payload::post(host, &self.path, payload::JSON, body),
            None => payload::get(host, &self.path),
        }
    }
}

/// What metadata says of the inputs, all zeros; open dimensions are of length one.
fn zeros(metadata: &Value) -> anyhow::Result<Vec<u8>> {
    let mut inputs = Vec::new();
    for input in metadata["inputs"].as_array().context("the function's metadata tells no inputs: give --data")? {
        let lengths = input["shape"].as_array().into_iter().flatten();
        let shape: Vec<usize> = lengths
            .map(|length| length.as_u64().and_then(|length| usize::try_from(length).ok()).unwrap_or(1))
            .collect();
        let zero = match input["datatype"].as_str() {
            Some("BYTES") => json!(""),
            Some("BOOL") => json!(false),
            Some(_) => json!(0),
            None => bail!("an input without a datatype: give --data"),
        };
        let data = vec![zero; shape.iter().product()];
        inputs.push(json!({"name": input["name"], "datatype": input["datatype"], "shape": shape, "data": data}));
    }
    Ok(json!({ "inputs": inputs }).to_string().into_bytes())
}

/// One new process.
async fn sample(store: Stopped, start: &Start, request: &Request, lines: &mut Lines) -> anyhow::Result<Stopped> {
    let host = store.start(&[], start)?;
    let (address, process) = (host.server.address, host.server.id());
    let mut connection = Connection::open(address).await?;
    connection.ask(&payload::get(address, "/readyz")).await?;
    note(lines, "start to ready, ms", ms(host.server.begun.elapsed()));
    tokio::time::sleep(REST).await;
    note(lines, "resident before, MB", observe::resident_kb(process)? / 1024.0);
    let request = request.bytes(address);
    let begun = Instant::now();
    connection.ask(&request).await?;
    note(lines, "first answer, ms", ms(begun.elapsed()));
    for (name, took) in phases(&observe::function(address, NAME).await?) {
        note(lines, &format!("  {name}, ms"), took);
    }
    let mut warm = Vec::new();
    for _ in 0..WARM {
        let begun = Instant::now();
        connection.ask(&request).await?;
        warm.push(ms(begun.elapsed()));
    }
    note(lines, "warm answer, ms", quantile(warm, 0.5));
    note(lines, "resident after, MB", observe::settled_kb(process).await? / 1024.0);
    Ok(host.stop(PATIENCE)?.0)
}

/// What the host itself says of its waking.
fn phases(function: &FunctionStatus) -> Vec<(String, f64)> {
    let whole = function.last_cold_start.iter().map(|start| ("waking".to_owned(), start.total_ms));
    let parts = function.last_cold_start.iter().flat_map(|start| &start.phases_ms);
    let parts = parts.filter_map(|(name, took)| Some((name.clone(), took.as_f64()?)));
    whole.into_iter().chain(parts).collect()
}

fn note(lines: &mut Lines, name: &str, value: f64) {
    match lines.iter_mut().find(|(known, _)| known == name) {
        Some((_, values)) => values.push(value),
        None => lines.push((name.to_owned(), vec![value])),
    }
}

fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_follow_the_metadata() {
        let metadata = json!({"inputs": [
            {"name": "image", "datatype": "UINT8", "shape": [-1, 2, 2]},
            {"name": "text", "datatype": "BYTES", "shape": [-1]},
        ]});
        let body: Value = serde_json::from_slice(&zeros(&metadata).unwrap()).unwrap();
        assert_eq!(body["inputs"][0]["shape"], json!([1, 2, 2]));
        assert_eq!(body["inputs"][0]["data"], json!([0, 0, 0, 0]));
        assert_eq!(body["inputs"][1]["data"], json!([""]));
        assert!(zeros(&json!({})).is_err());
    }
}
