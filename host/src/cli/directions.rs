//! Where a function's requests go, as `nocti show` and `nocti traffic` print it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::list::weights;
use super::output::Table;

/// What answers say of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Directions {
    revision: u64,
    aliases: Map<String, Value>,
    shadows: BTreeMap<String, Shadow>,
    rollouts: BTreeMap<String, Rollout>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Shadow {
    version: String,
    percent: u32,
    compared: Vec<Compared>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Compared {
    version: String,
    same: u64,
    close: u64,
    different: u64,
    failed: u64,
    skipped: u64,
    p50_ms: Option<f64>,
    shadow_p50_ms: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Rollout {
    version: String,
    state: String,
    step: usize,
    steps: Vec<u32>,
    percent: u32,
    since: String,
    every: String,
    why: Option<String>,
}

impl Directions {
    /// What a function is called, and where its requests go.
    pub(super) fn heading(&self, name: &str) -> String {
        let mut table = Table::of_pairs();
        for (alias, versions) in &self.aliases {
            table.row([alias.clone(), versions.as_object().map(weights).unwrap_or_default()]);
            let mut line = |text: String| table.row([String::new(), text]);
            if let Some(rollout) = self.rollouts.get(alias) {
                line(rollout.text());
            }
            if let Some(shadow) = self.shadows.get(alias) {
                line(format!("copies of {}% to {}", shadow.percent, shadow.version));
                shadow.compared.iter().for_each(|compared| line(compared.text()));
            }
        }
        format!("{name} (revision {})\n{}", self.revision, table.text(2))
    }
}

impl Rollout {
    fn text(&self) -> String {
        let Self { version, step, steps, percent, since, every, why, .. } = self;
        let why = why.as_deref().unwrap_or_default();
        match self.state.as_str() {
            "running" => {
                format!(
                    "rollout of {version}: step {step} of {} ({percent}%) since {since}, every {every}",
                    steps.len()
                )
            }
            "done" => format!("rollout of {version}: done {since}"),
            "back" => format!("rollout of {version}: went back from {percent}%: {why}"),
            // Of a later release.
            state => format!("rollout of {version}: {state}"),
        }
    }
}

impl Compared {
    fn text(&self) -> String {
        let Self { version, same, close, different, failed, skipped, .. } = self;
        let ms = |p50: Option<f64>| p50.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
        let (p50, shadow_p50) = (ms(self.p50_ms), ms(self.shadow_p50_ms));
        format!(
            "as {version}: {same} same, {close} close, {different} different, {failed} failed, {skipped} skipped; p50 {shadow_p50} \
             beside {p50}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_happens_to_an_alias_is_below_it() {
        let directions = r#"{"revision":4,"aliases":{"live":{"1":95,"2":5},"test":{"1":1},"try":{"1":1},"up":{"2":1}},
            "shadows":{"test":{"version":"2","percent":50,"compared":[
                {"version":"1","same":3,"close":2,"different":1,"failed":0,"skipped":4,"p50_ms":1.5,"shadow_p50_ms":null}]}},
            "rollouts":{"live":{"version":"2","state":"running","step":1,"steps":[5,25,100],"percent":5,
                "since":"2026-11-26T10:00:00Z","every":"5m"},
                "try":{"version":"2","state":"back","percent":25,"why":"it fails"},
                "up":{"version":"2","state":"done","since":"2026-11-26T10:00:00Z"}}}"#;
        let expected = "\
f (revision 4)
  live  1 95%, 2 5%
        rollout of 2: step 1 of 3 (5%) since 2026-11-26T10:00:00Z, every 5m
  test  1
        copies of 50% to 2
        as 1: 3 same, 2 close, 1 different, 0 failed, 4 skipped; p50 - beside 1.5 ms
  try   1
        rollout of 2: went back from 25%: it fails
  up    2
        rollout of 2: done 2026-11-26T10:00:00Z
";
        let directions: Directions = serde_json::from_str(directions).expect("directions");
        assert_eq!(directions.heading("f"), expected);
    }
}
