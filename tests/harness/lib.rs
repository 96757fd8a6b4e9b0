//! A real host for tests: the whole of it, in this process, on a free port, over a store of its own.
//!
//! A [`TestHost`] ends with the test: its task and its store go when it is dropped.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nocti::app::App;
use nocti::config::Config;
use nocti::registry::bundle::Bundle;
use nocti::registry::nocti_toml::Project;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

mod bucket;
pub mod grpc;
mod http2;
mod oci;
mod process;
mod upstream;

pub use bucket::{Bucket, Fate, Vendor};
pub use oci::{Dying, OciRegistry};
pub use process::{HostProcess, nocti, tools};
pub use upstream::{Reply, Upstream};

/// A running host.
pub struct TestHost {
    pub url: String,
    /// Where gRPC is served, as a URL.
    pub grpc_url: String,
    client: reqwest::Client,
    stop: CancellationToken,
    done: Option<tokio::task::JoinHandle<bool>>,
    store: Option<tempfile::TempDir>,
}

/// A response, read whole.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Vec<u8>,
}

impl TestHost {
    /// A host with the default configuration.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// A host whose configuration is changed first. Its store is new.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let store = tempfile::TempDir::new().expect("a temporary folder");
        Self::start_over(store, change).await
    }

    /// A host over a store that another one left behind.
    pub async fn start_over(store: tempfile::TempDir, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config { store: store.path().into(), ..Config::default() };
        config.listen.set_port(0);
        config.grpc_listen.set_port(0);
        change(&mut config);
        let app = App::build(config).await.unwrap_or_else(|error| panic!("the host does not start: {error}"));
        let url = format!("http://{}", app.address());
        let grpc_url = format!("http://{}", app.grpc_address());
        let stop = CancellationToken::new();
        let done = tokio::spawn(app.run(stop.clone()));
        Self { url, grpc_url, client: client(), stop, done: Some(done), store: Some(store) }
    }

    /// Stops the host as a signal would; true when all requests in flight could finish. The store stays.
    pub async fn stop(mut self) -> (bool, tempfile::TempDir) {
        self.stop.cancel();
        let drained = self.done.take().expect("it is stopped once").await.expect("the host does not panic");
        (drained, self.store.take().expect("it is taken once"))
    }

    /// Tells the host to stop, as a signal would, without waiting for it.
    pub fn begin_stop(&self) {
        self.stop.cancel();
    }

    /// Where the host keeps what is deployed.
    pub fn store(&self) -> &Path {
        self.store.as_ref().expect("it is there until the host is stopped").path()
    }

    /// Deploys what a folder's `nocti.toml` describes.
    pub async fn deploy(&self, folder: &Path) -> Answer {
        self.post("/api/functions", bundle(folder)).await
    }

    /// Deploys an ONNX file of `tests/fixtures/models` as a model-only function.
    pub async fn deploy_model(&self, function: &str, file: &str) -> Answer {
        self.post("/api/functions", model_bundle(function, "1.0.0", &fixture_model(file))).await
    }

    /// Deploys a bundle that must be good.
    #[track_caller]
    pub fn deployed(&self, bundle: Vec<u8>) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        async move {
            let answer = self.post("/api/functions", bundle).await;
            assert_eq!(answer.status, 201, "{place}: {}", answer.text());
        }
    }

    /// What `GET /api/status` says about a function's version that was deployed last.
    pub async fn status(&self, function: &str) -> Value {
        let status = self.get("/api/status").await.expect(200);
        let functions = status["functions"].as_array().expect("a list");
        let found = functions.iter().rfind(|found| found["function"] == function);
        found.unwrap_or_else(|| panic!("'{function}' is not in {status}")).clone()
    }

    /// Waits until `count` instances of a function are serving a request.
    pub async fn busy(&self, function: &str, count: u64) {
        let what = format!("{count} busy instances of {function}");
        eventually(&what, async || (self.status(function).await["instances"]["busy"] == count).then_some(())).await;
    }

    /// `GET`
    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.client.get(format!("{}{path}", self.url))).await
    }

    /// `DELETE`
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.client.delete(format!("{}{path}", self.url))).await
    }

    /// `POST` with a body as it is.
    pub async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        self.send(self.client.post(format!("{}{path}", self.url)).body(body)).await
    }

    /// `POST /v2/models/FUNCTION/infer`
    pub async fn infer(&self, function: &str, request: &Value) -> Answer {
        self.post(&format!("/v2/models/{function}/infer"), request.to_string()).await
    }

    /// The same at `POST /functions/FUNCTION`, where FP16 and BF16 may be numbers of JSON.
    pub async fn ask(&self, function: &str, request: &Value) -> Answer {
        self.post(&format!("/functions/{function}"), request.to_string()).await
    }

    /// A request of the test's own making.
    pub fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    /// Writes bytes to a connection of their own and reads what comes until the host closes it. For requests that no
    /// client would send; `connection: close` in them spares the wait for the host's patience to end.
    pub async fn raw(&self, request: &[u8]) -> String {
        let address = self.url.trim_start_matches("http://");
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("the host listens");
        // The host may answer, and close, before it has read all of it.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Sends a request and reads the answer whole.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        Answer::read(request.send().await.expect("the host answers")).await
    }
}

