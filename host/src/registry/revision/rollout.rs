//! A rollout: an alias' requests go to a version step by step, as long as that does well; this is what is to be done and how far it is.
//!
//! Every step and the way back are revisions, which several hosts may try to write: a change is made from the very step that was looked
//! at, so whoever is second changes nothing. Whatever else points the alias elsewhere ends the rollout in the same revision. One that has
//! ended stays to be seen until then. Who decides whether a version does well is not known here.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::name::{AliasName, VersionName};
use super::super::timestamp::Timestamp;
use super::traffic::{TrafficError, unusable};
use super::{Action, FunctionKind, Revision, RevisionError, Shadow, Weights};

/// All rollouts of a function, those that have ended included.
pub type Rollouts = BTreeMap<AliasName, Rollout>;

/// A rollout and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// The version that is to get the requests.
    pub version: VersionName,
    /// What is to be done.
    pub plan: Plan,
    /// Where it is in the plan's steps.
    pub step: usize,
    /// When that step began.
    pub since: Timestamp,
    /// Where requests went before, and the revision that said so.
    pub from: Weights,
    pub from_revision: u64,
    /// The shadow that the alias had, which the way back brings back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow>,
    /// Whether it goes on.
    pub state: RolloutState,
}

/// What is to be done. Numbers are whole ones, so that equal is equal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Percents of the requests, rising to 100.
    pub steps: Vec<u32>,
    /// How long a step takes at least.
    pub every_ms: u64,
    /// So many requests the version must have answered in a step.
    pub min_requests: u64,
    /// The share of failures it may have, in millionths.
    pub max_error_ppm: u32,
    /// How many thousandths of the other versions' p99 its own may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_p99_permille: Option<u32>,
}

/// Whether a rollout goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum RolloutState {
    Running,
    /// The version gets all requests.
    Done,
    /// Requests go where they went before.
    Back {
        why: String,
    },
}

/// One step of one rollout, as it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AtStep {
    pub alias: AliasName,
    pub from_revision: u64,
    pub step: usize,
}

/// The most steps of a plan.
const MAX_STEPS: usize = 100;

/// The longest that a step may take, some three months: whoever sees it must remember what it is.
const MAX_EVERY: Duration = Duration::from_secs(100 * 24 * 3600);

impl Plan {
    /// Says what is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        let rising = self.steps.is_sorted_by(|one, next| one < next);
        if self.steps.len() > MAX_STEPS || self.steps.first().is_none_or(|&first| first == 0) || !rising {
            return Err(format!("steps must be 1 to {MAX_STEPS} percents that rise, such as 5,25,100"));
        }
        if self.steps.last() != Some(&100) {
            return Err("the last step must be 100; for a share that stays, set weights".into());
        }
        let most = u64::try_from(MAX_EVERY.as_millis()).unwrap_or(u64::MAX);
        if !(1..=most).contains(&self.every_ms) {
            return Err("every must be longer than 0 and at most 2400h, such as 5m".into());
        }
        if !(1..=1_000_000_000).contains(&self.min_requests) {
            return Err("min_requests must be 1 to 1000000000".into());
        }
        if self.max_error_ppm > 1_000_000 {
            return Err("max_error_rate must be 0 to 1 (0% to 100%)".into());
        }
        if self.max_p99_permille.is_some_and(|most| most < 1000) {
            return Err("max_p99 must be at least 1 (1x): it is how many times the other versions' p99 may be".into());
        }
        Ok(())
    }

    /// How long a step takes at least.
    pub fn every(&self) -> Duration {
        Duration::from_millis(self.every_ms)
    }
}

impl Rollout {
    /// The share of the requests that the version gets now.
    pub fn percent(&self) -> u32 {
        self.plan.steps.get(self.step).copied().unwrap_or_default()
    }

    /// Whether it goes on.
    pub fn is_running(&self) -> bool {
        self.state == RolloutState::Running
    }
}

impl Revision {
    /// An alias' requests begin to go to a version step by step.
    pub fn with_rollout(
        &self,
        alias: &AliasName,
        version: &str,
        plan: &Plan,
        now: Timestamp,
    ) -> Result<Self, RevisionError> {
        let refused =
            |why: String| TrafficError::Rollout { function: self.function.clone(), alias: alias.clone(), why };
        let known = self.versions.get_key_value(version);
        let (version, _) = known.ok_or_else(|| self.unknown_version(version))?;
        let from = self.aliases.get(alias).ok_or_else(|| self.unknown_alias(alias))?;
        plan.check().map_err(refused)?;
        // What it would go back to is no state that anybody chose.
        if let Some(running) = self.rollouts.get(alias).filter(|rollout| rollout.is_running()) {
            let (function, alias, version) = (self.function.clone(), alias.clone(), running.version.clone());
            return Err(TrafficError::RolloutRunning { function, alias, version }.into());
        }
        let raw = |of: &VersionName| self.versions.get(of).is_some_and(|record| record.kind == FunctionKind::Http);
        if from.keys().any(|other| raw(other) != raw(version)) {
            let why = "it would get requests that it cannot answer: one takes raw HTTP, the other tensors";
            return Err(refused(why.to_owned()).into());
        }
        if from.keys().all(|other| other == version) {
            return Err(refused(format!("all its requests go to version '{version}' already")).into());
        }
        let rollout = Rollout {
            version: version.clone(),
            plan: plan.clone(),
            step: 0,
            since: now,
            from: from.clone(),
            from_revision: self.revision,
            shadow: self.shadows.get(alias).cloned(),
            state: RolloutState::Running,
        };
        let action = Action::Rollout { alias: alias.clone(), version: version.clone() };
        self.at_step(alias, rollout, action, now).map_err(|why| refused(why).into())
    }

