//! Functions that go to an OCI registry and come back, as a user types it.

use std::path::{Path, PathBuf};

use nocti::registry::digest::Digest;
use nocti_tests::{Dying, HostProcess, OciRegistry, bundle, fixture_model, model_bundle, nocti};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::blobs::{LARGE_BYTES, names, project};
use super::{Ran, client, get, infer, run, run_with, text};

mod failures;
mod https;
mod layout;

/// A folder to work in, where nobody has logged in anywhere.
struct Desk {
    folder: TempDir,
    server: Option<String>,
}

impl Desk {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap(), server: None }
    }

    fn with(host: &HostProcess) -> Self {
        Self { server: Some(host.url.clone()), ..Self::new() }
    }

    fn command(&self, words: &[&str]) -> tokio::process::Command {
        let mut command = nocti();
        command.args(words).current_dir(self.path()).env("DOCKER_CONFIG", self.path());
        // It must not matter for what is on this machine.
        command.env("HTTP_PROXY", "http://127.0.0.1:1");
        if let Some(server) = &self.server {
            command.env("NOCTI_SERVER", server);
        }
        command
    }

    async fn nocti(&self, words: &[&str]) -> Ran {
        run(self.command(words)).await
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// The bundle of `project(version)`, in a file.
    fn bundle(&self, version: &str) -> String {
        let name = format!("built-{version}.wasm");
        std::fs::write(self.file(&name), bundle(project(version).path())).unwrap();
        name
    }

    /// Pushes that.
    async fn pushed(&self, version: &str, place: &str) -> Value {
        self.nocti(&["push", &self.bundle(version), place, "--json"]).await.expect(0).json()
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.file(name)).unwrap()
    }
}

/// A number in an answer.
fn bytes(answer: &Value, name: &str) -> u64 {
    answer[name].as_u64().unwrap_or_else(|| panic!("no {name} in {answer}"))
}

async fn host() -> (HostProcess, TempDir) {
    let store = TempDir::new().unwrap();
    (HostProcess::start(store.path(), &[]).await, store)
}

#[tokio::test]
async fn what_was_pushed_comes_back_byte_by_byte() {
    let (registry, desk) = (OciRegistry::start().await, Desk::new());
    let place = format!("{}/team/hello", registry.host);
    let built = desk.bundle("1.0.0");
    let ran = desk.nocti(&["push", &built, &place]).await.expect(0);
    assert!(ran.out.starts_with(&format!("pushed hello 1.0.0 to {place}:1.0.0\n  digest  sha256:")), "{ran:?}");
    let again = desk.nocti(&["push", &built, &place, "--json"]).await.expect(0).json();
    assert_eq!((&again["sent_bytes"], &again["replaced"]), (&json!(0), &Value::Null), "it is the same every time");
    assert!(bytes(&again, "saved_bytes") > LARGE_BYTES as u64 && ran.out.contains(again["artifact"].as_str().unwrap()));

    let tagged = format!("{place}:1.0.0");
    let ran = desk.nocti(&["pull", &tagged]).await.expect(0);
    assert!(ran.out.starts_with("wrote hello-1.0.0.wasm ("), "{ran:?}");
    assert!(desk.read("hello-1.0.0.wasm") == desk.read(&built));
    desk.nocti(&["pull", &tagged]).await.expect_error(1, &["hello-1.0.0.wasm is there already", "--force"]);
    let pinned = format!("oci://{place}@{}", again["artifact"].as_str().unwrap());
    let pulled = desk.nocti(&["pull", &pinned, "--force", "--json"]).await.expect(0).json();
    assert_eq!((&pulled["digest"], &pulled["artifact"]), (&again["digest"], &again["artifact"]));
    desk.nocti(&["pull", &tagged, "-o", "other.wasm"]).await.expect(0);
    assert!(desk.read("other.wasm") == desk.read(&built));
    assert_eq!(names(desk.path()).len(), 3, "nothing else is left");
}

#[tokio::test]
async fn a_change_of_code_sends_no_weights() {
    let (registry, desk) = (OciRegistry::start().await, Desk::new());
    let place = format!("{}/hello", registry.host);
    let first = desk.pushed("1.0.0", &place).await;
    assert!(bytes(&first, "sent_bytes") > LARGE_BYTES as u64, "{first}");
    let before = registry.size_bytes();
    let second = desk.pushed("1.1.0", &place).await;
    let sent = bytes(&second, "sent_bytes");
    assert!(sent < 1_000_000 && bytes(&second, "saved_bytes") >= LARGE_BYTES as u64, "{second}");
    let (grown, manifest) = (registry.size_bytes() - before, 4096);
    assert!((sent..sent + manifest).contains(&grown), "{grown} bytes more of {sent}");

    // Another repository of the registry has them too, if it may ask.
    let elsewhere = format!("{}/elsewhere/hello:1", registry.host);
    let words = ["push", &desk.bundle("1.1.0"), &elsewhere, "--mount-from", "hello", "--json"];
    let mounted = desk.nocti(&words).await.expect(0).json();
    assert_eq!(mounted["sent_bytes"], 0, "{mounted}");
    assert!(bytes(&mounted, "mounted_bytes") > LARGE_BYTES as u64, "{mounted}");
    desk.nocti(&["pull", &elsewhere]).await.expect(0);
    assert!(desk.read("hello-1.1.0.wasm") == desk.read("built-1.1.0.wasm"));
}

