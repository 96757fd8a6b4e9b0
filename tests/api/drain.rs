//! Stopping: what is in flight finishes, nothing new begins.

use std::time::Duration;

use futures::channel::mpsc;
use nocti_tests::{Answer, TestHost, eventually, fixture_guest};
use reqwest::Method;
use serde_json::json;
use tokio::net::TcpStream;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::{mode, tensor};

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_requests_stops_at_once() {
    let host = TestHost::start_with(|config| config.drain_timeout = Duration::from_secs(600)).await;
    // Its connection stays open in the client, which must not hold the host up.
    host.get("/v2").await.expect(200);
    let stopped = tokio::time::timeout(Duration::from_secs(30), host.stop()).await;
    assert!(stopped.expect("it stops").0);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_flight_finish_while_new_ones_are_refused() {
    let host = TestHost::start().await;
    for folder in ["misbehave", "misbehave-http"] {
        host.deploy(&fixture_guest(folder)).await.expect(201);
    }
    let x = tensor("x", "INT64", &[1], json!([7]));
    let body = mode("sleep", json!({"ms": 1500}), std::slice::from_ref(&x)).to_string();
    let typed = host.request(Method::POST, "/v2/models/misbehave/infer").body(body);
    let typed = tokio::spawn(async move { Answer::read(typed.send().await.expect("an answer")).await });
    let raw = host.request(Method::GET, "/functions/misbehave-http/slow-body?count=15&ms=100");
    let raw = tokio::spawn(async move { Answer::read(raw.send().await.expect("an answer")).await });
    host.busy("misbehave", 1).await;
    host.busy("misbehave-http", 1).await;

    host.begin_stop();
    let address = host.url.trim_start_matches("http://").to_owned();
    eventually("a refused connection", async || TcpStream::connect(&address).await.is_err().then_some(())).await;
    assert!(!typed.is_finished(), "it was still in flight");
    let (drained, _) = host.stop().await;
    assert!(drained);
    assert_eq!(typed.await.expect("no panic").expect(200)["outputs"], json!([x]));
    assert_eq!(raw.await.expect("no panic").text().lines().count(), 15);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_does_not_finish_holds_the_host_up_no_longer_than_it_may() {
    let host = TestHost::start_with(|config| config.drain_timeout = Duration::from_millis(200)).await;
    host.deploy(&fixture_guest("misbehave")).await.expect(201);
    let body = mode("loop", json!({}), &[]).to_string();
    let caller = tokio::spawn(host.request(Method::POST, "/v2/models/misbehave/infer").body(body).send());
    host.busy("misbehave", 1).await;
    let stopped = tokio::time::timeout(Duration::from_secs(20), host.stop()).await;
    assert!(!stopped.expect("it stops before the request's own deadline").0, "a request was cut off");
    caller.abort();
}

/// Whoever is connected already learns that the host is no longer ready.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_host_is_not_ready() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let host = TestHost::start().await;
    let address = host.url.trim_start_matches("http://").to_owned();
    host.deploy(&fixture_guest("misbehave")).await.expect(201);
    // Half a request, so that the connection is not an idle one. Before the function is woken, so that the host has long
    // read it when it stops.
    let mut stream = TcpStream::connect(&address).await.expect("it listens");
    stream.write_all(b"GET /readyz HTTP/1.1\r\n").await.expect("it reads");
    let body = mode("sleep", json!({"ms": 1000}), &[]).to_string();
    let caller = tokio::spawn(host.request(Method::POST, "/v2/models/misbehave/infer").body(body).send());
    host.busy("misbehave", 1).await;
    host.begin_stop();
    eventually("a refused connection", async || TcpStream::connect(&address).await.is_err().then_some(())).await;
    stream.write_all(b"host: x\r\nconnection: close\r\n\r\n").await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("\"ready\":false"), "{answer}");
    assert!(caller.await.expect("no panic").is_ok());
}

/// Health is watched, and there may be more to ask about what is served, for as long as a client lives.
#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_only_open_hold_up_neither_protocol() {
    use tonic_reflection::pb::{v1, v1alpha};

    let host = TestHost::start_with(|config| config.drain_timeout = Duration::from_secs(600)).await;
    host.deploy(&fixture_guest("misbehave")).await.expect(201);
    let channel = host.channel().await;
    let mut health = HealthClient::new(channel.clone());
    let mut watch = health.watch(HealthCheckRequest::default()).await.expect("it is served").into_inner();
    assert!(watch.message().await.expect("a message").is_some());

    let list = v1::server_reflection_request::MessageRequest::ListServices(String::new());
    let (sender, questions) = mpsc::unbounded();
    let mut reflection = v1::server_reflection_client::ServerReflectionClient::new(channel.clone());
    let mut answers = reflection.server_reflection_info(questions).await.expect("it is served").into_inner();
    let question = v1::ServerReflectionRequest { host: String::new(), message_request: Some(list) };
    sender.unbounded_send(question).expect("it is open");
    assert!(answers.message().await.expect("an answer").is_some());

    // One that has asked nothing yet.
    let (_older_sender, questions) = mpsc::unbounded::<v1alpha::ServerReflectionRequest>();
    let mut older = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
    let mut older_answers = older.server_reflection_info(questions).await.expect("it is served").into_inner();

    let x = tensor("x", "INT64", &[1], json!([7]));
    let body = mode("sleep", json!({"ms": 500}), &[x]).to_string();
    let request = host.request(Method::POST, "/v2/models/misbehave/infer").body(body);
    let request = tokio::spawn(async move { Answer::read(request.send().await.expect("an answer")).await });
    host.busy("misbehave", 1).await;
    let stopped = tokio::time::timeout(Duration::from_secs(30), host.stop()).await;
    assert!(stopped.expect("it stops").0, "nothing was cut off");
    request.await.expect("no panic").expect(200);
    assert!(watch.message().await.expect("it is told").is_some());
    assert!(watch.message().await.expect("its end").is_none());
    assert!(answers.message().await.expect("its end").is_none());
    assert!(older_answers.message().await.expect("its end").is_none());
}
