//! The server that nocti is measured against: hyper, tonic's code for gRPC and ONNX Runtime, as a good engineer would put them
//! together by hand for models that are known beforehand.
//!
//! It has what makes a server fast (connections that stay open, no delay for small packets, tensors read straight into the
//! form ONNX Runtime takes, runs on the thread that has the request) and nothing else: no deadlines, no limits, no functions,
//! one request after another per model.

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use clap::Parser;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use self::answer::Answer;
use self::model::Model;

mod answer;
mod cold;
mod elements;
mod grpc;
mod model;
mod question;

/// The length of the JSON in front of binary tensors; the protocol's binary tensor extension.
static JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

type Models = HashMap<String, Model>;

/// The baseline: ONNX Runtime without nocti.
#[derive(Parser)]
enum Command {
    Serve(ServeOptions),
    Cold(cold::Options),
}

/// Serves every FILE.onnx of a folder as /v2/models/FILE/infer, and as the model FILE over gRPC.
#[derive(clap::Args)]
struct ServeOptions {
    /// The folder
    #[arg(long)]
    models: PathBuf,
    /// Path of libonnxruntime.so
    #[arg(long, env = "NOCTI_ONNXRUNTIME_LIBRARY")]
    library: PathBuf,
}

#[tokio::main]
#[expect(clippy::print_stderr, reason = "where programs say why they failed")]
async fn main() -> ExitCode {
    let done = match Command::parse() {
        Command::Serve(options) => listen(&options).await,
        Command::Cold(options) => cold::run(&options),
    };
    let Err(error) = done else { return ExitCode::SUCCESS };
    eprintln!("nocti-baseline: {error:#}");
    ExitCode::FAILURE
}

async fn listen(options: &ServeOptions) -> anyhow::Result<()> {
    let models = Arc::new(model::load_all(&options.library, &options.models)?);
    let bind = async || TcpListener::bind(("127.0.0.1", 0)).await.context("cannot listen");
    let (http, grpc) = (bind().await?, bind().await?);
    say_addresses(&http, &grpc)?;
    tokio::try_join!(serve_http(Arc::clone(&models), http), grpc::serve(models, grpc))?;
    Ok(())
}

async fn serve_http(models: Arc<Models>, listener: TcpListener) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await.context("cannot accept a connection")?;
        // Answers are complete: waiting to fill a packet only delays them.
        let _ = stream.set_nodelay(true);
        let models = Arc::clone(&models);
        let service = service_fn(move |request| serve(Arc::clone(&models), request));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

#[expect(clippy::print_stderr, reason = "whoever started this waits for the lines, and nocti writes them there too")]
fn say_addresses(http: &TcpListener, grpc: &TcpListener) -> anyhow::Result<()> {
    eprintln!("gRPC on {}", grpc.local_addr()?);
    eprintln!("listening on http://{}", http.local_addr()?);
    Ok(())
}

async fn serve(models: Arc<Models>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let name = request.uri().path().strip_prefix("/v2/models/").and_then(|rest| rest.strip_suffix("/infer"));
    let Some(model) = name.and_then(|name| models.get(name)) else {
        return Ok(failure(StatusCode::NOT_FOUND, "there is no such model"));
    };
    let json_length = request.headers().get(&JSON_LENGTH).cloned();
    Ok(match request.into_body().collect().await {
        Ok(body) => infer(model, json_length.as_ref(), &body.to_bytes())
            .map_or_else(|error| failure(StatusCode::BAD_REQUEST, &format!("{error:#}")), respond),
        Err(error) => failure(StatusCode::BAD_REQUEST, &error.to_string()),
    })
}

fn infer(model: &Model, json_length: Option<&HeaderValue>, body: &[u8]) -> anyhow::Result<Answer> {
    let json_length = json_length.map(|value| anyhow::Ok(value.to_str()?.parse()?)).transpose()?;
    let question = question::parse(body, json_length.unwrap_or(body.len()))?;
    let outputs = model.run(&question.inputs)?;
    answer::write(model, &outputs, question.binary_output)
}

fn respond(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    let content_type = if answer.json_length.is_some() { "application/octet-stream" } else { "application/json" };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(length) = answer.json_length {
        response.headers_mut().insert(&JSON_LENGTH, HeaderValue::from(length));
    }
    response
}

fn failure(status: StatusCode, message: &str) -> Response<Full<Bytes>> {
    let body = serde_json::json!({ "error": message }).to_string();
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
}
