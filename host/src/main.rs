//! The `nocti` binary: parse arguments, run one command, print the error chain, exit code.

use std::process::ExitCode;

/// Most of what a request takes of the host itself, beside the model's run, are small allocations. ONNX Runtime keeps the system's
/// allocator, so what that counts are its own (`nn/footprint.rs`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Since version 1.32 ONNX Runtime keeps a journal of what it is used for, to be sent to its maker, and begins with that before
    // anybody can tell it not to by its interface.
    #[expect(
        unsafe_code,
        clippy::disallowed_methods,
        reason = "that library takes this word from the environment alone"
    )]
    // SAFETY: there is no other thread yet.
    unsafe {
        std::env::set_var("ORT_DISABLE_TELEMETRY", "1");
    }
    nocti::cli::run()
}
