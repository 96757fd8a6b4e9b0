//! Talking to a host: the only way commands reach one.
//!
//! Knows paths, statuses and the error form of the HTTP API; what an answer means is each command's business. A client
//! lives for one command.

use std::time::Duration;

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use futures::Stream;
use reqwest::header::{self, HeaderMap};
use reqwest::{Body, Method, RequestBuilder, Response, StatusCode, Url};
use serde_json::Value;

use super::{Global, WrongUsage};
use crate::compression::Encoding;

mod content;

pub(crate) use content::Content;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// What takes a host no work is answered by then, or never.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection to one host.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
}

/// Why the host did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// Nothing listens there.
    #[error("no Nocti host answers at {0}: start one with `nocti serve` or set --server")]
    NoHost(String),
    /// The connection broke off.
    #[error("the connection to {server} failed: {source}")]
    Broken {
        server: String,
        #[source]
        source: reqwest::Error,
    },
    /// It takes connections, and does not answer.
    #[error("{0} has not answered for {secs} s", secs = ANSWER_TIMEOUT.as_secs())]
    Silent(String),
    /// The host said no, and why.
    #[error("{message}")]
    Refused { status: StatusCode, code: String, message: String },
    /// Something answered, but not in the API's form.
    #[error("{server} does not answer like a Nocti host ({what}): is --server right?")]
    NotNocti { server: String, what: String },
}

/// Runs a command that talks to a host.
pub(crate) fn block_on(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?
        .block_on(command)
}

impl Client {
    /// A client of the host that the options name. Nothing is sent yet.
    pub(crate) fn new(global: &Global) -> anyhow::Result<Self> {
        Self::of(&global.server)
    }

    /// A client of the host at an address.
    pub(crate) fn of(server: &str) -> anyhow::Result<Self> {
        let wrong = || WrongUsage(format!("--server '{server}': an address of the form http://HOST:PORT is needed"));
        let base = Url::parse(server).map_err(|_| wrong())?;
        if base.scheme() != "http" || !base.has_host() {
            return Err(wrong().into());
        }
        // No host is spoken to by https, so it needs no certificates, and does where there are none.
        // What a function answers must not lead anywhere else.
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        let mut http = http.connect_timeout(CONNECT_TIMEOUT).tls_certs_only([]);
        if matches!(base.host_str(), Some("localhost" | "127.0.0.1" | "[::1]")) {
            // A proxy set for the outside world cannot reach this machine's own host.
            http = http.no_proxy();
        }
        Ok(Self { http: http.build().context("cannot set up the HTTP client")?, base })
    }

