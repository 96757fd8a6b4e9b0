//! The `nocti` binary: parse arguments, run one command, print the error chain, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    nocti::cli::run()
}
