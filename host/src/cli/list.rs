//! `nocti list`: what is deployed.

use serde::Deserialize;
use serde_json::Value;

use super::Global;
use super::client::Client;
use super::output::{self, Table, or_dash};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Functions {
    functions: Vec<Function>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Function {
    name: String,
    kind: String,
    live: serde_json::Map<String, Value>,
    versions: Vec<String>,
    description: Option<String>,
    tags: Vec<String>,
}

pub(super) async fn run(global: &Global) -> anyhow::Result<()> {
    let answer = Client::new(global)?.get("/api/functions").await?;
    if global.json {
        return output::json(&answer);
    }
    let Functions { functions } = serde_json::from_value(answer)?;
    if functions.is_empty() {
        output::note("nothing is deployed yet; `nocti deploy` takes a bundle, a folder or an .onnx file");
        return Ok(());
    }
    let mut table = Table::new(["FUNCTION", "KIND", "LIVE", "VERSIONS", "DESCRIPTION"]);
    for function in functions {
        let tags = match function.tags.as_slice() {
            [] => String::new(),
            tags => format!(" [{}]", tags.join(", ")),
        };
        let description = format!("{}{tags}", function.description.unwrap_or_default());
        table.row([
            function.name,
            function.kind,
            or_dash(Some(weights(&function.live))),
            function.versions.len().to_string(),
            or_dash(Some(description.trim().to_owned())),
        ]);
    }
    output::text(&table.text(0))
}

/// An alias' versions with their share of the traffic, which goes without saying where there is one version.
pub(super) fn weights(alias: &serde_json::Map<String, Value>) -> String {
    match alias.iter().collect::<Vec<_>>().as_slice() {
        [(version, _)] => (*version).clone(),
        versions => {
            let total: u64 = versions.iter().filter_map(|(_, weight)| weight.as_u64()).sum();
            let shares = versions.iter().map(|(version, weight)| {
                let percent = weight.as_u64().unwrap_or_default() as f64 * 100.0 / total.max(1) as f64;
                // One digit where it says something.
                let digits = usize::from((percent * 10.0).round() % 10.0 != 0.0);
                format!("{version} {percent:.digits$}%")
            });
            shares.collect::<Vec<_>>().join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_shown_where_there_is_a_choice() {
        let shown = |text: &str| weights(&serde_json::from_str(text).expect("JSON"));
        assert_eq!(shown("{}"), "");
        assert_eq!(shown(r#"{"1.0.0":100}"#), "1.0.0");
        assert_eq!(shown(r#"{"1.0.0":90,"1.1.0":10}"#), "1.0.0 90%, 1.1.0 10%");
        assert_eq!(shown(r#"{"1.0.0":1,"1.1.0":2,"1.2.0":1}"#), "1.0.0 25%, 1.1.0 50%, 1.2.0 25%");
        assert_eq!(shown(r#"{"1.0.0":4294967293,"1.1.0":1}"#), "1.0.0 100%, 1.1.0 0%");
        assert_eq!(shown(r#"{"1.0.0":1,"1.1.0":2}"#), "1.0.0 33.3%, 1.1.0 66.7%");
    }
}
