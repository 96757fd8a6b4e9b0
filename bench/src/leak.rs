//! Waking and unloading again and again: whether memory comes back every time.

use std::time::Duration;

use anyhow::ensure;
use tokio::time::Instant;

use crate::cases::Goal;
use crate::client::Connection;
use crate::cold::PATIENCE;
use crate::examples::Example;
use crate::observe;
use crate::plan::Plan;
use crate::report::{Outcome, Report};
use crate::server::Start;
use crate::stage::{self, Host};

const CASE: &str = "leak/wake_unload";
const CYCLES: usize = 500;
const CYCLES_QUICK: usize = 60;
/// From here on memory should stay.
const FIRST_CYCLES: usize = 20;

/// Idle times of models and components, so that a host unloads at once what nobody asks.
const IDLE: &str = "20ms";

pub(crate) async fn measure(report: &mut Report, plan: &Plan) -> anyhow::Result<()> {
    if !plan.wants(CASE) {
        return Ok(());
    }
    let nocti = &plan.programs.nocti;
    let mut settings = vec![("NOCTI_LIFECYCLE_MODEL_IDLE", IDLE.to_owned())];
    if stage::has_setting(nocti, "component_idle").await? {
        settings.push(("NOCTI_LIFECYCLE_COMPONENT_IDLE", IDLE.to_owned()));
    }
    let host = Host::empty(nocti, &Start { settings, ..plan.unpinned.clone() })?;
    let examples = [Example::Digits, Example::Sentences];
    let mut questions = Vec::new();
    for example in examples {
        host.deploy(&example.folder(str::to_owned)?.path, example.name()).await?;
        questions.push(example.question()?);
    }
    let (process, address) = (host.server.id(), host.server.address);
    let mut connection = Connection::open(address).await?;
    let cycles = if plan.quick { CYCLES_QUICK } else { CYCLES };
    let mut early = 0.0;
    for cycle in 1..=cycles {
        for question in &questions {
            question.ask(&mut connection, address).await?;
        }
        unloaded(&host).await?;
        if cycle == FIRST_CYCLES {
            early = observe::settled_kb(process).await?;
        }
    }
    let late = observe::settled_kb(process).await?;
    for example in examples {
        let woken = observe::function(address, example.name()).await?.cold_starts;
        ensure!(woken >= cycles as u64, "{} was woken {woken} times in {cycles} cycles", example.name());
    }
    let goal = Some(Goal::AtMost(1.05));
    let ratio = Outcome::new(late / early, "ratio", goal);
    report.add(CASE, Outcome { baseline: Some(early / 1024.0), nocti: late / 1024.0, ..ratio });
    Ok(())
}

/// Waits until no session is loaded and no instance is there.
async fn unloaded(host: &Host) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let status = observe::status(host.server.address).await?;
        let instances = status.functions.iter().map(|function| function.instances.idle + function.instances.busy);
        if status.sessions.is_empty() && instances.sum::<usize>() == 0 {
            return Ok(());
        }
        ensure!(begun.elapsed() < PATIENCE, "the host does not unload what nobody asks");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
