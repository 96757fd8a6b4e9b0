//! `make bench`: nocti beside a server written by hand, on this machine, in one run. README.md says how it measures.
//!
//! A slow figure is a result, never a failure; a wrong answer or a server that does not start is a failure.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use self::caller::Protocol;
use self::cases::{Comparison, Subject};
use self::client::Span;
use self::compare::Effort;
use self::count::Count;
use self::cpu::Cores;
use self::functions::Function;
use self::models::Model;
use self::payload::Form;
use self::plan::Plan;
use self::report::{Outcome, Report};
use self::server::Start;
use self::stage::{Baseline, Host, Programs};

mod answer;
mod caller;
mod cases;
mod client;
mod cold;
mod compare;
mod copies;
mod count;
mod cpu;
mod density;
mod deploy;
mod examples;
mod functions;
mod grpc;
mod leak;
mod models;
mod observe;
mod own;
mod payload;
mod plan;
mod quantile;
mod report;
mod resolve;
mod search;
mod server;
mod soak;
mod stage;
mod stores;
mod stream;
mod tools;
mod traffic;
mod variants;

/// That of nocti, some of which is measured in this process.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures nocti beside a server written by hand.
#[derive(Parser)]
struct Options {
    /// Only cases whose name contains this text
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Three short rounds: to see that everything runs, not to compare
    #[arg(long)]
    quick: bool,
    /// Seconds of one measurement; a slow model gets more, until it has answered twenty times
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// The nocti to measure, a release build
    #[arg(long, value_name = "FILE", default_value_os_t = repository().join("target/release/nocti"))]
    server: PathBuf,
    /// The nocti that counts the bytes it moves
    #[arg(long, value_name = "FILE", default_value_os_t = repository().join("target/debug/nocti"))]
    counting_server: PathBuf,
    /// Where the results go
    #[arg(long, value_name = "FILE", default_value_os_t = repository().join("bench/results.json"))]
    output: PathBuf,
    /// Only the soak: random calls over 2000 functions under a memory budget, for so many minutes
    #[arg(long, value_name = "MINUTES", num_args = 0..=1, default_missing_value = "10")]
    soak: Option<f64>,
    #[command(flatten)]
    own: own::Options,
    #[command(flatten)]
    tools: tools::Options,
}

/// The checkout this was built in.
fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// One thread: the client has a core to itself.
#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stderr, reason = "where programs say why they failed")]
async fn main() -> ExitCode {
    let options = Options::parse();
    // Dropping what is going on ends the servers, which would outlive a program that was ended by a signal.
    let measured = tokio::select! {
        measured = measure(&options) => measured,
        () = asked_to_end() => Err(anyhow::anyhow!("asked to end")),
    };
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nocti-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn asked_to_end() {
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        }
        // Then signals end the program, as they do by default.
        Err(_) => std::future::pending().await,
    }
}

