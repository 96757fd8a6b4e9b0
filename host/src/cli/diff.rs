//! `nocti diff FUNCTION A B`: what differs between two versions or two revisions.

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::Global;
use super::client::{Client, query};
use super::output::{self, Table};
use crate::registry::name::FunctionName;

/// What `nocti diff` takes.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The function.
    function: FunctionName,
    /// A version, an alias that points at one alone, or a revision as revision:N.
    #[arg(value_name = "A")]
    from: String,
    /// What it is compared with: another version, or another revision.
    #[arg(value_name = "B")]
    to: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Diff {
    /// The versions, where aliases were asked for.
    from: String,
    to: String,
    differences: Vec<Difference>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Difference {
    path: Vec<String>,
    from: Option<Value>,
    to: Option<Value>,
}

/// Longer values are cut; `--json` has all of them.
const MAX_CHARS: usize = 60;

pub(super) async fn run(args: &DiffArgs, global: &Global) -> anyhow::Result<()> {
    let sides = query([("from", args.from.as_str()), ("to", args.to.as_str())]);
    let answer = Client::new(global)?.get(&format!("/api/functions/{}/diff{sides}", args.function)).await?;
    if global.json {
        return output::json(&answer);
    }
    let Diff { from, to, differences } = serde_json::from_value(answer)?;
    if differences.is_empty() {
        output::note("nothing differs");
        return Ok(());
    }
    output::text(&text(&differences, &from, &to))
}

fn text(differences: &[Difference], from: &str, to: &str) -> String {
    let mut table = Table::new(["WHAT", from, to]);
    for Difference { path, from, to } in differences {
        table.row([path.join(" "), shown(from.as_ref()), shown(to.as_ref())]);
    }
    table.text(0)
}

fn shown(value: Option<&Value>) -> String {
    let text = match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    };
    let is_digest = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_digest {
        return output::short_digest(&text);
    }
    // Text of a bundle may be in lines.
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_CHARS).collect();
    if text.chars().nth(MAX_CHARS).is_some() { line + "..." } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_are_beside_each_other() {
        let differences = format!(
            r#"[{{"path":["aliases","live","1.0.0"],"from":100,"to":90}},{{"path":["description"],"from":"a\nb","to":"{}"}},
                {{"path":["models","m","sha256"],"to":"{}"}},{{"path":["license"],"from":null,"to":"MIT"}}]"#,
            "x".repeat(70),
            "a".repeat(64),
        );
        let long = format!("{}...", "x".repeat(60));
        let expected = format!(
            "\
WHAT                1.0.0  1.1.0
aliases live 1.0.0  100    90
description         a b    {long}
models m sha256     -      aaaaaaaaaaaa
license             -      MIT
"
        );
        let differences: Vec<Difference> = serde_json::from_str(&differences).expect("differences");
        assert_eq!(text(&differences, "1.0.0", "1.1.0"), expected);
    }
}
