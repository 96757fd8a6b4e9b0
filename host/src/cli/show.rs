//! `nocti show FUNCTION`: one function, its aliases and all its versions.

use clap::Args;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Global;
use super::client::Client;
use super::directions::Directions;
use super::output::{self, Table};
use crate::registry::name::FunctionName;

/// What `nocti show` takes.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The function.
    function: FunctionName,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Function {
    name: String,
    #[serde(flatten)]
    directions: Directions,
    versions: Vec<Version>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Version {
    version: String,
    digest: String,
    kind: String,
    created_at: Option<Value>,
    size_bytes: Option<u64>,
    description: Option<String>,
    authors: Vec<String>,
    tags: Vec<String>,
    license: Option<String>,
    signature: Option<Signature>,
    models: Vec<Model>,
    metrics: Map<String, Value>,
    labels: Map<String, Value>,
    limits: Map<String, Value>,
    instances: Map<String, Value>,
    network: Network,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Network {
    allow: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Signature {
    inputs: Vec<Spec>,
    outputs: Vec<Spec>,
}

/// An input or output; lenient, because the host may know datatypes that this client does not.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Spec {
    pub(super) name: String,
    pub(super) datatype: String,
    pub(super) shape: Vec<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Model {
    name: String,
    size_bytes: u64,
    sha256: String,
    device: String,
    inputs: Vec<Spec>,
    outputs: Vec<Spec>,
}

pub(super) async fn run(args: &ShowArgs, global: &Global) -> anyhow::Result<()> {
    let answer = Client::new(global)?.get(&format!("/api/functions/{}", args.function)).await?;
    if global.json {
        return output::json(&answer);
    }
    output::text(&text(&serde_json::from_value(answer)?))
}

fn text(function: &Function) -> String {
    let mut text = function.directions.heading(&function.name);
    for version in &function.versions {
        text += &format!("\nversion {} ({})\n", version.version, version.kind);
        text += &facts(version).text(2);
    }
    text
}

fn facts(version: &Version) -> Table {
    let mut table = Table::of_pairs();
    let mut fact = |name: &str, value: String| {
        if !value.is_empty() {
            table.row([name.to_owned(), value]);
        }
    };
    fact("description", version.description.clone().unwrap_or_default());
    fact("deployed", version.created_at.as_ref().map(plain).unwrap_or_default());
    fact("digest", version.digest.clone());
    fact("size", version.size_bytes.map(output::size).unwrap_or_default());
    fact("authors", version.authors.join(", "));
    fact("tags", version.tags.join(", "));
    fact("license", version.license.clone().unwrap_or_default());
    fact("labels", equated(&version.labels));
    if let Some(signature) = &version.signature {
        for (name, specs) in [("input", &signature.inputs), ("output", &signature.outputs)] {
            for spec in specs {
                fact(name, describe(spec));
            }
        }
    }
    for model in &version.models {
        let (size, digest) = (output::size(model.size_bytes), output::short_digest(&model.sha256));
        fact("model", format!("{}, {size}, device {}, sha256 {digest}", model.name, model.device));
        // What the function itself takes is there already where it is the model.
        if version.kind != "model-only" {
            for (name, specs) in [("  takes", &model.inputs), ("  gives", &model.outputs)] {
                for spec in specs {
                    fact(name, describe(spec));
                }
            }
        }
    }
    fact("limits", listed(&version.limits));
    fact("instances", listed(&version.instances));
    fact("network", version.network.allow.join(", "));
    fact("metrics", listed(&version.metrics));
    table
}

/// `image UINT8 [-1,8,8]`
pub(super) fn describe(spec: &Spec) -> String {
    let shape: Vec<String> = spec.shape.iter().map(i64::to_string).collect();
    format!("{} {} [{}]", spec.name, spec.datatype, shape.join(","))
}

/// `memory 128MiB, timeout 30s`
fn listed(values: &Map<String, Value>) -> String {
    let words = values.iter().map(|(name, value)| format!("{} {}", name.replace('_', " "), plain(value)));
    words.collect::<Vec<_>>().join(", ")
}

/// `stage=prod, team=vision`: as they are typed.
pub(super) fn equated(values: &Map<String, Value>) -> String {
    let words = values.iter().map(|(name, value)| format!("{name}={}", plain(value)));
    words.collect::<Vec<_>>().join(", ")
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_function() {
        let function = r#"{"name":"digits","revision":3,"aliases":{"live":{"1.0.0":100}},"versions":[
            {"version":"1.0.0","digest":"abc","kind":"typed","created_at":"2026-11-23T10:00:00Z","size_bytes":2048,
             "description":"Digits","authors":["Ada"],"tags":[],"license":null,
             "signature":{"inputs":[{"name":"image","datatype":"UINT8","shape":[-1,8,8]}],"outputs":[]},
             "models":[{"name":"digits","size_bytes":1024,"sha256":"0123456789abcdef","device":"auto",
              "inputs":[{"name":"pixels","datatype":"FP32","shape":[-1,64]}],"outputs":[]}],
             "metrics":{"accuracy":0.978},"labels":{"stage":"prod","team_a":"x"},"limits":{"memory":"128MiB","concurrency":64},"instances":{"max_warm":16}}]}"#;
        let expected = "\
digits (revision 3)
  live  1.0.0

version 1.0.0 (typed)
  description  Digits
  deployed     2026-11-23T10:00:00Z
  digest       abc
  size         2.0 KiB
  authors      Ada
  labels       stage=prod, team_a=x
  input        image UINT8 [-1,8,8]
  model        digits, 1.0 KiB, device auto, sha256 0123456789ab
    takes      pixels FP32 [-1,64]
  limits       memory 128MiB, concurrency 64
  instances    max warm 16
  metrics      accuracy 0.978
";
        assert_eq!(text(&serde_json::from_str(function).expect("a function")), expected);
    }
}
