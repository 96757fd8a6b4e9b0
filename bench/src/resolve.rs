//! What it takes to find the version that a request goes to, in this process: by an alias that shares its requests between versions,
//! among many functions.

use std::sync::Arc;

use anyhow::Context as _;
use nocti::registry::bundle::Bundle;
use nocti::registry::catalog::Catalog;
use nocti::registry::manifest::Manifest;
use nocti::registry::name::{AliasName, VersionName};
use nocti::registry::nocti_toml::Project;
use nocti::registry::note::Note;
use nocti::registry::revision::{FunctionKind, Revision, VersionRecord};
use nocti::registry::store::Store;
use nocti::registry::timestamp::Timestamp;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::cases::Goal;
use crate::models::Model;
use crate::payload::Numbers;
use crate::plan::Plan;
use crate::quantile::median;
use crate::report::{Outcome, Report};

const CASE: &str = "resolve/ns";

const FUNCTIONS: usize = 10_000;
const FUNCTIONS_QUICK: usize = 500;
const VERSIONS: [&str; 3] = ["1.0.0", "1.1.0", "1.2.0"];
const ROUNDS: usize = 7;
/// In one round, over all functions in an order of chance.
const RESOLVED: usize = 500_000;

pub(crate) async fn measure(report: &mut Report, plan: &Plan) -> anyhow::Result<()> {
    if !plan.wants(CASE) {
        return Ok(());
    }
    let count = if plan.quick { FUNCTIONS_QUICK } else { FUNCTIONS };
    Report::note(&format!("{CASE}: writing {count} functions of {} versions", VERSIONS.len()));
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let store = Store::open_folder(folder.path()).await?;
    let catalog = Catalog::load(store.clone()).await?;
    let project = Project::for_model(&Model::Cnn.path(), name(0).parse()?, VERSIONS[0].parse()?);
    let manifest = Bundle::prepare(&project)?.manifest().clone();
    // So many writes of small files take their time one after another.
    let mut writing = JoinSet::new();
    for index in 0..count {
        if writing.len() == 64 {
            writing.join_next().await.context("there are many")???;
        }
        let manifest = Manifest { name: name(index).parse()?, ..manifest.clone() };
        writing.spawn(write(catalog.clone(), store.clone(), manifest));
    }
    while let Some(written) = writing.join_next().await {
        written.context("a function cannot be written")??;
    }
    let names: Vec<String> = Numbers::new(0).shuffled(count).into_iter().map(name).collect();
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        for name in names.iter().cycle().take(RESOLVED) {
            std::hint::black_box(catalog.resolve(std::hint::black_box(name), None)?);
        }
        rounds.push(begun.elapsed().as_secs_f64() * 1e9 / RESOLVED as f64);
    }
    report.add(CASE, Outcome::new(median(rounds), "ns", Some(Goal::AtMost(200.0))));
    Ok(())
}

fn name(index: usize) -> String {
    format!("f{index}")
}

/// A function whose `live` sends a tenth of its requests to each of two versions and the rest to the third.
async fn write(catalog: Catalog, store: Store, manifest: Manifest) -> anyhow::Result<()> {
    let name = manifest.name.clone();
    let mut versions = Vec::new();
    for version in VERSIONS {
        let version: VersionName = version.parse()?;
        let manifest = Manifest { version: version.clone(), ..manifest.clone() };
        let blob = store.write_blob(manifest.canonical_json().into()).await?;
        let (created_at, kind) = (Timestamp::now(), FunctionKind::ModelOnly);
        let (signature, models) = (None, Vec::new());
        versions.push((
            version,
            VersionRecord {
                digest: blob.sha256,
                kind,
                created_at,
                signature,
                models,
                size_bytes: 0,
                labels: Default::default(),
            },
        ));
    }
    let versions = Arc::new(versions);
    let deploy = move |current: &Revision| {
        let mut next = current.clone();
        for (version, record) in versions.iter() {
            next.versions.insert(version.clone(), record.clone());
        }
        next.revision += 1;
        let shares = versions.iter().zip([80, 10, 10]).map(|((version, _), share)| (version.clone(), share)).collect();
        next.aliases.insert(AliasName::live(), shares);
        Ok(Some(next))
    };
    catalog.publish(name, Note::default(), deploy).await?;
    Ok(())
}
