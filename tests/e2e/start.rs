//! Starting a host: what is wrong with the machine or the configuration is said in one message, and nothing is left.

use std::path::{Path, PathBuf};

use nocti_tests::{HostProcess, fixture_model, nocti, tools};
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;

use super::{Ran, get, nocti_in, post, run, text};

/// `nocti serve` on a free port over a new store, with further flags and environment; it is expected not to start.
async fn serve(folder: &Path, flags: &[&str], environment: &[(&str, &str)]) -> Ran {
    let mut command = nocti();
    command.current_dir(folder).args(["serve", "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0"]).args(flags);
    command.envs(environment.iter().copied());
    run(command).await
}

/// Compiles a shared library.
async fn shared_library(folder: &Path, source: &str) -> PathBuf {
    let (file, library) = (folder.join("library.rs"), folder.join("libonnxruntime.so"));
    std::fs::write(&file, source).unwrap();
    let mut rustc = Command::new("rustc");
    rustc.args(["--edition", "2024", "--crate-type", "cdylib", "-o"]).arg(&library).arg(&file);
    run(rustc).await.expect(0);
    library
}

/// ONNX Runtime's entry point as version 1.10 had it: a structure of two functions.
const OLD_RUNTIME: &str = r#"
    #[repr(C)]
    pub struct Base {
        get_api: extern "C" fn(u32) -> *const core::ffi::c_void,
        get_version: extern "C" fn() -> *const core::ffi::c_char,
    }
    extern "C" fn get_api(version: u32) -> *const core::ffi::c_void {
        // As the real one does: null for a version of the interface that it does not have.
        assert!(version > 10);
        core::ptr::null()
    }
    extern "C" fn get_version() -> *const core::ffi::c_char {
        c"1.10.0".as_ptr()
    }
    static BASE: Base = Base { get_api, get_version };
    #[unsafe(no_mangle)]
    pub extern "C" fn OrtGetApiBase() -> *const Base {
        &BASE
    }
"#;

#[tokio::test]
async fn a_port_in_use_is_named_with_the_way_out() {
    let store = TempDir::new().unwrap();
    let host = HostProcess::start(store.path(), &[]).await;
    let address = host.url.trim_start_matches("http://");
    let folder = TempDir::new().unwrap();
    let ran = nocti_in(folder.path(), &["serve", "--listen", address]).await;
    let ran = ran.expect_error(1, &[address, "already in use", "--listen"]);
    assert_eq!(ran.message().lines().count(), 1, "{ran:?}");
    let words = &["serve", "--listen", "127.0.0.1:0", "--grpc-listen", &host.grpc_address];
    let ran = nocti_in(folder.path(), words).await;
    ran.expect_error(1, &[&host.grpc_address, "already in use", "--grpc-listen"]);
    assert_eq!(get(&host, "/readyz").await.status, 200, "the first is not disturbed");
}

#[tokio::test]
async fn a_missing_onnx_runtime_is_told_with_how_to_get_it() {
    let folder = TempDir::new().unwrap();
    let empty = folder.path().join("tools");
    std::fs::create_dir(&empty).unwrap();
    for (variable, value, named) in [
        ("NOCTI_ONNXRUNTIME_LIBRARY", "/nowhere/libonnxruntime.so", "/nowhere/libonnxruntime.so"),
        ("NOCTI_ONNXRUNTIME_LIBRARY", text(folder.path()), text(folder.path())),
        ("NOCTI_HOME", text(&empty), text(&empty)),
    ] {
        let ran = serve(folder.path(), &[], &[(variable, value)]).await;
        let ran =
            ran.expect_error(1, &[named, "scripts/setup", "PyPI wheel `onnxruntime`", "NOCTI_ONNXRUNTIME_LIBRARY"]);
        assert_eq!(ran.message().lines().count(), 1, "{ran:?}");
    }
}

#[tokio::test]
async fn an_onnx_runtime_of_the_wrong_version_is_named_with_the_right_one() {
    let folder = TempDir::new().unwrap();
    let library = shared_library(folder.path(), OLD_RUNTIME).await;
    let ran = serve(folder.path(), &[], &[("NOCTI_ONNXRUNTIME_LIBRARY", text(&library))]).await;
    let ran = ran.expect_error(1, &[text(&library), "1.10", "is needed"]);
    assert_eq!(ran.message().lines().count(), 1, "{ran:?}");
}

#[tokio::test]
async fn what_is_no_onnx_runtime_is_refused_by_its_name() {
    let folder = TempDir::new().unwrap();
    let other = shared_library(folder.path(), "#[unsafe(no_mangle)] pub extern \"C\" fn other() {}").await;
    let no_library = folder.path().join("notes.so");
    std::fs::write(&no_library, "no library at all").unwrap();
    for file in [&other, &no_library] {
        let ran = serve(folder.path(), &[], &[("NOCTI_ONNXRUNTIME_LIBRARY", text(file))]).await;
        let ran = ran.expect_error(1, &[text(file), "cannot be used", "is needed"]);
        assert_eq!(ran.message().lines().count(), 1, "{ran:?}");
    }
}

