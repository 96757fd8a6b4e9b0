//! What was found: a line as soon as it is known, and the file at the end.

use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use crate::cases::Goal;
use crate::compare::Cpu;

/// All results of this run, in order.
#[derive(Default)]
pub(crate) struct Report {
    results: Vec<Case>,
    missed: usize,
    left_out: usize,
}

/// One measured case, as the file has it.
#[derive(Serialize)]
struct Case {
    case: String,
    value: f64,
    unit: &'static str,
    goal: Option<String>,
    baseline: Option<f64>,
    nocti: f64,
}

/// What a case came to.
#[derive(Clone, Copy)]
pub(crate) struct Outcome {
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    pub(crate) goal: Option<Goal>,
    pub(crate) baseline: Option<f64>,
    pub(crate) nocti: f64,
    pub(crate) cpu: Option<Cpu>,
}

impl Outcome {
    /// A figure of nocti's alone.
    pub(crate) fn new(value: f64, unit: &'static str, goal: Option<Goal>) -> Self {
        Self { value, unit, goal, baseline: None, nocti: value, cpu: None }
    }
}

/// Above this the client's core may be what was measured.
const BUSY_CLIENT: f64 = 0.8;

/// Above this other programs may be what was measured.
const BUSY_MACHINE: f64 = 0.05;

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
impl Report {
    pub(crate) fn heading() {
        println!(
            "{:<34} {:>8}  {:<6} {:<8} {:>10} {:>10} {:>6} {:>7} {:>7}",
            "case", "value", "unit", "goal", "baseline", "nocti", "cpu", "client", "others"
        );
    }

    /// A line of its own, such as how the machine is used.
    pub(crate) fn note(text: &str) {
        println!("{text}");
    }

    pub(crate) fn add(&mut self, case: &str, outcome: Outcome) {
        let Outcome { value, unit, goal, baseline, nocti, cpu } = outcome;
        let missed = goal.is_some_and(|goal| !goal.is_met(value));
        self.missed += usize::from(missed);
        let percent = |share: fn(Cpu) -> f64| cpu.map_or("-".into(), |cpu| format!("{:.0} %", share(cpu) * 100.0));
        println!(
            "{case:<34} {:>8}  {unit:<6} {:<8} {:>10} {:>10} {:>6} {:>7} {:>7}{}{}{}",
            short(value),
            goal.map_or("-".into(), Goal::text),
            baseline.map_or("-".into(), short),
            short(nocti),
            cpu.map_or("-".into(), |cpu| format!("{:.2}", cpu.ratio)),
            percent(|cpu| cpu.client),
            percent(|cpu| cpu.others),
            if missed { "  MISSED" } else { "" },
            if cpu.is_some_and(|cpu| cpu.client > BUSY_CLIENT) { "  the client may be the limit" } else { "" },
            if cpu.is_some_and(|cpu| cpu.others > BUSY_MACHINE) { "  the machine was busy" } else { "" },
        );
        let goal = goal.map(Goal::text);
        self.results.push(Case { case: case.to_owned(), value: round(value), unit, goal, baseline, nocti });
    }

    pub(crate) fn not_measured(&mut self, case: &str, why: &str) {
        self.left_out += 1;
        println!("{case:<34} {:>8}  {why}", "-");
    }

    /// Whether any case was asked for.
    pub(crate) fn has_lines(&self) -> bool {
        self.left_out > 0 || !self.results.is_empty()
    }

    /// Writes the file and says how it went.
    pub(crate) fn finish(mut self, path: &Path) -> anyhow::Result<()> {
        for case in &mut self.results {
            case.baseline = case.baseline.map(round);
            case.nocti = round(case.nocti);
        }
        let mut json = serde_json::to_string_pretty(&self.results)?;
        json.push('\n');
        std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
        println!(
            "{} cases, {} missed their goal, {} not measured; {}",
            self.results.len(),
            self.missed,
            self.left_out,
            path.display()
        );
        Ok(())
    }
}

/// Four digits that count.
fn round(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}
