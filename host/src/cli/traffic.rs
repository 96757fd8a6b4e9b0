//! `nocti traffic FUNCTION VERSION=WEIGHT...`: shares an alias' requests among versions, or has them moved to one step by step.

use std::collections::BTreeMap;

use anyhow::Context;
use clap::Args;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::client::Client;
use super::directions::Directions;
use super::why::Why;
use super::{Global, WrongUsage, output};
use crate::registry::name::{AliasName, FunctionName, VersionName};

mod rollout;

use rollout::RolloutArgs;

/// What `nocti traffic` takes.
#[derive(Debug, Args)]
pub(crate) struct TrafficArgs {
    /// The function.
    function: FunctionName,
    /// A version and its share of the requests: its weight by the sum of all. Versions that are not named get none. With --steps, the
    /// version alone.
    #[arg(required = true, value_name = "VERSION=WEIGHT", value_parser = share)]
    shares: Vec<Share>,
    /// The alias whose requests they are; one that is not there is made.
    #[arg(long, default_value = AliasName::LIVE)]
    alias: AliasName,
    /// A version that gets copies of the requests: its answers are compared with those that callers get, and counted. Without it,
    /// nothing is copied any more.
    #[arg(long, value_name = "VERSION", conflicts_with = "steps")]
    shadow: Option<VersionName>,
    /// How many of a hundred requests are copied.
    #[arg(long, value_name = "PERCENT", default_value_t = 100, requires = "shadow", value_parser = clap::value_parser!(u32).range(1..=100))]
    shadow_percent: u32,
    #[command(flatten)]
    rollout: RolloutArgs,
    #[command(flatten)]
    why: Why,
}

/// A version, and its weight unless it is to get all requests in the end.
type Share = (VersionName, Option<u32>);

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Traffic {
    function: String,
    #[serde(flatten)]
    directions: Directions,
    changed: bool,
}

pub(super) async fn run(args: &TrafficArgs, global: &Global) -> anyhow::Result<()> {
    let path = format!("/api/functions/{}/aliases/{}", args.function, args.alias);
    let (path, mut body) = if args.rollout.steps.is_empty() {
        (path, args.weights()?)
    } else {
        (format!("{path}/rollout"), args.rollout()?)
    };
    body.extend(args.why.body());
    tell(Client::new(global)?.send(Method::PUT, &path, &body.into()).await?, global)
}

impl TrafficArgs {
    fn weights(&self) -> Result<Map<String, Value>, WrongUsage> {
        let mut weights = BTreeMap::new();
        for (version, weight) in &self.shares {
            let weight = weight.ok_or_else(|| {
                WrongUsage(format!("say VERSION=WEIGHT, such as {version}=90, or with --steps how {version} gets all"))
            })?;
            if weights.insert(version.as_str(), weight).is_some() {
                return Err(WrongUsage(format!("version {version} has two weights; give it one")));
            }
        }
        let mut body = Map::from_iter([("weights".to_owned(), json!(weights))]);
        if let Some(shadow) = &self.shadow {
            body.insert("shadow".into(), json!({"version": shadow.as_str(), "percent": self.shadow_percent}));
        }
        Ok(body)
    }

    fn rollout(&self) -> Result<Map<String, Value>, WrongUsage> {
        let [(version, None)] = self.shares.as_slice() else {
            return Err(WrongUsage("--steps says what one VERSION gets; name it alone, without a weight".to_owned()));
        };
        let mut body = self.rollout.body();
        body.insert("version".into(), json!(version.as_str()));
        Ok(body)
    }
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
    output::text(&traffic.directions.heading(&traffic.function))
}

/// `1.0.0=90`, or `1.0.0`
fn share(text: &str) -> Result<Share, String> {
    let (version, weight) = match text.split_once('=') {
        Some((version, weight)) => (version, Some(weight)),
        None => (text, None),
    };
    let number =
        |weight: &str| weight.parse().map_err(|_| format!("'{weight}' is no weight: use a whole number, such as 90"));
    let weight = weight.map(number).transpose()?;
    Ok((version.parse().map_err(|error| format!("{error}"))?, weight))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_versions_with_weights() {
        assert_eq!(share("1.0.0=90"), Ok(("1.0.0".parse().expect("a version"), Some(90))));
        assert_eq!(share("1.0.0"), Ok(("1.0.0".parse().expect("a version"), None)));
        for (bad, part) in [("1=", "no weight"), ("1=-1", "'-1' is no weight"), ("1=90%", "90"), ("/=1", "'/'")] {
            let error = share(bad).expect_err(bad);
            assert!(error.contains(part), "{error}");
        }
    }
}
