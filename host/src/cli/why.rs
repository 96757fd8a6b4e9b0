//! Who makes a change and why, as the commands that make one take it.

use clap::Args;
use serde_json::{Map, Value};

/// What is kept with a change.
#[derive(Debug, Default, Args)]
pub(crate) struct Why {
    /// Why the change is made; `nocti history` shows it.
    #[arg(short, long, value_name = "WHY")]
    message: Option<String>,
    /// Who makes the change; `nocti history` shows it.
    #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true)]
    by: Option<String>,
}

impl Why {
    /// As names and values of a query.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let said = [("by", &self.by), ("message", &self.message)].into_iter();
        said.filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }

    /// As a body, to which more may be added.
    pub(super) fn body(&self) -> Map<String, Value> {
        self.pairs().map(|(name, value)| (name.to_owned(), value.into())).collect()
    }
}
