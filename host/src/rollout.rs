//! Rollouts carried on: an alias' requests go on to the next step, or back, by how its new version does beside the others.
//!
//! What is decided becomes a revision, made from the very step that was looked at; so several hosts of one store may each carry the same
//! rollout on, each by the requests that it has seen, and whoever is first has decided. What is not decided is where it was when a host
//! starts. One task for each rollout that is going on, which looks at counts; it ends with the rollout.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::host::Host;
use crate::invoke;
use crate::registry::catalog::{Function, Published, Version};
use crate::registry::name::{AliasName, FunctionName};
use crate::registry::revision::{AtStep, Rollout};
use crate::registry::timestamp::Timestamp;
use crate::telemetry::Served;

mod judge;

use judge::{Verdict, judge};

/// The alias of a function whose requests are moved.
type Moved = (FunctionName, AliasName);

/// A step that fails to be written is tried again so much later.
const AGAIN: Duration = Duration::from_secs(5);

/// Carries rollouts on until `stop`.
pub async fn run(host: Arc<Host>, stop: CancellationToken) {
    let (mut tasks, mut moved) = (JoinSet::<Moved>::new(), HashSet::<Moved>::new());
    let mut found: HashMap<Moved, AtStep> =
        host.catalog.functions().iter().flat_map(|function| steps(function)).collect();
    loop {
        let begun = tokio::select! {
            () = stop.cancelled() => return,
            function = host.catalog.next_rolling() => function,
            Some(ended) = tasks.join_next() => match ended {
                // It may have begun anew after the task's last look.
                Ok((function, alias)) => {
                    moved.remove(&(function.clone(), alias));
                    function
                }
                Err(error) => {
                    tracing::error!(%error, "a rollout is not carried on until the next start");
                    continue;
                }
            },
        };
        let Ok(function) = host.catalog.function(begun.as_str()) else { continue };
        for (this, _) in steps(&function) {
            if moved.insert(this.clone()) {
                let found = found.remove(&this);
                tasks.spawn(carry_on(Arc::clone(&host), this, found));
            }
        }
    }
}

/// Where the rollouts of a function are that are going on.
fn steps(function: &Function) -> impl Iterator<Item = (Moved, AtStep)> {
    let running = function.revision.rollouts.iter().filter(|(_, rollout)| rollout.is_running());
    running.map(|(alias, rollout)| ((function.name().clone(), alias.clone()), at(alias, rollout)))
}

fn at(alias: &AliasName, rollout: &Rollout) -> AtStep {
    AtStep { alias: alias.clone(), from_revision: rollout.from_revision, step: rollout.step }
}

/// A step as this process has seen it.
struct Step {
    at: AtStep,
    /// When the next one may come.
    until: Instant,
    /// What the new version, and the others, had served when it began.
    before: [Served; 2],
}

/// `found` is where it was when the host started.
async fn carry_on(host: Arc<Host>, moved: Moved, found: Option<AtStep>) -> Moved {
    let mut step: Option<Step> = None;
    loop {
        let Ok(function) = host.catalog.function(moved.0.as_str()) else { return moved };
        let Some(rollout) = function.revision.rollouts.get(&moved.1).filter(|rollout| rollout.is_running()) else {
            return moved;
        };
        let here = at(&moved.1, rollout);
        let now = match step.take().filter(|step| step.at == here) {
            Some(step) => step,
            None => {
                let since = (found.as_ref() == Some(&here)).then_some(rollout.since);
                begin(&host, &function, rollout, here, since).await
            }
        };
        let pause = look(&host, &function, rollout, &now).await.unwrap_or(AGAIN);
        step = Some(now);
        tokio::time::sleep(pause).await;
    }
}

/// The version is in memory before what it does counts: the first requests after a start are slow for a reason of their own. A step
/// takes its time from now on, and not from when it was written, which another host's clock says; but for one that goes on after a
/// start, of which there is no better word than `since`.
async fn begin(host: &Host, function: &Function, rollout: &Rollout, at: AtStep, since: Option<Timestamp>) -> Step {
    let began = Instant::now();
    if let Some(version) = function.versions.get(&rollout.version)
        && let Err(error) = invoke::prepare(host, version).await
    {
        // Its requests will fail, and be counted.
        tracing::warn!(function = %version.label(), error = %error, "the version of a rollout cannot be loaded");
    }
    let passed = since.map_or_else(|| began.elapsed(), Timestamp::elapsed);
    let until = Instant::now() + rollout.plan.every().saturating_sub(passed);
    Step { at, until, before: served(host, function, rollout) }
}

/// Looks at what has come of the step so far, and does what follows; how long nothing will.
async fn look(host: &Host, function: &Function, rollout: &Rollout, step: &Step) -> Option<Duration> {
    let [new, others] = served(host, function, rollout);
    let (new, others) = (new.since(&step.before[0]), others.since(&step.before[1]));
    let verdict = judge(&new, &others, &rollout.plan);
    let left = step.until.saturating_duration_since(Instant::now());
    let name = function.name();
    let (told, outcome) = match verdict {
        Verdict::Back(why) => {
            (format!("back: {why}"), host.catalog.take_rollout_back(name, step.at.clone(), why).await)
        }
        Verdict::Go if left.is_zero() => ("on".to_owned(), host.catalog.step_rollout(name, step.at.clone()).await),
        Verdict::Go | Verdict::Wait => return Some(until_next_look(rollout.plan.every(), left)),
    };
    let (alias, version) = (step.at.alias.as_str(), rollout.version.as_str());
    match outcome {
        Ok(Published { function: now, changed }) => {
            host.lifecycle.keep_warm(&host.catalog, name.as_str());
            if changed {
                let revision = now.revision.revision;
                tracing::info!(function = %name, alias, version, revision, "rollout goes {told}");
            }
            Some(Duration::ZERO)
        }
        Err(error) => {
            tracing::warn!(function = %name, alias, version, error = %error, "rollout should go {told}, which cannot be written");
            None
        }
    }
}

/// A tenth of a step, and a second at most: what does badly is to be noticed.
fn until_next_look(every: Duration, left: Duration) -> Duration {
    let pause = (every / 10).clamp(Duration::from_millis(20), Duration::from_secs(1));
    if left.is_zero() { pause } else { pause.min(left) }
}

/// What the new version has served so far, and what the others have.
fn served(host: &Host, function: &Function, rollout: &Rollout) -> [Served; 2] {
    let of = |version: &Arc<Version>| invoke::calls(host, version).served();
    let new = function.versions.get(&rollout.version).map(of).unwrap_or_default();
    let others = rollout.from.keys().filter(|&other| *other != rollout.version);
    let others = others.filter_map(|other| function.versions.get(other)).map(of);
    [new, others.fold(Served::default(), |sum, one| sum.and(&one))]
}