impl Drop for TestHost {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Answer {
    /// Reads a response whole.
    pub async fn read(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, body: response.bytes().await.expect("the answer is whole").to_vec() }
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {}", self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Asserts the status and gives the JSON.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }

    /// Asserts that this is an error of the contract's shape: status, stable code, and a message with `parts` in it.
    #[track_caller]
    pub fn expect_error(&self, status: u16, code: &str, parts: &[&str]) {
        let json = self.expect(status);
        assert_eq!(json["code"], code, "{json}");
        let message = json["error"].as_str().unwrap_or_else(|| panic!("no message: {json}"));
        for part in parts {
            assert!(message.contains(part), "'{part}' is not in: {message}");
        }
        assert!(!message.contains("/tmp/") && !message.contains("backtrace"), "it tells too much: {message}");
    }
}

/// The repository's root.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ has a parent").to_path_buf()
}

/// An ONNX file of `tests/fixtures/models`.
pub fn fixture_model(file: &str) -> PathBuf {
    repository().join("tests/fixtures/models").join(file)
}

/// A folder of `tests/fixtures/guests`.
pub fn fixture_guest(name: &str) -> PathBuf {
    repository().join("tests/fixtures/guests").join(name)
}

/// A folder of `examples/wasm-models`.
pub fn example(name: &str) -> PathBuf {
    repository().join("examples/wasm-models").join(name)
}

/// The bundle of a folder whose component is built already (`make examples`).
pub fn bundle(folder: &Path) -> Vec<u8> {
    let project = Project::load(folder).unwrap_or_else(|error| panic!("{error}"));
    project.check_files().unwrap_or_else(|error| panic!("{error}\n(`make examples models` builds what is missing)"));
    write(&project)
}

/// The same with the project changed first.
pub fn bundle_with(folder: &Path, change: impl FnOnce(&mut Project)) -> Vec<u8> {
    let mut project = Project::load(folder).unwrap_or_else(|error| panic!("{error}"));
    change(&mut project);
    write(&project)
}

/// A model-only bundle.
pub fn model_bundle(function: &str, version: &str, model: &Path) -> Vec<u8> {
    let name = function.parse().unwrap_or_else(|error| panic!("{error}"));
    let version = version.parse().unwrap_or_else(|error| panic!("{error}"));
    write(&Project::for_model(model, name, version))
}

/// Looks again and again until there is something to see, which must not take longer than half a minute.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let mut turn = tokio::time::interval(Duration::from_millis(10));
    let seen = async {
        loop {
            turn.tick().await;
            if let Some(seen) = look().await {
                break seen;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), seen).await.unwrap_or_else(|_| panic!("never seen: {what}"))
}

/// The bundle of a project.
pub fn write(project: &Project) -> Vec<u8> {
    let mut bytes = Vec::new();
    Bundle::prepare(project).and_then(|bundle| bundle.write_to(&mut bytes)).unwrap_or_else(|error| panic!("{error}"));
    bytes
}

fn client() -> reqwest::Client {
    // It speaks TLS as well, and panics where nobody says by what. The first to say so wins, and all say the same.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().expect("a client needs nothing")
}