#[tokio::test]
async fn all_mistakes_of_a_configuration_are_told_together() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("host.toml");
    std::fs::write(&file, "lisen = \"x\"\ndrain_timeout = \"soon\"\n[onnxruntime]\ndevices = [\"tpu\"]\n").unwrap();
    let environment = [("NOCTI_STOER", "/x"), ("NOCTI_LIMITS_BODY", "many"), ("NOCTI_STORE", "s4://bucket")];
    let ran = serve(folder.path(), &["--config", text(&file)], &environment).await;
    ran.expect_error(
        1,
        &[
            "lisen: there is no such setting",
            "drain_timeout: this is not a time such as 30s",
            "'tpu' is not a device",
            "NOCTI_STOER: there is no such setting",
            "NOCTI_LIMITS_BODY: this is not a size such as 64MiB",
            "NOCTI_STORE: 's4://' is no store",
        ],
    );
    let missing = folder.path().join("gone.toml");
    serve(folder.path(), &["--config", text(&missing)], &[]).await.expect_error(1, &[text(&missing)]);
    std::fs::write(&file, "listen = ").unwrap();
    serve(folder.path(), &["--config", text(&file)], &[]).await.expect_error(1, &[text(&file), "line 1"]);
    assert!(!folder.path().join("nocti-data").exists(), "nothing was begun");
}

#[tokio::test]
async fn wrong_flags_are_wrong_usage() {
    let folder = TempDir::new().unwrap();
    nocti_in(folder.path(), &["serve", "--listen", "nowhere"]).await.expect_error(2, &["--listen", "nowhere"]);
    nocti_in(folder.path(), &["serve", "--port", "8000"]).await.expect_error(2, &["--port"]);
}

#[tokio::test]
async fn the_printed_configuration_reads_back_the_same() {
    let folder = TempDir::new().unwrap();
    let mut command = nocti();
    command.current_dir(folder.path()).args(["serve", "--listen", "127.0.0.1:4711", "--print-config"]);
    command.envs([
        ("NOCTI_LIFECYCLE_MODEL_IDLE", "90s"),
        ("NOCTI_ONNXRUNTIME_DEVICES", "cpu"),
        ("NOCTI_LIMITS_BODY", "1MiB"),
    ]);
    let first = run(command).await.expect(0);
    for line in ["listen = \"127.0.0.1:4711\"", "store = \"./nocti-data\"", "devices = [\"cpu\"]", "body = \"1MiB\""] {
        assert!(first.out.lines().any(|found| found == line), "'{line}' is not in {}", first.out);
    }
    std::fs::write(folder.path().join("host.toml"), &first.out).unwrap();
    let second = nocti_in(folder.path(), &["serve", "--config", "host.toml", "--print-config"]).await.expect(0);
    assert_eq!(second.out, first.out);
    // Flags win over the environment, which wins over the file.
    let mut command = nocti();
    command.current_dir(folder.path()).args(["serve", "--config", "host.toml", "--print-config", "--store", "by-flag"]);
    command.envs([("NOCTI_STORE", "by-variable"), ("NOCTI_LISTEN", "127.0.0.1:4712")]);
    let third = run(command).await.expect(0);
    assert!(
        third.out.contains("store = \"by-flag\"") && third.out.contains("listen = \"127.0.0.1:4712\""),
        "{third:?}"
    );
    assert!(!folder.path().join("nocti-data").exists(), "printing makes nothing");
}

#[tokio::test]
async fn a_store_that_cannot_be_used_is_named() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("a-file");
    std::fs::write(&file, "not a folder").unwrap();
    for store in [file.clone(), file.join("below"), PathBuf::from("/proc/nothing-can-be-written-here")] {
        let ran = serve(folder.path(), &["--store", text(&store)], &[]).await;
        let ran = ran.expect_error(1, &[text(&store)]);
        assert_eq!(ran.message().lines().count(), 1, "{ran:?}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "not a folder");
}

#[tokio::test]
async fn nothing_is_written_but_to_the_store() {
    let folder = TempDir::new().unwrap();
    let ([home, store], tools) = (["home", "store"].map(|name| folder.path().join(name)), tools());
    std::fs::create_dir(&home).unwrap();
    let cache = home.join("cache");
    let environment = [("HOME", text(&home)), ("XDG_CACHE_HOME", text(&cache)), ("NOCTI_HOME", text(&tools))];
    let host = HostProcess::start(&store, &environment).await;
    run(host.command(&["deploy", text(&fixture_model("addsub.onnx"))])).await.expect(0);
    let input = |name: &str| json!({"name": name, "datatype": "INT32", "shape": [1, 16], "data": vec![7; 16]});
    let request = json!({"inputs": [input("INPUT0"), input("INPUT1")]});
    assert_eq!(post(&host, "/v2/models/addsub/infer", request.to_string()).await.status, 200);
    host.signal("TERM").await;
    assert_eq!(host.wait().await.0, Some(0));
    let found: Vec<_> = std::fs::read_dir(&home).unwrap().collect();
    assert!(found.is_empty(), "{found:?}");
}
