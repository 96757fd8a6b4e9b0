//! `nocti build` and `nocti deploy` with folders and files that have mistakes: every mistake is told, with its place.

use std::path::Path;

use nocti_tests::{HostProcess, example, fixture_model, nocti};
use serde_json::json;
use tempfile::TempDir;

use super::{Ran, ask, nocti_in, run, text};

/// A folder `function` with this `nocti.toml`, and `nocti build function` beside it.
async fn build(folder: &Path, manifest: &str) -> Ran {
    std::fs::create_dir_all(folder.join("function")).unwrap();
    std::fs::write(folder.join("function/nocti.toml"), manifest).unwrap();
    nocti_in(folder, &["build", "function"]).await
}

#[tokio::test]
async fn all_mistakes_of_a_manifest_are_told_with_file_line_and_key() {
    let folder = TempDir::new().unwrap();
    let manifest = "\
name = \"Bad_Name\"
verison = \"1.0.0\"
version = \"1.0.0\"

[component]
path = \"gone.wasm\"

[[model]]
name = \"m\"
path = \"gone.onnx\"
device = \"tpu\"

[limits]
memory = \"128Mib\"
timeout = \"30 parsecs\"
concurency = 3

[instances]
reuse = \"often\"
";
    let ran = build(folder.path(), manifest).await.expect_error(1, &[]);
    let expected = [
        "function/nocti.toml:1: name: 'Bad_Name'",
        "function/nocti.toml:2: verison: unknown key; did you mean 'version'?",
        "function/nocti.toml:6: component.path: function/gone.wasm does not exist",
        "function/nocti.toml:10: model.path: function/gone.onnx does not exist",
        "function/nocti.toml:11: model.device: 'tpu' is not a device",
        "function/nocti.toml:14: limits.memory: '128Mib' is not a size",
        "function/nocti.toml:15: limits.timeout: '30 parsecs' is not a duration",
        "function/nocti.toml:16: limits.concurency: unknown key; did you mean 'concurrency'?",
        "function/nocti.toml:19: instances.reuse: must be a whole number",
    ];
    let lines: Vec<&str> = ran.message().lines().collect();
    assert_eq!(lines.len(), expected.len(), "{ran:#?}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "'{line}' does not begin with '{expected}'");
    }
}

#[tokio::test]
async fn all_missing_files_are_told_with_file_line_and_key() {
    let folder = TempDir::new().unwrap();
    let manifest = "name = \"f\"\nversion = \"1\"\n[component]\npath = \"gone.wasm\"\n[[model]]\nname = \"m\"\n\
                    path = \"gone.onnx\"\n[[model]]\nname = \"n\"\npath = \".\"\n[assets]\n\"labels.txt\" = \"gone.txt\"\n";
    let ran = build(folder.path(), manifest).await;
    let ran = ran.expect_error(
        1,
        &[
            "function/nocti.toml:4: component.path: function/gone.wasm does not exist",
            "function/nocti.toml:7: model.path: function/gone.onnx does not exist",
            "function/nocti.toml:10: model.path: function/. is not a file",
            "function/nocti.toml:12: assets.\"labels.txt\": function/gone.txt does not exist",
        ],
    );
    assert_eq!(ran.message().lines().count(), 4, "{ran:?}");
    let nowhere = nocti_in(folder.path(), &["build", "nowhere"]).await;
    nowhere.expect_error(1, &["no nocti.toml in nowhere", "nocti new"]);
    build(folder.path(), "name = ").await.expect_error(1, &["function/nocti.toml:1: not valid TOML"]);
}

#[tokio::test]
async fn what_is_no_component_is_refused_with_what_it_is() {
    let folder = TempDir::new().unwrap();
    let manifest = "name = \"f\"\nversion = \"1\"\n[component]\npath = \"../c.wasm\"\n";
    let release = example("target/wasm32-wasip2/release");
    let guest = |file: &str| std::fs::read(release.join(file)).unwrap();
    let whole = guest("hello_http.wasm");
    let cases = [
        (b"\0asm\x01\0\0\0".to_vec(), vec!["core module", "--target wasm32-wasip2"]),
        (
            b"\0asm\x0d\0\x01\0".to_vec(),
            vec!["exports nothing", "nocti:function/predictor", "wasi:http/incoming-handler"],
        ),
        (guest("missing_import.wasm"), vec!["imports what the host does not have", "nocti-test:missing/nothing@1.2.3"]),
        (b"hello".to_vec(), vec!["not a WebAssembly file"]),
        (whole[..whole.len() / 2].to_vec(), vec!["cut off or damaged"]),
    ];
    for (content, parts) in cases {
        std::fs::write(folder.path().join("c.wasm"), content).unwrap();
        let ran = build(folder.path(), manifest).await.expect_error(1, &parts);
        assert!(ran.message().contains("c.wasm") && ran.message().lines().count() == 1, "{ran:?}");
        // On its own, without a manifest, it is no better.
        nocti_in(folder.path(), &["deploy", "c.wasm"]).await.expect_error(1, &["c.wasm"]);
    }
    assert!(!folder.path().join("function/f-1.wasm").exists());
}