#[tokio::test]
async fn a_tag_moves_and_it_is_said() {
    let (registry, desk) = (OciRegistry::start().await, Desk::new());
    let place = format!("{}/hello:latest", registry.host);
    let first = desk.pushed("1.0.0", &place).await;
    let ran = desk.nocti(&["push", &desk.bundle("1.1.0"), &place]).await.expect(0);
    let moved = format!("  moved   the tag from {}\n", first["artifact"].as_str().unwrap());
    assert!(ran.out.ends_with(&moved), "{ran:?}");
    desk.nocti(&["pull", &place]).await.expect(0);
    assert_eq!(names(desk.path()).iter().filter(|name| *name == "hello-1.1.0.wasm").count(), 1);
}

#[tokio::test]
async fn a_host_gets_what_it_lacks_from_the_registry() {
    let (registry, (host, _store)) = (OciRegistry::start().await, host().await);
    let desk = Desk::with(&host);
    let place = format!("{}/hello", registry.host);
    desk.pushed("1.0.0", &place).await;
    desk.pushed("1.1.0", &place).await;
    let deploy = async |version: &str, more: &[&str]| {
        let place = format!("oci://{place}:{version}");
        desk.nocti(&[&["deploy", &place, "--json"], more].concat()).await.expect(0).json()
    };
    let first = deploy("1.0.0", &[]).await;
    assert!(bytes(&first, "sent_bytes") > LARGE_BYTES as u64, "{first}");
    assert_eq!(get(&host, "/functions/hello/").await.status, 200);
    let second = deploy("1.1.0", &["--alias", "next"]).await;
    assert!(bytes(&second, "sent_bytes") < 1_000_000, "{second}");
    assert!(bytes(&second, "saved_bytes") >= LARGE_BYTES as u64, "{second}");
    assert_eq!(get(&host, "/functions/hello@1.1.0/").await.status, 200);
    let renamed = deploy("1.1.0", &["--name", "other", "--version", "2"]).await;
    assert_eq!((&renamed["function"], &renamed["version"]), (&json!("other"), &json!("2")));
    assert!(bytes(&renamed, "sent_bytes") < 10_000, "the manifest alone: {renamed}");

    // The other way: a version of the host goes to the registry.
    let pushed = desk.nocti(&["push", "hello@1.1.0", &format!("{place}-again"), "--json"]).await.expect(0).json();
    assert_eq!(pushed["digest"], second["digest"]);
    desk.nocti(&["pull", &format!("{place}-again:1.1.0")]).await.expect(0);
    assert!(desk.read("hello-1.1.0.wasm") == desk.read("built-1.1.0.wasm"));
    desk.nocti(&["push", "hello@9", &place]).await.expect_error(1, &["has versions 1.0.0, 1.1.0"]);
}

#[tokio::test]
async fn a_model_alone_goes_there_and_answers() {
    let (registry, (host, _store)) = (OciRegistry::start().await, host().await);
    let desk = Desk::with(&host);
    let (model, place) = (fixture_model("addsub.onnx"), format!("{}/models/addsub:1", registry.host));
    desk.nocti(&["push", text(&model), &place]).await.expect(0);
    desk.nocti(&["pull", &place, "-o", "m.wasm"]).await.expect(0);
    assert!(desk.read("m.wasm") == model_bundle("addsub", "1.0.0", &model));
    desk.nocti(&["deploy", &format!("oci://{place}")]).await.expect(0);
    let input = |name: &str| json!({"name": name, "datatype": "INT32", "shape": [1, 16], "data": vec![2; 16]});
    let answer = infer(&host, "addsub", json!([input("INPUT0"), input("INPUT1")])).await;
    assert_eq!(answer.expect(200)["outputs"][0]["data"], json!(vec![4; 16]));
}

#[tokio::test]
async fn a_registry_that_knows_its_users_knows_them() {
    let (registry, desk) = (OciRegistry::start_with_password().await, Desk::new());
    let (built, place) = (desk.bundle("1.0.0"), format!("{}/hello:1", registry.host));
    let stranger = [registry.host.as_str(), "wants to know who asks", "--username"];
    desk.nocti(&["push", &built, &place]).await.expect_error(1, &stranger);
    desk.nocti(&["pull", &place]).await.expect_error(1, &stranger);
    let with = async |words: &[&str], password: &str| {
        run_with(desk.command(&[words, &["--username", "ada", "--password-stdin"]].concat()), password).await
    };
    with(&["push", &built, &place], "wrong").await.expect_error(1, &["does not accept this user name and password"]);
    with(&["push", &built, &place], "").await.expect_error(1, &["no password on standard input"]);
    with(&["push", &built, &place], "secret\n").await.expect(0);
    desk.nocti(&["pull", &place, "--username", "ada"]).await.expect_error(2, &["--password-stdin"]);

    // As `docker login` keeps it: "ada:secret".
    let login = json!({"auths": {&registry.host: {"auth": "YWRhOnNlY3JldA=="}}});
    std::fs::write(desk.file("config.json"), login.to_string()).unwrap();
    desk.nocti(&["pull", &place]).await.expect(0);
    assert!(desk.read("hello-1.0.0.wasm") == desk.read(&built));
    let helped = json!({"auths": {&registry.host: {}}, "credsStore": "desktop"});
    std::fs::write(desk.file("config.json"), helped.to_string()).unwrap();
    let advice = ["docker-credential-desktop", "--password-stdin"];
    desk.nocti(&["pull", &place, "--force"]).await.expect_error(1, &advice);
}
