//! Whether a version does well beside others, by what came of their requests in the same time. Pure.
//!
//! The rule, for failures: the version goes back when so many of its requests failed that, were its rate no more than allowed, nor more
//! than that of the others, chance would bring it about once in a thousand times (the binomial distribution's upper tail). The others'
//! rate is taken as (failed + 1) / (requests + 2): where little is known of them, much has to go wrong. For times: of answers no slower
//! than allowed, a hundredth is above the limit; again, so many above it must be a matter of one time in a thousand. That asks for
//! answers of the others, as many as the plan wants of the version. Callers that went before their answer are counted like failures,
//! but as they may have reasons of their own, the others' callers are what they are measured by, and there have to be as many. Fewer than
//! three are nothing to go by: what ends one instance may end two requests. So one unlucky request sends nothing back, and three failures
//! out of three do. What is above a limit without being sure waits for more requests.

use std::time::Duration;

use crate::registry::revision::Plan;
use crate::telemetry::Served;

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It does well.
    Go,
    /// It cannot be told yet.
    Wait,
    /// It does badly, for this reason.
    Back(String),
}

/// The chance that a version goes back which does as well as it should.
const CHANCE: f64 = 1e-3;

/// Nor do fewer that were abandoned: one caller that has lost patience may ask several times.
const FEWEST_ABANDONED: u64 = 10;

/// Below this chance it is not taken for one that does well either, where half of all that do would be above the others.
const SUSPICIOUS: f64 = 0.05;

/// Fewer failed or slow requests than these say nothing.
const FEWEST: u64 = 3;

pub(super) fn judge(new: &Served, others: &Served, plan: &Plan) -> Verdict {
    let requests = new.answered + new.failed;
    let mut is_unsure = requests < plan.min_requests;
    let limit = f64::from(plan.max_error_ppm) / 1e6;
    let (rate, rate_of_others) = (share(new.failed, requests), share(others.failed, others.answered + others.failed));
    if rate > limit && rate > rate_of_others {
        let assumed = (others.failed as f64 + 1.0) / ((others.answered + others.failed) as f64 + 2.0);
        if new.failed >= FEWEST && tail(new.failed, requests, limit.max(assumed)) < CHANCE {
            return Verdict::Back(format!(
                "{} of {requests} requests failed, {} are allowed, and {} of the others' {} failed",
                new.failed,
                percent(limit),
                others.failed,
                others.answered + others.failed,
            ));
        }
        is_unsure = true;
    }
    let (asked, asked_of_others) = (requests + new.abandoned, others.answered + others.failed + others.abandoned);
    let usual = share(others.abandoned + 1, asked_of_others + 2).max(limit);
    let is_known = asked.min(asked_of_others) >= plan.min_requests;
    if is_known && new.abandoned >= FEWEST_ABANDONED && share(new.abandoned, asked) > usual {
        let tail = tail(new.abandoned, asked, usual);
        if tail < CHANCE {
            return Verdict::Back(format!(
                "{} of {asked} callers went before their answer had come, and {} of the others' {asked_of_others}",
                new.abandoned, others.abandoned,
            ));
        }
        is_unsure |= tail < SUSPICIOUS;
    }
    let p99 = others.took.quantile(0.99).filter(|_| others.took.count() >= plan.min_requests);
    if let (Some(permille), Some(p99)) = (plan.max_p99_permille, p99) {
        let allowed = scaled(p99, permille);
        let (above, answers) = (new.took.above(allowed), new.took.count());
        if share(above, answers) > 0.01 {
            if above >= FEWEST && tail(above, answers, 0.01) < CHANCE {
                let p99_of_new = new.took.quantile(0.99).unwrap_or_default();
                return Verdict::Back(format!(
                    "its p99 is {p99_of_new:?} and the others' {p99:?}, of which {}x is allowed",
                    f64::from(permille) / 1000.0,
                ));
            }
            is_unsure = true;
        }
    }
    if is_unsure { Verdict::Wait } else { Verdict::Go }
}

fn share(some: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { some as f64 / all as f64 }
}

fn percent(share: f64) -> String {
    // As it was given: four digits are what the plan keeps.
    format!("{}%", (share * 1e6).round() / 1e4)
}

fn scaled(time: Duration, permille: u32) -> Duration {
    let ns = time.as_nanos().saturating_mul(permille.into()) / 1000;
    Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
}

/// The chance that of so many events at least `some` come about, of which each does by that `chance`.
fn tail(some: u64, all: u64, chance: f64) -> f64 {
    if some == 0 || chance >= 1.0 {
        return 1.0;
    }
    // Beyond this, Bernstein's bound decides: it is never too small, and there are never more terms than these.
    const TERMS: u64 = 100_000;
    let (n, excess) = (all as f64, some as f64 - all as f64 * chance);
    if excess <= 0.0 {
        return 1.0;
    }
    if some > TERMS {
        return (-excess * excess / (2.0 * (n * chance * (1.0 - chance) + excess / 3.0))).exp();
    }
    // One less the chance of fewer, each from the one before; by their logarithms, as the first may be too small for a float.
    let (mut log, mut below) = (n * (-chance).ln_1p(), 0.0);
    for k in 0..some {
        below += log.exp();
        log += ((n - k as f64) / (k as f64 + 1.0) * chance / (1.0 - chance)).ln();
    }
    (1.0 - below).max(0.0)
}

#[cfg(test)]
mod tests;
