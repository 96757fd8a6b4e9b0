//! Rules of the house, as tests: who may know whom, how long a file may be, what it may be called.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nocti_tests::repository;

/// The longest a source file may be, tests in files of their own included.
const MAX_LINES: usize = 400;

/// Names that say nothing about what is inside.
const BANNED_NAMES: &[&str] = &["mod.rs", "util.rs", "utils.rs", "helpers.rs", "common.rs", "misc.rs"];

/// What each room of the host may use; `host/ARCHITECTURE.md` draws the same picture. What is not listed is forbidden.
const EDGES: &[(&str, &[&str])] = &[
    ("tensor", &[]),
    ("deadline", &[]),
    ("compression", &[]),
    ("destination", &[]),
    ("elsewhere", &[]),
    ("progress", &[]),
    ("stamp", &[]),
    ("trace", &[]),
    ("logs", &[]),
    ("telemetry", &["logs", "trace"]),
    ("cache", &["stamp"]),
    ("registry", &["destination", "stamp", "tensor"]),
    ("protocol", &["tensor"]),
    ("nn", &["cache", "registry", "telemetry", "tensor"]),
    // `protocol` for the request's plain types alone.
    ("runtime", &["cache", "deadline", "destination", "logs", "nn", "protocol", "tensor", "trace"]),
    ("admit", &["deadline", "registry", "telemetry"]),
    ("lifecycle", &["cache", "logs", "nn", "registry", "runtime", "telemetry"]),
    ("config", &["lifecycle", "logs", "nn", "registry"]),
    ("listener", &["host", "progress"]),
    ("shadow", &["protocol", "registry", "telemetry", "tensor", "trace"]),
    ("host", &["admit", "config", "lifecycle", "logs", "registry", "shadow", "telemetry"]),
    (
        "invoke",
        &[
            "admit",
            "deadline",
            "elsewhere",
            "host",
            "lifecycle",
            "nn",
            "protocol",
            "registry",
            "runtime",
            "shadow",
            "telemetry",
            "tensor",
        ],
    ),
    ("rollout", &["host", "invoke", "registry", "telemetry"]),
    ("collect", &["fault", "host", "registry"]),
    ("deploy", &["host", "lifecycle", "registry", "runtime", "tensor", "trace"]),
    ("follow", &["host", "registry"]),
    ("oip", &["host", "invoke", "lifecycle", "nn", "protocol", "registry", "telemetry"]),
    // What knows every error knows every room.
    ("fault", &["admit", "deploy", "invoke", "lifecycle", "nn", "oip", "protocol", "registry", "runtime", "telemetry"]),
    (
        "api",
        &[
            "compression",
            "deploy",
            "elsewhere",
            "follow",
            "host",
            "http",
            "invoke",
            "lifecycle",
            "logs",
            "nn",
            "registry",
            "telemetry",
            "tensor",
        ],
    ),
    (
        "http",
        &[
            "admit",
            "api",
            "compression",
            "deploy",
            "elsewhere",
            "fault",
            "host",
            "invoke",
            "listener",
            "oip",
            "protocol",
            "registry",
            "runtime",
            "telemetry",
            "tensor",
            "trace",
        ],
    ),
    (
        "grpc",
        &[
            "admit",
            "compression",
            "deadline",
            "elsewhere",
            "fault",
            "host",
            "invoke",
            "listener",
            "oip",
            "protocol",
            "registry",
            "runtime",
            "telemetry",
            "tensor",
            "trace",
        ],
    ),
    (
        "app",
        &[
            "admit",
            "cache",
            "collect",
            "config",
            "follow",
            "grpc",
            "host",
            "http",
            "invoke",
            "lifecycle",
            "listener",
            "logs",
            "nn",
            "registry",
            "rollout",
            "runtime",
            "shadow",
            "telemetry",
        ],
    ),
    ("cli", &["app", "compression", "config", "logs", "nn", "registry", "runtime", "stamp", "telemetry", "tensor"]),
];

