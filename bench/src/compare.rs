//! One server beside another: the same answers first, then rounds in turn.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::Instant;

use crate::answer::Answer;
use crate::caller::{Caller, Protocol};
use crate::cases::Metric;
use crate::client::{self, Requests, Span};
use crate::cpu::{self, Cores};
use crate::quantile::median;

/// How much is measured.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    pub(crate) span: Span,
    /// Where servers and client are kept, if they are kept apart.
    pub(crate) cores: Option<Cores>,
}

/// A server and what it is asked.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// The server's process.
    pub(crate) process: u32,
    pub(crate) protocol: Protocol,
    pub(crate) requests: Requests,
}

/// What the rounds came to.
pub(crate) struct Ratio {
    pub(crate) value: f64,
    pub(crate) baseline: f64,
    pub(crate) nocti: f64,
    pub(crate) cpu: Option<Cpu>,
}

/// How the processor was used meanwhile; none of it where the system does not say.
#[derive(Clone, Copy)]
pub(crate) struct Cpu {
    /// The servers' processor time per request, nocti's to the baseline's: what a busy machine changes least.
    pub(crate) ratio: f64,
    /// The client's share of its core, the greatest of all rounds.
    pub(crate) client: f64,
    /// The share of both cores that went to other programs, the greatest of all rounds.
    pub(crate) others: f64,
}

/// One run of the load, and what it took.
struct Run {
    value: f64,
    /// Server's processor time per answer in seconds, the client's share and that of other programs.
    used: Option<(f64, f64, f64)>,
}

/// Fails unless both give the same answers, one at a time and to many clients at once.
pub(crate) async fn check(baseline: &Target, nocti: &Target, clients: usize) -> anyhow::Result<()> {
    let expected = Arc::new(answers(baseline).await.context("the baseline does not answer")?);
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let (nocti, expected) = (nocti.clone(), Arc::clone(&expected));
            tokio::spawn(async move { check_one(&nocti, &expected, client).await })
        })
        .collect();
    check_one(nocti, &expected, 0).await?;
    for task in tasks {
        task.await.context("a client failed")??;
    }
    Ok(())
}

/// What it answers to each of its requests.
pub(crate) async fn answers(target: &Target) -> anyhow::Result<Vec<Answer>> {
    let mut caller = Caller::open(target).await?;
    let mut answers = Vec::new();
    for request in target.requests.iter() {
        answers.push(caller.answer(request).await?);
    }
    Ok(answers)
}

async fn check_one(target: &Target, expected: &[Answer], first: usize) -> anyhow::Result<()> {
    let mut caller = Caller::open(target).await?;
    for index in (0..expected.len()).map(|step| (first + step) % expected.len()) {
        let answer = caller.answer(&target.requests[index]).await.context("nocti does not answer")?;
        expected[index].must_be(&answer).context("the answers of the baseline and of nocti differ")?;
    }
    Ok(())
}

/// Measures both in turn; whoever is first in one round is second in the next.
pub(crate) async fn measure(
    baseline: &Target,
    nocti: &Target,
    metric: Metric,
    effort: Effort,
) -> anyhow::Result<Ratio> {
    let warm_up = Effort { span: Span { time: effort.span.time / 4, answers: metric.clients() }, ..effort };
    run(baseline, metric, warm_up).await?;
    run(nocti, metric, warm_up).await?;
    let (mut olds, mut news) = (Vec::new(), Vec::new());
    for round in 0..effort.rounds {
        if round % 2 == 0 {
            olds.push(run(baseline, metric, effort).await?);
            news.push(run(nocti, metric, effort).await?);
        } else {
            news.push(run(nocti, metric, effort).await?);
            olds.push(run(baseline, metric, effort).await?);
        }
    }
    Ok(Ratio {
        value: median(olds.iter().zip(&news).map(|(old, new)| new.value / old.value)),
        baseline: median(olds.iter().map(|run| run.value)),
        nocti: median(news.iter().map(|run| run.value)),
        cpu: cpu_of(&olds, &news),
    })
}

fn cpu_of(olds: &[Run], news: &[Run]) -> Option<Cpu> {
    let used = |runs: &[Run]| runs.iter().map(|run| run.used).collect::<Option<Vec<_>>>();
    let (olds, news) = (used(olds)?, used(news)?);
    let all = || olds.iter().chain(&news);
    Some(Cpu {
        ratio: median(olds.iter().zip(&news).map(|((old, ..), (new, ..))| new / old)),
        client: all().map(|(_, client, _)| *client).fold(0.0, f64::max),
        others: all().map(|(.., others)| *others).fold(0.0, f64::max),
    })
}

async fn run(target: &Target, metric: Metric, effort: Effort) -> anyhow::Result<Run> {
    let clock = || {
        let busy = effort.cores?.busy_time()?;
        Some((cpu::process_time(target.process)?, cpu::thread_time()?, busy))
    };
    let before = clock();
    let started = Instant::now();
    let load = client::run(target, metric.clients(), effort.span).await?;
    let passed = started.elapsed().as_secs_f64();
    let used = before.zip(clock()).map(|(before, after)| {
        let seconds = |before: Duration, after: Duration| after.saturating_sub(before).as_secs_f64();
        let (server, client) = (seconds(before.0, after.0), seconds(before.1, after.1));
        let others = (seconds(before.2, after.2) - server - client).max(0.0);
        (server / load.answers as f64, client / passed, others / passed / 2.0)
    });
    let value = match metric {
        Metric::P50 => load.p50_us,
        Metric::Rps => load.per_second,
    };
    Ok(Run { value, used })
}
