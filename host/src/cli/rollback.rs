//! `nocti rollback FUNCTION`: sends requests where they went before.

use clap::Args;
use reqwest::Method;

use super::Global;
use super::client::Client;
use super::traffic::tell;
use super::why::Why;
use crate::registry::name::FunctionName;

/// What `nocti rollback` takes.
#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// The function. Its aliases go to where they were before the last change of theirs, be it traffic or a deploy; another
    /// rollback goes back one change further. What is deployed stays.
    function: FunctionName,
    /// Go to where the aliases were at this revision, older or newer.
    #[arg(long, value_name = "REVISION")]
    to: Option<u64>,
    #[command(flatten)]
    why: Why,
}

pub(super) async fn run(args: &RollbackArgs, global: &Global) -> anyhow::Result<()> {
    let path = match args.to {
        Some(revision) => format!("/api/functions/{}/revisions/{revision}/restore", args.function),
        None => format!("/api/functions/{}/rollback", args.function),
    };
    tell(Client::new(global)?.send(Method::POST, &path, &args.why.body().into()).await?, global)
}
