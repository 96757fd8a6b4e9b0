//! The command line: what the commands are called and take, and what a process answers with.
//!
//! One command per file. `serve` runs the host and `dev` one of its own, `new`, `build` and `inspect` work on files, every other command is a
//! client of the HTTP API (`client`). Results go to standard output, everything else to standard error. Exit codes:
//! 0 done, 1 failed, 2 wrong usage.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

mod ahead;
mod build;
mod client;
mod component;
mod delete;
mod deploy;
mod dev;
mod diff;
mod directions;
mod download;
mod guest_env;
mod head;
mod history;
mod inspect;
mod invoke;
mod label;
mod list;
mod logs;
mod new;
mod oci;
mod output;
mod partial;
mod pull;
mod push;
mod rollback;
mod search;
mod sections;
mod serve;
mod show;
mod status;
mod target;
mod traffic;
mod upload;
mod why;

/// What every command needs to know.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The host that commands talk to.
    #[arg(long, global = true, value_name = "URL", env = "NOCTI_SERVER", default_value = "http://127.0.0.1:8000")]
    server: String,
    /// Print the result as JSON (not `serve` and `new`).
    #[arg(long, global = true)]
    json: bool,
    /// Whether the command line names the host, and not the environment or nobody.
    #[arg(skip)]
    names_server: bool,
}

/// Serverless model functions on WebAssembly.
#[derive(Debug, Parser)]
#[command(name = "nocti", version, arg_required_else_help = true, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the host.
    Serve(ServeArgs),
    /// Make a folder with a function that builds and deploys as it stands.
    New(new::NewArgs),
    /// Build a function's folder, serve it, and do both again after every change.
    Dev(dev::DevArgs),
    /// Build a function's folder into a bundle, NAME-VERSION.wasm.
    Build(build::BuildArgs),
    /// Show what is inside a bundle, a component or an ONNX model.
    Inspect(inspect::InspectArgs),
    /// Deploy a bundle, a function's folder, a component, an ONNX model or what an OCI registry has.
    Deploy(deploy::DeployArgs),
    /// Get the bundle of a version back.
    Download(download::DownloadArgs),
    /// Bring a function to an OCI registry.
    Push(push::PushArgs),
    /// Get a function from an OCI registry as a bundle.
    Pull(pull::PullArgs),
    /// Call a function.
    Invoke(invoke::InvokeArgs),
    /// List the deployed functions.
    List,
    /// Show one function and its versions.
    Show(show::ShowArgs),
    /// Find functions by words, tags, labels, metrics and what they take and give.
    Search(search::SearchArgs),
    /// Put labels on a version, take them off, or show them.
    Label(label::LabelArgs),
    /// Delete a function or one of its versions.
    Delete(delete::DeleteArgs),
    /// Share an alias' requests among versions.
    Traffic(traffic::TrafficArgs),
    /// Send requests where they went before the last change, or at some revision.
    Rollback(rollback::RollbackArgs),
    /// Show what was changed, when, by whom and why.
    History(history::HistoryArgs),
    /// Show what differs between two versions or two revisions.
    Diff(diff::DiffArgs),
    /// Show what a function has printed, and with -f what it prints.
    Logs(logs::LogsArgs),
    /// Show what the host is doing: instances, sessions, memory.
    Status,
}

/// What `nocti serve` takes. What is not given comes from the environment, the file or the defaults.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Where HTTP is served [env: NOCTI_LISTEN] [default: 127.0.0.1:8000].
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub(crate) listen: Option<SocketAddr>,
    /// Where gRPC is served [env: NOCTI_GRPC_LISTEN] [default: 127.0.0.1:8001].
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub(crate) grpc_listen: Option<SocketAddr>,
    /// The folder that keeps what is deployed, or s3://BUCKET/PREFIX, gs://, az:// [env: NOCTI_STORE] [default: ./nocti-data].
    #[arg(long, value_name = "PATH|URL")]
    pub(crate) store: Option<String>,
    /// A TOML file with the configuration; `--print-config` shows all settings.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print the effective configuration and end.
    #[arg(long)]
    pub(crate) print_config: bool,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "this is no address with a port, such as 127.0.0.1:8000".to_owned())
}

impl ServeArgs {
    /// The flags that were given, as (key, value) pairs of the configuration.
    fn flags(&self) -> Vec<(&'static str, String)> {
        let listen = self.listen.map(|address| ("listen", address.to_string()));
        let grpc_listen = self.grpc_listen.map(|address| ("grpc_listen", address.to_string()));
        let store = self.store.clone().map(|place| ("store", place));
        listen.into_iter().chain(grpc_listen).chain(store).collect()
    }
}

/// What the user asked for cannot be meant: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct WrongUsage(String);

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    // What speaks TLS here asks for it; nobody has set another one.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    let cli = match Cli::parsed(Cli::command().try_get_matches()) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too, and go to standard output. If that is closed, nobody reads them.
            let _ = error.print();
            return u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error);
            ExitCode::from(if error.is::<WrongUsage>() { 2 } else { 1 })
        }
    }
}

impl Cli {
    fn parsed(matches: Result<ArgMatches, clap::Error>) -> Result<Self, clap::Error> {
        let matches = matches?;
        let mut cli = Self::from_arg_matches(&matches)?;
        cli.global.names_server = matches.value_source("server") == Some(ValueSource::CommandLine);
        Ok(cli)
    }

    fn run(self) -> anyhow::Result<()> {
        let global = &self.global;
        match self.command {
            Command::Serve(args) => serve::run(&args),
            Command::New(args) => new::run(&args),
            Command::Dev(args) => dev::run(&args, global),
            Command::Build(args) => build::run(&args, global),
            Command::Inspect(args) => inspect::run(&args, global),
            Command::Deploy(args) => client::block_on(deploy::run(&args, global)),
            Command::Download(args) => client::block_on(download::run(&args, global)),
            Command::Push(args) => client::block_on(push::run(args, global)),
            Command::Pull(args) => client::block_on(pull::run(args, global)),
            Command::Invoke(args) => client::block_on(invoke::run(&args, global)),
            Command::List => client::block_on(list::run(global)),
            Command::Show(args) => client::block_on(show::run(&args, global)),
            Command::Search(args) => client::block_on(search::run(&args, global)),
            Command::Label(args) => client::block_on(label::run(&args, global)),
            Command::Delete(args) => client::block_on(delete::run(&args, global)),
            Command::Traffic(args) => client::block_on(traffic::run(&args, global)),
            Command::Rollback(args) => client::block_on(rollback::run(&args, global)),
            Command::History(args) => client::block_on(history::run(&args, global)),
            Command::Diff(args) => client::block_on(diff::run(&args, global)),
            Command::Logs(args) => client::block_on(logs::run(&args, global)),
            Command::Status => client::block_on(status::run(global)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_stand_anywhere() {
        for words in [
            ["nocti", "--server", "http://h:1", "--json", "list"],
            ["nocti", "list", "--json", "--server", "http://h:1"],
        ] {
            let cli = Cli::parsed(Cli::command().try_get_matches_from(words)).expect("valid");
            assert!(cli.global.json && cli.global.server == "http://h:1" && cli.global.names_server);
        }
        let unsaid = Cli::parsed(Cli::command().try_get_matches_from(["nocti", "list"])).expect("valid");
        assert!(!unsaid.global.names_server);
    }

    #[test]
    fn wrong_usage_is_exit_code_2() {
        let error = Cli::try_parse_from(["nocti", "deploy"]).expect_err("what to deploy is missing");
        assert_eq!(error.exit_code(), 2);
    }
}