async fn measure(options: &Options) -> anyhow::Result<()> {
    ensure!(options.seconds > 0.0 && options.seconds <= 600.0, "--seconds must be more than 0 and at most 600");
    let own = std::env::current_exe().context("where is this program?")?;
    let programs = Programs { nocti: options.server.clone(), baseline: own.with_file_name("nocti-baseline") };
    for program in [&programs.nocti, &programs.baseline] {
        ensure!(program.is_file(), "{} is not there; `make bench` builds it", program.display());
    }
    // A place for temporary files that does not take the lock is no reason not to measure.
    let _turn = cpu::turn(|| Report::note("waiting: another benchmark runs on this machine"));
    let cores = cpu::cores();
    Report::note(&match cores {
        Ok(cores) => format!("servers on core {}, the client on core {}", cores.server, cores.client),
        Err(why) => format!("servers and client share their cores, so figures are rough: {why}"),
    });
    let start = Start {
        cores: cores.ok().map(|cores| cores.server.to_string()),
        library: options.tools.library()?,
        patience: Duration::from_secs(60),
        settings: Vec::new(),
    };
    let plan = Plan {
        programs,
        only: options.only.clone(),
        quick: options.quick,
        unpinned: Start { cores: cores.ok().map(Cores::both), ..start.clone() },
        bucket_server: options.tools.bucket_server(),
    };
    if let Some(minutes) = options.soak {
        ensure!(minutes > 0.0 && minutes <= 100_000.0, "--soak must be more than 0 minutes and at most 100000");
        return soak::run(&plan, minutes).await;
    }
    if options.own.run(&plan).await? {
        return Ok(());
    }
    let (rounds, time, answers) = if options.quick {
        (3, Duration::from_millis(200), 5)
    } else {
        (5, Duration::from_secs_f64(options.seconds), 20)
    };
    let effort = Effort { rounds, span: Span { time, answers }, cores: cores.ok() };
    let mut report = Report::default();
    Report::heading();
    compare_all(&mut report, &plan, &start, effort).await?;
    stream::measure(&mut report, &plan, &start).await?;
    traffic::measure(&mut report, &plan, &start).await?;
    resolve::measure(&mut report, &plan).await?;
    cold::measure(&mut report, &plan).await?;
    density::measure(&mut report, &plan).await?;
    search::measure(&mut report, &plan).await?;
    deploy::measure(&mut report, &plan, &start).await?;
    stores::measure(&mut report, &plan).await?;
    leak::measure(&mut report, &plan).await?;
    if plan.wants(copies::CASE) {
        copies::measure(&mut report, &plan.programs, &options.counting_server, &start).await?;
    }
    let counts: Vec<Count> = Count::ALL.into_iter().filter(|count| plan.wants(count.case)).collect();
    if options.quick && options.only.is_none() {
        for count in counts {
            report.not_measured(count.case, "not measured: it takes minutes, which --quick has not");
        }
    } else {
        count::measure(&mut report, &counts, &plan.programs, &start).await?;
    }
    ensure!(report.has_lines(), "no case's name contains '{}'", options.only.as_deref().unwrap_or_default());
    report.finish(&options.output)
}

/// Every comparison that is wanted, all with the same two servers.
async fn compare_all(report: &mut Report, plan: &Plan, start: &Start, effort: Effort) -> anyhow::Result<()> {
    let programs = &plan.programs;
    let mut comparisons = cases::comparisons();
    for comparison in &mut comparisons {
        let id = &comparison.id;
        comparison.metrics.retain(|(metric, _)| plan.wants(&format!("{id}/{}", metric.name())));
    }
    comparisons.retain(|comparison| !comparison.metrics.is_empty());
    if comparisons.is_empty() {
        return Ok(());
    }
    let models: Vec<Model> = Model::ALL.into_iter().filter(|model| uses(&comparisons, *model)).collect();
    let mut functions: Vec<Function> = Vec::new();
    for comparison in &comparisons {
        let both = [Some(comparison.nocti), comparison.baseline.function()];
        functions
            .extend(both.into_iter().flatten().filter(|function| !functions.contains(function)).collect::<Vec<_>>());
    }
    let baseline = Baseline::start(programs, &models, &[], start)?;
    let host = Host::start(&programs.nocti, &functions, start).await?;
    let binary = stage::speaks_binary(host.server.address).await?;
    for comparison in &comparisons {
        let &Comparison { ref id, baseline: subject, nocti, protocol, ref metrics } = comparison;
        if protocol == Protocol::Rest(Form::Binary) && !binary {
            for (metric, _) in metrics {
                report.not_measured(&format!("{id}/{}", metric.name()), copies::NO_BINARY);
            }
            continue;
        }
        let beside = if subject.function().is_some() { &host.server } else { &baseline.server };
        let old = stage::target(beside, subject, protocol);
        let new = stage::target(&host.server, Subject::Function(nocti), protocol);
        compare::check(&old, &new, cases::MANY_CLIENTS).await.with_context(|| id.clone())?;
        for &(metric, goal) in metrics {
            let case = format!("{id}/{}", metric.name());
            let ratio = compare::measure(&old, &new, metric, effort).await.with_context(|| case.clone())?;
            let (baseline, nocti, cpu) = (Some(ratio.baseline), ratio.nocti, ratio.cpu);
            report.add(&case, Outcome { value: ratio.value, unit: "ratio", goal, baseline, nocti, cpu });
        }
    }
    Ok(())
}

fn uses(comparisons: &[Comparison], model: Model) -> bool {
    comparisons.iter().any(|comparison| matches!(comparison.baseline, Subject::Baseline(used) if used == model))
}
