//! `nocti label FUNCTION@VERSION [KEY=VALUE | KEY-]...`: what people put on a version after its deploy.

use std::collections::BTreeMap;

use anyhow::Context;
use clap::Args;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::client::{Client, query};
use super::output::{self, Table};
use super::target::Target;
use super::why::Why;
use super::{Global, WrongUsage};
use crate::registry::name::{LabelKey, LabelValue};

/// What `nocti label` takes.
#[derive(Debug, Args)]
pub(crate) struct LabelArgs {
    /// The version. Its content and its digest stay what they are; a rollback leaves labels alone.
    #[arg(value_name = "FUNCTION@VERSION")]
    target: Target,
    /// A label to put on, or with a '-' behind its name to take off; without any, those that are there are shown.
    #[arg(value_name = "KEY=VALUE | KEY-", value_parser = label)]
    labels: Vec<(LabelKey, Option<LabelValue>)>,
    #[command(flatten)]
    why: Why,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Labelled {
    version: String,
    labels: Map<String, Value>,
    changed: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Function {
    revision: u64,
    versions: Vec<Labelled>,
}

pub(super) async fn run(args: &LabelArgs, global: &Global) -> anyhow::Result<()> {
    let Target { function, version: Some(version) } = &args.target else {
        let message = format!("say which version of '{}' is meant, such as {0}@1.0.0", args.target.function);
        return Err(WrongUsage(message).into());
    };
    let mut labels = BTreeMap::new();
    for (key, value) in &args.labels {
        if labels.insert(key.as_str(), value.as_ref().map(LabelValue::as_str)).is_some() {
            return Err(WrongUsage(format!("label {key} is there twice; say it once")).into());
        }
    }
    let client = Client::new(global)?;
    if labels.is_empty() {
        let answer = client.get(&format!("/api/functions/{function}")).await?;
        let Function { revision, versions } =
            serde_json::from_value(answer).context("the host's answer is not as expected")?;
        let found = versions.into_iter().find(|found| found.version == version.as_str());
        let found = found.with_context(|| format!("function '{function}' has no version '{version}'"))?;
        // As if nothing had been changed.
        let told = json!({"function": function, "version": version, "revision": revision, "labels": found.labels, "changed": false});
        return tell(&found.labels, &told, global);
    }
    let why = query(args.why.pairs());
    let path = format!("/api/functions/{function}/versions/{version}/labels{why}");
    let answer = client.send(Method::PATCH, &path, &json!(labels)).await?;
    let Labelled { labels, changed, .. } =
        serde_json::from_value(answer.clone()).context("the host's answer is not as expected")?;
    if !changed {
        output::note("nothing is changed by this: it has these labels already");
    }
    tell(&labels, &answer, global)
}

fn tell(labels: &Map<String, Value>, answer: &Value, global: &Global) -> anyhow::Result<()> {
    if global.json {
        return output::json(answer);
    }
    if labels.is_empty() {
        output::note("it has no labels");
    }
    let mut table = Table::of_pairs();
    for (key, value) in labels {
        table.row([key.clone(), value.as_str().unwrap_or_default().to_owned()]);
    }
    output::text(&table.text(0))
}

/// `team=vision`, `old-`
fn label(text: &str) -> Result<(LabelKey, Option<LabelValue>), String> {
    let (key, value) = match (text.split_once('='), text.strip_suffix('-')) {
        (Some((key, value)), _) => (key, Some(value)),
        (None, Some(key)) => (key, None),
        (None, None) => return Err("say KEY=VALUE, such as team=vision, or KEY- to take it off".into()),
    };
    let value = value.map(|value| value.parse::<LabelValue>().map_err(|error| error.to_string())).transpose()?;
    Ok((key.parse().map_err(|error| format!("{error}"))?, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_put_on_or_taken_off() {
        let read = |text: &str| label(text).map(|(key, value)| (key.to_string(), value.map(|value| value.to_string())));
        assert_eq!(read("team=vision"), Ok(("team".into(), Some("vision".into()))));
        assert_eq!(read("a/b=x=y-"), Ok(("a/b".into(), Some("x=y-".into()))));
        assert_eq!(read("empty="), Ok(("empty".into(), Some(String::new()))));
        assert_eq!(read("old-"), Ok(("old".into(), None)));
        for (bad, part) in [
            ("team", "KEY=VALUE"),
            ("=x", "'' is not a valid label"),
            ("-", "''"),
            ("a b=c", "'a b'"),
            ("a=b\n", "one line"),
        ] {
            let error = read(bad).expect_err(bad);
            assert!(error.contains(part), "{error}");
        }
    }
}
