use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::registry::manifest::{Asset, Model, ModelOptions};

fn function(with_component: bool) -> Manifest {
    let mut manifest = Manifest::new("digits".parse().unwrap(), "1.0.0".parse().unwrap());
    manifest.component = with_component.then(|| Blob::of(b"component"));
    let options = ModelOptions::default();
    manifest.models.push(Model { name: "net".parse().unwrap(), blob: Blob::of(b"weights"), options });
    manifest.assets.push(Asset { path: "labels/en.txt".parse().unwrap(), blob: Blob::of(b"") });
    manifest.authors = vec!["Ada".to_owned(), "Grace".to_owned()];
    manifest.license = Some("MIT".to_owned());
    manifest
}

fn outside() -> Component {
    Component { exports: vec!["wasi:http/incoming-handler@0.2.0".into()], imports: vec!["wasi:io/poll@0.2.0".into()] }
}

fn artifact(manifest: &Manifest) -> Artifact {
    Artifact::of(manifest, manifest.component.map(|_| outside())).unwrap()
}

fn read(artifact: &Artifact) -> Result<Manifest, ArtifactError> {
    let (image, config) = image(&artifact.manifest)?;
    assert_eq!(config, Blob::of(&artifact.config));
    manifest(&image, &artifact.config)
}

#[test]
fn others_find_the_component_first_and_a_config_as_they_know_it() {
    let artifact = artifact(&function(true));
    let manifest: Value = serde_json::from_slice(&artifact.manifest).unwrap();
    assert_eq!(manifest["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.wasm.config.v0+json");
    let layers: Vec<_> = (manifest["layers"].as_array().unwrap().iter())
        .map(|layer| (layer["mediaType"].clone(), layer["annotations"]["org.opencontainers.image.title"].clone()))
        .collect();
    let expected = [
        ("application/wasm", "digits.wasm"),
        ("application/vnd.nocti.model.v1+onnx", "models/net.onnx"),
        ("application/vnd.nocti.asset.v1", "assets/labels/en.txt"),
    ];
    assert_eq!(layers, expected.map(|(kind, title)| (json!(kind), json!(title))));
    let about = |name: &str| manifest["annotations"][format!("org.opencontainers.image.{name}")].clone();
    assert_eq!(["title", "version", "licenses", "authors"].map(about), ["digits", "1.0.0", "MIT", "Ada, Grace"]);
    assert_eq!(about("description"), Value::Null, "it has none");

    let config: Value = serde_json::from_slice(&artifact.config).unwrap();
    assert_eq!((&config["architecture"], &config["os"]), (&json!("wasm"), &json!("wasip2")));
    assert_eq!(config["component"]["exports"], json!(["wasi:http/incoming-handler@0.2.0"]));
    assert_eq!(config["layerDigests"][0], manifest["layers"][0]["digest"]);
    assert_eq!(config["created"], "1970-01-01T00:00:00Z");
}

#[test]
fn what_is_pushed_reads_back_and_is_the_same_every_time() {
    for with_component in [true, false] {
        let function = function(with_component);
        let first = artifact(&function);
        assert_eq!(read(&first).unwrap(), function);
        let again = artifact(&function);
        assert_eq!((first.config, first.manifest), (again.config, again.manifest));
    }
    let config: Value = serde_json::from_slice(&artifact(&function(false)).config).unwrap();
    assert_eq!((&config["architecture"], &config["component"]), (&Value::Null, &Value::Null), "it is no WebAssembly");
}

#[test]
fn what_is_no_function_is_said_to_be_what_it_is() {
    let said = |manifest: Value| image(manifest.to_string().as_bytes()).expect_err("foreign").to_string();
    let config = |kind: &str| json!({"mediaType": kind, "digest": text(Digest::of(b"")), "size": 0});
    let of = |kind: &str| said(json!({"schemaVersion": 2, "config": config(kind), "layers": []}));
    assert!(of("application/vnd.docker.container.image.v1+json").contains("an image of a container"));
    assert!(of("application/vnd.cncf.helm.config.v1+json").contains("'application/vnd.cncf.helm.config.v1+json'"));
    assert!(said(json!({"schemaVersion": 2, "manifests": []})).contains("several platforms"));
    assert!(said(json!({"schemaVersion": 1, "fsLayers": []})).contains("old form"));
    assert!(said(json!({"schemaVersion": 2})).contains("not as OCI has it"));
    assert!(image(b"<html>").expect_err("foreign").to_string().contains("no JSON"));
    let (image, _) = image(&artifact(&function(true)).manifest).unwrap();
    assert!(manifest(&image, b"{}").expect_err("foreign").to_string().contains("it is a component"));
}

#[test]
fn layers_that_are_not_as_the_manifest_says_are_refused() {
    let artifact = artifact(&function(true));
    let changed = |change: &dyn Fn(&mut OciImageManifest)| {
        let (mut image, _) = image(&artifact.manifest).unwrap();
        change(&mut image);
        manifest(&image, &artifact.config).expect_err("damaged").to_string()
    };
    assert!(changed(&|image| drop(image.layers.pop())).contains("is missing"));
    assert!(changed(&|image| image.layers[1].size = 6).contains("has 6 bytes, not 7"));
    assert!(changed(&|image| image.layers[1].size = -1).contains("is no layer"));
    assert!(changed(&|image| image.layers[0].digest = "md5:1".into()).contains("is no layer"));
    let mut huge = function(true);
    huge.models[0].blob.size = 1 << 45;
    assert!(read(&self::artifact(&huge)).expect_err("too large").to_string().contains("claims to have"));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>()) {
        let _ = image(&bytes);
        let artifact = artifact(&function(true));
        for original in [&artifact.manifest, &artifact.config] {
            let mut flipped = original.clone();
            let at = at.index(flipped.len());
            flipped[at] ^= bytes.first().copied().unwrap_or(1);
            let _ = image(&flipped);
            let (image, _) = image(&artifact.manifest).unwrap();
            let _ = manifest(&image, &flipped);
        }
    }
}