    /// The rollout goes on to its next step. `None`: it is not at the step that was looked at any more.
    pub fn stepped(&self, at: &AtStep, now: Timestamp) -> Result<Option<Self>, RevisionError> {
        let Some(rollout) = self.running(at) else { return Ok(None) };
        let rollout = Rollout { step: rollout.step + 1, since: now, ..rollout.clone() };
        let action = Action::RolloutStep {
            alias: at.alias.clone(),
            version: rollout.version.clone(),
            percent: rollout.percent(),
            from: rollout.from_revision,
        };
        let refused = |why| TrafficError::Rollout { function: self.function.clone(), alias: at.alias.clone(), why };
        Ok(Some(self.at_step(&at.alias, rollout, action, now).map_err(refused)?))
    }

    /// The version did badly: requests go where they went before. `None`: it is not at the step that was looked at any more.
    pub fn taken_back(&self, at: &AtStep, why: &str, now: Timestamp) -> Option<Self> {
        let rollout = self.running(at)?.clone();
        Some(self.back(&at.alias, rollout, why, now))
    }

    /// Somebody ends the rollout: requests go where they went before.
    pub fn without_rollout(&self, alias: &AliasName, why: &str, now: Timestamp) -> Result<Self, RevisionError> {
        if !self.aliases.contains_key(alias) {
            return Err(self.unknown_alias(alias));
        }
        let running = self.rollouts.get(alias).filter(|rollout| rollout.is_running());
        let none = || TrafficError::NoRollout { function: self.function.clone(), alias: alias.clone() };
        Ok(self.back(alias, running.ok_or_else(none)?.clone(), why, now))
    }

    /// Whether a rollout goes on.
    pub fn is_rolling(&self) -> bool {
        self.rollouts.values().any(Rollout::is_running)
    }

    /// The same state as if what goes on had not begun: no step of a rollout is a state that anybody chose.
    pub fn settled(&self) -> Self {
        let mut settled = self.clone();
        for (alias, rollout) in self.rollouts.iter().filter(|(_, rollout)| rollout.is_running()) {
            settled.point(alias, rollout.from.clone(), rollout.shadow.clone());
        }
        settled
    }

    fn running(&self, at: &AtStep) -> Option<&Rollout> {
        let rollout = self.rollouts.get(&at.alias)?;
        let same = rollout.is_running() && (rollout.from_revision, rollout.step) == (at.from_revision, at.step);
        same.then_some(rollout)
    }

    fn back(&self, alias: &AliasName, rollout: Rollout, why: &str, now: Timestamp) -> Self {
        let (version, to) = (rollout.version.clone(), rollout.from_revision);
        let mut next = self.next(Action::RolloutBack { alias: alias.clone(), version, to }, now);
        let shadow = rollout.shadow.clone().filter(|shadow| self.versions.contains_key(&shadow.version));
        next.point(alias, rollout.from.clone(), shadow);
        next.rollouts.insert(alias.clone(), Rollout { state: RolloutState::Back { why: why.to_owned() }, ..rollout });
        next
    }

    /// The alias' requests are shared out as the rollout's step says. The last one ends it: there is nothing to compare with any more.
    fn at_step(&self, alias: &AliasName, rollout: Rollout, action: Action, now: Timestamp) -> Result<Self, String> {
        let percent = rollout.percent();
        let weights = shares(&rollout.from, &rollout.version, percent)?;
        let state = if percent == 100 { RolloutState::Done } else { RolloutState::Running };
        let mut next = self.next(action, now);
        next.point(alias, weights, None);
        next.rollouts.insert(alias.clone(), Rollout { state, ..rollout });
        Ok(next)
    }

    /// Says what contradicts itself.
    pub(super) fn check_rollouts(&self) -> Result<(), String> {
        for (alias, rollout) in &self.rollouts {
            rollout.plan.check().map_err(|why| format!("the rollout of alias '{alias}': {why}"))?;
            let known = |version: &VersionName| self.versions.contains_key(version);
            if rollout.is_running() && !(known(&rollout.version) && rollout.from.keys().all(known)) {
                return Err(format!("a rollout of alias '{alias}' goes on with versions that are not there"));
            }
            if !self.aliases.contains_key(alias) || rollout.step >= rollout.plan.steps.len() {
                return Err(format!("there is no alias or step for the rollout of alias '{alias}'"));
            }
        }
        Ok(())
    }
}

/// The version gets so many percent, the others share the rest as they did. In percents, where those are whole numbers.
fn shares(from: &Weights, version: &VersionName, percent: u32) -> Result<Weights, String> {
    let others = || from.iter().filter(|(other, _)| *other != version);
    let total: u64 = others().map(|(_, &weight)| u64::from(weight)).sum();
    let mut all: Vec<(&VersionName, u64)> = vec![(version, total * u64::from(percent))];
    if percent < 100 {
        all.extend(others().map(|(other, &weight)| (other, u64::from(weight) * u64::from(100 - percent))));
    }
    let divisor = all.iter().fold(0, |divisor, &(_, weight)| gcd(divisor, weight)).max(1);
    let sum = all.iter().map(|(_, weight)| weight / divisor).sum::<u64>();
    let factor = if 100 % sum.max(1) == 0 { 100 / sum.max(1) } else { 1 };
    let mut weights = Weights::new();
    for (version, weight) in all {
        let weight = u32::try_from(weight / divisor * factor);
        weights.insert(
            version.clone(),
            weight.map_err(|_| "its weights are too large; use smaller ones, such as percents")?,
        );
    }
    match unusable(&weights) {
        Some(why) => Err(why),
        None => Ok(weights),
    }
}

fn gcd(one: u64, other: u64) -> u64 {
    if other == 0 { one } else { gcd(other, one % other) }
}

#[cfg(test)]
mod tests;