#[tokio::test]
async fn a_build_command_that_fails_is_shown_with_its_output() {
    let folder = TempDir::new().unwrap();
    let manifest = "name = \"f\"\nversion = \"1\"\n[component]\npath = \"c.wasm\"\n\
                    build = \"echo said on stdout; echo said on stderr >&2; pwd; exit 7\"\n";
    let ran = build(folder.path(), manifest).await;
    let ran = ran.expect_error(1, &["the build command of function/nocti.toml failed", "7"]);
    let told = |what: &str| assert!(ran.err.contains(what), "{ran:?}");
    told("said on stdout");
    told("said on stderr");
    told("/function\n");
}

#[tokio::test]
async fn what_is_built_and_inspected_is_the_same() {
    let folder = TempDir::new().unwrap();
    let model = example("iris/iris.onnx");
    let manifest = format!("name = \"f\"\nversion = \"1\"\n[[model]]\nname = \"m\"\npath = {:?}\n", text(&model));
    std::fs::create_dir(folder.path().join("function")).unwrap();
    std::fs::write(folder.path().join("function/nocti.toml"), manifest).unwrap();
    let built = nocti_in(folder.path(), &["build", "function", "--json", "-o", "b.wasm"]).await.expect(0);
    let (built, err) = (built.json(), built.err);
    assert_eq!(err, "", "there was nothing to say");
    let inspected = nocti_in(folder.path(), &["inspect", "b.wasm", "--json"]).await.expect(0).json();
    for key in ["function", "version", "digest"] {
        assert_eq!(built[key], inspected[key]);
    }
    assert_eq!(inspected["models"][0]["signature"]["inputs"][0]["name"], "features", "{inspected}");
    let of_model = nocti_in(folder.path(), &["inspect", text(&model), "--json"]).await.expect(0).json();
    assert_eq!(of_model["signature"], inspected["models"][0]["signature"]);
    // Damage is found, wherever it is.
    let whole = std::fs::read(folder.path().join("b.wasm")).unwrap();
    for at in [60, whole.len() / 2, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        std::fs::write(folder.path().join("damaged.wasm"), damaged).unwrap();
        nocti_in(folder.path(), &["inspect", "damaged.wasm"]).await.expect_error(1, &["damaged.wasm"]);
        std::fs::write(folder.path().join("cut.wasm"), &whole[..at]).unwrap();
        nocti_in(folder.path(), &["inspect", "cut.wasm"]).await.expect_error(1, &["cut.wasm"]);
    }
    nocti_in(folder.path(), &["inspect", "function/nocti.toml"]).await.expect_error(2, &["no .wasm and no .onnx file"]);
    nocti_in(folder.path(), &["inspect", "gone.wasm"]).await.expect_error(1, &["gone.wasm"]);
}

#[tokio::test]
async fn inspect_says_of_which_models_requests_can_share_runs() {
    let folder = TempDir::new().unwrap();
    let inspect = async |file: &str| nocti_in(folder.path(), &["inspect", file, "--json"]).await.expect(0).json();
    // The second has a fixed first dimension, the third an output without any.
    for (model, batchable) in [("rows.onnx", true), ("slow.onnx", false), ("scalar.onnx", false)] {
        let model = fixture_model(model);
        assert_eq!(inspect(text(&model)).await["batchable"], batchable, "{model:?}");
        let manifest = format!("name = \"f\"\nversion = \"1\"\n[[model]]\nname = \"m\"\npath = {:?}\n", text(&model));
        build(folder.path(), &manifest).await.expect(0);
        assert_eq!(inspect("function/f-1.wasm").await["models"][0]["batchable"], batchable, "{model:?}");
    }
}

#[tokio::test]
async fn inspect_and_build_work_without_a_host_and_models_without_onnx_runtime_are_said_to_be_unknown() {
    let folder = TempDir::new().unwrap();
    let model = example("iris/iris.onnx");
    let inspect = |file: &str| {
        let mut command = nocti();
        command.current_dir(folder.path()).args(["inspect", file]).env("NOCTI_ONNXRUNTIME_LIBRARY", "/nowhere");
        run(command)
    };
    inspect(text(&model)).await.expect_error(1, &["ONNX Runtime was not found", "scripts/setup"]);
    let manifest = format!("name = \"f\"\nversion = \"1\"\n[[model]]\nname = \"m\"\npath = {:?}\n", text(&model));
    build(folder.path(), &manifest).await.expect(0);
    let ran = inspect("function/f-1.wasm").await.expect(0);
    assert!(ran.out.contains("not known: ONNX Runtime was not found"), "{ran:?}");
}

#[tokio::test]
async fn what_cannot_be_deployed_leaves_nothing() {
    let (store, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let host = HostProcess::start(store.path(), &[]).await;
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let (notes, onnx) = (file("notes.txt", b"hello"), file("m.onnx", b"this is no model"));
    ask(&host, &["deploy", text(&notes)]).await.expect_error(2, &["notes.txt is no bundle"]);
    ask(&host, &["deploy", text(&onnx)]).await.expect_error(1, &["model"]);
    ask(&host, &["deploy", text(&folder.path().join("gone.onnx"))]).await.expect_error(1, &["gone.onnx"]);
    ask(&host, &["deploy", text(folder.path())]).await.expect_error(1, &["there is no nocti.toml"]);
    ask(&host, &["deploy", text(&onnx), "--name", "Bad Name"]).await.expect_error(2, &["'Bad Name'"]);
    assert_eq!(ask(&host, &["list", "--json"]).await.expect(0).json(), json!({"functions": []}));
}
