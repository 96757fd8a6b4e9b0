//! `nocti history FUNCTION`: what was changed, when, by whom and why.

use clap::Args;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Global;
use super::client::{Client, query};
use super::list::weights;
use super::output::{self, Table, or_dash};
use crate::registry::name::FunctionName;

/// What `nocti history` takes.
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// The function; one that was deleted has a history still.
    function: FunctionName,
    /// The most changes to show, the newest first.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=200))]
    limit: u64,
    /// Show those before this revision.
    #[arg(long, value_name = "REVISION")]
    before: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct History {
    revisions: Vec<Revision>,
    next: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Revision {
    revision: u64,
    created_at: Option<String>,
    action: Option<String>,
    version: Option<String>,
    alias: Option<String>,
    to: Option<u64>,
    by: Option<String>,
    message: Option<String>,
    aliases: Map<String, Value>,
    shadows: Map<String, Value>,
    damaged: Option<String>,
}

pub(super) async fn run(args: &HistoryArgs, global: &Global) -> anyhow::Result<()> {
    let (limit, before) = (args.limit.to_string(), args.before.map(|before| before.to_string()));
    let page = [("limit", limit.as_str())].into_iter().chain(before.as_deref().map(|before| ("before", before)));
    let path = format!("/api/functions/{}/revisions{}", args.function, query(page));
    let answer = Client::new(global)?.get(&path).await?;
    if global.json {
        return output::json(&answer);
    }
    let history: History = serde_json::from_value(answer)?;
    if let Some(next) = history.next {
        output::note(&format!("there are older ones: --before {next}"));
    }
    output::text(&text(&history.revisions))
}

fn text(revisions: &[Revision]) -> String {
    let mut table = Table::new(["REVISION", "WHEN", "WHO", "WHAT", "WHY"]);
    for revision in revisions {
        table.row([
            revision.revision.to_string(),
            or_dash(revision.created_at.clone()),
            or_dash(revision.by.clone()),
            what(revision),
            or_dash(revision.message.clone()),
        ]);
    }
    table.text(0)
}

fn what(revision: &Revision) -> String {
    if let Some(why) = &revision.damaged {
        return format!("cannot be read: {why}");
    }
    let version = or_dash(revision.version.clone());
    let to = or_dash(revision.to.map(|to| to.to_string()));
    match (revision.action.as_deref().unwrap_or_default(), &revision.alias) {
        ("deploy", Some(alias)) => format!("deploy {version}, {alias} to it"),
        ("deploy", None) => format!("deploy {version}, no traffic"),
        ("traffic", Some(alias)) => {
            let shadow = revision.shadows.get(alias).and_then(|shadow| shadow["version"].as_str());
            let copies = shadow.map(|version| format!(", copies to {version}")).unwrap_or_default();
            format!("{alias} to {}{copies}", shares(revision, alias))
        }
        ("rollout" | "rollout_step", Some(alias)) => {
            format!("rollout of {version}: {alias} to {}", shares(revision, alias))
        }
        ("rollout_back", Some(alias)) => format!("rollout of {version}: {alias} back to {to}"),
        ("delete_alias", Some(alias)) => format!("delete alias {alias}"),
        ("labels", _) => format!("label {version}"),
        ("delete_version", _) => format!("delete {version}"),
        ("delete_function", _) => "delete the function".to_owned(),
        ("rollback", _) => format!("roll back to {to}"),
        ("restore", _) => format!("go to {to}"),
        // Of a later release.
        (action, _) => action.replace('_', " "),
    }
}

fn shares(revision: &Revision, alias: &str) -> String {
    or_dash(revision.aliases.get(alias).and_then(Value::as_object).map(weights))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_is_a_line() {
        let revisions = r#"[
            {"revision":8,"created_at":"2026-11-26T10:05:00Z","action":"rollback","to":3,"by":"ada","message":"1.1.0 errs"},
            {"revision":7,"created_at":"2026-11-26T10:04:30Z","action":"labels","version":"1.0.0"},
            {"revision":6,"created_at":"2026-11-26T10:04:30Z","action":"melt_down"},
            {"revision":5,"created_at":"2026-11-26T10:04:00Z","action":"traffic","alias":"live","by":null,
             "aliases":{"live":{"1.0.0":2,"1.1.0":1}}},
            {"revision":4,"created_at":"2026-11-26T10:03:00Z","action":"delete_alias","alias":"test"},
            {"revision":3,"damaged":"it is empty"},
            {"revision":2,"created_at":"2026-11-26T10:01:00Z","action":"deploy","version":"1.1.0"},
            {"revision":1,"created_at":"2026-11-26T10:00:00Z","action":"deploy","version":"1.0.0","alias":"live"}]"#;
        let expected = "\
REVISION  WHEN                  WHO  WHAT                              WHY
8         2026-11-26T10:05:00Z  ada  roll back to 3                    1.1.0 errs
7         2026-11-26T10:04:30Z  -    label 1.0.0                       -
6         2026-11-26T10:04:30Z  -    melt down                         -
5         2026-11-26T10:04:00Z  -    live to 1.0.0 66.7%, 1.1.0 33.3%  -
4         2026-11-26T10:03:00Z  -    delete alias test                 -
3         -                     -    cannot be read: it is empty       -
2         2026-11-26T10:01:00Z  -    deploy 1.1.0, no traffic          -
1         2026-11-26T10:00:00Z  -    deploy 1.0.0, live to it          -
";
        assert_eq!(text(&serde_json::from_str::<Vec<Revision>>(revisions).expect("revisions")), expected);
    }
}
