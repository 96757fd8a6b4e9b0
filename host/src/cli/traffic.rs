//! `nocti traffic FUNCTION VERSION=WEIGHT...`: shares an alias' requests among versions.

use std::collections::BTreeMap;

use anyhow::Context;
use clap::Args;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::client::Client;
use super::show::heading;
use super::why::Why;
use super::{Global, WrongUsage, output};
use crate::registry::name::{AliasName, FunctionName, VersionName};

/// What `nocti traffic` takes.
#[derive(Debug, Args)]
pub(crate) struct TrafficArgs {
    /// The function.
    function: FunctionName,
    /// A version and its share of the requests: its weight by the sum of all. Versions that are not named get none.
    #[arg(required = true, value_name = "VERSION=WEIGHT", value_parser = share)]
    shares: Vec<(VersionName, u32)>,
    /// The alias whose requests they are; one that is not there is made.
    #[arg(long, default_value = AliasName::LIVE)]
    alias: AliasName,
    #[command(flatten)]
    why: Why,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Traffic {
    function: String,
    revision: u64,
    aliases: Map<String, Value>,
    changed: bool,
}

pub(super) async fn run(args: &TrafficArgs, global: &Global) -> anyhow::Result<()> {
    let mut weights = BTreeMap::new();
    for (version, weight) in &args.shares {
        if weights.insert(version.as_str(), weight).is_some() {
            return Err(WrongUsage(format!("version {version} has two weights; give it one")).into());
        }
    }
    let mut body = args.why.body();
    body.insert("weights".into(), json!(weights));
    let path = format!("/api/functions/{}/aliases/{}", args.function, args.alias);
    tell(Client::new(global)?.send(Method::PUT, &path, &body.into()).await?, global)
}

/// Says where requests go now.
pub(super) fn tell(answer: Value, global: &Global) -> anyhow::Result<()> {
    if global.json {
        return output::json(&answer);
    }
    let traffic: Traffic = serde_json::from_value(answer).context("the host's answer is not as expected")?;
    if !traffic.changed {
        output::note("nothing is changed by this: requests go there already");
    }
    output::text(&heading(&traffic.function, traffic.revision, &traffic.aliases))
}

/// `1.0.0=90`
fn share(text: &str) -> Result<(VersionName, u32), String> {
    let (version, weight) = text.split_once('=').ok_or("say VERSION=WEIGHT, such as 1.0.0=90")?;
    let weight = weight.parse().map_err(|_| format!("'{weight}' is no weight: use a whole number, such as 90"))?;
    Ok((version.parse().map_err(|error| format!("{error}"))?, weight))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_versions_with_weights() {
        assert_eq!(share("1.0.0=90"), Ok(("1.0.0".parse().expect("a version"), 90)));
        for (bad, part) in [("1.0.0", "VERSION=WEIGHT"), ("1=-1", "'-1' is no weight"), ("1=90%", "90"), ("/=1", "'/'")]
        {
            let error = share(bad).expect_err(bad);
            assert!(error.contains(part), "{error}");
        }
    }
}
