use std::time::Duration;

use super::*;
use crate::registry::device::Device;
use crate::tensor::Datatype;

/// The document of the user's guide, with every table there is.
const FULL: &str = r#"
name = "digits"
version = "1.0.0"
description = "Hand-written digits, 8x8 grey"
authors = ["Ada"]
tags = ["vision", "classification"]
license = "Apache-2.0"

[component]
path = "target/wasm32-wasip2/release/digits.wasm"
build = "cargo build --release --target wasm32-wasip2"

[[model]]
name = "digits"
path = "model/digits.onnx"
device = "cuda:1"
max_batch = 8
max_delay = "500us"
sessions = 3
intra_threads = 2
warmup = false

[assets]
"labels.txt" = "model/labels.txt"

[signature]
inputs  = [{ name = "image", datatype = "UINT8", shape = [-1, 8, 8] }]
outputs = [{ name = "label", datatype = "INT64", shape = [-1] }, { name = "scores", datatype = "FP32", shape = [-1, 10] }]

[limits]
memory = "64MiB"
timeout = "5s"
concurrency = 3

[instances]
reuse = 1
min_warm = 1
max_warm = 2
idle_timeout = "1m"
concurrent = 4

[network]
allow = ["https://API.example.com:443", "http://*.example.org:8080"]

[env]
LABELS = "en"

[metrics]
accuracy = 0.978
epochs = 20
"#;

fn mistakes(text: &str) -> String {
    let error = Project::parse(Path::new("f"), text).expect_err("the document has mistakes");
    assert!(matches!(error, ProjectError::Invalid(_)));
    error.to_string()
}

#[test]
fn every_key_is_read() {
    let project = Project::parse(Path::new("f"), FULL).expect("the document is valid");
    let manifest = &project.manifest;
    assert_eq!((manifest.name.as_str(), manifest.version.as_str()), ("digits", "1.0.0"));
    assert_eq!((manifest.limits.memory, manifest.limits.timeout), (64 << 20, Duration::from_secs(5)));
    assert_eq!((manifest.instances.reuse, manifest.instances.max_warm, manifest.instances.concurrent), (1, 2, 4));
    let allowed: Vec<_> = manifest.network.allow.iter().map(ToString::to_string).collect();
    assert_eq!(allowed, ["https://api.example.com", "http://*.example.org:8080"]);
    assert_eq!(manifest.env["LABELS"], "en");
    assert_eq!((manifest.metrics["accuracy"], manifest.metrics["epochs"]), (0.978, 20.0));
    let signature = manifest.signature.as_ref().expect("there is a signature");
    assert_eq!(signature.inputs[0].shape, [-1, 8, 8]);
    assert_eq!(signature.outputs[1].datatype, Datatype::Fp32);
    let component = project.component.expect("there is a component");
    assert_eq!(component.file.path, Path::new("f/target/wasm32-wasip2/release/digits.wasm"));
    assert_eq!(component.build.as_deref(), Some("cargo build --release --target wasm32-wasip2"));
    let options = ModelOptions {
        device: Device::Cuda(Some(1)),
        max_batch: 8,
        max_delay: Duration::from_micros(500),
        sessions: 3,
        intra_threads: 2,
        warmup: false,
    };
    assert_eq!(project.models[0].options, options);
    assert_eq!(project.assets[0].path.as_str(), "labels.txt");
    assert_eq!(project.assets[0].file.path, Path::new("f/model/labels.txt"));
}

#[test]
fn what_is_left_out_has_a_default() {
    let text = "name = 'iris'\nversion = '1'\n[[model]]\nname = 'iris'\npath = 'iris.onnx'\n";
    let project = Project::parse(Path::new("f"), text).expect("a model-only function");
    assert!(project.component.is_none());
    assert_eq!(project.models[0].options, ModelOptions::default());
    assert_eq!(project.manifest, Manifest::new("iris".parse().unwrap(), "1".parse().unwrap()));
}

