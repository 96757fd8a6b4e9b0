//! `nocti search QUERY`: functions by what is known of them.

use clap::Args;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Global;
use super::client::{Client, query};
use super::output::{self, Table, or_dash};
use super::show::equated;
use crate::registry::name::AliasName;

/// What `nocti search` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
All terms must hold; upper and lower case never matter:
  digits \"8x8 grey\"          words and phrases, anywhere in what a version says of itself
  tag:vision kind:typed      whole: tag, kind, device
  author:ada license:mit     in part: name, author, license, model
  input:image output:FP32    a part of a tensor's name, or its datatype
  label:stage label:team=ml  labels, as `nocti label` sets them
  accuracy>0.9 loss<=1e-3    metrics, by > >= < <= = !=; one that is not there fails them all
  digits -tag:old            what has '-' before it must not hold (to begin so: search -- -tag)")]
pub(crate) struct SearchArgs {
    /// What is looked for, in one argument or several; without, everything.
    #[arg(value_name = "QUERY")]
    query: Vec<String>,
    /// Look at every version, not only at the one that `live` sends most requests to.
    #[arg(long, conflicts_with = "alias")]
    all_versions: bool,
    /// Look at the versions that this alias sends most requests to.
    #[arg(long)]
    alias: Option<AliasName>,
    /// The most to show.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=200))]
    limit: u64,
    /// Show those behind this one, which was the last.
    #[arg(long, value_name = "FUNCTION[@VERSION]")]
    after: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Found {
    results: Vec<Hit>,
    next: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Hit {
    function: String,
    version: String,
    kind: String,
    description: String,
    tags: Vec<String>,
    metrics: Map<String, Value>,
    labels: Map<String, Value>,
}

pub(super) async fn run(args: &SearchArgs, global: &Global) -> anyhow::Result<()> {
    let (words, limit) = (args.query.join(" "), args.limit.to_string());
    let said = [
        ("q", Some(words.as_str())),
        ("alias", args.alias.as_ref().map(AliasName::as_str)),
        ("all_versions", args.all_versions.then_some("true")),
        ("limit", Some(&limit)),
        ("after", args.after.as_deref()),
    ];
    let said = said.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let answer = Client::new(global)?.get(&format!("/api/search{}", query(said))).await?;
    if global.json {
        return output::json(&answer);
    }
    let Found { results, next } = serde_json::from_value(answer)?;
    if let Some(next) = next {
        output::note(&format!("there are more: --after {next}"));
    }
    if results.is_empty() {
        output::note("nothing is found");
        return Ok(());
    }
    output::text(&text(&results))
}

fn text(hits: &[Hit]) -> String {
    let mut table = Table::new(["FUNCTION", "VERSION", "KIND", "TAGS", "LABELS", "METRICS", "DESCRIPTION"]);
    for hit in hits {
        table.row([
            hit.function.clone(),
            hit.version.clone(),
            hit.kind.clone(),
            or_dash(Some(hit.tags.join(", "))),
            or_dash(Some(equated(&hit.labels))),
            or_dash(Some(equated(&hit.metrics))),
            or_dash(Some(hit.description.clone())),
        ]);
    }
    table.text(0)
}
