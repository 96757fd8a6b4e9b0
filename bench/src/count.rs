//! Allocations and instructions per request on the typed path, counted by valgrind: the same on a busy machine, so that a
//! change of a few shows.
//!
//! Each server is started twice and asked differently often; what differs is what the requests took.

use std::time::Duration;

use anyhow::Context as _;

use crate::caller::{Caller, Protocol};
use crate::cases::Subject;
use crate::functions::{Function, Kind};
use crate::models::Model;
use crate::payload::Form;
use crate::report::{Outcome, Report};
use crate::server::{Server, Start};
use crate::stage::{self, Baseline, Host, Programs};

/// What is counted.
#[derive(Clone, Copy)]
pub(crate) enum Count {
    Allocations,
    Instructions,
}

/// Requests of the two runs.
const FEW: usize = 200;
const MANY: usize = 1200;

/// valgrind makes everything some fifty times slower.
const PATIENCE: Duration = Duration::from_secs(300);

impl Count {
    pub(crate) const ALL: [Self; 2] = [Self::Allocations, Self::Instructions];

    pub(crate) fn case(self) -> &'static str {
        match self {
            Self::Allocations => "typed/cnn/allocations",
            Self::Instructions => "typed/cnn/instructions",
        }
    }

    fn words(self) -> &'static [&'static str] {
        match self {
            Self::Allocations => &["valgrind", "--tool=memcheck", "--undef-value-errors=no", "--leak-check=no"],
            Self::Instructions => &["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"],
        }
    }

    /// The number in what valgrind said at the end.
    fn total(self, log: &str) -> Option<f64> {
        let after = match self {
            Self::Allocations => "total heap usage: ",
            Self::Instructions => "Collected : ",
        };
        let (_, rest) = log.rsplit_once(after)?;
        let digits: String =
            rest.chars().take_while(|c| *c != ' ' && *c != '\n').filter(char::is_ascii_digit).collect();
        digits.parse().ok()
    }
}

pub(crate) async fn measure(
    report: &mut Report,
    counts: &[Count],
    programs: &Programs,
    start: &Start,
) -> anyhow::Result<()> {
    if counts.is_empty() {
        return Ok(());
    }
    if std::process::Command::new("valgrind").arg("--version").output().is_err() {
        for count in counts {
            report.not_measured(count.case(), "not measured: valgrind is not here");
        }
        return Ok(());
    }
    let slow = Start { patience: PATIENCE, ..start.clone() };
    let function = Function::plain(Kind::Typed, Model::Cnn);
    let (mut store, _) = Host::start(&programs.nocti, &[function], start).await?.stop(PATIENCE)?;
    // Compiles the component for the processor that valgrind plays; the code stays with the store.
    let host = store.start(&["valgrind", "--tool=none"], &slow)?;
    ask(&host.server, Subject::Function(function), 1).await?;
    (store, _) = host.stop(PATIENCE)?;

    for count in counts {
        let (mut nocti, mut baseline) = ([0.0; 2], [0.0; 2]);
        for (run, requests) in [FEW, MANY].into_iter().enumerate() {
            let host = store.start(count.words(), &slow)?;
            ask(&host.server, Subject::Function(function), requests).await?;
            let log;
            (store, log) = host.stop(PATIENCE)?;
            nocti[run] = count.total(&log).with_context(|| format!("valgrind gave no count:\n{log}"))?;

            let beside = Baseline::start(programs, &[Model::Cnn], count.words(), &slow)?;
            ask(&beside.server, Subject::Baseline(Model::Cnn), requests).await?;
            let log = beside.server.stop(PATIENCE)?;
            baseline[run] = count.total(&log).with_context(|| format!("valgrind gave no count:\n{log}"))?;
        }
        let each = |totals: [f64; 2]| (totals[1] - totals[0]) / (MANY - FEW) as f64;
        let (nocti, baseline) = (each(nocti), Some(each(baseline)));
        report.add(count.case(), Outcome { value: nocti, unit: "count", goal: None, baseline, nocti, cpu: None });
    }
    Ok(())
}

async fn ask(server: &Server, subject: Subject, times: usize) -> anyhow::Result<()> {
    let target = stage::target(server, subject, Protocol::Rest(Form::Json));
    let mut caller = Caller::open(&target).await?;
    for request in target.requests.iter().cycle().take(times) {
        caller.ask(request).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_read_from_the_end_of_a_log() {
        let log = "==9== HEAP SUMMARY:\n==9==   total heap usage: 1,234,567 allocs, 5 frees\n==9== Collected : 98765\n";
        assert_eq!(Count::Allocations.total(log), Some(1_234_567.0));
        assert_eq!(Count::Instructions.total(log), Some(98_765.0));
        assert_eq!(Count::Instructions.total("nothing"), None);
    }
}
