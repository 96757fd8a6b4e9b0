//! Looking through thousands of functions by HTTP: a search that holds each of them against its terms, and the list of all.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::time::Instant;

use crate::cases::Goal;
use crate::client::Connection;
use crate::payload;
use crate::plan::Plan;
use crate::quantile::median;
use crate::report::{Outcome, Report};
use crate::stage::Host;
use crate::variants;

const SEARCH: &str = "search/10k_ms";
const LIST: &str = "list/10k_ms";

const FUNCTIONS: usize = 10_000;
const FUNCTIONS_QUICK: usize = 500;

/// Every so many functions one is found.
const ONE_OF: usize = 100;

/// Times that each is asked.
const TIMES: usize = 51;

pub(crate) async fn measure(report: &mut Report, plan: &Plan) -> anyhow::Result<()> {
    if ![SEARCH, LIST].into_iter().any(|case| plan.wants(case)) {
        return Ok(());
    }
    let count = if plan.quick { FUNCTIONS_QUICK } else { FUNCTIONS };
    let host = Host::empty(&plan.programs.nocti, &plan.unpinned)?;
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let model = variants::write(folder.path(), 1)?.remove(0);
    Report::note(&format!("{SEARCH}: deploying {count} functions"));
    let all: anyhow::Result<Vec<_>> = (0..count).map(|index| described(folder.path(), &model, index)).collect();
    host.deploy_all(all?).await?;

    let address = host.server.address;
    let mut connection = Connection::open(address).await?;
    // As a person types it: tag:rare accuracy>0.5 "of many".
    let search = payload::get(address, "/api/search?q=tag%3Arare+accuracy%3E0.5+%22of+many%22&limit=200");
    let list = payload::get(address, "/api/functions");
    for (case, request, member, expected) in
        [(SEARCH, search, "results", count.div_ceil(ONE_OF).min(200)), (LIST, list, "functions", count)]
    {
        if !plan.wants(case) {
            continue;
        }
        let mut took = Vec::new();
        for _ in 0..TIMES {
            let begun = Instant::now();
            let reply = connection.ask(&request).await?;
            took.push(begun.elapsed().as_secs_f64() * 1e3);
            let answer: Value = serde_json::from_slice(reply.body)?;
            let found = answer[member].as_array().map_or(0, Vec::len);
            ensure!(found == expected, "{case}: {found} were found, and there are {expected}");
        }
        report.add(case, Outcome::new(median(took), "ms", Some(Goal::AtMost(20.0))));
    }
    Ok(())
}

/// A folder with a model-only function that says something of itself, and the function's name.
fn described(folder: &Path, model: &Path, index: usize) -> anyhow::Result<(PathBuf, String)> {
    let name = format!("f{index}");
    let path = folder.join(&name);
    std::fs::create_dir(&path)?;
    let tag = if index.is_multiple_of(ONE_OF) { "rare" } else { "usual" };
    let manifest = format!(
        "name = \"{name}\"\nversion = \"1.0.0\"\ndescription = \"Number {index} of many that are looked through, hand-written digits\"\n\
         authors = [\"Ada Lovelace\", \"Charles Babbage\"]\ntags = [\"vision\", \"{tag}\"]\nlicense = \"Apache-2.0\"\n\
         [[model]]\nname = \"model\"\npath = {:?}\n[metrics]\naccuracy = 0.9\nloss = 0.1\n",
        model.display().to_string(),
    );
    std::fs::write(path.join("nocti.toml"), manifest)?;
    Ok((path, name))
}
