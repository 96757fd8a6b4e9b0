//! Allocations and instructions per request, counted by valgrind: the same on a busy machine, so that a
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

/// A count of one kind of function, with the digits' network.
#[derive(Clone, Copy)]
pub(crate) struct Count {
    pub(crate) case: &'static str,
    what: What,
    kind: Kind,
    protocol: Protocol,
}

/// What is counted.
#[derive(Clone, Copy)]
enum What {
    Allocations,
    Instructions,
}

/// Requests of the two runs.
const FEW: usize = 200;
const MANY: usize = 1200;

/// valgrind makes everything some fifty times slower.
const PATIENCE: Duration = Duration::from_secs(300);

impl Count {
    const JSON: Protocol = Protocol::Rest(Form::Json);

    pub(crate) const ALL: [Self; 4] = [
        Self { case: "typed/cnn/allocations", what: What::Allocations, kind: Kind::Typed, protocol: Self::JSON },
        Self { case: "typed/cnn/instructions", what: What::Instructions, kind: Kind::Typed, protocol: Self::JSON },
        Self { case: "http03/cnn/instructions", what: What::Instructions, kind: Kind::Http03, protocol: Self::JSON },
        Self {
            case: "grpc/cnn/instructions",
            what: What::Instructions,
            kind: Kind::ModelOnly,
            protocol: Protocol::Grpc,
        },
    ];

    fn function(self) -> Function {
        Function::plain(self.kind, Model::Cnn)
    }
}

impl What {
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
            report.not_measured(count.case, "not measured: valgrind is not here");
        }
        return Ok(());
    }
    let slow = Start { patience: PATIENCE, ..start.clone() };
    let mut functions: Vec<Function> = counts.iter().map(|count| count.function()).collect();
    functions.dedup();
    let (mut store, _) = Host::start(&programs.nocti, &functions, start).await?.stop(PATIENCE)?;
    // Compiles the components for the processor that valgrind plays; the code stays with the store.
    let host = store.start(&["valgrind", "--tool=none"], &slow)?;
    for count in counts {
        ask(&host.server, Subject::Function(count.function()), count.protocol, 1).await?;
    }
    (store, _) = host.stop(PATIENCE)?;

    for &Count { case, what, kind, protocol } in counts {
        let function = Function::plain(kind, Model::Cnn);
        let (mut nocti, mut baseline) = ([0.0; 2], [0.0; 2]);
        for (run, requests) in [FEW, MANY].into_iter().enumerate() {
            let host = store.start(what.words(), &slow)?;
            ask(&host.server, Subject::Function(function), protocol, requests).await?;
            let log;
            (store, log) = host.stop(PATIENCE)?;
            nocti[run] = what.total(&log).with_context(|| format!("valgrind gave no count:\n{log}"))?;

            let beside = Baseline::start(programs, &[Model::Cnn], what.words(), &slow)?;
            ask(&beside.server, Subject::Baseline(Model::Cnn), protocol, requests).await?;
            let log = beside.server.stop(PATIENCE)?;
            baseline[run] = what.total(&log).with_context(|| format!("valgrind gave no count:\n{log}"))?;
        }
        let each = |totals: [f64; 2]| (totals[1] - totals[0]) / (MANY - FEW) as f64;
        let (nocti, baseline) = (each(nocti), Some(each(baseline)));
        report.add(case, Outcome { value: nocti, unit: "count", goal: None, baseline, nocti, cpu: None });
    }
    Ok(())
}

async fn ask(server: &Server, subject: Subject, protocol: Protocol, times: usize) -> anyhow::Result<()> {
    let target = stage::target(server, subject, protocol);
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
        assert_eq!(What::Allocations.total(log), Some(1_234_567.0));
        assert_eq!(What::Instructions.total(log), Some(98_765.0));
        assert_eq!(What::Instructions.total("nothing"), None);
    }
}
