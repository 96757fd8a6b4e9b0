//! Where a function's requests go, as answers say it: by weight, to shadows, step by step.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::functions::{Weights, weights};
use crate::host::Host;
use crate::registry::catalog::Function;
use crate::registry::name::{AliasName, VersionName};
use crate::registry::revision::{Revision, Rollout, RolloutState, Shadow, Shadows};
use crate::registry::timestamp::Timestamp;
use crate::registry::units;
use crate::telemetry::{Likeness, Spread};

/// By alias.
#[derive(Serialize, ToSchema)]
pub(super) struct Directions {
    #[schema(value_type = BTreeMap<String, BTreeMap<String, u32>>)]
    aliases: Weights,
    /// Versions that get copies of requests.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    shadows: BTreeMap<String, ShadowBody>,
    /// Aliases whose requests go to a version step by step, or went until something else was done with them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    rollouts: BTreeMap<String, RolloutBody>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ShadowBody {
    version: String,
    /// How many of a hundred requests are copied.
    percent: u32,
    /// How its answers compare, beside each version that answers callers: what this host has seen since it started.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    compared: Vec<ComparedBody>,
}

#[derive(Serialize, ToSchema)]
struct ComparedBody {
    /// The version that answered callers.
    version: String,
    same: u64,
    /// Floating-point numbers that differ by no more than 0.001 and a thousandth.
    close: u64,
    different: u64,
    failed: u64,
    /// Copies that were not made, since there was no room for them.
    skipped: u64,
    /// The median time of the requests that both answered; null: there are none.
    p50_ms: Option<f64>,
    shadow_p50_ms: Option<f64>,
}

#[derive(Serialize, ToSchema)]
struct RolloutBody {
    version: String,
    /// `running`; `done`, it gets all requests; `back`, requests go where they went before.
    state: &'static str,
    /// Which step it is at, from 1, and what share of the requests that is.
    step: usize,
    percent: u32,
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    steps: Vec<u32>,
    every: String,
    min_requests: u64,
    max_error_rate: f64,
    max_p99: Option<f64>,
    /// Where requests went before it began.
    #[schema(value_type = BTreeMap<String, u32>)]
    from: BTreeMap<String, u32>,
    /// Why requests went back.
    why: Option<String>,
}

impl Directions {
    pub(super) fn of(host: &Host, function: &Function) -> Self {
        let Revision { aliases, shadows, rollouts, .. } = &function.revision;
        let shadow = |(alias, shadow): (&AliasName, &Shadow)| {
            let compared = aliases.get(alias).into_iter().flatten();
            let compared = compared.filter_map(|(version, _)| compared_with(host, function, version, shadow)).collect();
            (alias.to_string(), ShadowBody { compared, ..shadow_body(shadow) })
        };
        let rollouts = rollouts.iter().map(|(alias, rollout)| (alias.to_string(), rollout_body(rollout)));
        Self { aliases: weights(aliases), shadows: shadows.iter().map(shadow).collect(), rollouts: rollouts.collect() }
    }
}

/// Without what is known of this moment alone.
pub(super) fn shadows(shadows: &Shadows) -> BTreeMap<String, ShadowBody> {
    shadows.iter().map(|(alias, shadow)| (alias.to_string(), shadow_body(shadow))).collect()
}

fn shadow_body(shadow: &Shadow) -> ShadowBody {
    ShadowBody { version: shadow.version.to_string(), percent: shadow.percent, compared: Vec::new() }
}

fn compared_with(host: &Host, function: &Function, version: &VersionName, shadow: &Shadow) -> Option<ComparedBody> {
    let digest = |version: &VersionName| function.versions.get(version).map(|found| found.digest);
    let shadowed = host.shadows.between(&digest(version)?, &digest(&shadow.version)?)?;
    let [same, close, different, failed, skipped] = Likeness::ALL.map(|likeness| shadowed.count(likeness));
    let p50_ms = |spread: &Spread| spread.quantile(0.5).map(|p50| p50.as_micros() as f64 / 1000.0);
    let (p50_ms, shadow_p50_ms) = (p50_ms(&shadowed.took.spread()), p50_ms(&shadowed.shadow_took.spread()));
    let version = version.to_string();
    Some(ComparedBody { version, same, close, different, failed, skipped, p50_ms, shadow_p50_ms })
}

fn rollout_body(rollout: &Rollout) -> RolloutBody {
    let (state, why) = match &rollout.state {
        RolloutState::Running => ("running", None),
        RolloutState::Done => ("done", None),
        RolloutState::Back { why } => ("back", Some(why.clone())),
    };
    RolloutBody {
        version: rollout.version.to_string(),
        state,
        step: rollout.step + 1,
        percent: rollout.percent(),
        since: rollout.since,
        steps: rollout.plan.steps.clone(),
        every: units::format_duration(rollout.plan.every()),
        min_requests: rollout.plan.min_requests,
        max_error_rate: f64::from(rollout.plan.max_error_ppm) / 1e6,
        max_p99: rollout.plan.max_p99_permille.map(|permille| f64::from(permille) / 1e3),
        from: rollout.from.iter().map(|(version, &weight)| (version.to_string(), weight)).collect(),
        why,
    }
}
