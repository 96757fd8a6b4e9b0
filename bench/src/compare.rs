//! One server beside another: the same answers first, then rounds in turn.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;

use crate::answer::Answer;
use crate::cases::Metric;
use crate::client::{self, Connection, Load, Requests, Span};

/// How much is measured.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    pub(crate) span: Span,
}

/// A server and what it is asked.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) requests: Requests,
}

/// What the rounds came to.
pub(crate) struct Ratio {
    pub(crate) value: f64,
    pub(crate) baseline: f64,
    pub(crate) nocti: f64,
    pub(crate) client_share: Option<f64>,
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

async fn answers(target: &Target) -> anyhow::Result<Vec<Answer>> {
    let mut connection = Connection::open(target.address).await?;
    let mut answers = Vec::new();
    for request in target.requests.iter() {
        answers.push(Answer::read(&connection.ask(request).await?)?);
    }
    Ok(answers)
}

async fn check_one(target: &Target, expected: &[Answer], first: usize) -> anyhow::Result<()> {
    let mut connection = Connection::open(target.address).await?;
    for index in (0..expected.len()).map(|step| (first + step) % expected.len()) {
        let answer = Answer::read(&connection.ask(&target.requests[index]).await.context("nocti does not answer")?)?;
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
    let run = |target: &Target, span| {
        let target = target.clone();
        async move { client::run(target.address, &target.requests, metric.clients(), span).await }
    };
    let warm_up = Span { time: effort.span.time / 4, answers: metric.clients() };
    run(baseline, warm_up).await?;
    run(nocti, warm_up).await?;
    let (mut ratios, mut one, mut two) = (Vec::new(), Vec::new(), Vec::new());
    let mut busiest = None;
    for round in 0..effort.rounds {
        let (old, new) = if round % 2 == 0 {
            let old = run(baseline, effort.span).await?;
            (old, run(nocti, effort.span).await?)
        } else {
            let new = run(nocti, effort.span).await?;
            (run(baseline, effort.span).await?, new)
        };
        busiest = [busiest, old.client_share, new.client_share].into_iter().flatten().reduce(f64::max);
        let (old, new) = (value(&old, metric), value(&new, metric));
        ratios.push(new / old);
        one.push(old);
        two.push(new);
    }
    Ok(Ratio { value: median(ratios), baseline: median(one), nocti: median(two), client_share: busiest })
}

fn value(load: &Load, metric: Metric) -> f64 {
    match metric {
        Metric::P50 => load.p50_us,
        Metric::Rps => load.per_second,
    }
}

/// The middle one; of an even number the mean of the middle two.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert!((median(vec![9.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(vec![4.0, 1.0, 2.0, 9.0]) - 3.0).abs() < f64::EPSILON);
    }
}
