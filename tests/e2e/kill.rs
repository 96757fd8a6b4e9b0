//! SIGKILL at any moment of a deploy: what is there afterwards is the old state or the new, never half.

use std::path::{Path, PathBuf};

use nocti_tests::{HostProcess, bundle, eventually, example};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Ran, ask, get, text};

/// More than the store gathers before it writes, so that a part of it is on the disk before all of it is there.
const ASSET_BYTES: usize = 10 << 20;

/// When the process is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// The head of the request has arrived, and nothing of the bundle.
    BeforeTheFirstByte,
    InsideTheManifest,
    InsideTheComponent,
    InsideTheModel,
    /// A part of the asset is on the disk.
    InsideTheAsset,
    BeforeTheLastByte,
    /// All was sent; what the host has done by then is left to chance.
    AfterTheLastByte,
    /// The manifest is in the store, the last thing to be written but one.
    AfterTheManifest,
    /// The revision is in the store: it is deployed, though nobody has been told.
    AfterTheRevision,
    AfterTheAnswer,
}

use Moment::*;

/// What must be there after a restart.
#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Old,
    New,
    Either,
}

/// A version of the function `f`, no byte of which is in another version.
struct Version {
    name: String,
    bundle: Vec<u8>,
    /// Where in the bundle the asset begins.
    asset: usize,
    _folder: TempDir,
}

impl Version {
    fn new(name: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let mut component = std::fs::read(example("target/wasm32-wasip2/release/hello_http.wasm")).unwrap();
        // A custom section of one letter's name makes it another component that does the same.
        component.extend([0, u8::try_from(2 + name.len()).unwrap(), 1, b'v']);
        component.extend(name.as_bytes());
        std::fs::write(folder.path().join("component.wasm"), component).unwrap();
        let mut asset = vec![0; ASSET_BYTES];
        asset[..name.len()].copy_from_slice(name.as_bytes());
        std::fs::write(folder.path().join("asset"), asset).unwrap();
        let model = example("iris/iris.onnx");
        let manifest = format!(
            "name = \"f\"\nversion = \"{name}\"\n[component]\npath = \"component.wasm\"\n\
             [[model]]\nname = \"iris\"\npath = {:?}\n[assets]\nlarge = \"asset\"\n[env]\nGREETING = \"{name}\"\n",
            text(&model)
        );
        std::fs::write(folder.path().join("nocti.toml"), manifest).unwrap();
        let bundle = bundle(folder.path());
        let asset = find(&bundle, b"nocti.asset.large");
        Self { name: name.to_owned(), bundle, asset, _folder: folder }
    }

    /// How much of the bundle is sent.
    fn sent(&self, moment: Moment) -> usize {
        match moment {
            BeforeTheFirstByte => 0,
            InsideTheManifest => find(&self.bundle, b"nocti.manifest") + 40,
            InsideTheComponent => find(&self.bundle, b"nocti.digest") + 20_000,
            InsideTheModel => find(&self.bundle, b"nocti.model.iris") + 100,
            InsideTheAsset => self.asset + (9 << 20),
            BeforeTheLastByte => self.bundle.len() - 1,
            AfterTheLastByte | AfterTheManifest | AfterTheRevision | AfterTheAnswer => self.bundle.len(),
        }
    }

