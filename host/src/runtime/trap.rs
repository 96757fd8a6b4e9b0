//! A trap: what it means for the caller, and where in the guest's code it was, which only the function's author is told.

use wasmtime::{Store, WasmBacktrace};

use super::RuntimeError;
use super::state::State;

/// Calls that are told of, the innermost first.
const MAX_FRAMES: usize = 20;

/// A longer name is cut: generic ones have no end.
const MAX_NAME_BYTES: usize = 200;

/// The error that a failed call into a guest means. Where the guest was goes to its function's log.
pub(super) fn trap(store: &Store<State>, source: wasmtime::Error) -> RuntimeError {
    let limits = &store.data().limits;
    let reason = if limits.refused {
        format!("it needs more memory than its limit of {} bytes (limits.memory)", limits.limit_bytes)
    } else {
        match source.downcast_ref::<wasmtime::Trap>() {
            Some(trap) => trap.to_string(),
            None => source.root_cause().to_string(),
        }
    };
    store.data().output.trapped(&reason, &frames(&source));
    RuntimeError::Trapped { reason, source }
}

/// The calls that the guest was in.
fn frames(error: &wasmtime::Error) -> Vec<String> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return Vec::new() };
    let calls: Vec<String> =
        backtrace.frames().iter().take(MAX_FRAMES).map(|frame| call(frame.func_name(), frame.func_index())).collect();
    without_panic(calls)
}

/// What Rust does to panic says nothing about why, and is most of the calls.
fn without_panic(mut calls: Vec<String>) -> Vec<String> {
    let is_panic = |call: &String| {
        ["std::", "core::panicking::", "core::result::unwrap_failed", "core::option::", "__rustc::", "abort"]
            .iter()
            .any(|prefix| call.starts_with(prefix))
    };
    let panic = calls.iter().take_while(|call| is_panic(call)).count();
    if panic < calls.len() {
        calls.drain(..panic);
    }
    calls
}

/// A function by its name, as its author wrote it; by its number where the component was stripped of names.
fn call(name: Option<&str>, index: u32) -> String {
    let Some(name) = name else { return format!("function {index} (the component has no names)") };
    let mut name = format!("{:#}", rustc_demangle::demangle(name));
    if name.len() > MAX_NAME_BYTES {
        name.truncate(name.floor_char_boundary(MAX_NAME_BYTES));
        name.push_str("...");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_have_the_names_that_their_authors_gave_them() {
        assert_eq!(call(Some("_ZN9misbehave6memory7recurse17h0123456789abcdefE"), 7), "misbehave::memory::recurse");
        assert_eq!(call(Some("cabi_realloc"), 7), "cabi_realloc");
        assert_eq!(call(None, 7), "function 7 (the component has no names)");
        let long = call(Some(&"\u{e9}".repeat(MAX_NAME_BYTES)), 7);
        assert_eq!(long.len(), MAX_NAME_BYTES + "...".len());
    }

    #[test]
    fn a_panic_begins_where_it_was_raised() {
        let calls = |names: &[&str]| without_panic(names.iter().map(|name| (*name).to_owned()).collect());
        let raised = ["abort", "__rustc::rust_panic", "core::panicking::panic_fmt", "f::check", "std::f", "f::predict"];
        assert_eq!(calls(&raised), ["f::check", "std::f", "f::predict"]);
        assert_eq!(calls(&raised[..2]), raised[..2]);
    }

    proptest::proptest! {
        #[test]
        fn no_name_makes_it_panic(name in "(_ZN|_R)?\\PC*") {
            proptest::prop_assert!(call(Some(&name), 0).len() <= MAX_NAME_BYTES + "...".len());
        }
    }
}
