//! What is measured, and what was aimed at.

use crate::caller::Protocol;
use crate::functions::{Function, Kind};
use crate::models::Model;
use crate::payload::Form;

/// The clients of a throughput.
pub(crate) const MANY_CLIENTS: usize = 32;

/// Requests that run together where batching is on.
const BATCH: u32 = 32;

/// One server measured beside another: the names begin with `id`.
pub(crate) struct Comparison {
    pub(crate) id: String,
    pub(crate) baseline: Subject,
    pub(crate) nocti: Function,
    pub(crate) protocol: Protocol,
    pub(crate) metrics: Vec<(Metric, Option<Goal>)>,
}

/// What a function is compared with.
#[derive(Clone, Copy)]
pub(crate) enum Subject {
    /// The model in the baseline server.
    Baseline(Model),
    /// Another function of the same host.
    Function(Function),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metric {
    /// The median latency of one client, in microseconds.
    P50,
    /// The answers per second that [`MANY_CLIENTS`] get.
    Rps,
}

/// What a value should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

impl Subject {
    /// Where it is asked.
    pub(crate) fn path(self) -> String {
        match self {
            Self::Baseline(model) => format!("/v2/models/{}/infer", model.name()),
            Self::Function(function) => function.path(),
        }
    }

    /// What it is called where it is.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Baseline(model) => model.name().to_owned(),
            Self::Function(function) => function.name(),
        }
    }

    pub(crate) fn model(self) -> Model {
        match self {
            Self::Baseline(model) => model,
            Self::Function(function) => function.model,
        }
    }

    pub(crate) fn function(self) -> Option<Function> {
        match self {
            Self::Baseline(_) => None,
            Self::Function(function) => Some(function),
        }
    }
}

impl Metric {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::Rps => "rps",
        }
    }

    pub(crate) fn clients(self) -> usize {
        match self {
            Self::P50 => 1,
            Self::Rps => MANY_CLIENTS,
        }
    }
}

impl Goal {
    pub(crate) fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }

    pub(crate) fn text(self) -> String {
        match self {
            Self::AtMost(most) => format!("<= {}", number(most)),
            Self::AtLeast(least) => format!(">= {}", number(least)),
        }
    }
}

/// Two places, as in the tables of goals; none for a count.
fn number(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value}") } else { format!("{value:.2}") }
}

/// Everything that compares latencies or throughputs.
pub(crate) fn comparisons() -> Vec<Comparison> {
    let mut all = Vec::new();
    let goals = |p50, rps| vec![(Metric::P50, Some(Goal::AtMost(p50))), (Metric::Rps, Some(Goal::AtLeast(rps)))];
    for (kind, p50, rps) in [(Kind::ModelOnly, 1.05, 0.95), (Kind::Typed, 1.12, 0.88), (Kind::Http02, 1.40, 0.60)] {
        all.push(predict(kind, Model::Cnn, goals(p50, rps)));
    }
    all.push(predict(Kind::Http03, Model::Cnn, vec![(Metric::P50, None), (Metric::Rps, Some(Goal::AtLeast(0.5)))]));
    let binary = Protocol::Rest(Form::Binary);
    all.push(Comparison {
        id: "grpc/cnn".into(),
        protocol: Protocol::Grpc,
        ..predict(Kind::ModelOnly, Model::Cnn, goals(1.1, 0.9))
    });
    all.push(Comparison {
        id: "rest-binary/cnn".into(),
        protocol: binary,
        ..predict(Kind::ModelOnly, Model::Cnn, goals(1.1, 0.9))
    });
    let typed = predict(Kind::Typed, Model::Cnn, vec![(Metric::P50, None), (Metric::Rps, None)]);
    all.push(Comparison { id: "predict/typed/cnn-binary".into(), protocol: binary, ..typed });
    let rps = vec![(Metric::Rps, Some(Goal::AtLeast(0.95)))];
    all.push(Comparison {
        id: "rest-binary/600k".into(),
        protocol: binary,
        ..predict(Kind::ModelOnly, Model::Identity, rps)
    });
    for model in [Model::Minilm, Model::Resnet50] {
        let kinds = [Kind::ModelOnly, Kind::Typed, Kind::Http02];
        all.extend(kinds.map(|kind| predict(kind, model, vec![(Metric::P50, Some(Goal::AtMost(1.02)))])));
    }
    all.push(batch(Model::Minilm, Metric::Rps, Goal::AtLeast(1.5)));
    all.push(batch(Model::Cnn, Metric::P50, Goal::AtMost(1.03)));
    all.push(fresh(goals(1.5, 0.45)));
    all
}

fn predict(kind: Kind, model: Model, metrics: Vec<(Metric, Option<Goal>)>) -> Comparison {
    Comparison {
        id: format!("predict/{}/{}", kind.name(), model.name()),
        baseline: Subject::Baseline(model),
        nocti: Function::plain(kind, model),
        protocol: Protocol::Rest(Form::Json),
        metrics,
    }
}

/// An instance that no other request sees, for each request.
fn fresh(metrics: Vec<(Metric, Option<Goal>)>) -> Comparison {
    Comparison {
        id: "fresh/typed/cnn".into(),
        baseline: Subject::Baseline(Model::Cnn),
        nocti: Function { reuse: Some(1), ..Function::plain(Kind::Typed, Model::Cnn) },
        protocol: Protocol::Rest(Form::Json),
        metrics,
    }
}

/// Batching on against off.
fn batch(model: Model, metric: Metric, goal: Goal) -> Comparison {
    let function = |requests| Function { max_batch: Some(requests), ..Function::plain(Kind::ModelOnly, model) };
    Comparison {
        id: format!("batch/{}", model.name()),
        baseline: Subject::Function(function(1)),
        nocti: function(BATCH),
        protocol: Protocol::Rest(Form::Json),
        metrics: vec![(metric, Some(goal))],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_met_at_their_edge() {
        assert!(Goal::AtMost(1.02).is_met(1.02) && !Goal::AtMost(1.02).is_met(1.03));
        assert!(Goal::AtLeast(0.6).is_met(0.6) && !Goal::AtLeast(0.6).is_met(f64::NAN));
        assert_eq!((Goal::AtMost(1.4).text(), Goal::AtMost(0.0).text()), ("<= 1.40".into(), "<= 0".into()));
    }
}