    /// Sends so much of the bundle as a deploy, beginning when the host is ready to take it.
    async fn send(&self, host: &HostProcess, bytes: usize) -> TcpStream {
        let mut stream = TcpStream::connect(host.url.trim_start_matches("http://")).await.unwrap();
        let head = format!(
            "POST /api/functions HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
            self.bundle.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut go_on = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
        stream.read_exact(&mut go_on).await.unwrap();
        stream.write_all(&self.bundle[..bytes]).await.unwrap();
        stream
    }

    /// Deploys it by hand and kills the host at that moment.
    async fn deploy_and_kill(&self, host: HostProcess, store: &Path, moment: Moment) {
        let revisions = files(&store.join("functions/f")).len();
        let blobs = files(&store.join("blobs/sha256"));
        let mut stream = self.send(&host, self.sent(moment)).await;
        match moment {
            BeforeTheFirstByte | InsideTheManifest | InsideTheComponent | AfterTheLastByte => {}
            InsideTheModel => new_blobs(store, &blobs, 1).await,
            InsideTheAsset | BeforeTheLastByte => {
                let staged =
                    || staged(store).iter().any(|file| file.metadata().is_ok_and(|found| found.len() >= 8 << 20));
                eventually("a part of the asset", async || staged().then_some(())).await;
            }
            // Component and asset came before it; the model is the same in all versions.
            AfterTheManifest => new_blobs(store, &blobs, 3).await,
            AfterTheRevision => {
                let written = || files(&store.join("functions/f")).len() > revisions;
                eventually("the revision", async || written().then_some(())).await;
            }
            AfterTheAnswer => {
                let mut answer = [0; "HTTP/1.1 201 Created".len()];
                stream.read_exact(&mut answer).await.unwrap();
                assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 201 Created");
            }
        }
        host.kill().await;
    }
}

/// Waits until so many parts more are whole in the store.
async fn new_blobs(store: &Path, before: &[PathBuf], count: usize) {
    let seen = || files(&store.join("blobs/sha256")).iter().filter(|file| !before.contains(file)).count();
    eventually("blobs", async || (seen() >= count).then_some(())).await;
}

fn find(bundle: &[u8], name: &[u8]) -> usize {
    bundle.windows(name.len()).position(|window| window == name).expect("the section is there")
}

/// The objects in a folder of the store.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.filter(|path| !text(path).contains('#')).collect()
}

/// What is half written in a store.
fn staged(store: &Path) -> Vec<PathBuf> {
    let folders = [store.join("blobs/sha256"), store.join("functions/f")];
    let entries = folders.iter().flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten());
    entries.map(|entry| entry.unwrap().path()).filter(|path| text(path).contains('#')).collect()
}

/// The versions that are listed.
async fn listed(host: &HostProcess) -> Vec<String> {
    let list = ask(host, &["list", "--json"]).await.expect(0).json();
    let functions = list["functions"].as_array().expect("a list");
    assert_eq!(functions.len(), 1, "{list}");
    serde_json::from_value(functions[0]["versions"].clone()).expect("names")
}

/// Asserts that everything listed is there and answers, and that the alias points at `live`.
async fn check(host: &HostProcess, versions: &[String], live: &str) {
    for version in versions {
        let answer = get(host, &format!("/functions/f@{version}/env")).await;
        assert_eq!((answer.status, answer.text()), (200, format!("{version}\n")));
    }
    assert_eq!(get(host, "/functions/f/env").await.text(), format!("{live}\n"));
    let shown = ask(host, &["show", "f", "--json"]).await.expect(0).json();
    assert_eq!(shown["aliases"], json!({"live": {live: 100}}), "{shown}");
    assert_eq!(shown["versions"].as_array().map(Vec::len), Some(versions.len()), "{shown}");
}

