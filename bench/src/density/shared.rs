//! Functions of one large model, all of them live: the model is in memory once.

use anyhow::Context as _;

use crate::answer::Answer;
use crate::cases::Goal;
use crate::client::Connection;
use crate::cold::PATIENCE;
use crate::functions::{Function, Kind};
use crate::models::Model;
use crate::observe;
use crate::payload::{self, Form};
use crate::plan::Plan;
use crate::report::{Outcome, Report};
use crate::stage::Host;

const CASE: &str = "density/shared_model";
const FUNCTIONS: usize = 100;
const FUNCTIONS_QUICK: usize = 10;

pub(super) async fn measure(report: &mut Report, plan: &Plan) -> anyhow::Result<()> {
    if !plan.wants(CASE) {
        return Ok(());
    }
    let count = if plan.quick { FUNCTIONS_QUICK } else { FUNCTIONS };
    Report::note(&format!("{CASE}: deploying {count} functions"));
    let folder = Function::plain(Kind::Typed, Model::Minilm).folder()?;
    let host = Host::empty(&plan.programs.nocti, &plan.unpinned)?;
    let name = |index: usize| format!("s{index}");
    host.deploy_all((0..count).map(|index| (folder.path().to_owned(), name(index))).collect()).await?;
    let (store, _) = host.stop(PATIENCE)?;

    let host = store.start(&[], &plan.unpinned)?;
    let (process, address) = (host.server.id(), host.server.address);
    let inputs = Model::Minilm.payloads().into_iter().next().context("no payloads")?;
    let mut connection = Connection::open(address).await?;
    let (mut one, mut expected) = (0.0, None);
    for index in 0..count {
        let request = payload::request(address, &format!("/v2/models/{}/infer", name(index)), &inputs, Form::Json);
        let answer = Answer::read(&connection.ask(&request).await?)?;
        expected.get_or_insert_with(|| answer.clone()).must_be(&answer).with_context(|| name(index))?;
        if index == 0 {
            one = observe::settled_kb(process).await?;
        }
    }
    let all = observe::settled_kb(process).await?;
    let goal = Some(Goal::AtMost(1.3));
    report.add(
        CASE,
        Outcome { baseline: Some(one / 1024.0), nocti: all / 1024.0, ..Outcome::new(all / one, "ratio", goal) },
    );
    Ok(())
}