#[test]
fn rooms_use_only_what_they_may() {
    let mut wrong = Vec::new();
    for (room, files) in rooms() {
        let allowed = EDGES.iter().find(|(name, _)| *name == room).map(|(_, allowed)| *allowed);
        let Some(allowed) = allowed else {
            wrong.push(format!("{room}: not in the list of rooms"));
            continue;
        };
        let mut unused = allowed.to_vec();
        for file in files {
            for used in uses(&file) {
                if used != room && !allowed.contains(&used.as_str()) {
                    wrong.push(format!("{} uses {used}, which it may not", file.display()));
                }
                unused.retain(|name| *name != used);
            }
        }
        wrong.extend(unused.iter().map(|name| format!("{room} does not use {name}: take it out of the list")));
    }
    assert!(wrong.is_empty(), "the list of edges and the code differ:\n{}", wrong.join("\n"));
}

#[test]
fn only_one_room_knows_each_engine() {
    let only = |word: &str, rooms_allowed: &[&str]| {
        for (room, files) in rooms() {
            if rooms_allowed.contains(&room.as_str()) {
                continue;
            }
            for file in files {
                let text = std::fs::read_to_string(&file).expect("it was listed");
                let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
                for line in code {
                    assert!(!line.contains(word), "{} knows {word}: {line}", file.display());
                }
            }
        }
    };
    only("ort::", &["nn"]);
    only("StatusCode", &["http", "api", "cli"]);
    only("object_store", &["registry"]);
    only("tonic::", &["grpc"]);
    only("prost::", &["grpc"]);
    only("wasmtime::", &["runtime", "nn"]);
    only("utoipa::openapi", &["http", "protocol"]);
    // For the errors of bodies alone.
    only("wasmtime_", &["runtime", "invoke", "http"]);
}

#[test]
fn files_are_short_and_well_named() {
    let mut wrong = Vec::new();
    for folder in ["host/src", "guest-sdk/src", "tests", "bench/src", "fuzz"] {
        for file in sources(&repository().join(folder)) {
            let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if BANNED_NAMES.contains(&name) {
                wrong.push(format!("{}: a name that says nothing", file.display()));
            }
            let lines = std::fs::read_to_string(&file).expect("it was listed").lines().count();
            if lines > MAX_LINES {
                wrong.push(format!("{}: {lines} lines", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_is() {
    for file in sources(&repository().join("host/src")) {
        let is_tests = file.file_name().is_some_and(|name| name == "tests.rs");
        let text = std::fs::read_to_string(&file).expect("it was listed");
        assert!(is_tests || text.starts_with("//!"), "{} does not begin with its purpose", file.display());
    }
}

/// The rooms of the host with their files: `foo.rs` and all of `foo/`.
fn rooms() -> BTreeMap<String, Vec<PathBuf>> {
    let root = repository().join("host/src");
    let mut rooms: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for file in sources(&root) {
        let below = file.strip_prefix(&root).expect("it is below");
        let first = below.iter().next().and_then(|part| part.to_str()).expect("paths are text");
        let room = first.trim_end_matches(".rs");
        if !["lib", "main"].contains(&room) {
            rooms.entry(room.to_owned()).or_default().push(file);
        }
    }
    assert!(rooms.len() > 10, "the house was not found");
    rooms
}

/// The rooms that a file names as `crate::ROOM`, in `use` lines (braces too) and in paths.
fn uses(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).expect("it was listed");
    let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    for (at, matched) in code.match_indices("crate::") {
        // `$crate::` and `nocti_crate::` are other things.
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[at + matched.len()..];
        match rest.strip_prefix('{') {
            Some(list) => {
                let list = list.split('}').next().unwrap_or_default();
                found.extend(list.split(',').map(|item| word(item.trim())).filter(|name| !name.is_empty()));
            }
            None => found.push(word(rest)),
        }
    }
    found.retain(|name| name.chars().next().is_some_and(char::is_lowercase));
    found.sort();
    found.dedup();
    found
}

fn word(text: &str) -> String {
    text.chars().take_while(|&c| c.is_alphanumeric() || c == '_').collect()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                found.extend(sources(&path));
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}
