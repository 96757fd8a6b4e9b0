//! The first answer from zero: of a host that runs but has nothing of the function in memory, and of one that is only being
//! started.
//!
//! Every sample is a new process over a store that had the function deployed and asked before, so what the host caches on disk
//! is there, and the files are in the system's cache.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::process::Command;
use tokio::time::Instant;

use crate::cases::Goal;
use crate::client::Connection;
use crate::examples::{Example, Question};
use crate::payload;
use crate::plan::Plan;
use crate::quantile::median;
use crate::report::{Outcome, Report};
use crate::server::Start;
use crate::stage::{Host, Stopped};

const COLD_DIGITS: &str = "cold/digits/ms";
const COLD_SENTENCES: &str = "cold/sentences/ms";
const RATIO_SENTENCES: &str = "cold/sentences/ratio";
const START_DIGITS: &str = "start/digits/ms";

/// How long a host may take to end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Until a host that was just started does nothing any more.
const REST: Duration = Duration::from_millis(200);

pub(crate) async fn measure(report: &mut Report, plan: &Plan) -> anyhow::Result<()> {
    if plan.wants(COLD_DIGITS) || plan.wants(START_DIGITS) {
        let question = Example::Digits.question()?;
        let mut store = deployed(Example::Digits, &question, plan).await?;
        let (mut colds, mut starts) = (Vec::new(), Vec::new());
        for _ in 0..plan.samples() {
            let (cold, start);
            (store, cold) = first_answer(store, &question, &plan.unpinned, Some(REST)).await?;
            (store, start) = first_answer(store, &question, &plan.unpinned, None).await?;
            colds.push(cold);
            starts.push(start);
        }
        for (case, found, most) in [(COLD_DIGITS, colds, 5.0), (START_DIGITS, starts, 150.0)] {
            if plan.wants(case) {
                report.add(case, Outcome::new(median(found), "ms", Some(Goal::AtMost(most))));
            }
        }
    }
    if plan.wants(COLD_SENTENCES) || plan.wants(RATIO_SENTENCES) {
        let question = Example::Sentences.question()?;
        let mut store = deployed(Example::Sentences, &question, plan).await?;
        let (mut colds, mut plains) = (Vec::new(), Vec::new());
        for _ in 0..plan.samples() {
            let cold;
            plains.push(plain(Example::Sentences, question.tokens, plan).await?);
            (store, cold) = first_answer(store, &question, &plan.unpinned, Some(REST)).await?;
            colds.push(cold);
        }
        let (cold, plain) = (median(colds.iter().copied()), median(plains.iter().copied()));
        if plan.wants(COLD_SENTENCES) {
            report.add(COLD_SENTENCES, Outcome::new(cold, "ms", Some(Goal::AtMost(25.0))));
        }
        if plan.wants(RATIO_SENTENCES) {
            let ratio = median(colds.iter().zip(&plains).map(|(cold, plain)| cold / plain));
            let goal = Some(Goal::AtMost(0.2));
            report.add(
                RATIO_SENTENCES,
                Outcome { baseline: Some(plain), nocti: cold, ..Outcome::new(ratio, "ratio", goal) },
            );
        }
    }
    Ok(())
}

/// A store with the example, asked in the process it was deployed in and in another one.
async fn deployed(example: Example, question: &Question, plan: &Plan) -> anyhow::Result<Stopped> {
    let host = Host::empty(&plan.programs.nocti, &plan.unpinned)?;
    host.deploy(&example.folder(str::to_owned)?.path, example.name()).await?;
    let address = host.server.address;
    question.ask(&mut Connection::open(address).await?, address).await?;
    let (store, _) = host.stop(PATIENCE)?;
    let (store, _) = first_answer(store, question, &plan.unpinned, Some(REST)).await?;
    Ok(store)
}

/// Milliseconds to the first answer of a new process: from the request where the host may `rest` before it, and from the
/// process's start otherwise.
async fn first_answer(
    store: Stopped,
    question: &Question,
    start: &Start,
    rest: Option<Duration>,
) -> anyhow::Result<(Stopped, f64)> {
    let host = store.start(&[], start)?;
    let address = host.server.address;
    let mut begun = host.server.begun;
    let mut connection = Connection::open(address).await?;
    let request = question.request(address);
    if let Some(rest) = rest {
        // The connection is there, as a client's in front of a host is.
        connection.ask(&payload::get(address, "/readyz")).await?;
        tokio::time::sleep(rest).await;
        begun = Instant::now();
    }
    let reply = connection.ask(&request).await?;
    let took = begun.elapsed();
    question.check(&reply)?;
    let (store, _) = host.stop(PATIENCE)?;
    Ok((store, took.as_secs_f64() * 1e3))
}

/// Milliseconds that loading the example's model and running it once take in a new process, by ONNX Runtime alone.
async fn plain(example: Example, tokens: usize, plan: &Plan) -> anyhow::Result<f64> {
    let mut words: Vec<OsString> = plan.unpinned.pin();
    words.extend([plan.programs.baseline.clone().into(), "cold".into(), example.model().into()]);
    words.extend(["--elements", &tokens.to_string(), "--library"].map(OsString::from));
    words.push(plan.unpinned.library.clone().into());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env("ORT_DISABLE_TELEMETRY", "1").kill_on_drop(true);
    let output = command.output().await.context("cannot start the baseline")?;
    ensure!(output.status.success(), "the baseline failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    String::from_utf8_lossy(&output.stdout).trim().parse().context("the baseline gave no number")
}