    /// The JSON at `path`.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.json(Method::GET, path, Body::default()).await
    }

    /// Hands on the lines at `path` as they come, until `each` wants no more. True when it had all.
    pub(crate) async fn lines(
        &self,
        path: &str,
        mut each: impl FnMut(&[u8]) -> anyhow::Result<bool>,
    ) -> anyhow::Result<bool> {
        let mut response = self.accepted(self.http.get(self.url(path)?).send().await).await?;
        let mut lines = BytesMut::new();
        let lost = "the connection was lost before the end; --since says from when on to read again";
        while let Some(chunk) = response.chunk().await.map_err(|source| self.broken(source)).context(lost)? {
            lines.extend_from_slice(&chunk);
            while let Some(end) = lines.iter().position(|byte| *byte == b'\n') {
                if !each(&lines.split_to(end + 1)[..end])? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Deletes what is at `path`.
    pub(crate) async fn delete(&self, path: &str) -> anyhow::Result<Value> {
        self.json(Method::DELETE, path, Body::default()).await
    }

    /// Sends JSON and gives back the answer's.
    pub(crate) async fn send(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<Value> {
        // A rollout begins when its version is loaded, and what is in the trash is brought back: with a large model that takes its time.
        if path.ends_with("/rollout") || path == "/api/blobs/missing" {
            return Ok(self.send_as(method, path, "application/json", body.to_string()).await?.1);
        }
        let request = self.http.request(method, self.url(path)?).header(header::CONTENT_TYPE, "application/json");
        let response = self.answered(request.body(body.to_string())).await?;
        Ok(self.parsed(response).await?)
    }

    /// Sends a JSON body and gives back the answer's bytes.
    pub(crate) async fn post_json(&self, path: &str, body: Vec<u8>) -> anyhow::Result<Bytes> {
        let request = self.http.post(self.url(path)?);
        let request = request.header(header::CONTENT_TYPE, "application/json");
        let response = self.accepted(request.body(body).send().await).await?;
        response.bytes().await.map_err(|source| self.broken(source).into())
    }

    /// Sends a body of some media type and gives back the answer's JSON.
    pub(crate) async fn send_as(
        &self,
        method: Method,
        path: &str,
        media_type: &str,
        body: impl Into<Body>,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let request = self.http.request(method, self.url(path)?).header(header::CONTENT_TYPE, media_type).body(body);
        let response = self.accepted(request.send().await).await?;
        Ok((response.status(), self.parsed(response).await?))
    }

    /// Sends a body that is compressed by gzip.
    pub(crate) async fn send_packed(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let request = (self.http.request(method, self.url(path)?))
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header(header::CONTENT_ENCODING, Encoding::Gzip.name())
            .body(body);
        let response = self.accepted(request.send().await).await?;
        Ok((response.status(), self.parsed(response).await?))
    }

    /// Sends parts of a file as they are read, and tells as it goes.
    pub(crate) async fn upload(
        &self,
        method: Method,
        path: &str,
        content: Content<'_>,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let request = (self.http.request(method, self.url(path)?))
            .header(header::CONTENT_TYPE, content.media_type)
            .header(header::CONTENT_LENGTH, content.size_bytes())
            .body(Body::wrap_stream(content.chunks().await?));
        let response = self.accepted(request.send().await).await?;
        Ok((response.status(), self.parsed(response).await?))
    }

    /// Sends `size` bytes as they come from elsewhere.
    pub(crate) async fn put_stream(
        &self,
        path: &str,
        size: u64,
        chunks: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    ) -> anyhow::Result<()> {
        let request = (self.http.put(self.url(path)?))
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header(header::CONTENT_LENGTH, size)
            .body(Body::wrap_stream(chunks));
        self.accepted(request.send().await).await?;
        Ok(())
    }

    /// The answer at `path` as it comes, for those that want it in pieces: these are read by [`chunk`](Self::chunk).
    pub(crate) async fn open(&self, path: &str, headers: HeaderMap) -> anyhow::Result<Response> {
        Ok(self.accepted(self.http.get(self.url(path)?).headers(headers).send().await).await?)
    }

    /// The next piece of an answer.
    pub(crate) async fn chunk(&self, response: &mut Response) -> Result<Option<Bytes>, ClientError> {
        response.chunk().await.map_err(|source| self.broken(source))
    }

    /// Sends a request as it is and gives back whatever comes: for functions that answer raw HTTP.
    pub(crate) async fn raw(&self, method: Method, path: &str, body: Vec<u8>) -> anyhow::Result<(StatusCode, Bytes)> {
        let request = self.http.request(method, self.url(path)?).body(body);
        let response = request.send().await.map_err(|source| self.broken(source))?;
        let status = response.status();
        Ok((status, response.bytes().await.map_err(|source| self.broken(source))?))
    }

    async fn json(&self, method: Method, path: &str, body: Body) -> anyhow::Result<Value> {
        let request = self.http.request(method, self.url(path)?).body(body);
        let response = self.answered(request).await?;
        Ok(self.parsed(response).await?)
    }

    /// The response to what takes the host no work, if it did what was asked.
    async fn answered(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let sent = tokio::time::timeout(ANSWER_TIMEOUT, request.send()).await;
        self.accepted(sent.map_err(|_| ClientError::Silent(self.server()))?).await
    }

    /// The response, if the host did what was asked.
    async fn accepted(&self, sent: Result<Response, reqwest::Error>) -> Result<Response, ClientError> {
        let response = sent.map_err(|source| self.broken(source))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.bytes().await.map_err(|source| self.broken(source))?;
        match error_message(&body) {
            Some(message) => Err(ClientError::Refused { status, code: error_code(&body), message }),
            None => Err(self.not_nocti(format!("HTTP {status}"))),
        }
    }

    async fn parsed(&self, response: Response) -> Result<Value, ClientError> {
        let body = response.bytes().await.map_err(|source| self.broken(source))?;
        serde_json::from_slice(&body).map_err(|_| self.not_nocti("no JSON came back".to_owned()))
    }

    fn url(&self, path: &str) -> anyhow::Result<Url> {
        let base = self.base.as_str().trim_end_matches('/');
        Url::parse(&format!("{base}{path}")).with_context(|| format!("'{path}' is not a path"))
    }

    fn broken(&self, source: reqwest::Error) -> ClientError {
        let server = self.server();
        if source.is_connect() {
            return ClientError::NoHost(server);
        }
        // The host's address is in the text already.
        let source = source.without_url();
        ClientError::Broken { server, source }
    }

    fn not_nocti(&self, what: String) -> ClientError {
        ClientError::NotNocti { server: self.server(), what }
    }

    fn server(&self) -> String {
        self.base.as_str().trim_end_matches('/').to_owned()
    }
}

/// A query of these names and values, with the `?` before it; empty where there are none.
pub(crate) fn query<'n, 'v>(pairs: impl IntoIterator<Item = (&'n str, &'v str)>) -> String {
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    if query.is_empty() { query } else { format!("?{query}") }
}

/// The text of an error in the API's form.
pub(crate) fn error_message(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    body.get("error")?.as_str().map(str::to_owned)
}

/// The stable code of such an error; none of another form has one.
fn error_code(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    body["code"].as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
