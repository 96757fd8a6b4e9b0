//! A real bucket on loopback, of S3's kind or Azure's, and a proxy before it that counts requests and lets them fail as the test says.
//!
//! The proxy hands on one request at a time: the server looks whether an object is there and writes it in two steps, which a bucket
//! must not.

use std::convert::Infallible;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use super::{client, repository, tools};

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Done,
    /// It does not reach the bucket, and this status is the answer.
    Refused(u16),
    /// It is done, and the connection breaks before the answer.
    AnswerLost,
    /// It is done as if it had no conditions.
    Unconditional,
}

type Plan = Box<dyn FnMut(&Method, &str) -> Fate + Send>;

/// A running bucket of the name `bucket`. Ends when it is dropped.
pub struct Bucket {
    vendor: Vendor,
    endpoint: String,
    shared: Arc<Shared>,
    _server: Child,
    proxy: tokio::task::JoinHandle<()>,
}

struct Shared {
    server: String,
    client: reqwest::Client,
    plan: Mutex<Plan>,
    seen: Mutex<Vec<String>>,
    turn: tokio::sync::Mutex<()>,
}

/// Whose bucket it is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vendor {
    S3,
    Azure,
}

impl Vendor {
    /// What serves an empty bucket and prints its port.
    fn server(self) -> Command {
        let (tools, sources) = (tools(), repository().join("tests/e2e/stores"));
        let needed = tools.join(match self {
            Self::S3 => "buckets/bin/python",
            Self::Azure => "azure/node_modules",
        });
        assert!(needed.exists(), "there is no {}: `scripts/setup buckets` makes it", needed.display());
        match self {
            Self::S3 => {
                let mut command = Command::new(needed);
                command.arg(sources.join("serve.py"));
                command
            }
            Self::Azure => {
                // Node.js is there, where the machine has none.
                let script = r#"PATH="$1/python/bin:$PATH" exec node "$0" "$1""#;
                let mut command = Command::new("bash");
                command.args(["-c", script]).arg(sources.join("azure/serve.mjs")).arg(tools.join("azure"));
                command
            }
        }
    }
}

impl Bucket {
    /// An empty bucket.
    pub async fn start(vendor: Vendor) -> Self {
        let mut command = vendor.server();
        command.kill_on_drop(true).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut server = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut lines = BufReader::new(server.stdout.take().expect("it is piped")).lines();
        let port = loop {
            let line = lines.next_line().await.expect("it prints text").expect("it prints its port");
            // Azurite has something to say first.
            if let Ok(port) = line.parse::<u16>() {
                break port;
            }
        };
        let server_url = format!("http://127.0.0.1:{port}");
        let client = client();

        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("it listens"));
        let shared = Arc::new(Shared {
            server: server_url,
            client,
            plan: Mutex::new(Box::new(|_, _| Fate::Done)),
            seen: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        });
        let proxy = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Self { vendor, endpoint, shared, _server: server, proxy }
    }

    /// The store's URL.
    pub fn url(&self) -> &'static str {
        match self.vendor {
            Vendor::S3 => "s3://bucket/a/prefix",
            Vendor::Azure => "az://bucket/a/prefix",
        }
    }

    /// What a host needs in its environment to use it.
    pub fn environment(&self) -> Vec<(&'static str, &str)> {
        match self.vendor {
            Vendor::S3 => vec![
                ("AWS_ENDPOINT", &self.endpoint),
                ("AWS_ALLOW_HTTP", "true"),
                ("AWS_REGION", "us-east-1"),
                ("AWS_ACCESS_KEY_ID", "test"),
                ("AWS_SECRET_ACCESS_KEY", "test"),
            ],
            Vendor::Azure => vec![("AZURE_STORAGE_USE_EMULATOR", "true"), ("AZURITE_BLOB_STORAGE_URL", &self.endpoint)],
        }
    }

    /// From now on, requests go as `plan` says of their method, path and query.
    pub fn plan(&self, plan: impl FnMut(&Method, &str) -> Fate + Send + 'static) {
        *self.shared.plan.lock().expect("nobody panics with it") = Box::new(plan);
    }

    /// The requests that came since this was asked last.
    pub fn seen(&self) -> Vec<String> {
        std::mem::take(&mut *self.shared.seen.lock().expect("nobody panics with it"))
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        self.proxy.abort();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&shared), request));
            // One that breaks is the client's, or the test's own doing.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// The answer is lost: the connection ends without one.
#[derive(Debug)]
struct Lost;

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("lost")
    }
}

impl std::error::Error for Lost {}

impl From<Infallible> for Lost {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Lost> {
    let (head, body) = request.into_parts();
    let target = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    shared.seen.lock().expect("nobody panics with it").push(format!("{} {target}", head.method));
    let fate = (shared.plan.lock().expect("nobody panics with it"))(&head.method, &target);
    if let Fate::Refused(status) = fate {
        let response = Response::builder().status(status).body(Full::default());
        return Ok(response.expect("a status and nothing else"));
    }
    let mut headers = head.headers;
    headers.remove(http::header::TRANSFER_ENCODING);
    if fate == Fate::Unconditional {
        headers.remove(http::header::IF_NONE_MATCH);
    }
    let body = body.collect().await.map_err(|_| Lost)?.to_bytes();
    let _turn = shared.turn.lock().await;
    let sent = shared.client.request(head.method, format!("{}{target}", shared.server)).headers(headers).body(body);
    let answer = sent.send().await.map_err(|_| Lost)?;
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    let body = answer.bytes().await.map_err(|_| Lost)?;
    if fate == Fate::AnswerLost {
        return Err(Lost);
    }
    headers.remove(http::header::TRANSFER_ENCODING);
    headers.remove(http::header::CONNECTION);
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}
