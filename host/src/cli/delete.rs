//! `nocti delete FUNCTION[@VERSION]`: takes a function or a version of it away.

use std::io::{self, BufRead, IsTerminal};

use clap::Args;

use super::client::{Client, query};
use super::target::Target;
use super::why::Why;
use super::{Global, WrongUsage, output};
use crate::registry::name::AliasName;

/// What `nocti delete` takes.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The function, with all its versions, or one version of it.
    #[arg(value_name = "FUNCTION[@VERSION]")]
    target: Target,
    /// This alias of the function and nothing else: its name leads nowhere then.
    #[arg(long, value_name = "NAME")]
    alias: Option<AliasName>,
    /// Do not ask; needed where there is no terminal to ask on.
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    why: Why,
}

pub(super) async fn run(args: &DeleteArgs, global: &Global) -> anyhow::Result<()> {
    let client = Client::new(global)?;
    let function = &args.target.function;
    let (path, what) = match (&args.target.version, &args.alias) {
        (Some(_), Some(alias)) => {
            let message = format!("an alias is the function's: say nocti delete {function} --alias {alias}");
            return Err(WrongUsage(message).into());
        }
        (Some(version), None) => (
            format!("/api/functions/{function}/versions/{version}"),
            format!("version {version} of function '{function}'"),
        ),
        (None, Some(alias)) => {
            (format!("/api/functions/{function}/aliases/{alias}"), format!("alias '{alias}' of function '{function}'"))
        }
        (None, None) => (format!("/api/functions/{function}"), format!("function '{function}' with all its versions")),
    };
    if !args.yes {
        if !io::stdin().is_terminal() {
            return Err(WrongUsage(format!("nobody is there to be asked: say --yes to delete {what}")).into());
        }
        if !confirmed(&what)? {
            anyhow::bail!("nothing was deleted");
        }
    }
    let answer = client.delete(&(path + &query(args.why.pairs()))).await?;
    if global.json {
        return output::json(&answer);
    }
    let was_last = args.target.version.is_some() && answer["deleted"] == function.as_str();
    output::text(&format!("deleted {what}{}", if was_last { ", and the function, as it was the last" } else { "" }))
}

/// Asks on the terminal.
fn confirmed(what: &str) -> anyhow::Result<bool> {
    output::ask(&format!("Delete {what}? [y/N] "))?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
