//! What others see of it: by plain requests, as the registry answers them.

use nocti_tests::example;
use reqwest::header::ACCEPT;

use super::*;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// What the registry has at a path below `/v2/`.
async fn raw(registry: &OciRegistry, path: &str) -> Vec<u8> {
    let request = client().get(format!("http://{}/v2/{path}", registry.host)).header(ACCEPT, MANIFEST);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    answer.bytes().await.unwrap().to_vec()
}

async fn blob(registry: &OciRegistry, name: &str, descriptor: &Value) -> Vec<u8> {
    let digest = descriptor["digest"].as_str().unwrap();
    let content = raw(registry, &format!("{name}/blobs/{digest}")).await;
    assert_eq!(
        (format!("sha256:{}", Digest::of(&content)), content.len() as u64),
        (digest.into(), bytes(descriptor, "size"))
    );
    content
}

#[tokio::test]
async fn other_tools_find_a_component_that_works_in_the_first_layer() {
    let (registry, desk) = (OciRegistry::start().await, Desk::new());
    desk.pushed("1.0.0", &format!("{}/hello", registry.host)).await;
    let manifest: Value = serde_json::from_slice(&raw(&registry, "hello/manifests/1.0.0").await).unwrap();
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.wasm.config.v0+json");
    let kinds = manifest["layers"].as_array().unwrap().iter().map(|layer| layer["mediaType"].as_str().unwrap());
    assert_eq!(kinds.collect::<Vec<_>>(), ["application/wasm", "application/vnd.nocti.asset.v1"]);
    let component = blob(&registry, "hello", &manifest["layers"][0]).await;
    wasmparser::validate(&component).expect("a component");
    assert!(component == std::fs::read(project("1.0.0").path().join("c.wasm")).unwrap());
    let config: Value = serde_json::from_slice(&blob(&registry, "hello", &manifest["config"]).await).unwrap();
    assert_eq!((&config["architecture"], &config["os"]), (&json!("wasm"), &json!("wasip2")));
    let exports = config["component"]["exports"].as_array().unwrap();
    assert!(
        exports.iter().any(|export| export.as_str().unwrap().starts_with("wasi:http/incoming-handler@")),
        "{config}"
    );
}

/// Some tools take no artifact with more.
#[tokio::test]
async fn code_alone_is_one_layer() {
    let (registry, desk) = (OciRegistry::start().await, Desk::new());
    let component = example("target/wasm32-wasip2/release/hello_http.wasm");
    desk.nocti(&["push", text(&component), &format!("{}/code:1", registry.host)]).await.expect(0);
    let manifest: Value = serde_json::from_slice(&raw(&registry, "code/manifests/1").await).unwrap();
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 1, "{manifest}");
    assert!(blob(&registry, "code", &manifest["layers"][0]).await == std::fs::read(component).unwrap());
}