#[test]
fn all_mistakes_are_reported_together_top_to_bottom() {
    let text = r#"
nmae = "digits"
version = "1 0"
authors = ["Ada", 7]
[component]
path = 3
[[model]]
name = "a/b"
device = "gpu"
warmup = "yes"
[[model]]
name = "b"
path = "b.onnx"
max_batch = 0
intra_threads = -1
[[model]]
name = "b"
path = ""
[assets]
labels.txt = "labels.txt"
"../up" = "x"
[signature]
inputs = [{ name = "", datatype = "FLOAT", shape = [-2] }, { name = "x", datatype = "FP32" }]
[limits]
memory = "128MB"
timeout = 30
concurency = 1
[instances]
min_warm = 17
[network]
allow = ["example.org"]
[env]
"A B" = "x"
N = 1
[metrics]
a = nan
b = "x"
"#;
    insta::assert_snapshot!(mistakes(text), @r#"
    f/nocti.toml:1: name: is missing
    f/nocti.toml:2: nmae: unknown key; did you mean 'name'?
    f/nocti.toml:3: version: '1 0' is not a valid version: use 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-', with a letter or digit first
    f/nocti.toml:4: authors: must be text in quotes; found integer 7
    f/nocti.toml:6: component.path: must be text in quotes; found integer 3
    f/nocti.toml:7: model.path: is missing
    f/nocti.toml:8: model.name: 'a/b' is not a valid model name: use 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-', with a letter or digit first
    f/nocti.toml:9: model.device: 'gpu' is not a device: write auto, cpu, cuda or cuda:N
    f/nocti.toml:10: model.warmup: must be true or false; found string "yes"
    f/nocti.toml:14: model.max_batch: must be between 1 and 65536, not 0
    f/nocti.toml:15: model.intra_threads: must be a whole number from 0 to 4294967295; found integer -1
    f/nocti.toml:17: model.name: there is already a model 'b'
    f/nocti.toml:18: model.path: must name a file
    f/nocti.toml:20: assets.labels: must be the name of a file in quotes; a path with a dot needs quotes too, as in "labels.txt" = "labels.txt"
    f/nocti.toml:21: assets."../up": '../up' is not a valid asset path: use a relative path of at most 255 bytes with '/' between its parts, none of them empty, '.' or '..', and no backslash or control character
    f/nocti.toml:23: signature.inputs.datatype: 'FLOAT' is not a datatype; use BOOL, UINT8 to UINT64, INT8 to INT64, FP16, BF16, FP32, FP64 or BYTES
    f/nocti.toml:23: signature.inputs: a tensor's name must be non-empty text without control characters
    f/nocti.toml:23: signature.inputs.shape: is missing
    f/nocti.toml:25: limits.memory: '128MB' is not a size: write a whole number and a unit (B, KiB, MiB or GiB), for example "128MiB"
    f/nocti.toml:26: limits.timeout: '30' is not a duration: write a whole number and a unit (ms, s, m or h), for example "30s"
    f/nocti.toml:27: limits.concurency: unknown key; did you mean 'concurrency'?
    f/nocti.toml:28: instances: max_warm must be at least min_warm, but 16 is less than 17
    f/nocti.toml:31: network.allow: 'example.org': the scheme is missing: write scheme://host or scheme://host:port, for example "https://api.example.com" or "https://*.example.com:8443" for all names below it
    f/nocti.toml:33: env."A B": is not a name for an environment variable: use A-Z, a-z, 0-9 and '_', not a digit first
    f/nocti.toml:34: env.N: must be text in quotes; found integer
    f/nocti.toml:36: metrics.a: must be a finite number, not NaN
    f/nocti.toml:37: metrics.b: must be a number; found string
    "#);
}

#[test]
fn text_that_is_not_toml_is_reported_with_its_line() {
    insta::assert_snapshot!(mistakes("name = \"x\"\nversion = \nname = \"y\"\n[limits\n"), @r#"
    f/nocti.toml:2: not valid TOML: string values must be quoted, expected literal string
    f/nocti.toml:3: not valid TOML: duplicate key
    f/nocti.toml:4: not valid TOML: unclosed table, expected `]`
    "#);
}

#[test]
fn tables_of_the_wrong_type_are_reported() {
    insta::assert_snapshot!(mistakes("name='a'\nversion='1'\nlimits=1\nmodel='m'\nenv=[]\n[component]\npath='c'\n"), @r#"
    f/nocti.toml:3: limits: must be a table; found integer 1
    f/nocti.toml:4: model: must be a list of tables, each under [[model]]; found string "m"
    f/nocti.toml:5: env: must be a table; found array
    "#);
}

#[test]
fn a_function_without_component_is_one_model() {
    insta::assert_snapshot!(mistakes("name='a'\nversion='1'\n"), @"f/nocti.toml:1: component: a function without [component] serves exactly one model, but there are 0; add a component or keep one");
}

#[test]
fn files_are_checked_apart_and_together() {
    let dir = tempfile::tempdir().unwrap();
    let project = Project::parse(dir.path(), FULL).expect("the document is valid");
    std::fs::create_dir_all(dir.path().join("model/labels.txt")).unwrap();
    std::fs::write(dir.path().join("model/digits.onnx"), "").unwrap();
    let shown = project.check_files().expect_err("no file is right").to_string();
    let shown = shown.replace(&dir.path().display().to_string(), "f");
    insta::assert_snapshot!(shown, @r#"
    f/nocti.toml:10: component.path: f/target/wasm32-wasip2/release/digits.wasm does not exist
    f/nocti.toml:15: model.path: f/model/digits.onnx is empty
    f/nocti.toml:24: assets."labels.txt": f/model/labels.txt is not a file
    "#);

    std::fs::remove_dir(dir.path().join("model/labels.txt")).unwrap();
    std::fs::write(dir.path().join("model/labels.txt"), "").unwrap();
    std::fs::write(dir.path().join("model/digits.onnx"), "onnx").unwrap();
    std::fs::create_dir_all(dir.path().join("target/wasm32-wasip2/release")).unwrap();
    std::fs::write(dir.path().join("target/wasm32-wasip2/release/digits.wasm"), "wasm").unwrap();
    project.check_files().expect("all files are there; an asset may be empty");
}

#[test]
fn missing_files_are_told_with_the_other_mistakes() {
    let dir = tempfile::tempdir().unwrap();
    let text = FULL.replace("version =", "verzion =").replace("64MiB", "12parsecs");
    std::fs::write(dir.path().join(FILE_NAME), text).unwrap();
    let shown = Project::load(dir.path()).expect_err("there are mistakes").to_string();
    let keys: Vec<&str> = shown.lines().map(|line| line.split(": ").nth(1).unwrap()).collect();
    // Not the component, which the build command would make.
    assert_eq!(keys, ["version", "verzion", "model.path", "assets.\"labels.txt\"", "limits.memory"], "{shown}");
    assert!(shown.contains("/nocti.toml:15: model.path: ") && shown.contains("digits.onnx does not exist"), "{shown}");
}

#[test]
fn a_folder_without_manifest_says_how_to_get_one() {
    let dir = tempfile::tempdir().unwrap();
    let error = Project::load(dir.path()).expect_err("the folder is empty").to_string();
    assert!(error.contains("nocti new"), "{error}");
    std::fs::write(dir.path().join(FILE_NAME), FULL).unwrap();
    assert_eq!(Project::load(dir.path()).expect("now there is one").models.len(), 1);
}

#[test]
fn a_bare_model_makes_a_project() {
    let project = Project::for_model(Path::new("m/iris.onnx"), "iris".parse().unwrap(), "1".parse().unwrap());
    let error = project.check_files().expect_err("there is no such file").to_string();
    assert_eq!(error, "m/iris.onnx: does not exist");
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "\\PC*|([a-z.\\[\\]={}\"' \n]|name|version|model|limits|signature|inputs|-1){0,40}") {
        let _ = Project::parse(Path::new("f"), &text);
    }
}