#[tokio::test]
async fn a_kill_at_any_moment_of_a_deploy_leaves_the_old_state_or_the_new() {
    let store = TempDir::new().unwrap();
    let folder = TempDir::new().unwrap();
    let first = Version::new("1.0.0");
    let mut host = HostProcess::start(store.path(), &[]).await;
    deployed(&host, folder.path(), &first).await;
    let mut versions = vec![first.name];
    for (number, (moment, expected)) in (1..).zip([
        (BeforeTheFirstByte, State::Old),
        (InsideTheManifest, State::Old),
        (InsideTheComponent, State::Old),
        (InsideTheModel, State::Old),
        (InsideTheAsset, State::Old),
        (BeforeTheLastByte, State::Old),
        (AfterTheLastByte, State::Either),
        (AfterTheManifest, State::Either),
        (AfterTheRevision, State::New),
        (AfterTheAnswer, State::New),
    ]) {
        let version = Version::new(&format!("1.{number}.0"));
        version.deploy_and_kill(host, store.path(), moment).await;
        if matches!(moment, InsideTheAsset | BeforeTheLastByte) {
            assert!(!staged(store.path()).is_empty(), "{moment:?} leaves something to be swept");
        }

        host = HostProcess::start(store.path(), &[]).await;
        assert_eq!(staged(store.path()), [""; 0].map(PathBuf::from), "{moment:?}");
        let old = versions.clone();
        versions.push(version.name.clone());
        let found = listed(&host).await;
        let state = if found == old { State::Old } else { State::New };
        assert!(found == old || found == versions, "{moment:?}: half of it: {found:?}");
        assert!(expected == State::Either || expected == state, "{moment:?}: {state:?}");
        check(&host, &found, found.last().expect("one at least")).await;

        let ran = deployed(&host, folder.path(), &version).await;
        let said = if state == State::New { "already there: f" } else { "deployed f" };
        assert!(ran.out.starts_with(said), "{moment:?}: {ran:?}");
        assert_eq!(listed(&host).await, versions);
        check(&host, &versions, &version.name).await;
    }
    let (_, log) = {
        host.signal("TERM").await;
        host.wait().await
    };
    assert!(!log.contains("ERROR") && !log.contains("WARN"), "{log}");
}

/// Deploys a version as a user does.
async fn deployed(host: &HostProcess, folder: &Path, version: &Version) -> Ran {
    let file = folder.join(format!("{}.wasm", version.name));
    std::fs::write(&file, &version.bundle).unwrap();
    ask(host, &["deploy", text(&file)]).await.expect(0)
}

#[tokio::test]
async fn a_client_that_goes_away_in_the_middle_leaves_nothing() {
    let (store, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let host = HostProcess::start(store.path(), &[]).await;
    let version = Version::new("1.0.0");
    let stream = version.send(&host, version.sent(InsideTheAsset)).await;
    eventually("a part of the asset", async || (!staged(store.path()).is_empty()).then_some(())).await;
    drop(stream);
    eventually("it is taken away", async || staged(store.path()).is_empty().then_some(())).await;
    assert_eq!(get(&host, "/api/functions").await.expect(200), json!({"functions": []}));
    deployed(&host, folder.path(), &version).await;
    check(&host, &[version.name], "1.0.0").await;
}

#[tokio::test]
async fn a_damaged_store_says_what_is_damaged_and_serves_the_rest() {
    let (store, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let host = HostProcess::start(store.path(), &[]).await;
    deployed(&host, folder.path(), &Version::new("1.0.0")).await;
    let iris = example("iris/iris.onnx");
    ask(&host, &["deploy", text(&iris)]).await.expect(0);
    host.kill().await;
    let revision = store.path().join("functions/f/00000000000000000001.json");
    let content = std::fs::read_to_string(&revision).unwrap();
    std::fs::write(&revision, &content[..content.len() / 2]).unwrap();

    let host = HostProcess::start(store.path(), &[]).await;
    let ran = ask(&host, &["invoke", "iris", "--json", "-d", "{\"features\": [5.1, 3.5, 1.4, 0.2]}"]).await.expect(0);
    assert_eq!(ran.json()["outputs"][0]["data"], json!([0]));
    ask(&host, &["show", "f"]).await.expect_error(1, &["functions/f/00000000000000000001.json", "damaged"]);
    let list: Value = ask(&host, &["list", "--json"]).await.expect(0).json();
    assert_eq!(list["functions"].as_array().map(Vec::len), Some(1), "{list}");
    host.signal("TERM").await;
    let (code, log) = host.wait().await;
    assert!(code == Some(0) && log.contains("cannot be used"), "{log}");
    assert_eq!(std::fs::read_to_string(&revision).unwrap(), content[..content.len() / 2], "nobody has touched it");
}
