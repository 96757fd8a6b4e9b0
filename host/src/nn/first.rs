//! ONNX Runtime's first session of a process, which pays for what all others find there: its list of kernels, most of all.

use bytes::Bytes;
use ort::session::RunOptions;

use super::NnError;
use super::device::Target;
use super::library::Library;
use super::load::{self, Options, Source};

/// A model in ONNX's format: ir_version 8, opset 17, y = Relu(x), both one FP32.
const MODEL: &[u8] = b"\x08\x08\x3a\x33\
    \x0a\x0c\x0a\x01x\x12\x01y\x22\x04Relu\x12\x01g\
    \x5a\x0f\x0a\x01x\x12\x0a\x0a\x08\x08\x01\x12\x04\x0a\x02\x08\x01\
    \x62\x0f\x0a\x01y\x12\x0a\x0a\x08\x08\x01\x12\x04\x0a\x02\x08\x01\
    \x42\x02\x10\x11";

/// Loads a model of one operator, runs it and lets it go. Takes the thread for milliseconds.
pub(super) fn load_and_run(library: &Library) -> Result<(), NnError> {
    let options = Options {
        model: "first".into(),
        target: Target::Cpu,
        intra_threads: 1,
        sessions: 1,
        warmup: true,
        shelf: None,
        quick_start: false,
    };
    let mut loaded = load::load(library, &Source::Memory(Bytes::from_static(MODEL)), &options)?;
    let failed = |error: ort::Error| NnError::Run { model: options.model.clone(), reason: error.to_string() };
    let run = RunOptions::new().map_err(failed)?;
    for session in &mut loaded.sessions {
        load::warm_up(&options.model, session, &loaded.facts.signature, &run);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_model() {
        load_and_run(&Library::installed()).unwrap();
    }
}
